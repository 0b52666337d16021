"""Normal equations over the whole grid: for nodes with many bond values, and few gaps.

Row by row the Gram matrix of a node with C bond values costs m C^2 flops for m entries. It is
also one contraction of the network with itself, where the tensor that tells how often each
entry was observed holds the modes of both:

    G[i, c, c'] = sum over entries e with index i: w[e] phi[e, c] conj(phi[e, c']).

Contracted mode by mode that costs little more than writing G: 7.6 Mflop instead of 4 Gflop for
a Tucker core of 6 x 4 x 6 x 5 over 3,800 entries. The planner tells which way is shorter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contraction import Spec, plan
from contraction.arrays import Array, is_complex, namespace
from contraction.planner import Plan
from tnet.als.layout import Layout
from tnet.als.pairs import Labels

DEAR = 3e6  # flops, row by row, above which looking for a plan (20 ms) pays over 100 sweeps
SPARSE = 16  # times as many entries in the grid as observed: then the grid is not formed
MOST = 1 << 24  # numbers that a plan may hold, unless the solve needs more anyway
GAIN = 2.0  # a plan must save this factor, for its steps are small


@dataclass(frozen=True, eq=False)
class GridVisit:
    """How the normal equations of one node come from the grid.

    Attributes
    ----------
    gram, rhs
        Plans over (weights, cores, conjugate cores) and (sums of values, conjugate cores).
    others
        Places of the other nodes' cores.
    """

    gram: Plan
    rhs: Plan
    others: tuple[int, ...]

    def run(
        self, weights: Array, sums: Array, cores: Sequence[Array], rows: int, columns: int
    ) -> tuple[Array, Array]:
        """Return the Gram matrices (rows, columns, columns) and right-hand sides."""
        held = [cores[k] for k in self.others]
        bras = held
        if is_complex(sums):
            xp = namespace(sums)
            bras = [xp.conj(core) for core in held]
        G: Any = self.gram.run([weights, *held, *bras])
        rhs: Any = self.rhs.run([sums, *bras])
        return G.reshape((rows, columns, columns)), rhs.reshape((rows, columns))


def grid_visit(layout: Layout, node: str, entries: int) -> GridVisit | None:
    """Return the way over the grid for one node, or None where row by row is shorter.

    Parameters
    ----------
    layout
        Of the structure.
    node
        The node that is solved for.
    entries
        Number of observed entries.
    """
    columns = math.prod(layout.sizes[x] for x in layout.ranks[node])
    by_rows = 2.0 * entries * columns**2
    grid = layout.span(layout.names)
    if by_rows < DEAR or grid > SPARSE * entries or len(layout.names) == 1:
        return None
    gram, rhs = _specs(layout, node)
    rows = layout.span((node,))
    if rows * columns**2 > max(MOST, columns**2):
        return None
    made, right = plan(gram), plan(rhs)
    if made.peak_size > max(MOST, 4 * columns**2) or right.peak_size > MOST:
        return None
    if GAIN * (made.flops + right.flops) > by_rows:
        return None
    others = tuple(k for k, name in enumerate(layout.names) if name != node)
    return GridVisit(made, right, others)


def _specs(layout: Layout, node: str) -> tuple[Spec, Spec]:
    sizes: dict[str, int] = dict(layout.sizes)
    bar: Mapping[str, str] = {x: f"{x}\n" for x in layout.shared}  # no leg has such a name
    sizes.update({bar[x]: sizes[x] for x in layout.shared})
    others = [name for name in layout.names if name != node]
    kets = layout.labels(others)
    bras: list[Labels] = [tuple(bar.get(x, x) for x in labels) for labels in kets]
    own = layout.groups([node])
    right = tuple(bar[x] for x in layout.ranks[node])
    everything = layout.groups(layout.names)
    gram = Spec([everything, *kets, *bras], (*own, *layout.ranks[node], *right), sizes)
    rhs = Spec([everything, *bras], (*own, *right), sizes)
    return gram, rhs
