"""Tasks shared out to devices, here the CPU named once and more often.

Streams, pinned memory and several GPUs need a device: `test_gpu.py` has the tests that were
written without one at hand.
"""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from contraction import Devices, Serial, contract_with, plan
from contraction.errors import BackendError, DeviceError, InputError, MemoryBudgetError
from contraction.workers import devices

torch = pytest.importorskip("torch")
EQUATION, SHAPES = "abcd,be,ecf,fdg->ag", [(6, 7, 8, 9), (7, 5), (5, 8, 6), (6, 9, 10)]
SLICES = ["e", "be", "a", "ag", "ef", ""]


def arrays(dtype="float64"):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]


@pytest.mark.parametrize("dtype", ["float64", "complex64"])
@pytest.mark.parametrize("slices", SLICES)
def test_results(slices, dtype) -> None:
    xs = arrays(dtype)
    made = plan(EQUATION, SHAPES, slices=slices, dtype=dtype)
    before = [x.copy() for x in xs]
    found = contract_with(made, xs, scheduler=Devices(names=("cpu", "cpu")))
    assert type(found) is np.ndarray
    assert found.dtype == dtype
    wanted = np.einsum(EQUATION, *xs, optimize=True)
    tol = 1e-4 if dtype == "complex64" else 1e-11
    assert np.linalg.norm(found - wanted) <= tol * np.linalg.norm(wanted)
    once = contract_with(made, xs, scheduler=Devices(names=("cpu",)))
    many = contract_with(made, xs, scheduler=Devices(names=("cpu",) * 5))
    assert np.array_equal(found, once)
    assert np.array_equal(found, many)
    for x, y in zip(xs, before, strict=True):
        assert np.array_equal(x, y)


@pytest.mark.parametrize("slices", SLICES)
def test_tensors_of_the_host_are_contracted_to_one(slices) -> None:
    xs = [torch.from_numpy(x) for x in arrays()]
    made = plan(EQUATION, SHAPES, slices=slices, library="torch")
    found = contract_with(made, xs, scheduler=Devices(names=("cpu", "cpu")))
    assert isinstance(found, torch.Tensor)
    assert torch.equal(found, contract_with(made, xs, scheduler=Serial()))


def test_arrays_in_any_memory_order() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((90, 80)).T, rng.standard_normal((70, 90))[:, ::-1].T
    y.flags.writeable = False
    made = plan("ab,bc->ac", [(80, 90), (90, 70)], slices="a")
    found = contract_with(made, [x, y], scheduler=Devices(names=("cpu", "cpu")))
    assert np.allclose(found, x @ y)


def test_every_device_works_in_turn_and_holds_the_inputs_once(monkeypatch) -> None:
    seats, threads = [], set()
    true = devices.Seat.run

    def run(self, task):
        seats.append(self)
        threads.add(threading.get_ident())
        return true(self, task)

    monkeypatch.setattr(devices.Seat, "run", run)
    moved = []
    true_moved = devices.Seat._moved
    monkeypatch.setattr(
        devices.Seat, "_moved", lambda self, x: moved.append(x) or true_moved(self, x)
    )
    made = plan(EQUATION, SHAPES, slices="ae")
    contract_with(made, arrays(), scheduler=Devices(names=("cpu", "cpu")))
    assert len(seats) == 30
    assert len(set(seats)) <= 2
    assert len(threads) <= 2
    assert len(moved) % 2 == 0
    assert len(moved) <= 2 * (len(SHAPES) + 4)


def test_a_folder_keeps_what_devices_have_done(tmp_path) -> None:
    xs, made = arrays(), plan(EQUATION, SHAPES, slices="e")
    folder = tmp_path / "run"
    found = contract_with(made, xs, scheduler=Devices(names=("cpu", "cpu")), folder=folder)
    assert np.array_equal(np.load(folder / "result.npy"), found)
    assert np.allclose(found, np.einsum(EQUATION, *xs, optimize=True))


def test_a_failing_task_ends_the_run(monkeypatch) -> None:
    def fail(self, task):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(devices.Seat, "run", fail)
    made = plan(EQUATION, SHAPES, slices="e")
    with pytest.raises(RuntimeError, match="out of memory"):
        contract_with(made, arrays(), scheduler=Devices(names=("cpu", "cpu")))


@pytest.mark.parametrize("names", [(), "cuda:0", ["cpu"], (0,)])
def test_names_are_checked(names) -> None:
    with pytest.raises(InputError, match="names"):
        Devices(names=names)
    with pytest.raises(InputError, match="library"):
        Devices(names=("cpu",), library="numpy")


def test_devices_that_are_not_there() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    made = plan(EQUATION, SHAPES, slices="e")
    with pytest.raises(DeviceError, match="cuda:0"):
        contract_with(made, arrays(), scheduler=Devices(names=("cpu", "cuda:0")))
    with pytest.raises(DeviceError):
        contract_with(made, arrays(), scheduler=Devices(names=("cpu",), library="cupy"))


def test_inputs_that_do_not_fit_are_refused(monkeypatch) -> None:
    made, xs = plan(EQUATION, SHAPES, slices="e"), arrays()
    held = sum(x.nbytes for x in xs)
    monkeypatch.setattr(devices, "free_memory", lambda library, name: 3 * held // 2)
    contract_with(made, xs, scheduler=Devices(names=("cpu",)))
    with pytest.raises(MemoryBudgetError, match="fewer"):
        contract_with(made, xs, scheduler=Devices(names=("cpu", "cpu")))


def test_arrays_of_a_device_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(devices, "device", lambda x: "cuda:0")
    made = plan(EQUATION, SHAPES, slices="e")
    with pytest.raises(BackendError, match="arrays of the host"):
        contract_with(made, arrays(), scheduler=Devices(names=("cpu",)))


def test_streams_are_entered_and_waited_for(monkeypatch) -> None:
    """With stand-ins for the calls of CUDA: the order of entering, copying and waiting."""
    story = []

    class Stream:
        def synchronize(self):
            story.append("wait")

    class Entered:
        def __enter__(self):
            story.append("enter")

        def __exit__(self, *error):
            story.append("leave")

    monkeypatch.setattr(devices, "_new_stream", lambda library, name: Stream())
    monkeypatch.setattr(devices, "_current", lambda library, name, stream: [Entered])
    monkeypatch.setattr(devices.Seat, "_moved", lambda self, x: torch.from_numpy(np.asarray(x)))
    monkeypatch.setattr(devices, "_pinned_copy", lambda x: story.append("copy") or x)
    blueprint = SimpleNamespace(for_library=lambda library, move: blueprint)
    job = SimpleNamespace(run=lambda task: story.append("run") or torch.full((2,), float(task)))
    blueprint.build = lambda held: job
    seat = devices.Seat("torch", "cuda:0", blueprint, [np.ones(2)])
    assert story == ["enter", "leave", "wait"]
    story.clear()
    assert seat.run(3).tolist() == [3.0, 3.0]
    assert story == ["enter", "run", "copy", "leave", "wait"]
    assert "cupy" not in sys.modules
