"""The truncated factorisation: every method against the dense SVD, and an honest weight."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contraction import Method, Truncation, left_basis, truncated_svd
from contraction.arrays import eps, random_normal, to, to_numpy
from contraction.basis import Unfolding
from contraction.errors import InputError, NonFiniteError, ShapeError
from contraction.gram import (
    gram,
    gram_single,
    power,
    project,
    residual,
    sketch,
    squared_norm,
    triangle,
)
from strategies import NAMESPACES, seeds

KINDS = ["float32", "float64", "complex64", "complex128"]
shapes = st.tuples(st.integers(1, 6), st.integers(1, 40), st.integers(1, 6))


def array(seed, shape, kind="float64", decay=0.6, namespace="numpy"):
    """Entries under a profile along the middle axis: a decaying spectrum."""
    x = random_normal(np.random.default_rng(seed), shape, dtype=kind)
    profile = (decay ** np.arange(shape[1])).astype(kind).reshape(1, -1, 1)
    return to(x * profile, namespace=namespace)


def matrix(x):
    """The unfolding, in double precision."""
    wide = to_numpy(x).astype(np.complex128)
    return np.moveaxis(wide, 1, 0).reshape(x.shape[1], -1)


def missed(U, x):
    M, U = matrix(x), to_numpy(U).astype(np.complex128)
    return np.linalg.norm(M - U @ (U.conj().T @ M))


@given(shapes, seeds, st.sampled_from(KINDS), st.sampled_from(NAMESPACES))
def test_the_building_blocks_see_the_unfolding(shape, seed, kind, namespace):
    x = array(seed, shape, kind, namespace=namespace)
    M, unit = matrix(x), 100 * eps(kind)
    G, R = to_numpy(gram([x])), to_numpy(triangle([x]))
    size = np.linalg.norm(M) ** 2
    np.testing.assert_allclose(G, M @ M.conj().T, atol=unit * size)
    np.testing.assert_allclose(R.conj().T @ R, M @ M.conj().T, atol=unit * size)
    assert abs(squared_norm([x]) - size) <= unit * size
    U = array(seed + 1, (1, shape[1], 3), kind, 1.0, namespace)[0]
    dense = to_numpy(U).astype(np.complex128)
    np.testing.assert_allclose(matrix(project(U, x)), dense.conj().T @ M, atol=unit * size)
    np.testing.assert_allclose(
        to_numpy(power([x], U)), M @ (M.conj().T @ dense), atol=10 * unit * size
    )
    Q = to(np.linalg.qr(to_numpy(U))[0], namespace=namespace)
    assert abs(residual([x], Q) - missed(Q, x) ** 2) <= unit * size
    assert sketch([x], 4, np.random.default_rng(0)).shape == (shape[1], 4)


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("shape", [(1, 30, 4000), (4000, 30, 1), (7, 30, 90), (400, 30, 5)])
def test_parts_and_memory_orders_do_not_matter(shape, axis):
    x = array(3, shape)
    parts = np.array_split(x, 3, axis=axis) if shape[axis] > 2 else [x]
    G = matrix(x) @ matrix(x).T
    np.testing.assert_allclose(gram(parts), G, atol=1e-12 * np.trace(G))
    np.testing.assert_allclose(gram([np.asfortranarray(x)]), G, atol=1e-12 * np.trace(G))
    R = triangle(parts)
    np.testing.assert_allclose(R.T @ R, G, atol=1e-12 * np.trace(G))
    for some in (parts, [np.asfortranarray(x)]):
        single, square = gram_single(some)
        assert single.dtype == np.float64
        np.testing.assert_allclose(single, G, atol=3e-7 * np.trace(G))
        assert square == pytest.approx(np.trace(G), rel=1e-14)


@given(
    shapes,
    seeds,
    st.sampled_from(KINDS),
    st.sampled_from(NAMESPACES),
    st.sampled_from([Method.AUTO, Method.GRAM, Method.QR_SVD, Method.SVD]),
    st.sampled_from([0.3, 1e-2, 1e-4]),
)
def test_a_tolerance_gives_the_smallest_rank_that_holds_it(
    shape, seed, kind, namespace, method, tol
):
    x = array(seed, shape, kind, namespace=namespace)
    basis = left_basis(x, Truncation(tol=tol), method=method)
    s = np.linalg.svd(matrix(x), compute_uv=False)
    tails = np.sqrt(np.append(np.cumsum((s**2)[::-1])[::-1], 0.0))
    rank = basis.U.shape[1]
    unit = 100 * eps(kind) * basis.norm
    assert missed(basis.U, x) <= tol * basis.norm + unit
    assert missed(basis.U, x) <= np.hypot(basis.discarded, basis.floor) + unit
    assert rank == 1 or tails[rank - 1] > tol * basis.norm * 0.999 - basis.floor - unit
    assert abs(basis.norm - np.linalg.norm(s)) <= unit
    U = to_numpy(basis.U)
    np.testing.assert_allclose(U.conj().T @ U, np.eye(rank), atol=100 * eps(kind))


@given(shapes, seeds, st.integers(1, 12), st.sampled_from(NAMESPACES))
def test_a_capped_rank_is_as_good_as_the_svd(shape, seed, cap, namespace):
    x = array(seed, shape, namespace=namespace)
    best = np.linalg.svd(matrix(x), compute_uv=False)[cap:]
    for method in (Method.AUTO, Method.GRAM, Method.QR_SVD):
        basis = left_basis(x, Truncation(max_rank=cap), method=method)
        assert basis.U.shape[1] <= cap
        assert missed(basis.U, x) <= np.linalg.norm(best) * (1 + 1e-6) + 1e-7 * basis.norm
        assert missed(basis.U, x) <= np.hypot(basis.discarded, basis.floor) + 1e-14 * basis.norm


@pytest.mark.parametrize("noise", [1e-3, 1e-7, 1e-9, 1e-12, 0.0])
def test_a_given_rank_uses_the_gram_matrix_only_above_its_rounding(noise):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 4)) @ rng.standard_normal((4, 500))
    x += noise * np.linalg.norm(x) / np.sqrt(x.size) * rng.standard_normal(x.shape)
    basis = left_basis(x[None], Truncation(max_rank=4))
    assert basis.method is (Method.GRAM if noise >= 1e-5 else Method.QR_SVD)
    true = missed(basis.U, x[None])
    assert abs(true - basis.discarded) <= 1e-3 * true + 1e-14 * basis.norm
    tight = left_basis(x[None], Truncation(tol=max(2 * noise, 1e-14)))
    assert tight.U.shape[1] == 4


def test_single_precision_products_find_the_same_basis():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((90, 6)) @ rng.standard_normal((6, 3000))
    x += 1e-2 * np.linalg.norm(x) / np.sqrt(x.size) * rng.standard_normal(x.shape)
    best = np.linalg.norm(np.linalg.svd(x, compute_uv=False)[6:])
    found = left_basis(x[None], Truncation(max_rank=6), method=Method.GRAM_SINGLE)
    assert found.U.dtype == np.float64
    assert missed(found.U, x[None]) <= best * (1 + 1e-6)
    assert abs(found.discarded - best) <= found.floor


@pytest.mark.parametrize("kind", ["float64", "complex128"])
@pytest.mark.parametrize("noise", [1e-2, 1e-9])
def test_the_randomised_basis_is_nearly_the_best_and_knows_its_weight(kind, noise):
    rng = np.random.default_rng(0)
    x = array(1, (1, 300, 10), kind, 1.0)[0] @ array(2, (1, 10, 400), kind, 1.0)[0]
    e = random_normal(rng, x.shape, dtype=kind)
    x = x + noise * np.linalg.norm(x) / np.linalg.norm(e) * e
    best = np.linalg.norm(np.linalg.svd(x, compute_uv=False)[10:])
    for truncation in (Truncation(max_rank=10), Truncation(tol=3 * noise)):
        found = left_basis(x.reshape(1, *x.shape), truncation, method=Method.RANDOMIZED, rng=rng)
        true = missed(found.U, x.reshape(1, *x.shape))
        assert found.method is Method.RANDOMIZED
        assert true <= 1.01 * best + 1e-14 * found.norm or truncation.tol >= true / found.norm
        assert abs(true - found.discarded) <= 1e-4 * true + 1e-13 * found.norm
        assert found.U.shape[1] <= 12
    with pytest.raises(InputError, match="rng"):
        left_basis(x.reshape(1, *x.shape), Truncation(tol=0.1), method=Method.RANDOMIZED)


def test_auto_takes_the_randomised_way_only_with_rng_and_a_small_rank():
    x = array(0, (1, 1200, 1100), decay=0.5)
    rng = np.random.default_rng(0)
    assert left_basis(x, Truncation(max_rank=5), rng=rng).method is Method.RANDOMIZED
    assert left_basis(x[:, :40], Truncation(max_rank=5), rng=rng).method is not Method.RANDOMIZED


@pytest.mark.parametrize("shift", [200, -200, -310, 0])
@pytest.mark.parametrize("method", [Method.AUTO, Method.QR_SVD, Method.SVD])
def test_the_scale_of_the_data_does_not_matter(shift, method):
    x = array(0, (2, 5, 6))
    plain = left_basis(x, Truncation(tol=0.05), method=method)
    scaled = left_basis(x * 10.0**shift, Truncation(tol=0.05), method=method)
    np.testing.assert_allclose(abs(scaled.U), abs(plain.U), atol=1e-10)
    if shift > -300:
        assert np.isclose(scaled.norm / 10.0**shift, plain.norm)
        assert np.isclose(scaled.discarded / 10.0**shift, plain.discarded)


@pytest.mark.parametrize("method", [Method.AUTO, Method.QR_SVD, Method.SVD])
def test_zero_and_bad_data(method):
    zero = left_basis(np.zeros((2, 5, 3)), Truncation(tol=0.1), method=method)
    assert zero.U.shape == (5, 1)
    assert np.isclose(np.linalg.norm(zero.U), 1.0)
    assert zero.discarded == zero.norm == 0.0
    for bad in (np.nan, np.inf, -np.inf):
        x = array(0, (2, 5, 3))
        x[1, 2, 0] = bad
        with pytest.raises(NonFiniteError):
            left_basis(x, Truncation(tol=0.1), method=method)
    with pytest.raises(ShapeError):
        left_basis(np.ones((2, 3)), Truncation(), method=method)


def test_an_unfolding_is_read_in_parts():
    x = array(0, (6, 9, 50))
    reads = []

    def read():
        for low in range(0, 50, 17):
            reads.append(low)
            yield x[:, :, low : low + 17]

    parts = Unfolding(read=read, rows=9, columns=300, like=x)
    for tol, passes in ((1e-2, 1), (1e-9, 1)):
        reads.clear()
        found, whole = (left_basis(y, Truncation(tol=tol)) for y in (parts, x))
        assert len(reads) == 3 * passes
        np.testing.assert_allclose(found.U @ found.U.T, whole.U @ whole.U.T, atol=1e-7)


@given(
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    seeds,
    st.sampled_from(KINDS),
    st.sampled_from(NAMESPACES),
    st.sampled_from(list(Method)),
)
def test_truncated_svd_agrees_with_the_dense_one(shape, seed, kind, namespace, method):
    x = array(seed, (1, *shape), kind, 0.5, namespace)[0]
    rng = np.random.default_rng(0)
    found = truncated_svd(x, Truncation(tol=1e-2), method=method, rng=rng)
    wide = to_numpy(x).astype(np.complex128)
    U, s, Vh = (to_numpy(y).astype(np.complex128) for y in (found.U, found.s, found.Vh))
    size, rank, unit = np.linalg.norm(wide), len(s), 200 * eps(kind)
    loss = np.linalg.norm(wide - (U * s) @ Vh)
    assert loss <= (1e-2 if method is not Method.GRAM_SINGLE else 1.1e-2) * size * (1 + unit)
    assert loss <= np.hypot(found.discarded, found.floor) + unit * size
    np.testing.assert_allclose(U.conj().T @ U, np.eye(rank), atol=unit)
    np.testing.assert_allclose(Vh @ Vh.conj().T, np.eye(rank), atol=unit)
    assert np.all(np.diff(s.real) <= unit * size)
    exact = np.linalg.svd(wide, compute_uv=False)[:rank]
    np.testing.assert_allclose(s.real, exact, atol=1e-3 * size)
