"""Quenches through the public names, against free fermions and dense exponentials."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import references
import tnet
from contraction.truncation import Truncation
from integrators import (
    TDVP,
    AugmentedBUG,
    Lanczos,
    MidpointBUG,
    ParallelBUG,
    ParallelBUG2,
    evolve,
    models,
)

CHAIN, BINARY = tnet.tensor_train, tnet.balanced_tree
ISING_MEAN = {  # coupling = field = 1: spins -> mean <Z> at t = 0.25, 0.5, 1
    16: (0.80075239, 0.50742584, 0.54107840),
    32: (0.79455739, 0.49545751, 0.53520397),
    64: (0.79145990, 0.48947334, 0.53226676),
    128: (0.78991115, 0.48648125, 0.53079815),
}
ISING_FIFTY = {  # 50 spins, coupling 1: field -> (mean, site 25) at t = 0.5, 1, 2, 5, 10
    0.5: (
        (0.353945803207, 0.344630716873),
        (0.268732269516, 0.281734058298),
        (0.477216191513, 0.524759144878),
        (0.497090791126, 0.508124434800),
        (0.480027652712, 0.495639877019),
    ),
    1.0: (
        (0.491148903903, 0.483489167994),
        (0.533089176287, 0.529329543357),
        (0.510962223870, 0.505649823479),
        (0.507948161810, 0.503150957951),
        (0.504450590495, 0.499300517871),
    ),
    2.0: (
        (0.823837978470, 0.820433514575),
        (0.883698371649, 0.881189786220),
        (0.870513374338, 0.867251224756),
        (0.876665289473, 0.873909969255),
        (0.877487413727, 0.874935502736),
    ),
}
ENTROPY_FIFTY = {0.5: 0.518998, 1.0: 0.706122, 1.5: 0.753308, 2.0: 0.861968}  # field 0.5, middle
XX_TWENTY = {1.0: (-0.111945389571, 0.288362403878), 2.0: (0.198574904932, -0.016510832006)}


def up(model: Any) -> dict[str, list[float]]:
    return {s: [1.0, 0.0] for s in model.sites}


def neel(model: Any) -> dict[str, list[float]]:
    return {s: [1.0 - k % 2, float(k % 2)] for k, s in enumerate(model.sites)}


def quench(
    model: Any,
    shape: Any,
    stepper: Any,
    times: Any,
    dt: float,
    *,
    start: Any = up,
    op: str = "z",
    tol: float = 1e-6,
    rank: int | None = 32,
    krylov: float = 1e-6,
    **options: Any,
) -> Any:
    tree = shape(model.sites)
    rule = Truncation(tol=tol, max_rank=rank)
    return evolve(
        -1j * tnet.operator(tree, model),
        tnet.product_state(tree, start(model)),
        t1=times[-1],
        dt=dt,
        stepper=stepper(truncation=rule, local=Lanczos(tol=krylov)),
        measure={"local": tnet.local_profile(op)},
        save_at=times,
        **options,
    )


def worst(flow: Any, want: Any) -> float:
    """Largest error over times and sites."""
    return float(np.abs(flow.values["local"] - want).max())


def worst_mean(flow: Any, want: Any) -> float:
    """Largest error over times of the mean over sites."""
    return float(np.abs(flow.values["local"].mean(axis=1) - np.mean(want, axis=1)).max())


@pytest.mark.parametrize("d", ISING_MEAN)
def test_the_reference_is_the_published_one(d):
    found = references.ising_quench(d, [0.25, 0.5, 1.0]).mean(axis=1)
    np.testing.assert_allclose(found, ISING_MEAN[d], atol=6e-9)


@pytest.mark.parametrize("field", ISING_FIFTY)
def test_the_reference_of_fifty_spins(field):
    found = references.ising_quench(50, [0.5, 1.0, 2.0, 5.0, 10.0], field=field)
    np.testing.assert_allclose(
        np.stack([found.mean(axis=1), found[:, 25]], axis=1), ISING_FIFTY[field], atol=1e-10
    )


@pytest.mark.parametrize(
    ("stepper", "coarse", "fine", "norm"),
    [
        (AugmentedBUG, 5e-4, 3e-5, 1e-8),
        (MidpointBUG, 5e-4, 3e-5, 1e-8),
        pytest.param(ParallelBUG2, 5e-4, 1e-5, 1e-4, marks=pytest.mark.slow),
        (ParallelBUG, 2e-3, 4e-4, 1e-2),
    ],
)
def test_sixteen_spins_of_rank_sixteen(stepper, coarse, fine, norm):
    """Mean of Z on the balanced binary tree, largest error over three times, at two steps."""
    times = (0.25, 0.5, 1.0)
    want = references.ising_quench(16, times)
    for h, bound in ((0.05, coarse), (0.0125, fine)):
        flow = quench(models.ising(16), BINARY, stepper, times, h, rank=16)
        assert worst_mean(flow, want) <= bound, (stepper, h)
        assert flow.drift.norm < norm
        assert max(flow.max_ranks) <= 16


@pytest.mark.parametrize("shape", [CHAIN, BINARY])
def test_thirty_two_spins(shape):
    """Two-site TDVP: every site to 3e-6, norm and energy kept."""
    times = (0.125, 0.25)
    flow = quench(models.ising(32), shape, TDVP, times, 0.125, rank=None, tol=3e-6)
    assert worst(flow, references.ising_quench(32, times)) < 3e-6
    assert flow.drift.norm < 1e-10
    assert flow.drift.energy < 1e-9
    assert flow.energies[0] == pytest.approx(-32.0, abs=1e-12)


def test_neel_state_on_a_chain():
    """The XX chain: hard sectors of the magnetisation, from a product state."""
    times = (1.0, 2.0)
    flow = quench(
        models.heisenberg(20, anisotropy=0.0), CHAIN, TDVP, times, 0.1, start=neel, op="sz"
    )
    assert worst(flow, references.xx_neel(20, times)) < 1e-6
    for row, (middle, edge) in zip(flow.values["local"], XX_TWENTY.values(), strict=True):
        assert row[9] == pytest.approx(middle, abs=1e-6)
        assert row[0] == pytest.approx(edge, abs=1e-6)
    assert flow.values["local"].sum(axis=1) == pytest.approx(0.0, abs=1e-9)
    assert flow.drift.energy < 1e-10


@pytest.mark.parametrize(("stepper", "bound"), [(TDVP, 1e-6), (AugmentedBUG, 4e-4)])
def test_neel_state_on_a_binary_tree(stepper, bound):
    """A start whose bases miss sectors keeps an error that no shorter step removes."""
    times = (0.5, 1.0)
    flow = quench(
        models.heisenberg(16, anisotropy=0.0), BINARY, stepper, times, 0.05, start=neel, op="sz"
    )
    assert worst(flow, references.xx_neel(16, times)) < bound
    assert flow.drift.norm < 1e-8
    assert flow.drift.energy < 1e-8


@pytest.mark.slow
def test_fifty_spins_to_two():
    """Every <Z_i> to 1e-6 at t = 2; the entropy in the middle on the way."""
    times = (0.5, 1.0, 1.5, 2.0)
    model = models.ising(50, field=0.5)
    tree = CHAIN(model.sites)
    middle = tree.bonds[24]
    flow = evolve(
        -1j * tnet.operator(tree, model),
        tnet.product_state(tree, up(model)),
        t1=2.0,
        dt=0.1,
        stepper=TDVP(truncation=Truncation(tol=1e-6, max_rank=64)),
        measure={"local": tnet.local_profile("z"), "entropy": tnet.entanglement(middle)},
        save_at=times,
    )
    assert worst(flow, references.ising_quench(50, times, field=0.5)) <= 1e-6
    np.testing.assert_allclose(flow.values["entropy"], list(ENTROPY_FIFTY.values()), atol=1e-5)
    assert flow.drift.energy < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("field", [1.0, 2.0])
def test_fifty_spins_of_other_fields(field):
    times = (0.5, 1.0)
    flow = quench(models.ising(50, field=field), CHAIN, TDVP, times, 0.1, rank=64)
    assert worst(flow, references.ising_quench(50, times, field=field)) <= 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("d", [64, 128])
@pytest.mark.parametrize(
    ("stepper", "dt"), [(AugmentedBUG, 0.025), (MidpointBUG, 0.05), (ParallelBUG2, 0.025)]
)
def test_many_spins_on_a_binary_tree(d, stepper, dt):
    """Mean of Z of 64 and 128 spins to 1e-3, at a cap of 16."""
    times = (0.0, 0.25, 0.5)
    flow = quench(models.ising(d), BINARY, stepper, times, dt, rank=16)
    assert worst_mean(flow, references.ising_quench(d, times)) < 1e-3
    assert flow.energies[0] == pytest.approx(-d, abs=1e-10)
    assert flow.drift.energy < 1e-2
    assert flow.drift.norm < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("d", [64, 128])
def test_many_spins_to_one(d):
    """Two-site TDVP on the chain: every site of 64 and 128 spins to 1e-6."""
    times = (0.25, 0.5, 1.0)
    flow = quench(models.ising(d), CHAIN, TDVP, times, 0.125, rank=64)
    assert worst(flow, references.ising_quench(d, times)) < 1e-6
    assert flow.drift.energy < 1e-8
