"""Searches with many workers: the bits of the serial search, whoever dies, and no orphans."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import tnet
from contraction import Dask, Devices, Processes, Serial, Threads
from contraction.errors import BackendError, InputError
from searches import Batches, assert_same, ring_data, story
from structure_search import (
    Loss,
    Outcome,
    Proposal,
    RandomSearch,
    RelativeError,
    Source,
    read_run,
    resume,
    search,
)
from structure_search.limits import Gains

GOAL = RelativeError(tol=1e-4)
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks in /proc")


def look(x=None, *, method=None, **options):
    return search(
        ring_data() if x is None else x,
        method=method or Batches(),
        objective=options.pop("objective", GOAL),
        rng=np.random.default_rng(3),
        **options,
    )


def go_on(folder: Path, *, rounds: int = 3, **options):
    return resume(folder, ring_data(), method=Batches(rounds=rounds), **options)


def workers_of(parent: int) -> list[int]:
    """Return the worker processes of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit():
                continue
            facts = (entry / "stat").read_text().rpartition(")")[2].split()
            words = (entry / "cmdline").read_text()
        except OSError:
            continue
        loky = "loky" in words and "resource_tracker" not in words
        if int(facts[1]) == parent and facts[0] != "Z" and loky:
            found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    try:
        return "loky" in (Path("/proc") / str(pid) / "cmdline").read_text()
    except OSError:
        return False


# ---- the same bits ---------------------------------------------------------------------


def test_threads_give_the_bits_of_one() -> None:
    wanted = look()
    sources = {e.source for e in wanted.trace}
    assert sources == {Source.FIT, Source.CACHE, Source.BOUND, Source.FAILED}
    assert_same(look(workers=Threads(workers=3)), wanted)


@pytest.mark.parametrize(
    "workers",
    [Threads(workers=2), pytest.param(Processes(workers=2), marks=pytest.mark.slow)],
)
def test_completion_is_the_same_whoever_does_it(workers) -> None:
    x = ring_data(4)
    x[0, 1:3] = np.nan
    method = Batches(rounds=1, width=3)
    wanted = look(x, held_out=0.2, method=method)
    assert_same(look(x, held_out=0.2, method=method, workers=workers), wanted)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.*:DeprecationWarning")
def test_a_loss_is_the_same_whoever_does_it() -> None:
    torch = pytest.importorskip("torch")
    goal = torch.from_numpy(ring_data())
    loss = Loss(function=lambda w: (w - goal).square().sum().sqrt(), shape=goal.shape)
    method = Batches(rounds=2, width=2, sweeps=2)
    wanted = look(loss, method=method)
    for workers in (Threads(workers=2), Processes(workers=2)):
        assert_same(look(loss, method=method, workers=workers), wanted)
    with pytest.raises(InputError, match="own device"):
        look(loss, method=method, workers=Devices(names=("cpu",)))


@pytest.mark.slow
def test_tensors_of_torch_are_fitted_by_processes() -> None:
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(ring_data())
    method = Batches(rounds=2, width=2)
    wanted = look(x, method=method)
    found = look(x, method=method, workers=Processes(workers=1))
    assert isinstance(found.network["g0"], torch.Tensor)
    assert_same(found, wanted)


def test_devices_agree_however_many_there_are() -> None:
    pytest.importorskip("torch")
    method = Batches(rounds=2, width=2)
    serial = look(method=method)
    one, two = (look(method=method, workers=Devices(names=("cpu",) * n)) for n in (1, 2))
    assert_same(two, one)
    assert isinstance(one.network["g0"], np.ndarray)
    assert [e.request for e in one.trace] == [e.request for e in serial.trace]
    errors = [[e.error for e in r.trace if e.source is Source.FIT] for r in (one, serial)]
    np.testing.assert_allclose(*errors, rtol=1e-6)
    few = Batches(rounds=1, width=2)
    held = look(held_out=0.3, method=few, workers=Devices(names=("cpu", "cpu")))
    assert held.error_of.name == "HELD_OUT"


