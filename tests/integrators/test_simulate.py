"""tnet simulate: what a run keeps, going on with it, the shell, and wrong descriptions."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import tnet
from contraction import atomic
from contraction.errors import CheckpointError, DeviceError, RunLockedError, TnetError
from integrators.flow import Outcome
from integrators.models import ising
from integrators.simulation import continue_run, draw_figures, extend_run, read_run, simulate
from integrators.simulation.building import build
from integrators.simulation.records import previous_of
from integrators.simulation.run_files import read_last, write_run
from integrators.simulation.running import locked
from integrators.simulation.screen import status_line
from references import dense_sum, heisenberg_energy, lowest
from tnet.cli import main
from tnet.failures import UsageError

h5py = pytest.importorskip("h5py")

QUENCH = """
title = "a quench"
[model]
name = "ising"
count = 6
[state]
all = "up"
[task]
t_final = 0.4
[step]
dt = 0.05
[truncation]
tol = 1e-6
max_rank = 6
[measure.z]
kind = "profile"
operator = "z"
[measure.m]
kind = "average"
operator = "z"
[measure.entropy]
kind = "entropy"
sites = ["s0", "s1", "s2"]
[measure.bonds]
kind = "bond_entropies"
[output]
checkpoint_seconds = 0
"""
DOCUMENT = tomllib.loads(QUENCH)


def described(folder: Path, text: str = QUENCH) -> Path:
    (folder / "quench.toml").write_text(text, encoding="utf-8")
    return folder / "quench.toml"


def stop_after(count: int):
    calls = iter(range(count))
    return lambda: None if next(calls, None) is not None else Outcome.INTERRUPTED


def assert_same(a, b) -> None:
    assert a.times.tolist() == b.times.tolist()
    for name, series in a.values.items():
        assert np.array_equal(series, b.values[name]), name
    assert [row.energy for row in a.rows] == [row.energy for row in b.rows]
    assert [row.ranks for row in a.rows] == [row.ranks for row in b.rows]
    assert a.moment.clock == b.moment.clock
    for x, y in zip(a.moment.state.cores, b.moment.state.cores, strict=True):
        assert np.array_equal(x, y)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return simulate(described(tmp_path_factory.mktemp("whole")))


def test_a_run_is_read_back_as_it_was(whole) -> None:
    assert whole.outcome is Outcome.FINISHED
    assert whole.path.name == "quench.h5"
    found = read_run(whole.path)
    assert_same(found, whole.record)
    assert found.finished
    assert found.text == QUENCH
    assert found.document == DOCUMENT
    assert found.schema == 1
    assert found.values["z"].shape == (9, 6)
    assert found.values["bonds"].shape == (9, len(tnet.balanced_tree((2,) * 6).bonds))
    assert found.meta["tnet"]
    assert len(found.seconds) == 9
    assert found.drift.norm < 1e-6


def test_other_programs_can_read_it(whole) -> None:
    with h5py.File(whole.path) as file:
        assert file.attrs["schema"] == 1
        assert file["time"].maxshape == (None,)
        assert file["observables/z"].shape == (9, 6)
        assert file["observables/z"].maxshape == (None, 6)
        assert file["observables/energy"][0] == pytest.approx(-6.0)
        names = json.loads(file["rank_names"][()].tobytes())
        assert file["ranks"].shape == (9, len(names))
        assert file["params"][()].tobytes().decode() == QUENCH
        assert {"truncation", "error", "step", "timing"} <= set(file)


def test_a_file_is_hardly_larger_than_its_state(whole, tmp_path: Path) -> None:
    tree = tnet.balanced_tree({f"s{k}": 2 for k in range(32)}, 28)
    net = tnet.random_network(tree, rng=np.random.default_rng(0), dtype="complex128")
    from integrators.tree_state import TreeState

    state = TreeState.from_network(net)
    rank = dict.fromkeys(state.ranks, 1)
    rows = [dataclasses.replace(row, ranks=rank) for row in whole.record.rows]
    moment = dataclasses.replace(whole.record.moment, state=state)
    path = tmp_path / "big.h5"
    write_run(path, whole.record.changed(moment=moment, rows=rows))
    raw = sum(core.nbytes for core in state.cores)
    assert raw > 10**6
    assert path.stat().st_size <= 1.05 * raw
    assert np.array_equal(read_run(path).moment.state.cores[3], state.cores[3])


@pytest.mark.parametrize("steps", [1, 3, 6])
def test_a_stopped_run_goes_on_to_the_same_numbers(whole, tmp_path: Path, steps: int) -> None:
    path = described(tmp_path)
    first = simulate(path, stop=stop_after(steps))
    assert first.outcome is Outcome.INTERRUPTED
    assert not read_run(first.path).finished
    assert len(first.record.rows) == steps + 1
    assert_same(continue_run(first.path).record, whole.record)
    again = continue_run(first.path)  # nothing is left to do
    assert_same(again.record, whole.record)


@pytest.mark.parametrize(
    "more",
    [
        'control = "pi"\ntol = 1e-4\nkeep_norm = true',
        "save_at = [0.1, 0.13, 0.4]\n[stepper]\nname = 'parallel'\n[rejection]",
        "every = 3\n[stepper]\nname = 'midpoint'\n[stepper.local]\nname = 'rk4'",
        "save_every = 0.15\n[stepper]\nname = 'tdvp'\nsites = 2",
    ],
)
def test_every_kind_of_run_goes_on_to_the_same_numbers(tmp_path: Path, more: str) -> None:
    text = QUENCH.replace("dt = 0.05", f"dt = 0.05\n{more}")
    full = simulate(described(tmp_path, text), output=tmp_path / "full.h5")
    assert full.record.rows[-1].time == 0.4
    part = simulate(described(tmp_path, text), output=tmp_path / "part.h5", stop=stop_after(3))
    assert part.outcome is Outcome.INTERRUPTED
    assert_same(continue_run(part.path).record, full.record)


def test_finished_runs_can_be_extended(whole, tmp_path: Path) -> None:
    path = simulate(described(tmp_path)).path
    longer = extend_run(path, {"t_final": 0.6, "max_rank": 8})
    assert longer.record.rows[-1].time == 0.6
    assert longer.record.finished
    assert [c["key"] for c in longer.record.changes] == ["t_final", "max_rank"]
    assert len(longer.record.rows) == 13
    direct = simulate(
        described(tmp_path, QUENCH.replace("0.4", "0.6")), output=tmp_path / "direct.h5"
    )
    assert np.allclose(longer.record.times, direct.record.times, rtol=1e-14)
    assert np.array_equal(longer.record.values["z"][:9], whole.record.values["z"])
    assert np.allclose(longer.record.values["z"], direct.record.values["z"], atol=1e-4)
    with pytest.raises(UsageError, match=r"has come to 0\.6"):
        extend_run(path, {"t_final": 0.5})
    with pytest.raises(UsageError, match="sweeps does not belong"):
        extend_run(path, {"sweeps": 5})
    with pytest.raises(UsageError, match="cannot be changed"):
        extend_run(path, {"dt": 0.1})
    assert read_run(path).rows[-1].time == 0.6


GROUND = """
[model]
name = "heisenberg"
count = 10
[tree]
kind = "chain"
[state]
pattern = ["up", "down"]
[task]
kind = "ground_state"
sweeps = 12
max_ranks = [8, 16]
[truncation]
max_rank = 32
[measure.s]
kind = "bond_entropies"
[output]
checkpoint_seconds = 0
"""


def test_ground_states(tmp_path: Path) -> None:
    full = simulate(described(tmp_path, GROUND), output=tmp_path / "full.h5")
    assert full.record.rows[-1].energy == pytest.approx(heisenberg_energy(10), abs=1e-9)
    assert full.record.finished
    assert max(full.record.rows[0].ranks.values()) <= 8
    path = described(tmp_path, GROUND)
    part = simulate(path, output=tmp_path / "part.h5", stop=stop_after(1))
    assert part.outcome is Outcome.INTERRUPTED
    assert_same(continue_run(part.path).record, full.record)
    more = extend_run(part.path, {"sweeps": 20, "max_rank": 8})
    assert max(more.record.rows[-1].ranks.values()) <= 8
    assert more.record.rows[-1].energy > full.record.rows[-1].energy
    assert "sweep" in status_line(more.record, more.record.rows[-1])


def test_terms_of_the_file_are_those_of_the_model(tmp_path: Path) -> None:
    base = copy.deepcopy(DOCUMENT)
    del base["model"]
    base["sites"] = {f"s{k}": 2 for k in range(6)}
    base["terms"] = [
        {"coefficient": -1, "neighbours": ["x", "x"]},
        {"coefficient": -1.0, "each": [[1, 0], [0, -1]]},
    ]
    ours = build(base, folder=tmp_path, stem="x")
    assert np.allclose(
        dense_sum(dict(base["sites"]), ising(6)).toarray(),
        tnet.contract(ours.operator.to_network()).reshape(64, 64),
    )
    base["terms"] = [
        {"coefficient": [0.0, 1.0], "factors": {"s0": {"imag": [[0, -1], [1, 0]]}}},
        {"factors": {"s1": "z", "s3": "x"}},
    ]
    made = tnet.contract(build(base, folder=tmp_path, stem="x").operator.to_network())
    y = np.asarray([[0, -1j], [1j, 0]])
    wanted = dense_sum(dict(base["sites"]), [(1j, {"s0": y}), (1.0, {"s1": "z", "s3": "x"})])
    assert np.allclose(made.reshape(64, 64), wanted.toarray())


@pytest.mark.parametrize(
    ("tree", "nodes"),
    [
        ({"kind": "chain", "order": ["s5", "s0", "s1", "s2", "s3", "s4"]}, 6),
        ({"kind": "star"}, 7),
        ({"kind": "custom", "nested": [["s0", "s1"], ["s2", ["s3", "s4"]], "s5"]}, 4),
        ({}, 11),
    ],
)
def test_trees(tmp_path: Path, tree: dict, nodes: int) -> None:
    made = build({**DOCUMENT, "tree": tree}, folder=tmp_path, stem="x")
    assert len(made.tree.node_names) == nodes or not tree
    assert set(made.tree.modes) == {f"s{k}" for k in range(6)}
    exact = lowest(dense_sum(ising(6).sites, ising(6)))[0]
    assert exact < -7


def test_first_states(tmp_path: Path) -> None:
    def vector(state: dict) -> np.ndarray:
        made = build({**DOCUMENT, "state": state}, folder=tmp_path, stem="x").start
        return tnet.contract(made).reshape(-1)

    up, down = np.eye(2)
    plus, minus = (up + down) / np.sqrt(2), (up - down) / np.sqrt(2)

    def product(*vectors: np.ndarray) -> np.ndarray:
        full = np.ones(1)
        for v in vectors:
            full = np.kron(full, v)
        return full

    assert np.allclose(vector({"all": "plus"}), product(*[plus] * 6))
    assert np.allclose(vector({"pattern": [0, 1]}), product(up, down, up, down, up, down))
    odd = {"all": "minus", "sites": {"s1": [3, [0.0, 4.0]], "s5": "uniform", "s0": "down"}}
    wanted = product(down, np.asarray([0.6, 0.8j]), minus, minus, minus, plus)
    assert np.allclose(vector(odd), wanted)
    net = tnet.random_network(tnet.balanced_tree(ising(6).sites, 2), rng=np.random.default_rng(0))
    tnet.save(tmp_path / "start.tnet", net)
    assert np.allclose(vector({"file": "start.tnet"}), tnet.contract(net).reshape(-1))
    tnet.save(tmp_path / "chain.tnet", tnet.random_network(
        tnet.tensor_train(ising(6).sites, 2), rng=np.random.default_rng(0)))  # fmt: skip
    with pytest.raises(UsageError, match="not on the tree"):
        vector({"file": "chain.tnet"})


# ---- files that are damaged, locked, old, new


def test_old_files_have_defaults_and_newer_ones_are_refused(whole, tmp_path: Path) -> None:
    path = tmp_path / "old.h5"
    path.write_bytes(whole.path.read_bytes())
    with h5py.File(path, "r+") as file:
        for name in ("truncation", "error", "step", "timing", "meta", "params_now"):
            del file[name]
        del file.attrs["finished"]
        about = json.loads(file["state/about"][()].tobytes())
        for key in ("counts", "statistics", "log_scale"):
            del about[key]
        del about["clock"]["fine"]
        del about["clock"]["floor"]
        del file["state/about"]
        file["state/about"] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    found = read_run(path)
    assert found.times.tolist() == whole.record.times.tolist()
    assert found.rows[3].truncation == 0.0
    assert found.moment.counts.steps == 0
    assert not found.finished
    with h5py.File(path, "r+") as file:
        file.attrs["schema"] = 99
    with pytest.raises(CheckpointError, match="newer"):
        read_last(path)


def test_a_damaged_file_is_noticed_and_the_one_before_it_used(tmp_path: Path) -> None:
    path = simulate(described(tmp_path)).path
    good, before = path.read_bytes(), read_run(previous_of(path))
    assert len(before.rows) >= 8
    chance = np.random.default_rng(0)
    silent = 0
    for _ in range(40):
        broken = bytearray(good)
        broken[int(chance.integers(len(good)))] ^= 1 << int(chance.integers(8))
        path.write_bytes(broken)
        try:
            found = read_run(path)
        except CheckpointError:
            continue
        silent += 1
        assert len(found.rows) == 9
        assert_same(found, read_run(previous_of(path)))  # the flip was in unused space
    assert silent < 40
    for end in (0, 100, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:end])
        with pytest.raises(CheckpointError, match="damaged"):
            read_run(path)
    assert "checkpoint before" in read_last(path)[1]
    assert main(["simulate", "resume", str(path), "--quiet"]) == 0
    assert read_run(path).finished


def test_links_to_other_files_are_not_followed(whole, tmp_path: Path) -> None:
    path = tmp_path / "linked.h5"
    path.write_bytes(whole.path.read_bytes())
    with h5py.File(path, "r+") as file:
        del file["time"]
        file["time"] = h5py.ExternalLink(str(whole.path), "/time")
    with pytest.raises(CheckpointError, match="time"):
        read_run(path)


def test_a_full_disk_leaves_the_old_checkpoint(whole, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "run.h5"
    write_run(path, whole.record)
    content = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_run(path, whole.record)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5"]


def test_one_process_at_a_time(whole) -> None:
    with locked(whole.path), pytest.raises(RunLockedError, match="another process"):
        continue_run(whole.path)


def test_errors_keep_what_was_done(tmp_path: Path, monkeypatch) -> None:
    from integrators.simulation import tasks

    true, calls = tasks.advance, []

    def failing(*args):
        calls.append(1)
        if len(calls) > 4:
            raise MemoryError("no more")
        return true(*args)

    monkeypatch.setattr(tasks, "advance", failing)
    text = QUENCH.replace("checkpoint_seconds = 0", "checkpoint_seconds = 1000")
    with pytest.raises(MemoryError):
        simulate(described(tmp_path, text))
    found = read_run(tmp_path / "quench.h5")
    assert len(found.rows) == 5
    assert "MemoryError" in found.failure
    monkeypatch.setattr(tasks, "advance", true)
    assert continue_run(tmp_path / "quench.h5").record.failure == ""


def test_h5py_is_asked_for(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DeviceError, match=r"tnet\[io\]"):
        simulate(described(tmp_path))
    assert main(["simulate", "run", str(tmp_path / "quench.toml"), "--quiet"]) == 8


# ---- the shell


def test_the_shell(tmp_path: Path, capsys) -> None:
    path = described(tmp_path)
    run = str(tmp_path / "quench.h5")
    assert main(["simulate", "run", str(path), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["operator_rank"] == 4
    assert not Path(run).exists()
    assert main(["simulate", "run", str(path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["ok"], said["outcome"], said["time"]) == (True, "FINISHED", 0.4)
    assert main(["simulate", "run", str(path)]) == 2
    assert "resume" in capsys.readouterr().err
    assert main(["simulate", "show", str(path)]) == 0
    assert "drift of the energy" in capsys.readouterr().out
    assert main(["simulate", "show", run, "--table", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["table"]["m"]) == 9
    assert main(["simulate", "extend", run]) == 2
    assert main(["simulate", "extend", run, "--t-final", "0.5", "--quiet"]) == 0
    assert "t_final = 0.5" in capsys.readouterr().out
    assert main(["simulate", "resume", str(tmp_path / "none.h5")]) == 2
    assert main(["simulate", "run", str(path), "--force", "--quiet"]) == 0
    assert main(["simulate"]) == 2
    assert main(["simulate", "--json"]) == 2


def test_figures(whole, tmp_path: Path, capsys) -> None:
    pytest.importorskip("matplotlib")
    made = draw_figures(whole.record, tmp_path / "figures", suffix=".svg")
    assert sorted(p.stem for p in made) == ["bonds", "drift", "observables", "ranks", "z"]
    assert all(p.read_bytes().lstrip().startswith(b"<?xml") for p in made)
    with pytest.raises(UsageError, match="no figure 'zz'"):
        draw_figures(whole.record, tmp_path, only=["zz"])
    with pytest.raises(UsageError, match=r"\.bmp"):
        draw_figures(whole.record, tmp_path, suffix=".bmp")
    out = str(tmp_path / "more")
    assert main(["simulate", "plot", str(whole.path), "--out", out, "--only", "ranks"]) == 0
    assert capsys.readouterr().out.strip().endswith("ranks.png")


def test_help_is_light() -> None:
    code = (
        "import sys, integrators.simulation.cli, tnet.cli; "
        "print(*sorted({'numpy', 'h5py', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# ---- wrong descriptions

WRONG = [
    ({"modle": {}}, "'modle' is not known", "model"),
    ({"model": {"name": "isin", "count": 6}}, "'isin' is not known", "ising"),
    ({"model": {"name": "ising"}}, "needs `count`", ""),
    ({"model": {"name": "ising", "count": 6, "feild": 1.0}}, "'feild' is not known", "field"),
    ({"model": {"name": "ising", "count": "6"}}, "whole number", ""),
    ({"model": {"name": "ising", "count": 6.5}}, "whole number", ""),
    ({"model": {"name": "ising", "count": 1}}, "two sites", ""),
    ({"model": {"name": "ising", "count": 6, "periodic": 1}}, "true or false", ""),
    ({"model": 3}, "must be a table", ""),
    ({"sites": {"a": 2}}, "those of the model", ""),
    ({"terms": 3}, "list of tables", ""),
    ({"terms": [{"each": "z", "factors": {"s0": "z"}}]}, "one of", ""),
    ({"terms": [{"factors": {"q0": "z"}}]}, "no site 'q0'", "s0"),
    ({"terms": [{"factors": {}}]}, "empty", ""),
    ({"terms": [{"each": "zz"}]}, "no operator", ""),
    ({"terms": [{"each": [[1, 2], [3]]}]}, "square matrix", ""),
    ({"terms": [{"each": "z", "coefficient": "1"}]}, "a number or", ""),
    ({"terms": [{"each": "z", "coefficient": True}]}, "a number or", ""),
    ({"terms": [{"neighbours": ["x"]}]}, "two operators", ""),
    ({"tree": {"kind": "ring"}}, "'ring' is not known", "chain"),
    ({"tree": {"order": ["s0"]}}, "name every site", ""),
    ({"tree": {"kind": "custom"}}, "needs `nested`", ""),
    ({"tree": {"kind": "custom", "nested": [["s0", "s1"], ["s1", "s2"]]}}, "every site once", ""),
    ({"tree": {"kind": "custom", "nested": [["s0", 3]]}}, "lists of sites", ""),
    ({"tree": {"kind": "chain", "nested": [], "deep": 1}}, "'deep' is not known", ""),
    ({"state": {"all": "upp"}}, "'upp' is not known", "up"),
    ({"state": {"all": 2}}, "from 0 to 1", ""),
    ({"state": {"all": [1.0, 0.0, 0.0]}}, "2 entries", ""),
    ({"state": {"all": [0.0, 0.0]}}, "zero", ""),
    ({"state": {"sites": {"s9": "up"}, "all": "up"}}, "no site 's9'", ""),
    ({"state": {}}, "needs `all`", ""),
    ({"state": {"file": "none.tnet"}}, "none.tnet", ""),
    ({"task": {"t_final": -1.0}}, "later than t0", ""),
    ({"task": {"kind": "qench", "t_final": 1.0}}, "'qench' is not known", "quench"),
    ({"task": {"t_final": "1"}}, "must be a number", ""),
    ({"task": {"kind": "quench"}}, "needs `t_final`", ""),
    ({"task": {"kind": "ground_state"}}, r"\[step\] belongs to an evolution", ""),
    ({"step": {"dt": -0.1}}, "> 0", ""),
    ({"step": {"dt": 0}}, "> 0", ""),
    ({"step": {"dt": True}}, "must be a number", ""),
    ({"step": {"dt": float("inf")}}, "finite|infinities", ""),
    ({"step": {}}, "needs `dt`", ""),
    ({"step": {"dt": 0.1, "every": 0}}, ">= 1", ""),
    ({"step": {"dt": 0.1, "every": 2, "save_at": [0.1]}}, "not both", ""),
    ({"step": {"dt": 0.1, "save_at": [0.3, 0.1]}}, "increase", ""),
    ({"step": {"dt": 0.1, "save_at": [9.0]}}, "not between", ""),
    ({"step": {"dt": 0.1, "save_every": -1.0}}, "> 0", ""),
    ({"step": {"dt": 0.1, "tol": 1e-3}}, "goes with control", ""),
    ({"step": {"dt": 0.1, "control": "pi", "tol": 0.0}}, "above 0", ""),
    ({"step": {"dt": 0.1, "control": "pid"}}, "'pid' is not known", "pi"),
    ({"stepper": {"name": "augmentd"}}, "'augmentd' is not known", "augmented"),
    ({"stepper": {"name": "tdvp", "sites": 3}}, "sites", ""),
    ({"stepper": {"wrokers": 2}}, "'wrokers' is not known", "workers"),
    ({"stepper": {"local": {"name": "lanzcos"}}}, "'lanzcos' is not known", "lanczos"),
    ({"stepper": {"local": {"name": "rk4", "tol": 1.0}}}, "'tol' is not known", ""),
    ({"truncation": {"tol": -1e-6}}, ">= 0", ""),
    ({"truncation": {"tol": 1.0}}, "tol", ""),
    ({"truncation": {"max_rank": 0}}, ">= 1", ""),
    ({"truncation": {"max_rank": 2, "min_rank": 4}}, "below", ""),
    ({"truncation": {"scaling": "per_hour"}}, "'per_hour' is not known", "per_time"),
    ({"rejection": {"tries": 0}}, "tries", ""),
    ({"rejection": {"factor": -1.0}}, "factor", ""),
    ({"measure": {"z": {"kind": "profil", "operator": "z"}}}, "'profil' is not known", "profile"),
    ({"measure": {"z": {"kind": "profile"}}}, "needs `operator`", ""),
    ({"measure": {"z": {"kind": "profile", "operator": "w"}}}, "operator", ""),
    ({"measure": {"z": {"kind": "profile", "operator": "z", "sites": ["x"]}}}, "no site 'x'", ""),
    ({"measure": {"energy": {"kind": "entropy"}}}, "cannot be called", ""),
    ({"measure": {"a/b": {"kind": "entropy"}}}, "cannot be called", ""),
    ({"measure": {"s": {"kind": "entropy", "sites": [f"s{k}" for k in range(6)]}}}, "all of", ""),
    ({"measure": {"s": {"kind": "bond_entropies", "bonds": ["b"]}}}, "no bond 'b'", ""),
    ({"output": {"file": "run.txt"}}, "must end in", ""),
    ({"output": {"checkpoint_seconds": -1}}, ">= 0", ""),
    ({"title": 3}, "must be a text", ""),
]


@pytest.mark.parametrize(("change", "words", "hint"), WRONG)
def test_wrong_descriptions_are_refused(tmp_path: Path, change, words, hint) -> None:
    with pytest.raises((UsageError, TnetError, OSError), match=words) as caught:
        build({**copy.deepcopy(DOCUMENT), **change}, folder=tmp_path, stem="x")
    assert hint in getattr(caught.value, "hint", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "a = ", "[model]\nname = 1979-05-27", "\x00", "[task]\nt=1"])
def test_files_that_are_no_descriptions(tmp_path: Path, text: str) -> None:
    path = described(tmp_path, text)
    assert main(["simulate", "run", str(path), "--quiet"]) == 2
    assert main(["simulate", "run", str(tmp_path), "--quiet"]) == 2
    assert os.listdir(tmp_path) == ["quench.toml"]
