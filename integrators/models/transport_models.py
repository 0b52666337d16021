"""Radiation transport with uncertain cross sections: plane source, line source, lattice.

The angle is written in moments (Legendre or spherical harmonics), the uncertain parameters xi
and eta, uniform on [-1, 1], in Gauss-Legendre nodes. Entries carry the square roots of the
nodes' weights, so that the norm of the array is the norm in L2 and truncation is the best there.
Problems after Ceruti, Kusch, Lubich and Sulz, arXiv:2412.00858, sections 5.2 and 5.3.

Tolerances of `evolve` are per unit of time. With 0.4 for the plane source (1e-3, the published
number, on each step of 0.0025) the parameters' ranks stay at 3 and the mean at x = 1.5 is 9 % too
small; 1e-2 gives all published figures. `ParallelBUG` wants 1e-3 or less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from contraction.errors import InputError
from integrators.models.harmonics import legendre_flux, magnitude, spherical_flux
from integrators.models.model import Model, require_finite
from tnet.formats import tree
from tnet.operators.terms import Term
from tnet.structure import Structure

Vector = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Transport:
    """A transport problem: what drives it, a tree, the start, the grids.

    Attributes
    ----------
    model
        The right-hand side as a sum of products: du/dt = sum of its terms.
    tree
        ((x, angle), (xi, eta)) with a leaf for each: space and angle in one subtree, the
        parameters in another.
    start
        Site -> its vector of the product start, for `tnet.product_state`.
    grid
        Positions of the cells: shape (cells,), or (cells, 2) in the plane.
    nodes, weights
        Nodes of xi and of eta, and their weights (which sum to 1).
    cell
        Side of a cell: steps of `0.1 * cell` are stable with explicit local solvers, those of
        `cell / 2` too where all cross sections are below 1 / `cell`.
    unit
        The density, all directions together, is `unit` times the first moment.
    """

    model: Model
    tree: Structure
    start: Mapping[str, Vector]
    grid: Vector
    nodes: Vector
    weights: Vector
    cell: float
    unit: float = 1.0


def plane_source(
    *,
    cells: int = 201,
    moments: int = 100,
    nodes: int = 100,
    half_width: float = 2.5,
    absorption: float = 0.0,
    scattering: float = 5.0,
    spread: tuple[float, float] = (4.0, 1.0),
    source_width: float = 0.03,
) -> Transport:
    """Plane source in a slab with a scattering that is only known up to two parameters.

    du/dt = -Dx u A + Dxx u |A| - absorption u - (scattering + a xi + b eta) G u, a and b being
    `spread`, G the projection on all moments but the first. The start is isotropic, a Gaussian
    in space of mass 1.

    Parameters
    ----------
    cells, moments, nodes
        Numbers of cells, of Legendre moments, of nodes a parameter.
    half_width
        The slab is [-half_width, half_width]; nothing comes in from outside.
    absorption, scattering, spread
        Cross sections, per length.
    source_width
        Standard deviation of the source.

    Returns
    -------
    Transport
        Sites x, angle, xi, eta.

    Raises
    ------
    InputError
        Fewer than three cells, two moments or one node; numbers that are not finite.

    Examples
    --------
    >>> problem = plane_source(cells=11, moments=4, nodes=3)
    >>> dict(problem.model.sites)
    {'x': 11, 'angle': 4, 'xi': 3, 'eta': 3}
    """
    _require_counts(cells, moments, nodes)
    require_finite(half_width=half_width, absorption=absorption, scattering=scattering)
    require_finite(source_width=source_width, first_spread=spread[0], second_spread=spread[1])
    x = np.linspace(-half_width, half_width, cells)
    dx = float(x[1] - x[0])
    central, upwind = _differences(cells, dx)
    A = legendre_flux(moments)
    terms = [
        Term(-1.0, {"x": central, "angle": _thin(A)}),
        Term(1.0, {"x": upwind, "angle": magnitude(A)}),
    ]
    sites = {"x": cells, "angle": moments, "xi": nodes, "eta": nodes}
    terms += _collisions(sites, absorption, (0.0, 0.0), scattering, spread)
    gauss = np.exp(-(x**2) / (2 * source_width**2)) / np.sqrt(2 * np.pi * source_width**2)
    return _problem(sites, terms, {"x": gauss}, x, dx)


def line_source(
    *,
    cells: int = 100,
    degree: int = 31,
    nodes: int = 100,
    half_width: float = 1.5,
    absorption: float = 1.0,
    scattering: float = 1.0,
    spread: tuple[float, float] = (1.0, 1.0),
    source_width: float = 0.03,
) -> Transport:
    """Line source in the plane: scattering s + a xi, absorption c + b eta, (a, b) = `spread`.

    Parameters
    ----------
    cells
        Number of cells a side; all cells together are one site of size `cells ** 2`, whose
        operators stay sparse.
    degree
        Degree of the spherical harmonics: (degree + 1)^2 moments.
    nodes, half_width, absorption, scattering, spread, source_width
        As in `plane_source`; the start is isotropic, a Gaussian of variance 2 source_width^2
        and mass 1, and 1e-4 where that is less.

    Returns
    -------
    Transport
        Sites x, angle, xi, eta.

    Raises
    ------
    InputError
        Fewer than three cells a side, degree below one, no node, numbers that are not finite.

    Examples
    --------
    >>> dict(line_source(cells=4, degree=1, nodes=2).model.sites)
    {'x': 16, 'angle': 4, 'xi': 2, 'eta': 2}
    """
    sites, terms, grid, dx = _plane(cells, degree, nodes, half_width, extra=0)
    require_finite(absorption=absorption, scattering=scattering, source_width=source_width)
    require_finite(first_spread=spread[0], second_spread=spread[1])
    terms += _collisions(sites, absorption, (0.0, spread[1]), scattering, (spread[0], 0.0))
    squares = np.sum(grid**2, axis=1)
    beam = np.exp(-squares / (4 * source_width**2)) / (4 * np.pi * source_width**2)
    start = np.maximum(1e-4, beam) / _SPHERE
    return _problem(sites, terms, {"x": start}, grid, dx, unit=_SPHERE)


def lattice(
    *,
    cells: int = 70,
    degree: int = 21,
    nodes: int = 20,
    scattering: float = 1.0,
    absorption: float = 10.0,
    source: float = 1.0,
    spread: tuple[float, float] = (0.5, 5.0),
) -> Transport:
    """Lattice of absorbers on [0, 7]^2 with an isotropic source in the square in the middle.

    Scattering s + a xi outside the eleven absorbing squares, absorption c + b eta in them,
    (a, b) = `spread` (Brunner, Sandia report SAND2002-1778, for the layout). The source is
    switched on at t = 0: site x has one entry more than cells, which holds it.

    Parameters
    ----------
    cells
        Number of cells a side.
    degree, nodes
        As in `line_source`.
    scattering, absorption, spread
        Cross sections, per length.
    source
        What the source adds to the density per unit of time.

    Raises
    ------
    InputError
        Fewer than seven cells a side, degree below one, no node, numbers that are not finite.

    Examples
    --------
    >>> dict(lattice(cells=7, degree=1, nodes=2).model.sites)
    {'x': 50, 'angle': 4, 'xi': 2, 'eta': 2}
    """
    if cells < 7:
        raise InputError(f"the lattice has 7 x 7 squares: `cells` must be 7 or more, got {cells}.")
    require_finite(scattering=scattering, absorption=absorption, source=source)
    require_finite(first_spread=spread[0], second_spread=spread[1])
    sites, terms, grid, dx = _plane(cells, degree, nodes, 3.5, extra=1)
    grid = grid + 3.5
    squares = np.floor(grid).astype(int)
    dark = np.array([tuple(square) in _ABSORBERS for square in squares.tolist()])
    inside = np.all(squares == 3, axis=1)
    terms += _lattice_terms(sites, dark, inside, scattering, absorption, spread)
    start = {"x": np.append(np.zeros(len(grid)), source)}
    return _problem(sites, terms, start, grid, dx, unit=_SPHERE)


_SPHERE = float(np.sqrt(4 * np.pi))  # density over the first spherical harmonic's coefficient
_LARGE, _THIN = 64, 0.1  # a dense product of fewer rows, or of more entries, is as fast
_ABSORBERS = frozenset(
    {(1, 1), (3, 1), (5, 1), (2, 2), (4, 2), (1, 3), (5, 3), (2, 4), (4, 4), (1, 5), (5, 5)}
)


def _lattice_terms(
    sites: Mapping[str, int],
    dark: Any,
    inside: Any,
    scattering: float,
    absorption: float,
    spread: tuple[float, float],
) -> list[Term]:
    import scipy.sparse as sp

    first = np.zeros((sites["angle"],) * 2)
    first[0, 0] = 1 / _SPHERE
    feed = sp.csr_matrix(
        (np.ones(inside.sum()), (np.flatnonzero(inside), np.full(inside.sum(), len(dark)))),
        shape=(len(dark) + 1,) * 2,
    )
    bright = sp.diags_array(np.append(~dark, 0).astype(float), format="csr")
    shade = sp.diags_array(np.append(dark, 0).astype(float), format="csr")
    others = _others(sites["angle"])
    xi, _ = _nodes(sites["xi"])
    eta, _ = _nodes(sites["eta"])
    return [
        Term(1.0, {"x": feed, "angle": first}),
        Term(-scattering, {"x": bright, "angle": others}),
        Term(-spread[0], {"x": bright, "angle": others, "xi": _thin(np.diag(xi))}),
        Term(-absorption, {"x": shade}),
        Term(-spread[1], {"x": shade, "eta": _thin(np.diag(eta))}),
    ]


def _plane(
    cells: int, degree: int, nodes: int, half_width: float, *, extra: int
) -> tuple[dict[str, int], list[Term], Vector, float]:
    """Return sites, streaming terms and grid of a square; `extra` entries of x are no cells."""
    import scipy.sparse as sp

    _require_counts(cells, degree + 1, nodes)
    require_finite(half_width=half_width)
    dx = 2 * half_width / cells
    centres = -half_width + dx * (np.arange(cells) + 0.5)
    central, upwind = _differences(cells, dx)
    one = sp.identity(cells, format="csr")
    none = sp.csr_matrix((extra, extra))
    terms = []
    for axis, A in enumerate(spherical_flux(degree)):
        for weight, d, a in ((-1.0, central, _thin(A)), (1.0, upwind, _thin(magnitude(A)))):
            both = sp.kron(d, one) if axis == 0 else sp.kron(one, d)
            terms.append(Term(weight, {"x": sp.block_diag((both, none), "csr"), "angle": a}))
    sites = {"x": cells**2 + extra, "angle": (degree + 1) ** 2, "xi": nodes, "eta": nodes}
    grid = np.stack(np.meshgrid(centres, centres, indexing="ij"), axis=-1).reshape(-1, 2)
    return sites, terms, grid, dx


def _collisions(
    sites: Mapping[str, int],
    absorption: float,
    absorption_spread: tuple[float, float],
    scattering: float,
    scattering_spread: tuple[float, float],
) -> list[Term]:
    """Return the terms that are alike everywhere: -c - (s + a xi + b eta) G, and c likewise."""
    others = _others(sites["angle"])
    terms = [Term(-absorption, {}), Term(-scattering, {"angle": others})]
    for site, c, s in zip(("xi", "eta"), absorption_spread, scattering_spread, strict=True):
        values, _ = _nodes(sites[site])
        terms += [
            Term(-c, {site: _thin(np.diag(values))}),
            Term(-s, {site: _thin(np.diag(values)), "angle": others}),
        ]
    return [term for term in terms if term.coefficient]


def _problem(
    sites: Mapping[str, int],
    terms: list[Term],
    start: Mapping[str, Vector],
    grid: Vector,
    dx: float,
    *,
    unit: float = 1.0,
) -> Transport:
    nodes, weights = _nodes(sites["xi"])
    isotropic = np.zeros(sites["angle"])
    isotropic[0] = 1.0
    root = np.sqrt(weights)
    return Transport(
        model=Model(sites, tuple(terms)),
        tree=tree([[["x"], ["angle"]], [["xi"], ["eta"]]], sizes=dict(sites)),
        start={**start, "angle": isotropic, "xi": root, "eta": root},
        grid=grid,
        nodes=nodes,
        weights=weights,
        cell=dx,
        unit=unit,
    )


def _differences(cells: int, dx: float) -> tuple[Any, Any]:
    """Return central and second differences over 2 dx, zero outside, as CSR."""
    import scipy.sparse as sp

    ones = np.ones(cells - 1)
    central = sp.diags_array([-ones, ones], offsets=[-1, 1], format="csr")
    upwind = sp.diags_array([ones, np.full(cells, -2.0), ones], offsets=[-1, 0, 1], format="csr")
    return central / (2 * dx), upwind / (2 * dx)


def _others(moments: int) -> Any:
    """Return the projection on all moments but the first."""
    G = np.eye(moments)
    G[0, 0] = 0.0
    return _thin(G)


def _thin(matrix: Vector) -> Any:
    """Return a matrix as CSR if it is large and mostly zero, where that makes products faster."""
    import scipy.sparse as sp

    sparse = len(matrix) >= _LARGE and np.count_nonzero(matrix) < _THIN * matrix.size
    return sp.csr_array(matrix) if sparse else matrix


def _nodes(count: int) -> tuple[Vector, Vector]:
    """Return Gauss-Legendre nodes and weights of the uniform distribution on [-1, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return nodes, weights / 2


def _require_counts(cells: int, moments: int, nodes: int) -> None:
    if cells < 3 or moments < 2 or nodes < 1:
        raise InputError(
            "transport needs three cells, two moments and one node or more, got "
            f"{cells} cells, {moments} moments (or degrees) and {nodes} nodes."
        )
