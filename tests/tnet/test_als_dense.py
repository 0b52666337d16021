"""Fits to full tensors: recovery, monotony, starts, namespaces, errors."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tnet
from contraction.arrays import eps, to, to_numpy
from contraction.errors import (
    BackendError,
    DTypeError,
    InputError,
    NonFiniteError,
    PlanError,
    RankError,
    ShapeError,
    StructureError,
)
from planted import triangle
from strategies import DTYPES, NAMESPACES, graphs, networks, seeds, trees
from tnet import ALS, FitOutcome, Structure, Target, fit
from tnet.als import doubled as doubled_module
from tnet.als import sweep_program
from tnet.als.dense import dense_problem
from tnet.als.kernels import kernels
from tnet.als.race import Progress, Run, advance
from tnet.als.sweep_program import compile_program
from tnet.als.sweeps import residual


def rng(seed=0):
    return np.random.default_rng(seed)


def planted(structure, seed=0, dtype="float64"):
    x = tnet.contract(tnet.random_network(structure, rng=rng(seed), dtype=dtype))
    return x / np.linalg.norm(x)


def distance(x, net):
    return float(np.linalg.norm(x - to_numpy(tnet.contract(net))) / np.linalg.norm(x))


def several_modes():
    """Two modes on one node, in an order of their own, and a hub without any."""
    nodes = {"a": ("p", "x1", "x0"), "hub": ("p", "q", "r"), "b": ("q", "x3"), "c": ("x2", "r")}
    sizes = {"x0": 3, "x1": 4, "x2": 6, "x3": 5, "p": 4, "q": 2, "r": 3}
    return Structure(nodes, sizes, ("x3", "x1", "x0", "x2"))


RECOVERED = {
    "train": tnet.tensor_train((7,) * 5, [2, 3, 6, 5]),
    "ring": tnet.tensor_ring((7,) * 5, [2, 3, 4, 5, 5]),
    "triangle": triangle(),
    "tucker": tnet.tucker((7,) * 5, [2, 3, 4, 3, 2]),
    "small ring": tnet.tensor_ring((3,) * 6, [4, 3, 2, 3, 2, 2]),
    "cp": tnet.cp((5, 6, 7), 3),
    "grid": tnet.grid((3,) * 6, 2, rows=2),
    "binary tree": tnet.balanced_tree((4,) * 4, 3),
    "several modes": several_modes(),
    "one node": Structure({"a": ("x1", "x0")}, {"x0": 3, "x1": 4}, ("x0", "x1")),
    "order one": tnet.tensor_train((5,), 1),
}


@pytest.mark.parametrize("name", RECOVERED)
@pytest.mark.parametrize("dtype", DTYPES)
def test_planted_networks_are_recovered(name, dtype):
    structure = RECOVERED[name]
    x = planted(structure, dtype=dtype)
    found = fit(x, structure, rng=rng(1), options=ALS(tol=1e-4))
    assert found.error <= 1e-4
    assert found.outcome is FitOutcome.TARGET
    assert found.network.structure == structure
    assert found.network.dtype == dtype
    assert distance(x, found.network) <= 1e-4
    assert found.network.certificate.error == found.error
    assert found.error == pytest.approx(
        min(found.trace), rel=0.01, abs=3e-4 if dtype == "float32" else 1e-9
    )


@pytest.mark.parametrize("name", ["train", "ring", "cp", "several modes"])
def test_without_a_tolerance_rounding_is_reached(name):
    x = planted(RECOVERED[name])
    found = fit(x, RECOVERED[name], rng=rng(1))
    assert found.error <= 1e-12
    assert found.outcome is FitOutcome.CONVERGED


@pytest.mark.slow
@pytest.mark.parametrize("first", tnet.FirstStart)
@pytest.mark.parametrize("name", ["train", "ring", "triangle", "tucker", "small ring"])
def test_six_restarts_recover_planted_networks(name, first):
    structure = RECOVERED[name]
    options = ALS(tol=1e-4, polish=0, first=first)
    errors = [
        fit(planted(structure, seed), structure, rng=rng(1000 + seed), options=options).error
        for seed in range(50)
    ]
    assert sum(error <= 1e-4 for error in errors) >= 49


@given(graphs(max_nodes=5), st.sampled_from(DTYPES), st.sampled_from(NAMESPACES), seeds)
def test_sweeps_never_raise_the_error_and_the_error_is_exact(structure, dtype, library, seed):
    x = rng(seed).standard_normal(structure.shape)
    x = to(x, dtype=dtype, namespace=library)
    problem = dense_problem(Target(x), structure)
    cores = problem.random(rng(seed + 1))
    solving = 0.1 * math.sqrt(eps(dtype))  # saturated ranks cost digits in the normal equations
    measuring = 100.0 * math.sqrt(eps(dtype))
    before = problem.measure(cores)
    for _ in range(4):
        cores, progress = problem.sweep(cores)
        after = problem.measure(cores)
        assert after <= before + solving
        assert abs(after**2 - progress.error**2) <= measuring**2
        assert after == pytest.approx(
            float(np.linalg.norm(to_numpy(x) - _dense(problem, cores, library)))
            / np.linalg.norm(to_numpy(x)),
            abs=solving,
        )
        before = after


def _dense(problem, cores, library):
    return to_numpy(tnet.contract(tnet.Network(problem.structure, problem.arrays(cores))))


@given(graphs(max_nodes=5), seeds)
def test_a_sweep_solves_the_last_node_exactly(structure, seed):
    """Oracle: dense least squares for the node visited last, all others fixed."""
    x = rng(seed).standard_normal(structure.shape)
    problem = dense_problem(Target(x), structure)
    cores, progress = problem.sweep(problem.random(rng(seed + 1)))
    layout = problem.program.layout
    last = layout.names[problem.program.visits[-1].node if problem.program.visits else 0]
    arrays = problem.arrays(cores)
    size = math.prod(structure.node_shape(last))
    columns = []
    for k in range(size):
        unit = np.zeros(size)
        unit[k] = 1.0
        net = tnet.Network(structure, {**arrays, last: unit.reshape(structure.node_shape(last))})
        columns.append(np.asarray(tnet.contract(net)).ravel())
    design = np.stack(columns, axis=1)
    best = x.ravel() - design @ np.linalg.lstsq(design, x.ravel(), rcond=1e-9)[0]
    assert progress.error == pytest.approx(np.linalg.norm(best) / np.linalg.norm(x), abs=1e-5)


@given(graphs(max_nodes=6), st.sampled_from(DTYPES), st.sampled_from(NAMESPACES), seeds)
def test_parts_solved_apart_are_the_same_as_together(structure, dtype, library, seed):
    """The eigenvalue solve of a Kronecker block, forced where it is not worth its calls."""
    x = to(rng(seed).standard_normal(structure.shape), dtype=dtype, namespace=library)
    problem = dense_problem(Target(x), structure)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep_program, "CHEAP", 0.0)
        apart = dataclasses.replace(problem, program=compile_program.__wrapped__(structure))
    cores = problem.random(rng(seed + 1))
    a, b = problem.sweep(cores)[1].error, apart.sweep(cores)[1].error
    assert b == pytest.approx(a, abs=100 * math.sqrt(eps(dtype)))


@given(graphs(max_nodes=6), st.sampled_from(DTYPES), st.sampled_from(NAMESPACES), seeds)
def test_normal_equations_without_a_block_are_the_same(structure, dtype, library, seed):
    """Nodes beside their conjugates, forced where they are not worth their calls."""
    x = to(rng(seed).standard_normal(structure.shape), dtype=dtype, namespace=library)
    problem = dense_problem(Target(x), structure)
    doubled = dataclasses.replace(problem, program=_all_doubled(structure))
    cores = problem.random(rng(seed + 1))
    a, b = problem.sweep(cores)[1].error, doubled.sweep(cores)[1].error
    # saturated ranks cost digits in both, and sums of squares a few more
    assert b == pytest.approx(a, abs=max(100 * math.sqrt(eps(dtype)), 2e-5))


def _all_doubled(structure):
    """Compile a structure with every leaf doubled that has as many rows as columns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doubled_module, "DEAR", 0.0)
        patch.setattr(doubled_module, "ROOM", math.inf)
        patch.setattr(sweep_program, "_block_flops", lambda *_: math.inf)
        return compile_program.__wrapped__(structure)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("library", NAMESPACES)
