"""Contractions on a device never wait for it: nothing is read back to the host on the way.

PyTorch sends every operation through a dispatcher, on the CPU as on a GPU, so that a read-back
(`item`, `bool`, `tolist`, a copy to another device) can be seen without a GPU.
"""

from __future__ import annotations

import numpy as np
import pytest

import contraction
from contraction import Truncation, environments, plan, truncated_svd

torch = pytest.importorskip("torch")
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402


class ReadBacks(TorchDispatchMode):
    """Collects the operations that make the host wait for the device."""

    WAITING = ("aten._local_scalar_dense", "aten.is_nonzero", "aten.equal", "aten.nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        moves = "_to_copy" in name and "device" in (kwargs or {})
        if moves or name.startswith(self.WAITING):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def tensors(shapes, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


CASES = [
    ("abc,br,cr->ar", [(16, 17, 18), (17, 5), (18, 5)], ""),
    ("zab,zbc->zac", [(8, 9, 10), (8, 10, 11)], ""),
    ("abc,adc->bd", [(9, 10, 11), (9, 12, 11)], ""),
    ("aab,bc->ac", [(6, 6, 7), (7, 8)], ""),
    ("abc,cde,eaf->bdf", [(6, 7, 8), (8, 9, 4), (4, 6, 5)], "c"),
    ("abc,cde,eaf->bdf", [(6, 7, 8), (8, 9, 4), (4, 6, 5)], "be"),
]


@pytest.mark.parametrize(("equation", "shapes", "slices"), CASES)
def test_running_a_plan_reads_nothing_back(equation, shapes, slices) -> None:
    made, arrays = plan(equation, shapes, slices=slices, library="torch"), tensors(shapes)
    with ReadBacks() as seen:
        result = made.run(arrays)
    assert seen.found == []
    wanted = np.einsum(equation, *(x.numpy() for x in arrays), optimize=True)
    assert np.allclose(result.numpy(), wanted)


def test_environments_read_nothing_back() -> None:
    shapes = [(6, 7, 8), (8, 9, 4), (4, 6, 7, 9)]
    made, arrays = plan("abc,cde,eabd->", shapes, library="torch"), tensors(shapes)
    with ReadBacks() as seen:
        environments(made, arrays)
    assert seen.found == []


def test_einsum_reads_nothing_back() -> None:
    x, y = tensors([(20, 30), (30, 40)])
    with ReadBacks() as seen:
        contraction.einsum("ab,bc->ac", x, y)
    assert seen.found == []


def test_the_detector_detects() -> None:
    with ReadBacks() as seen:
        bool(torch.ones(3).sum() > 2)
    assert seen.found


@pytest.mark.parametrize("size", [40, 80])
def test_a_factorisation_reads_back_a_fixed_number_of_times(size) -> None:
    """The rank has to be known on the host, once; not once for every column."""
    (x,) = tensors([(20 * size, size)])
    with ReadBacks() as seen:
        truncated_svd(x, Truncation(tol=1e-3, max_rank=size // 2))
    assert len(seen.found) <= 16
