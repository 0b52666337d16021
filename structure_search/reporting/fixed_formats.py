"""Fixed formats at a given error: what a search has to beat."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import tnet
from contraction.arrays import Array
from contraction.truncation import Truncation
from tnet.structure import Structure

CP_SECONDS = 20.0  # no further CP rank is tried after that
FINE = 0.05  # of the tolerance: the error of the network whose bond spectra decide the ranks


@dataclass(frozen=True, kw_only=True)
class FixedFormat:
    """A format with the ranks that an error needs.

    Attributes
    ----------
    name
        What it is called.
    num_params, error
        Its size, and its relative error, exact.
    seconds
        Time of the factorisation with these ranks; for CP, of all ranks that were tried.
    tol
        The error that was asked for.
    """

    name: str
    num_params: int
    error: float
    seconds: float
    tol: float
    structure: Structure

    @property
    def met(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error <= self.tol

    def to_dict(self) -> dict[str, Any]:
        """Return what baselines.json holds."""
        return {
            "name": self.name,
            "num_params": self.num_params,
            "error": self.error,
            "seconds": round(self.seconds, 4),
            "tol": self.tol,
            "met": self.met,
            "ranks": dict(self.structure.ranks),
        }


def fixed_formats(
    x: Array, tol: float, *, rng: np.random.Generator, cp_seconds: float = CP_SECONDS
) -> Iterator[FixedFormat]:
    """Yield TT-SVD, HOSVD, a balanced tree and CP of `x`, each within `tol` if it can be.

    The first three have the ranks of the textbook: one bond after the other may lose
    tol / sqrt(E), E bonds in all, so that together they lose at most tol (Vannieuwenhoven et al.
    2012, Oseledets 2011, Grasedyck 2010). CP is fitted by alternating least squares with rank
    1, 2, ... until the error is reached.

    Examples
    --------
    >>> i, j, k = np.ogrid[1:7, 1:8, 1:9]
    >>> found = fixed_formats(1.0 / (i + j + k), 0.01, rng=np.random.default_rng(0))
    >>> [(f.name, f.met) for f in found]
    [('TT-SVD', True), ('HOSVD', True), ('balanced tree', True), ('CP', True)]
    """
    shape = tuple(int(n) for n in x.shape)
    formats: list[tuple[str, Callable[..., Structure]]] = [
        ("TT-SVD", tnet.tensor_train),
        ("HOSVD", tnet.tucker),
        ("balanced tree", tnet.balanced_tree),
    ]
    for name, format_ in formats:
        structure = _textbook(x, format_, tol)
        begun = time.monotonic()
        net = tnet.decompose(x, structure)
        error = tnet.relative_error(net, x)
        yield FixedFormat(
            name=name,
            num_params=net.num_params,
            error=error,
            seconds=time.monotonic() - begun,
            tol=tol,
            structure=net.structure,
        )
    if len(shape) > 2:
        yield _cp(x, shape, tol, rng, cp_seconds)


def _textbook(x: Array, format_: Callable[..., Structure], tol: float) -> Structure:
    """Return a tree format with the ranks of the sequentially truncated textbook algorithm.

    Bond after bond from the leaves to the root, each cut to tol / sqrt(E) of ||X|| on what the
    cuts before it have left. Worked out on a fine network of the data, which stands for them.
    """
    net = tnet.decompose(x, format_, tol=FINE * tol)
    tree = tnet.rooted(net.structure)
    allowed = tol / math.sqrt(max(1, len(tree.bond))) * tnet.norm(net)
    for node in tree.post_order:
        if node in tree.bond:
            bond = tree.bond[node]
            values = tnet.bond_spectra(net)[bond]
            net = tnet.truncate(net, {bond: Truncation().rank(list(values), allowed=allowed)})
    return net.structure


def _cp(
    x: Array, shape: tuple[int, ...], tol: float, rng: np.random.Generator, most: float
) -> FixedFormat:
    """Raise the rank until the error is reached, the dense size is, or the time is over."""
    begun = time.monotonic()
    rank = 1
    while True:
        structure = tnet.cp(shape, rank)
        found = tnet.fit(x, structure, rng=rng)
        spent = time.monotonic() - begun
        full = structure.num_params + sum(shape) > int(np.prod(shape))
        if found.error <= tol or full or spent > most:
            return FixedFormat(
                name="CP",
                num_params=structure.num_params,
                error=found.error,
                seconds=spent,
                tol=tol,
                structure=structure,
            )
        rank += 1
