"""What tnet search is told: methods, goals, files of options, several data, reuse, bad values."""

import argparse
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import tnet
from structure_search import read_run
from structure_search.commands import method_choice
from structure_search.commands.method_choice import make_method, method_classes, read_value
from structure_search.commands.several import folder_names
from structure_search.methods.registry import METHODS
from structure_search.reporting.live_table import Limits, LiveState, LiveTable
from structure_search.results import Candidate, Evaluation, Source
from tnet.cli import main
from tnet.failures import UsageError


@pytest.fixture(scope="module")
def arrays(tmp_path_factory) -> Path:
    """A folder with two small arrays of networks, and one with holes."""
    folder = tmp_path_factory.mktemp("arrays")
    for k, name in enumerate(("a", "b")):
        s = tnet.tensor_train((5, 4 + k, 6), (2, 2))
        net = tnet.random_network(s, rng=np.random.default_rng(k))
        np.save(folder / f"{name}.npy", tnet.contract(net))
    holes = np.load(folder / "a.npy")
    holes[np.random.default_rng(0).random(holes.shape) < 0.2] = np.nan
    np.save(folder / "holes.npy", holes)
    return folder


def run(capsys, *words: object) -> tuple[int, str, str]:
    code = main([*map(str, words), "--no-progress"])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


