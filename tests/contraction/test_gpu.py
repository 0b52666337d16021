"""On a GPU: the same results as on the host, without waiting, within the device's memory."""

from __future__ import annotations

import numpy as np
import pytest

import contraction
from contraction import Truncation, environments, plan, slice_job, truncated_svd
from contraction.arrays import device, gpu_available, namespace_by_name, to, to_numpy
from contraction.errors import MemoryBudgetError

pytestmark = pytest.mark.gpu
CASES = [
    ("abc,br,cr->ar", [(32, 33, 34), (33, 8), (34, 8)]),
    ("abc,ar,cr->br", [(32, 33, 34), (32, 8), (34, 8)]),
    ("zab,zbc->zac", [(16, 20, 30), (16, 30, 10)]),
    ("abc,adc->bd", [(20, 30, 40), (20, 31, 40)]),
    ("abc,ad,be,cf->def", [(32, 32, 32), (32, 8), (32, 8), (32, 8)]),
    ("aab,bc->ac", [(20, 20, 30), (30, 40)]),
]


@pytest.fixture(params=["cupy", "torch"])
def library(request):
    if not gpu_available(request.param):
        pytest.skip(f"{request.param} sees no GPU")
    return request.param


def on_gpu(arrays, library):
    where = None if library == "cupy" else "cuda:0"
    return [to(x, namespace=library, device=where) for x in arrays]


def drawn(shapes, dtype="float64"):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize(("equation", "shapes"), CASES)
def test_results(library, equation, shapes, dtype) -> None:
    arrays = drawn(shapes, dtype)
    made = plan(equation, shapes, library=library, dtype=dtype)
    result = made.run(on_gpu(arrays, library))
    assert "cuda" in device(result)
    wanted = np.einsum(equation, *arrays, optimize=True)
    tol = 1e-4 if dtype == "float32" else 1e-11
    assert np.linalg.norm(to_numpy(result) - wanted) <= tol * np.linalg.norm(wanted)


@pytest.mark.parametrize("slices", ["e", "fd", "a"])
def test_slices(library, slices) -> None:
    equation, shapes = CASES[4]
    arrays = drawn(shapes)
    made = plan(equation, shapes, slices=slices, library=library)
    moved = on_gpu(arrays, library)
    job = slice_job(made, moved)
    parts = [job.run(start, stop) for start, stop in job.chunks]
    wanted = np.einsum(equation, *arrays, optimize=True)
    assert np.allclose(to_numpy(job.combine(parts)), wanted)
    assert np.allclose(to_numpy(made.run(moved)), wanted)


def test_environments(library) -> None:
    shapes = [(6, 7, 8), (8, 9, 4), (4, 6, 7, 9)]
    arrays = drawn(shapes)
    made = plan("abc,cde,eabd->", shapes, library=library)
    found = environments(made, on_gpu(arrays, library))
    for x, y in zip(found, environments(made, arrays), strict=True):
        assert np.allclose(to_numpy(x), y)


def test_torch_contracts_without_waiting() -> None:
    if not gpu_available("torch"):
        pytest.skip("torch sees no GPU")
    import torch

    equation, shapes = CASES[0]
    made, arrays = plan(equation, shapes, library="torch"), on_gpu(drawn(shapes), "torch")
    made.run(arrays)  # kernels are loaded by now
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        made.run(arrays)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_current_stream_is_used(library) -> None:
    equation, shapes = CASES[1]
    arrays = drawn(shapes)
    moved, made = on_gpu(arrays, library), plan(equation, shapes, library=library)
    if library == "cupy":
        cp = namespace_by_name("cupy")
        stream = cp.cuda.Stream(non_blocking=True)
        cp.cuda.Device().synchronize()
        with stream:
            result = made.run(moved)
        stream.synchronize()
    else:
        import torch

        stream = torch.cuda.Stream()
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            result = made.run(moved)
        stream.synchronize()
    assert np.allclose(to_numpy(result), np.einsum(equation, *arrays, optimize=True))


def test_a_share_of_the_device_memory(library) -> None:
    equation, shapes = CASES[4]
    made = plan(equation, shapes, memory="10%", library=library, device="cuda:0")
    assert made.memory > 2**20
    made.run(on_gpu(drawn(shapes), library))


def test_too_little_memory_is_refused(library) -> None:
    with pytest.raises(MemoryBudgetError):
        contraction.einsum("ab,cd->abcd", *on_gpu(drawn([(64, 64)] * 2), library), memory="1KiB")


@pytest.mark.parametrize("tol", [1e-2, 1e-9])
def test_truncated_factorisation(library, tol) -> None:
    rng = np.random.default_rng(1)
    q = np.linalg.qr(rng.standard_normal((2000, 64)))[0]
    x = (q * 10.0 ** -np.linspace(0, 12, 64)) @ np.linalg.qr(rng.standard_normal((64, 64)))[0]
    (moved,) = on_gpu([x], library)
    found = truncated_svd(moved, Truncation(tol=tol))
    again = to_numpy(found.U) * to_numpy(found.s) @ to_numpy(found.Vh)
    assert np.linalg.norm(again - x) <= 1.01 * tol * np.linalg.norm(x)
    assert found.method.value == ("gram" if tol > 1e-6 else "qr+svd")
