"""Mixed precision: the estimate covers the true error as often as it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contraction import mixed_run, plan
from contraction.error_kinds import ErrorKind
from contraction.errors import DTypeError, InputError, NonFiniteError, PlanError
from contractions import full, random_arrays, specs
from strategies import NAMESPACES, seeds


def cancelling(seed, size=30):
    """A product of three matrices that is far smaller than its factors."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((size, 2 * size))
    basis = np.linalg.qr(x.T, mode="complete")[0]
    y = basis[:, size:] + 10.0 ** -rng.integers(2, 12) * rng.standard_normal((2 * size, size))
    spread = 10.0 ** rng.uniform(-3, 3, size)  # errors lie in a few columns
    return [x, y, np.diag(spread)]


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_the_estimate_is_honest_under_cancellation(namespace) -> None:
    p = plan("ab,bc,cd->ad", [(30, 60), (60, 30), (30, 30)])
    ratios, covered = [], 0
    for seed in range(60):
        xs = cancelling(seed)
        want = np.linalg.multi_dot(xs)
        if namespace == "torch":
            import torch

            xs = [torch.from_numpy(x) for x in xs]
        done = mixed_run(p, xs, rng=np.random.default_rng(seed), probes=20)
        error = np.linalg.norm(np.asarray(done.value) - want)
        ratios.append(error / done.error)
        covered += error <= 2 * done.error
        assert done.kind is ErrorKind.ESTIMATE
        true = error / np.linalg.norm(want)
        assert true / 10 <= done.relative <= 10 * true
    assert covered >= 60 * done.confidence
    assert 0.7 < np.median(ratios) < 1.4  # and it does not cry wolf
    assert max(ratios) < 5


@given(specs(), seeds, st.sampled_from(["float64", "complex128"]), st.data())
def test_chosen_steps_and_the_error_of_each_run(spec, seed, dtype, data) -> None:
    xs, _ = random_arrays(spec, seed, dtype)
    p = plan(spec)
    steps = data.draw(st.sets(st.integers(0, max(len(p.pairs) - 1, 0)))) if p.pairs else set()
    done = mixed_run(p, xs, steps=steps, rng=np.random.default_rng(seed))
    want = full(spec, xs)
    error = np.linalg.norm(np.asarray(done.value) - want)
    assert done.value.dtype == want.dtype
    scale = np.prod([np.linalg.norm(x.reshape(-1)) for x in xs]) * max(want.size, 1)
    assert error <= 1e-5 * scale + 1e-12
    assert error <= 10 * done.error + 1e-12 * scale
    if p.pairs and not steps:
        assert error <= 1e-12 * scale
    if not spec.output:
        assert done.kind is ErrorKind.EXACT


def test_large_and_small_inputs_stay_in_range() -> None:
    xs = [np.full((4, 4), 1e150), np.full((4, 4), 1e-120)]
    done = mixed_run(plan("ab,bc->ac", [(4, 4)] * 2), xs)
    np.testing.assert_allclose(done.value, 4e30, rtol=1e-6)
    p = plan("ab,bc,cd->ad", [(4, 4)] * 3, slices="b")
    made = mixed_run(p, [*xs, xs[1]])
    np.testing.assert_allclose(made.value, 16e-90, rtol=1e-6)


def test_refusals() -> None:
    p = plan("ab,bc,cd->ad", [(4, 4)] * 3)
    xs = [np.ones((4, 4))] * 3
    with pytest.raises(DTypeError, match="float32"):
        mixed_run(p, [x.astype("float32") for x in xs])
    with pytest.raises(InputError, match="probes"):
        mixed_run(p, xs, probes=0)
    with pytest.raises(InputError, match="positions of steps"):
        mixed_run(p, xs, steps=[2])
    with pytest.raises(PlanError, match="slices"):
        mixed_run(plan("ab,bc,cd->ad", [(4, 4)] * 3, slices="b"), xs, steps=[0])
    with pytest.raises(NonFiniteError, match="steps"):
        mixed_run(p, [xs[0] * np.nan, *xs[1:]])