@pytest.mark.parametrize(
    "structure",
    [
        tnet.fully_connected((5,) * 4, 2),
        tnet.tensor_ring((3,) * 6, (2, 3, 2, 3, 2, 2)),
        tnet.cp((5, 6, 7), 3),
        several_modes(),
    ],
)
def test_doubled_equations_are_those_of_the_block(structure, library, dtype):
    """Oracle: the block itself, from the program that makes it."""
    program = _all_doubled(structure)
    x = to(rng().standard_normal(structure.shape), dtype=dtype, namespace=library)
    problem = dataclasses.replace(dense_problem(Target(x), structure), program=program)
    seen = []

    def solve_normal(G, rhs, old, both):
        data, block = (to_numpy(a) for a in both())
        np.testing.assert_allclose(to_numpy(G), block.T @ block.conj(), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(to_numpy(rhs), data @ block.conj(), rtol=1e-9, atol=1e-9)
        seen.append(block.shape)
        return problem.kernels.solve_normal(G, rhs, old, both)

    watched = dataclasses.replace(problem.kernels, solve_normal=solve_normal)
    dataclasses.replace(problem, kernels=watched).sweep(problem.random(rng(1)))
    assert seen
    assert all(rows >= columns for rows, columns in seen)


def test_a_node_of_many_bonds_is_solved_without_a_block():
    structure = tnet.tensor_ring((4,) * 8, 2)
    for k in (2, 3, 5, 6):
        structure = structure.with_bond("g0", f"g{k}", 3, name=f"c{k}")
    program = compile_program(structure)
    doubled = [v.node for v in program.visits for p in v.parts if p.doubled is not None]
    assert [program.layout.names[k] for k in doubled] == ["g0"]
    x = planted(structure)
    start = tnet.random_network(structure, rng=rng(1))
    found = fit(x, structure, start=start, rng=rng(), options=ALS(probe=3, polish=0))
    assert distance(x, found.network) == pytest.approx(found.error, rel=1e-9)
    assert found.error < 1.0


def test_a_block_of_several_parts_is_solved_exactly():
    r = rng()
    blocks = [r.standard_normal((9, 4)), r.standard_normal((3, 5)) + 1j * r.standard_normal((3, 5))]
    blocks[0] = blocks[0] + 1j * r.standard_normal((9, 4))
    data = r.standard_normal((6, 27)) + 1j * r.standard_normal((6, 27))
    old = np.zeros((6, 4, 5), complex)
    block = np.kron(*blocks)
    rhs = (data @ block.conj()).reshape(6, 4, 5)
    W, explained = kernels(data).solve_product(rhs, blocks, old)
    best = np.linalg.lstsq(block, data.T, rcond=None)[0]
    np.testing.assert_allclose(W.reshape(6, 20) @ block.T, (block @ best).T, atol=1e-8)
    left = np.linalg.norm(data.T - block @ best)
    assert math.sqrt(np.linalg.norm(data) ** 2 - explained()) == pytest.approx(left, rel=1e-9)


def test_the_polish_never_raises_the_error():
    """Slow data (positive cores): extrapolated sweeps, some of which must be taken back."""
    structure = RECOVERED["triangle"]
    arrays = {n: rng(1).random(structure.node_shape(n)) for n in structure.node_names}
    x = np.asarray(tnet.contract(tnet.Network(structure, arrays)))
    problem = dense_problem(Target(x), structure)
    run = Run(problem.random(rng(2)), Progress(math.inf, math.inf))
    options = ALS(tol=1e-6)
    plain = advance(problem, run, options, sweeps=120, least=0.0)
    fast = advance(problem, run, options, sweeps=120, least=0.0, momentum=1.0)
    errors = [p.error for p in fast.trace]
    assert all(b <= a * (1 + 1e-9) for a, b in itertools.pairwise(errors))
    assert any(b == a for a, b in itertools.pairwise(errors))
    assert fast.best.error < plain.best.error
    assert fast.best.error == pytest.approx(problem.measure(fast.cores), rel=1e-6)


@given(trees(max_nodes=5, max_size=4), seeds)
def test_fit_of_a_tree_is_never_worse_than_its_start(structure, seed):
    x = rng(seed).standard_normal(structure.shape)
    start = tnet.random_network(structure, rng=rng(seed + 1))
    options = ALS(polish=0, probe=3)
    found = fit(x, start, rng=rng(), options=options)
    assert found.error <= distance(x, start) * (1 + 1e-12)
    assert found.restarts == 1
    assert found.error == pytest.approx(distance(x, found.network), abs=1e-12)


@pytest.mark.parametrize("name", ["ring", "cp", "several modes"])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.skipif(len(NAMESPACES) == 1, reason="needs torch")
def test_torch_follows_numpy(name, dtype):
    structure = RECOVERED[name]
    x = rng().standard_normal(structure.shape).astype(dtype)
    options = ALS(restarts=2, probe=6, polish=3)
    here = fit(x, structure, rng=rng(1), options=options)
    there = fit(to(x, namespace="torch"), structure, rng=rng(1), options=options)
    assert there.network.namespace == "torch"
    assert there.trace == pytest.approx(here.trace, rel=1e-8)


@given(trees(max_nodes=5, max_size=4), st.sampled_from(DTYPES), seeds)
def test_a_tree_is_fitted_at_least_as_well_as_it_is_decomposed(structure, dtype, seed):
    x = to(rng(seed).standard_normal(structure.shape), dtype=dtype)
    found = fit(x, structure, rng=rng(1), options=ALS(restarts=1, polish=0))
    assert found.error <= tnet.decompose(x, structure).error + 100 * eps(dtype)


@given(graphs(max_nodes=6), seeds)
def test_a_spanning_tree_keeps_the_largest_bonds(structure, seed):
    tree = tnet.als.start.spanning_tree(structure)
    if structure.is_tree:
        assert tree == structure
    if tree is None:
        return
    assert tree.is_tree
    assert tree.shape == structure.shape
    gone = [structure.size[b] for b in structure.bonds if b not in tree.size]
    kept = [structure.size[b] for b in tree.bonds]
    assert sum(kept) == sum(sorted(gone + kept)[len(gone) :]) or max(gone) <= max(kept)


def test_a_hub_that_would_hang_on_one_bond_has_no_spanning_tree():
    nodes = {"a": ("x", "p", "q"), "b": ("y", "p", "r"), "hub": ("q", "r")}
    structure = Structure(nodes, {"x": 4, "y": 5, "p": 3, "q": 3, "r": 1})
    assert tnet.als.start.spanning_tree(structure) is None
    x = rng().standard_normal((4, 5))
    assert fit(x, structure, rng=rng(), options=ALS(polish=0)).restarts == 6


def test_the_first_start_may_be_random():
    x = planted(RECOVERED["ring"])
    options = ALS(tol=1e-4, restarts=1)
    a = fit(x, RECOVERED["ring"], rng=rng(1), options=options)
    plain = dataclasses.replace(options, first=tnet.FirstStart.RANDOM)
    b = fit(x, RECOVERED["ring"], rng=rng(1), options=plain)
    assert a.trace != b.trace
    assert b.error <= 1e-4


def test_equal_generators_give_equal_results():
    structure = RECOVERED["triangle"]
    x = rng().standard_normal(structure.shape)
    a, b = (fit(x, structure, rng=rng(3), options=ALS(restarts=2, polish=5)) for _ in range(2))
    assert a.trace == b.trace
    assert all(np.array_equal(a.network[n], b.network[n]) for n in structure.node_names)


@given(graphs(max_nodes=4), seeds)
def test_a_zero_tensor_gives_a_zero_network(structure, seed):
    found = fit(np.zeros(structure.shape), structure, rng=rng(seed))
    assert found.error == 0.0
    assert found.outcome is FitOutcome.TARGET
    assert not np.any(tnet.contract(found.network))


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_squares_out_of_range_do_no_harm(factor):
    structure = RECOVERED["several modes"]
    x = planted(structure) * factor
    found = fit(x, structure, rng=rng(1), options=ALS(tol=1e-6))
    assert found.error <= 1e-6
    assert np.max(np.abs(x - tnet.contract(found.network))) <= 1e-5 * factor


def test_one_target_serves_many_structures():
    x = planted(RECOVERED["ring"])
    target = Target(x)
    for name in ("ring", "train", "triangle"):
        options = ALS(tol=1e-4, restarts=1, polish=0)
        a = fit(target, RECOVERED[name], rng=rng(1), options=options)
        b = fit(x, RECOVERED[name], rng=rng(1), options=options)
        assert a.trace == b.trace


def test_the_data_are_not_written_to():
    structure = RECOVERED["several modes"]
    x = planted(structure)
    kept = x.copy()
    start = tnet.random_network(structure, rng=rng(2))
    held = {n: np.array(a) for n, a in start.arrays.items()}
    x.flags.writeable = False
    fit(x, start, rng=rng(1), options=ALS(probe=3, polish=0))
    assert np.array_equal(x, kept)
    assert all(np.array_equal(held[n], start[n]) for n in held)


def test_saturated_ranks_are_legal():
    structure = tnet.tensor_ring((3, 3, 3), 12)
    x = rng().standard_normal((3, 3, 3))
    assert fit(x, structure, rng=rng(1), options=ALS(tol=1e-8)).error <= 1e-8


def test_starts_that_cannot_win_are_dropped():
    x = rng().standard_normal((7,) * 5)
    problem = dense_problem(Target(x), RECOVERED["triangle"])
    options = ALS(winning_error=1e-3, stall=0.0)
    run = Run(problem.random(rng(1)), Progress(math.inf, math.inf))
    alone = advance(problem, run, options, sweeps=20, least=0.0)
    assert (alone.outcome, len(alone.trace)) == (FitOutcome.SWEEP_LIMIT, 20)
    behind = advance(problem, run, options, sweeps=20, least=0.0, rival=0.1)
    assert (behind.outcome, len(behind.trace)) == (FitOutcome.LOST_RACE, options.window + 1)
    found = fit(x, RECOVERED["triangle"], rng=rng(1), options=options)
    assert found.outcome is FitOutcome.LOST_RACE
    assert found.sweeps <= 2 * options.restarts * options.probe  # on balanced data, and on x


@pytest.mark.parametrize("outcome", FitOutcome)
def test_outcomes_are_advice(outcome):
    assert len(outcome.value.split()) >= 6


def test_the_sweep_limit_and_the_early_stall_are_told_apart():
    structure = RECOVERED["ring"].resized(dict.fromkeys(RECOVERED["ring"].bonds, 2))
    x = planted(RECOVERED["ring"])
    short = fit(x, structure, rng=rng(1), options=ALS(restarts=1, probe=3, polish=0))
    assert (short.outcome, short.sweeps) == (FitOutcome.SWEEP_LIMIT, 3)
    stalled = fit(x, structure, rng=rng(1), options=ALS(restarts=1, polish=0))
    assert stalled.outcome is FitOutcome.STALLED
    converged = fit(x, structure, rng=rng(1), options=ALS(restarts=1))
    assert converged.outcome is FitOutcome.CONVERGED
    assert converged.error <= stalled.error


@pytest.mark.parametrize(
    ("structure", "projects"),
    [
        (tnet.fully_connected((3,) * 5, 2), {False}),  # fewer rows than columns
        (tnet.tensor_ring((3,) * 6, 2), {True}),
        (tnet.tucker((6,) * 4, 4), {True, False}),  # several parts at the core
    ],
)
def test_wide_and_projected_visits_agree_with_the_residual(structure, projects):
    program = compile_program(structure)
    inner = [part.project for v in program.visits for part in v.parts if v.node < 0]
    assert set(inner) == projects
    x = rng().standard_normal(structure.shape)
    problem = dense_problem(Target(x), structure)
    cores, progress = problem.sweep(problem.random(rng(1)))
    exact = residual(program, problem.matrix, cores) / np.linalg.norm(x)
    assert progress.error == pytest.approx(exact, abs=1e-6)


def test_many_nodes_use_intervals():
    structure = tnet.tensor_train((2,) * 14, 2)
    x = planted(structure)
    assert fit(x, structure, rng=rng(1), options=ALS(tol=1e-6)).error <= 1e-6


def test_more_nodes_than_intervals_are_weighed_for():
    nodes = {f"n{i}": [f"b{i}", f"b{i + 1}"] for i in range(1, 80)}
    nodes = {"n0": ["x0", "b1"], **nodes, "n80": ["b80", "x1"]}
    sizes = {"x0": 5, "x1": 6, **{f"b{i}": 3 for i in range(1, 81)}}
    structure = Structure(nodes, sizes, ("x0", "x1"))
    x = rng().standard_normal((5, 3)) @ rng(1).standard_normal((3, 6))
    assert fit(x, structure, rng=rng(2), options=ALS(tol=1e-6)).error <= 1e-6


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_a_solve_falls_back_to_qr(dtype):
    """Columns so unequal that the Gram matrix is not numerically positive."""
    block = rng().standard_normal((20, 6)).astype(dtype)
    block[:, 3:] = block[:, :3] * (1 + 1e-9)
    data = rng(1).standard_normal((4, 20)).astype(dtype)
    W, explained = kernels(block).solve(data, block, np.zeros((4, 6), dtype))
    best = data.T - block @ np.linalg.lstsq(block, data.T, rcond=None)[0]
    error = np.linalg.norm(data.T - block @ W.T)
    assert error <= np.linalg.norm(best) * (1 + 1e-3)
    assert np.sqrt(np.linalg.norm(data) ** 2 - explained()) == pytest.approx(error, rel=1e-3)


class TestStarts:
    @given(graphs(max_nodes=5), seeds)
    @settings(max_examples=30)
    def test_same_ranks_keep_everything(self, structure, seed):
        net = tnet.random_network(structure, rng=rng(seed))
        assert tnet.carried_over(net, structure, rng=rng()) is net

    @given(networks(graphs(max_nodes=5)), seeds, st.data())
    def test_growing_keeps_the_tensor(self, net, seed, data):
        structure = net.structure
        inner = structure.bonds + structure.hyperbonds
        grown = structure.resized(
            {b: structure.size[b] + data.draw(st.integers(0, 2)) for b in inner}
        )
        more = tnet.carried_over(net, grown, rng=rng(seed))
        assert more.structure == grown
        x = to_numpy(tnet.contract(net))
        slack = 100 * eps(net.dtype) * max(1.0, np.abs(x).max())
        np.testing.assert_allclose(to_numpy(tnet.contract(more)), x, atol=slack)

    @given(networks(graphs(max_nodes=5)), seeds, st.data())
    def test_shrinking_and_losing_bonds_gives_a_network_on_the_structure(self, net, seed, data):
        structure = net.structure
        inner = structure.bonds + structure.hyperbonds
        less = structure.resized(
            {b: data.draw(st.integers(1, structure.size[b]), label=b) for b in inner}
        )
        for bond in data.draw(st.sets(st.sampled_from(inner)) if inner else st.just(set())):
            less = less.without_bond(bond)
        found = tnet.carried_over(net, less, rng=rng(seed))
        assert found.structure == less
        assert (found.namespace, found.dtype) == (net.namespace, net.dtype)
        if less == structure:
            assert found is net

    def test_a_new_bond_keeps_the_tensor_and_helps(self):
        ring = RECOVERED["small ring"]
        x = planted(ring)
        cut = ring.without_bond("g5-g0")
        less = fit(x, cut, rng=rng(1), options=ALS(restarts=1))
        more = fit(x, ring, start=less.network, rng=rng(2))
        assert more.error < 0.9 * less.error

    def test_a_lost_bond_keeps_what_matters(self):
        structure = tnet.tensor_train((4, 5, 6), [3, 3])
        x = planted(structure)
        net = fit(x, structure, rng=rng(1)).network
        for rank in (1, 2):
            less = tnet.carried_over(net, structure.resized({"g1-g2": rank}), rng=rng())
            s = np.linalg.svd(x.reshape(20, 6), compute_uv=False)
            best = np.linalg.norm(s[rank:])
            assert best * (1 - 1e-9) <= distance(x, less) <= 3 * best
        gone = structure.without_bond("g1-g2")
        assert tnet.carried_over(net, gone, rng=rng()).structure == gone

    def test_a_hyperbond_shrinks_to_its_largest_slices(self):
        structure = tnet.cp((4, 5, 6), 3)
        net = tnet.random_network(structure, rng=rng())
        weights = np.array([1e-3, 1.0, 1.0])
        leg = structure.hyperbonds[0]
        axis = structure.legs["u0"].index(leg)
        shape = [3 if k == axis else 1 for k in range(2)]
        net = net.replace({"u0": net["u0"] * weights.reshape(shape)})
        less = tnet.carried_over(net, tnet.cp((4, 5, 6), 2), rng=rng())
        assert distance(np.asarray(tnet.contract(net)), less) < 0.02

    def test_a_new_node_is_allowed(self):
        old = tnet.tensor_train((4, 5), 2)
        nodes = {"g0": ("x0", "p"), "hub": ("p", "q"), "g1": ("q", "x1")}
        new = Structure(nodes, {"x0": 4, "x1": 5, "p": 2, "q": 2}, ("x0", "x1"))
        x = planted(tnet.tensor_train((4, 5), 2))
        start = fit(x, old, rng=rng(1)).network
        assert fit(x, new, start=start, rng=rng(2), options=ALS(tol=1e-8)).error <= 1e-8

    def test_a_start_of_other_modes_is_refused(self):
        net = tnet.random_network(tnet.tensor_train((4, 5), 2), rng=rng())
        with pytest.raises(StructureError, match="mode 'x1' has size 6"):
            fit(np.ones((4, 6)), tnet.tensor_train((4, 6), 2), start=net, rng=rng())
        other = tnet.tensor_train((4, 5), 2).renamed(nodes={"g0": "a", "g1": "b"})
        with pytest.raises(StructureError, match="shares no node"):
            fit(np.ones((4, 5)), other, start=net, rng=rng())

    def test_a_start_of_another_kind_is_refused(self):
        structure = tnet.tensor_train((4, 5), 2)
        net = tnet.random_network(structure, rng=rng())
        with pytest.raises(DTypeError, match="float64"):
            fit(np.ones((4, 5), np.float32), net, rng=rng())
        if len(NAMESPACES) > 1:
            with pytest.raises(BackendError, match="torch"):
                fit(np.ones((4, 5)), net.to(namespace="torch"), rng=rng())


class TestErrors:
    def test_shape(self):
        with pytest.raises(ShapeError, match="x0=4, x1=5"):
            fit(np.ones((5, 4)), tnet.tensor_train((4, 5), 2), rng=rng())

    def test_disconnected(self):
        loose = Structure({"a": ("x",), "b": ("y",)}, {"x": 2, "y": 3})
        with pytest.raises(StructureError, match="2 parts: a; b"):
            fit(np.ones((2, 3)), loose, rng=rng())

    def test_infinite(self):
        x = np.ones((4, 5))
        x[1, 2] = np.inf
        with pytest.raises(NonFiniteError, match=r"\(1, 2\)"):
            fit(x, tnet.tensor_train((4, 5), 2), rng=rng())

    def test_nan_in_a_target(self):
        with pytest.raises(NonFiniteError):
            Target(np.array([1.0, np.nan]))

    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            ({"tol": 1.5}, InputError),
            ({"restarts": 0}, RankError),
            ({"polish": -1}, RankError),
            ({"stall": 1.0}, InputError),
            ({"ridge": -1.0}, InputError),
            ({"ridge": math.nan}, InputError),
            ({"winning_error": 2.0}, InputError),
        ],
    )
    def test_options(self, wrong, error):
        with pytest.raises(error, match=next(iter(wrong))):
            ALS(**wrong)


