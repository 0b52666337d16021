"""Contractions on a device never wait for it, and factorisations a fixed number of times.

PyTorch sends every operation through a dispatcher, on the CPU as on a GPU, so that a read-back
(`item`, `bool`, `tolist`, a copy to another device) can be seen without a GPU. A copy from the
CPU to the CPU is none, so that the calls of Python that ask for numbers are counted, too.
"""

from __future__ import annotations

import numpy as np
import pytest

import contraction
import tnet
from contraction import Truncation, environments, plan, truncated_svd

torch = pytest.importorskip("torch")
from host_reads import ExplicitReads  # noqa: E402
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


def test_the_detectors_detect() -> None:
    with ReadBacks() as seen:
        bool(torch.ones(3).sum() > 2)
    assert seen.found
    x = torch.ones(1)
    with ExplicitReads() as asked:
        float(x), bool(x), complex(x), x.item(), x.tolist(), np.asarray(x), x.cpu().numpy()
    assert len(asked.found) == 7


def reads(call) -> int:
    """Return how often a call asks for numbers, once all that is kept has been made."""
    call()
    with ExplicitReads() as seen:
        call()
    return len(seen.found)


@pytest.mark.parametrize("kind", [torch.float64, torch.complex64])
@pytest.mark.parametrize("size", [40, 80, 200])
def test_a_factorisation_reads_back_a_fixed_number_of_times(size, kind) -> None:
    """The rank has to be known on the host, once; not once for every column."""
    (x,) = tensors([(20 * size, size)], kind)
    assert reads(lambda: contraction.qr(x)) <= 2
    assert reads(lambda: contraction.svd(x)) <= 2
    assert reads(lambda: contraction.eigh(x.mH @ x)) <= 2
    assert reads(lambda: truncated_svd(x, Truncation(tol=1e-3, max_rank=size // 2))) <= 8
    # four rounds of subspace iteration, at most
    assert reads(lambda: truncated_svd(x, Truncation(tol=1e-3, max_rank=size // 8))) <= 14


@pytest.mark.parametrize("size", [6, 12, 20])
def test_networks_read_back_a_fixed_number_of_times(size) -> None:
    (x,) = tensors([(size, size, size, size)])
    assert reads(lambda: tnet.decompose(x, tnet.tensor_train, ranks=size // 2)) <= 3 * 12
    network = tnet.decompose(x, tnet.tensor_train, tol=1e-9)
    assert reads(lambda: tnet.inner(network, network)) <= 4
    assert reads(lambda: tnet.truncate(network, Truncation(tol=0.3))) <= 3 * 16
