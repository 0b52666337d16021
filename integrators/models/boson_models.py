"""Models with bosons or coordinates: Bose-Hubbard, spin in a bath, Henon-Heiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from contraction.errors import InputError
from integrators.models.model import (
    Model,
    boson_states,
    chain,
    numbered,
    require_finite,
)
from tnet.operators.terms import Term


def bose_hubbard(
    count: int,
    *,
    hopping: float = 1.0,
    interaction: float = 1.0,
    potential: float = 0.0,
    cutoff: int = 4,
    periodic: bool = False,
) -> Model:
    """Bose-Hubbard chain, H = -hopping sum (b+ b + h.c.) + interaction/2 sum n(n-1) - potential n.

    Parameters
    ----------
    count
        Number of sites, named s0, s1, ...
    hopping, interaction, potential
        Strengths t, U and mu.
    cutoff
        Largest number of bosons on a site: sites have `cutoff + 1` states.
    periodic
        Whether the last site is coupled to the first.

    Raises
    ------
    InputError
        Fewer than two sites, a cutoff below one, strengths that are not finite.

    Examples
    --------
    >>> dict(bose_hubbard(2, cutoff=6).sites)
    {'s0': 7, 's1': 7}
    """
    require_finite(hopping=hopping, interaction=interaction, potential=potential)
    sites = numbered(count, boson_states(cutoff))
    n = np.arange(cutoff + 1.0)
    local = np.diag(interaction / 2 * n * (n - 1) - potential * n)
    terms = [
        Term(-hopping, {a: up, b: down})
        for a, b in chain(list(sites), periodic)
        for up, down in (("bdag", "b"), ("b", "bdag"))
    ]
    return Model(sites, (*terms, *(Term(1.0, {s: local}) for s in sites)))


def spin_boson(
    frequencies: Sequence[float],
    couplings: Sequence[float],
    *,
    splitting: float = 0.0,
    tunnelling: float = 0.0,
    cutoff: int = 7,
) -> Model:
    """Spin in a bath, H = splitting/2 Z + tunnelling/2 X + sum w b+b + Z sum g (b + b+).

    Parameters
    ----------
    frequencies, couplings
        w and g of the modes, of equal length.
    splitting, tunnelling
        The spin's own terms (Pauli); without tunnelling the spin only dephases and everything
        is known in closed form.
    cutoff
        Largest number of bosons in a mode.

    Returns
    -------
    Model
        Site "spin" of size 2, then "b0", "b1", ... of size `cutoff + 1`.

    Raises
    ------
    InputError
        No modes, lengths that differ, a cutoff below one, numbers that are not finite.

    Examples
    --------
    >>> dict(spin_boson([1.0, 2.0], [0.1, 0.1], cutoff=3).sites)
    {'spin': 2, 'b0': 4, 'b1': 4}
    """
    require_finite(splitting=splitting, tunnelling=tunnelling)
    w, g = np.asarray(frequencies, dtype=float), np.asarray(couplings, dtype=float)
    if w.ndim != 1 or w.shape != g.shape or not w.size:
        raise InputError(
            f"a bath needs as many couplings as frequencies and at least one mode, "
            f"got shapes {w.shape} and {g.shape}."
        )
    if not (np.isfinite(w).all() and np.isfinite(g).all()):
        raise InputError("frequencies and couplings must be finite numbers.")
    modes = [f"b{k}" for k in range(w.size)]
    sites = {"spin": 2, **dict.fromkeys(modes, boson_states(cutoff))}
    terms = [Term(splitting / 2, {"spin": "z"}), Term(tunnelling / 2, {"spin": "x"})]
    terms = [term for term in terms if term.coefficient]
    lowering = np.diag(np.sqrt(np.arange(1.0, cutoff + 1)), 1)
    shift = lowering + lowering.T
    for mode, frequency, strength in zip(modes, w.tolist(), g.tolist(), strict=True):
        terms += [Term(frequency, {mode: "n"}), Term(strength, {"spin": "z", mode: shift})]
    return Model(sites, tuple(terms))


def henon_heiles(
    modes: int = 4, *, points: int = 31, box: float = 10.0, strength: float = 0.111803
) -> Model:
    """Henon-Heiles potential on Fourier grids: coupled oscillators with cubic terms.

    H = sum (p_k^2 + q_k^2) / 2 + strength sum (q_k^2 q_{k+1} - q_{k+1}^3 / 3)
    (Nest and Meyer, J. Chem. Phys. 117, 10499, 2002).

    Parameters
    ----------
    modes
        Number of coordinates, named q0, q1, ...
    points, box
        Odd number of points of each grid on [-box, box), and its half length.
    strength
        Of the cubic terms.

    Returns
    -------
    Model
        Sites of size `points`, values on the grid `integrators.models.grid(points, box)`.

    Raises
    ------
    InputError
        Fewer than two modes, an even or too small number of points, numbers that are not
        finite.

    Examples
    --------
    >>> len(henon_heiles(4))
    7
    """
    require_finite(box=box, strength=strength)
    sites = numbered(modes, points, prefix="q")
    q = grid(points, box)
    k = np.pi / box * (np.arange(points) - points // 2)
    waves = np.exp(1j * np.outer(q, k)) / math.sqrt(points)
    kinetic = np.real((waves * k**2) @ waves.conj().T) / 2
    own = kinetic + np.diag(q**2 / 2)
    driven = own - np.diag(strength / 3 * q**3)
    first, *others = sites
    local = [Term(1.0, {first: own}), *(Term(1.0, {s: driven}) for s in others)]
    pairs = [
        Term(strength, {a: np.diag(q**2), b: np.diag(q)}) for a, b in chain(list(sites), False)
    ]
    return Model(sites, (*local, *pairs))


def grid(points: int, box: float) -> np.ndarray[Any, np.dtype[np.floating[Any]]]:
    """Return the equidistant grid of a periodic interval [-box, box), shape (points,).

    Raises
    ------
    InputError
        An even number of points, fewer than three, a box that is not positive.

    Examples
    --------
    >>> grid(3, 3.0)
    array([-3., -1.,  1.])
    """
    if points < 3 or points % 2 == 0:
        raise InputError(f"a Fourier grid takes an odd number of points from 3 on, got {points}.")
    if not box > 0:
        raise InputError(f"`box` is a positive length, got {box}.")
    return -box + 2 * box / points * np.arange(points, dtype=np.float64)
