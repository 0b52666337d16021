"""Leading eigenpairs against complete eigendecompositions."""

import numpy as np
import pytest

from contraction import leading as module
from contraction.arrays import eps, random_normal, to, to_numpy
from contraction.errors import NonFiniteError
from contraction.leading import Solver, leading_eigenpairs
from strategies import NAMESPACES


def host(x):
    return to_numpy(x).astype(np.complex128)


def with_spectrum(values, kind="float64", library="numpy"):
    rng = np.random.default_rng(0)
    Q, _ = np.linalg.qr(random_normal(rng, (len(values), len(values)), dtype=kind))
    return to(((Q * values) @ Q.conj().T).astype(kind), namespace=library)


def count(rank):
    return lambda values, trace: rank


@pytest.mark.parametrize("library", NAMESPACES)
@pytest.mark.parametrize("kind", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("decay", ["gap", "power", "flat", "deficient"])
def test_near_optimal(library, kind, decay):
    n, rank = 150, 30
    s = {
        "gap": np.r_[np.linspace(1, 2, rank), np.full(n - rank, 1e-4)],
        "power": 1.0 / np.arange(1, n + 1) ** 2,
        "flat": np.linspace(2.0, 1.0, n),
        "deficient": np.r_[np.linspace(1, 2, rank // 2), np.zeros(n - rank // 2)],
    }[decay]
    s = np.sort(s)[::-1]
    H = with_spectrum(s**2, kind, library)
    found = leading_eigenpairs(H, count(rank), guess=rank)
    v, unit, trace = host(found.vectors), eps(kind), (s**2).sum()
    assert len(found.values) == rank
    assert np.all(np.diff(found.values) <= 0.0)
    assert found.values[-1] >= 0.0
    assert np.abs(v.conj().T @ v - np.eye(rank)).max() < 200 * unit
    kept = np.trace(v.conj().T @ host(H) @ v).real
    assert kept == pytest.approx(found.values.sum(), rel=100 * unit)
    assert trace - kept == pytest.approx(found.left, abs=200 * unit * trace)
    best = (s[rank:] ** 2).sum()
    assert trace - kept <= best * (1 + 2e-6) + 200 * unit * trace
    expected = {"flat": Solver.PARTIAL, "power": found.solver}
    assert found.solver is expected.get(decay, Solver.SUBSPACE)


@pytest.mark.parametrize(("n", "rank"), [(80, 5), (300, 12), (300, 300)])
@pytest.mark.parametrize("decay", [0.5, 0.999, 1.0])
def test_within_a_millionth_of_the_best(n, rank, decay):
    w = np.sort(decay ** np.arange(n) * (1.0 + 0.1 * np.random.default_rng(0).random(n)))[::-1]
    G = with_spectrum(w)
    found = leading_eigenpairs(G, count(rank), guess=rank)
    V = found.vectors
    assert V.shape == (n, rank)
    np.testing.assert_allclose(V.T @ V, np.eye(rank), atol=1e-12)
    assert np.isclose(found.values.sum() + found.left, w.sum())
    captured = np.trace(V.T @ G @ V)
    assert w[:rank].sum() - captured <= 1e-6 * w[rank:].sum() + 1e-12
    if rank == n:
        assert found.solver is Solver.COMPLETE


def test_more_than_was_guessed():
    s = np.r_[np.ones(80), np.zeros(70)]
    found = leading_eigenpairs(np.diag(s), lambda w, trace: 80 if len(w) >= 80 else None, guess=10)
    assert len(found.values) == 80
    assert found.solver is Solver.COMPLETE
    everything = leading_eigenpairs(np.diag(s), lambda w, trace: None, guess=10)
    assert len(everything.values) == 150


def test_the_choice_sees_the_trace_and_decides():
    w = 0.3 ** np.arange(200.0)

    def choose(values, trace):
        assert trace == pytest.approx(w.sum())
        tails = np.maximum(trace - np.cumsum(values), 0.0)
        fits = np.flatnonzero(tails <= 1e-4 * trace)
        return int(fits[0]) + 1 if len(fits) else None

    found = leading_eigenpairs(with_spectrum(w), choose, guess=20)
    assert found.solver is Solver.SUBSPACE
    assert len(found.values) == 8  # 0.3^8 = 6.6e-5 of the trace, 0.3^7 = 2.2e-4


def test_a_partial_eigensolver_is_not_believed_blindly(monkeypatch):
    import scipy.linalg

    H = with_spectrum(np.linspace(2.0, 1.0, 150))
    rank = 20

    def slanted(*args, **options):
        w, V = np.linalg.eigh(H)
        V[:, -1] = V[:, -2]
        return w[-rank - module.GUARD :], V[:, -rank - module.GUARD :]

    def broken(*args, **options):
        raise np.linalg.LinAlgError("no convergence")

    for wrong in (slanted, broken):
        monkeypatch.setattr(scipy.linalg, "eigh", wrong)
        found = leading_eigenpairs(H, count(rank), guess=rank)
        assert found.solver is Solver.COMPLETE
        np.testing.assert_allclose(found.values, np.linalg.eigvalsh(H)[::-1][:rank], rtol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refuses_what_is_not_finite(bad):
    H = np.eye(100)
    H[3, 4] = H[4, 3] = bad
    with pytest.raises(NonFiniteError):
        leading_eigenpairs(H, count(5), guess=5)
