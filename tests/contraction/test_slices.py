"""Sliced plans: the same result as without slices, whoever runs which chunk, and the counts."""

import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contraction import Plan, plan
from contraction.errors import InputError, PlanError
from contraction.loops import loop_order, repeats, sliced_canonical
from contraction.slices import slice_job
from contraction.spec import Canonical, Spec
from strategies import NAMESPACES, seeds


@st.composite
def contractions(draw: st.DrawFn, max_inputs: int = 6, smallest: int = 1):
    """Any contraction: hyperedges, repeated labels, output labels, parts that hang apart."""
    count = draw(st.integers(1, max_inputs))
    labels = "abcdefgh"[: draw(st.integers(1, 8))]
    sizes = {x: draw(st.integers(smallest, 4)) for x in labels}
    inputs = [draw(st.lists(st.sampled_from(labels), max_size=4)) for _ in range(count)]
    held = sorted({x for t in inputs for x in t})
    output = draw(st.permutations(held))[: draw(st.integers(0, min(3, len(held))))]
    spec = Spec(inputs, output, sizes)
    slices = draw(st.lists(st.sampled_from(held), unique=True, max_size=4)) if held else []
    return spec, slices


def reference(spec, xs):
    """The sum by numpy.einsum with one number for each label."""
    number = {x: i for i, x in enumerate(spec.sizes)}
    terms = itertools.chain.from_iterable(
        (x, [number[label] for label in t]) for x, t in zip(xs, spec.inputs, strict=True)
    )
    return np.einsum(*terms, [number[x] for x in spec.output])


def arrays_of(spec, seed, namespace="numpy"):
    rng = np.random.default_rng(seed)
    xs = [rng.standard_normal(shape) for shape in spec.shapes]
    if namespace == "torch":
        import torch

        return [torch.from_numpy(x) for x in xs]
    return xs


@given(contractions(), st.sampled_from(NAMESPACES), seeds)
def test_slices_change_nothing(case, namespace, seed) -> None:
    spec, slices = case
    xs = arrays_of(spec, seed, namespace)
    before = arrays_of(spec, seed)
    p = plan(spec, slices=slices)
    assert set(p.slices) == set(slices)
    assert p.num_slices == math.prod(spec.sizes[x] for x in slices)
    got = p.run(xs)
    assert type(got) is type(xs[0])
    assert tuple(got.shape) == spec.shape
    np.testing.assert_allclose(np.asarray(got), reference(spec, before), rtol=1e-9, atol=1e-9)
    for x, y in zip(xs, before, strict=True):
        np.testing.assert_array_equal(np.asarray(x), y)


@given(contractions(max_inputs=4, smallest=0), seeds)
def test_labels_of_size_zero(case, seed) -> None:
    spec, slices = case
    xs = arrays_of(spec, seed)
    got = plan(spec, slices=slices).run(xs)
    assert got.shape == spec.shape
    np.testing.assert_allclose(got, reference(spec, xs), rtol=1e-9, atol=1e-9)


@given(contractions(), seeds, st.randoms(use_true_random=False))
def test_any_scheduler_gives_the_same_bits(case, seed, random) -> None:
    spec, slices = case
    xs = arrays_of(spec, seed)
    p = plan(spec, slices=slices)
    job = pickle.loads(pickle.dumps(slice_job(p, xs)))
    assert [n for chunk in job.chunks for n in range(*chunk)] == list(range(job.count))
    order = list(enumerate(job.chunks))
    random.shuffle(order)
    done = {k: job.run(start, stop) for k, (start, stop) in order}
    got = job.combine(done[k] for k in range(len(order)))
    assert got.tobytes() == p.run(xs).tobytes()
    again = Plan.from_dict(p.to_dict())
    assert again.slices == p.slices
    assert again.run(xs).tobytes() == got.tobytes()


@given(contractions(), seeds)
def test_transposed_and_strided_inputs(case, seed) -> None:
    spec, slices = case
    xs = [np.copy(x, order="F") for x in arrays_of(spec, seed)]
    xs[0] = np.repeat(xs[0][..., None], 2, axis=-1)[..., 0]
    got = plan(spec, slices=slices).run(xs)
    np.testing.assert_allclose(got, reference(spec, xs), rtol=1e-9, atol=1e-9)


def test_labels_of_size_one_in_the_output() -> None:
    spec = Spec(["ab", "bc", "cd"], "da", {"a": 2, "b": 3, "c": 4, "d": 1})
    xs = arrays_of(spec, 0)
    got = plan(spec, path=[(0, 1), (2, 3)], slices="b").run(xs)
    np.testing.assert_allclose(got, reference(spec, xs))


def test_ranges_of_slices() -> None:
    p = plan("ab,bc->ac", [(2, 100), (100, 2)], slices="b")
    x = np.arange(200.0).reshape(2, 100)
    job = slice_job(p, [x, x.T])
    assert (job.count, len(job.chunks)) == (100, 64)
    np.testing.assert_allclose(job.run(10, 30), x[:, 10:30] @ x[:, 10:30].T)
    np.testing.assert_array_equal(job.run(5, 5), np.zeros((2, 2)))
    with pytest.raises(InputError, match=r"0\.\.100"):
        job.run(90, 101)


def test_refusals() -> None:
    with pytest.raises(PlanError, match="'z'"):
        plan("ab,bc->ac", [(2, 3), (3, 2)], slices=["z"])
    with pytest.raises(PlanError, match="labels"):
        plan("ab,bc->ac", [(2, 3), (3, 2)], slices=[[1]])  # type: ignore[list-item]


def chain(length: int, size: int = 6) -> Spec:
    inputs = [(i, i + 1) for i in range(length)]
    return Spec(inputs, (0, length), dict.fromkeys(range(length + 1), size))


def test_what_no_slice_changes_is_done_once() -> None:
    # ((0 1) (2 3)): the label between 2 and 3 does not touch the first branch
    spec = chain(4)
    whole = plan(spec, path=[(0, 1), (2, 3), (4, 5)])
    p = plan(spec, path=[(0, 1), (2, 3), (4, 5)], slices=[3])
    once, again = 2 * 6**3, 6 * (2 * 6**2 + 2 * 6**3)
    assert whole.flops == 3 * once
    assert p.flops == once + again
    # nested: what only the outer loop changes is done once for each of its turns
    p = plan(spec, path=[(0, 1), (2, 4), (3, 5)], slices=[1, 4])
    assert p.slices == (1, 4)
    assert p.flops == 6 * (2 * 6**2) + 6 * (2 * 6**3) + 36 * (2 * 6**2)


@given(contractions())
def test_the_order_of_loops_repeats_little(case) -> None:
    spec, slices = case
    if len(slices) > 3 or not slices:
        return
    p = plan(spec, slices=slices)
    canonical, pairs = spec.canonical, p.pairs
    number = {x: i for i, x in enumerate(spec.sizes)}
    chosen = tuple(number[x] for x in p.slices)
    assert loop_order(canonical, pairs, tuple(reversed(chosen))) == chosen
    naive = p.num_slices * p.program.flops
    assert p.flops <= naive


def test_helpers() -> None:
    canonical = Canonical(((0, 1, 1), (1, 2)), (2, 1), (2, 3, 4))
    assert sliced_canonical(canonical, (1,)) == Canonical(((0,), (2,)), (2,), (2, 3, 4))
    assert sliced_canonical(canonical, ()) is canonical
    assert repeats(()) == [1]
