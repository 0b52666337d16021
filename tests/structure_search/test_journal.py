"""The run folder: what survives a kill, a power cut, damage, other processes and changed data."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tnet
from contraction.errors import CheckpointError, InputError, RunLockedError
from contraction.folder_lock import run_lock
from structure_search import Greedy, Outcome, RelativeError, Source, read_run, resume, search
from structure_search.journal import decode_event, encode_event, write_baselines
from structure_search.reporting.figures import best_of
from structure_search.reporting.report import report_html

GOAL = RelativeError(tol=1e-4)

WORKER = """
import sys
import numpy as np
from structure_search import Greedy, RelativeError, resume, search
x = np.load(sys.argv[1])
goal = RelativeError(tol=1e-4)
if sys.argv[3] == "begin":
    search(x, method=Greedy(), objective=goal, rng=np.random.default_rng(7), run=sys.argv[2])
else:
    resume(sys.argv[2], x)
"""


def data(seed: int = 0) -> np.ndarray:
    s = tnet.tensor_ring((6, 6, 6, 6), (2, 3, 2, 3))
    x = np.asarray(tnet.contract(tnet.random_network(s, rng=np.random.default_rng(seed))))
    return x / np.linalg.norm(x)


def begin(folder: Path, **options):
    rng = np.random.default_rng(7)
    return search(data(), method=Greedy(), objective=GOAL, rng=rng, run=folder, **options)


def steps(trace) -> list[tuple]:
    return [(e.index, e.request, e.key, e.error, e.source, e.num_params) for e in trace]


def test_the_folder_holds_what_is_promised(tmp_path: Path) -> None:
    found = begin(tmp_path / "run")
    folder = tmp_path / "run"
    metrics = json.loads((folder / "best" / "metrics.json").read_text())
    assert metrics["num_params"] == found.best.num_params
    assert metrics["error"] == found.best.error
    net = tnet.load(folder / "best" / "network.tnet")
    assert net.structure == found.best.structure
    assert tnet.relative_error(net, data()) <= 1e-4
    record = read_run(folder)
    assert steps(record.evaluations) == steps(found.trace)
    assert record.outcome is Outcome.REACHED
    assert record.config["input"]["shape"] == [6, 6, 6, 6]
    assert [c["num_params"] for c in record.pareto] == [c.num_params for c in found.pareto]
    assert set(record.spectra["modes"]) == {"x0", "x1", "x2", "x3"}
    assert record.network_path == folder / "best" / "network.tnet"
    kinds = [event["kind"] for event in record.events]
    assert kinds == ["session"] + ["evaluation"] * len(found.trace) + ["end"]
    rows = [{"name": "TT-SVD", "num_params": 5, "error": 0.1}]
    write_baselines(folder, rows)
    assert list(read_run(folder).baselines) == rows


@pytest.mark.parametrize("stop", [1, 2, 7, 30, 10_000])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, stop: int) -> None:
    whole = begin(tmp_path / "whole")
    begin(tmp_path / "parts", max_evaluations=stop)
    parts = resume(tmp_path / "parts", data(), max_evaluations=100_000)
    assert steps(parts.trace) == steps(whole.trace)
    assert parts.best == whole.best
    assert parts.counts.replayed == min(stop, len(whole.trace))
    for node, array in whole.network.arrays.items():
        np.testing.assert_array_equal(array, parts.network[node])
    assert steps(read_run(tmp_path / "parts").evaluations) == steps(whole.trace)


def test_every_session_gets_further_however_short(tmp_path: Path) -> None:
    begin(tmp_path / "run", max_evaluations=10)
    for done in (11, 12):
        found = resume(tmp_path / "run", data(), max_evaluations=99, max_seconds=1e-9)
        assert (len(found.trace), found.outcome) == (done, Outcome.TIME)


def test_reports_judge_by_the_goal_of_the_last_session(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    rng = np.random.default_rng(7)
    search(data(), method=Greedy(), objective=RelativeError(tol=0.5), rng=rng, run=folder)
    found = resume(folder, data(), objective=RelativeError(tol=0.1))
    record = read_run(folder)
    assert record.config["objective"]["tol"] == 0.5
    assert record.settings["objective"]["tol"] == 0.1
    best = best_of(record)
    assert best is not None
    assert (best.num_params, best.error) == (found.best.num_params, found.best.error)
    assert "0.1 allowed" in report_html(record)


def test_a_finished_run_goes_on_with_a_smaller_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    goal = RelativeError(tol=0.3)
    first = search(data(), method=Greedy(), objective=goal, rng=rng, run=tmp_path / "run")
    assert first.reached
    assert first.best.error > 1e-4
    second = resume(tmp_path / "run", data(), objective=GOAL)
    assert second.reached
    assert second.best.error <= 1e-4
    assert steps(second.trace)[: len(first.trace)] == steps(first.trace)
    assert len({e.index for e in second.trace}) == len(second.trace)
    third = resume(tmp_path / "run", data())
    assert steps(third.trace) == steps(second.trace)


def run_worker(array: Path, folder: Path, word: str) -> subprocess.Popen:
    command = [sys.executable, "-c", WORKER, str(array), str(folder), word]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def journalled(folder: Path) -> int:
    path = folder / "events.jsonl"
    return sum(b'"kind":"evaluation"' in line for line in path.read_bytes().splitlines())


def kill_often(tmp_path: Path, kills: int, seed: int) -> None:
    """Kill the process at random moments until it ends by itself; compare with one never killed."""
    array = tmp_path / "x.npy"
    np.save(array, data())
    whole = begin(tmp_path / "whole")
    folder = tmp_path / "killed"
    chance = random.Random(seed)
    seen: list[tuple] = []
    for _ in range(kills):
        started = (folder / "run.json").exists()
        process = run_worker(array, folder, "resume" if started else "begin")
        before = journalled(folder) if started and (folder / "events.jsonl").exists() else 0
        target = before + chance.randrange(0, 8)
        while process.poll() is None:
            if (folder / "events.jsonl").exists() and journalled(folder) >= target:
                time.sleep(chance.random() * 0.01)
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.001)
        process.wait()
        process.stderr.close()
        if (folder / "run.json").exists() and (folder / "events.jsonl").exists():
            now = steps(read_run(folder).evaluations)
            assert now[: len(seen)] == seen, "a journalled evaluation was lost or changed"
            seen = now
    done = resume(folder, data())
    assert steps(done.trace) == steps(whole.trace)
    assert done.best == whole.best
    for node, value in whole.network.arrays.items():
        np.testing.assert_array_equal(value, done.network[node])


def test_kill_9_loses_nothing(tmp_path: Path) -> None:
    kill_often(tmp_path, kills=3, seed=0)


@pytest.mark.slow
def test_kill_9_twenty_times_loses_nothing(tmp_path: Path) -> None:
    kill_often(tmp_path, kills=20, seed=1)


def test_a_half_written_last_line_is_dropped(tmp_path: Path) -> None:
    whole = begin(tmp_path / "whole")
    for cut in (1, 40, 300):
        folder = tmp_path / f"cut{cut}"
        begin(folder, max_evaluations=12)
        path = folder / "events.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)[:-1]  # the end of the session
        path.write_bytes(b"".join(lines)[:-cut])
        done = resume(folder, data(), max_evaluations=1000)
        assert steps(done.trace) == steps(whole.trace)
        assert steps(read_run(folder).evaluations) == steps(whole.trace)


def test_a_damaged_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    begin(tmp_path, max_evaluations=12)
    path = tmp_path / "events.jsonl"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        read_run(tmp_path)
    with pytest.raises(CheckpointError, match="damaged"):
        resume(tmp_path, data())
    lines = bytes(content).splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3] + lines[4:]))
    with pytest.raises(CheckpointError):
        read_run(tmp_path)


def test_lost_networks_are_fitted_again(tmp_path: Path) -> None:
    """After a power cut the journal may name networks that never reached the disk."""
    whole = begin(tmp_path / "whole")
    folder = tmp_path / "run"
    begin(folder, max_evaluations=12)
    path = folder / "networks.bin"
    path.write_bytes(path.read_bytes()[:-100])
    done = resume(folder, data(), max_evaluations=1000)
    assert done.reached
    assert done.best.num_params == whole.best.num_params
    assert tnet.relative_error(done.network, data()) <= 1e-4


def test_changed_data_are_refused_unless_forced(tmp_path: Path) -> None:
    begin(tmp_path, max_evaluations=5)
    with pytest.raises(CheckpointError, match="not those of the run"):
        resume(tmp_path, data(1))
    assert resume(tmp_path, data(1), force=True, max_evaluations=8).outcome is Outcome.BUDGET
    with pytest.raises(InputError, match="in memory"):
        resume(tmp_path)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    begin(tmp_path, max_evaluations=5)
    before = (tmp_path / "events.jsonl").read_bytes()
    with run_lock(tmp_path), pytest.raises(RunLockedError, match=str(os.getpid())):
        resume(tmp_path, data())
    assert (tmp_path / "events.jsonl").read_bytes() == before
    assert read_run(tmp_path).outcome is Outcome.BUDGET
    (tmp_path / "lock.owner").write_text('{"pid": 1, "host": "gone"}')  # of a process that died
    assert resume(tmp_path, data(), max_evaluations=6).outcome is Outcome.BUDGET


def test_a_second_run_in_the_folder_is_refused(tmp_path: Path) -> None:
    begin(tmp_path / "run", max_evaluations=5)
    with pytest.raises(InputError, match="holds a run already"):
        begin(tmp_path / "run")


def test_a_kill_while_the_folder_was_made_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / ".run.json.0123.tmp").write_text('{"form')
    assert begin(tmp_path, max_evaluations=5).outcome is Outcome.BUDGET


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made"):
        begin(tmp_path / "file" / "run")


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    begin(tmp_path, max_evaluations=5)
    config = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**config, "format": 99, "tnet": "9.9"}))
    with pytest.raises(CheckpointError, match=r"tnet >= 9\.9"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(CheckpointError):
        read_run(tmp_path)


@pytest.mark.parametrize("key", ["method", "seed", "input", "objective"])
def test_a_config_without_a_field_is_refused(tmp_path: Path, key: str) -> None:
    begin(tmp_path, max_evaluations=2)
    config = json.loads((tmp_path / "run.json").read_text())
    del config[key]
    (tmp_path / "run.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=key):
        resume(tmp_path, data())


def test_an_event_without_a_field_is_refused(tmp_path: Path) -> None:
    begin(tmp_path, max_evaluations=2)
    path = tmp_path / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    event = decode_event(lines[1])
    for change in ({"source": "rumour"}, {"structure": {"nodes": []}}, {"num_params": "many"}):
        path.write_bytes(lines[0] + encode_event({**event, **change}) + b"".join(lines[2:]))
        with pytest.raises(CheckpointError, match="field"):
            read_run(tmp_path)
    end = {**decode_event(lines[-1]), "outcome": "BORED"}
    path.write_bytes(b"".join(lines[:-1]) + encode_event(end))
    with pytest.raises(CheckpointError, match="field"):
        read_run(tmp_path)


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="no such links here")
def test_links_are_not_followed(tmp_path: Path) -> None:
    begin(tmp_path / "run", max_evaluations=2)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "run" / "networks.bin").unlink()
    (tmp_path / "run" / "networks.bin").symlink_to(victim)
    with pytest.raises(OSError, match=r"networks\.bin"):
        resume(tmp_path / "run", data(), max_evaluations=9)
    assert victim.read_text() == "precious"


def test_an_exception_leaves_the_best_so_far(tmp_path: Path) -> None:
    calls = []

    def boom(evaluation, best):
        calls.append(best)
        if len(calls) == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path, progress=boom)
    record = read_run(tmp_path)
    assert len(record.evaluations) == 9
    assert record.metrics["error"] == min(e.error for e in record.evaluations)
    assert record.outcome is None
    assert resume(tmp_path, data()).reached


def test_failures_and_bounds_are_journalled(tmp_path: Path) -> None:
    from structure_search import AbstractMethod, Proposal

    class Mixed(AbstractMethod):
        def default_objective(self):
            return GOAL

        def propose(self, problem):
            s = tnet.tensor_train(dict(problem.modes), 2)

            def fails():
                raise InputError("no luck")

            yield [Proposal(structure=s, label="sound")]
            yield [Proposal(structure=s.resized({"g0-g1": 3}), solve=fails, label="shaky")]
            yield [Proposal(structure=s.resized({"g0-g1": 1}), useful=1e-3, label="hopeless")]

    with pytest.raises(InputError, match="frozen dataclass"):
        search(data(), method=Mixed(), rng=np.random.default_rng(0), run=tmp_path / "a")

    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Frozen(Mixed):
        pass

    found = search(data(), method=Frozen(), rng=np.random.default_rng(0), run=tmp_path / "b")
    sources = [e.source for e in found.trace]
    assert sources[1:] == [Source.FAILED, Source.BOUND]
    assert found.trace[2].bound > 1e-3
    assert steps(read_run(tmp_path / "b").evaluations) == steps(found.trace)
    with pytest.raises(CheckpointError, match="Frozen"):
        resume(tmp_path / "b", data())
    again = resume(tmp_path / "b", data(), method=Frozen())
    assert steps(again.trace) == steps(found.trace)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text().filter(lambda k: k != "crc32"), json_values, min_size=1),
    st.integers(0, 10**6),
    st.integers(0, 7),
)
def test_every_flipped_bit_of_a_line_is_seen(event, place, bit) -> None:
    line = encode_event(event)
    assert decode_event(line) == event
    damaged = bytearray(line)
    damaged[place % len(line)] ^= 1 << bit
    assert decode_event(bytes(damaged)) is None
    assert decode_event(line[: place % len(line)]) is None
