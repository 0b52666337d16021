"""Overlaps: what a fixed state looks like in the local bases of a moving centre."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contraction.arrays import Array
from integrators.sweeping.centre import Centre
from tnet._axes import apply_matrix


class Overlaps:
    """A fixed state f beside the state of a centre, on the same graph and axes.

    Behind every leg that points to the centre stands the matrix <basis of the centre's state,
    basis of f>; it moves along with the centre.

    Parameters
    ----------
    arrays
        Node -> array of f with axes in the order of the centre's; any gauge.
    centre
        At the root of its tree.
    """

    def __init__(self, arrays: Mapping[str, Array], centre: Centre) -> None:
        self._arrays = dict(arrays)
        self._behind: dict[tuple[str, str], Any] = {}
        for node in centre.tree.post_order[:-1]:
            self.arrive(centre, node, centre.tree.bond[node])

    def arrive(self, centre: Centre, node: str, leg: str) -> None:
        """Look anew at a node that has become an isometry towards `leg`."""
        xp = centre.sight.xp
        bra = xp.conj(centre.matrix(node, leg)).T
        self._behind[node, leg] = bra @ self._dressed(centre, node, leg)

    def narrow(self, node: str, leg: str, basis: Any) -> None:
        """Follow `Centre.narrow`."""
        from contraction.arrays import namespace

        found = self._behind[node, leg]
        self._behind[node, leg] = namespace(found).conj(basis).T @ found

    def _dressed(self, centre: Centre, node: str, leg: str) -> Any:
        """Return f's array in the centre's bases on all legs but one, (others, leg)."""
        sight, x = centre.sight, self._arrays[node]
        for axis, other in enumerate(sight.axes[node]):
            if other != leg and sight.is_bond(other):
                x = apply_matrix(x, self._behind[sight.other(node, other), other], axis, sight.xp)
        if not leg:
            return x
        axis = sight.axes[node].index(leg)
        moved: Any = sight.xp.moveaxis(x, axis, -1)
        return moved.reshape(-1, moved.shape[-1])

    def pair(self, centre: Centre, node: str, leg: str) -> Any:
        """Return f in the space of two nodes, flat."""
        other = centre.sight.other(node, leg)
        left, right = self._dressed(centre, node, leg), self._dressed(centre, other, leg)
        return (left @ right.T).reshape(-1)

    def single(self, centre: Centre, node: str, leg: str) -> Any:
        """Return f in the space of one node, axes (others of `leg`, `leg`), flat."""
        found = self._dressed(centre, node, leg)
        if leg:
            found = found @ self._behind[centre.sight.other(node, leg), leg].T
        return found.reshape(-1)
