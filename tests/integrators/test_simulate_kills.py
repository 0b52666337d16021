"""Runs killed or interrupted at random moments: what was saved is whole, the end is the same."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from integrators.simulation import read_run, simulate
from integrators.simulation.records import previous_of

pytest.importorskip("h5py")

QUENCH = """
[model]
name = "ising"
count = 6
[state]
all = "up"
[task]
t_final = {end}
[step]
dt = 0.05
[truncation]
tol = 1e-5
max_rank = 4
[measure.z]
kind = "profile"
operator = "z"
[output]
checkpoint_seconds = {seconds}
"""
END = 4.0  # 80 steps, each with a checkpoint


def command(action: str, path: Path) -> list[str]:
    return [sys.executable, "-m", "tnet", "simulate", action, str(path), "--quiet"]


def kill_often(folder: Path, kills: int, seed: int) -> None:
    """Kill sessions at random moments of their work until the run is over; compare the end."""
    text = QUENCH.format(end=END, seconds=0.0)
    (folder / "run.toml").write_text(text, encoding="utf-8")
    whole = simulate(folder / "run.toml", output=folder / "whole.h5").record
    chance, done, run = random.Random(seed), 0, folder / "run.h5"
    finished = 0
    while done < kills:
        if run.exists() and read_run(run).finished:
            finished += compare(read_run(run), whole)
            run.unlink()
        before = run.stat().st_ino if run.exists() else None
        action = "resume" if run.exists() else "run"
        process = subprocess.Popen(command(action, folder / "run.toml"), stdout=subprocess.DEVNULL)
        while process.poll() is None and (not run.exists() or run.stat().st_ino == before):
            time.sleep(0.001)  # until it has saved something
        time.sleep(chance.random() * 0.15)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            done += 1
        process.wait()
        assert process.returncode in (0, -signal.SIGKILL)
        seen = len(read_run(run).rows)
        assert seen >= (len(read_run(previous_of(run)).rows) if previous_of(run).exists() else 0)
    subprocess.run(command("resume", run), check=True, stdout=subprocess.DEVNULL)
    assert finished + compare(read_run(run), whole) >= 1
    left = {p.name for p in folder.iterdir()}
    assert left <= {"run.toml", "run.h5", "run.previous.h5", "whole.h5", "whole.previous.h5",
                    ".run.h5.lock", ".whole.h5.lock"}  # fmt: skip


def compare(found, whole) -> int:
    assert found.finished
    assert found.times.tolist() == whole.times.tolist()
    assert np.abs(found.values["z"] - whole.values["z"]).max() <= 1e-12
    energies = [[row.energy for row in record.rows] for record in (found, whole)]
    assert np.abs(np.subtract(*energies)).max() <= 1e-12
    for x, y in zip(found.moment.state.cores, whole.moment.state.cores, strict=True):
        assert np.array_equal(x, y)
    return 1


def test_a_few_kills_change_nothing(tmp_path: Path) -> None:
    kill_often(tmp_path, 3, seed=0)


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    kill_often(tmp_path, 20, seed=1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_finish_the_step_and_save(tmp_path: Path, number: int, code: int) -> None:
    path = tmp_path / "quench.toml"
    path.write_text(QUENCH.format(end=500.0, seconds=1e6), encoding="utf-8")
    command = [sys.executable, "-m", "tnet", "simulate", "run", str(path), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None and not (tmp_path / "quench.h5").exists():
        time.sleep(0.01)
    for _ in range(20):  # let some steps be done
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err.decode()
    said = json.loads(out)
    assert not said["ok"]
    found = read_run(tmp_path / "quench.h5")
    assert found.moment.time == said["time"] < 500.0
    assert b"resume" in err
