"""PyTorch's LAPACK for NumPy matrices: where the profile says so, by size, and equally right."""

import importlib.util
import sys

import numpy as np
import pytest

from contraction import linalg, machine, svd_ladder, torch_lapack
from contraction.arrays import eps, random_normal
from contraction.cost import CPU, forget_models
from contraction.errors import NonFiniteError
from contraction.gram import triangle
from contraction.machine import Profile, QrLibrary, Quality, TallQr
from contraction.triangular import r_factor

KINDS = ["float32", "float64", "complex64", "complex128"]
torch = pytest.importorskip("torch")


def store(kind: str, qr_ratio: float, svd_ratio: float) -> None:
    """Write a profile of this machine that says how PyTorch compares."""
    faster = QrLibrary.TORCH if qr_ratio > 1.0 else QrLibrary.SCIPY
    profile = Profile(
        key=machine.resolved_key("numpy", device="cpu", dtype=kind, threads=None),
        model=CPU,
        quality=Quality(median=1.1, ninth=1.4, rank_correlation=0.98, steps=400),
        tall_qr=TallQr(library=faster, qr_ratio=qr_ratio, svd_ratio=svd_ratio),
    )
    machine.store_profile(profile)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TNET_CACHE", str(tmp_path))
    monkeypatch.setattr(torch_lapack, "WORTH", 100.0)
    yield tmp_path
    forget_models()


@pytest.fixture
def calls(monkeypatch):
    """The names of the drivers of PyTorch that are called, in order."""
    found = []
    for name in ("qr", "svd"):
        true = getattr(torch.linalg, name)

        def spy(*args, true=true, name=name, **options):
            found.append(name)
            return true(*args, **options)

        monkeypatch.setattr(torch.linalg, name, spy)
    return found


def test_without_a_profile_nothing_is_lent(calls):
    x = random_normal(np.random.default_rng(0), (60, 5))
    linalg.qr(x), linalg.svd(x), r_factor(x)
    assert calls == []


@pytest.mark.parametrize(
    ("ratios", "wanted"),
    [((1.5, 2.0), ["qr", "qr", "svd"]), ((1.5, 1.1), ["qr", "qr"]), ((1.1, 2.0), ["svd"])],
)
def test_the_profile_decides(calls, ratios, wanted):
    store("float64", *ratios)
    x = random_normal(np.random.default_rng(0), (60, 5))
    linalg.qr(x), r_factor(x), linalg.svd(x)
    assert calls == wanted
    linalg.qr(x.astype("float32"))  # of which the profile says nothing
    assert calls == wanted


def test_the_size_decides(calls, monkeypatch):
    store("float64", 2.0, 2.0)
    rng = np.random.default_rng(0)
    small, square, tall = (rng.standard_normal(shape) for shape in ((8, 2), (20, 20), (10, 5)))
    linalg.qr(small), linalg.qr(square), linalg.qr(tall.T), linalg.svd(square)
    assert calls == []
    linalg.qr(tall)
    assert calls == ["qr"]
    monkeypatch.setattr(torch_lapack, "is_loaded", lambda: False)
    linalg.qr(tall)
    assert calls == ["qr"]
    monkeypatch.setattr(torch_lapack, "WORTH_IMPORTING", 500.0)
    linalg.qr(tall)
    assert calls == ["qr", "qr"]
    monkeypatch.setattr(torch_lapack, "is_installed", lambda: False)
    linalg.qr(tall)
    assert calls == ["qr", "qr"]


