"""Fitting one structure to the data of a search: from a start, by factorisation, or at random."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import tnet
from contraction.arrays import Array, namespace
from contraction.errors import MemoryBudgetError
from structure_search.results import Source
from tnet.network import Network
from tnet.structure import Structure

NEAR = 1.5  # a start that ends so near the goal misses for want of parameters, not of luck
COLUMNS = 4096  # bond values at one node; the square of it is held, and solved, in a sweep


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A fitted network; its certificate states the error."""

    network: Network = field(repr=False)
    error: float
    sweeps: int
    source: Source
    seconds: float = 0.0


class Fitter:
    """Fits structures to one array; what fits share is prepared once.

    Parameters
    ----------
    x
        The data; finite.
    """

    def __init__(self, x: Array) -> None:
        self.target = tnet.Target(x)

    def improve(
        self, start: Network, *, sweeps: int, enough: float, rng: np.random.Generator
    ) -> Fitted:
        """Return `start` after up to `sweeps` sweeps of alternating least squares."""
        options = tnet.ALS(tol=_tolerance(enough), probe=max(1, sweeps), polish=0)
        found = tnet.fit(self.target, start.structure, start=start, rng=rng, options=options)
        return Fitted(
            network=found.network, error=found.error, sweeps=found.sweeps, source=Source.FIT
        )

    def fit(
        self,
        structure: Structure,
        *,
        start: Network | None,
        sweeps: int,
        restarts: int,
        enough: float,
        rng: np.random.Generator,
    ) -> Fitted:
        """Return the best network found from `start`, then from random ones while it misses.

        Without a start a tree begins from its direct factorisation, which is often enough.

        Raises
        ------
        MemoryBudgetError
            A node has so many bond values that its normal equations would fill the memory, and
            the structure is no tree, which could be factorised without them.
        """
        widest = most_columns(structure)
        if widest > COLUMNS and structure.is_tree:
            return self.factorise(structure)
        if widest > COLUMNS:
            raise MemoryBudgetError(
                f"a node of the structure has {widest} bond values, and its least-squares "
                f"problem a matrix of that many rows and columns; at most {COLUMNS} are fitted."
            )
        best: Fitted | None = None
        if start is not None:
            best = self.improve(start, sweeps=sweeps, enough=enough, rng=rng)
        elif structure.is_tree:
            best = self.factorise(structure)
            if sweeps and best.error > enough:
                better = self.improve(best.network, sweeps=sweeps, enough=enough, rng=rng)
                best = better if better.error < best.error else best
        if best is not None and (best.error <= NEAR * enough or not restarts):
            return best
        options = tnet.ALS(
            tol=_tolerance(enough),
            restarts=max(1, restarts),
            probe=max(1, sweeps),
            polish=0,
            winning_error=enough if enough > 0.0 else None,
        )
        found = tnet.fit(self.target, structure, rng=rng, options=options)
        done = found.sweeps + (best.sweeps if best else 0)
        if best is None or found.error < best.error:
            return Fitted(network=found.network, error=found.error, sweeps=done, source=Source.FIT)
        return Fitted(network=best.network, error=best.error, sweeps=done, source=best.source)

    def factorise(self, structure: Structure) -> Fitted:
        """Return the direct factorisation of the data on a tree."""
        net = tnet.decompose(self.target.x, structure)
        assert net.error is not None
        error = float(net.error)
        return Fitted(network=net, error=error, sweeps=0, source=Source.EXACT)


def most_columns(structure: Structure) -> int:
    """Return the largest product of ranks at one node: the unknowns of its least squares.

    Examples
    --------
    >>> most_columns(tnet.tucker((4, 5, 6), (2, 2, 3)))
    12
    """
    ranks = structure.ranks
    return max(math.prod(ranks[x] for x in legs if x in ranks) for _, legs in structure.nodes)


def _tolerance(enough: float) -> float:
    return min(max(enough, 0.0), 0.999)


def conform(net: Network, structure: Structure) -> Network | None:
    """Return `net` on `structure`, if they differ in bonds of rank one and leg order alone.

    Examples
    --------
    >>> a = Structure({"a": ("x",), "b": ("y",)}, {"x": 2, "y": 3})
    >>> net = Network(a, {"a": np.ones(2), "b": np.ones(3)})
    >>> conform(net, a.with_bond("a", "b")).ranks["a-b"]
    1
    """
    if net.structure == structure:
        return net
    if set(net.structure.legs) != set(structure.legs):
        return None
    arrays: dict[str, Array] = {}
    for node, legs in structure.nodes:
        old, size = net.structure.legs[node], net.structure.size
        idle = [leg for leg in {*old} ^ {*legs} if size.get(leg, structure.size.get(leg)) != 1]
        if idle or any(structure.size[leg] != size.get(leg, 1) for leg in legs):
            return None
        xp: Any = namespace(net[node])
        kept = [leg for leg in old if leg in legs]
        x: Any = net[node].reshape(tuple(size[leg] for leg in kept))
        x = xp.permute_dims(x, tuple(kept.index(leg) for leg in legs if leg in kept))
        arrays[node] = x.reshape(structure.node_shape(node))
    return Network(structure, arrays, certificate=net.certificate)
