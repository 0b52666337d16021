"""Adaptive: the stages it goes through, its walk over all bonds, and that it does not lose."""

import itertools

import numpy as np
import pytest

import tnet
from contraction.errors import InputError
from structure_search import (
    Adaptive,
    CutRank,
    Greedy,
    MaxFlops,
    MaxParams,
    Outcome,
    RelativeError,
    TreeSearch,
    WeightedError,
    search,
)
from structure_search.methods.adaptive import FLOPS
from structure_search.methods.adaptive_moves import changed
from structure_search.methods.adaptive_stages import Turns, side_by_side
from structure_search.methods.growth import Limits, growths
from tests.planted import triangle

TRUTH = {
    "ring": tnet.tensor_ring((7,) * 5, (2, 3, 4, 5, 5)),
    "train": tnet.tensor_train((7,) * 5, (2, 3, 6, 5)),
    "triangle": triangle(),
    "tucker": tnet.tucker((7,) * 5, (2, 3, 4, 3, 2)),
}


def planted(structure: tnet.Structure, seed: int) -> np.ndarray:
    x = np.asarray(tnet.contract(tnet.random_network(structure, rng=np.random.default_rng(seed))))
    return x / np.linalg.norm(x)


def picture(size: int = 4, order: int = 6) -> np.ndarray:
    """A drawing of an edge on a shaded ground, its rows and columns in digits."""
    side = size ** (order // 2)
    u, v = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side), indexing="ij")
    drawn = 0.6 + 0.3 * np.sin(7 * u + 3 * v * v) + (u + 0.6 * v > 0.8)
    return drawn.reshape((size,) * order, order="F")


def run(x, method, goal, seed=0, **more):
    rng = np.random.default_rng(seed)
    return search(x, method=method, objective=goal, rng=rng, **more)


@pytest.mark.parametrize("family", TRUTH)
def test_planted_networks_are_found_in_a_few_fits(family: str) -> None:
    x = planted(TRUTH[family], 0)
    found = run(x, Adaptive(), RelativeError(tol=1e-4))
    assert found.best.num_params == TRUTH[family].num_params
    assert found.best.error <= 1e-4
    assert found.outcome is Outcome.REACHED
    assert found.counts.fitted <= 4


def test_it_is_the_default() -> None:
    x = planted(tnet.tensor_ring((4, 4, 4, 4), 2), 1)
    goal = RelativeError(tol=1e-4)
    named = run(x, Adaptive(), goal)
    assert run(x, None, goal).trace[0].request == named.trace[0].request
    assert named.best.num_params == 64


@pytest.mark.parametrize("tol", [0.1, 0.02])
def test_it_is_no_worse_than_its_parts_on_data_that_nothing_explains(tol: float) -> None:
    rng = np.random.default_rng(5)
    i, j, k, m = np.ogrid[1:7, 1:6, 1:5, 1:5]
    x = 1.0 / (i + j * k + np.sqrt(i * m)) + 0.002 * rng.standard_normal((6, 5, 4, 4))
    goal = RelativeError(tol=tol)
    sizes = [run(x, part, goal).best.num_params for part in (CutRank(), Greedy(), TreeSearch())]
    found = run(x, Adaptive(), goal)
    assert found.best.error <= tol
    assert found.best.num_params <= min(sizes)
    assert found.outcome is Outcome.REACHED


def value(found, weight: float) -> float:
    best = found.best
    return best.num_params / best.dense_size + weight * best.error**2


def test_the_walk_is_early_and_not_behind_growth_by_single_bonds() -> None:
    x, goal = picture(), WeightedError(weight=5.0)
    mine = run(x, Adaptive(max_rank=4), goal)
    theirs = run(x, Greedy(max_rank=4, inner_nodes=False), goal)
    assert mine.outcome is Outcome.REACHED
    assert value(mine, 5.0) <= 1.001 * value(theirs, 5.0)
    assert all(max(e.structure.ranks.values(), default=1) <= 4 for e in mine.trace)
    few = run(x, Adaptive(max_rank=4), goal, max_evaluations=15)
    same = run(x, Greedy(max_rank=4, inner_nodes=False), goal, max_evaluations=15)
    assert value(few, 5.0) < 0.8 * value(same, 5.0)


def test_the_walk_ends_by_itself() -> None:
    found = run(picture(order=4), Adaptive(max_rank=3), WeightedError(weight=2.0))
    assert found.outcome is Outcome.REACHED
    assert value(found, 2.0) < value(run(picture(order=4), Adaptive(), MaxParams(params=20)), 2.0)


def test_a_planted_ring_with_a_price_is_found_by_its_cuts() -> None:
    ring = tnet.tensor_ring((3,) * 6, (4, 3, 2, 3, 2, 2))
    found = run(planted(ring, 0), Adaptive(), WeightedError(weight=200.0), max_evaluations=40)
    assert found.best.num_params <= ring.num_params
    assert found.best.error**2 < 1e-4


def test_budgets_are_kept() -> None:
    x = picture(order=4)
    params = run(x, Adaptive(), MaxParams(params=70), max_evaluations=60)
    assert params.best.num_params <= 70
    assert params.best.error < 0.2
    flops = run(x, Adaptive(), MaxFlops(flops=2000), max_evaluations=60)
    assert flops.best.flops <= 2000


@pytest.mark.parametrize("shape", [(5,), (4, 6)])
@pytest.mark.parametrize("goal", [RelativeError(tol=0.1), WeightedError(), MaxParams(params=9)])
def test_one_and_two_modes(shape: tuple[int, ...], goal) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    found = run(x, Adaptive(), goal, max_evaluations=30)
    assert np.isfinite(found.best.error)


