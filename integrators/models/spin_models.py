"""Spin models: chains, rings, rectangles, hierarchies, long range."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from contraction.errors import InputError
from integrators.models.model import (
    Bond,
    Model,
    chain,
    numbered,
    require_finite,
    spin_states,
)
from tnet.operators.terms import Pairs, Term


def ising(
    count: int, *, coupling: float = 1.0, field: float = 1.0, periodic: bool = False
) -> Model:
    """Transverse-field Ising chain, H = -coupling sum X_i X_{i+1} - field sum Z_i (Pauli).

    Parameters
    ----------
    count
        Number of sites, named s0, s1, ...
    coupling, field
        Strengths; the chain is critical where they are equal.
    periodic
        Whether the last site is coupled to the first.

    Returns
    -------
    Model
        Sites of size 2.

    Raises
    ------
    InputError
        Fewer than two sites, or a strength that is not a finite number.

    Examples
    --------
    >>> len(ising(8, field=0.5))
    15
    """
    sites = numbered(count)
    require_finite(coupling=coupling, field=field)
    return _ising(sites, chain(list(sites), periodic), coupling, field)


def ising_lattice(
    rows: int,
    columns: int,
    *,
    coupling: float = 1.0,
    field: float = 1.0,
    periodic: bool = False,
) -> Model:
    """Transverse-field Ising model on a rectangle, H = -coupling sum X X - field sum Z (Pauli).

    Sites are named s0, s1, ... row by row. For the rest see `ising`.

    Examples
    --------
    >>> len(ising_lattice(2, 3))
    13
    """
    sites = numbered(rows * columns)
    require_finite(coupling=coupling, field=field)
    near, _ = _rectangle(rows, columns, periodic)
    return _ising(sites, near, coupling, field)


def long_range_ising(
    count: int,
    *,
    coupling: float = 2.0,
    exponent: float = 1.0,
    field: float = 1.0,
    detuning: float = 1.0,
    positions: Sequence[float] | None = None,
) -> Model:
    """Long-range Ising chain, H = sum (field X_i + detuning n_i) + coupling sum n_i n_j / r^a.

    n = diag(1, 0), r = |i - j| (or the distance of the given positions), a = `exponent`: the
    model of Ceruti, Kusch, Lubich and Sulz, arXiv:2412.00858, section 5.1, at the defaults.

    Parameters
    ----------
    count
        Number of sites, named s0, s1, ...
    coupling, exponent
        Strength and decay of the pairs; an exponent of infinity leaves neighbours only.
    field, detuning
        Strengths of the local terms.
    positions
        One number a site, all different; 0, 1, 2, ... if left out.

    Returns
    -------
    Model
        Sites of size 2.

    Raises
    ------
    InputError
        Fewer than two sites, strengths or positions that are not finite, equal positions, a
        negative exponent.

    Examples
    --------
    >>> model = long_range_ising(16)
    >>> len(model.sites), len(model)
    (16, 33)
    """
    sites = numbered(count)
    require_finite(coupling=coupling, field=field, detuning=detuning)
    if math.isnan(exponent) or exponent < 0:
        raise InputError(f"`exponent` is a number from 0 on, got {exponent}.")
    up = np.diag([1.0, 0.0])
    local = [Term(field, {s: "x"}) for s in sites] + [Term(detuning, {s: up}) for s in sites]
    couplings = coupling * _decay(_places(count, positions), exponent)
    return Model(sites, (*local, Pairs(couplings, up, up, tuple(sites))))


def heisenberg(
    count: int,
    *,
    coupling: float = 1.0,
    anisotropy: float = 1.0,
    field: float = 0.0,
    spin: float = 0.5,
    periodic: bool = False,
) -> Model:
    """Heisenberg or XXZ chain, H = coupling sum (SxSx + SySy + anisotropy SzSz) - field sum Sz.

    Parameters
    ----------
    count
        Number of sites, named s0, s1, ...
    coupling, anisotropy, field
        Strengths; `anisotropy=0` is the XX chain.
    spin
        S: 1/2, 1, 3/2, ...; a site has 2 S + 1 states, highest weight first.
    periodic
        Whether the last site is coupled to the first.

    Returns
    -------
    Model
        Real: the plane part is written with raising and lowering operators.

    Raises
    ------
    InputError
        Fewer than two sites, a spin that is no half integer, strengths that are not finite.

    Examples
    --------
    >>> dict(heisenberg(2, spin=1).sites)
    {'s0': 3, 's1': 3}
    """
    sites = numbered(count, spin_states(spin))
    require_finite(coupling=coupling, anisotropy=anisotropy, field=field)
    bonds = chain(list(sites), periodic)
    turned = [Term(-field, {s: "sz"}) for s in sites] if field else []
    return Model(sites, (*_exchange(bonds, coupling, anisotropy), *turned))


def j1_j2(count: int, *, j1: float = 1.0, j2: float = 0.5, periodic: bool = False) -> Model:
    """Spin-1/2 chain with next neighbours, H = j1 sum S_i.S_{i+1} + j2 sum S_i.S_{i+2}.

    At j2 = j1 / 2 the ground state is a product of dimers of energy -3/8 j1 a site
    (Majumdar and Ghosh, J. Math. Phys. 10, 1388, 1969).

    Raises
    ------
    InputError
        Fewer than three sites (five on a ring, where bonds would coincide below), strengths
        that are not finite.

    Examples
    --------
    >>> len(j1_j2(4))
    15
    """
    require_finite(j1=j1, j2=j2)
    least = 5 if periodic else 3
    if count < least:
        raise InputError(f"a chain with next neighbours needs {least} sites or more, got {count}.")
    sites = numbered(count)
    names = list(sites)
    far = [(names[i], names[(i + 2) % count]) for i in range(count if periodic else count - 2)]
    near = chain(names, periodic)
    return Model(sites, (*_exchange(near, j1), *_exchange(far, j2)))


def heisenberg_lattice(
    rows: int, columns: int, *, j1: float = 1.0, j2: float = 0.0, periodic: bool = False
) -> Model:
    """Spin-1/2 rectangle, H = j1 sum S.S over sides + j2 sum S.S over both diagonals.

    Sites are named s0, s1, ... row by row.

    Raises
    ------
    InputError
        Fewer than two sites, a periodic side of fewer than three, strengths that are not
        finite.

    Examples
    --------
    >>> len(heisenberg_lattice(4, 4))
    72
    """
    require_finite(j1=j1, j2=j2)
    near, far = _rectangle(rows, columns, periodic)
    terms = [*_exchange(near, j1), *(_exchange(far, j2) if j2 else ())]
    return Model(numbered(rows * columns), tuple(terms))


def aklt(count: int, *, biquadratic: float = 1.0 / 3.0) -> Model:
    """Spin-1 chain, H = sum [S.S + biquadratic (S.S)^2]; at 1/3 the energy is -2/3 a bond.

    Affleck, Kennedy, Lieb and Tasaki, Phys. Rev. Lett. 59, 799 (1987).

    Raises
    ------
    InputError
        Fewer than two sites, a strength that is not finite.

    Examples
    --------
    >>> dict(aklt(2).sites)
    {'s0': 3, 's1': 3}
    """
    sites = numbered(count, 3)
    require_finite(biquadratic=biquadratic)
    exchange = ((0.5, "s+", "s-"), (0.5, "s-", "s+"), (1.0, "sz", "sz"))
    squares = [
        (biquadratic * u * v, (a, c), (b, d)) for u, a, b in exchange for v, c, d in exchange
    ]
    terms = [
        Term(weight, {left: a, right: b})
        for left, right in chain(list(sites), False)
        for weight, a, b in (*exchange, *squares)
    ]
    return Model(sites, tuple(terms))


def hierarchical(levels: int, *, coupling: float = 1.0, ratio: float = 0.5) -> Model:
    """Heisenberg chain of 2^levels spins 1/2 whose bonds weaken by `ratio` from level to level.

    The bond between blocks of 2^k spins has the strength coupling * ratio^k, so the perfect
    binary tree is the network that fits it.

    Raises
    ------
    InputError
        No levels, more than 16, numbers that are not finite.

    Examples
    --------
    >>> [term.coefficient for term in hierarchical(2).terms[2::3]]
    [1.0, 0.5, 1.0]
    """
    require_finite(coupling=coupling, ratio=ratio)
    if not 1 <= levels <= 16:
        raise InputError(f"`levels` is between 1 and 16, got {levels}.")
    sites = numbered(2**levels)
    terms: list[Term] = []
    for place, bond in enumerate(chain(list(sites), False), start=1):
        level = (place & -place).bit_length() - 1
        terms += _exchange([bond], coupling * ratio**level)
    return Model(sites, tuple(terms))


def _ising(sites: Mapping[str, int], bonds: Iterable[Bond], coupling: float, field: float) -> Model:
    pairs = [Term(-coupling, {a: "x", b: "x"}) for a, b in bonds]
    return Model(sites, (*pairs, *(Term(-field, {s: "z"}) for s in sites)))


def _exchange(bonds: Iterable[Bond], strength: float, anisotropy: float = 1.0) -> list[Term]:
    """Terms of strength * (SxSx + SySy + anisotropy SzSz), in real arithmetic."""
    return [
        Term(weight * strength, {a: left, b: right})
        for a, b in bonds
        for weight, left, right in ((0.5, "s+", "s-"), (0.5, "s-", "s+"), (anisotropy, "sz", "sz"))
    ]


def _rectangle(rows: int, columns: int, periodic: bool) -> tuple[list[Bond], list[Bond]]:
    """Sides and diagonals of a rectangle of sites counted row by row."""
    if rows < 1 or columns < 1 or (periodic and min(rows, columns) < 3):
        least = "3 x 3" if periodic else "1 x 2"
        raise InputError(f"the lattice must be {least} or larger, got {rows} x {columns}.")

    def bonds(steps: Sequence[tuple[int, int]]) -> list[Bond]:
        found = []
        for row in range(rows):
            for column in range(columns):
                for down, right in steps:
                    r, c = row + down, column + right
                    if periodic or (0 <= r < rows and 0 <= c < columns):
                        other = r % rows * columns + c % columns
                        found.append((f"s{row * columns + column}", f"s{other}"))
        return found

    return bonds([(0, 1), (1, 0)]), bonds([(1, 1), (1, -1)])


def _places(count: int, positions: Sequence[float] | None) -> Any:
    if positions is None:
        return np.arange(float(count))
    places = np.asarray(positions, dtype=float)
    if places.shape != (count,) or not np.isfinite(places).all():
        raise InputError(f"`positions` needs {count} finite numbers, got shape {places.shape}.")
    if len(np.unique(places)) < count:
        raise InputError("`positions` must all be different: equal ones have no distance.")
    return places


def _decay(places: Any, exponent: float) -> Any:
    distance = np.abs(places[:, None] - places[None, :])
    np.fill_diagonal(distance, np.inf)
    if math.isinf(exponent):
        return (distance == 1.0).astype(float)
    decay = distance**-exponent
    np.fill_diagonal(decay, 0.0)
    return decay