BAD = [  # words after `tnet search a.npy`, and what the error or its hint must say
    (["--method", "gredy", "--tol", "0.1"], "did you mean 'greedy'?"),
    (["--method", "", "--tol", "0.1"], "is no search method"),
    (["--set", "look_ahed=3", "--tol", "0.1", "--method", "greedy"], "did you mean 'look_ahead'?"),
    (["--set", "look_ahead=many", "--tol", "0.1", "--method", "greedy"], "a whole number"),
    (["--set", "look_ahead=2.5", "--tol", "0.1", "--method", "greedy"], "a whole number"),
    (["--set", "look_ahead=0", "--tol", "0.1", "--method", "greedy"], "look_ahead"),
    (["--set", "inner_nodes=perhaps", "--tol", "0.1", "--method", "greedy"], "yes or no"),
    (["--set", "look_ahead", "--tol", "0.1"], "NAME=VALUE"),
    (["--set", "sweeps=1", "--set", "sweeps=2", "--tol", "0.1"], "given twice"),
    (["--max-degree", "3", "--tol", "0.1", "--method", "core-shape"], "--max-degree is no option"),
    (["--no-inner-nodes", "--tol", "0.1", "--method", "random"], "--no-inner-nodes is no option"),
    (["--tol", "0.1", "--max-params", "90"], "--tol and --max-params"),
    (["--weight", "5", "--max-flops", "1e6"], "one goal"),
    (["--method", "greedy"], "--max-bytes"),
    (["--max-flops", "-3"], "1e9"),
    (["--max-flops", "1.5"], "a number of operations"),
    (["--max-bytes", "4 parsecs"], "not a size"),
    (["--weight", "0"], "a weight > 0"),
    (["--weight", "nan"], "a weight > 0"),
    (["--tol", "0.1", "--held-out", "1.5"], "a share between 0 and 1"),
    (["--tol", "0.1", "--held-out", "0.1"], "--missing mask"),
    (["--tol", "0.1", "--patience", "0"], "a whole number >= 1"),
    (["--tol", "0.1", "--workers", "0"], "a whole number >= 1"),
    (["--tol", "0.1", "--workers", "2", "--scheduler", "tcp://x:1"], "not allowed with"),
    (["--tol", "0.1", "--scheduler", "somewhere"], "tcp://HOST:PORT"),
    (["--tol", "0.1", "--template", "rng", "--method", "greedy"], "did you mean 'ring'?"),
    (["--tol", "0.1", "--only-reuse"], "--reuse RUN"),
    (["--tol", "0.1", "--config", "nowhere.toml"], "No such file"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=lambda v: " ".join(v) if v else "")
def test_a_bad_value_is_one_clear_line(words, said, arrays, capsys):
    code, out, err = run(capsys, "search", arrays / "a.npy", *words)
    assert code == 2, err
    assert out == ""
    assert said in err
    assert err.startswith("tnet: ")
    assert err.count("\n") <= 2
    assert "defect" not in err


BAD_FILES = [
    ("tool = 1", "did you mean 'tol'?"),
    ("tol = 2.0", "relative error"),
    ('tol = "much"', "relative error"),
    ("tol = true", "tol is a number"),
    ("tol = [", "no TOML"),
    ("no-inner-nodes = 3", "true or false"),
    ('order = "X"', "not known"),
    ("options = 3", "a table"),
    ("tol = 0.1\n[options]\nlook_ahed = 3", "did you mean 'look_ahead'?"),
]


@pytest.mark.parametrize(("text", "said"), BAD_FILES)
def test_a_bad_file_of_options_is_one_clear_line(text, said, arrays, tmp_path, capsys):
    (tmp_path / "o.toml").write_text(text)
    words = ["--method", "greedy", "--config", tmp_path / "o.toml"]
    code, out, err = run(capsys, "search", arrays / "a.npy", *words)
    assert (code, out) == (2, ""), err
    assert said in err


def test_the_data_must_be_named(capsys):
    code, _, err = run(capsys, "search", "--tol", "0.1")
    assert code == 2
    assert "tnet search kinetic" in err


def test_the_command_line_wins_over_the_file_and_the_file_over_the_defaults(
    arrays, tmp_path, capsys
):
    file = tmp_path / "o.toml"
    file.write_text('method = "greedy"\ntol = 0.2\nseed = 3\n[options]\nsweeps = 5\nexchange = 7\n')
    words = ["search", arrays / "a.npy", "--config", file, "--tol", "0.1", "--set", "sweeps=6"]
    code, out, err = run(capsys, *words, "--print-config")
    assert code == 0, err
    for line in ("tol = 0.1", "seed = 3", 'sweeps = "6"', 'exchange = "7"', 'order = "C"'):
        assert line in out.splitlines()
    (tmp_path / "again.toml").write_text(out)
    code, again, err = run(capsys, "search", "--config", tmp_path / "again.toml", "--print-config")
    assert (code, again) == (0, out), err
    code, out, err = run(capsys, "search", "--config", tmp_path / "again.toml", "--dry-run")
    assert code == 0, err
    assert "sweeps=6" in out
    assert "exchange=7" in out


def test_the_environment_stands_between_the_command_line_and_the_file(
    arrays, tmp_path, capsys, monkeypatch
):
    for name, value in {
        "TNET_TOL": "0.3",
        "TNET_SEED": "9",
        "TNET_MAX_RANK": "4",
        "TNET_NO_INNER_NODES": "yes",
        "TNET_METHOD": " ",  # says nothing
    }.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "o.toml"
    file.write_text('method = "greedy"\ntol = 0.2\nseed = 3\nmax-degree = 5\n')
    words = ["search", arrays / "a.npy", "--config", file, "--max-rank", "6", "--print-config"]
    code, out, err = run(capsys, *words)
    assert code == 0, err
    wanted = ['method = "greedy"', "tol = 0.3", "seed = 9", "max-rank = 6", "max-degree = 5"]
    assert {*wanted, "no-inner-nodes = true"} <= {*out.splitlines()}
    code, out, _ = run(capsys, *words, "--seed", "2")
    assert "seed = 2" in out.splitlines()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TNET_TOL", "1.5", "TNET_TOL: tol: '1.5' is not a relative error"),
        ("TNET_NO_INNER_NODES", "perhaps", "true or false"),
        ("TNET_MISSING", "mast", "did you mean 'mask'?"),
        ("TNET_SEED", "-1", "TNET_SEED: '-1' is not a seed"),
        ("TNET_THREADS", "many", "TNET_THREADS: 'many' is not a whole number"),
    ],
)
def test_a_bad_variable_is_one_clear_line(name, value, said, arrays, capsys, monkeypatch):
    monkeypatch.setenv(name, value)
    code, out, err = run(capsys, "search", arrays / "a.npy", "--method", "greedy")
    assert (code, out) == (2, ""), err
    assert said in err


