"""Many workers: the same bits from everyone, whoever dies, and folders that go on."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

import contraction
from canonicals import canonicals
from contraction import (
    Dask,
    Plan,
    Processes,
    Serial,
    Spec,
    Threads,
    contract_with,
    resume_contraction,
)
from contraction.errors import (
    BackendError,
    CheckpointError,
    DeviceError,
    InputError,
    MemoryBudgetError,
    RunLockedError,
    ShapeError,
    WorkerError,
)
from contraction.spec import Canonical
from contraction.workers import cutting
from contraction.workers.cutting import cut_program, split
from contraction.workers.jobs import Branches, BranchesJob, Slices
from contraction.workers.layout import lay_out
from contraction.workers.ordering import in_order
from contraction.workers.parts import Parts
from contraction.workers.schedulers import Assignment
from contraction.workers.stored import describe, read_arrays, write_arrays


def chain(
    size: int = 24, count: int = 6, loops: tuple[int, int] = (6, 5), *, output: str = ""
) -> tuple[Plan, list[np.ndarray]]:
    """Return a chain of matrices that depend in turn on two summed labels, sliced over both."""
    inputs = [(f"x{i}", "st"[i % 2], f"x{i + 1}") for i in range(count)]
    sizes = {f"x{i}": size for i in range(count + 1)} | {"s": loops[0], "t": loops[1]}
    spec = Spec(inputs, (*output, "x0", f"x{count}"), sizes)
    pairs = [(0, 1), *((count + i, i + 2) for i in range(count - 2))]
    plan = contraction.plan(spec, path=pairs, slices=("s", "t"))
    rng = np.random.default_rng(0)
    return plan, [rng.standard_normal(shape) / np.sqrt(size) for shape in spec.shapes]


def spec_of(canonical: Canonical) -> Spec:
    return Spec(canonical.inputs, canonical.output, dict(enumerate(canonical.sizes)))


def run_alone(plan: Plan, arrays: list[np.ndarray]) -> np.ndarray:
    with threadpool_limits(1, user_api="blas"):
        return plan.run(arrays)


def children(parent: int) -> list[int]:
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
        if int(facts[1]) == parent and facts[0] != "Z" and "loky" in words:
            if "resource_tracker" not in words:
                found.append(int(entry.name))
    return found


linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks in /proc")


# ---- the same bits ---------------------------------------------------------------------


@given(canonicals(), st.integers(0, 2), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_every_job_gives_the_bits_of_the_plan(canonical, slices: int, rnd: random.Random) -> None:
    spec = spec_of(canonical)
    labels = list(spec.sizes)
    rnd.shuffle(labels)
    plan = contraction.plan(spec, slices=labels[:slices])
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(shape) for shape in spec.shapes]
    arrays = [x.T.copy().T if rnd.random() < 0.5 else x for x in arrays]
    want = run_alone(plan, arrays)
    for scheduler in (Serial(), Threads(workers=3)):
        got = contract_with(plan, arrays, scheduler=scheduler)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)
        assert got.shape == spec.shape


@pytest.mark.parametrize(
    ("output", "dtype"),
    [
        ("ts", "complex64"),
        pytest.param("", "float64", marks=pytest.mark.slow),
        pytest.param("s", "float32", marks=pytest.mark.slow),
        pytest.param("t", "complex128", marks=pytest.mark.slow),
    ],
)
def test_threads_and_processes_agree(output: str, dtype: str) -> None:
    plan, arrays = chain(output=output)
    kinds = (
        zip(arrays, [1, 1j] * 3, strict=True) if "complex" in dtype else ((x, 1) for x in arrays)
    )
    arrays = [(x * factor).astype(dtype) for x, factor in kinds]
    arrays[1] = np.asfortranarray(arrays[1])
    arrays[2] = arrays[2][::-1]
    want = run_alone(plan, arrays)
    seen: list[tuple[int, int]] = []
    got = contract_with(
        plan,
        arrays,
        scheduler=Processes(workers=2),
        progress=lambda done, total: seen.append((done, total)),
    )
    np.testing.assert_array_equal(got, want)
    assert got.dtype == want.dtype == dtype
    np.testing.assert_array_equal(contract_with(plan, arrays, scheduler=Threads(workers=2)), want)
    assert seen == [(k + 1, 30) for k in range(30)]
    got[...] = 0  # a result of its own, that may be written to
    ends = time.monotonic() + 20
    while Path("/proc").exists() and children(os.getpid()) and time.monotonic() < ends:
        time.sleep(0.05)  # a process takes a moment to go
    assert time.monotonic() < ends


def test_tasks_do_not_depend_on_the_workers() -> None:
    plan, arrays = chain(loops=(20, 9))
    blueprint, held = lay_out(plan, arrays)
    job = blueprint.build(held)
    assert isinstance(blueprint, Slices)
    assert job.tasks[0][0] == 0
    assert job.tasks[-1][1] == plan.num_slices == 180
    assert all(a[1] == b[0] for a, b in zip(job.tasks, job.tasks[1:], strict=False))
    assert len(job.tasks) <= 64


@pytest.mark.parametrize("output", ["s", "t"])
def test_chunks_of_sliced_outputs_are_boxes(output: str) -> None:
    plan, arrays = chain(output=output, loops=(6, 5))
    blueprint, held = lay_out(plan, arrays)
    job = blueprint.build(held)
    parts = [job.run(task) for task in range(len(job.tasks))]
    assert max(part.size for part in parts) <= run_alone(plan, arrays).size // 5
    np.testing.assert_array_equal(job.finish(iter(parts)), run_alone(plan, arrays))


def tree_network(depth: int = 4, size: int = 6) -> tuple[Plan, list[np.ndarray]]:
    """Return a balanced binary tree of tensors with two legs at every leaf, and its plan."""
    count, inputs, sizes = 2**depth, [], {}
    for i in range(count):
        inputs.append((f"a{i}", f"b{i}", f"u0.{i}"))
    for level in range(1, depth + 1):
        for i in range(count >> level):
            below = (f"u{level - 1}.{2 * i}", f"u{level - 1}.{2 * i + 1}")
            inputs.append((*below, f"u{level}.{i}"))
    inputs += [(f"a{i}", f"b{i}", "z") for i in range(count)]
    sizes = {x: size for labels in inputs for x in labels}
    spec = Spec(inputs, (f"u{depth}.0", "z"), sizes)
    rng = np.random.default_rng(0)
    return contraction.plan(spec), [rng.standard_normal(s) / size for s in spec.shapes]


def test_branches_give_the_bits_of_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "LEAST", 0)
    plan, arrays = tree_network()
    want = run_alone(plan, arrays)
    blueprint, _ = lay_out(plan, arrays)
    assert isinstance(blueprint, Branches)
    cut = blueprint.cut
    assert len(cut.pieces) > 4
    steps = sum(len(piece.program.steps) for piece in (*cut.pieces, cut.rest))
    assert steps == len(plan.pairs)
    costs = [piece.cost for piece in cut.pieces]
    assert costs == sorted(costs, reverse=True)
    assert cut.rest.cost + sum(costs) == sum(map(cutting.cost_of, plan.program.steps))
    for scheduler in (Serial(), Threads(workers=2), Processes(workers=2)):
        np.testing.assert_array_equal(contract_with(plan, arrays, scheduler=scheduler), want)


@given(canonicals(max_inputs=9, sizes=(1, 2, 3)), st.integers(0, 10**9))
@settings(max_examples=40)
def test_any_cut_gives_the_bits_of_the_plan(canonical, seed: int) -> None:
    plan = contraction.plan(spec_of(canonical))
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(shape) for shape in plan.spec.shapes]
    program, count = plan.compiled.program_for("numpy", None), len(arrays)
    steps = len(program.steps)
    roots = [v for v in range(count, count + steps) if rng.random() < 0.4]
    below: set[int] = set()
    for v in range(count + steps - 1, count - 1, -1):
        if v in below or v in roots:
            below |= {program.steps[v - count].left, program.steps[v - count].right}
    chosen = [v for v in roots if v not in below and v != count + steps - 1]
    cut = split(program, count, chosen)
    job = BranchesJob(cut, "numpy", arrays)
    got = job.finish([job.run(task) for task in range(len(job.tasks))])
    np.testing.assert_array_equal(got, run_alone(plan, arrays))


def test_a_chain_is_not_cut() -> None:
    size, count = 64, 40
    spec = Spec(
        [(i, i + 1) for i in range(count)], (0, count), dict.fromkeys(range(count + 1), size)
    )
    pairs = [(0, 1), *((count + i, i + 2) for i in range(count - 2))]
    plan = contraction.plan(spec, path=pairs)
    assert not cut_program(plan.program, count).pieces


@pytest.mark.slow
def test_large_trees_are_cut_quickly() -> None:
    count = 20_000
    spec = Spec([(i, i + 1) for i in range(count)], (0, count), dict.fromkeys(range(count + 1), 2))
    pairs = [(2 * k, 2 * k + 1) for k in range(count - 1)]
    plan = contraction.plan(spec, path=pairs)
    program = plan.program
    start = time.process_time()
    cut_program(program, count)
    split(program, count, range(count, count + 10_000))
    assert time.process_time() - start < 10


def test_branches_keep_the_memory_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "LEAST", 0)
    plan, arrays = tree_network()
    tight = contraction.plan(plan.spec, path=plan.pairs, memory=plan.peak_size * 8)
    blueprint, _ = lay_out(tight, arrays)
    assert isinstance(blueprint, Branches)
    assert not blueprint.cut.pieces
    np.testing.assert_array_equal(contract_with(tight, arrays), run_alone(plan, arrays))


def test_tuned_kernels_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "LEAST", 0)
    plan, arrays = tree_network()
    tuned = contraction.tune(plan, arrays, budget="50ms")
    want = run_alone(tuned, arrays)
    np.testing.assert_array_equal(contract_with(tuned, arrays), want)
    with pytest.raises(StoppedError):
        contract_with(tuned, arrays, folder=tmp_path, progress=stop_after(2))
    np.testing.assert_array_equal(resume_contraction(tmp_path), want)


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_a_run_within_a_memory_goes_on(tmp_path: Path, dtype: str) -> None:
    plan, arrays = chain(12, 4, (5, 4))
    itemsize = np.dtype(dtype).itemsize
    tight = contraction.plan(
        plan.spec,
        path=plan.pairs,
        slices=plan.slices,
        dtype=dtype,
        memory=plan.peak_size * itemsize,
    )
    arrays = [x.astype(dtype) for x in arrays]
    with pytest.raises(StoppedError):
        contract_with(tight, arrays, folder=tmp_path, progress=stop_after(1))
    np.testing.assert_array_equal(resume_contraction(tmp_path), run_alone(tight, arrays))


def test_workers_start_light() -> None:
    code = "import sys, contraction.workers.remote, contraction.workers.jobs; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    heavy = {"scipy", "torch", "numba", "cotengra", "opt_einsum", "tnet", "contraction.planner"}
    assert "contraction.slices" in loaded
    assert not loaded & heavy


# ---- what is refused -------------------------------------------------------------------


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`workers` is a whole number"):
        Threads(workers=0)
    with pytest.raises(InputError, match="`attempts`"):
        Processes(workers=1, attempts=0)
    with pytest.raises(InputError, match="scratch folder"):
        Processes(workers=1, scratch=tmp_path / "none")
    with pytest.raises(InputError, match="blas_threads"):
        Serial(blas_threads=0)
    plan, arrays = chain()
    with pytest.raises(ShapeError):
        contract_with(plan, arrays[1:], scheduler=Processes(workers=2))
    with pytest.raises(InputError, match="no run folder"):
        resume_contraction(tmp_path / "none")
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        contract_with(plan, arrays, folder=tmp_path)


def test_memory_is_checked_first() -> None:
    plan, arrays = chain()
    tight = replace(plan, memory=1000)
    with pytest.raises(MemoryBudgetError, match="1,000"):
        contract_with(tight, arrays, scheduler=Processes(workers=2))
    whole = contraction.plan("ab,bc->ac", [(50, 50), (50, 50)])
    tight = replace(whole, memory=1000)
    with pytest.raises(MemoryBudgetError, match="1,000"):
        contract_with(tight, [np.ones((50, 50))] * 2)


def test_torch_tensors_stay_in_the_process() -> None:
    torch = pytest.importorskip("torch")
    plan, arrays = chain()
    tensors = [torch.from_numpy(x) for x in arrays]
    got = contract_with(plan, tensors, scheduler=Threads(workers=2))
    np.testing.assert_allclose(got.numpy(), run_alone(plan, arrays), rtol=1e-10)
    with pytest.raises(BackendError, match="torch"):
        contract_with(plan, tensors, scheduler=Processes(workers=2))


def test_an_error_in_a_task_is_raised() -> None:
    def call(task: int) -> int:
        if task == 3:
            raise ZeroDivisionError("three")
        return task

    aborted: list[int] = []
    results = in_order(call, range(100), 2, 4, lambda: aborted.append(1))
    with pytest.raises(ZeroDivisionError, match="three"):
        list(results)
    assert aborted == [1]


def test_threads_end_with_their_present_slice() -> None:
    plan, arrays = chain(4, 2, (1 << 20, 1))
    blueprint, held = lay_out(plan, arrays)
    job = blueprint.build(held)
    assert len(job.tasks) == 64
    thread = threading.Timer(0.05, job.halt)
    thread.start()
    with pytest.raises(WorkerError, match="given up"):
        deque(map(job.run, range(64)), maxlen=0)  # each of them takes a tenth of a second
    thread.join()


def test_few_results_wait() -> None:
    begun: list[int] = []
    results = in_order(lambda task: begun.append(task) or task, range(100), 2, 4)
    assert next(results) == 0
    time.sleep(0.05)
    assert len(begun) <= 5
    results.close()
    assert len(begun) <= 5


# ---- deaths ----------------------------------------------------------------------------


@contextmanager
def killing(seed: int, pauses: tuple[float, float], most: int) -> Iterator[list[int]]:
    """Kill workers of this process at random times, `most` of them."""
    stop, killed, rnd = threading.Event(), [], random.Random(seed)

    def work() -> None:
        while len(killed) < most and not stop.wait(rnd.uniform(*pauses)):
            for pid in rnd.sample(found := children(os.getpid()), min(1, len(found))):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                killed.append(pid)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()


@linux
def test_killed_workers_change_no_bit() -> None:
    """Deaths are timed by progress, not by the clock: a quick machine has as many."""
    plan, arrays = chain(160, 8, (16, 8))
    want = run_alone(plan, arrays)
    killed: list[int] = []

    def progress(done: int, total: int) -> None:
        if done in (5, 20) and (found := children(os.getpid())):
            os.kill(found[0], signal.SIGKILL)
            killed.append(found[0])

    got = contract_with(
        plan, arrays, scheduler=Processes(workers=2, attempts=50), progress=progress
    )
    np.testing.assert_array_equal(got, want)
    assert len(killed) == 2


@linux
@pytest.mark.slow
@pytest.mark.parametrize("in_folder", [False, True])
def test_twenty_kills_change_no_bit(tmp_path: Path, in_folder: bool) -> None:
    plan, arrays = chain(200, 10, (64, 16))
    want = run_alone(plan, arrays)
    killed: list[int] = []
    for run in range(40):
        folder = tmp_path / str(run) if in_folder else None
        with killing(run, (0.0, 1.2), 20 - len(killed)) as now:
            got = contract_with(
                plan, arrays, scheduler=Processes(workers=2, attempts=50), folder=folder
            )
        np.testing.assert_array_equal(got, want)
        killed += now
        if len(killed) >= 20:
            break
    assert len(killed) == 20


@linux
def test_a_task_that_kills_its_workers_is_reported() -> None:
    plan, arrays = chain(160, 8, (16, 8))
    with (
        killing(0, (0.0, 0.05), 1000),
        pytest.raises(WorkerError, match="ended its worker process 2 times"),
    ):
        contract_with(plan, arrays, scheduler=Processes(workers=2, attempts=2))


# ---- folders ---------------------------------------------------------------------------


class StoppedError(Exception):
    pass


def stop_after(tasks: int):
    def progress(done: int, total: int) -> None:
        if done == tasks:
            raise StoppedError

    return progress


@pytest.mark.parametrize("scheduler", [Serial(), Threads(workers=2), Processes(workers=2)])
def test_a_stopped_run_goes_on(tmp_path: Path, scheduler) -> None:
    plan, arrays = chain()
    folder = tmp_path / "run"
    with pytest.raises(StoppedError):
        contract_with(plan, arrays, scheduler=scheduler, folder=folder, progress=stop_after(7))
    parts = sorted((folder / "parts").glob("*.part"))  # a worker may have been at another
    assert 7 <= len(parts) < 30
    before = {part: part.stat().st_mtime_ns for part in parts}
    with pytest.raises(StoppedError):
        contract_with(plan, arrays, scheduler=Serial(), folder=folder, progress=stop_after(29))
    assert all(part.stat().st_mtime_ns == then for part, then in before.items())
    got = resume_contraction(folder)
    np.testing.assert_array_equal(got, run_alone(plan, arrays))
    np.testing.assert_array_equal(np.load(folder / "result.npy"), got)
    assert not (folder / "parts").exists()
    np.testing.assert_array_equal(contract_with(plan, arrays, folder=folder), got)
    np.testing.assert_array_equal(resume_contraction(folder), got)


@given(st.data())
@settings(max_examples=8)
def test_damaged_parts_are_done_again(tmp_path_factory, data: st.DataObject) -> None:
    plan, arrays = chain(loops=(2, 3))
    folder = tmp_path_factory.mktemp("run")
    with pytest.raises(StoppedError):
        contract_with(plan, arrays, folder=folder, progress=stop_after(3))
    part = folder / "parts" / "000001.part"
    content = bytearray(part.read_bytes())
    if data.draw(st.booleans()):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    else:
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    part.write_bytes(content)
    np.testing.assert_array_equal(resume_contraction(folder), run_alone(plan, arrays))


CRASH = """
import builtins, os, sys
from pathlib import Path
from test_workers import chain
from contraction import contract_with