def test_an_error_of_zero_may_be_asked_for() -> None:
    x = planted(tnet.tensor_train((3, 4, 3), 2), 0)
    found = run(x, Adaptive(), RelativeError(tol=0.0), max_evaluations=30)
    assert found.best.error < 1e-6


def test_raising_adjacent_bonds_adds_the_slices_of_each() -> None:
    rng = np.random.default_rng(3)
    net = tnet.random_network(tnet.tensor_ring((3, 4, 2, 3), (2, 2, 1, 2)), rng=rng)
    now = np.asarray(tnet.contract(net))
    x = rng.standard_normal(now.shape)
    every = growths(net, x - now, Limits())
    hub = net.structure.node_names[0]
    adjacent = [g for g in every if hub in g.ends]
    assert len(adjacent) == 3
    for count in (1, 2, 3):
        for chosen in itertools.permutations(adjacent, count):
            change = changed(net.structure, chosen, ())
            start = change.start(net, rng)
            assert start.structure == change.structure
            alone = [changed(net.structure, [g], ()).start(net, rng) for g in chosen]
            wanted = now + sum(np.asarray(tnet.contract(one)) - now for one in alone)
            np.testing.assert_allclose(tnet.contract(start), wanted, atol=1e-12)


def cube() -> np.ndarray:
    """Bands over a landscape with a little noise: no cut is narrow, and sizes differ."""
    rng = np.random.default_rng(2)
    rows, columns, bands = np.ogrid[0:1:16j, 0:1:18j, 0:1:60j]
    x = sum(
        np.exp(-((rows - a) ** 2 + (columns - b) ** 2 + 0.3 * (bands - c) ** 2) / w)
        for a, b, c, w in rng.uniform(0.02, 1.0, (40, 4))
    )
    return x + 0.003 * rng.standard_normal(x.shape)


def test_trees_come_first_where_no_cut_is_narrow() -> None:
    x, goal = cube(), RelativeError(tol=0.01)
    found = run(x, Adaptive(), goal, max_evaluations=80)
    assert found.trace[0].error <= 0.01
    dear = [e for e in found.trace if not e.structure.is_tree and e.label.startswith("cuts")]
    assert all(e.num_params < found.trace[0].num_params for e in dear)
    work = sum(tnet.planned_flops(e.structure) * e.sweeps for e in dear)
    assert work <= FLOPS
    trees = run(x, TreeSearch(), goal)
    assert found.best.num_params <= 1.05 * trees.best.num_params


@pytest.mark.parametrize("evaluations", [1, 3, 100])
@pytest.mark.parametrize("method", [Adaptive(), TreeSearch()])
@pytest.mark.parametrize("goal", [RelativeError(tol=0.1), MaxParams(params=500)])
def test_a_network_is_never_larger_than_the_data(evaluations: int, method, goal) -> None:
    x = np.random.default_rng(0).integers(-9, 9, (4, 5, 6)).astype(float)
    found = run(x, method, goal, max_evaluations=evaluations)
    assert found.best.num_params <= 120
    assert found.best.error <= 0.1
    assert found.outcome is (Outcome.REACHED if evaluations == 100 else Outcome.BUDGET)


def test_one_node_is_tried_where_growth_ends_above_the_data() -> None:
    x = np.random.default_rng(0).integers(-9, 9, (4, 5, 6)).astype(float)
    assert run(x, Greedy(), RelativeError(tol=0.1)).best.num_params > 120
    for limited in (Adaptive(max_rank=30), Adaptive(max_degree=4)):
        found = run(x, limited, RelativeError(tol=0.1))
        assert (found.best.num_params, found.best.error) == (120, 0.0)


def test_turns_take_up_a_stage_where_it_was_left() -> None:
    heard: list[object] = []

    def stage():
        for k in range(4):
            heard.append((yield [f"{k}"]))

    turns = Turns(stage())
    seen = []
    for part in (turns.next(1), turns.next(2), turns.rest(), turns.rest()):
        answers, batch = None, next(part, None)
        while batch is not None:
            seen.append(*batch)
            answers = [f"answer {word}" for word in batch]
            try:
                batch = part.send(answers)
            except StopIteration:
                batch = None
    assert seen == ["0", "1", "2", "3"]
    assert heard == [[f"answer {k}"] for k in range(4)]


def test_side_by_side_gives_every_stage_its_own_answers() -> None:
    heard: dict[str, list[object]] = {"a": [], "b": []}

    def stage(name: str, rounds: int):
        for k in range(rounds):
            heard[name].append((yield [f"{name}{k}.{i}" for i in range(k + 1)]))

    both = side_by_side([stage("a", 3), stage("b", 1)])
    batch = next(both)
    sizes = []
    while True:
        sizes.append(len(batch))
        try:
            batch = both.send([word.upper() for word in batch])
        except StopIteration:
            break
    assert sizes == [2, 2, 3]
    assert heard == {"a": [["A0.0"], ["A1.0", "A1.1"], ["A2.0", "A2.1", "A2.2"]], "b": [["B0.0"]]}


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_fits_of_graphs_take_no_more_operations_than_allowed(share: float) -> None:
    x, goal = picture(order=4), RelativeError(tol=0.05)

    def work(method: CutRank) -> float:
        found = run(x, method, goal)
        assert found.best.error <= 0.05
        fits = [e for e in found.trace if e.label.startswith("cuts") and not e.structure.is_tree]
        return sum(tnet.planned_flops(e.structure) * e.sweeps for e in fits)

    whole = work(CutRank())
    assert whole > 1e6
    assert work(CutRank(flops=share * whole)) <= share * whole
    with pytest.raises(InputError, match="flops"):
        CutRank(flops=0.0)