@pytest.mark.parametrize("limit", [1, 4, 9, 17])
def test_a_budget_cuts_the_same_evaluations(limit: int) -> None:
    wanted = look(max_evaluations=limit)
    assert (len(wanted.trace), wanted.outcome) == (limit, Outcome.BUDGET)
    assert_same(look(max_evaluations=limit, workers=Threads(workers=2)), wanted)
    both = look(max_evaluations=limit, patience=3)
    assert_same(look(max_evaluations=limit, patience=3, workers=Threads(workers=2)), both)


@pytest.mark.parametrize("stop", [1, 5, 11, 24])
def test_a_run_goes_on_with_other_workers(tmp_path: Path, stop: int) -> None:
    """A batch that was cut is settled as if it had not been."""
    wanted = look()
    look(max_evaluations=stop, run=tmp_path, workers=Threads(workers=2))
    found = go_on(tmp_path, max_evaluations=1000, workers=Threads(workers=3))
    assert_same(found, wanted)
    assert found.counts.replayed == stop


@pytest.mark.slow
def test_one_thread_of_blas_whatever_the_size() -> None:
    """A fit of products that BLAS would share out has the bits of a worker's."""
    x = ring_data(18, order=4)
    method = Batches(rounds=1, width=2, sweeps=2)
    assert_same(look(x, method=method, workers=Processes(workers=1)), look(x, method=method))


# ---- when it ends ----------------------------------------------------------------------


def test_a_search_without_gain_has_converged(tmp_path: Path) -> None:
    whole = look(method=Batches(rounds=8))
    gains, since = Gains(min_gain=1e-3), []
    for e in whole.trace:
        size = float(e.num_params)
        order = (0.0, size, e.error) if e.error <= GOAL.tol else (1.0, e.error, size)
        gains.add(order if np.isfinite(e.error) else None)
        since.append(gains.since)
    at = since.index(7) + 1
    assert at < len(whole.trace)
    first = look(method=Batches(rounds=8), patience=7, run=tmp_path)
    assert (first.outcome, len(first.trace)) == (Outcome.CONVERGED, at)
    assert story(first.trace) == story(whole.trace[:at])
    parallel = look(method=Batches(rounds=8), patience=7, workers=Threads(workers=2))
    assert_same(parallel, first)
    again = go_on(tmp_path, rounds=8)
    assert (again.outcome, len(again.trace)) == (Outcome.CONVERGED, at)
    settings = read_run(tmp_path).settings
    assert (settings["patience"], settings["min_gain"]) == (7, 1e-3)
    longer = go_on(tmp_path, rounds=8, patience=10_000)
    assert story(longer.trace) == story(whole.trace)


def test_small_gains_add_up() -> None:
    gains = Gains(min_gain=0.1)
    for k in range(10):
        gains.add((1.0, 1.0 - 0.03 * k))
    assert gains.since == 2  # 1 -> 0.88 -> 0.79, and 0.76, 0.73 since
    gains.add((0.0, 5.0))
    assert gains.since == 0
    gains.add((0.0, 4.9))
    gains.add((1.0, 0.0))
    gains.add(None)
    assert gains.since == 3


@pytest.mark.parametrize(
    "bad",
    [
        {"patience": 0},
        {"min_gain": 1.0},
        {"min_gain": "a"},
        {"max_seconds": 0.0},
        {"max_seconds": "10m"},
    ],
)
def test_limits_are_checked(bad) -> None:
    with pytest.raises(InputError, match=next(iter(bad))):
        look(**bad)


