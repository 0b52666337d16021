"""A tree from how strongly its modes belong together: a first guess, cheap and often the best."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraction.arrays import to_numpy
from contraction.errors import DTypeError, NonFiniteError, ShapeError
from tnet.formats import Rank, Shape, modes_of, tree
from tnet.structure import Structure


def tree_from_affinity(affinity: Any, shape: Shape, rank: Rank = 1) -> Structure:
    """Return the binary tree that joins first what belongs together most.

    The two groups of modes with the largest mean affinity between their members are united
    until two are left; those are the two sides of the root.

    Parameters
    ----------
    affinity
        Symmetric matrix (modes, modes), larger where two modes should be near each other:
        couplings of a Hamiltonian (`coupling_strengths`), correlations, mutual information. The
        diagonal is not read.
    shape
        Sizes of the modes in the order of the rows, or mode -> size.
    rank
        Ranks of the bonds.

    Returns
    -------
    Structure
        Nodes t0, t1, ... from the root down, each with three legs but the root (two bonds): two
        modes, a mode and a bond, or two bonds, beside the bond above. One node for a single
        mode.

    Raises
    ------
    ShapeError
        The matrix is not square, not symmetric, or of another size than the shape.
    NonFiniteError
        The matrix holds NaN or infinity.

    Notes
    -----
    Average linkage; Sokal and Michener, Univ. Kansas Sci. Bull. 38 (1958) 1409. O(modes^2) time
    and memory. If the affinities are ultrametric (min(a_ij, a_jk) <= a_ik for all modes) their
    tree is found. Among equals smaller groups come first, so a uniform chain becomes balanced.

    Examples
    --------
    >>> near = np.array([[0, 1, 9, 2], [1, 0, 2, 8], [9, 2, 0, 1], [2, 8, 1, 0]])
    >>> found = tree_from_affinity(near, {"a": 2, "b": 2, "c": 2, "d": 2}, rank=2)
    >>> [legs for _, legs in found.nodes]
    [('t0-t1', 't0-t2'), ('t0-t1', 'a', 'c'), ('t0-t2', 'b', 'd')]
    """
    modes = modes_of(shape)
    matrix = _checked(affinity, len(modes))
    names = list(modes)
    if len(names) < 3:
        return tree(names, modes, rank)
    groups: list[Any] = list(names)
    least = list(range(len(names)))  # the first mode of every group: that side comes first
    for pair in _merges(matrix):
        first, second = sorted(pair, key=least.__getitem__)
        groups.append((groups[first], groups[second]))
        least.append(least[first])
    return tree(groups[-1], modes, rank)


def _checked(affinity: Any, count: int) -> Any:
    try:
        matrix = np.asarray(to_numpy(affinity))
    except (TypeError, ValueError) as error:
        raise DTypeError(f"`affinity` is no matrix: {error}.") from error
    if matrix.dtype.kind not in "biuf":
        raise DTypeError(f"`affinity` holds {matrix.dtype}; expected real numbers.")
    if matrix.shape != (count, count):
        raise ShapeError(
            f"`affinity` has shape {tuple(matrix.shape)}, but there are {count} modes: expected "
            f"({count}, {count})."
        )
    matrix = matrix.astype(np.float64)
    np.fill_diagonal(matrix, 0.0)
    if not np.isfinite(matrix).all():
        raise NonFiniteError("`affinity` holds NaN or infinity; every entry must be finite.")
    worst = float(np.abs(matrix - matrix.T).max(initial=0.0))
    if worst > 1e-8 * float(np.abs(matrix).max(initial=0.0)):
        raise ShapeError(
            f"`affinity` must be symmetric; entries across the diagonal differ by {worst:.3g}. "
            "Give (A + A.T) / 2."
        )
    return (matrix + matrix.T) / 2


def _merges(matrix: Any) -> list[tuple[int, int]]:
    """Return which groups are united; the k-th union is group number n + k.

    A walk to the nearest neighbour, and from there on, ends at two groups that are nearest to
    each other: uniting them at once gives the same tree as always uniting the nearest two of all
    (Murtagh, Comput. J. 26 (1983) 354), for mean affinities.
    """
    near = matrix.copy()  # between groups; a united group keeps the row of its first part
    count = len(near)
    np.fill_diagonal(near, -np.inf)
    size = np.ones(count)
    number = np.arange(count)
    found: list[tuple[int, int]] = []
    way: list[int] = []
    while len(found) < count - 1:
        if not way:
            way.append(int(np.argmin(np.where(number < 0, np.inf, size))))
        here = way[-1]
        best = np.flatnonzero(near[here] == near[here].max())
        there = int(best[np.argmin(size[best])])
        if len(way) < 2 or near[here, way[-2]] < near[here, there]:
            way.append(there)
            continue
        there = way[-2]
        del way[-2:]
        found.append((int(number[here]), int(number[there])))
        near[here] = (size[here] * near[here] + size[there] * near[there]) / (
            size[here] + size[there]
        )
        near[here, here] = -np.inf
        near[:, here] = near[here]
        near[there], near[:, there] = -np.inf, -np.inf
        size[here] += size[there]
        number[here], number[there] = count + len(found) - 1, -1
    return found
