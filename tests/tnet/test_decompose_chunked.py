"""Tensors larger than the memory allowed: the same network, slab by slab, within the budget."""

import contextlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tnet
from contraction.errors import DTypeError, MemoryBudgetError, NonFiniteError
from strategies import seeds, trees
from tnet import Method

MIB = 2**20
FORMATS = [tnet.tucker, tnet.tensor_train, tnet.balanced_tree]


class Lazy:
    """Readable by slices only, as a dataset on disk is; counts what is read."""

    def __init__(self, array, chunks=None):
        self.array, self.shape, self.dtype, self.chunks = array, array.shape, array.dtype, chunks
        self.read = self.largest = 0

    def __getitem__(self, box):
        assert len(box) == len(self.shape)
        part = self.array[box]
        self.read += part.size
        self.largest = max(self.largest, part.nbytes)
        return part


def data(shape, seed=0, dtype="float64", decay=0.6):
    x = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    if dtype.startswith("complex"):
        x = x + 1j * np.random.default_rng(seed + 1).standard_normal(shape).astype(dtype)
    for axis, size in enumerate(shape):
        profile = (decay ** np.arange(size)).astype(dtype)
        x = x * profile.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    return x


def distance(a, b):
    return np.linalg.norm(a.to_dense() - b.to_dense()) / np.linalg.norm(b.to_dense())


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("options", [{"tol": 1e-2}, {"ranks": 4}])
def test_the_result_is_that_in_memory(form, options, dtype):
    x = data((24, 20, 28, 26), dtype=dtype)
    source = Lazy(x)
    out = tnet.decompose(source, form, memory=x.nbytes // 2, method=Method.GRAM, **options)
    plain = tnet.decompose(x, form, method=Method.GRAM, **options)
    assert dict(out.ranks) == dict(plain.ranks)
    assert out.dtype == dtype
    unit = 1e-10 if dtype != "float32" else 1e-5
    assert distance(out, plain) <= unit
    assert abs(out.error - plain.error) <= unit
    assert abs(np.linalg.norm(out.to_dense() - x) / np.linalg.norm(x) - out.error) <= unit
    # one pass for each factorisation until what is left fits, and one to gather it
    assert source.read <= (len(out.ranks) + 1) * x.size
    assert source.largest <= x.nbytes // 8 + 64


@given(trees(max_nodes=5, max_size=5), seeds, st.sampled_from([1e-1, 1e-3]))
def test_any_tree_in_slabs(structure, seed, tol):
    x = data(structure.shape, seed)
    wide = structure.resized(dict.fromkeys(structure.bonds, 10**6))
    found = [tnet.decompose(Lazy(x), wide, tol=tol, memory=2 * x.nbytes + 20_000)]
    with contextlib.suppress(MemoryBudgetError):  # where ranks are nearly full, nothing shrinks
        found.append(tnet.decompose(Lazy(x), wide, tol=tol, memory=max(2 * x.nbytes, 500)))
    for net in found:
        assert np.linalg.norm(net.to_dense() - x) <= tol * np.linalg.norm(x)
        assert net.certificate.bound <= tol


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_memory_map_is_read_in_slabs_within_the_budget(tmp_path, order):
    shape, budget = (64, 48, 60, 40), 16 * MIB
    rng = np.random.default_rng(0)
    core = data((4, 4, 4, 4), decay=0.8)
    factors = [np.linalg.qr(rng.standard_normal((n, 4)))[0] for n in shape]
    x = np.einsum("abcd,ia,jb,kc,ld->ijkl", core, *factors, optimize=True)
    x += 1e-3 * np.linalg.norm(x) / np.sqrt(x.size) * rng.standard_normal(shape)
    path = tmp_path / "x.npy"
    np.save(path, np.asarray(x, order=order))
    mapped = np.load(path, mmap_mode="r")
    assert x.nbytes > 3 * budget
    tracemalloc.start()
    net = tnet.decompose(mapped, tnet.tucker, ranks=4, memory=budget)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= budget
    plain = tnet.decompose(x, tnet.tucker, ranks=4, method=Method.GRAM)
    assert distance(net, plain) <= 1e-10
    assert abs(net.error - plain.error) <= 1e-10
    assert set(net.certificate.methods.values()) <= {"gram", "gram (single)"}


def test_small_tolerances_take_the_blocked_qr():
    x = data((14, 15, 16, 12), decay=0.1)
    net = tnet.decompose(Lazy(x), tnet.tucker, tol=1e-9, memory=x.nbytes)
    assert np.linalg.norm(net.to_dense() - x) <= 1e-9 * np.linalg.norm(x)
    assert net.certificate.bound <= 1e-9
    assert "qr+svd" in net.certificate.methods.values()


def test_the_randomised_method_in_slabs():
    x = data((60, 50, 40), decay=0.5)
    rng = np.random.default_rng(0)
    net = tnet.decompose(
        Lazy(x), tnet.tucker, ranks=6, method=Method.RANDOMIZED, rng=rng, memory=x.nbytes
    )
    error = np.linalg.norm(net.to_dense() - x) / np.linalg.norm(x)
    assert "randomized" in net.certificate.methods.values()
    assert error <= net.certificate.bound
    assert abs(error - tnet.decompose(x, tnet.tucker, ranks=6).error) <= 1e-3 * error


def test_a_parameter_budget_in_slabs():
    x = data((24, 20, 28, 26))
    net = tnet.decompose(Lazy(x), tnet.tensor_train, max_params=600, memory=x.nbytes)
    assert net.num_params <= 600
    error = np.linalg.norm(net.to_dense() - x) / np.linalg.norm(x)
    assert error <= net.certificate.bound


def test_whole_chunks_are_read():
    x = data((30, 32, 28), decay=0.4)
    source = Lazy(x, chunks=(5, 8, 7))
    tnet.decompose(source, tnet.tucker, tol=1e-2, memory=x.nbytes)
    assert source.read <= 4 * x.size


def test_datasets_of_h5py_and_small_sources(tmp_path):
    h5py = pytest.importorskip("h5py")
    x = data((20, 22, 24))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=x, chunks=(5, 22, 24))
    with h5py.File(tmp_path / "x.h5") as file:
        for memory in (x.nbytes, None):
            net = tnet.decompose(file["x"], tnet.tucker, tol=1e-2, memory=memory)
            assert np.linalg.norm(net.to_dense() - x) <= 1e-2 * np.linalg.norm(x)


