"""tnet contract: results, run folders, workers, and what is refused before any work."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import contraction
import tnet
from contraction import Spec
from contraction.errors import InputError
from tnet import cli
from tnet.console import Console, ExitCode
from tnet.contraction_checks import check_time


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scalar_network(size: int = 6) -> tnet.Network:
    """Return a ring of four matrices with a chord: no open legs."""
    legs = {"a": ("p", "q", "x"), "b": ("q", "r"), "c": ("r", "s", "x"), "d": ("s", "p")}
    structure = tnet.Structure(legs, dict.fromkeys("pqrsx", size), ())
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal([size] * len(held)) for name, held in legs.items()}
    return tnet.Network(structure, arrays)


def sliced_files(folder: Path, size: int = 40, loops: int = 12) -> np.ndarray:
    """Write a plan with slices and its arrays; return the result."""
    inputs = [("x0", "s", "x1"), ("x1", "t", "x2"), ("x2", "s", "x3"), ("x3", "t", "x4")]
    sizes = {f"x{i}": size for i in range(5)} | {"s": loops, "t": loops}
    spec = Spec(inputs, ("x0", "x4"), sizes)
    plan = contraction.plan(spec, path=[(0, 1), (4, 2), (5, 3)], slices=("s", "t"))
    (folder / "plan.json").write_text(json.dumps(plan.to_dict()))
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) / size for shape in spec.shapes]
    for i, x in enumerate(arrays):
        np.save(folder / f"{i}.npy", x)
    return contraction.contract_with(plan, arrays)


PLANNED = ["plan.json", "0.npy", "1.npy", "2.npy", "3.npy"]


def test_a_number_is_printed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = scalar_network()
    tnet.save(here / "ring.tnet", net)
    assert cli.main(["contract", "ring.tnet"]) == ExitCode.DONE
    found = capsys.readouterr()
    np.testing.assert_allclose(float(found.out), float(net.to_dense()), rtol=1e-10)
    assert cli.main(["contract", "ring.tnet", "--json", "--memory", "1MiB"]) == ExitCode.DONE
    document = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(document["value"], float(net.to_dense()), rtol=1e-10)
    assert document["ok"]
    assert document["shape"] == []
    assert document["flops"] > 0


def test_a_complex_number_is_two_numbers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("x.npy", np.array([1.0, 2.0j]))
    np.save("y.npy", np.array([3.0, 4.0]))
    assert cli.main(["contract", "i,i->", "x.npy", "y.npy", "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["value"] == [3.0, 8.0]


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_tensor_is_written(here: Path, suffix: str) -> None:
    net = tnet.random_network(tnet.tensor_train((4, 5, 6), rank=3), rng=np.random.default_rng(0))
    tnet.save(here / "net.tnet", net)
    assert cli.main(["contract", "net.tnet", "--out", f"dense{suffix}"]) == ExitCode.DONE
    found = np.load(f"dense{suffix}")
    found = found["result"] if suffix == ".npz" else found
    np.testing.assert_allclose(found, net.to_dense(), atol=1e-12)


@pytest.mark.parametrize("who", [[], ["--threads", "2"], ["--workers", "2"]])
def test_everyone_gives_the_same_bits(here: Path, who: list[str]) -> None:
    want = sliced_files(here)
    assert cli.main(["contract", *PLANNED, "--out", "got.npy", *who]) == ExitCode.DONE
    if who:
        np.testing.assert_array_equal(np.load("got.npy"), want)
    else:
        np.testing.assert_allclose(np.load("got.npy"), want, rtol=1e-9, atol=1e-14)


def test_a_small_memory_slices(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for name, shape in {"x": (200, 20, 20), "y": (20, 20, 200), "z": (200, 200, 20)}.items():
        np.save(f"{name}.npy", rng.standard_normal(shape))
    words = ["contract", "abc,bcd,dae->e", "x.npy", "y.npy", "z.npy", "--out", "e.npy", "--json"]
    assert cli.main([*words, "--memory", "10kB", "--overwrite"]) == ExitCode.DONE
    document = json.loads(capsys.readouterr().out)
    assert document["slices"] > 1
    assert document["peak_bytes"] <= 10_000
    arrays = [np.load(f"{name}.npy") for name in "xyz"]
    want = np.einsum("abc,bcd,dae->e", *arrays, optimize=True)
    np.testing.assert_allclose(np.load("e.npy"), want, rtol=1e-9, atol=1e-9)
    assert cli.main([*words, "--memory", "100", "--overwrite"]) == ExitCode.MEMORY


def test_a_finished_run_is_not_done_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    want = sliced_files(here)
    words = ["contract", *PLANNED, "--run", "kept", "--threads", "1"]
    assert cli.main(words) == ExitCode.DONE
    np.testing.assert_array_equal(np.load("kept/result.npy"), want)
    then = Path("kept/result.npy").stat().st_mtime_ns
    assert cli.main([*words, "--out", "again.npy"]) == ExitCode.DONE
    assert cli.main(["contract", "--resume", "kept", "--out", "third.npy"]) == ExitCode.DONE
    assert Path("kept/result.npy").stat().st_mtime_ns == then
    np.testing.assert_array_equal(np.load("again.npy"), want)
    np.testing.assert_array_equal(np.load("third.npy"), want)
    np.save("3.npy", np.load("3.npy") + 1)
    assert cli.main(words) == ExitCode.DAMAGED_FILE
    assert "input 3" in capsys.readouterr().err
    assert cli.main(["contract", "i,i->", "0.npy", "0.npy", "--run", "kept"]) != ExitCode.DONE


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_an_interrupted_run_says_how_to_go_on(here: Path) -> None:
    want = sliced_files(here, size=250)
    command = [sys.executable, "-m", "tnet", "contract", *PLANNED, "--run", "my run", "--threads"]
    with subprocess.Popen([*command, "1"], stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while len(list(Path("my run").glob("parts/*.part"))) < 3:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED
    assert "tnet contract --resume 'my run'" in err
    done = {part: part.stat().st_mtime_ns for part in Path("my run/parts").glob("*.part")}
    assert 3 <= len(done) < 64
    assert cli.main(["contract", "--resume", "my run", "--out", "x.npy", "--threads", "1"]) == 0
    np.testing.assert_array_equal(np.load("x.npy"), want)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], ExitCode.USAGE, "name a network"),
        (["none.tnet"], ExitCode.BAD_INPUT, "none.tnet"),
        (["i,i->", "none.npy", "1.npy"], ExitCode.BAD_INPUT, "none.npy"),
        ([*PLANNED], ExitCode.USAGE, "--out FILE"),
        ([*PLANNED[:-1]], ExitCode.USAGE, "4 inputs, and 3 files"),
        (["plan.json", "0.npy", "1.npy", "2.npy", "plan.json"], ExitCode.BAD_INPUT, "json"),
        ([*PLANNED, "--out", "0.npy"], ExitCode.USAGE, "exists"),
        ([*PLANNED, "--out", "x.txt"], ExitCode.USAGE, ".npy"),
        ([*PLANNED, "--out", "none/x.npy"], ExitCode.USAGE, "does not exist"),
        ([*PLANNED, "--workers", "0"], ExitCode.USAGE, ">= 1"),
        ([*PLANNED, "--workers", "2", "--scheduler", "tcp://x:1"], ExitCode.USAGE, "not allowed"),
        ([*PLANNED, "--run", "."], ExitCode.BAD_INPUT, "new folder"),
        ([*PLANNED, "--run", "none/run"], ExitCode.BAD_INPUT, "none"),
        (["--resume", "nowhere"], ExitCode.BAD_INPUT, "nowhere"),
        (["--resume", ".", "--memory", "1GiB"], ExitCode.USAGE, "leave out --memory"),
        (["big.json", "0.npy"], ExitCode.BAD_INPUT, "shape"),
        (["ab,bc->ac", "0.npy", "1.npy"], ExitCode.BAD_INPUT, "axes"),
        ([*PLANNED, "--out", "x.npy", "--memory", "0"], ExitCode.USAGE, "limit of memory"),
        ([*PLANNED, "--out", "x.npy", "--memory", "1e400"], ExitCode.USAGE, "limit of memory"),
        ([*PLANNED, "--out", "x.npy", "--memory", "0%"], ExitCode.USAGE, "limit of memory"),
        ([*PLANNED, "--out", "x.npy", "--budget", "1e306h"], ExitCode.USAGE, "time above zero"),
        ([*PLANNED, "--run", "0.npy"], ExitCode.BAD_INPUT, "is a file"),
        (["--resume", "0.npy"], ExitCode.BAD_INPUT, "begin with --run"),
        (["nonsense", "0.npy"], ExitCode.USAGE, "no .tnet or .json file, and no equation"),
    ],
)
def test_nonsense_is_refused(here, capsys, words: list[str], code: ExitCode, said: str) -> None:
    sliced_files(here, size=4, loops=3)
    big = {"inputs": [["a", "b"]], "output": ["a", "b"], "sizes": {"a": 1000, "b": 1000}}
    Path("big.json").write_text(json.dumps(big))
    assert cli.main(["contract", *words]) == code
    assert said in capsys.readouterr().err
    before = {"plan.json", "0.npy", "1.npy", "2.npy", "3.npy", "big.json"}
    assert {path.name for path in here.iterdir()} == before


def test_a_result_beyond_memory_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(6):
        np.save(f"{i}.npy", np.ones(1000))
    words = ["contract", "a,b,c,d,e,f->abcdef", *(f"{i}.npy" for i in range(6)), "--out", "x.npy"]
    assert cli.main(words) == ExitCode.MEMORY
    assert "TiB" in capsys.readouterr().err
    assert not Path("x.npy").exists()


def test_no_scheduler_there(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("tnet.commands.contract.SECONDS_TO_ANSWER", 0.5)
    sliced_files(here, size=4, loops=3)
    words = ["contract", *PLANNED, "--out", "x.npy", "--scheduler", "tcp://127.0.0.1:9"]
    assert cli.main(words) == ExitCode.MISSING_DEVICE
    assert "no Dask scheduler answers" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["foo", "tcp://", "", "nonsense://x"])
def test_an_address_that_is_none(here: Path, capsys: pytest.CaptureFixture[str], address) -> None:
    pytest.importorskip("distributed")
    sliced_files(here, size=4, loops=3)
    words = ["contract", *PLANNED, "--out", "x.npy", "--scheduler", address]
    assert cli.main(words) == ExitCode.MISSING_DEVICE
    gc.collect()  # a client half made would complain here
    said = capsys.readouterr().err
    assert "no address of a Dask scheduler" in said
    assert len(said.splitlines()) == 1


def test_arrays_that_are_not_finite_are_refused(here: Path, capsys) -> None:
    x = np.ones((3, 4))
    np.save("x.npy", x)
    x[1, 2] = np.nan
    np.save("y.npy", x)
    assert cli.main(["contract", "ab,ab->", "x.npy", "y.npy"]) == ExitCode.BAD_INPUT
    assert "'y.npy' holds 1 NaN or infinite entry" in capsys.readouterr().err


def test_a_result_beyond_range_is_warned_of(here: Path, capsys) -> None:
    np.save("x.npy", np.full((3, 4), 1e200))
    assert cli.main(["contract", "ab,ab->", "x.npy", "x.npy", "--json"]) == ExitCode.DONE
    found = capsys.readouterr()
    assert json.loads(found.out)["value"] is None
    assert "beyond the range of float64" in found.err
    assert cli.main(["contract", "ab->a", "x.npy", "--json", "--out", "y.npy"]) == ExitCode.DONE
    found = capsys.readouterr()
    assert "beyond" not in found.err  # only the squares of the norm are
    np.testing.assert_allclose(json.loads(found.out)["norm"], 4e200 * 3**0.5)


def test_an_equation_without_an_output_is_one(here: Path) -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 3, 3))
    np.save("x.npy", x)
    np.save("y.npy", y)
    assert cli.main(["contract", "ab,bc", "x.npy", "y.npy", "--out", "z.npy"]) == ExitCode.DONE
    np.testing.assert_allclose(np.load("z.npy"), x @ y)


def test_what_takes_long_is_refused_or_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"about 3.17 years on 2 workers.*--budget"):
        check_time(2e8, 2, Console(), kept=True)
    check_time(2e8, 1000, Console(), kept=True)
    assert not capsys.readouterr().err
    check_time(8000.0, 2, Console(), kept=False)
    assert "this takes about 1h06m; with --run" in capsys.readouterr().err


def test_the_plan_is_said_before_the_work(here: Path, capsys) -> None:
    sliced_files(here)
    assert cli.main(["contract", *PLANNED, "--out", "x.npy", "--json"]) == ExitCode.DONE
    found = capsys.readouterr()
    assert found.err.startswith("plan: 3 steps in 144 slices, 10^")
    assert json.loads(found.out)["predicted"] > 0.0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_contracts(here: Path) -> None:
    distributed = pytest.importorskip("distributed")
    want = sliced_files(here)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, dashboard_address=":0"
    ) as cluster:
        address = cluster.scheduler_address
        words = ["contract", *PLANNED, "--out", "x.npy", "--scheduler", address, "--run", "kept"]
        assert cli.main(words) == ExitCode.DONE
    np.testing.assert_array_equal(np.load("x.npy"), want)


def test_devices_share_out_the_work(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Named twice, the CPU stands for two devices."""
    pytest.importorskip("torch")
    wanted = sliced_files(here, size=20, loops=5)
    arguments = ["contract", *PLANNED, "--devices", "cpu,cpu", "--out", "x.npy"]
    assert cli.main(arguments) == ExitCode.DONE
    np.testing.assert_allclose(np.load("x.npy"), wanted)
    tnet.save(here / "ring.tnet", scalar_network())
    capsys.readouterr()
    assert cli.main(["contract", "ring.tnet", "--devices", "cpu", "--memory", "1MiB"]) == 0
    found = float(capsys.readouterr().out)
    assert cli.main(["contract", "ring.tnet"]) == 0
    assert found == pytest.approx(float(capsys.readouterr().out))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--devices", "gpu"], "no device"),
        (["--devices", "cpu", "--run", "r"], "not kept"),
        (["--devices", "cpu", "--workers", "2"], "not allowed"),
        (["--devices", "cuda:7"], "cuda:7"),
    ],
)
def test_devices_that_cannot_be_used(here, capsys, arguments, message) -> None:
    pytest.importorskip("torch")
    sliced_files(here, size=4, loops=2)
    try:
        code = cli.main(["contract", *PLANNED, *arguments, "--out", "x.npy"])
    except SystemExit as stop:
        code = stop.code
    assert code != 0
    assert message in capsys.readouterr().err
