"""Entropies of bonds and of sets of modes, mutual information."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from contraction.arrays import to_numpy
from contraction.errors import InputError, StructureError
from contraction.linalg import singular_values
from tnet._axes import unfold
from tnet.measure.canonical import Values, centred, require_numbers
from tnet.measure.partial import checked_modes, schmidt_values
from tnet.network import Network
from tnet.spectra import bond_spectra


def entropy(state: Network, where: str | Collection[str], *, order: float = 1.0) -> float:
    """Return the entanglement entropy of a bond, or between some modes and all others, in nats.

    Parameters
    ----------
    state
        A network on any tree, of any norm but zero; it is divided by its norm.
    where
        The name of a bond, of one mode, or any set of modes.
    order
        1 for the von Neumann entropy -sum p ln p of the squared singular values p, any other
        order a >= 0 for the Renyi entropy ln(sum p^a) / (1 - a); infinity for -ln max p.

    Raises
    ------
    StructureError
        The state is no tree, or has no such bond or mode.
    InputError
        `order` is negative or NaN, or the state is zero.
    MemoryBudgetError
        The modes border on the others so often that no computation fits the memory.

    Notes
    -----
    A bond costs the moves of the centre to it and one SVD; a set of modes see `schmidt_values`:
    what counts is the number of bonds where the two sides meet. Values below 1e-15 or so are
    rounding; order 0 counts the values above eps times the largest.

    Examples
    --------
    >>> import numpy as np, tnet
    >>> bell = tnet.Network(tnet.tensor_train((2, 2), 2), {"g0": np.eye(2), "g1": np.eye(2)})
    >>> round(entropy(bell, "g0-g1"), 6), round(entropy(bell, ["x1"], order=2.0), 6)
    (0.693147, 0.693147)
    """
    _check_order(order)
    if isinstance(where, str) and where in state.structure.ranks:
        return entropy_of(_bond_values(state, where), order)
    return entropy_of(schmidt_values(state, where), order)


def bond_entropies(state: Network, *, order: float = 1.0) -> dict[str, float]:
    """Return the entanglement entropy of every bond of a tree, in nats.

    Parameters
    ----------
    state, order
        As for `entropy`.

    Returns
    -------
    dict
        Bond -> entropy, in the order of ``state.structure.bonds``.

    Notes
    -----
    One pass of QR factorisations and one SVD of an r x r matrix per bond (`bond_spectra`).

    Examples
    --------
    >>> import numpy as np, tnet
    >>> bell = tnet.Network(tnet.tensor_train((2, 2), 2), {"g0": np.eye(2), "g1": np.eye(2)})
    >>> {bond: round(value, 6) for bond, value in bond_entropies(bell).items()}
    {'g0-g1': 0.693147}
    """
    _check_order(order)
    spectra = bond_spectra(centred(state).net)
    return {bond: entropy_of(values, order) for bond, values in spectra.items()}


def mutual_information(
    state: Network, a: str | Collection[str], b: str | Collection[str], *, order: float = 1.0
) -> float:
    """Return the mutual information S(a) + S(b) - S(a and b) of two sets of modes, in nats.

    Parameters
    ----------
    state, order
        As for `entropy`.
    a, b
        Two sets of modes without a common one; they need not be all modes together.

    Raises
    ------
    StructureError
        A mode is not in the state, or in both sets.

    Notes
    -----
    The cost of three entropies.

    Examples
    --------
    >>> import numpy as np, tnet
    >>> bell = tnet.Network(tnet.tensor_train((2, 2), 2), {"g0": np.eye(2), "g1": np.eye(2)})
    >>> round(mutual_information(bell, "x0", "x1"), 6)
    1.386294
    """
    _check_order(order)
    first, second = checked_modes(state.structure, a), checked_modes(state.structure, b)
    if common := set(first) & set(second):
        raise StructureError(f"{sorted(common)[:6]} are in both sets; they must not overlap.")
    held = centred(state).net
    sides = (entropy(held, first, order=order), entropy(held, second, order=order))
    return math.fsum((*sides, -entropy(held, first + second, order=order)))


def entropy_of(values: Values, order: float = 1.0) -> float:
    """Return the entropy of a spectrum of singular values, which need not be normalised.

    Examples
    --------
    >>> round(entropy_of(np.array([1.0, 1.0]), 2.0), 6)
    0.693147
    """
    s = np.asarray(values, dtype=np.float64)
    top = s.max(initial=0.0)
    if top == 0.0:
        raise InputError("the spectrum is zero, so it has no entropy.")
    p = (s / top) ** 2
    total = float(p.sum())
    if math.isinf(order):
        return math.log(total)
    if order == 0.0:
        return math.log(int(np.count_nonzero(s > np.finfo(np.float64).eps * top * len(s))))
    p = p[p > 0.0] / total
    if order == 1.0:
        return max(-float(np.sum(p * np.log(p))), 0.0) + 0.0  # never -0.0
    return max(math.log(float(np.sum(p**order))) / (1.0 - order), 0.0) + 0.0


def _bond_values(state: Network, bond: str) -> Values:
    """Return the singular values of the one core that holds the norm, unfolded at the bond."""
    holders = state.structure.holders[bond]
    here = state.center if state.center in holders else holders[0]
    held = centred(state, here)
    assert here is not None
    core = unfold(held.net[here], held.net.structure.legs[here].index(bond), held.xp)
    values = to_numpy(singular_values(core)).astype(np.float64)
    return require_numbers(values, "the singular values")


def _check_order(order: float) -> None:
    if isinstance(order, bool) or not isinstance(order, (int, float)) or not order >= 0.0:
        raise InputError(f"`order` of an entropy is a number >= 0, got {order!r}.")
