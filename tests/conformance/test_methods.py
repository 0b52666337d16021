"""Every search method keeps the same promises; a new one joins the list and is checked."""

import numpy as np
import pytest

import tnet
from contraction.errors import NonFiniteError, ShapeError
from structure_search import (
    TNGA,
    TNLS,
    Adaptive,
    CoreShape,
    CutRank,
    ErrorOf,
    Greedy,
    MaxParams,
    RandomSearch,
    RelativeError,
    Reuse,
    SmallestFirst,
    SVDinsTN,
    TnALE,
    TreeSearch,
    WeightedError,
    read_run,
    resume,
    search,
)
from structure_search.methods.base import method_to_dict
from structure_search.methods.registry import METHODS, method_from_dict

KNOWN = tnet.tensor_train((3, 3, 3), 2).to_dict()
CASES = {
    "adaptive": (Adaptive(), RelativeError(tol=0.05)),
    "adaptive-budget": (Adaptive(), MaxParams(params=60)),
    "adaptive-weighted": (Adaptive(), WeightedError(weight=5.0)),
    "greedy": (Greedy(), RelativeError(tol=0.05)),
    "greedy-budget": (Greedy(), MaxParams(params=60)),
    "core-shape": (CoreShape(max_params=60), None),
    "cut-rank": (CutRank(), RelativeError(tol=0.05)),
    "cut-rank-budget": (CutRank(), MaxParams(params=60)),
    "random": (RandomSearch(), RelativeError(tol=0.05)),
    "reuse": (Reuse(structure=KNOWN, then=method_to_dict(Greedy())), RelativeError(tol=0.05)),
    "svdinstn": (SVDinsTN(steps=4, path_sweeps=5), RelativeError(tol=0.05)),
    "smallest-first": (SmallestFirst(keep=2), RelativeError(tol=0.05)),
    "tnga": (TNGA(population=6, survivors=4), RelativeError(tol=0.05)),
    "tnls": (TNLS(max_rank=4, samples=6), RelativeError(tol=0.05)),
    "tnale": (TnALE(max_rank=4), RelativeError(tol=0.05)),
    "tree-search": (TreeSearch(), RelativeError(tol=0.05)),
}
every_method = pytest.mark.parametrize("case", CASES)
MODES = ("time", "place", "kind")
LIMIT = 25


def data(seed: int = 0) -> np.ndarray:
    """A noisy tensor of low rank, whose modes differ."""
    rng = np.random.default_rng(seed)
    planted = tnet.contract(tnet.random_network(tnet.tucker((7, 5, 4), (2, 3, 2)), rng=rng))
    return planted + 0.01 * rng.standard_normal(planted.shape)


def run(case: str, x: np.ndarray, *, limit: int = LIMIT, seed: int = 3, **more):
    method, objective = CASES[case]
    return search(
        x,
        method=method,
        objective=objective,
        max_evaluations=limit,
        rng=np.random.default_rng(seed),
        modes=MODES,
        **more,
    )


def story(result) -> list[tuple]:
    return [(e.key, e.num_params, e.error, e.source, e.label) for e in result.trace]


def test_every_registered_method_is_in_the_list() -> None:
    assert {type(method) for method, _ in CASES.values()} == set(METHODS.values())


@every_method
def test_the_result_is_what_it_says(case: str) -> None:
    x = data()
    kept = x.copy()
    found = run(case, x)
    np.testing.assert_array_equal(x, kept)
    assert found.network.structure.modes == MODES
    assert found.best.num_params == found.network.num_params == found.best.structure.num_params
    measured = float(np.linalg.norm(x - tnet.contract(found.network)) / np.linalg.norm(x))
    assert found.best.error == pytest.approx(measured, rel=1e-6, abs=1e-10)
    assert tnet.relative_error(found.network, x) == pytest.approx(measured, rel=1e-6, abs=1e-10)
    assert found.best.num_params < x.size


@every_method
def test_the_limit_on_evaluations_is_kept(case: str) -> None:
    found = run(case, data(), limit=3)
    assert len(found.trace) <= 3
    assert found.counts.requested == len(found.trace)
    assert found.network.num_params == found.best.num_params


@every_method
def test_equal_generators_give_equal_searches(case: str) -> None:
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - that it stays untouched is the test
    assert story(run(case, data())) == story(run(case, data()))
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@every_method
def test_a_bound_never_exceeds_the_error_of_a_fit(case: str) -> None:
    for e in run(case, data(1)).trace:
        assert e.bound <= e.error * (1 + 1e-9) + 1e-12


@every_method
def test_a_run_stopped_and_resumed_equals_one_that_was_not(case: str, tmp_path) -> None:
    x = data()
    whole = run(case, x, run=tmp_path / "whole")
    run(case, x, limit=2, run=tmp_path / "parts")
    parts = resume(tmp_path / "parts", x, max_evaluations=LIMIT)
    assert story(parts) == story(whole)
    assert parts.best == whole.best
    for node, array in whole.network.arrays.items():
        np.testing.assert_array_equal(parts.network[node], array)
    records = [read_run(tmp_path / name).evaluations for name in ("whole", "parts")]
    assert [e.key for e in records[0]] == [e.key for e in records[1]]
    on_disk = tnet.load(tmp_path / "parts" / "best" / "network.tnet")
    np.testing.assert_array_equal(tnet.contract(on_disk), tnet.contract(whole.network))


@every_method
def test_settings_survive_as_plain_data(case: str) -> None:
    method, _ = CASES[case]
    assert method_from_dict(method_to_dict(method)) == method


@every_method
def test_bad_data_are_refused_before_any_work(case: str, tmp_path) -> None:
    wrong = data()
    wrong[1, 2, 3] = np.inf
    with pytest.raises(NonFiniteError):
        run(case, wrong, run=tmp_path / "run")
    with pytest.raises(ShapeError):
        run(case, np.zeros((3, 0, 2)), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@every_method
def test_missing_entries_are_completed_or_refused_before_any_work(case: str, tmp_path) -> None:
    holes = data()
    holes[1, 2, 3] = np.nan
    if CASES[case][0].needs_every_entry:
        with pytest.raises(NonFiniteError, match=r"\(1, 2, 3\)"):
            run(case, holes, run=tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return
    found = run(case, holes, limit=4, ridge=1e-6)
    assert found.error_of is ErrorOf.OBSERVED
    assert found.counts.fitted
    known = ~np.isnan(holes)
    missed = (holes - tnet.contract(found.network))[known]
    measured = float(np.linalg.norm(missed) / np.linalg.norm(holes[known]))
    assert found.best.error == pytest.approx(measured, rel=1e-6, abs=1e-10)


@every_method
def test_data_with_one_mode_are_one_node(case: str) -> None:
    if case == "reuse":
        pytest.skip("the known structure has three modes")
    method, objective = CASES[case]
    x = np.arange(1.0, 7.0)
    found = search(x, method=method, objective=objective, rng=np.random.default_rng(0))
    assert found.best.error <= 1e-7  # a difference of two squares, for some methods
    assert found.best.num_params <= 7  # a Tucker network has a core, too


@every_method
def test_a_zero_tensor_is_found_at_once(case: str) -> None:
    found = run(case, np.zeros((4, 3, 2)))
    assert found.best.error == 0.0
    assert not np.any(tnet.contract(found.network))
