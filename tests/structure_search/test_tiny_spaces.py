"""Walks on any graph and within limits; every strategy on spaces small enough for brute force."""

import itertools
import math

import numpy as np
import pytest
from walks import drive, problem, ranks

import tnet
from structure_search import (
    TNGA,
    TNLS,
    Adaptive,
    CoreShape,
    Custom,
    CutRank,
    Greedy,
    RandomSearch,
    RelativeError,
    SmallestFirst,
    SVDinsTN,
    TnALE,
    TreeSearch,
    WeightedError,
    search,
)
from structure_search.canonical import canonical_key, charged
from structure_search.methods.registry import METHODS
from structure_search.methods.reuse import Reuse
from structure_search.methods.sampling import candidate
from structure_search.space.limits import Limits
from structure_search.space.search_space import Arrangement, SearchSpace, State, space_of
from structure_search.space.templates import Template

PLACES = {
    "grid": (Template.GRID, None),
    "tree": (Template.TREE, None),
    "train": (Template.TRAIN, None),
    "hub": (Template.RING, tnet.tucker({"a": 9, "b": 9, "c": 9, "d": 9}, 2)),
    "own": (
        Template.RING,
        tnet.Structure(
            {"p": ("a", "r", "s"), "q": ("b", "r"), "t": ("c", "s", "u"), "v": ("d", "u")},
            {"a": 9, "b": 9, "c": 9, "d": 9, "r": 2, "s": 2, "u": 2},
        ),
    ),
}


@pytest.mark.parametrize("kind", [TnALE, TNLS])
@pytest.mark.parametrize("name", PLACES)
def test_modes_find_their_places_on_any_graph(name, kind):
    template, start = PLACES[name]
    sizes = dict.fromkeys("abcd", 9)
    space, _ = space_of(sizes, template, start, highest=2, arrangement=Arrangement.FREE)
    rng = np.random.default_rng(1)
    states = itertools.product(
        itertools.product((1, 2), repeat=len(space.bonds)), itertools.permutations("abcd")
    )
    structures = {canonical_key(s): s for s in (space.structure(State(*each)) for each in states)}
    table = {
        key: float(rng.uniform(0.95, 1.0) / math.prod(s.ranks.values()) ** 0.5)
        for key, s in structures.items()
    }
    goal = WeightedError(weight=1.0)

    def value(key):
        return goal.order(candidate(structures[key], table[key]))

    options = {"patience": 8, "starts": 4} if kind is TnALE else {"samples": 60}
    method = kind(template=template, max_rank=2, **options)
    work = problem(start, goal, np.random.default_rng(0), size=9, modes=sizes)
    _, found = drive(method, work, lambda s: table[canonical_key(s)])
    assert min(value(canonical_key(s)) for s, _ in found) == min(map(value, table))


LIMITS = {"max_degree": 2, "max_params": 150, "max_memory": "20KiB"}


@pytest.mark.parametrize("kind", [TnALE, TNLS, TNGA, RandomSearch])
@pytest.mark.parametrize("name", LIMITS)
def test_every_walk_keeps_to_every_limit(name, kind):
    limit = {name: LIMITS[name]}
    few = {TnALE: {"starts": 2, "patience": 2}, TNLS: {"samples": 20, "generations": 4}}
    few |= {TNGA: {"population": 20, "survivors": 10, "generations": 5}}
    method = kind(template=Template.FULL, max_rank=4, **few.get(kind, {}), **limit)
    work = problem(None, Custom(score=lambda c: c.error), modes=dict.fromkeys("abcde", 4))
    batches, _ = drive(method, work, lambda s: 1.0 / charged(s).num_params)
    asked_for = [p.structure for batch in batches for p in batch]
    assert len(asked_for) > 50
    assert all(Limits(**limit).allows(structure) for structure in asked_for)
    free = SearchSpace(graph=tnet.fully_connected(dict.fromkeys("abcde", 4)), highest=4)
    drawn = [free.structure(free.sample(np.random.default_rng(k))) for k in range(20)]
    assert not all(Limits(**limit).allows(structure) for structure in drawn)


# ---- all of them ---------------------------------------------------------------------------

