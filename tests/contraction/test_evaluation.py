"""Evaluations: the same numbers as a run from nothing, and no more steps than needed."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contraction import Evaluation, Spec, environments, plan
from contraction.errors import BackendError, DTypeError, InputError, PlanError, ShapeError
from contractions import random_arrays, specs
from strategies import NAMESPACES, seeds


@given(specs(), seeds, st.sampled_from(NAMESPACES), st.data())
def test_changes_give_what_a_fresh_run_gives(spec, seed, namespace, data) -> None:
    arrays, cotangent = random_arrays(spec, seed, "float64", namespace)
    p = plan(spec)
    versions = [(Evaluation.start(p, arrays, cotangent), arrays)]
    leaf = st.integers(0, len(arrays) - 1)
    for step in range(data.draw(st.integers(1, 6))):
        now, xs = versions[data.draw(st.integers(0, len(versions) - 1))]
        match data.draw(st.sampled_from(["replace", "result", "environment"])):
            case "replace":
                fresh, _ = random_arrays(spec, seed + step + 1, "float64", namespace)
                some = data.draw(st.lists(leaf, max_size=2))
                xs = [fresh[i] if i in some else x for i, x in enumerate(xs)]
                versions.append((now.replace({i: fresh[i] for i in some}), xs))
            case "result":
                want = np.asarray(p.run(xs))
                np.testing.assert_allclose(np.asarray(now.result), want, rtol=1e-9, atol=1e-9)
            case "environment":
                i = data.draw(leaf)
                (want,) = environments(p, xs, cotangent=cotangent, leaves=[i])
                made = np.asarray(now.environment(i))
                np.testing.assert_allclose(made, np.asarray(want), rtol=1e-9, atol=1e-9)
    for now, xs in versions:
        for i, want in enumerate(environments(p, xs, cotangent=cotangent)):
            made = np.asarray(now.environment(i))
            np.testing.assert_allclose(made, np.asarray(want), rtol=1e-9, atol=1e-9)


def overlap(length: int) -> Spec:
    inputs = [[f"{k}{i}", f"s{i}", f"{k}{i + 1}"] for k in "ab" for i in range(length)]
    ends = {f"{k}{i}" for k in "ab" for i in (0, length)}
    inputs = [[x for x in labels if x not in ends] for labels in inputs]
    return Spec(inputs, [], {x: 2 for labels in inputs for x in labels})


def counted(now: Evaluation) -> list[int]:
    """Count the steps of an evaluation and its successors from now on."""
    calls, kernels = [0], now._bound.kernels

    def counting(kernel):
        def call(a, b):
            calls[0] += 1
            return kernel(a, b)

        return call

    kernels[:] = [(counting(kernel), i, j) for kernel, i, j in kernels]
    return calls


def test_a_sweep_takes_a_constant_number_of_steps_a_site() -> None:
    length = 37
    p = plan(overlap(length))
    xs, _ = random_arrays(p.spec, 0)
    now = Evaluation.start(p, [x / np.linalg.norm(x) for x in xs])
    calls = counted(now)
    now.environment(0)
    for turns in (range(length), reversed(range(length)), range(length)):
        before = calls[0]
        for i in turns:
            x = now.environment(i)
            x = x / np.linalg.norm(x)
            now = now.replace({i: x, length + i: x})
        assert calls[0] - before <= 4 * length  # by hand: two for the site, two for its block
    assert float(now.result) != 0.0


def test_a_change_recomputes_ancestors_only() -> None:
    count = 64
    spec = Spec([[i, (i + 1) % count] for i in range(count)], [], dict.fromkeys(range(count), 2))
    pairs, level = [], list(range(count))
    while len(level) > 1:  # a balanced tree
        fresh = [count + len(pairs) + k for k in range(len(level) // 2)]
        pairs += list(zip(level[::2], level[1::2], strict=True))
        level = fresh
    p = plan(spec, path=pairs)
    xs, _ = random_arrays(spec, 1)
    now = Evaluation.start(p, xs)
    calls = counted(now)
    assert float(now.result) == pytest.approx(float(p.run(xs)))
    assert calls[0] == count - 1
    changed = now.replace({17: xs[3]})
    _ = changed.result, changed.result, now.result
    assert calls[0] == count - 1 + 6
    both = changed.replace({16: xs[3], 17: xs[17]})
    _ = both.result
    assert calls[0] == count - 1 + 6 + 6
    assert both.replace({}) is both
    assert "63 of 63 values" in repr(both)


def test_refusals() -> None:
    p = plan("ab,bc->ac", [(2, 3), (3, 4)])
    xs = [np.ones((2, 3)), np.ones((3, 4))]
    now = Evaluation.start(p, xs)
    np.testing.assert_array_equal(now.result, np.full((2, 4), 3.0))
    with pytest.raises(InputError, match="cotangent"):
        now.environment(0)
    with pytest.raises(InputError, match="positions"):
        now.replace({2: xs[0]})
    with pytest.raises(ShapeError, match="input 1"):
        now.replace({1: xs[0]})
    with pytest.raises(DTypeError, match="imaginary"):
        now.replace({1: xs[1] * 1j})
    with pytest.raises(PlanError, match="slices"):
        Evaluation.start(plan("ab,bc->ac", [(2, 3), (3, 4)], slices="b"), xs)
    if "torch" in NAMESPACES:
        import torch

        with pytest.raises(BackendError, match="torch"):
            now.replace({1: torch.ones(3, 4, dtype=torch.float64)})


def test_an_evaluation_can_be_pickled_and_copied() -> None:
    p = plan("ab,bc,ca->", [(2, 3), (3, 4), (4, 2)])
    xs, _ = random_arrays(p.spec, 0)
    now = Evaluation.start(p, xs)
    want = now.environment(1)
    for other in (pickle.loads(pickle.dumps(now)), copy.deepcopy(now), copy.copy(now)):
        np.testing.assert_array_equal(other.environment(1), want)
        changed = other.replace({0: 2 * xs[0]})
        assert float(changed.result) == pytest.approx(2 * float(now.result))
    np.testing.assert_array_equal(now.environment(1), want)


def test_many_threads_share_one_evaluation() -> None:
    p = plan(overlap(12))
    xs, _ = random_arrays(p.spec, 0)
    want = environments(p, xs)
    now = Evaluation.start(p, xs)

    def ask(i):
        other = now.replace({i: xs[i]})
        return i, now.environment(i), other.environment(i), other.result

    with ThreadPoolExecutor(8) as pool:
        for i, made, again, result in pool.map(ask, [*range(len(xs))] * 4):
            np.testing.assert_allclose(made, want[i], rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(again, want[i], rtol=1e-10, atol=1e-12)
            assert float(result) == pytest.approx(float(p.run(xs)))
