"""A batched plan does what a loop over the plan does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contraction import Spec, batched, environments, plan
from contraction.errors import InputError, ShapeError
from contractions import random_arrays, specs
from strategies import NAMESPACES, seeds


@given(specs(), seeds, st.integers(0, 4), st.sampled_from(NAMESPACES), st.data())
def test_batched_is_a_loop(spec, seed, size, namespace, data) -> None:
    p = plan(spec)
    leaves = data.draw(st.sets(st.integers(0, len(spec.inputs) - 1), min_size=1))
    many = batched(p, leaves, size)
    runs = [random_arrays(spec, seed + k, namespace=namespace)[0] for k in range(size)]
    fixed, _ = random_arrays(spec, seed, namespace=namespace)
    stacked, _ = random_arrays(many.spec, seed, namespace=namespace)
    for i, x in enumerate(fixed):
        if i not in leaves:
            stacked[i] = x
            continue
        for k in range(size):
            stacked[i][k] = runs[k][i]
    got = np.asarray(many.run(stacked))
    assert got.shape == (size, *spec.shape)
    for k in range(size):
        xs = [runs[k][i] if i in leaves else x for i, x in enumerate(fixed)]
        np.testing.assert_allclose(got[k], np.asarray(p.run(xs)), rtol=1e-9, atol=1e-9)


def test_what_does_not_vary_is_contracted_once() -> None:
    spec = Spec(["ab", "bc", "cd"], "ad", dict.fromkeys("abcd", 20))
    one = plan(spec)
    many = batched(one, [0], 50)
    assert many.flops == 2 * (20**3 + 50 * 20**3)  # the two fixed matrices first, once
    again = batched(many, [0, 2], 3)
    assert again.spec.shapes == ((3, 50, 20, 20), (20, 20), (3, 20, 20))
    assert again.spec.shape == (3, 50, 20, 20)


def test_batches_are_differentiated_and_sliced() -> None:
    spec = Spec(["ab", "bc", "ca"], "", {"a": 2, "b": 3, "c": 4})
    p = plan(spec, slices="b")
    many = batched(p, [1], 5)
    xs, cotangent = random_arrays(many.spec, 0)
    found = environments(many, xs, cotangent=cotangent)
    wants = [environments(p, [xs[0], xs[1][k], xs[2]], cotangent=cotangent[k]) for k in range(5)]
    np.testing.assert_allclose(found[0], sum(w[0] for w in wants), rtol=1e-12)
    np.testing.assert_allclose(found[1], np.stack([w[1] for w in wants]), rtol=1e-12)


def test_refusals() -> None:
    p = plan("ab,bc->ac", [(2, 3), (3, 4)])
    with pytest.raises(InputError, match="no input"):
        batched(p, [], 3)
    with pytest.raises(InputError, match=r"0\.\.1"):
        batched(p, [2], 3)
    with pytest.raises(ShapeError, match="-1"):
        batched(p, [0], -1)
