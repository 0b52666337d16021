"""Flux matrices of moment methods: the angle's cosines in Legendre or spherical harmonics."""

from __future__ import annotations

from typing import Any

import numpy as np

Matrix = np.ndarray[Any, np.dtype[np.float64]]


def legendre_flux(moments: int) -> Matrix:
    """Return mu in normalised Legendre polynomials, shape (moments, moments), symmetric.

    Examples
    --------
    >>> legendre_flux(2).round(4)
    array([[0.    , 0.5774],
           [0.5774, 0.    ]])
    """
    n = np.arange(moments - 1.0)
    off = (n + 1) / np.sqrt((2 * n + 1) * (2 * n + 3))
    return np.diag(off, 1) + np.diag(off, -1)


def spherical_flux(degree: int) -> tuple[Matrix, Matrix]:
    """Return the two cosines of the plane in real spherical harmonics up to `degree`.

    Each has shape ((degree + 1)^2,) * 2 and is symmetric; harmonic (l, m) is number
    l^2 + l + m. Exact: a product rule of degree 2 `degree` + 1 integrates the products.
    Costs O(degree^6) flops.

    Examples
    --------
    >>> first, second = spherical_flux(1)
    >>> first[0].round(4), second[0].round(4)
    (array([0.    , 0.    , 0.    , 0.5774]), array([0.    , 0.5774, 0.    , 0.    ]))
    """
    mu, w = np.polynomial.legendre.leggauss(degree + 2)
    turns = 2 * degree + 3
    phi = 2 * np.pi * np.arange(turns) / turns
    weights = np.repeat(w, turns) * (2 * np.pi / turns)
    Y = _harmonics(degree, mu, phi) * np.sqrt(weights)
    sine = np.sqrt(1 - mu**2)
    x, y = (np.outer(sine, f(phi)).ravel() for f in (np.cos, np.sin))
    first, second = (Y * x) @ Y.T, (Y * y) @ Y.T
    return _tidy(first), _tidy(second)


def magnitude(A: Matrix) -> Matrix:
    """Return |A| of a symmetric matrix: the same eigenvectors, eigenvalues without sign.

    Examples
    --------
    >>> magnitude(np.array([[0.0, 2.0], [2.0, 0.0]])).round(12) + 0.0
    array([[2., 0.],
           [0., 2.]])
    """
    w, V = np.linalg.eigh(A)
    found: Matrix = (V * np.abs(w)) @ V.T
    return found


def _harmonics(degree: int, mu: Any, phi: Any) -> Any:
    """Real orthonormal spherical harmonics at (mu, phi), shape (harmonics, points)."""
    legendre = _associated(degree, mu)
    rows = []
    for l in range(degree + 1):  # noqa: E741  the name of the degree everywhere
        for m in range(-l, l + 1):
            turn = np.sin(-m * phi) if m < 0 else np.cos(m * phi)
            scale = np.sqrt(1.0 if m == 0 else 2.0)
            rows.append(scale * np.outer(legendre[l, abs(m)], turn).ravel())
    return np.array(rows)


def _associated(degree: int, mu: Any) -> Any:
    """Associated Legendre functions, normalised on the sphere: [l, m] -> values at mu."""
    P = np.zeros((degree + 1, degree + 1, len(mu)))
    P[0, 0] = np.sqrt(1 / (4 * np.pi))
    sine = np.sqrt(1 - mu**2)
    for m in range(degree + 1):
        if m:
            P[m, m] = np.sqrt((2 * m + 1) / (2 * m)) * sine * P[m - 1, m - 1]
        if m < degree:
            P[m + 1, m] = np.sqrt(2 * m + 3) * mu * P[m, m]
        for l in range(m + 2, degree + 1):  # noqa: E741
            a = np.sqrt((4 * l * l - 1) / (l * l - m * m))
            b = np.sqrt(((l - 1) ** 2 - m * m) / (4 * (l - 1) ** 2 - 1))
            P[l, m] = a * (mu * P[l - 1, m] - b * P[l - 2, m])
    return P


def _tidy(A: Matrix) -> Matrix:
    """Symmetric, and exactly zero where the integral is."""
    A = (A + A.T) / 2
    A[np.abs(A) < 1e-14] = 0.0
    return A
