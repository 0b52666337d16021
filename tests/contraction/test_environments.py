"""Environments against the definition: a contraction is linear in each input, so unit inputs."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contraction import Spec, environments, plan, value_and_gradients
from contraction.errors import BackendError, InputError, ShapeError
from contraction.reuse.derivation import derivation_of
from contraction.reuse.nesting import Question
from contraction.reuse.passes import bound_messages, route_of
from contractions import by_units, full, random_arrays, specs
from strategies import NAMESPACES, seeds


@given(
    specs(),
    seeds,
    st.sampled_from(["float64", "complex128"]),
    st.sampled_from(NAMESPACES),
    st.booleans(),
)
def test_every_environment_is_the_derivative(spec, seed, dtype, namespace, turned) -> None:
    arrays, cotangent = random_arrays(spec, seed, dtype, namespace)
    if turned and namespace == "numpy":
        arrays = [x.T.copy().T for x in arrays]
    before = [np.asarray(x).copy() for x in arrays]
    given = cotangent if spec.output or seed % 2 else None
    found = environments(plan(spec), arrays, cotangent=given)
    weights = np.ones(()) if given is None else cotangent
    for leaf, (x, made) in enumerate(zip(arrays, found, strict=True)):
        assert type(made) is type(x)
        assert made.dtype == x.dtype
        want = by_units(spec, arrays, weights, leaf)
        np.testing.assert_allclose(np.asarray(made), want, rtol=1e-9, atol=1e-9)
    for x, same in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(np.asarray(x), same)


@given(specs(), seeds)
def test_a_subset_is_part_of_the_whole(spec, seed) -> None:
    arrays, cotangent = random_arrays(spec, seed)
    p = plan(spec)
    every = environments(p, arrays, cotangent=cotangent)
    rng = np.random.default_rng(seed)
    some = rng.integers(0, len(arrays), 2).tolist()
    for i, made in zip(
        some, environments(p, arrays, cotangent=cotangent, leaves=some), strict=True
    ):
        np.testing.assert_allclose(made, every[i], rtol=1e-12, atol=1e-12)
    assert environments(p, arrays, cotangent=cotangent, leaves=[]) == []


@given(specs(), seeds, st.sampled_from(NAMESPACES))
def test_the_value_comes_along(spec, seed, namespace) -> None:
    arrays, cotangent = random_arrays(spec, seed, "complex128", namespace)
    value, gradients = value_and_gradients(plan(spec), arrays, cotangent)
    np.testing.assert_allclose(np.asarray(value), full(spec, arrays), rtol=1e-9, atol=1e-9)
    plain = environments(plan(spec), arrays, cotangent=cotangent.conj())
    for made, other in zip(gradients, plain, strict=True):
        np.testing.assert_allclose(np.asarray(made), np.asarray(other).conj(), atol=1e-9)


@given(specs(), seeds, st.sampled_from(NAMESPACES), st.data())
def test_slices_add_up(spec, seed, namespace, data) -> None:
    arrays, cotangent = random_arrays(spec, seed, "float64", namespace)
    held = sorted(spec.sizes)
    labels = data.draw(st.lists(st.sampled_from(held), unique=True, max_size=2)) if held else []
    whole, parts = plan(spec), plan(spec, slices=labels)
    wants = value_and_gradients(whole, arrays, cotangent)
    makes = value_and_gradients(parts, arrays, cotangent)
    np.testing.assert_allclose(np.asarray(makes[0]), np.asarray(wants[0]), rtol=1e-9, atol=1e-9)
    for made, want in zip(makes[1], wants[1], strict=True):
        np.testing.assert_allclose(np.asarray(made), np.asarray(want), rtol=1e-9, atol=1e-9)


def chains(length: int, rank: int, size: int) -> Spec:
    """The inner product of two tensor trains."""
    inputs = [[f"{k}{i}", f"s{i}", f"{k}{i + 1}"] for k in "ab" for i in range(length)]
    ends = {f"{k}{i}" for k in "ab" for i in (0, length)}
    inputs = [[x for x in labels if x not in ends] for labels in inputs]
    sizes = {x: size if x[0] == "s" else rank for labels in inputs for x in labels}
    return Spec(inputs, [], sizes)


@pytest.mark.parametrize("seed", range(10))
def test_all_environments_cost_three_contractions_at_most(seed) -> None:
    rng = np.random.default_rng(seed)
    inputs: list[list[int]] = [[] for _ in range(30)]
    for label in range(45):
        for i in rng.choice(30, 2, replace=False):
            inputs[i].append(label)
    spec = Spec(inputs, [0], {x: int(rng.integers(2, 4)) for x in range(45)})
    p = plan(spec)
    bound = bound_messages(spec.canonical, p.pairs, "numpy", None, tuple(range(30)), True)
    schedule = route_of(bound, True, None).schedule
    assert schedule.flops <= 3 * sum(step.flops for step in p.program.steps)
    (one,) = sorted(rng.choice(30, 1).tolist())
    bound = bound_messages(spec.canonical, p.pairs, "numpy", None, (one,), True)
    assert route_of(bound, False, None).schedule.flops <= 2 * p.flops


def test_memory_orders_and_dtypes() -> None:
    p = plan(chains(4, 40, 3))
    rng = np.random.default_rng(0)
    xs = [rng.standard_normal(shape[::-1]).T for shape in p.spec.shapes]
    want = environments(p, [np.ascontiguousarray(x) for x in xs])
    for made, same in zip(environments(p, xs), want, strict=True):
        np.testing.assert_allclose(made, same, rtol=1e-10)
    single = environments(p, [x.astype("float32") for x in xs])
    assert {x.dtype for x in single} == {np.dtype("float32")}
    mixed = environments(p, [xs[0].astype("complex128"), *xs[1:]], leaves=[3])[0]
    np.testing.assert_allclose(mixed, want[3], rtol=1e-10)
    assert mixed.dtype == np.complex128


def test_no_environment_shares_memory_with_an_input() -> None:
    x, y = np.ones(3), np.arange(3.0)
    dx, dy = environments(plan("a,a->", [(3,), (3,)]), [x, y])
    assert not np.shares_memory(dx, y)
    assert not np.shares_memory(dy, x)
    cotangent = np.ones((2, 3))
    (made,) = environments(plan("ab->ab", [(2, 3)]), [cotangent], cotangent=cotangent)
    assert not np.shares_memory(made, cotangent)


@pytest.mark.parametrize("count", [1500, pytest.param(20_000, marks=pytest.mark.slow)])
def test_a_tree_of_many_inputs(count) -> None:
    inputs = [[i, i + 1] for i in range(count)]
    inputs[0], inputs[-1] = [1], [count - 1]
    spec = Spec(inputs, [], dict.fromkeys(range(1, count), 2))
    xs = [np.full(shape, 0.5) for shape in spec.shapes]
    for made, shape in zip(environments(plan(spec), xs), spec.shapes, strict=True):
        assert made.shape == shape
        np.testing.assert_allclose(made, 0.5 if len(shape) == 1 else 0.25)


def test_refusals() -> None:
    p = plan("ab,bc->ac", [(2, 3), (3, 4)])
    xs = [np.ones((2, 3)), np.ones((3, 4))]
    with pytest.raises(InputError, match="cotangent"):
        environments(p, xs)
    with pytest.raises(ShapeError, match="cotangent"):
        environments(p, xs, cotangent=np.ones((4, 2)))
    with pytest.raises(InputError, match="leaves"):
        environments(p, xs, cotangent=np.ones((2, 4)), leaves=[2])
    with pytest.raises(ShapeError, match="2 inputs"):
        environments(p, xs[:1], cotangent=np.ones((2, 4)))
    if "torch" in NAMESPACES:
        import torch

        with pytest.raises(BackendError, match="torch"):
            environments(p, xs, cotangent=torch.ones(2, 4))


@given(specs(max_inputs=5), seeds, st.data())
def test_differences_in_long_double(spec, seed, data) -> None:
    """A contraction is linear in each input: central differences have no truncation error."""
    arrays, cotangent = random_arrays(spec, seed)
    made = environments(plan(spec), arrays, cotangent=cotangent)
    wide = [x.astype(np.longdouble) for x in arrays]
    leaf = data.draw(st.integers(0, len(arrays) - 1))
    step = np.longdouble(0.5)
    for place in np.ndindex(arrays[leaf].shape):
        ends = []
        for sign in (1, -1):
            moved = wide[leaf].copy()
            moved[place] += sign * step
            others = [moved if i == leaf else x for i, x in enumerate(wide)]
            ends.append(np.sum(full(spec, others) * cotangent))
        want = float((ends[0] - ends[1]) / (2 * step))
        assert made[leaf][place] == pytest.approx(want, rel=1e-8, abs=1e-12)


def test_a_complex_step_gives_all_derivatives_along_a_line() -> None:
    """The imaginary part of f(x + i h v) / h is exact for h far below the rounding of x."""
    p = plan(chains(5, 4, 3))
    xs, _ = random_arrays(p.spec, 0)
    lines, _ = random_arrays(p.spec, 1)
    h = 1e-100
    slope = p.run([x + 1j * h * v for x, v in zip(xs, lines, strict=True)]).imag / h
    found = environments(p, xs)
    want = sum(np.sum(e * v) for e, v in zip(found, lines, strict=True))
    assert slope == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("slices", ["", "a", "ab", "c"])
@pytest.mark.parametrize("empty", ["a", "b", "c", "abc"])
def test_labels_of_size_zero(empty, slices, namespace) -> None:
    sizes = {x: 0 if x in empty else 2 for x in "abc"}
    spec = Spec(["ab", "bc", "aa", "c"], "c", sizes)
    arrays, cotangent = random_arrays(spec, 0, "float64", namespace)
    p = plan(spec, slices=slices)
    value, found = value_and_gradients(p, arrays, cotangent)
    assert tuple(value.shape) == spec.shape
    assert not np.asarray(value).any()
    for leaf, made in enumerate(found):
        want = by_units(spec, arrays, cotangent, leaf)
        np.testing.assert_allclose(np.asarray(made), want, atol=1e-12)


@given(specs(sizes=(0, 1, 2)), seeds)
def test_sizes_from_zero(spec, seed) -> None:
    arrays, cotangent = random_arrays(spec, seed)
    for leaf, made in enumerate(environments(plan(spec), arrays, cotangent=cotangent)):
        np.testing.assert_allclose(made, by_units(spec, arrays, cotangent, leaf), atol=1e-9)


def test_what_slices_have_in_common_is_done_once() -> None:
    count, size = 12, 5
    spec = Spec([[i, i + 1] for i in range(count)], [0, count], dict.fromkeys(range(13), 3))
    sizes = {**spec.sizes, 1: size}
    spec = Spec(spec.inputs, spec.output, sizes)
    path = [(11, 10), *((count + k, 9 - k) for k in range(count - 2))]
    p = plan(spec, path=path, slices=[1])
    question = (p.spec.canonical, p.pairs, p.compiled.slices, "numpy", None, tuple(range(count)))
    nest, _ = derivation_of(Question(*question, True, False), None)
    steps = [(len(stage.route.up) + len(stage.route.down), stage.depth) for stage in nest.stages]
    inner = sum(steps for steps, depth in steps if depth)
    assert {depth for _, depth in steps} == {0, 1}
    assert inner <= 6  # of some thirty


def test_a_diagonal_takes_no_indices() -> None:
    spec = Spec(["aab", "b"], "a", {"a": 40, "b": 30})
    arrays, cotangent = random_arrays(spec, 0)
    p = plan(spec)
    environments(p, arrays, cotangent=cotangent)
    tracemalloc.start()
    environments(p, arrays, cotangent=cotangent)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * 8 * 40 * 40 * 30
