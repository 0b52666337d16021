"""On a GPU: the same results as on the host, without waiting, within the device's memory.

Skipped where there is no CUDA device, as where these tests were written: what could be seen
without one is in `test_host_copies.py`, `test_device_order.py`, `test_devices.py` and
`test_device_memory.py`.
"""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pytest

import contraction
from contraction import (
    Devices,
    Truncation,
    contract_with,
    environments,
    plan,
    slice_job,
    truncated_svd,
)
from contraction.arrays import device, gpu_available, random_normal, to, to_numpy
from contraction.errors import MemoryBudgetError
from contraction.gram import gram, squared_norm
from contraction.memory import free_memory
from contraction.svd_ladder import climb
from contraction.triangular import gram_factor, r_factor

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
        cp = importlib.import_module("cupy")
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


@pytest.mark.parametrize("kind", ["float64", "complex64"])
@pytest.mark.parametrize("shape", [(20, 12), (500, 100), (100, 500), (5000, 30), (150, 150)])
def test_factorisations(library, shape, kind) -> None:
    x = random_normal(np.random.default_rng(0), shape, dtype=kind)
    (moved,) = on_gpu([x], library)
    near = 1e-3 if kind == "complex64" else 1e-10
    found = climb(moved)
    assert {device(found.U), device(found.s), device(found.Vh)} == {"cuda:0"}
    if max(shape) > 64:
        assert found.rung == ("direct" if shape[0] == shape[1] else "qr-first")
    U, s, Vh = (to_numpy(y) for y in (found.U, found.s, found.Vh))
    assert np.abs(U * s @ Vh - x).max() <= near
    Q, R = (to_numpy(y) for y in contraction.qr(moved))
    assert np.abs(Q @ R - x).max() <= near
    square = x.conj().T @ x
    for R in (to_numpy(r_factor(moved)), to_numpy(gram_factor(moved))):
        assert np.abs(R.conj().T @ R - square).max() <= near * np.abs(square).max()
    (H,) = on_gpu([square], library)
    w, V = (to_numpy(y) for y in contraction.eigh(H))
    assert np.abs(V * w @ V.conj().T - square).max() <= near * np.abs(square).max()
    (B,) = on_gpu([square[:, :2].copy()], library)
    X = to_numpy(contraction.solve_psd(H, B, ridge=1e-3))
    assert np.isfinite(X).all()


def test_gram_matrices_and_norms(library) -> None:
    x = random_normal(np.random.default_rng(0), (300, 40, 70), dtype="float32")
    (moved,) = on_gpu([x], library)
    M = x.astype(float).transpose(1, 0, 2).reshape(40, -1)
    assert np.allclose(to_numpy(gram([moved])), M @ M.T)
    assert squared_norm([moved]) == pytest.approx(np.sum(M**2))


def test_a_factorisation_waits_a_fixed_number_of_times() -> None:
    if not gpu_available("torch"):
        pytest.skip("torch sees no GPU")
    import torch

    counts = []
    for size in (80, 320):
        x = torch.randn(20 * size, size, device="cuda", dtype=torch.float64)
        truncated_svd(x, Truncation(max_rank=size // 2))
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                truncated_svd(x, Truncation(max_rank=size // 2))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        counts.append(len(seen))
    assert max(counts) <= 24  # some of them by the drivers themselves


@pytest.mark.parametrize("slices", ["e", "fd", "a", ""])
def test_devices(library, slices) -> None:
    equation, shapes = CASES[4]
    arrays = drawn(shapes)
    made = plan(equation, shapes, slices=slices)
    wanted = np.einsum(equation, *arrays, optimize=True)
    once = contract_with(made, arrays, scheduler=Devices(names=("cuda:0",), library=library))
    twice = contract_with(made, arrays, scheduler=Devices(names=("cuda:0",) * 2, library=library))
    assert type(once) is np.ndarray
    assert np.array_equal(once, twice)
    assert np.linalg.norm(once - wanted) <= 1e-11 * np.linalg.norm(wanted)


def test_what_the_pool_holds_is_free(library) -> None:
    before = free_memory(library, "cuda:0")
    (held,) = on_gpu([np.ones(2**24)], library)
    during = free_memory(library, "cuda:0")
    assert before - during >= 2**26
    del held
    assert free_memory(library, "cuda:0") - during >= 2**26
