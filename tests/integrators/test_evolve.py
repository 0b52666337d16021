"""evolve: against dense references; output times, drifts, scaling, what is kept, bad input."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import tnet
from contraction.errors import ConvergenceError, DTypeError, InputError, NonFiniteError, TnetError
from contraction.truncation import Truncation
from integrators import (
    AugmentedBUG,
    ConstantStep,
    KeepMoments,
    KeepNorm,
    Outcome,
    ParallelBUG,
    PIStep,
    RankRejection,
    Scaling,
    evolve,
)
from integrators.models import ising
from integrators.moments import advance, begin, observe
from integrators.steppers.base import AbstractStepper, Estimates, Statistics, Step
from references import dense_sum, quench

MODEL = ising(6)
TREE = tnet.balanced_tree(MODEL.sites)
HAMILTONIAN = tnet.operator(TREE, MODEL)
UP = tnet.product_state(TREE, dict.fromkeys(TREE.modes, 0))
EXACT = Truncation(tol=1e-10)


def z(net: tnet.Network) -> np.ndarray:
    return tnet.local_values(net, "z")


def dense_state(times: list[float]) -> np.ndarray:
    return quench(dense_sum(MODEL.sites, MODEL), UP.to_dense().reshape(-1), times)


def error_of(flow, t: float) -> float:
    wanted = dense_state([t])[0]
    return float(np.linalg.norm(flow.state.to_dense().reshape(-1) - wanted))


def test_agrees_with_the_exponential() -> None:
    flow = evolve(-1j * HAMILTONIAN, UP, t1=0.5, dt=0.025, stepper=AugmentedBUG(truncation=EXACT))
    assert error_of(flow, 0.5) < 1e-4
    assert flow.outcome is Outcome.FINISHED
    assert flow.drift.norm < 1e-8
    assert flow.drift.energy < 1e-7
    assert flow.counts.steps == 20
    assert flow.statistics["applications"] > 20


@pytest.mark.parametrize("controller", [ConstantStep(), PIStep(tol=1e-2)])
def test_output_times_are_hit_exactly(controller) -> None:
    wanted = [0.0, 0.1, 1 / 7, 0.3333, 0.5]
    flow = evolve(
        -1j * HAMILTONIAN,
        UP,
        t1=0.6,
        dt=0.04,
        save_at=wanted,
        controller=controller,
        measure={"z": z},
    )
    assert flow.times.tolist() == wanted
    assert flow.values["z"].shape == (5, 6)
    psi = dense_state(wanted[1:])
    signs = [np.kron(np.kron(np.ones(2**k), [1, -1]), np.ones(2 ** (5 - k))) for k in range(6)]
    exact = np.asarray([[np.abs(state) ** 2 @ sign for sign in signs] for state in psi])
    assert np.abs(flow.values["z"][1:] - exact).max() < 2e-3
    assert np.all(flow.values["z"][0] == 1.0)


def test_steps_between_output_times_are_equal_and_no_longer_than_asked() -> None:
    seen = []
    evolve(
        -1j * HAMILTONIAN,
        UP,
        t1=1.0,
        dt=0.15,
        save_at=[0.4, 1.0],
        callback=lambda moment: seen.append((moment.time, moment.step)),
    )
    lengths = [step for _, step in seen]
    assert np.allclose(lengths, [0.4 / 3] * 3 + [0.15] * 4, rtol=1e-12)
    assert seen[2][0] == 0.4
    assert seen[-1][0] == 1.0


def test_every_records_the_first_the_last_and_each_nth() -> None:
    flow = evolve(-1j * HAMILTONIAN, UP, t1=0.5, dt=0.05, every=4)
    assert np.allclose(flow.times, [0.0, 0.2, 0.4, 0.5], rtol=1e-14)
    assert flow.times[-1] == 0.5
    assert [set(r) for r in flow.ranks] == [set(TREE.bonds)] * 4
    assert flow.max_ranks.shape == flow.norms.shape == flow.energies.shape == (4,)


def test_a_tolerance_per_unit_of_time_survives_small_steps() -> None:
    errors = {}
    for scaling, dt in itertools.product(Scaling, (0.05, 0.00625)):
        stepper = AugmentedBUG(truncation=Truncation(tol=1e-3))
        flow = evolve(-1j * HAMILTONIAN, UP, t1=0.5, dt=dt, stepper=stepper, scaling=scaling)
        errors[scaling, dt] = error_of(flow, 0.5)
        assert flow.truncations[-1] <= 1e-3 * (0.5 if scaling is Scaling.PER_TIME else 0.5 / dt)
    assert errors[Scaling.PER_TIME, 0.00625] < 1.1 * errors[Scaling.PER_TIME, 0.05] + 1e-4
    assert errors[Scaling.PER_STEP, 0.00625] > 3 * errors[Scaling.PER_TIME, 0.00625]


def test_imaginary_time_lowers_the_energy_of_h() -> None:
    flow = evolve(-1.0 * HAMILTONIAN, UP, t1=3.0, dt=0.1, every=5, keep=[KeepNorm()])
    lowest = np.linalg.eigvalsh(dense_sum(MODEL.sites, MODEL).toarray())[0]
    assert flow.energies[0] == pytest.approx(-6.0)
    assert np.all(np.diff(flow.energies) < 0)
    assert flow.energies[-1] == pytest.approx(lowest, abs=2e-2)
    assert flow.energies[-1] > lowest - 1e-9
    assert tnet.norm(flow.state) == pytest.approx(1.0)
    assert flow.norms[-1] > 1e6  # what the flow itself has done is still told


def test_an_energy_may_be_named() -> None:
    field = tnet.operator(TREE, [(1.0, {"s0": "z"})])
    flow = evolve(-1j * HAMILTONIAN, UP, t1=0.2, dt=0.05, energy=field, measure={"z": z})
    assert np.allclose(flow.energies, flow.values["z"][:, 0], atol=1e-12)


def test_norm_is_kept_and_its_drift_told() -> None:
    stepper = ParallelBUG(truncation=Truncation(tol=1e-8, max_rank=4))
    plain = evolve(-1j * HAMILTONIAN, UP, t1=0.5, dt=0.1, stepper=stepper)
    kept = evolve(-1j * HAMILTONIAN, UP, t1=0.5, dt=0.1, stepper=stepper, keep=[KeepNorm()])
    assert plain.drift.norm > 1e-5
    assert tnet.norm(kept.state) == pytest.approx(1.0, abs=1e-14)
    # the steps are linear in the state, so that only its length differs
    assert np.allclose(kept.norms, plain.norms, rtol=1e-6)


def test_moments_survive_truncations() -> None:
    """Diffusion in two dimensions: the mass is lost to truncations unless it is kept."""
    n = 24
    laplace = np.diag(np.full(n - 1, 1.0), 1) + np.diag(np.full(n - 1, 1.0), -1) - 2 * np.eye(n)
    laplace[0, 0] = laplace[-1, -1] = -1.0  # nothing flows out
    tree = tnet.tensor_train({"x": n, "y": n}, 6)
    heat = tnet.operator(tree, [(1.0, {"x": laplace}), (1.0, {"y": laplace})])
    grid = np.linspace(-1, 1, n)
    bumps = ((0.3, 0.2), (-0.4, 0.5), (0.1, -0.6))
    x, y = grid[:, None], grid[None, :]
    full = sum(np.exp(-8 * ((x - a) ** 2 + (y - b) ** 2 + a * x * y)) for a, b in bumps)
    start = tnet.decompose(full, tree, tol=1e-12)
    ones = tnet.product_state(tree, {"x": np.ones(n), "y": np.ones(n)})
    mass = full.sum()
    stepper = AugmentedBUG(truncation=Truncation(tol=1e-9, max_rank=2))
    lost, kept = (
        evolve(
            heat,
            start,
            t1=2.0,
            dt=0.25,
            stepper=stepper,
            scaling=Scaling.PER_STEP,
            measure={"mass": lambda net: tnet.inner(ones, net).real},
            keep=keep,
        ).values["mass"]
        for keep in ([], [KeepMoments(moments=[ones])])
    )
    assert abs(lost[-1] / mass - 1.0) > 5e-5
    assert np.abs(kept / mass - 1.0).max() < 0.1 * abs(lost[-1] / mass - 1.0)


def test_a_moment_in_between_is_all_that_is_needed() -> None:
    parts = {"dt": 0.05, "measure": {"z": z}, "controller": PIStep(tol=1e-2)}
    whole = evolve(-1j * HAMILTONIAN, UP, t1=0.3, **parts)
    evolution, moment = begin(-1j * HAMILTONIAN, UP, **parts)
    while moment.time < 0.15:
        moment = advance(evolution, moment, 0.3)
    again, _ = begin(-1j * HAMILTONIAN, moment.state.to_network(), **parts)
    while moment.time < 0.3:
        moment = advance(again, moment, 0.3)
    row = observe(again, moment)
    assert np.array_equal(row.values["z"], whole.values["z"][-1])
    assert row.energy == whole.energies[-1]
    assert moment.counts == whole.counts


def test_the_callback_may_stop() -> None:
    flow = evolve(
        -1j * HAMILTONIAN,
        UP,
        t1=1.0,
        dt=0.1,
        callback=lambda moment: Outcome.STOPPED if moment.time > 0.25 else None,
    )
    assert flow.outcome is Outcome.STOPPED
    assert flow.times[-1] == pytest.approx(0.3)


def test_pi_steps_reach_what_they_promise() -> None:
    errors = []
    for tol in (1.0, 1e-1, 1e-2):
        stepper = ParallelBUG(truncation=Truncation(tol=1e-9, min_rank=4))
        flow = evolve(
            -1j * HAMILTONIAN, UP, t1=0.5, dt=0.2, stepper=stepper, controller=PIStep(tol=tol)
        )
        errors.append(error_of(flow, 0.5))
        assert errors[-1] <= max(flow.errors[-1], tol * 0.5)
        assert flow.errors[-1] <= tol * 0.5 * 1.01
    assert errors[2] < errors[0] / 5


def test_pi_steps_know_when_the_rank_is_to_blame() -> None:
    stepper = AugmentedBUG(truncation=Truncation(tol=1e-9, max_rank=2))
    flow = evolve(
        -1j * HAMILTONIAN, UP, t1=0.4, dt=0.1, stepper=stepper, controller=PIStep(tol=1e-5)
    )
    assert flow.times[-1] == 0.4
    assert flow.counts.rank_limited > 0


def test_pi_steps_with_a_partner() -> None:
    pair = PIStep(tol=1e-2, partner=AugmentedBUG(truncation=EXACT))
    stepper = ParallelBUG(truncation=EXACT)
    flow = evolve(-1j * HAMILTONIAN, UP, t1=0.2, dt=0.05, stepper=stepper, controller=pair)
    assert error_of(flow, 0.2) < 1e-2


def random_start(rank: int) -> tuple:
    model = ising(8)
    tree = tnet.balanced_tree(model.sites, rank)
    net = tnet.random_network(tree, rng=np.random.default_rng(0), dtype="complex128")
    exact = quench(dense_sum(model.sites, model), net.to_dense().reshape(-1), [0.1])[0]
    return -1j * tnet.operator(tree, model), net, exact


@pytest.mark.parametrize("rule", [RankRejection(), RankRejection(factor=1e-3, on_saturation=False)])
def test_steps_whose_bases_are_too_small_are_repeated(rule) -> None:
    generator, net, exact = random_start(2)
    stepper = ParallelBUG(truncation=Truncation(tol=1e-3))
    plain = evolve(generator, net, t1=0.1, dt=0.1, stepper=stepper, opening=0)
    again = evolve(generator, net, t1=0.1, dt=0.1, stepper=stepper, rejection=rule, opening=0)
    assert 1 <= again.counts.augmented <= rule.tries
    errors = [np.linalg.norm(f.state.to_dense().reshape(-1) - exact) for f in (plain, again)]
    assert errors[1] < 0.6 * errors[0]


def test_a_rank_at_its_limit_is_told_and_ends() -> None:
    generator, net, _ = random_start(4)
    cut = Truncation(tol=1e-6, max_rank=4)
    rule = RankRejection(factor=1e-3)
    stepper = ParallelBUG(truncation=cut)
    flow = evolve(generator, net, t1=0.2, dt=0.1, stepper=stepper, rejection=rule)
    assert flow.counts.augmented == 0
    assert flow.counts.rank_limited == flow.counts.steps == 2
    # where a shorter step changes the verdict, it is tried before
    flow = evolve(
        generator,
        net,
        t1=0.2,
        dt=0.1,
        stepper=stepper,
        rejection=rule,
        scaling=Scaling.PER_STEP,
    )
    assert flow.counts.halved > 0
    assert flow.times[-1] == 0.2


class Broken(AbstractStepper):
    """A stepper that gives NaN where the step is longer than `limit`."""

    limit = 0.03

    def step(self, field, t, h, state):
        if h > self.limit:
            core = state.cores[0] * float("nan")
            return Step(state.with_cores({0: core}), Estimates(), Statistics(1, 0))
        return AugmentedBUG(truncation=self.truncation).step(field, t, h, state)


class Hopeless(Broken):
    limit = 0.0


@pytest.mark.parametrize("controller", [ConstantStep(), PIStep(tol=1.0)])
def test_steps_that_are_not_finite_are_shortened(controller) -> None:
    flow = evolve(-1j * HAMILTONIAN, UP, t1=0.2, dt=0.1, stepper=Broken(), controller=controller)
    assert flow.times[-1] == 0.2
    assert flow.counts.halved > 0
    assert error_of(flow, 0.2) < 5e-3
    with pytest.raises(ConvergenceError, match=r"t = 0 .*not finite"):
        evolve(-1j * HAMILTONIAN, UP, t1=0.2, dt=0.1, stepper=Hopeless(), controller=controller)


def test_torch_gives_the_same() -> None:
    pytest.importorskip("torch")
    flows = [
        evolve(-1j * HAMILTONIAN, state, t1=0.1, dt=0.05, measure={"z": z})
        for state in (UP, UP.to(namespace="torch"))
    ]
    assert flows[1].state.namespace == "torch"
    assert np.allclose(flows[0].values["z"], flows[1].values["z"], atol=1e-10)


NAN = UP.replace({"u0": UP["u0"] * np.nan})
OTHER = tnet.product_state(tnet.tensor_train(MODEL.sites), dict.fromkeys(MODEL.sites, 0))


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"t1": 0.0}, InputError, "later than `t0`"),
        ({"t1": -1.0}, InputError, "minus the generator"),
        ({"t1": math.nan}, InputError, "finite"),
        ({"t1": "1"}, InputError, "must be a number"),
        ({"dt": 0.0}, InputError, "positive"),
        ({"dt": -0.1}, InputError, "positive"),
        ({"dt": math.inf}, InputError, "finite"),
        ({"dt": 1e-300}, InputError, "too small"),
        ({"t0": True}, InputError, "must be a number"),
        ({"every": 0}, TnetError, "every"),
        ({"every": 2, "save_at": [0.1]}, InputError, "not both"),
        ({"save_at": []}, InputError, "empty"),
        ({"save_at": [0.2, 0.1]}, InputError, "increase"),
        ({"save_at": [0.1, math.nan]}, InputError, "increase"),
        ({"save_at": [0.1, 2.0]}, InputError, "not between"),
        ({"save_at": 3}, InputError, "sequence"),
        ({"measure": [z]}, InputError, "maps names"),
        ({"measure": {"z": "z"}}, InputError, "function of a network"),
        ({"measure": {"z": lambda net: "text"}}, InputError, "must return numbers"),
        ({"stepper": "bug"}, InputError, "stepper"),
        ({"stepper": AugmentedBUG(truncation=Truncation(max_params=9))}, InputError, "max_rank"),
        ({"controller": 0.1}, InputError, "controller"),
        ({"callback": 1}, InputError, "callback"),
        ({"scaling": "per_time"}, InputError, "Scaling"),
        ({"rejection": True}, InputError, "RankRejection"),
        ({"keep": ["norm"]}, InputError, "KeepNorm"),
        ({"keep": [KeepMoments(moments=[OTHER])]}, InputError, "graph of the state"),
        ({"state": np.ones(64)}, DTypeError, "Network"),
        ({"state": NAN}, NonFiniteError, "'u0'"),
        ({"state": OTHER}, TnetError, "not on the same tree"),
        ({"generator": "H"}, InputError, "generator"),
    ],
)
def test_bad_input_is_refused_before_any_work(change, kind, words) -> None:
    given = {"generator": -1j * HAMILTONIAN, "state": UP, "t1": 1.0, "dt": 0.1, **change}
    with pytest.raises(kind, match=words):
        evolve(given.pop("generator"), given.pop("state"), **given)


def test_a_measure_keeps_its_shape() -> None:
    shapes = iter(range(1, 9))
    with pytest.raises(InputError, match="its shape must stay"):
        evolve(
            -1j * HAMILTONIAN, UP, t1=0.1, dt=0.05, measure={"m": lambda _: np.ones(next(shapes))}
        )


@pytest.mark.parametrize(
    "make",
    [
        lambda: PIStep(tol=0.0),
        lambda: PIStep(tol=math.nan),
        lambda: PIStep(safety=1.0),
        lambda: PIStep(smallest=2.0, largest=1.0),
        lambda: RankRejection(factor=0.0),
        lambda: RankRejection(tries=0),
        lambda: RankRejection(halvings=-1),
        lambda: KeepMoments(moments=[]),
    ],
)
def test_bad_options_are_refused(make) -> None:
    with pytest.raises(InputError):
        make()
