"""Explaining a plan: what the steps say adds up to what the plan says."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contraction import TnetError, explain, plan
from contraction.explanation import itemsize_of, lowering_words
from contraction.step_table import ROWS
from contraction.step_times import random_arrays
from contraction.tuned import Tuned
from contraction.ways import Copy, Kernel, Way
from strategies import networks

MTTKRP = ("abc,br,cr->ar", [(6, 7, 8), (7, 3), (8, 3)])


@given(networks())
@settings(max_examples=30, deadline=None)
def test_steps_add_up(net) -> None:
    made = plan(net.structure.spec())
    found = explain(made)
    assert len(found.steps) == len(made.pairs)
    assert sum(step.flops * step.runs for step in found.steps) <= found.flops  # own sums are extra
    assert found.flops == made.flops
    assert found.peak_bytes == made.peak_size * 8
    assert {step.made for step in found.steps} == set(
        range(len(made.spec.inputs), len(made.spec.inputs) + len(made.pairs))
    )
    assert all(0.0 <= step.roofline <= 1.0 for step in found.steps)


def test_peak_is_that_of_the_steps() -> None:
    made = plan("ab,bc,cd,de->ae", [(8, 9), (9, 10), (10, 11), (11, 12)])
    assert max(step.live_bytes for step in explain(made).steps) == made.peak_size * 8


@pytest.mark.parametrize("slices", ["r", "c", "a", "ra", "bc"])
def test_sliced_steps_run_as_often_as_they_change(slices) -> None:
    equation, shapes = MTTKRP
    made = plan(equation, shapes, slices=slices)
    found = explain(made)
    assert found.num_slices == made.num_slices
    assert dict(found.slices) == {x: made.spec.sizes[x] for x in slices}
    assert sum(step.flops * step.runs for step in found.steps) == made.flops
    assert all(not set(slices) & set(step.equation) for step in found.steps)


@pytest.mark.parametrize("namespace", ["numpy", "torch"])
@pytest.mark.parametrize("slices", ["", "rc"])
def test_measured(namespace, slices) -> None:
    equation, shapes = MTTKRP
    made = plan(equation, shapes, slices=slices)
    arrays = random_arrays(
        made.spec, np.random.default_rng(0), library=namespace, dtype="complex64"
    )
    found = explain(made, arrays)
    assert found.library == namespace
    assert found.dtype == "complex64"
    assert all(step.measured > 0.0 for step in found.steps)
    assert found.measured == pytest.approx(sum(step.measured * step.runs for step in found.steps))


def test_as_data_and_text() -> None:
    found = explain(plan(*MTTKRP, slices="b"))
    again = json.loads(json.dumps(found.to_dict()))
    assert again["slices"] == [["b", 7]]
    assert len(again["steps"]) == 2
    text = str(found)
    assert "runs" in text
    assert "measured" not in text
    assert len(text.splitlines()) == 3


def test_a_long_table_names_the_costly_steps() -> None:
    count = 3 * ROWS
    spec = [f"{chr(200 + k)}{chr(201 + k)}" for k in range(count)]
    shapes = [(2, 2)] * (count - 2) + [(2, 300), (300, 300)]
    made = plan(f"{','.join(spec)}->{spec[0][0]}{spec[-1][-1]}", shapes)
    text = str(explain(made))
    assert f"... and {count - 1 - ROWS} steps" in text
    assert "2x300 , 300x300" in text or "300x300 , 2x300" in text


def test_wrong_arrays_are_refused() -> None:
    made = plan(*MTTKRP)
    with pytest.raises(TnetError, match="needs shape"):
        explain(made, [np.ones((6, 7, 9)), np.ones((7, 3)), np.ones((8, 3))])
    with pytest.raises(TnetError, match="dtype"):
        explain(made, dtype="flaot64")
    assert itemsize_of("complex64") == 8


def test_random_arrays_follow_the_seed() -> None:
    spec = plan(*MTTKRP).spec
    a, b = (random_arrays(spec, np.random.default_rng(3)) for _ in range(2))
    assert all((x == y).all() for x, y in zip(a, b, strict=True))
    assert math.prod(a[0].shape) == 336


def test_the_kernels_of_a_tuned_plan_are_shown() -> None:
    made = plan("ab,bc->ac", [(8, 9), (9, 10)])
    way = Way(Kernel.MATMUL, True, (), (2,), (0,), (1,), Copy.NONE, Copy.NONE)
    tuned = replace(
        made, compiled=made.compiled.with_tuned(made.pairs, Tuned("numpy", (way,), 1.0))
    )
    shown = [step.lowering for step in explain(tuned).steps]
    assert shown == [lowering_words(step) for step in tuned.program.steps]
    assert shown != [step.lowering for step in explain(made).steps]


@given(networks(), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_memory_is_that_of_the_run(net, rnd) -> None:
    spec = net.structure.spec()
    labels = rnd.sample(list(spec.sizes), min(2, len(spec.sizes)))
    for slices in ((), labels):
        made = plan(spec, slices=slices)
        arrays = random_arrays(spec, np.random.default_rng(0))
        arrays = [np.asfortranarray(x) if rnd.random() < 0.5 else x[::-1] for x in arrays]
        found = explain(made, arrays)
        assert found.peak_bytes == made.peak_bytes(arrays)
        found = explain(made)
        live = [step.live_bytes for step in found.steps]
        assert max(live, default=0) <= found.peak_bytes == made.peak_size * 8


def test_data_are_strict_json() -> None:
    found = explain(plan("a,b->ab", [(10**300,), (10**300,)])).to_dict()
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again["flops"] is again["peak_bytes"] is again["steps"][0]["flops"] is None
    assert again["log10_flops"] == pytest.approx(600, abs=0.5)
