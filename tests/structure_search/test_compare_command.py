"""tnet compare: methods over seeds, the table, the page, going on after stops and deaths."""

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tnet
from structure_search import read_run
from structure_search.reporting import method_page
from structure_search.reporting.method_page import best_after
from structure_search.reporting.method_runs import cpu_seconds
from structure_search.reporting.method_table import (
    SeedRow,
    Spread,
    evaluations_to,
    method_rows,
    p_value,
    verdict,
    win_share,
)
from tnet.cli import main

METHODS = "greedy,random"
GOAL = ["--tol", "0.05", "--budget", 6, "--seeds", 2]


@pytest.fixture(scope="module")
def array(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    s = tnet.tensor_train((4, 4, 5), (2, 2))
    net = tnet.random_network(s, rng=np.random.default_rng(0))
    np.save(folder / "x.npy", tnet.contract(net))
    return folder / "x.npy"


@pytest.fixture(scope="module")
def compared(array, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "all"
    assert words_of(array, folder)[0] == "compare"
    assert main([*words_of(array, folder), "--no-progress"]) == 0
    return folder


def words_of(array: Path, folder: Path, *more: object) -> list[str]:
    words = ["compare", array, "--methods", METHODS, *GOAL, "--run", folder, *more]
    return [str(word) for word in words]


def run(capsys, *words: object) -> tuple[int, str, str]:
    code = main([*map(str, words), "--no-progress"])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def story(folder: Path) -> dict[str, list[tuple[str, float]]]:
    return {
        str(path.parent.relative_to(folder)): [
            (e.request, e.error) for e in read_run(path.parent).evaluations
        ]
        for path in sorted(folder.glob("*/*/run.json"))
    }


def test_a_comparison_is_a_run_for_each_method_and_seed(array, compared, capsys):
    assert set(story(compared)) == {
        f"{method}/seed-{seed}" for method in ("greedy", "random") for seed in (0, 1)
    }
    told = json.loads((compared / "comparison.json").read_text())
    rows = {(row["method"], row["seed"]): row for row in told["runs"]}
    for (method, seed), row in rows.items():
        record = read_run(compared / method / f"seed-{seed}")
        assert row["requested"] == len(record.evaluations) <= 6
        assert row["num_params"] == record.metrics["num_params"]
        assert row["error"] == record.metrics["error"]
        assert row["cpu"] > 0
    page = (compared / "report.html").read_text("utf-8")
    for text in ("greedy", "random", "Error against parameters", "Evaluations to the target"):
        assert text in page
    assert "http" not in page.replace("http-equiv", "")
    assert len(page) < 2e6
    assert len(list((compared / "figures").glob("*.svg"))) == 3


def test_it_is_done_once_and_shown_again(array, compared, tmp_path, capsys):
    folder = shutil.copytree(compared, tmp_path / "all")
    before = story(folder)
    code, out, err = run(capsys, *words_of(array, folder))
    assert code == 0, err
    assert "4 of 4 runs are in" in err
    assert "better" in out
    assert story(folder) == before
    code, out, err = run(capsys, *words_of(array, folder, "--seeds", 3, "--json"))
    assert code == 0, err
    told = json.loads(out)
    assert told["methods"][0]["seeds"] == 3
    assert len(told["runs"]) == 6
    assert {key: value for key, value in story(folder).items() if key in before} == before


def test_side_by_side_gives_the_same(array, compared, tmp_path, capsys):
    folder = tmp_path / "all"
    code, _, err = run(capsys, *words_of(array, folder, "--workers", 2))
    assert code == 0, err
    assert story(folder) == story(compared)
    assert not (folder / "stop").exists()


def test_a_killed_comparison_goes_on(array, compared, tmp_path, capsys):
    folder = tmp_path / "all"
    words = [sys.executable, "-m", "tnet", *words_of(array, folder), "--no-progress"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(3000):
        events = list(folder.glob("*/*/events.jsonl"))
        if any(path.read_bytes().count(b"\n") > 2 for path in events) or process.poll() is not None:
            break
        time.sleep(0.01)
    process.kill()
    process.wait()
    code, _, err = run(capsys, *words_of(array, folder))
    assert code == 0, err
    assert story(folder) == story(compared)


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(array, tmp_path):
    x = np.random.default_rng(0).standard_normal((8, 8, 8, 8))  # noise: long runs
    np.save(tmp_path / "noise.npy", x)
    folder = tmp_path / "all"
    words = ["compare", "noise.npy", "--methods", METHODS, "--tol", "0.01", "--budget", "9999"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tnet", *words, "--run", str(folder), "--workers", "2"],
        stderr=subprocess.PIPE, cwd=tmp_path, start_new_session=True,
    )  # fmt: skip
    for _ in range(6000):
        events = list(folder.glob("*/*/events.jsonl"))
        if sum(path.read_bytes().count(b"\n") > 3 for path in events) >= 2:
            break
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)  # to this process alone: it tells its workers
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert b"the same command goes on: tnet compare noise.npy" in err
    for path in folder.glob("*/*/run.json"):
        read_run(path.parent)  # whole


BAD = [
    (["--methods", "greedy,gredy"], "did you mean 'greedy'?"),
    (["--methods", "greedy,greedy"], "named twice"),
    (["--methods", "greedy,"], "no list of methods"),
    (["--seeds", "0"], "a whole number >= 1"),
    (["--set", "rand.samples=3"], "'rand' is not compared"),
    (["--set", "smples=3"], "no method of greedy, random has it"),
    (["--set", "greedy.sweeps=x"], "a whole number"),
    (["--max-params", "100"], "--tol and --max-params"),
    (["--methods", "core-shape"], "--max-params"),
]


@pytest.mark.parametrize(("more", "said"), BAD, ids=lambda v: " ".join(v) if v else "")
def test_a_bad_value_is_one_clear_line(more, said, array, tmp_path, capsys):
    code, out, err = run(capsys, *words_of(array, tmp_path / "all", *more))
    assert (code, out) == (2, ""), err
    assert said in err
    assert not (tmp_path / "all").exists()


def test_another_comparison_needs_another_folder(array, compared, capsys):
    code, _, err = run(capsys, *words_of(array, compared, "--tol", "0.01"))
    assert code == 7
    assert "another folder" in err


def row(method: str, seed: int, value: float, steps=(), cpu=1.0) -> SeedRow:
    return SeedRow(
        method=method, seed=seed, num_params=10, error=0.1, compression=2.0,
        met=math.isfinite(value), value=value, requested=9, fitted=5, seconds=1.0, cpu=cpu,
        outcome="REACHED", steps=tuple(steps),
    )  # fmt: skip


def test_methods_are_ranked_by_pairs_and_told_apart_only_if_they_differ():
    good = [row("good", k, v) for k, v in enumerate((10, 11, 12, 13, 14))]
    bad = [row("bad", k, v) for k, v in enumerate((20, 21, 22, 23, math.inf))]
    same = [row("same", k, v) for k, v in enumerate((10, 11, 12, 13, 15))]
    assert win_share(good, bad) == 1.0
    assert win_share(good, good) == 0.5
    assert p_value(good, bad) == pytest.approx(2 / math.comb(10, 5))  # both extremes of 252
    assert p_value(good, same) > 0.5
    ranked = method_rows([*bad, *same, *good])
    assert [r.method for r in ranked] == ["good", "same", "bad"]
    assert ranked[-1].met == 4
    told = verdict([*bad, *same, *good], ranked)
    assert "not told apart" in told[0]
    assert told[1].startswith("same beats bad in 100 % of pairs")
    alone = verdict([good[0], bad[0]], method_rows([good[0], bad[0]]))
    assert "one seed each" in alone[0]
    few = verdict([*good[:3], *bad[:3]], method_rows([*good[:3], *bad[:3]]))
    assert "too few to tell" in few[0]
    equal = [row("a", 0, 5.0), row("a", 1, 5.0), row("b", 0, 5.0), row("b", 1, 5.0)]
    assert verdict(equal, method_rows(equal)) == ["a and b are equal on these data"]
    mixed = [row("c", 0, 4.0), row("c", 1, 6.0), *equal[:2]]
    assert "too few" in verdict(mixed, method_rows(mixed))[0]


def test_curves_say_when_a_target_was_reached():
    r = row("a", 0, 5.0, steps=[(2, 9.0), (7, 5.0)])
    assert [best_after(r, k) for k in (1, 2, 6, 7)] == [math.inf, 9.0, 9.0, 5.0]
    assert [evaluations_to(r, t) for t in (9.0, 5.25, 4.0)] == [2, 7, None]
    assert Spread.of([1.0, math.inf, 2.0]).text() == "2 [1, missed]"


def test_large_compressions_are_plain_numbers():
    rows = [dataclasses.replace(row("a", k, 5.0), compression=1040.0 + k) for k in range(2)]
    (ranked,) = method_rows(rows)
    assert "1,040.5\n[1,040.0, 1,041.0]" in method_page._table([ranked])


def test_processor_time_is_unknown_after_a_kill(tmp_path):
    assert cpu_seconds(tmp_path) is None
    (tmp_path / "cost.json").write_text('{"cpu": 2.5, "whole": true}')
    assert cpu_seconds(tmp_path) == 2.5
    (tmp_path / "cost.json").write_text('{"cpu": 2.5, "whole": false}')
    assert cpu_seconds(tmp_path) is None


def test_its_tables_fit_a_terminal_and_its_json_agrees_with_its_exit_code(
    array, compared, tmp_path, capsys
):
    folder = shutil.copytree(compared, tmp_path / "all")
    _, out, _ = run(capsys, *words_of(array, folder))
    rows = [line for line in out.splitlines() if line.startswith(("method", "greedy ", "random "))]
    assert len(rows) >= 6
    assert max(map(len, [line for line in rows if "before" not in line])) <= 80
    code, out, _ = run(capsys, *words_of(array, folder, "--json"))
    assert json.loads(out)["ok"] is (code == 0)
