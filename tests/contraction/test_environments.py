"""Environments against the definition: a contraction is linear in each input, so unit inputs."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contraction import environments, plan, value_and_gradients
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
