"""tnet search and tnet resume from the shell: streams, exit codes, signals."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tnet
from structure_search import Outcome, read_run
from structure_search.stopping import interrupts
from tnet.cli import main


@pytest.fixture
def array(tmp_path: Path) -> Path:
    s = tnet.tensor_ring((5, 5, 5, 5), (2, 2, 2, 2))
    net = tnet.random_network(s, rng=np.random.default_rng(0))
    np.save(tmp_path / "x.npy", np.asarray(tnet.contract(net)))
    return tmp_path / "x.npy"


def run(capsys, *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_search_then_resume(array: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "run"
    words = ["--method", "greedy", "--tol", "1e-3", "--budget", 10, "--run", folder]
    code, out, err = run(capsys, "search", array, *words)
    assert code == 5, err
    assert "BUDGET" in out
    code, out, err = run(capsys, "resume", folder, "--budget", "+500")
    assert code == 0, err
    assert "REACHED" in out
    assert "80" in out
    record = read_run(folder)
    assert record.metrics["error"] <= 1e-3
    assert record.config["input"]["source"] == str(array)
    code, out, err = run(capsys, "resume", folder, "--tol", "1e-5", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["ok"]
    assert document["best"]["error"] <= 1e-5
    assert (folder / "best" / "network.tnet").is_file()


def test_json_is_one_document(array: Path, tmp_path: Path, capsys) -> None:
    out_file = tmp_path / "net.tnet"
    words = ["search", array, "--method", "core-shape", "--max-params", 120, "--json"]
    code, out, _ = run(capsys, *words, "--out", out_file)
    document = json.loads(out)
    assert code == 0
    assert document["best"]["num_params"] <= 120
    assert document["network"] == str(out_file)
    assert tnet.load(out_file).num_params == document["best"]["num_params"]


def test_random_method_and_dry_run(array: Path, capsys) -> None:
    words = ["search", array, "--method", "random", "--max-params", 200]
    code, out, err = run(capsys, *words, "--budget", 5)
    assert code == 0, err
    code, out, err = run(capsys, *words, "--dry-run")
    assert code == 0, err
    assert "RandomSearch" in out


def test_usage_errors(array: Path, tmp_path: Path, capsys) -> None:
    for words, code in [
        (["search", array], 2),
        (["search", array, "--tol", "0.1", "--max-params", "50"], 2),
        (["search", array, "--method", "core-shape", "--tol", "0.1"], 2),
        (["search", array, "--tol", "2"], 2),
        (["search", array, "--tol", "0.1", "--out", tmp_path / "missing" / "a.tnet"], 2),
        (["search", tmp_path / "no.npy", "--tol", "0.1"], 3),
        (["resume", tmp_path], 7),
        (["search", array, "--tol", "0.1", "--run", tmp_path], 3),
    ]:
        found, out, err = run(capsys, *words)
        assert found == code, (words, err)
        assert out == ""
        assert "Traceback" not in err


def test_changed_data_and_damage(array: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "run"
    run(
        capsys,
        "search",
        array,
        "--method",
        "greedy",
        "--tol",
        "1e-3",
        "--budget",
        5,
        "--run",
        folder,
    )
    x = np.load(array)
    np.save(array, 2.0 * x)
    assert run(capsys, "resume", folder)[0] == 7
    assert run(capsys, "resume", folder, "--force", "--budget", 6)[0] == 5
    np.save(array, x)
    path = folder / "events.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"index":1', b'"index":7', 1))
    code, _, err = run(capsys, "resume", folder)
    assert code == 7
    assert "--repair" in err
    code, _, err = run(capsys, "resume", folder, "--repair", "--budget", 500)
    assert code == 0, err
    assert len(list(folder.glob("events.damaged-*.jsonl"))) == 1
    assert run(capsys, "resume", folder, "--repair")[0] == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_stop_after_the_evaluation(array: Path, tmp_path: Path, number, code) -> None:
    rng = np.random.default_rng(0)
    np.save(array, rng.standard_normal((9, 9, 9, 9)))  # noise: a long search
    folder = tmp_path / "run"
    words = ["search", str(array), "--tol", "0.01", "--run", str(folder), "--no-progress"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tnet", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    for _ in range(3000):
        path = folder / "events.jsonl"
        if path.exists() and path.read_bytes().count(b"\n") > 5:
            break
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert f"tnet resume {folder}".encode() in err
    record = read_run(folder)
    assert record.outcome is not None
    assert record.outcome.name == ("INTERRUPTED" if number == signal.SIGINT else "TERMINATED")
    assert record.network_path is not None


def test_the_second_signal_stops_now() -> None:
    said: list[str] = []
    with interrupts(said.append) as stop:
        assert stop() is None
        signal.raise_signal(signal.SIGINT)
        assert stop() is Outcome.INTERRUPTED
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert len(said) == 1
    with interrupts(said.append) as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop() is Outcome.TERMINATED


def test_a_full_disk_is_said_and_loses_nothing(array: Path, tmp_path: Path, capsys) -> None:
    resource = pytest.importorskip("resource")
    folder = tmp_path / "run"
    words = ["search", str(array), "--method", "greedy", "--tol", "1e-3", "--no-progress"]
    words += ["--run", str(folder)]
    limit = 8192  # bytes of the largest file: as on a full disk, a write fails half way

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-m", "tnet", *words], capture_output=True, preexec_fn=small_files
    )
    assert done.returncode == 1
    assert b"defect" not in done.stderr
    assert str(folder).encode() in done.stderr
    assert f"continue with: tnet resume {folder}".encode() in done.stderr
    before = len(read_run(folder).evaluations)
    assert before > 0
    code, _, err = run(capsys, "resume", folder)
    assert code == 0, err
    assert f"{before} evaluations are in the journal" in err


def test_advice_is_in_words_of_the_shell(array: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "run"
    words = ["search", array, "--method", "greedy", "--tol", "1e-3", "--budget", 3]
    _, _, err = run(capsys, *words, "--run", folder)
    assert f"continue with: tnet resume {folder} --budget +3" in err
    _, _, err = run(capsys, *words)
    assert "--run DIR" in err
    assert "max_evaluations" not in err
    for bad, hint in [
        (["--method", "smallest-first", "--max-params", 90], "--tol"),
        (["--tol", "0.1", "--time", "0"], "--time"),
        (["--tol", "2"], "see tnet search --help"),
    ]:
        code, _, err = run(capsys, "search", array, *bad)
        assert code == 2
        assert hint in err


def test_a_random_search_goes_on_with_a_larger_budget(array: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "run"
    words = ["search", array, "--method", "random", "--max-params", 200, "--run", folder]
    code, out, err = run(capsys, *words, "--budget", 4)
    assert code == 0, err
    assert "BUDGET" in out
    assert "the search was not over" in err
    code, out, err = run(capsys, "resume", folder, "--budget", "+3")
    assert code == 0, err
    assert len(read_run(folder).evaluations) == 7


def test_small_data_take_one_thread(array: Path, capsys, monkeypatch) -> None:
    from threadpoolctl import threadpool_info

    import structure_search

    seen = []

    def spy(*args, progress, **options):
        def look(*news):
            pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
            seen.append({pool["num_threads"] for pool in pools})
            progress(*news)

        return search(*args, progress=look, **options)

    search = structure_search.search
    before = [pool["num_threads"] for pool in threadpool_info()]
    monkeypatch.setattr(structure_search, "search", spy)
    for more in ([], ["--threads", 2]):
        code, _, err = run(capsys, "search", array, "--tol", "0.5", *more)
        assert code == 0, err
    assert seen[0] == {1}
    assert seen[1] <= {1, 2}
    assert all(counts == {1} for counts in seen)
    assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_what_a_newcomer_gets_wrong_is_told_plainly(array: Path, tmp_path: Path, capsys) -> None:
    x = np.load(array)
    x[0, 0, 0, :2] = np.inf
    np.save(tmp_path / "inf.npy", x)
    code, _, err = run(capsys, "search", tmp_path / "inf.npy", "--tol", 0.1)
    assert code == 3
    assert "2 of 625 entries" in err
    assert "infinite" in err
    assert "--missing" not in err
    root = tmp_path / "all"
    (root / "greedy" / "seed-0").mkdir(parents=True)
    (root / "greedy" / "seed-0" / "run.json").write_text("{}")
    code, _, err = run(capsys, "report", root)
    assert code == 2
    assert "holds 1 run" in err
    assert "tnet report" in err
    (tmp_path / "c.toml").write_text("tol = 0.1\nsettings = 'x=1'\n")
    code, _, err = run(capsys, "search", array, "--config", tmp_path / "c.toml")
    assert code == 2
    assert "'settings' is no option" in err


def test_one_is_no_plural_and_bytes_are_counted(array: Path, capsys) -> None:
    words = ["--max-bytes", "16KiB", "--method", "random", "--set", "samples=1", "--seed", 3]
    _, out, _ = run(capsys, "search", array, *words)
    assert "1 evaluation (1 fit), " in out
    size = int(out.split()[1].replace(",", ""))
    assert f"{8 * size:,} bytes of 16,384 allowed" in out
    assert "\nended    " in out


def test_a_table_of_several_data_sets_fits_a_terminal(array: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "broken.npy").write_bytes(array.read_bytes()[:200])
    words = ["--tol", 0.5, "--method", "random", "--set", "samples=2"]
    code, out, err = run(capsys, "search", array, tmp_path / "broken.npy", *words)
    assert code == 3
    assert "declares shape" in err
    last = [line for line in out.splitlines() if "failed: " in line]
    assert len(last) == 1
    assert last[0].endswith("failed: FILE_FORMAT")