plan, arrays = chain(4, 4, (2, 2))
step, root = 0, Path(sys.argv[1])
os.fsync = lambda handle: None  # processes crash here, not machines


def ending(call, *args, **kwargs):
    global step
    step += 1
    if step == last:
        os._exit(42)
    return call(*args, **kwargs)


class Stream:
    def __init__(self, stream):
        self.stream = stream

    def __enter__(self):
        return self

    def __exit__(self, *what):
        return self.stream.__exit__(*what)

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, content):
        global step
        step += 1
        if step == last:
            content = memoryview(content).cast("B")
            self.stream.write(content[: len(content) // 2])
            self.stream.flush()
            os._exit(42)
        return self.stream.write(content)


def opened(path, mode="r", *args, **kwargs):
    stream = real(path, mode, *args, **kwargs)
    return Stream(stream) if "x" in mode or "w" in mode else stream


last, code = 0, 42
while code == 42:
    last += 1
    if child := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        continue
    for name in ("replace", "fsync", "unlink", "rmdir", "mkdir"):
        setattr(os, name, lambda *a, call=getattr(os, name), **k: ending(call, *a, **k))
    real, builtins.open = open, opened
    contract_with(plan, arrays, folder=root / str(last))
    os._exit(0)
print(last, code)
"""


@linux
def test_a_crash_at_any_step_loses_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    plan, arrays = chain(4, 4, (2, 2))
    paths = os.pathsep.join([str(Path(__file__).parent.parent), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", CRASH, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    steps, code = map(int, done.stdout.split())
    assert code == 0
    assert steps > 50
    want = run_alone(plan, arrays)
    for folder in (tmp_path / str(step) for step in range(1, steps)):
        np.testing.assert_array_equal(contract_with(plan, arrays, folder=folder), want)
        left = {path.name for path in folder.iterdir()}
        assert left == {"manifest.json", "result.npy", "result.json", "lock"}


def test_flipped_bits_change_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    plan, arrays = chain(4, 4, (3, 2))
    with pytest.raises(StoppedError):
        contract_with(plan, arrays, folder=tmp_path / "begun", progress=stop_after(3))
    contract_with(plan, arrays, folder=tmp_path / "done")
    want, rnd, folder = run_alone(plan, arrays), random.Random(0), tmp_path / "run"
    refused = 0
    for k in range(120):
        shutil.copytree(tmp_path / ("begun" if k % 3 else "done"), folder)
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        path = rnd.choice([path for path in files if path.name != "lock"])
        content = bytearray(path.read_bytes())
        content[rnd.randrange(len(content))] ^= 1 << rnd.randrange(8)
        path.write_bytes(content)
        try:
            np.testing.assert_array_equal(resume_contraction(folder), want)
        except CheckpointError:
            refused += 1
        shutil.rmtree(folder)
    assert 20 < refused < 100


def test_a_part_with_another_order_of_bytes_is_done_again(tmp_path: Path) -> None:
    plan, arrays = chain(4, 4, (3, 2))
    with pytest.raises(StoppedError):
        contract_with(plan, arrays, folder=tmp_path, progress=stop_after(3))
    part = tmp_path / "parts" / "000001.part"
    part.write_bytes(part.read_bytes().replace(b"<f8", b">f8", 1))  # one bit
    np.testing.assert_array_equal(resume_contraction(tmp_path), run_alone(plan, arrays))


def test_parts_of_another_job_are_not_taken(tmp_path: Path) -> None:
    mine, other = Parts(tmp_path, "a", True), Parts(tmp_path, "b", True)
    mine.write(3, np.ones(4))
    assert mine.read(3) is not None
    assert other.read(3) is None
    assert mine.read(4) is None
    (tmp_path / "000003.part").rename(tmp_path / "000004.part")
    assert mine.read(4) is None


def test_a_folder_is_of_one_plan_and_its_inputs(tmp_path: Path) -> None:
    plan, arrays = chain()
    with pytest.raises(StoppedError):
        contract_with(plan, arrays, folder=tmp_path, progress=stop_after(3))
    changed = [*arrays[:-1], arrays[-1] + 1e-9]
    with pytest.raises(CheckpointError, match="input 5"):
        contract_with(plan, changed, folder=tmp_path)
    other, _ = chain(loops=(6, 5), output="s")
    with pytest.raises(CheckpointError, match="another plan"):
        contract_with(other, arrays, folder=tmp_path)
    manifest = tmp_path / "manifest.json"
    text = manifest.read_text()
    for damaged in ("", "[]", text[:-40], text.replace('"s"', '"t"'), text.replace("0", "1")):
        manifest.write_text(damaged)
        if damaged != text:
            with pytest.raises(CheckpointError):
                resume_contraction(tmp_path)
    manifest.write_text(text)
    np.testing.assert_array_equal(resume_contraction(tmp_path), run_alone(plan, arrays))


def test_damaged_inputs_are_seen(tmp_path: Path) -> None:
    plan, arrays = chain()
    with pytest.raises(StoppedError):
        contract_with(plan, arrays, folder=tmp_path, progress=stop_after(3))
    inputs = tmp_path / "inputs.bin"
    content = bytearray(inputs.read_bytes())
    content[100] ^= 1
    inputs.write_bytes(content)
    with pytest.raises(CheckpointError, match="input 0"):
        resume_contraction(tmp_path)
    inputs.write_bytes(content[:100])
    with pytest.raises(CheckpointError, match="bytes"):
        resume_contraction(tmp_path)


def test_other_kernels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, arrays = chain()
    with pytest.raises(StoppedError):
        contract_with(plan, arrays, folder=tmp_path, progress=stop_after(3))
    monkeypatch.setattr(Slices, "fingerprint", lambda self: "another")
    with pytest.raises(CheckpointError, match="other kernels"):
        resume_contraction(tmp_path)


def test_labels_of_any_kind_can_be_kept(tmp_path: Path) -> None:
    spec = Spec([((1, 2), None), (None, 3.5)], ((1, 2), 3.5), {(1, 2): 3, None: 4, 3.5: 5})
    plan = contraction.plan(spec, slices=[None])
    x, y = np.random.default_rng(0).standard_normal((2, 3, 4))[:, :, :4]
    got = contract_with(plan, [x, y.T[:, :5].repeat(2, 1)[:, :5]], folder=tmp_path)
    np.testing.assert_array_equal(got, plan.run([x, y.T[:, :5].repeat(2, 1)[:, :5]]))


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_workers import chain
from contraction import Processes, Serial, contract_with
plan, arrays = chain(110, 8, (16, 8))
chosen = Processes(workers=2, scratch=sys.argv[4]) if sys.argv[3] == "processes" else Serial()
print("begun", flush=True)
contract_with(plan, arrays, scheduler=chosen, folder=sys.argv[1])
print("done", flush=True)
"""


@linux
@pytest.mark.parametrize(
    "sign", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_the_end_of_the_main_process_loses_nothing(tmp_path: Path, sign: signal.Signals) -> None:
    plan, arrays = chain(110, 8, (16, 8))
    folder = tmp_path / "run"
    code = [sys.executable, "-c", SCRIPT, str(folder), str(Path(__file__).parent), "processes"]
    (tmp_path / "scratch").mkdir()
    code.append(str(tmp_path / "scratch"))
    paths = os.pathsep.join([str(Path(__file__).parent.parent), str(Path(__file__).parent)])
    with subprocess.Popen(
        code,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    ) as process:
        try:
            until = time.monotonic() + 60
            while len(list((folder / "parts").glob("*.part"))) < 4:
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.005)
            workers = children(process.pid)
            with pytest.raises(RunLockedError):
                resume_contraction(folder)
            process.send_signal(sign)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert "done" not in out
    if sign == signal.SIGINT:
        assert "KeyboardInterrupt" in err
    until = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers):  # they see it and end
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not list((tmp_path / "scratch").iterdir())
    done = {part: part.stat().st_mtime_ns for part in (folder / "parts").glob("*.part")}
    assert 4 <= len(done) < 64
    with pytest.raises(StoppedError):
        contract_with(plan, arrays, folder=folder, progress=stop_after(63))
    assert all(part.stat().st_mtime_ns == then for part, then in done.items())
    np.testing.assert_array_equal(resume_contraction(folder), run_alone(plan, arrays))
    assert not list(folder.glob("*.tmp"))


def test_a_folder_has_one_process(tmp_path: Path) -> None:
    plan, arrays = chain()

    def progress(done: int, total: int) -> None:
        with pytest.raises(RunLockedError, match="another process"):
            resume_contraction(tmp_path)
        raise StoppedError

    with pytest.raises(StoppedError):
        contract_with(plan, arrays, folder=tmp_path, progress=progress)


def test_the_manifest_is_plain_json(tmp_path: Path) -> None:
    plan, arrays = chain()
    with pytest.raises(StoppedError):
        contract_with(plan, arrays, folder=tmp_path, progress=stop_after(1))
    found = json.loads((tmp_path / "manifest.json").read_text())
    assert found["format"] == "tnet contraction"
    assert found["version"] == 1
    assert len(found["inputs"]) == 6
    assert found["tasks"][0] == [0, 1]
    assert Plan.from_dict(found["plan"]).num_slices == 30


@given(st.lists(st.tuples(st.lists(st.integers(0, 4), max_size=4), st.randoms()), max_size=4))
def test_arrays_keep_their_order_in_memory(tmp_path_factory, given_) -> None:
    arrays = []
    for shape, rnd in given_:
        axes = list(range(len(shape)))
        rnd.shuffle(axes)
        x = np.arange(float(np.prod(shape, dtype=int))).reshape(shape).transpose(axes)
        arrays.append(x)
    path = tmp_path_factory.mktemp("arrays") / "a.bin"
    with open(path, "wb") as stream:
        write_arrays(stream, arrays)
    for x, y in zip(arrays, read_arrays(path, describe(arrays)), strict=True):
        np.testing.assert_array_equal(x, y)
        assert type(y) is np.ndarray
        assert x.size == 0 or [s for s, n in zip(x.strides, x.shape, strict=True) if n > 1] == [
            s for s, n in zip(y.strides, y.shape, strict=True) if n > 1
        ]


# ---- a cluster -------------------------------------------------------------------------


def test_no_cluster_is_said_soon() -> None:
    pytest.importorskip("distributed")
    plan, arrays = chain()
    start = time.monotonic()
    with pytest.raises(DeviceError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9'"):
        contract_with(plan, arrays, scheduler=Dask(address="tcp://127.0.0.1:9", timeout=0.5))
    assert time.monotonic() - start < 20
    with pytest.raises(DeviceError, match="no address of a Dask scheduler"):
        contract_with(plan, arrays, scheduler=Dask(address="nonsense://x", timeout=0.5))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_cluster_gives_the_same_bits(tmp_path: Path, workers: int) -> None:
    distributed = pytest.importorskip("distributed")
    plan, arrays = chain(160, 8, (16, 8))
    want = run_alone(plan, arrays)
    with distributed.LocalCluster(
        n_workers=workers, threads_per_worker=2, processes=True, dashboard_address=":0"
    ) as cluster:
        dask = Dask(address=cluster.scheduler_address)
        np.testing.assert_array_equal(contract_with(plan, arrays, scheduler=dask), want)
        with pytest.raises(StoppedError):
            contract_with(plan, arrays, scheduler=dask, folder=tmp_path, progress=stop_after(5))
        assert len(list((tmp_path / "parts").iterdir())) >= 5
        got = contract_with(plan, arrays, scheduler=dask, folder=tmp_path)
        np.testing.assert_array_equal(got, want)

        def kill(done: int, total: int) -> None:
            if done in (10, 30):
                pid = next(worker.process.pid for worker in cluster.workers.values())
                os.kill(pid, signal.SIGKILL)

        dask = Dask(address=cluster.scheduler_address, attempts=10)
        np.testing.assert_array_equal(
            contract_with(plan, arrays, scheduler=dask, progress=kill), want
        )
        with pytest.raises(StoppedError):
            contract_with(plan, arrays, scheduler=dask, progress=stop_after(1))


def test_assignments_name_what_they_hold() -> None:
    plan, arrays = chain()
    blueprint, held = lay_out(plan, arrays)
    job = blueprint.build(held)
    work = Assignment(blueprint, held, job, lambda folder: Parts(folder, "", False))
    with Serial().staff(work) as crew:
        assert crew.workers == 0
        np.testing.assert_array_equal(crew.run(0), job.run(0))