def chorded():
    """A grid with one more bond across it."""
    grid = tnet.grid((2,) * 6, 3, rows=2)
    return grid.with_bond(grid.node_names[0], grid.node_names[-1], 2)


DENSE_GRAPHS = {
    "complete": tnet.fully_connected((3,) * 5, 2),
    "complete, uneven": tnet.fully_connected((2, 3, 4, 2), 3),
    "grid with a chord": chorded(),
}


class TestDenseGraphs:
    """Graphs whose cuts are wider than high: no projection, contraction by need."""

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("name", DENSE_GRAPHS)
    def test_every_node_is_solved_as_by_dense_least_squares(self, name, dtype):
        """Oracle: numpy's lstsq on the environment of every node in turn, by einsum."""
        structure = DENSE_GRAPHS[name]
        x = rng().standard_normal(structure.shape)
        problem = dense_problem(Target(to(x, dtype=dtype)), structure)
        cores = problem.random(rng(1))
        arrays = {n: np.asarray(a) for n, a in problem.arrays(cores).items()}
        for node in problem.program.layout.names:
            arrays[node] = _best_node(structure, x, arrays, node)
        _, progress = problem.sweep(cores)
        net = tnet.Network(structure, arrays)
        assert progress.error == pytest.approx(distance(x, net), abs=100 * math.sqrt(eps(dtype)))

    @given(graphs(max_nodes=6), seeds)
    @settings(max_examples=30)
    def test_projected_and_direct_sweeps_agree(self, structure, seed):
        x = rng(seed).standard_normal(structure.shape)
        problem = dense_problem(Target(x), structure)
        visits = tuple(sweep_program._visits(problem.program.layout, sweep_program._always))
        program = dataclasses.replace(problem.program, visits=visits)
        direct = dataclasses.replace(problem, program=program)
        cores = problem.random(rng(seed + 1))
        a, b = problem.sweep(cores)[1].error, direct.sweep(cores)[1].error
        assert b == pytest.approx(a, abs=1e-5)

    def test_a_complete_graph_is_not_projected(self):
        program = compile_program(tnet.fully_connected((4,) * 6, 3))
        inner = [v for v in program.visits if v.node < 0]
        assert inner
        assert not any(v.parts for v in inner)
        ring = compile_program(tnet.tensor_ring((4,) * 6, 3))
        assert any(part.project for v in ring.visits if v.node < 0 for part in v.parts)

    def test_too_long_a_sweep_is_refused_before_any_work(self):
        structure = tnet.fully_connected((4,) * 8, 4)
        x = rng().standard_normal((4,) * 8)
        with pytest.raises(PlanError, match=r"1e\+10 are allowed.*16384 bond values"):
            fit(x, structure, rng=rng(), options=ALS(max_flops=1e10, memory="1TB"))
        small = tnet.tensor_ring((4,) * 8, 2)
        assert tnet.planned_flops(small) < 1e8
        options = ALS(max_flops=1e8, restarts=1, probe=2, polish=0)
        assert fit(x, small, rng=rng(), options=options).error < 1.0

    @pytest.mark.parametrize("name", DENSE_GRAPHS)
    def test_the_plan_counts_no_less_than_the_products_take(self, name):
        structure = DENSE_GRAPHS[name]
        program = compile_program(structure)
        least = 0.0
        for visit in program.visits:
            if visit.node >= 0:
                rows, columns = visit.parts[0].block.final[1]
                least += 2.0 * math.prod(structure.shape) * columns * (rows > columns)
        assert least <= tnet.planned_flops(structure) < math.inf


