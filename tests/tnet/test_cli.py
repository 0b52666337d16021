"""The tnet command: streams, exit codes, JSON, and every sub-command of the ground floors."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from importlib import metadata

import numpy as np
import pytest

import tnet
from contraction import errors
from tnet import cli
from tnet.console import Console, ExitCode, Progress, ProgressLines, plain, plain_table, to_json
from tnet.failures import UsageError, code_name, exit_code
from tnet.options import add_command, output_path, parse_seconds, parse_shape, parse_size


def shell(*words: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tnet", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


class FakeEntry:
    """An entry point whose module registers one command that calls `handler`."""

    def __init__(self, handler, name="try") -> None:
        self.name, self.value, self.dist = name, f"{name}.module", None
        self.handler = handler

    def load(self):
        return self

    def register(self, subparsers) -> None:
        add_command(subparsers, self.name, self.handler, help="for a test")


@pytest.fixture
def plugged(monkeypatch):
    """Replace all commands by given entries; returns a function that runs `tnet try ...`."""

    def run(handler, *words: str, more=()) -> int:
        found = [FakeEntry(handler), *more]
        monkeypatch.setattr(metadata, "entry_points", lambda group: found)
        return cli.main(["try", *words])

    return run


def strict(text: str):
    """Parse exactly one JSON document, without NaN and Infinity."""

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


# ---- start-up --------------------------------------------------------------------------------


def cpu_of_children() -> float:
    """Return the processor time of all child processes that have ended, in seconds."""
    used = os.times()
    return used.children_user + used.children_system


def test_help_is_quick_and_light() -> None:
    seconds = []
    for _ in range(3):
        start = cpu_of_children()
        done = shell("--help")
        seconds.append(cpu_of_children() - start)
        assert done.returncode == 0
    assert min(seconds) < 1.0
    for word in ("info", "decompose", "doctor", "exit status"):
        assert word in done.stdout
    code = "import sys; from tnet.cli import build_parser; build_parser(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert not {"numpy", "scipy", "torch", "rich", "tensorly"} & set(loaded.split())


def test_version() -> None:
    done = shell("--version")
    assert done.returncode == 0
    assert done.stdout.strip() == f"tnet {metadata.version('tnet')}"


def test_every_command_explains_itself(capsys) -> None:
    commands = cli.build_parser()._subparsers._group_actions[0].choices
    assert {"info", "decompose", "doctor"} <= set(commands)
    for name in commands:
        assert cli.main([name, "--help"]) == 0
        shown = capsys.readouterr().out
        assert "--json" in shown
        assert "--no-progress" in shown


def test_a_broken_plug_in_costs_a_warning_only(plugged, capsys) -> None:
    class Broken(FakeEntry):
        def load(self):
            raise RuntimeError("half installed")

    class Clash(FakeEntry):
        pass

    ran = []
    others = [Broken(None, "other"), Clash(None, "try")]
    assert plugged(lambda args, console: ran.append(1), more=others) == 0
    assert ran == [1]
    said = capsys.readouterr().err
    assert "half installed" in said
    assert said.count("could not be loaded") == 2


def test_options_stand_before_or_after_the_command(plugged) -> None:
    seen = []

    def handler(args, console) -> None:
        seen.append((args.seed, console.json, console.quiet, console.progress_wanted))

    assert plugged(handler) == 0
    assert plugged(handler, "--seed", "7", "--quiet") == 0
    assert cli.main(["--seed", "7", "--quiet", "try"]) == 0
    assert cli.main(["--seed", "7", "try", "--no-progress"]) == 0
    assert seen == [
        (0, False, False, True),
        (7, False, True, False),
        (7, False, True, False),
        (7, False, False, False),
    ]


# ---- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no"), 2),
        (errors.RankError("rank 0"), 2),
        (errors.InputError("no"), 3),
        (errors.NonFiniteError("one NaN"), 3),
        (errors.ShapeError("no"), 3),
        (errors.FileFormatError("no"), 3),
        (errors.DTypeError("no"), 3),
        (errors.MemoryBudgetError("no"), 4),
        (MemoryError(), 4),
        (errors.RunLockedError("no"), 6),
        (errors.CheckpointError("no"), 7),
        (errors.DeviceError("no"), 8),
        (ModuleNotFoundError("No module named 'h5py'", name="h5py"), 8),
        (ModuleNotFoundError("No module named 'tnet.x'", name="tnet.x"), 1),
        (errors.ConvergenceError("no"), 1),
        (FileNotFoundError(2, "No such file or directory", "x.tnet"), 3),
        (OSError(28, "No space left on device", "x.tnet"), 1),
        (ZeroDivisionError("oops"), 1),
        (KeyboardInterrupt(), 130),
        (SystemExit(143), 143),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_exit_codes(plugged, capsys, error, code) -> None:
    def handler(args, console) -> None:
        raise error

    assert plugged(handler) == code
    text = capsys.readouterr()
    assert text.out == ""
    assert "Traceback" not in text.err
    assert len(text.err.splitlines()) <= 2
    assert plugged(handler, "--json") == code
    document = strict(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["schema_version"] == 1
    assert document["error"]["code"] == code_name(error)
    assert document["error"]["exit_code"] == code == exit_code(error)


def test_every_error_of_ours_has_a_code() -> None:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.TnetError):
            known = kind in (errors.TnetError, errors.ConvergenceError)
            assert (exit_code(kind("x")) == ExitCode.INTERNAL) == known, kind


def test_a_traceback_is_shown_only_on_demand(plugged, capsys) -> None:
    def handler(args, console) -> None:
        raise ZeroDivisionError("oops")

    assert plugged(handler, "-v") == 1
    assert "Traceback" in capsys.readouterr().err
    assert plugged(handler) == 1
    said = capsys.readouterr().err
    assert "ZeroDivisionError: oops" in said
    assert "run again with -v" in said


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["--nonsense"],
        ["info"],
        ["decompose", "il2", "--tol", "2"],
        ["decompose", "il2", "--tol", "nan"],
        ["decompose", "il2", "--rank", "0"],
        ["decompose", "il2", "--rank", "2.5"],
        ["decompose", "il2", "--rank", "x"],
        ["decompose", "il2", "--format", "spline", "--rank", "2"],
        ["decompose", "il2", "--seed", "-1", "--rank", "2"],
        ["decompose", "il2", "--seed", "a", "--rank", "2"],
        ["decompose", "il2", "--threads", "0", "--rank", "2"],
        ["decompose", "il2", "--memory", "many", "--rank", "2"],
        ["decompose", "il2", "--missing", "perhaps", "--rank", "2"],
        ["decompose", "il2", "--ratio", "-1"],
        ["decompose", "il2"],
        ["decompose", "covid19", "--tol", "0.1", "--out", "/nowhere/at/all.tnet"],
        ["decompose", "covid19", "--tol", "0.1", "--out", "x.zip"],
        ["decompose", "covid19", "--tol", "0.1", "--format", "tt,cp", "--out", "x.tnet"],
        ["decompose", "covid19", "--rank", "2,2,2"],
    ],
)
def test_usage_errors(words, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([*words, "--json"]) == 2
    text = capsys.readouterr()
    assert strict(text.out)["error"]["exit_code"] == 2
    assert 1 <= len(text.err.strip().splitlines()) <= 2
    assert not list(tmp_path.iterdir())


def test_no_command_prints_the_help(capsys) -> None:
    assert cli.main([]) == 2
    assert "commands:" in capsys.readouterr().out
    assert cli.main(["--json"]) == 2
    assert strict(capsys.readouterr().out)["error"]["code"] == "USAGE"


def test_a_closed_pipe_is_quiet() -> None:
    code = "import sys; from tnet.cli import main; sys.exit(main(['info'] + ['kinetic'] * 2000))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(timeout=60) == 0
    assert said == b""


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals(number, code) -> None:
    program = (
        "import sys, time\nfrom importlib import metadata\nfrom tnet import cli\n"
        "from tnet.options import add_command\n"
        "class Entry:\n"
        "    name = value = 'try'; dist = None\n"
        "    def load(self): return self\n"
        "    def register(self, subparsers): add_command(subparsers, 'try', wait, help='')\n"
        "def wait(args, console):\n"
        "    try:\n"
        "        console.note('ready'); sys.stderr.flush(); time.sleep(60)\n"
        "    finally:\n"
        "        console.note('flushed')\n"
        "metadata.entry_points = lambda group: [Entry()]\n"
        "sys.exit(cli.main(['try']))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as process:
        assert process.stderr.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(timeout=30) == code
        said = process.stderr.read().decode()
    assert said.startswith("flushed")
    assert "Traceback" not in said


def test_the_plain_locale_and_odd_names(tmp_path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + "/schön-".encode() + b"\xff.npy")
    try:
        np.save(name, np.ones((2, 3)))
    except (OSError, UnicodeError):
        pytest.skip("the file system refuses the name")
    done = shell("info", name, env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"})
    assert done.returncode == 0, done.stderr
    assert "2 x 3" in done.stdout
    done = shell("info", name, "--json", env={**os.environ, "LC_ALL": "C", "TERM": "dumb"})
    assert strict(done.stdout)["files"][0]["shape"] == [2, 3]


# ---- console ---------------------------------------------------------------------------------


def test_json_is_strict() -> None:
    document = {
        "nan": float("nan"),
        "numpy": np.float32(np.inf),
        "array": np.array([1.5, np.nan]),
        "count": np.int64(3),
        "flag": np.bool_(True),
        "code": ExitCode.MEMORY,
        "complex": 1 + 2j,
        ("a", 1): {2},
    }
    found = strict(to_json(document))
    assert found["nan"] is None
    assert found["numpy"] is None
    assert found["array"] == [1.5, None]
    assert (found["count"], found["flag"], found["code"]) == (3, True, 4)
    assert plain(ExitCode.MEMORY) == 4


def test_one_document_is_all_there_is(capsys) -> None:
    console = Console(json=True)
    console.out("a line")
    console.table(["a"], [[1]])
    console.result({"x": 1})
    with pytest.raises(RuntimeError, match="one JSON document"):
        console.result({"x": 2})
    assert strict(capsys.readouterr().out) == {"ok": True, "schema_version": 1, "x": 1}


def test_tables_align_numbers_to_the_right() -> None:
    text = plain_table(["name", "n"], [["a", "5"], ["bcdef", "100"]], [False, True], "title")
    assert text == "title\nname     n\na        5\nbcdef  100\n"


def test_progress_in_a_log_is_a_line_per_tenth(monkeypatch) -> None:
    lines: list[str] = []
    now = [0.0]
    monkeypatch.setattr("tnet.console.time.monotonic", lambda: now[0])
    bar = Progress(100, "evaluations", ProgressLines(lines.append))
    for k in range(100):
        now[0] += 1.0
        bar.advance(status=f"best {k}")
    assert len(lines) == 10
    assert lines[4] == "evaluations 50/100  best 49  eta 50s"
    lines.clear()
    bar = Progress(None, "sweeps", ProgressLines(lines.append))
    for _ in range(100):
        now[0] += 1.0
        bar.advance()
    assert lines == ["sweeps 30", "sweeps 60", "sweeps 90"]
    lines.clear()
    bar = Progress(10, "steps", ProgressLines(lines.append))
    for _ in range(10):
        now[0] += 0.3
        bar.advance()
    assert lines == ["steps 4/10  eta 1.8s", "steps 8/10  eta 0.6s"]


def test_no_progress_writes_nothing(capsys) -> None:
    with Console(progress=False).progress(3, "steps") as bar:
        for _ in range(3):
            bar.advance()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("setting", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_gets_a_bar_and_a_table(monkeypatch, setting) -> None:
    from io import StringIO

    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    screen, log = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", log)
    console = Console()
    console.table(["name", "[n]"], [["[red]a", 5]], title="t")
    with console.progress(2, "steps") as bar:
        bar.advance(status="[x] fine")
        time.sleep(0.15)
        bar.advance()
    assert "[red]a" in screen.getvalue()  # markup in data is text
    if setting.get("TERM") == "dumb":
        assert "\x1b" not in screen.getvalue() + log.getvalue()
    else:
        assert "[x] fine" in log.getvalue()
    colours = [code for code in ("\x1b[31m", "\x1b[38;5") if code in screen.getvalue()]
    assert not colours


@pytest.mark.parametrize(
    ("text", "size"), [("2GiB", 2**31), ("500MB", 5 * 10**8), ("1e3", 1000), ("3 k", 3000)]
)
def test_sizes(text, size) -> None:
    assert parse_size(text) == size


def test_values_that_are_no_values() -> None:
    import argparse

    for parse, words in [
        (parse_size, ["", "GiB", "-1", "2 apples", "nan", "infGB"]),
        (parse_seconds, ["", "m", "-3s", "3 weeks", "nan"]),
        (parse_shape, ["", "4x", "0x3", "-1x-1", "4x-2", "axb"]),
    ]:
        for word in words:
            with pytest.raises(argparse.ArgumentTypeError):
                parse(word)
    assert parse_seconds("2h") == 7200.0
    assert parse_shape("4,-1") == (4, -1)


def test_output_paths(tmp_path) -> None:
    assert output_path(tmp_path / "x.tnet", suffixes=[".tnet"]).name == "x.tnet"
    (tmp_path / "link.tnet").symlink_to("elsewhere")
    for bad in (tmp_path, tmp_path / "gone" / "x.tnet", tmp_path / "link.tnet"):
        with pytest.raises(UsageError):
            output_path(bad)


def test_threads_are_limited(plugged) -> None:
    from threadpoolctl import threadpool_info

    seen = []

    def handler(args, console) -> None:
        seen.extend(pool["num_threads"] for pool in threadpool_info())

    assert plugged(handler, "--threads", "1") == 0
    assert set(seen) == {1}


def test_our_warnings_are_shown_once_and_others_not(plugged, capsys) -> None:
    def handler(args, console) -> None:
        for _ in range(3):
            warnings.warn("digits were lost", errors.PrecisionWarning, stacklevel=1)
            warnings.warn("chatter", DeprecationWarning, stacklevel=1)

    assert plugged(handler) == 0
    assert capsys.readouterr().err == "warning: digits were lost\n"
    assert plugged(handler, "--quiet") == 0
    assert capsys.readouterr().err == ""


# ---- info ------------------------------------------------------------------------------------


def test_info_on_data_networks_and_runs(tmp_path, capsys) -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    x[0, 1, 2] = np.nan
    np.savez(tmp_path / "two.npz", a=x, b=np.ones(3, np.uint8))
    net = tnet.decompose(np.nan_to_num(x), tnet.tucker, tol=1e-8)
    tnet.save(tmp_path / "net.tnet", net)
    run = tmp_path / "run"
    (run / "best").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"seed": 3, "config": {"method": "greedy"}}))
    (run / "best" / "metrics.json").write_text(json.dumps({"num_params": 40, "error": 0.01}))
    (run / "events.jsonl").write_bytes(b'{"seq": 0}\n{"seq": 1}\n{"se')
    paths = [str(tmp_path / name) for name in ("two.npz", "net.tnet", "run")]
    assert cli.main(["info", "--check", "--json", *paths]) == 0
    first, second, network, folder = strict(capsys.readouterr().out)["files"]
    assert first["shape"] == [2, 3, 4]
    assert (first["missing"], first["finite"]) == (1, False)
    assert len(first["sha256"]) == 64
    assert any("first at index (0, 1, 2)" in finding for finding in first["findings"])
    assert any("float64" in finding for finding in second["findings"])
    assert network["num_params"] == net.num_params
    assert network["error_kind"] == net.certificate.kind.value
    assert network["finite"]
    assert (folder["events"], folder["best"]["num_params"]) == (2, 40)
    assert cli.main(["info", *paths]) == 0
    shown = capsys.readouterr().out
    for line in ("shape     2 x 3 x 4", "seed", "core", "method greedy"):
        assert line in shown


def test_info_goes_on_after_a_bad_file(tmp_path, capsys) -> None:
    (tmp_path / "bad.npy").write_bytes(b"junk")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("[1")
    words = ["info", str(tmp_path / "bad.npy"), str(tmp_path / "run"), "il2", "--json"]
    assert cli.main(words) == 3
    text = capsys.readouterr()
    document = strict(text.out)
    assert document["ok"] is False
    assert [f.get("error", {}).get("exit_code") for f in document["files"]] == [3, 7, None]
    assert len(text.err.splitlines()) == 2


def test_info_does_not_read_what_is_large(tmp_path, capsys, monkeypatch) -> None:
    np.save(tmp_path / "x.npy", np.ones((5, 4)))
    monkeypatch.setattr("tnet.commands.info.ALWAYS_SCANNED", 10)
    monkeypatch.setattr("tnet.inputs.scan_array", lambda array: pytest.fail("it was read"))
    assert cli.main(["info", str(tmp_path / "x.npy"), "--json"]) == 0
    [document] = strict(capsys.readouterr().out)["files"]
    assert "missing" not in document
    assert any("--check" in finding for finding in document["findings"])


# ---- decompose -------------------------------------------------------------------------------


def test_decompose_to_a_tolerance_and_save(tmp_path, capsys) -> None:
    out = tmp_path / "net.tnet"
    words = ["decompose", "covid19", "--format", "tree", "--tol", "0.2", "--out", str(out)]
    assert cli.main([*words, "--json"]) == 0
    document = strict(capsys.readouterr().out)
    [found] = document["results"]
    net = tnet.load(out)
    from tnet.inputs import open_array

    data = open_array("covid19")
    assert net.structure.modes == data.names
    assert found["num_params"] == net.num_params
    assert float(tnet.relative_error(net, data.array)) == pytest.approx(found["error"], rel=1e-6)
    assert found["error"] <= 0.2
    assert cli.main(words) == 0
    text = capsys.readouterr()
    assert text.err == ""
    for word in ("covid19: sample 438", "compression", "exact", "in Python", "u0"):
        assert word in text.out


def test_every_format_runs(capsys) -> None:
    words = ["decompose", "camera", "--reshape", "8x8x8x8x8x8x-1", "--rank", "2", "--json"]
    pytest.importorskip("skimage")
    assert cli.main([*words, "--format", "tt,tucker,tree,ht,cp,ring", "--threads", "1"]) == 0
    text = capsys.readouterr()
    found = strict(text.out)["results"]
    assert [entry["format"] for entry in found] == ["tt", "tucker", "tree", "ht", "cp", "ring"]
    for entry in found:
        structure = tnet.Structure.from_dict(entry["structure"])
        assert structure.shape == (8, 8, 8, 8, 8, 8, 1)
        assert structure.num_params == entry["num_params"]
        assert 0 < entry["error"] < 1
        assert entry["error"] <= entry["error_bound"] * (1 + 1e-9)
    assert text.err.count("uint8") == 1  # said once, not once per format


def test_a_target_that_is_not_reached_is_code_5(capsys) -> None:
    words = ["decompose", "covid19", "--tol", "0.01", "--rank", "2", "--json"]
    assert cli.main(words) == 5
    document = strict(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["results"][0]["error"] > 0.01


@pytest.mark.parametrize(
    ("words", "most"), [(["--max-params", "2000"], 2000), (["--ratio", "20"], 28908 / 20)]
)
def test_budgets_are_kept(words, most, capsys) -> None:
    assert cli.main(["decompose", "covid19", *words, "--json", "--format", "tt,tucker"]) == 0
    for found in strict(capsys.readouterr().out)["results"]:
        assert found["num_params"] <= most


def test_the_structure_of_a_network_can_be_used_again(tmp_path, capsys) -> None:
    out = str(tmp_path / "net.tnet")
    assert cli.main(["decompose", "covid19", "--rank", "5,4", "--out", out]) == 0
    first = tnet.load(out)
    capsys.readouterr()
    assert cli.main(["decompose", "covid19", "--format", out, "--json"]) == 0
    [again] = strict(capsys.readouterr().out)["results"]
    assert tnet.Structure.from_dict(again["structure"]) == first.structure
    assert again["error"] == pytest.approx(first.error)
    assert cli.main(["decompose", "kinetic", "--format", out, "--json"]) == 3
    assert strict(capsys.readouterr().out)["error"]["code"] == "SHAPE"


def test_missing_entries(capsys) -> None:
    assert cli.main(["decompose", "il2", "--rank", "4", "--json"]) == 3
    error = strict(capsys.readouterr().out)["error"]
    assert error["code"] == "NON_FINITE"
    assert "192" in error["message"]
    assert "--missing mask" in error["message"]
    assert cli.main(["decompose", "il2", "--rank", "4", "--json", "--missing", "zero"]) == 0
    zero = strict(capsys.readouterr().out)["results"][0]
    words = ["decompose", "il2", "--rank", "4", "--json", "--missing", "mask"]
    assert cli.main([*words, "--seed", "1"]) == 0
    masked = strict(capsys.readouterr().out)["results"][0]
    assert masked["error"] < zero["error"]
    assert cli.main([*words, "--tol", "0.1"]) == 2


def test_the_same_seed_gives_the_same_network(tmp_path, capsys) -> None:
    found = []
    for name in ("a", "b"):
        out = str(tmp_path / f"{name}.tnet")
        words = ["decompose", "covid19", "--format", "cp", "--rank", "3", "--seed", "5"]
        assert cli.main([*words, "--threads", "1", "--out", out]) == 0
        found.append(tnet.load(out))
    for node in found[0].arrays:
        np.testing.assert_array_equal(found[0][node], found[1][node])


def test_a_device_that_is_not_there(capsys) -> None:
    from contraction.arrays import gpu_available

    if gpu_available("torch") or gpu_available("cupy"):
        pytest.skip("it is there")
    assert cli.main(["decompose", "covid19", "--rank", "2", "--device", "cuda:0", "--json"]) == 8
    assert strict(capsys.readouterr().out)["error"]["code"] == "DEVICE"


# ---- doctor ----------------------------------------------------------------------------------


def test_doctor_finds_a_healthy_installation(capsys) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    document = strict(capsys.readouterr().out)
    assert document["ok"] is True
    assert all(document["core"].values())
    assert all(test["ok"] for test in document["self_test"])
    assert document["blas"]
    assert cli.main(["doctor"]) == 0
    assert "ok: an infinite entry is refused" in capsys.readouterr().out


def test_doctor_notices_wrong_numbers(capsys, monkeypatch) -> None:
    original = tnet.decompose

    def wrong(x, family, **options):
        return original(x * 1.001 if np.isfinite(x).all() else x, family, **options)

    monkeypatch.setattr(tnet, "decompose", wrong)
    assert cli.main(["doctor", "--json"]) == 1
    document = strict(capsys.readouterr().out)
    assert document["ok"] is False
    assert not document["self_test"][0]["ok"]
