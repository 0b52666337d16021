"""How much memory a device has, read from stand-ins for the libraries; no GPU is needed.

What the libraries themselves say on a device is for `test_gpu.py`.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

import contraction
import tnet
from contraction import memory, plan, summation
from contraction.errors import MemoryBudgetError
from contraction.memory import free_memory, memory_limit
from tnet.memory import allowed_memory

GIB = 2**30


class FakePool:
    def __init__(self, total: int, used: int, limit: int) -> None:
        self._total, self._used, self._limit = total, used, limit

    def get_limit(self) -> int:
        return self._limit

    def total_bytes(self) -> int:
        return self._total

    def free_bytes(self) -> int:
        return self._total - self._used


class FakeCupy(SimpleNamespace):
    """Devices with different amounts of free memory, and one pool."""

    def __init__(self, free: list[int], pool: FakePool) -> None:
        chosen = [0]

        class Device:
            def __init__(self, index: int | None = None) -> None:
                self.index = chosen[-1] if index is None else index

            def __enter__(self) -> None:
                chosen.append(self.index)

            def __exit__(self, *error: object) -> None:
                chosen.pop()

        runtime = SimpleNamespace(memGetInfo=lambda: (free[chosen[-1]], 80 * GIB))
        cuda = SimpleNamespace(Device=Device, runtime=runtime)
        super().__init__(cuda=cuda, get_default_memory_pool=lambda: pool)


@pytest.mark.parametrize(
    ("limit", "wanted"), [(0, 50 + 6), (100, 50 + 6), (30, 20 + 6), (10, 0 + 6), (8, 0 + 6)]
)
def test_cupy(monkeypatch, limit, wanted) -> None:
    pool = FakePool(total=10 * GIB, used=4 * GIB, limit=limit * GIB)
    monkeypatch.setitem(sys.modules, "cupy", FakeCupy([7 * GIB, 50 * GIB], pool))
    assert free_memory("cupy", "cuda:1") == wanted * GIB
    assert memory_limit("50%", library="cupy", device="cuda:1") == wanted * GIB // 2


def test_cupy_on_the_current_device(monkeypatch) -> None:
    fake = FakeCupy([7 * GIB, 50 * GIB], FakePool(total=0, used=0, limit=0))
    monkeypatch.setitem(sys.modules, "cupy", fake)
    assert free_memory("cupy", "cuda") == 7 * GIB
    with fake.cuda.Device(1):
        assert free_memory("cupy", "cuda") == 50 * GIB
        assert free_memory("cupy", "cuda:0") == 7 * GIB


@pytest.fixture
def fake_torch(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda place: (10 * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda place: 8 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda place: 2 * GIB)


def test_torch(fake_torch) -> None:
    assert free_memory("torch", "cuda:0") == 16 * GIB
    assert memory_limit("75%", library="torch", device="cuda") == 12 * GIB
    assert free_memory("torch", "cpu") < 2**60
    assert allowed_memory("50%", library="torch", device="cuda:0") == 8 * GIB
    assert allowed_memory(None, library="torch", device="cuda:0") == int(0.6 * 16 * GIB)


def test_a_plan_for_a_device_is_made_for_its_memory(fake_torch) -> None:
    shapes = [(3, 4), (4, 5)]
    made = plan("ab,bc->ac", shapes, memory="50%", library="torch", device="cuda:0")
    assert made.memory == 8 * GIB


def test_einsum_asks_about_the_device_of_its_arrays(monkeypatch) -> None:
    torch = pytest.importorskip("torch")
    asked = []

    def limit(share, *, library, device):
        asked.append((share, library, device))
        return memory_limit("1MiB")

    monkeypatch.setattr(summation, "memory_limit", limit)
    contraction.einsum("ab,bc->ac", torch.ones(3, 4), torch.ones(4, 5), memory="80%")
    assert asked == [("80%", "torch", "cpu")]


def test_a_fit_keeps_within_the_device(monkeypatch) -> None:
    pytest.importorskip("torch")
    from contraction.arrays import to

    asked = []

    def free(library, device):
        asked.append((library, device))
        return 2000

    monkeypatch.setattr("tnet.memory.free_memory", free)
    monkeypatch.setattr("tnet.als.memory_need.SMALL", 0)
    x = to(np.random.default_rng(0).standard_normal((9, 9, 9)), namespace="torch")
    with pytest.raises(MemoryBudgetError):
        tnet.fit(x, tnet.tensor_train((9, 9, 9), 3), rng=np.random.default_rng(0))
    assert asked == [("torch", "cpu")]


def test_the_host_is_asked_for_arrays_of_the_host(monkeypatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 5 * GIB)
    assert free_memory() == free_memory("torch", "cpu") == 5 * GIB
