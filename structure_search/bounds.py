"""Spectra of bipartitions, and the lower bound on the error that they give.

A network whose bonds across a cut (S, rest) have ranks with product k makes an unfolding of
rank at most k, so its error is at least the tail of that unfolding's singular values beyond k
(Eckart, Young, Mirsky). This holds for every cut and every placement of nodes without modes.

`tails` come from Gram matrices and are blind below about 1e-8; `exact_values` come from
triangular factors of a core compressed mode by mode, and hold down to rounding.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from contraction.arrays import Array, dtype_name, eps, is_complex, namespace, to_numpy
from tnet.structure import Structure

WIDEST = 1024  # rows of the largest Gram matrix worth an eigenvalue decomposition here
ALL_CUTS_UP_TO = 9  # nodes with modes: 255 cuts
HUBS_UP_TO = 8  # nodes without modes: 256 placements per cut
WIDEST_BASIS = 128  # rows of the unfoldings whose bases make those of one more mode narrow
NARROW = 5e-15  # what a basis may leave out of data of norm one: their rounding
LARGEST = 2**24  # entries of the largest array that is factorised in double precision here

Float = np.ndarray[Any, np.dtype[np.float64]]


class CutSpectra:
    """Singular values of the unfoldings of one array, computed when first asked for.

    Parameters
    ----------
    x
        The data, of any namespace.
    modes
        Names of its axes.
    norm
        Its Frobenius norm.
    widest
        Most rows of an unfolding that is looked at; with 0 there are no spectra, and nothing is
        bounded.
    """

    def __init__(
        self, x: Array, modes: Sequence[str], norm: float, *, widest: int = WIDEST
    ) -> None:
        self._widest = widest
        self._x = x
        self._axis = {mode: k for k, mode in enumerate(modes)}
        self._norm = norm
        self._tails: dict[tuple[int, ...], Float | None] = {}
        self._exact: dict[tuple[int, ...], Float | None] = {}
        self._core: np.ndarray[Any, Any] | None = None
        self._bases: dict[tuple[int, ...], np.ndarray[Any, Any]] = {}  # of sides, in the core
        self.ruled_out = 0  # structures for which `rules_out` said yes

    @property
    def rounding(self) -> float:
        """Relative rounding of one entry of the data, as they are stored."""
        return float(eps(self._x))

    def tails(self, rows: Sequence[str]) -> Float | None:
        """Return the relative error of keeping k values, k = 0, 1, ..., for the cut around `rows`.

        Never more than the true error: the rounding of the Gram matrix is taken off. None if
        the unfolding is too wide.

        Cost: one Gram matrix of the narrower side, |X| times its width.
        """
        key = self._side(rows)
        if key not in self._tails:
            self._tails[key] = self._compute(key)
        return self._tails[key]

    def singular_values(self, rows: Sequence[str]) -> Float | None:
        """Return the singular values of the cut around `rows`, divided by the norm."""
        tails = self.tails(rows)
        return None if tails is None else np.sqrt(np.maximum(-np.diff(tails**2), 0.0))

    def exact_values(self, rows: Sequence[str]) -> Float | None:
        """Return the singular values of the cut around `rows`, over the norm, to rounding.

        As many as the narrower side has entries, in descending order; the absolute error is a
        few eps of the data, at least 1e-14. None if the unfolding is too wide; from the Gram
        matrix, so with an error of about 1e-8, where the data have more than 2**24 entries.

        Cost: once per array one QR factorisation of every unfolding by a single mode; then one
        QR and one SVD of the compressed unfolding.
        """
        key = self._side(rows)
        if key not in self._exact:
            self._exact[key] = self._factorise(key)
        return self._exact[key]

    def all_cuts(self) -> Iterator[tuple[str, ...]]:
        """Yield one side of every cut of the modes, narrow cuts first: 2**(N - 1) - 1 of them."""
        modes = tuple(self._axis)
        for side in sorted(_sides(list(modes), len(modes) // 2), key=len):
            yield tuple(mode for mode in modes if mode in side)

    def rank(self, rows: Sequence[str], error: float) -> int:
        """Return the least rank that any network within `error` has across the cut."""
        tails = self.tails(rows)
        return 1 if tails is None else max(1, int(np.count_nonzero(tails > error)))

    def bound(self, structure: Structure) -> float:
        """Return a lower bound on the relative error of every network of `structure`."""
        worst = 0.0
        for rows, across in cuts_of(structure.nodes, structure.modes):
            tails = self.tails(rows)
            if tails is None:
                continue
            rank = min(math.prod(structure.size[leg] for leg in legs) for legs in across)
            if rank < len(tails):
                worst = max(worst, float(tails[rank]))
        return worst

    def rules_out(self, structure: Structure, error: float) -> bool:
        """Tell whether no network of `structure` can be within `error`; counts the answers yes."""
        hopeless = self.bound(structure) > error
        self.ruled_out += hopeless
        return hopeless

    def _side(self, rows: Sequence[str]) -> tuple[int, ...]:
        axes = sorted(self._axis[mode] for mode in rows)
        rest = [k for k in range(len(self._axis)) if k not in axes]
        shape = self._x.shape
        a, b = math.prod(shape[k] for k in axes), math.prod(shape[k] for k in rest)
        if a != b:
            return tuple(axes if a < b else rest)
        return tuple(axes if 0 in axes else rest)

    def _compute(self, axes: tuple[int, ...]) -> Float | None:
        x: Any = self._x
        xp = namespace(self._x)
        width = math.prod(x.shape[k] for k in axes)
        if width > self._widest or not axes:
            return None
        rest = tuple(k for k in range(x.ndim) if k not in axes)
        wide = xp.reshape(xp.permute_dims(x, axes + rest), (width, -1))
        if dtype_name(x) in ("float32", "complex64") and math.prod(x.shape) <= 2**24:
            wide = xp.astype(wide, xp.complex128 if is_complex(x) else xp.float64)
        wide = wide / self._norm if self._norm else wide
        gram = to_numpy(wide @ (xp.conj(wide) if is_complex(x) else wide).T)
        wider = np.result_type(gram.dtype, np.float64)
        values = np.maximum(np.linalg.eigvalsh(gram.astype(wider)), 0.0)[::-1]
        noise = 8.0 * width * eps(wide)
        tails = np.cumsum(np.append(values, 0.0)[::-1])[::-1]
        found: Float = np.sqrt(np.maximum(tails - noise * (np.arange(width + 1) > 0), 0.0))
        return found

    def _factorise(self, axes: tuple[int, ...]) -> Float | None:
        shape = self._x.shape
        width = math.prod(shape[k] for k in axes)
        if width > self._widest or not axes:
            return None
        if math.prod(shape) > LARGEST:
            return self.singular_values([m for m, k in self._axis.items() if k in axes])
        core = self.compressed()
        inner, basis = self._narrowest(axes)
        order = (*inner, *(k for k in axes if k not in inner))
        rest = tuple(k for k in range(core.ndim) if k not in axes)
        front = core.transpose(order + rest).reshape(len(basis), -1)
        front = basis.conj().T @ front if inner else front
        own = _sizes(core, order[len(inner) :])
        matrix = front.reshape(basis.shape[1] * math.prod(own), -1)
        if matrix.shape[1] > 1.2 * matrix.shape[0]:
            matrix = _triangular(matrix.T).T
        left, values, _ = np.linalg.svd(matrix, full_matrices=False)
        rank = max(1, int(np.count_nonzero(values > NARROW)))
        rows = math.prod(_sizes(core, axes))
        if rows <= WIDEST_BASIS and 2 * rank <= rows:
            lifted = basis @ left[:, :rank].reshape(basis.shape[1], -1)
            lifted = lifted.reshape(*_sizes(core, order), rank)
            lifted = np.moveaxis(lifted, range(len(axes)), [axes.index(k) for k in order])
            self._bases[axes] = lifted.reshape(rows, rank)
        found = np.zeros(width)
        found[: len(values)] = values[:width]
        return found

    def _narrowest(self, axes: tuple[int, ...]) -> tuple[tuple[int, ...], np.ndarray[Any, Any]]:
        """Return all modes of a side but one that have the narrowest basis, and that.

        A whole side needs no more than this basis times its last mode. Without any, no modes.
        """
        inner = [tuple(k for k in axes if k != one) for one in axes]
        known = [some for some in inner if some in self._bases]
        best = min(known, key=lambda some: self._bases[some].shape[1], default=())
        return best, self._bases.get(best, np.eye(1))

    def compressed(self) -> np.ndarray[Any, Any]:
        """Return the data over their norm, each mode in the basis of its own singular vectors.

        What is left out is below the rounding of the data. In double precision, on the CPU; not
        to be written to. Cost: once, one QR factorisation of every unfolding by a single mode.
        """
        if self._core is None:
            core = to_numpy(self._x)
            core = core.astype(np.result_type(core.dtype, np.float64))
            core = core / self._norm if self._norm else core
            for k in range(core.ndim):
                front = np.moveaxis(core, k, 0)
                wide = front.reshape(front.shape[0], -1)
                if wide.shape[1] < wide.shape[0]:
                    continue
                left, values, _ = np.linalg.svd(_triangular(wide.T).T)
                rank = max(1, int(np.count_nonzero(values > 0.01 * eps(self._x))))
                small = (left[:, :rank].conj().T @ wide).reshape(rank, *front.shape[1:])
                core = np.moveaxis(small, 0, k)
            self._core = np.ascontiguousarray(core)
        return self._core


def _sizes(x: np.ndarray[Any, Any], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(x.shape[k] for k in axes)


def _triangular(tall: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    found: Any = np.linalg.qr(tall, mode="r")  # an array, in this mode
    return np.asarray(found)


Cut = tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]


@lru_cache(maxsize=512)
def cuts_of(
    nodes: tuple[tuple[str, tuple[str, ...]], ...], modes: tuple[str, ...]
) -> tuple[Cut, ...]:
    """Return the cuts that a graph allows: the modes on one side, and the legs cut.

    A cut has one set of legs for every placement of the nodes without modes. Of graphs with more
    than nine nodes with modes, those around one node and around two that are joined.
    """
    holders: dict[str, list[str]] = {}
    for node, legs in nodes:
        for leg in legs:
            holders.setdefault(leg, []).append(node)
    open_legs = set(modes)
    own = {node: tuple(leg for leg in legs if leg in open_legs) for node, legs in nodes}
    bodies = [node for node in own if own[node]]
    hubs = [node for node in own if not own[node]]
    if len(hubs) > HUBS_UP_TO:
        return ()
    inner = [(leg, frozenset(held)) for leg, held in holders.items() if len(held) > 1]
    found = []
    sides = list(_sides(bodies, len(bodies) // 2 if len(bodies) <= ALL_CUTS_UP_TO else 1))
    if len(bodies) > ALL_CUTS_UP_TO:  # and around every two that are joined
        ends = (frozenset(node for node in held if own[node]) for _, held in inner)
        sides += dict.fromkeys(pair for pair in ends if len(pair) == 2)
    for side in sides:
        across = set()
        for chosen in itertools.product((False, True), repeat=len(hubs)):
            one = side | {hub for hub, taken in zip(hubs, chosen, strict=True) if taken}
            across.add(tuple(leg for leg, held in inner if held & one and held - one))
        rows = tuple(mode for node in bodies if node in side for mode in own[node])
        found.append((rows, tuple(sorted(across))))
    return tuple(found)


def _sides(bodies: list[str], largest: int) -> Iterator[frozenset[str]]:
    """Yield sets of up to `largest` nodes, one of each pair of complements."""
    for count in range(1, largest + 1):
        for side in itertools.combinations(bodies, count):
            if 2 * count < len(bodies) or bodies[0] in side:
                yield frozenset(side)