def test_small_matrices_do_not_look_for_a_profile(monkeypatch):
    def fail(*args, **options):
        raise AssertionError("a profile was looked for")

    monkeypatch.setattr(torch_lapack, "WORTH", 2.0**24)
    monkeypatch.setattr(machine, "measured_tall_qr", fail)
    linalg.qr(np.ones((100, 10)))
    with pytest.raises(AssertionError, match="looked for"):
        torch_lapack.lends_qr(np.ones((2**15, 16)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", ["plain", "fortran", "steps", "reversed", "frozen", "unaligned"])
def test_factors_are_the_same_to_rounding(calls, kind, layout):
    x = random_normal(np.random.default_rng(0), (80, 6), dtype=kind)
    if layout == "fortran":
        x = np.asfortranarray(x)
    elif layout == "steps":
        x = np.repeat(x, 3, axis=1)[:, ::3]
    elif layout == "reversed":
        x = x[::-1, ::-1]
    elif layout == "frozen":
        x.flags.writeable = False
    elif layout == "unaligned":
        record = np.zeros(x.shape, dtype=[("pad", "i1"), ("x", kind)])
        record["x"] = x
        x = record["x"]
    before = x.copy()
    Q, R = linalg.qr(x)
    triangular = r_factor(x)
    wide = linalg.svd(x.T)
    tall = linalg.svd(x)
    store(kind, 2.0, 2.0)
    unit = 200 * eps(kind)
    found = linalg.qr(x)
    assert calls == ["qr"]
    for ours, theirs in zip(found, (Q, R), strict=True):
        assert type(ours) is np.ndarray
        assert ours.dtype == x.dtype
        assert ours.flags.c_contiguous
        np.testing.assert_allclose(ours, theirs, atol=unit * 10)
    alone = r_factor(x)
    np.testing.assert_allclose(
        alone.conj().T @ alone, triangular.conj().T @ triangular, atol=unit * 100
    )
    for matrix, old in ((x, tall), (x.T, wide)):
        new = linalg.svd(matrix)
        for ours, theirs in zip(new, old, strict=True):
            assert ours.dtype == theirs.dtype
            np.testing.assert_allclose(ours, theirs, atol=unit * 10)
    assert calls == ["qr", "qr", "svd", "svd"]
    np.testing.assert_array_equal(x, before)


def test_a_triangle_in_blocks(calls):
    x = np.random.default_rng(0).standard_normal((9, 6, 40))
    store("float64", 2.0, 2.0)
    R = triangle([x[:4], x[4:]])
    M = x.transpose(1, 0, 2).reshape(6, -1)
    np.testing.assert_allclose(R.T @ R, M @ M.T)
    assert set(calls) == {"qr"}


def test_blocks_import_for_their_sum(monkeypatch):
    imported = []
    monkeypatch.setattr(torch_lapack, "is_loaded", lambda: False)
    monkeypatch.setattr(torch_lapack, "WORTH_IMPORTING", 2.0 * 360 * 36)
    monkeypatch.setattr(torch_lapack.importlib, "import_module", imported.append)
    x = np.random.default_rng(0).standard_normal((9, 6, 40))
    triangle([x])
    assert imported == []
    store("float64", 2.0, 2.0)
    triangle([x[:8]])
    assert imported == []
    triangle([x])
    assert imported == ["torch"]


def test_nan_of_the_driver_is_seen(monkeypatch):
    store("float64", 2.0, 2.0)
    x = random_normal(np.random.default_rng(0), (60, 5))
    spoiled = torch.full((60, 5), torch.nan, dtype=torch.float64)
    monkeypatch.setattr(torch.linalg, "qr", lambda y, mode="": (spoiled, spoiled[:5]))
    monkeypatch.setattr(
        torch.linalg, "svd", lambda y, full_matrices: (spoiled, spoiled[0, :5], spoiled[:5])
    )
    Q, R = linalg.qr(x)
    np.testing.assert_allclose(Q @ R, x)
    alone = r_factor(x)
    np.testing.assert_allclose(alone.T @ alone, x.T @ x)
    found = svd_ladder.climb(x)
    assert found.rung == "direct"
    assert list(found.failures) == ["torch"]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(wrong):
    store("float64", 2.0, 2.0)
    x = np.ones((60, 5))
    x[3, 2] = wrong
    for factorise in (linalg.qr, linalg.svd, r_factor):
        with pytest.raises(NonFiniteError):
            factorise(x)


def test_singular_matrices_and_extreme_sizes():
    store("float64", 2.0, 2.0)
    store("complex64", 2.0, 2.0)
    for x in (
        np.ones((80, 6)),
        np.zeros((80, 6)),
        np.full((80, 6), 1e300),
        np.ones((80, 6), np.complex64),
    ):
        Q, R = linalg.qr(x)
        size = np.abs(x).max() or 1.0
        assert np.abs(Q @ (R / size) - x / size).max() <= 100 * eps(x)
        assert np.abs(Q.conj().T @ Q - np.eye(6)).max() <= 100 * eps(x)


def test_loaded_and_installed():
    assert torch_lapack.is_loaded() == ("torch" in sys.modules)
    assert torch_lapack.is_installed() == (importlib.util.find_spec("torch") is not None)