def test_a_small_memory_map_becomes_plain_arrays(tmp_path):
    np.save(tmp_path / "x.npy", data((5, 6, 7)))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for structure in (
        tnet.tucker,
        tnet.Structure({"a": ("x", "y", "z")}, {"x": 5, "y": 6, "z": 7}),
    ):
        net = tnet.decompose(mapped, structure, tol=1e-2)
        assert all(type(array) is np.ndarray for array in net.arrays.values())
        assert all(not np.shares_memory(array, mapped) for array in net.arrays.values())


def test_too_little_memory_is_said_before_anything_is_read():
    source = Lazy(data((30, 31, 32)))
    with pytest.raises(MemoryBudgetError, match=r"memory.*allows 1,000"):
        tnet.decompose(source, tnet.tucker, tol=0.1, memory=1000)
    assert source.read == 0


def test_bad_numbers_are_found_and_named():
    x = data((20, 22, 24))
    x[3, 20, 5] = np.nan
    for options in ({"tol": 0.1}, {"tol": 1e-9}, {"ranks": 3}):
        with pytest.raises(NonFiniteError, match=r"1 NaN.*\(3, 20, 5\)"):
            tnet.decompose(Lazy(x), tnet.tucker, memory=x.nbytes, **options)
    with pytest.raises(DTypeError):
        tnet.decompose(Lazy(x.astype("M8[s]")), tnet.tucker, memory=x.nbytes)
    whole = np.random.default_rng(0).integers(0, 9, (20, 22, 24))
    with pytest.warns(UserWarning, match="float64"):
        net = tnet.decompose(Lazy(whole), tnet.tucker, ranks=2, memory=whole.nbytes)
    assert net.dtype == "float64"
    error = np.linalg.norm(net.to_dense() - whole) / np.linalg.norm(whole)
    assert np.isclose(error, net.error)
