"""Exact references for many-body tests: dense sums, free fermions, Bethe ansatz, closed formulas.

Written apart from the library on purpose: nothing here may use its operators or its states.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import eigsh, expm_multiply

PAULI = {
    "x": np.array([[0.0, 1.0], [1.0, 0.0]]),
    "y": np.array([[0.0, -1.0j], [1.0j, 0.0]]),
    "z": np.array([[1.0, 0.0], [0.0, -1.0]]),
    "+": np.array([[0.0, 1.0], [0.0, 0.0]]),
    "-": np.array([[0.0, 0.0], [1.0, 0.0]]),
}


def spin(name: str, size: int) -> np.ndarray:
    """Spin matrices of S = (size - 1) / 2, highest weight first."""
    s = (size - 1) / 2
    m = s - np.arange(size)
    up = np.diag(np.sqrt(s * (s + 1) - m[1:] * (m[1:] + 1)), 1)
    return {
        "sz": np.diag(m),
        "s+": up,
        "s-": up.T,
        "sx": (up + up.T) / 2,
        "sy": (up - up.T) / 2j,
    }[name]


def boson(name: str, size: int) -> np.ndarray:
    b = np.diag(np.sqrt(np.arange(1.0, size)), 1)
    return {"b": b, "bdag": b.T, "n": np.diag(np.arange(float(size)))}[name]


def local(name: Any, size: int) -> Any:
    """The matrix of a local operator: an array as it is, a name, or several multiplied."""
    if isinstance(name, str):
        if name in PAULI:
            assert size == 2
            return PAULI[name]
        return spin(name, size) if name.startswith("s") else boson(name, size)
    if isinstance(name, (list, tuple)):
        product = np.eye(size)
        for factor in name:
            product = product @ local(factor, size)
        return product
    return name


def written_out(terms: Iterable[Any]) -> Iterator[tuple[complex, Mapping[str, Any]]]:
    """Single products; couplings of pairs one by one."""
    for term in terms:
        if hasattr(term, "coefficients"):
            for j, right in enumerate(term.sites):
                for i, left in enumerate(term.sites[:j]):
                    yield term.coefficients[i, j], {left: term.left, right: term.right}
        else:
            yield term if isinstance(term, tuple) else (term.coefficient, term.factors)


def dense_sum(sites: Mapping[str, int], terms: Iterable[Any]) -> sp.csr_matrix:
    """The sum of products as one sparse matrix; the first site is the slowest index."""
    names = list(sites)
    total = math.prod(sites.values())
    out = sp.csr_matrix((total, total))
    for coefficient, factors in written_out(terms):
        found = sp.identity(1, format="csr")
        for name in names:
            here = local(factors[name], sites[name]) if name in factors else None
            found = sp.kron(
                found, sp.identity(sites[name]) if here is None else sp.csr_matrix(here), "csr"
            )
        out = out + coefficient * found
    return sp.csr_matrix(out)


def lowest(matrix: Any, count: int = 1) -> np.ndarray:
    """The lowest eigenvalues of a Hermitian matrix."""
    if matrix.shape[0] <= 400:
        return np.linalg.eigvalsh(matrix.toarray())[:count]
    return np.sort(eigsh(matrix, k=count, which="SA", tol=1e-12)[0])


def quench(matrix: Any, start: np.ndarray, times: Sequence[float]) -> np.ndarray:
    """exp(-i H t) |start> for each time."""
    rows, now, state = [], 0.0, start.astype(complex)
    for t in times:
        state = expm_multiply(-1j * (t - now) * matrix, state) if t > now else state
        now = t
        rows.append(state)
    return np.array(rows)


def product_vector(vectors: Sequence[Sequence[complex]]) -> np.ndarray:
    out = np.ones(1)
    for vector in vectors:
        out = np.kron(out, np.asarray(vector))
    return out


def local_values(state: np.ndarray, sites: Mapping[str, int], name: Any) -> np.ndarray:
    """<O_i> of every site of a normalised dense state."""
    shape = tuple(sites.values())
    psi = state.reshape(shape)
    found = []
    for k, size in enumerate(shape):
        moved = np.tensordot(local(name, size), psi, axes=(1, k))
        found.append(np.vdot(np.moveaxis(psi, k, 0), moved))
    return np.real_if_close(np.array(found))


# H = -J sum X_i X_{i+1} - g sum Z_i, open ends: free fermions.


def _fermions(d: int, coupling: float, field: float) -> tuple[np.ndarray, np.ndarray]:
    A = np.diag(np.full(d, 2.0 * field))
    B = np.zeros((d, d))
    for i in range(d - 1):
        A[i, i + 1] = A[i + 1, i] = -coupling
        B[i, i + 1], B[i + 1, i] = -coupling, coupling
    return A, B


def ising_quench(
    d: int, times: Sequence[float], *, coupling: float = 1.0, field: float = 1.0
) -> np.ndarray:
    """<Z_i>(t) after a start with all spins up (Z = +1), rows by time."""
    A, B = _fermions(d, coupling, field)
    M = np.block([[A, B], [-B, -A]])
    w, V = np.linalg.eigh(M)
    rows = []
    for t in times:
        U = (V * np.exp(-1j * w * t)) @ V.T
        rows.append(1.0 - 2.0 * np.sum(np.abs(U[:d, d:]) ** 2, axis=1))
    return np.array(rows)


def ising_energy(d: int, *, coupling: float = 1.0, field: float = 1.0) -> float:
    """Ground energy."""
    A, B = _fermions(d, coupling, field)
    return float(-np.linalg.svd(A - B, compute_uv=False).sum() / 2)


def ising_gap(d: int, *, coupling: float = 1.0, field: float = 1.0) -> float:
    A, B = _fermions(d, coupling, field)
    return float(np.linalg.svd(A - B, compute_uv=False).min())


def xx_neel(d: int, times: Sequence[float]) -> np.ndarray:
    """<Sz_j>(t) of H = sum SxSx + SySy, open, from the Neel state beginning with up."""
    hopping = (np.eye(d, k=1) + np.eye(d, k=-1)) / 2
    w, V = np.linalg.eigh(hopping)
    filled = np.arange(d) % 2 == 0
    rows = []
    for t in times:
        U = (V * np.exp(-1j * w * t)) @ V.T
        rows.append(np.sum(np.abs(U[:, filled]) ** 2, axis=1) - 0.5)
    return np.array(rows)


@lru_cache
def heisenberg_energy(d: int) -> float:
    """Ground energy of sum S_i.S_{i+1}, open chain of even length, by the Bethe ansatz."""
    m = d // 2
    j = np.arange(1, m + 1)
    lam = 0.45 * np.tan(np.pi * j / (2 * d + 1))
    for _ in range(100):
        minus, plus = lam[:, None] - lam[None, :], lam[:, None] + lam[None, :]
        phases = 2 * np.arctan(minus) + 2 * np.arctan(plus)
        np.fill_diagonal(phases, 0.0)
        F = 4 * d * np.arctan(2 * lam) - 2 * np.pi * j - phases.sum(axis=1)
        dm, dp = 2 / (1 + minus**2), 2 / (1 + plus**2)
        np.fill_diagonal(dm, 0.0)
        np.fill_diagonal(dp, 0.0)
        J = dm - dp
        J[np.diag_indices(m)] = 8 * d / (1 + 4 * lam**2) - (dm + dp).sum(axis=1)
        step = np.linalg.solve(J, -F)
        scale = 1.0
        while np.any(lam + scale * step <= 0):
            scale /= 2
        lam = lam + scale * step
        if np.max(np.abs(step)) < 1e-13 * max(1.0, float(lam.max())):
            break
    return float((d - 1) / 4 - 2 * np.sum(1 / (1 + 4 * lam**2)))


def dephasing(
    t: float, frequencies: Sequence[float], couplings: Sequence[float], *, splitting: float = 0.0
) -> float:
    """<X>(t) of (eps/2) Z + sum w b+b + Z sum g (b + b+), from |+> and the vacuum."""
    w, g = np.asarray(frequencies), np.asarray(couplings)
    return float(np.cos(splitting * t) * np.exp(-np.sum(4 * g**2 / w**2 * (1 - np.cos(w * t)))))


# Mean <Z> of the long-range Ising model (coupling 2, exponent 1, both fields 1) from n = 1
# everywhere, at t = 0.2, 0.5, 1, by sparse exponentials: d -> values.
LONG_RANGE_ISING = {
    4: (0.928262860150, 0.743858485428, 0.879913487039),
    8: (0.936028031766, 0.883455270478, 0.944002849640),
    10: (0.939050767708, 0.919673268546, 0.932081577925),
    16: (0.946042486073, 0.971753732291, 0.959058713290),
}