def test_who_stops_has_what_was_done_recorded(tmp_path: Path) -> None:
    whole = look(method=Batches(rounds=8))
    asked: list[int] = []

    def stop() -> Outcome | None:
        asked.append(1)
        return Outcome.INTERRUPTED if len(asked) > 12 else None

    found = look(method=Batches(rounds=8), workers=Threads(workers=2), stop=stop, run=tmp_path)
    assert found.outcome is Outcome.INTERRUPTED
    count = len(found.trace)
    assert 0 < count <= 12
    assert story(found.trace) == story(whole.trace[:count])
    done = go_on(tmp_path, rounds=8, workers=Threads(workers=2))
    assert story(done.trace) == story(whole.trace)


def test_time_ends_a_parallel_search_with_something_done(tmp_path: Path) -> None:
    look(run=tmp_path, max_evaluations=3)
    found = go_on(tmp_path, max_evaluations=99, max_seconds=1e-9, workers=Threads(workers=2))
    assert (found.outcome, len(found.trace)) == (Outcome.TIME, 4)


# ---- deaths ----------------------------------------------------------------------------


@linux
def test_killed_workers_change_no_bit(tmp_path: Path) -> None:
    wanted = look()
    killed: list[int] = []

    def progress(evaluation, best) -> None:
        if evaluation.index in (2, 12) and (found := workers_of(os.getpid())):
            os.kill(found[0], signal.SIGKILL)
            killed.append(found[0])

    found = look(workers=Processes(workers=2), progress=progress, run=tmp_path)
    assert_same(found, wanted)
    assert len(killed) == 2
    record = read_run(tmp_path)
    assert story(record.evaluations) == story(wanted.trace)
    assert record.settings["workers"].startswith("Processes")
    assert not workers_of(os.getpid())


@linux
def test_a_fit_whose_workers_die_has_failed() -> None:
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.02):
            for pid in workers_of(os.getpid()):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        with pytest.raises(InputError, match="ended its worker process 2 times"):
            look(workers=Processes(workers=2, attempts=2), max_evaluations=2)
    finally:
        over.set()
        thread.join()


@linux
@pytest.mark.slow
def test_a_fit_that_kills_its_workers_has_failed() -> None:
    """Three workers die of it, and the search goes on."""
    torch = pytest.importorskip("torch")

    def deadly(weight):
        import os

        if float(weight.detach().abs().max()) > 1e6:
            os.kill(os.getpid(), 9)
        return (weight - 1.0).square().mean()

    class Poison(Batches):
        def propose(self, problem):
            s = tnet.tensor_train(dict(problem.modes), 1)
            ones = {n: torch.ones(s.node_shape(n), dtype=torch.float64) for n in s.node_names}
            large = {n: 1e4 * x for n, x in ones.items()}
            answers = yield [
                Proposal(structure=s, start=tnet.Network(s, x), sweeps=1, label=label)
                for label, x in (("sound", ones), ("deadly", large))
            ]
            assert [a.error for a in answers] == [0.0, np.inf]

    loss = Loss(function=deadly, shape=(3, 3, 3))
    found = look(loss, method=Poison(), workers=Processes(workers=2))
    assert [e.source for e in found.trace] == [Source.FIT, Source.FAILED]
    assert "ended its worker process 3 times" in found.trace[1].failure
    assert found.best.error == 0.0


SCRIPT = """
import sys, os
sys.path.insert(0, sys.argv[1])
import numpy as np
from contraction import Processes
from searches import Batches, ring_data
from structure_search import RelativeError, search
from structure_search.stopping import interrupts
if __name__ == "__main__":
    scratch = sys.argv[3]
    with interrupts(lambda text: None) as stop:
        found = search(
            ring_data(9), method=Batches(rounds=10000, sweeps=400), run=sys.argv[2], stop=stop,
            objective=RelativeError(tol=1e-9), rng=np.random.default_rng(3),
            workers=Processes(workers=2, scratch=scratch),
        )
    print(found.outcome.name)
"""