@pytest.mark.parametrize(
    ("goal", "limit"),
    [
        (["--max-bytes", "800"], lambda best: best["num_params"] <= 100),
        (["--max-flops", "3e3"], lambda best: best["num_params"] < 150),
        (["--weight", "5"], lambda best: best["error"] < 0.5),
    ],
)
def test_every_goal_is_searched_for(goal, limit, arrays, capsys):
    words = ["search", arrays / "a.npy", "--method", "greedy", "--budget", 25, "--json"]
    code, out, err = run(capsys, *words, *goal)
    assert code == 0, err
    assert limit(json.loads(out)["best"])


def test_every_method_can_be_chosen_and_every_line_is_a_method():
    names = {line.kind for line in method_choice.METHOD_LINES.values()}
    assert names <= set(METHODS)
    found = {kind.__name__ for kind in method_classes().values()}
    assert found | set(method_choice.HIDDEN) == set(METHODS)


def test_methods_and_their_options_are_listed(capsys):
    code, out, _ = run(capsys, "search", "--list-methods")
    assert code == 0
    assert all(name in out for name in method_classes())
    code, out, _ = run(capsys, "search", "--list-methods", "--method", "greedy", "--json")
    listed = {option["name"]: option for option in json.loads(out)["options"]}
    assert listed["look_ahead"] == {"name": "look_ahead", "takes": "a whole number", "default": "4"}


def test_a_limit_takes_the_place_of_the_number_of_random_samples_only():
    flags: dict[str, int] = {}
    assert make_method("random", {}, flags=flags, unlimited=True).samples > 10**6
    assert make_method("random", {"samples": "7"}, flags=flags, unlimited=True).samples == 7
    for name in set(method_classes()) - {"random", "core-shape"}:
        limited = make_method(name, {}, flags=flags, unlimited=True)
        assert limited == make_method(name, {}, flags=flags), name


def test_values_are_read_as_the_type_of_their_field():
    assert read_value("3", int, "x") == 3
    assert read_value(True, bool, "x") is True
    assert read_value("none", int | None, "x") is None
    assert read_value("1,2", tuple[int, ...], "x") == (1, 2)
    assert read_value("2", float, "x") == 2.0
    assert read_value("fit", Source, "x") is Source.FIT
    for text, hint in (("x", int), (True, int), ("3", argparse.Namespace)):
        with pytest.raises(UsageError):
            read_value(text, hint, "x")
    with pytest.raises(UsageError, match="needs --max-params"):
        make_method("core-shape", {}, flags={})


def test_several_data_lose_nothing_to_the_one_that_fails(arrays, tmp_path, capsys):
    names = [arrays / "a.npy", tmp_path / "no.npy", arrays / "holes.npy", arrays / "b.npy"]
    words = ["search", *names, "--method", "greedy", "--tol", "0.01", "--run", tmp_path / "runs"]
    code, out, err = run(capsys, *words)
    assert code == 3
    assert "no.npy" in err
    assert "failed:" in out
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"a", "b"}
    assert read_run(tmp_path / "runs" / "b").metrics["error"] <= 0.01
    before = (tmp_path / "runs" / "a" / "best" / "network.tnet").read_bytes()
    code, out, err = run(capsys, *words, "--json")
    told = json.loads(out)
    assert [one["exit_code"] for one in told["runs"]] == [0, 3, 3, 0]
    assert told["ok"] is False
    assert "going on with it" in err
    assert (tmp_path / "runs" / "a" / "best" / "network.tnet").read_bytes() == before


def test_one_file_cannot_take_several_networks(arrays, tmp_path, capsys):
    words = ["search", arrays / "a.npy", arrays / "b.npy", "--tol", "0.1"]
    code, _, err = run(capsys, *words, "--out", tmp_path / "n.tnet")
    assert code == 2
    assert "--run DIR" in err


def test_folder_names_are_safe_and_each_another():
    names = folder_names(["x.npy", "y/x.npy", "../..", "X.h5", "f.npz:key", "a b"])
    assert len({name.lower() for name in names}) == len(names)
    assert all(name.strip(".") and "/" not in name for name in names)