MODES = {"a": 9, "b": 10, "c": 11}
WALKS = {
    "tnale": TnALE(template=Template.FULL, max_rank=4, patience=10, starts=6),
    "tnls": TNLS(template=Template.FULL, max_rank=4, samples=60, generations=20),
    "tnga": TNGA(max_rank=4, population=30, survivors=15, generations=20, mutation=0.3),
    "random": RandomSearch(max_rank=4, samples=1000),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", WALKS)
def test_the_best_entry_of_a_table_is_found(name, seed):
    space = SearchSpace(graph=tnet.fully_connected(MODES), highest=4)
    rng = np.random.default_rng(seed)
    # errors fall with the ranks, but not smoothly
    table = {
        r: float(rng.uniform(0.8, 1.0) / math.prod(r))
        for r in itertools.product((1, 2, 3, 4), repeat=3)
    }
    goal = WeightedError(weight=20.0)

    def value(structure, error):
        return goal.order(candidate(structure, error))

    best = min(value(space.structure(State(r, space.places)), e) for r, e in table.items())
    work = problem(None, goal, np.random.default_rng(seed + 10), modes=MODES)
    _, found = drive(WALKS[name], work, lambda s: table[ranks(s)])
    assert min(value(s, e) for s, e in found) == best


SHORT = TnALE(template=Template.FULL, max_rank=4, patience=3, starts=2)
TINY = {  # a line for every method that can find any tree of three nodes
    "tnale": (SHORT, WeightedError(weight=20.0)),
    "tnls": (WALKS["tnls"], WeightedError(weight=20.0)),
    "tnga": (WALKS["tnga"], WeightedError(weight=20.0)),
    "random": (RandomSearch(max_rank=4, samples=300), WeightedError(weight=20.0)),
    "tnale-tolerance": (SHORT, RelativeError(tol=0.05)),
    "greedy": (Greedy(inner_nodes=False), RelativeError(tol=0.05)),
    "smallest-first": (SmallestFirst(), RelativeError(tol=0.05)),
    "tree-search": (TreeSearch(), RelativeError(tol=0.05)),
    "cut-rank": (CutRank(), RelativeError(tol=0.05)),
    "svdinstn": (SVDinsTN(), RelativeError(tol=0.05)),
    "adaptive": (Adaptive(), RelativeError(tol=0.05)),
}
OTHERS = {CoreShape, Reuse}  # one has a space of its own (below), one has that of another method


def tiny():
    """A train of ranks 2 and 3 with a little noise."""
    rng = np.random.default_rng(5)
    train = tnet.tensor_train({"b": 5, "a": 4, "c": 6}, (2, 3)).permuted(("a", "b", "c"))
    x = tnet.random_network(train, rng=rng).to_dense()
    return x + 0.01 * np.linalg.norm(x) / math.sqrt(x.size) * rng.standard_normal(x.shape)


@pytest.fixture(scope="module")
def fitted():
    """The error of every structure of three nodes with ranks up to 4, by brute force."""
    x = tiny()
    space = SearchSpace(
        graph=tnet.fully_connected(dict(zip("abc", x.shape, strict=True))), highest=4
    )
    found = []
    for r in itertools.product((1, 2, 3, 4), repeat=3):
        structure = charged(space.structure(State(r, space.places)))
        options = tnet.ALS(restarts=2, probe=40, polish=0)
        fit = tnet.fit(x, structure, rng=np.random.default_rng(0), options=options)
        found.append(candidate(structure, fit.error))
    return found


def test_every_registered_method_is_tried_on_a_tiny_space():
    assert {type(method) for method, _ in TINY.values()} | OTHERS == set(METHODS.values())


def test_core_shape_finds_the_best_shape_of_a_tiny_tensor():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((3, 4, 4))
    for budget in (20, 45):
        shapes = [
            s
            for r in itertools.product(range(1, 4), range(1, 5), range(1, 5))
            if (s := tnet.tucker(x.shape, r)).num_params <= budget
        ]
        options = tnet.ALS(restarts=2, probe=40, polish=40)
        best = min(
            tnet.fit(x, s, rng=np.random.default_rng(0), options=options).error for s in shapes
        )
        found = search(x, method=CoreShape(max_params=budget), rng=rng).best
        assert found.num_params <= budget
        assert found.error <= best * (1 + 1e-3)


@pytest.mark.parametrize("name", TINY)
def test_every_strategy_finds_the_optimum_of_a_tiny_space(name, fitted):
    method, goal = TINY[name]
    best = min(fitted, key=goal.order)
    found = search(
        tiny(),
        method=method,
        objective=goal,
        rng=np.random.default_rng(1),
        modes=("a", "b", "c"),
        max_evaluations=1500,
    ).best
    assert found.num_params <= best.num_params
    assert goal.order(found)[0] <= goal.order(best)[0] * (1 + 1e-6)
