"""Every run is compared with fixed formats at its error, and its report says so."""

import json
import shutil

import numpy as np
import pytest

import tnet
from contraction.errors import CheckpointError, MemoryBudgetError, RunLockedError
from contraction.folder_lock import run_lock
from structure_search import RandomSearch, RelativeError, search
from structure_search.journal import read_run, write_baselines
from structure_search.reporting import comparison
from structure_search.reporting.comparison import compare, is_compared, level_of
from structure_search.reporting.completions import largest_within, task_again, tucker_within
from structure_search.reporting.figures import slice_figure
from structure_search.reporting.residuals import read_residuals
from tnet.cli import main

NAMES = {"TT-SVD", "HOSVD", "balanced tree", "CP"}


@pytest.fixture(scope="module")
def array(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "x.npy"
    structure = tnet.tensor_ring((5, 5, 5, 5), (2, 2, 2, 2))
    rng = np.random.default_rng(0)
    x = np.asarray(tnet.contract(tnet.random_network(structure, rng=rng)))
    noise = rng.standard_normal(x.shape)
    np.save(path, x + 0.2 * np.linalg.norm(x) / np.linalg.norm(noise) * noise)
    return path


@pytest.fixture(scope="module")
def searched(array, tmp_path_factory):
    """A finished `tnet search`; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = ["search", str(array), "--tol", "0.3", "--run", str(folder), "--no-progress"]
    assert main(words) == 0
    return folder


def test_a_search_ends_with_a_report_that_compares(searched):
    record = read_run(searched)
    assert is_compared(record)
    assert {row["name"] for row in record.baselines} == NAMES
    assert all(row["error"] <= 0.3 for row in record.baselines if row["met"])
    page = (searched / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in NAMES)
    assert "The error of each slice" in page
    known = read_residuals(searched)
    for errors in known.slices.values():
        assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(record.metrics["error"])


def test_the_screen_shows_the_comparison_and_where_the_report_is(array, tmp_path, capsys):
    folder = tmp_path / "run"
    words = ["search", str(array), "--max-params", "150", "--run", str(folder)]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in NAMES)
    assert f"report:  {folder / 'report.html'}" in told
    assert level_of(read_run(folder)) == read_run(folder).metrics["error"]


def test_a_report_made_later_compares_once(searched, tmp_path, capsys):
    folder = shutil.copytree(searched, tmp_path / "run")
    for name in ("baselines.json", "best/residual.json", "report.html"):
        (folder / name).unlink()
    assert main(["report", str(folder), "--json"]) == 0
    assert {row["name"] for row in json.loads(capsys.readouterr().out)["fixed"]} == NAMES
    written = (folder / "baselines.json").stat().st_mtime_ns
    assert main(["report", str(folder)]) == 0
    assert (folder / "baselines.json").stat().st_mtime_ns == written


def test_after_another_goal_the_old_comparison_does_not_count(searched, tmp_path):
    from structure_search import RelativeError, resume

    folder = shutil.copytree(searched, tmp_path / "run")
    assert slice_figure(read_run(folder)) is not None
    resume(folder, objective=RelativeError(tol=0.15))
    assert not is_compared(read_run(folder))
    assert slice_figure(read_run(folder)) is None  # it is of another network
    assert main(["report", str(folder), "--no-progress"]) == 0
    assert is_compared(read_run(folder))
    assert all(row["tol"] == 0.15 for row in read_run(folder).baselines)


def test_what_hinders_the_comparison_is_said(searched, array, tmp_path, capsys, monkeypatch):
    folder = shutil.copytree(searched, tmp_path / "run")
    x = np.load(array)
    with pytest.raises(CheckpointError, match="not those of the run"):
        compare(folder, 2.0 * x)
    with run_lock(folder), pytest.raises(RunLockedError):
        compare(folder, x)
    (folder / "baselines.json").unlink()
    monkeypatch.setattr(comparison, "LARGEST", 100)
    with pytest.raises(MemoryBudgetError, match="625"):
        compare(folder, x)
    assert main(["report", str(folder)]) == 0
    assert "not compared with fixed formats: the data have 625" in capsys.readouterr().err


def test_whole_numbers_are_compared_in_double_precision(tmp_path):
    x = (200 * np.random.default_rng(0).random((6, 7, 8))).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    folder = tmp_path / "run"
    words = ["search", str(tmp_path / "x.npy"), "--tol", "0.4", "--run", str(folder)]
    assert main([*words, "--quiet"]) == 0
    for errors in read_residuals(folder).slices.values():
        error = read_run(folder).metrics["error"]
        assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(error)


def test_a_search_of_data_with_holes_says_what_to_do_now(tmp_path, capsys):
    x = np.ones((3, 4, 5))
    x[1, 2, 3] = np.nan
    np.save(tmp_path / "x.npy", x)
    for more in ([], ["--dry-run"]):
        assert main(["search", str(tmp_path / "x.npy"), "--tol", "0.1", *more]) == 3
        told = capsys.readouterr().err
        assert "1 of 60 entries" in told
        assert "--missing mask" in told
        assert "--missing zero" in told
    assert main(["search", str(tmp_path / "x.npy"), "--tol", "0.1", "--missing", "zero"]) in (0, 5)


def test_a_fixed_format_that_wins_is_named(searched, tmp_path, capsys):
    folder = shutil.copytree(searched, tmp_path / "run")
    rows = [dict(row) for row in read_run(folder).baselines]
    assert main(["report", str(folder)]) == 0
    best = read_run(folder).metrics["num_params"]
    assert all(row["num_params"] > best for row in rows if row["met"])
    assert "wins here" not in capsys.readouterr().out
    rows[-1] |= {"num_params": best - 1, "met": True}
    write_baselines(folder, rows)
    assert main(["report", str(folder)]) == 0
    assert f"wins here: CP, {best - 1}" in capsys.readouterr().out


def test_beside_a_completion_stand_formats_of_its_size_on_the_same_entries(tmp_path):
    rng = np.random.default_rng(0)
    s = tnet.tensor_ring((6, 5, 6), 2)
    x = np.asarray(tnet.contract(tnet.random_network(s, rng=rng)))
    x[rng.random(x.shape) < 0.3] = np.nan
    folder = tmp_path / "run"
    found = search(
        x, method=RandomSearch(samples=3, max_rank=3), objective=RelativeError(tol=0.3),
        rng=np.random.default_rng(1), held_out=0.2, run=folder,
    )  # fmt: skip
    assert not comparison.is_compared(read_run(folder))
    comparison.compare(folder, x)
    run = read_run(folder)
    assert comparison.is_compared(run)
    assert {row["name"] for row in run.baselines} <= {"tensor train", "tensor ring", "Tucker", "CP"}
    assert len(run.baselines) >= 2
    task = task_again(run, x)
    assert task.fingerprint() == run.config["input"]["sha256"]
    for row in run.baselines:
        assert row["num_params"] <= found.best.num_params
        assert 0.0 < row["error"] < 2.0
    comparison.compare(folder, x)
    again = read_run(folder).baselines
    assert [row["error"] for row in again] == [row["error"] for row in run.baselines]
    with pytest.raises(CheckpointError, match="not those of the run"):
        comparison.compare(folder, 2.0 * x)


@pytest.mark.parametrize("most", [3, 15, 29, 200, 10**6])
def test_a_format_of_a_size_is_the_largest_within_it(most):
    modes = {"a": 4, "b": 5, "c": 6}
    found = largest_within(tucker_within, modes, most)
    sizes = [tucker_within(modes, rank).num_params for rank in range(1, 8)]
    fitting = [size for size in sizes if size <= most]
    assert (found.num_params if found else None) == max(fitting, default=None)
