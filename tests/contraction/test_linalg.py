"""The factorisations are right, reproducible, refuse NaN, and do not give up."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contraction import linalg
from contraction.arrays import eps, namespace, namespace_name, random_normal, to, to_numpy
from contraction.errors import (
    ConvergenceError,
    DTypeError,
    InputError,
    NonFiniteError,
    PrecisionWarning,
    ShapeError,
)
from contraction.linalg import eigh, polar, qr, singular_values, solve_psd, svd
from contraction.svd_ladder import (
    LADDER,
    Rung,
    climb,
    direct,
    gram,
    on_host,
    one_sided,
    phases,
    triangular_first,
)
from contraction.triangular import gram_factor, r_factor
from strategies import NAMESPACES, seeds

KINDS = ["float32", "float64", "complex64", "complex128"]


@st.composite
def matrices(draw, square=False, kinds=tuple(KINDS)):
    """A matrix of any namespace and dtype: full rank, deficient, graded, zero, huge or tiny."""
    m = draw(st.integers(1, 12))
    n = m if square else draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(seeds))
    kind = draw(st.sampled_from(kinds))
    x = random_normal(rng, (m, n), dtype=kind)
    special = draw(st.sampled_from(["plain", "deficient", "graded", "zero", "huge", "tiny"]))
    if special == "deficient":
        x = np.ascontiguousarray(x[:, :1] @ x[:1, :])
    elif special == "graded":
        x = x * (10.0 ** -np.arange(n)).astype(x.real.dtype)
    elif special == "zero":
        x = np.zeros_like(x)
    elif special in ("huge", "tiny"):
        power = 36 if kind in ("float32", "complex64") else 300
        x = x * x.real.dtype.type(10.0 ** (power if special == "huge" else -power))
    return to(x, namespace=draw(st.sampled_from(NAMESPACES)))


def host(x):
    """The array in twice the precision, at moderate size, and the factor taken out."""
    return to_numpy(x).astype(np.complex128)


def close(a, b, unit, scale):
    # divided first: the squares of huge entries overflow
    scale = max(float(np.abs(scale).max(initial=0.0)), np.finfo(float).tiny)
    assert np.abs(a / scale - b / scale).max(initial=0.0) <= unit


@given(matrices())
def test_qr(x):
    Q, R = qr(x)
    m, n = x.shape
    k, unit = min(m, n), 50 * eps(x)
    assert Q.shape == (m, k)
    assert R.shape == (k, n)
    assert namespace_name(Q) == namespace_name(x)
    assert Q.dtype == x.dtype == R.dtype
    q, r = host(Q), host(R)
    close(q @ (r / 2), host(x) / 2, unit, host(x))
    close(q.conj().T @ q, np.eye(k), unit, 1.0)
    assert (np.tril(r, -1) == 0).all()
    diagonal = np.diag(r)
    assert (diagonal.real >= 0).all()
    assert (np.abs(diagonal.imag) <= unit * np.abs(diagonal)).all()


@given(matrices())
def test_svd(x):
    U, s, Vh = svd(x)
    m, n = x.shape
    k, unit = min(m, n), 50 * eps(x)
    assert (U.shape, s.shape, Vh.shape) == ((m, k), (k,), (k, n))
    u, values, vh, full = host(U), to_numpy(s).astype(float), host(Vh), host(x)
    size = max(float(np.abs(full).max()), np.finfo(float).tiny)
    close((u * (values / size)) @ vh, full / size, unit, 1.0)
    close(u.conj().T @ u, np.eye(k), unit, 1.0)
    close(vh @ vh.conj().T, np.eye(k), unit, 1.0)
    assert (np.diff(values) <= 0).all()
    assert values[-1] >= 0
    # the sign rule: the first entry near the largest of each column is real and positive
    for column in u.T:
        first = column[np.abs(column) >= (1 - 1e-3) * np.abs(column).max() * (1 - 10 * unit)][0]
        assert first.real > 0
        assert abs(first.imag) <= unit
    close(to_numpy(singular_values(x)), values, unit, values)


@given(matrices(kinds=("float64", "complex128")), st.sampled_from([np.asfortranarray, np.copy]))
def test_signs_do_not_depend_on_memory_order_or_scale(x, order):
    x = to_numpy(x)
    U, s, Vh = svd(x)
    gaps = np.diff(np.append(s, 0.0)) / max(s[0], 1e-300)
    if s[0] == 0 or np.abs(gaps[: len(s) - 1]).min(initial=1.0) < 1e-6 or s[-1] < 1e-6 * s[0]:
        return  # a degenerate subspace has no unique basis
    U2, _, Vh2 = svd(order(x) * 0.125)
    assert np.abs(U - U2).max() < 1e-6
    assert np.abs(Vh - Vh2).max() < 1e-6


def test_signs_are_stable_against_ties():
    # both entries of the column have the same modulus: an argmax would follow the rounding
    base = np.array([[1.0, 1.0], [1.0, -1.0]])
    for k in range(50):
        nudge = np.random.default_rng(k).standard_normal((2, 2)) * 1e-14
        U, _, _ = svd(np.diag([1.0, 1.0]) @ base @ np.diag([2.0, 1.0]) + nudge)
        assert (U[0] > 0).all()


# ---- the ladder ------------------------------------------------------------------------------


def failing(error):
    def run(x, xp):
        raise error

    return Rung(name="broken", run=run)


def spoiled(how):
    """A driver that returns rubbish without a word."""

    def run(x, xp):
        U, s, Vh = (to_numpy(y).copy() for y in direct(x, xp))
        if how == "nan":
            Vh[-1, -1] = np.nan
        elif how == "wrong value":
            s[0] *= 1.0 + 1e-6
        elif how == "negative":
            s[-1] *= -1.0
            U[:, -1] *= -1.0
        elif how == "unsorted":
            U, s, Vh = U[:, ::-1], s[::-1], Vh[::-1]
        elif how == "not orthonormal":
            U, s = U * 2.0, s / 2.0
        return tuple(to(np.ascontiguousarray(y), namespace=namespace_name(x)) for y in (U, s, Vh))

    return Rung(name="spoiled", run=run)


def lapack_errors():
    found = [np.linalg.LinAlgError("SVD did not converge"), ValueError("dgesdd info=3")]
    try:
        import torch
    except ImportError:
        return found
    return [*found, torch.linalg.LinAlgError("linalg.svd: ill-conditioned")]


@pytest.mark.parametrize("library", NAMESPACES)
@pytest.mark.parametrize("rung", LADDER, ids=lambda rung: rung.name)
@pytest.mark.parametrize("shape", [(9, 4), (4, 9), (6, 6)])
@pytest.mark.parametrize("kind", ["float64", "complex64"])
def test_every_rung_alone_gives_the_decomposition(library, rung, shape, kind):
    x = to(random_normal(np.random.default_rng(5), shape, dtype=kind), namespace=library)
    want = climb(x)
    context = pytest.warns(PrecisionWarning) if rung.reduced else warnings.catch_warnings()
    with context:
        found = climb(x, ladder=(rung,))
    assert found.rung == rung.name
    unit = 100 * math.sqrt(eps(x)) if rung.reduced else 100 * eps(x)
    for a, b in ((found.U, want.U), (found.s, want.s), (found.Vh, want.Vh)):
        assert a.dtype == b.dtype
        assert namespace_name(a) == library
        assert np.abs(to_numpy(a) - to_numpy(b)).max() < unit


@pytest.mark.parametrize("error", lapack_errors(), ids=lambda error: type(error).__name__)
def test_a_driver_that_raises_is_passed_over(error):
    x = random_normal(np.random.default_rng(0), (5, 3))
    found = climb(x, ladder=(failing(error), *LADDER))
    assert found.rung == "direct"
    assert type(error).__name__ in found.failures["broken"]
    assert np.allclose((found.U * found.s) @ found.Vh, x)


@pytest.mark.parametrize("library", NAMESPACES)
@pytest.mark.parametrize("how", ["nan", "wrong value", "negative", "unsorted", "not orthonormal"])
def test_a_driver_that_returns_rubbish_is_found_out(how, library):
    x = to(random_normal(np.random.default_rng(0), (5, 3)), namespace=library)
    found = climb(x, ladder=(spoiled(how), Rung(name="gesvd", run=one_sided)))
    assert found.rung == "gesvd"
    assert "spoiled" in found.failures
    U, s, Vh = (to_numpy(y) for y in (found.U, found.s, found.Vh))
    assert np.allclose((U * s) @ Vh, to_numpy(x))


def test_the_ladder_ends_in_an_error_that_tells_the_story():
    x = random_normal(np.random.default_rng(0), (5, 3))
    ladder = (failing(np.linalg.LinAlgError("no")), spoiled("nan"))
    with pytest.raises(ConvergenceError, match=r"broken: LinAlgError: no; spoiled: probe residual"):
        climb(x, ladder=ladder)


def test_programming_errors_are_not_swallowed():
    with pytest.raises(TypeError):
        climb(np.eye(2), ladder=(failing(TypeError("bug")),))


def test_the_standard_ladder_has_the_drivers_in_order():
    runs = [rung.run for rung in LADDER]
    assert runs == [direct, one_sided, triangular_first, on_host, gram]
    assert [rung.reduced for rung in LADDER] == [False] * 4 + [True]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("library", NAMESPACES)
@pytest.mark.parametrize("function", [qr, svd, singular_values, eigh, polar, r_factor, gram_factor])
def test_non_finite_entries_are_refused_at_once(function, library, bad):
    x = np.ones((4, 4))
    x[1, 2] = bad
    with pytest.raises(NonFiniteError, match=r"index \(1, 2\)"):
        function(to(x, namespace=library))


def test_extreme_values():
    with pytest.raises(InputError, match="beyond the range"):
        svd(np.full((40, 40), 1e308))
    with pytest.raises(InputError, match="beyond the range"):
        qr(np.full((40, 40), 1e308))
    s = singular_values(np.full((2, 2), 1e-320))
    assert s[0] == pytest.approx(2e-320, rel=1e-3)
    hilbert = 1.0 / (np.arange(12)[:, None] + np.arange(12) + 1.0)
    U, s, Vh = svd(hilbert)
    assert np.abs((U * s) @ Vh - hilbert).max() < 1e-15
    graded = np.diag(10.0 ** -np.arange(0.0, 301.0, 50.0))
    assert np.allclose(svd(graded)[1][:1], 1.0)


def test_shapes_are_checked():
    with pytest.raises(ShapeError, match="matrix"):
        svd(np.ones(3))
    with pytest.raises(ShapeError, match="matrix"):
        qr(np.ones(3))
    with pytest.raises(ShapeError, match="square"):
        eigh(np.ones((2, 3)))
    with pytest.raises(ShapeError, match="does not fit"):
        solve_psd(np.eye(2), np.ones(3))


@pytest.mark.parametrize("library", NAMESPACES)
@pytest.mark.parametrize("function", [qr, svd, singular_values, eigh, polar, r_factor, gram_factor])
def test_what_is_no_matrix_of_floats_is_refused(function, library):
    with pytest.raises(ShapeError, match="no entries"):
        function(to(np.zeros((0, 0)), namespace=library))
    with pytest.raises(DTypeError, match="int64"):
        function(to(np.eye(2), namespace=library, dtype="int64"))


@pytest.mark.parametrize("library", NAMESPACES)
def test_complex_entries_whose_parts_add_up_to_infinity(library):
    x = to(np.array([[1.2e308 + 1.2e308j, 0.0], [0.0, 1.0]]), namespace=library)
    assert to_numpy(svd(x)[1]).tolist() == pytest.approx([1.2e308 * math.sqrt(2.0), 1.0])
    assert to_numpy(qr(x)[1])[0, 0] == pytest.approx(1.2e308 * math.sqrt(2.0))
    with pytest.raises(NonFiniteError, match=r"index \(0, 1\)"):
        svd(to(np.array([[1.0, complex(0.0, math.nan)]]), namespace=library))


@pytest.mark.parametrize("library", NAMESPACES)
@pytest.mark.parametrize("kind", ["complex64", "complex128"])
def test_phases_of_subnormal_numbers(library, kind):
    tiny = float(np.finfo(kind).smallest_subnormal)
    values = to(np.array([1j * tiny, -tiny, 1.0, 0.0, -1j], dtype=kind), namespace=library)
    found = to_numpy(phases(values, namespace(values)))
    assert found.tolist() == [1j, -1, 1, 1, -1j]


@pytest.mark.parametrize("library", NAMESPACES)
@pytest.mark.parametrize("size", [1e300, 1e155, 1e-155, 1e-161, 1e-200, 1e-300])
def test_the_gram_matrix_of_huge_and_tiny_entries(library, size):
    R = to_numpy(gram_factor(to(np.array([[3.0], [4.0]]) * size, namespace=library)))
    assert R[0, 0] == pytest.approx(5.0 * size, rel=1e-12)


@pytest.mark.parametrize("library", NAMESPACES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(20, 7), (20, 20), (8, 17), (2, 20, 9)])
def test_qr_of_equal_columns(library, kind, shape):
    # what is left of the columns falls to subnormal numbers; a driver may then return NaN
    x = np.ones(shape, dtype=kind)
    Q, R = (to_numpy(y) for y in qr(to(x, namespace=library)))
    assert np.abs(Q @ R - x).max() <= 100 * eps(kind)
    gram_matrix = np.swapaxes(Q.conj(), -1, -2) @ Q
    assert np.abs(gram_matrix - np.eye(Q.shape[-1])).max() <= 100 * eps(kind)
    if len(shape) == 2:
        R = to_numpy(r_factor(to(x, namespace=library)))
        assert np.abs(R.conj().T @ R - shape[0]).max() <= 1000 * eps(kind)


def test_qr_asks_again_with_a_rounding_error(monkeypatch):
    drivers = linalg.namespace(np.ones(1)).linalg
    true, seen = drivers.qr, []

    def spoiled_once(x, **options):
        seen.append(x)
        Q, R = true(x, **options)
        return (Q, R) if len(seen) == 2 else (Q * math.nan, R)

    monkeypatch.setattr(drivers, "qr", spoiled_once)
    x = np.random.default_rng(0).standard_normal((5, 3))
    Q, R = qr(x)
    assert 0 < np.abs(seen[1] - x).max() <= 8.0 * eps(x) * np.abs(x).max()
    assert np.abs(Q @ R - x).max() <= 1e-14
    with pytest.raises(ConvergenceError, match="returns NaN"):
        qr(x)


@pytest.mark.parametrize("library", NAMESPACES)
def test_qr_of_a_batch(library):
    x = to(random_normal(np.random.default_rng(0), (3, 2, 5, 4)), namespace=library)
    Q, R = qr(x)
    q, r = to_numpy(Q), to_numpy(R)
    assert np.allclose(q @ r, to_numpy(x))
    assert (np.diagonal(r, axis1=-2, axis2=-1) > 0).all()


@pytest.mark.parametrize("kind", ["float64", "complex128"])
def test_qr_is_differentiable(kind):
    torch = pytest.importorskip("torch")
    x = to(random_normal(np.random.default_rng(0), (5, 3), dtype=kind), namespace="torch")
    x.requires_grad_()

    def gauge_free(y):
        Q, R = qr(y)
        return (Q @ Q.conj().T).abs().sum() + (R.conj().T @ R).abs().sum()

    assert torch.autograd.gradcheck(gauge_free, (x,))
    if kind == "float64":
        assert torch.autograd.gradcheck(qr, (x,))


# ---- eigenvalues, polar factors, solves ----------------------------------------------------


@given(matrices(square=True))
def test_eigh(x):
    A = host(x)
    size = max(float(np.abs(A).max()), np.finfo(float).tiny)
    A = A / size + (A / size).conj().T
    if not to_numpy(x).dtype.kind == "c":
        A = A.real
    given_ = to(A.astype(to_numpy(x).dtype), namespace=namespace_name(x))
    w, V = eigh(given_)
    values, v, unit = to_numpy(w).astype(float), host(V), 100 * eps(x)
    scale = max(np.abs(values).max(), 1e-30)
    assert (np.diff(values) <= 0).all()
    assert np.abs(host(given_) @ v - v * values).max() <= unit * scale
    assert np.abs(v.conj().T @ v - np.eye(len(values))).max() <= unit


@given(matrices(kinds=("float64", "complex128")))
def test_polar(x):
    full = host(x)
    if np.abs(full).max() > 1e100 or 0 < np.abs(full).max() < 1e-100:
        return
    W, H = (host(y) for y in polar(x))
    scale = max(np.abs(full).max(), 1e-30)
    assert np.abs(W @ H - full).max() <= 1e-13 * scale
    assert np.abs(H - H.conj().T).max() <= 1e-13 * scale
    assert np.linalg.eigvalsh(H).min() >= -1e-13 * scale
    if x.shape[0] >= x.shape[1]:
        assert np.abs(W.conj().T @ W - np.eye(x.shape[1])).max() <= 1e-13


@pytest.mark.parametrize("library", NAMESPACES)
@pytest.mark.parametrize("kind", KINDS)
def test_solve_psd(library, kind):
    rng = np.random.default_rng(1)
    M = random_normal(rng, (6, 6), dtype=kind)
    A, B = M @ M.conj().T, random_normal(rng, (6, 3), dtype=kind)
    put = [to(y, namespace=library) for y in (A, B)]
    X = to_numpy(solve_psd(*put))
    unit = 1e3 * eps(kind) * np.linalg.cond(A.astype(np.complex128))
    assert np.abs(X - np.linalg.solve(A, B)).max() <= unit
    vector = solve_psd(put[0], put[1][:, 0])
    assert np.abs(to_numpy(vector) - X[:, 0]).max() <= unit
    shifted = to_numpy(solve_psd(*put, ridge=0.5))
    direct_ = np.linalg.solve(A + 0.5 * np.trace(A).real / 6 * np.eye(6, dtype=kind), B)
    assert np.abs(shifted - direct_).max() <= 1e3 * eps(kind)


@pytest.mark.parametrize("library", NAMESPACES)
def test_solve_psd_of_a_singular_matrix_is_least_squares_of_least_norm(library):
    rng = np.random.default_rng(2)
    M = rng.standard_normal((6, 3))
    A, B = M @ M.T, rng.standard_normal((6, 2))
    X = to_numpy(solve_psd(to(A, namespace=library), to(B, namespace=library)))
    assert np.allclose(X, np.linalg.pinv(A) @ B, atol=1e-10)
    zero = solve_psd(to(np.zeros((2, 2)), namespace=library), to(np.ones(2), namespace=library))
    assert (to_numpy(zero) == 0).all()
    scaled = to_numpy(solve_psd(to(A * 2.0**-700, namespace=library), to(B, namespace=library)))
    assert np.allclose(scaled * 2.0**-700, X, atol=1e-10)
    for ridge in (-1.0, math.nan):
        with pytest.raises(InputError, match="ridge"):
            solve_psd(A, B, ridge=ridge)


@pytest.mark.parametrize("library", NAMESPACES)
def test_solve_psd_at_the_ends_of_the_range(library):
    def solve(A, B):
        return to_numpy(solve_psd(*(to(np.asarray(y), namespace=library) for y in (A, B))))

    tiny = 1e-300 * np.eye(2)
    assert solve(tiny, np.array([1e-100, 2e-320])).tolist() == pytest.approx([1e200, 2e-20], 1e-3)
    assert np.allclose(solve(tiny * 1e-20, 1e-320 * np.eye(2)), np.eye(2), rtol=1e-15)
    with pytest.raises(InputError, match="beyond the range"):
        solve(tiny, np.array([1e100, 0.0]))


def test_solve_psd_refuses_what_does_not_fit():
    with pytest.raises(DTypeError, match="float64 and complex128"):
        solve_psd(np.eye(2), np.array([1j, 2.0]))
    with pytest.raises(DTypeError, match="float32 and float64"):
        solve_psd(np.eye(2, dtype=np.float32), np.ones(2))
    for shape in ((), (2, 3, 4)):
        with pytest.raises(ShapeError, match="does not fit"):
            solve_psd(np.eye(2), np.ones(shape))
    with pytest.raises(ShapeError, match="no entries"):
        solve_psd(np.eye(2), np.ones((2, 0)))


# ---- triangular factors and leading eigenvectors -------------------------------------------


@given(matrices(kinds=("float64", "complex128")))
def test_triangular_factors(x):
    full = host(x)
    size = np.abs(full).max()
    if size > 1e100 or 0 < size < 1e-100:
        return
    gram_matrix = full.conj().T @ full
    scale = max(np.abs(gram_matrix).max(), 1e-30)
    for factor in (r_factor, gram_factor):
        R = host(factor(x))
        assert np.abs(R.conj().T @ R - gram_matrix).max() <= 1e-12 * scale