def test_a_structure_is_reused_on_other_data(arrays, tmp_path, capsys):
    first = tmp_path / "first"
    words = ["search", "--method", "greedy", "--tol", "1e-6", "--json"]
    assert run(capsys, *words, arrays / "a.npy", "--run", first)[0] == 0
    code, out, err = run(
        capsys, *words, arrays / "b.npy", "--reuse", first, "--only-reuse", "--run", tmp_path / "b"
    )
    assert code == 0, err
    told = json.loads(out)
    rows = {row["name"]: row for row in told["reused"]}
    assert set(rows) >= {"reused as it was", "reused, ranks chosen anew", "best found"}
    assert any(name.startswith("fresh TT-SVD") for name in rows)
    assert told["evaluations"] == 2
    assert told["best"]["num_params"] == 5 * 2 + 2 * 5 * 2 + 2 * 6
    code, out, err = run(capsys, *words, arrays / "b.npy", "--reuse", first)
    assert code == 0, err
    assert json.loads(out)["evaluations"] > 2
    np.save(tmp_path / "matrix.npy", np.eye(4))
    code, _, err = run(capsys, "search", tmp_path / "matrix.npy", "--tol", "0.1", "--reuse", first)
    assert code == 3
    assert "same order" in err
    assert run(capsys, "search", arrays / "b.npy", "--tol", "0.1", "--reuse", tmp_path)[0] == 7


def test_a_reusing_run_is_resumed(arrays, tmp_path, capsys):
    first = tmp_path / "first"
    words = ["search", "--method", "greedy", "--tol", "1e-6"]
    assert run(capsys, *words, arrays / "a.npy", "--run", first)[0] == 0
    more = [arrays / "b.npy", "--reuse", first]
    assert run(capsys, *words, *more, "--run", tmp_path / "whole")[0] == 0
    assert run(capsys, *words, *more, "--run", tmp_path / "parts", "--budget", 3)[0] in (0, 5)
    shutil.rmtree(first)  # it has been read
    assert run(capsys, "resume", tmp_path / "parts", "--budget", 900)[0] == 0
    stories = [
        [(e.request, e.error) for e in read_run(tmp_path / name).evaluations]
        for name in ("whole", "parts")
    ]
    assert stories[0] == stories[1]


def test_a_completion_says_what_its_error_is(arrays, tmp_path, capsys):
    words = [
        "search",
        arrays / "holes.npy",
        "--missing",
        "mask",
        "--method",
        "greedy",
        "--weight",
        5,
    ]
    folder = tmp_path / "run"
    code, out, err = run(capsys, *words, "--held-out", 0.2, "--budget", 8, "--run", folder)
    assert code == 0, err
    assert "held-out" in out
    assert "not compared" not in err
    assert "tensor ring" in out
    page = (folder / "report.html").read_text("utf-8")
    assert "<h2>Completion</h2>" in page
    assert "held out" in page


def test_a_live_table_says_what_is_going_on():
    now = [0.0]
    state = LiveState(Limits(evaluations=10, seconds=60.0), "greedy", clock=lambda: now[0])
    s = tnet.tensor_train((4, 4), 1)
    for k, (error, size) in enumerate([(0.5, 8), (0.2, 16), (0.3, 12)]):
        now[0] += 2.0
        e = Evaluation(
            index=k, key="", structure=s, num_params=size, error=error, label=f"grow {k}",
            source=Source.FAILED if k == 2 else Source.FIT, failure="no" if k == 2 else "",
        )  # fmt: skip
        best = Candidate(structure=s, num_params=min(16, size + 4 * (k == 2)), error=min(
            error, 0.2 if k else 1.0), index=min(k, 1))  # fmt: skip
        state.seen(e, best)
    facts = dict(state.facts())
    assert facts["evaluations"] == "3 of 10 (2 fits)"
    assert facts["speed"] == "0.5 evaluations/s"
    assert facts["failures"] == "1"
    assert facts["method"] == "greedy: grow 2"
    assert facts["best error"] == "0.2"
    assert "at most about 14s left" in facts["time"]
    assert [found.found_by for found in state.improvements] == [0, 1]
    from rich.console import Console

    wide = Console(width=100, record=True, file=io.StringIO())
    wide.print(LiveTable(state))
    text = wide.export_text()
    assert "last improvements" in text
    assert "grow 1" in text
