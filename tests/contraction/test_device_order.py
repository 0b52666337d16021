"""The order of factorisations on a GPU, and few waits for it, seen without one.

PyTorch tensors of the host are taken for those of a GPU by the functions that decide. What is
decided is tested here; that it runs on a device is for `test_gpu.py`.
"""

from __future__ import annotations

import numpy as np
import pytest

from contraction import Truncation, basis, factor, gram, linalg, svd_drivers, svd_ladder
from contraction.arrays import namespace_by_name, namespace_name, to, to_numpy
from contraction.basis import Method, left_basis
from contraction.factor import truncated_svd
from contraction.leading import leading_eigenpairs

torch = pytest.importorskip("torch")
from host_reads import ExplicitReads  # noqa: E402


def taken_for_gpu(x) -> bool:
    return namespace_name(x) == "torch"


@pytest.fixture(autouse=True)
def _pretend(monkeypatch):
    for module in (basis, factor, gram, svd_drivers):
        monkeypatch.setattr(module, "on_gpu", taken_for_gpu)


@pytest.fixture
def driven(monkeypatch):
    """(name, shape) of what the library's SVD and QR are called with."""
    found = []
    drivers = namespace_by_name("torch").linalg
    for name in ("svd", "qr", "eigh"):
        true = getattr(drivers, name)

        def spy(x, *args, true=true, name=name, **options):
            found.append((name, tuple(x.shape)))
            return true(x, *args, **options)

        monkeypatch.setattr(drivers, name, spy)
    return found


def tensor(*shape, kind="float64"):
    return to(np.random.default_rng(0).standard_normal(shape), namespace="torch", dtype=kind)


@pytest.mark.parametrize("kind", ["float64", "complex64"])
def test_small_matrices_go_to_the_host_in_one_transfer(driven, kind):
    x = tensor(40, 20, kind=kind)
    with ExplicitReads() as seen:
        U, s, Vh = linalg.svd(x)
    assert seen.found == ["numpy"]
    assert driven == []
    assert torch.allclose(U * s @ Vh, x, atol=1e-5)
    H = x.mH @ x
    with ExplicitReads() as seen:
        w, V = linalg.eigh(H)
    assert seen.found == ["numpy"]
    assert driven == []
    assert torch.allclose(H @ V, V * w, atol=1e-3)


def test_what_is_differentiated_stays(driven):
    x = tensor(6, 4).requires_grad_()
    s = linalg.svd(x)[1]
    s.sum().backward()
    assert x.grad is not None
    assert driven


def test_a_long_matrix_is_made_a_triangle_first(driven):
    for x in (tensor(300, 80), tensor(80, 300)):
        driven.clear()
        found = svd_ladder.climb(x)
        assert found.rung == "qr-first"
        assert driven == [("qr", (300, 80)), ("svd", (80, 80))]
        assert torch.allclose(found.U * found.s @ found.Vh, x)
    driven.clear()
    svd_ladder.climb(tensor(300, 20))
    assert driven == [("qr", (300, 20))]  # its triangle is small
    assert svd_ladder.climb(tensor(100, 80)).rung == "direct"


def test_the_order_of_the_drivers():
    names = [rung.name for rung in svd_drivers.ladder_for(tensor(100, 80))]
    assert names == ["direct", "qr-first", "gesvd", "host", "gram"]
    assert [rung.name for rung in svd_drivers.ladder_for(np.ones((100, 8)))] == [
        rung.name for rung in svd_drivers.LADDER
    ]


def test_truncation_by_the_gram_matrix(driven):
    x = tensor(900, 90)
    found = truncated_svd(x, Truncation(max_rank=70))
    assert found.method is Method.GRAM
    assert [(name, shape) for name, shape in driven if name != "eigh"] == [
        ("qr", (900, 70)),
        ("svd", (70, 70)),
    ]
    driven.clear()
    narrow = truncated_svd(tensor(900, 9), Truncation(tol=1e-3))
    assert narrow.method is Method.GRAM
    assert driven == [("qr", (900, 9))]


def test_truncation_by_a_triangle_where_the_tolerance_is_small(driven):
    found = truncated_svd(tensor(900, 90), Truncation(tol=1e-10))
    assert found.method is Method.QR_SVD
    assert all(shape == (90, 90) for name, shape in driven if name == "svd")


def test_sketches_are_for_large_sides():
    unfolded = basis.unfolding(tensor(1, 2000, 3))
    rng = np.random.default_rng(0)
    sides = basis.replace(unfolded, columns=2000)
    assert basis._choose(sides, Truncation(max_rank=4), None, None, rng) is Method.GRAM
    sides = basis.replace(unfolded, rows=5000, columns=5000)
    assert basis._choose(sides, Truncation(max_rank=4), None, None, rng) is Method.RANDOMIZED
    sides = basis.replace(sides, like=np.ones(1), rows=2000)
    assert basis._choose(sides, Truncation(max_rank=4), None, None, rng) is Method.RANDOMIZED


@pytest.mark.parametrize("kind", ["float64", "float32"])
def test_few_large_products_make_a_gram_matrix(kind):
    x = tensor(100, 40, 70, kind=kind)
    assert len(list(gram.matrices(x))) == 1
    assert len(list(gram.matrices(to_numpy(x)))) > 4
    M = to_numpy(x).astype(float).transpose(1, 0, 2).reshape(40, -1)
    np.testing.assert_allclose(to_numpy(gram.gram([x])), M @ M.T, rtol=1e-5)
    G, square = gram.gram_single([x])
    np.testing.assert_allclose(to_numpy(G), M @ M.T, rtol=1e-4, atol=1.0)
    assert square == pytest.approx(np.sum(M**2))
    with ExplicitReads() as seen:
        assert gram.squared_norm([x[:20], x[20:]]) == pytest.approx(np.sum(M**2))
    assert len(seen.found) == 1


def test_leading_eigenpairs_by_small_eigenproblems_on_the_host(driven):
    values = 2.0 ** -np.arange(100.0)
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((100, 100)))[0]
    H = to((Q * values) @ Q.T, namespace="torch")
    found = leading_eigenpairs(H, lambda w, t: 10, guess=10)
    assert found.solver.value == "subspace iteration"
    np.testing.assert_allclose(found.values, values[:10])
    assert "eigh" not in {name for name, _ in driven}
    shown = to_numpy(found.vectors)
    np.testing.assert_allclose(shown.T @ to_numpy(H) @ shown, np.diag(values[:10]), atol=1e-9)


def test_bases_are_those_of_the_host():
    x = tensor(7, 90, 50)
    for truncation in (Truncation(max_rank=20), Truncation(tol=1e-12)):
        ours, theirs = left_basis(x, truncation), left_basis(to_numpy(x), truncation)
        assert ours.method is theirs.method
        assert ours.discarded == pytest.approx(theirs.discarded, rel=1e-6, abs=1e-9)
        projector = to_numpy(ours.U @ ours.U.T)
        np.testing.assert_allclose(projector, theirs.U @ theirs.U.T, atol=1e-3)
