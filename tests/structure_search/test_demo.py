"""The demo and `tnet report`: end to end, on small data, through the command."""

import json
import shutil
import time

import numpy as np
import pytest

import tnet
from contraction.errors import CheckpointError
from structure_search import demo
from structure_search.journal import read_run
from structure_search.reporting.fixed_formats import fixed_formats
from structure_search.reporting.residuals import slice_errors
from structure_search.results import Outcome
from tnet.cli import main


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A real-looking array: three smooth components and noise."""
    rng = np.random.default_rng(0)
    grids = [np.linspace(0, 1, n)[:, None] for n in (9, 8, 10)]
    factors = [np.exp(-((g - c) ** 2) * w) for g, c, w in zip(grids, *np.ones((2, 3)), strict=True)]
    factors = [np.cos(np.outer(np.linspace(0, 3, f.shape[0]), [1, 2, 3])) * f for f in factors]
    x = np.einsum("ar,br,cr->abc", *factors)
    x += 0.01 * np.linalg.norm(x) / np.sqrt(x.size) * rng.standard_normal(x.shape)
    path = tmp_path_factory.mktemp("data") / "small.npy"
    np.save(path, x)
    return path


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A finished demo; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("runs") / "demo"
    assert run(data, folder) == 0
    return folder


def run(data, folder, *more):
    words = ["demo", "--data", str(data), "--out", str(folder), "--tol", "0.05", "--keep", "3"]
    return main([*words, "--no-progress", *more])


def test_the_demo_finds_reports_and_compares(data, finished, capsys):
    x = np.load(data)
    net = tnet.load(finished / "best" / "network.tnet")
    error = tnet.relative_error(net, x)
    assert error <= 0.05
    record = read_run(finished)
    assert record.outcome is Outcome.REACHED
    names = [row["name"] for row in record.baselines]
    assert names == ["TT-SVD", "HOSVD", "balanced tree", "CP"]
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in names)
    assert "Error along each mode" in page
    best = min(e.num_params for e in record.evaluations if e.error <= 0.05)
    assert net.num_params == best <= min(row["num_params"] for row in record.baselines)


def test_it_says_what_it_does_and_ends_with_a_table(data, tmp_path, capsys):
    assert run(data, tmp_path / "demo") == 0
    told = capsys.readouterr()
    for word in ("data", "goal", "how", "machine", "cores"):
        assert word in told.err
    for word in ("TT-SVD", "HOSVD", "CP", "found:", "report:", "in Python: net = tnet.load"):
        assert word in told.out
    assert "parameters" in told.out
    assert "x smaller" not in told.out


def test_again_it_shows_the_same_result_and_changes_nothing(data, finished, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "demo")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    begun = time.process_time()
    assert run(data, folder) == 0
    assert time.process_time() - begun < 1.0
    assert "finished demo" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_json_is_one_document(data, finished, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "demo")
    assert run(data, folder, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert told["outcome"] == "REACHED"
    assert [row["num_params"] for row in told["found"]] == sorted(
        row["num_params"] for row in told["found"]
    )
    assert {row["name"] for row in told["fixed"]} >= {"TT-SVD", "CP"}


def test_other_options_never_overwrite(data, finished, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "demo")
    before = (folder / "events.jsonl").read_bytes()
    assert main(["demo", "--data", str(data), "--out", str(folder), "--tol", "0.2"]) == 2
    assert "--force" in capsys.readouterr().err
    assert (folder / "events.jsonl").read_bytes() == before
    assert run(data, folder, "--force") == 0
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("x")
    assert run(data, other, "--force") == 3
    assert (other / "thesis.txt").read_text() == "x"


def test_after_an_interrupt_it_says_how_to_go_on_and_goes_on(
    data, finished, tmp_path, capsys, monkeypatch
):
    class StopsAfterTwo:
        outcome = None

        def __init__(self, say):
            self.asked = 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def __call__(self):
            self.asked += 1
            return Outcome.INTERRUPTED if self.asked > 2 else None

    folder = tmp_path / "demo"
    with monkeypatch.context() as patch:
        patch.setattr("structure_search.stopping.interrupts", StopsAfterTwo)
        assert run(data, folder) == 130
    told = capsys.readouterr().err
    assert "stopped after 2 evaluations; continue with: tnet demo --data" in told
    assert len(read_run(folder).evaluations) == 2
    assert run(data, folder) == 0
    whole = [(e.request, e.error) for e in read_run(finished).evaluations]
    assert [(e.request, e.error) for e in read_run(folder).evaluations] == whole


def test_a_fixed_format_that_wins_is_named():
    class Found:
        num_params = 500
        label = "tree"

    fixed = [
        {"name": "CP", "num_params": 438, "met": True},
        {"name": "HOSVD", "num_params": 300, "met": False},
    ]
    assert "A fixed format wins here: CP has 438" in demo._verdict([Found()], fixed, 0.05)
    assert "42 % fewer" in demo._verdict(
        [Found()], [{"name": "TT-SVD", "num_params": 860, "met": True}], 0.05
    )
    assert "no fixed format reaches" in demo._verdict([Found()], [], 0.05)
    assert "CP does with 438" in demo._verdict([], fixed, 0.05)


def test_tnet_report_writes_the_page_again(finished, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "demo")
    page = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    shutil.rmtree(folder / "figures")
    assert main(["report", str(folder)]) == 0
    # the only difference is the folder's name in the command to resume
    again = (folder / "report.html").read_bytes()
    assert again.replace(bytes(folder), b"") == page.replace(bytes(finished), b"")
    assert (folder / "figures" / "network.svg").is_file()
    assert main(["report", str(tmp_path)]) == 2  # it holds a run, and is none
    assert "holds 1 run" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path / "empty")]) == 7
    assert "run.json" in capsys.readouterr().err


def test_fixed_formats_reach_the_error_with_exact_figures(data):
    x = np.load(data)
    for found in fixed_formats(x, 0.03, rng=np.random.default_rng(0)):
        assert found.met
        assert found.error <= 0.03
        assert found.num_params == found.structure.num_params
    short = list(fixed_formats(x, 1e-9, rng=np.random.default_rng(0), cp_seconds=0.0))
    assert (short[-1].name, short[-1].met) == ("CP", False)


def test_slice_errors_add_up_to_the_error(data):
    x = np.load(data)
    net = tnet.decompose(x, tnet.tucker, tol=0.05)
    for errors in slice_errors(net, x).values():
        assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(tnet.relative_error(net, x))
    with pytest.raises(ValueError, match="shape"):
        slice_errors(net, x[:3])


def test_a_damaged_run_is_said_to_be_damaged(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "demo")
    (folder / "best" / "residual.json").write_text("{")
    assert main(["report", str(folder)]) == 7
    with pytest.raises(CheckpointError):
        read_run(tmp_path)


@pytest.mark.slow
def test_the_real_demo_takes_less_than_a_minute_and_beats_every_fixed_format(tmp_path):
    begun = time.process_time()
    assert main(["demo", "--out", str(tmp_path / "demo"), "--no-progress"]) == 0
    assert time.process_time() - begun < 60.0
    record = read_run(tmp_path / "demo")
    best = min(e.num_params for e in record.evaluations if e.error <= 0.04)
    assert best < min(row["num_params"] for row in record.baselines)