def _best_node(structure, x, arrays, node):
    letters = {leg: chr(97 + k) for k, leg in enumerate(structure.size)}
    spell = {n: "".join(letters[leg] for leg in legs) for n, legs in structure.nodes}
    own = [leg for leg in structure.legs[node] if leg in structure.modes]
    inner = [leg for leg in structure.legs[node] if leg not in own]
    rest = [mode for mode in structure.modes if mode not in own]
    others = [n for n in structure.node_names if n != node]
    output = "".join(letters[leg] for leg in rest + inner)
    equation = ",".join(spell[n] for n in others) + "->" + output
    block = np.einsum(equation, *[arrays[n] for n in others], optimize=True)
    rows = math.prod(structure.size[m] for m in rest)
    data = x.transpose([structure.modes.index(m) for m in rest + own]).reshape(rows, -1)
    # the least change, as the proximal solve makes where the data do not decide
    legs = list(structure.legs[node])
    old = arrays[node].transpose([legs.index(leg) for leg in inner + own])
    shape = old.shape
    block, old = block.reshape(rows, -1), old.reshape(-1, data.shape[1])
    best = old + np.linalg.lstsq(block, data - block @ old, rcond=1e-8)[0]
    return best.reshape(shape).transpose([(inner + own).index(leg) for leg in legs])
