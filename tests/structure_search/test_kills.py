"""Searches killed at random moments: nothing journalled is lost, and the end is the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from searches import Batches, assert_same, ring_data, story
from structure_search import RelativeError, read_run, resume, search

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks in /proc")

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from contraction import Processes, Serial
from searches import Batches, ring_data
from structure_search import RelativeError, resume, search
if __name__ == "__main__":
    how = {
        "method": Batches(rounds=8, sweeps=12),
        "workers": Processes(workers=2) if sys.argv[3] == "processes" else Serial(),
    }
    if sys.argv[4] == "begin":
        goal, rng = RelativeError(tol=1e-4), np.random.default_rng(3)
        search(ring_data(), objective=goal, rng=rng, run=sys.argv[2], **how)
    else:
        resume(sys.argv[2], ring_data(), **how)
"""


def journalled(folder: Path) -> int:
    path = folder / "events.jsonl"
    return path.read_bytes().count(b'"kind":"evaluation"') if path.exists() else 0


def start(folder: Path, workers: str) -> subprocess.Popen:
    word = "resume" if (folder / "run.json").exists() else "begin"
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parents[1])]
    return subprocess.Popen([*command, str(folder), workers, word], stderr=subprocess.PIPE)


def kill_often(tmp_path: Path, kills: int, kinds: list[str], seed: int) -> None:
    """Kill sessions, each when it has recorded a few evaluations or before; compare the end."""
    method = Batches(rounds=8, sweeps=12)
    goal = RelativeError(tol=1e-4)
    rng = np.random.default_rng(3)
    wanted = search(ring_data(), method=method, objective=goal, rng=rng, run=tmp_path / "whole")
    chance, done, round_ = random.Random(seed), 0, 0
    while done < kills:
        folder = tmp_path / f"killed{round_}"
        seen: list[tuple] = []
        while done < kills and len(seen) < len(wanted.trace):
            before = journalled(folder)
            target = before + chance.randrange(0, 1 + 2 * len(wanted.trace) // 3)
            process = start(folder, kinds[done % len(kinds)])
            while process.poll() is None and journalled(folder) < target:
                time.sleep(0.001)
            time.sleep(chance.random() * 0.02)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                done += 1
            message = process.communicate()[1]
            assert process.returncode in (0, -signal.SIGKILL), message.decode()
            if (folder / "run.json").exists():
                now = story(read_run(folder).evaluations)
                assert now[: len(seen)] == seen, "a journalled evaluation was lost or changed"
                seen = now
                if process.returncode == 0:
                    break
        if (folder / "run.json").exists():
            assert_same(resume(folder, ring_data(), method=method), wanted)
            assert story(read_run(folder).evaluations) == story(wanted.trace)
        round_ += 1
    assert done == kills


def test_a_few_kills_lose_nothing(tmp_path: Path) -> None:
    kill_often(tmp_path, 2, ["processes", "serial"], seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_fifty_kills_lose_nothing(tmp_path: Path, seed: int) -> None:
    kill_often(tmp_path, 10, ["serial", "processes"], seed)


def test_what_is_written_is_flushed_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the next evaluation takes long."""
    from structure_search import flushing, journal

    monkeypatch.setattr(journal, "SECONDS_BETWEEN_SYNCS", 0.05)
    frozen = SimpleNamespace(monotonic=lambda: 0.0)  # no line is ever flushed for its own sake
    monkeypatch.setattr(journal, "time", frozen)
    flushed: list[int] = []
    true = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(handle) or true(handle))
    seen: list[int] = []

    def progress(evaluation, best) -> None:
        if evaluation.index == 3:
            seen.append(len(flushed))
            ends = time.monotonic() + 10
            while len(flushed) < seen[0] + 2 and time.monotonic() < ends:
                time.sleep(0.01)
            seen.append(len(flushed))

    goal = RelativeError(tol=1e-4)
    search(
        ring_data(),
        method=Batches(rounds=1),
        objective=goal,
        rng=np.random.default_rng(3),
        run=tmp_path,
        progress=progress,
    )
    assert seen[1] >= seen[0] + 2  # networks.bin, then events.jsonl

    def fail() -> None:
        raise OSError("the disk is gone")

    late = flushing.LateFlush(fail, seconds=0.0)
    late.soon()
    ends = time.monotonic() + 10
    while late._error is None and time.monotonic() < ends:
        time.sleep(0.01)
    with pytest.raises(OSError, match="the disk is gone"):
        late.soon()
    late.close()
