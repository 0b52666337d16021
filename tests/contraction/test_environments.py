"""Environments against the definition: a contraction is linear in each input, so unit inputs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contraction import Spec, environments, plan, value_and_gradients
from contraction.errors import BackendError, InputError, MemoryBudgetError, ShapeError
from strategies import NAMESPACES, seeds


@st.composite
def specs(draw, max_inputs=6, sizes=(1, 2, 3), max_labels=3):
    """Any contraction: diagonals, traces, sums of one input, hyperedges, parts, size one."""
    pool = "abcdefg"[: draw(st.integers(1, 7))]
    count = draw(st.integers(1, max_inputs))
    inputs = [draw(st.lists(st.sampled_from(pool), max_size=max_labels)) for _ in range(count)]
    held = sorted({x for labels in inputs for x in labels})
    output = draw(st.lists(st.sampled_from(held), unique=True, max_size=3)) if held else []
    return Spec(inputs, output, {x: draw(st.sampled_from(sizes)) for x in pool})


def random_arrays(spec, seed, dtype="float64", namespace="numpy"):
    rng = np.random.default_rng(seed)
    made = []
    for shape in (*spec.shapes, spec.shape):
        x = rng.standard_normal(shape)
        if dtype == "complex128":
            x = x + 1j * rng.standard_normal(shape)
        made.append(np.asarray(x))
    if namespace == "torch":
        import torch

        made = [torch.from_numpy(x) for x in made]
    return made[:-1], made[-1]


def full(spec, arrays):
    """The whole contraction by numpy.einsum, with whole numbers for labels."""
    number = {x: i for i, x in enumerate(spec.sizes)}
    operands = []
    for x, labels in zip(arrays, spec.inputs, strict=True):
        operands += [np.asarray(x), [number[label] for label in labels]]
    return np.einsum(*operands, [number[label] for label in spec.output])


def by_units(spec, arrays, cotangent, leaf):
    """The derivative by one input, entry by entry."""
    made = np.zeros(spec.shapes[leaf], np.result_type(*map(np.asarray, (*arrays, cotangent))))
    for place in np.ndindex(made.shape):
        unit = np.zeros(made.shape)
        unit[place] = 1.0
        others = [unit if i == leaf else x for i, x in enumerate(arrays)]
        made[place] = np.sum(full(spec, others) * np.asarray(cotangent))
    return made


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