def begun(tmp_path: Path) -> tuple[subprocess.Popen, list[int]]:
    """Return a search in a process of its own, and its workers, when it has recorded something."""
    (tmp_path / "scratch").mkdir()
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parents[1])]
    command += [str(tmp_path / "run"), str(tmp_path / "scratch")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    events, ends = tmp_path / "run" / "events.jsonl", time.monotonic() + 60
    while time.monotonic() < ends and process.poll() is None:
        if events.exists() and events.read_bytes().count(b'"kind":"evaluation"') > 2:
            return process, workers_of(process.pid)
        time.sleep(0.01)
    process.kill()
    raise AssertionError(process.communicate()[1])


def gone(pids: list[int]) -> bool:
    ends = time.monotonic() + 30
    while any(map(alive, pids)) and time.monotonic() < ends:
        time.sleep(0.05)
    return not any(map(alive, pids))


@linux
@pytest.mark.parametrize("signals", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_ctrl_c_leaves_no_orphans(tmp_path: Path, signals: int) -> None:
    process, pids = begun(tmp_path)
    assert len(pids) == 2
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    out, error = process.communicate(timeout=60)
    assert gone(pids)
    assert not list((tmp_path / "scratch").iterdir())
    record = read_run(tmp_path / "run")
    if signals == 1:
        assert out.strip() == "INTERRUPTED", error
        assert record.outcome is Outcome.INTERRUPTED
    elif record.outcome is None:  # the second came before the first had its effect
        assert process.returncode != 0
        assert "KeyboardInterrupt" in error
    assert json.loads((tmp_path / "run" / "best" / "metrics.json").read_text())["num_params"] > 0
    assert len(record.evaluations) > 2


@linux
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    process, pids = begun(tmp_path)
    process.kill()
    process.communicate()
    assert len(pids) == 2
    assert gone(pids)
    ends = time.monotonic() + 10
    while list((tmp_path / "scratch").iterdir()) and time.monotonic() < ends:
        time.sleep(0.05)
    assert not list((tmp_path / "scratch").iterdir())
    assert len(read_run(tmp_path / "run").evaluations) > 2


# ---- a cluster -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_loses_a_worker_gives_the_same_bits() -> None:
    distributed = pytest.importorskip("distributed")
    wanted = look(method=Batches(rounds=4))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        address = cluster.scheduler_address
        killed = []

        def progress(evaluation, best) -> None:
            if evaluation.index in (3, 15):
                pid = next(iter(cluster.workers.values())).process.pid
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

        found = look(method=Batches(rounds=4), workers=Dask(address=address), progress=progress)
        assert_same(found, wanted)
        assert len(killed) == 2
        with distributed.Client(cluster, set_as_default=False) as client:
            assert_same(look(method=Batches(rounds=4), workers=Dask(client=client)), wanted)
            assert client.status == "running"
            converged = look(method=Batches(rounds=4), workers=Dask(client=client), patience=3)
            assert converged.outcome is Outcome.CONVERGED
            assert_same(look(method=Batches(rounds=4), workers=Dask(client=client)), wanted)


def test_a_cluster_is_named_in_one_way() -> None:
    with pytest.raises(InputError, match="either the `address`"):
        Dask()
    with pytest.raises(InputError, match="either the `address`"):
        Dask(address="tcp://127.0.0.1:9", client=object())


def test_arrays_of_a_device_stay_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from structure_search import workers

    monkeypatch.setattr(workers, "device", lambda x: "cuda:0")
    monkeypatch.setattr(workers, "to_numpy", lambda x: pytest.fail("copied"))
    torch = pytest.importorskip("torch")
    with pytest.raises(BackendError, match="NumPy arrays"):
        look(torch.from_numpy(ring_data()), workers=Processes(workers=1))


def test_a_published_method_is_the_same_in_parallel() -> None:
    method = RandomSearch(samples=6, max_rank=3, sweeps=5)
    wanted = look(method=method, workers=Serial())
    assert_same(look(method=method, workers=Threads(workers=2)), wanted)
