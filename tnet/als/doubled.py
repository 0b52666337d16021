"""Normal equations of one node without its block: each of the other nodes with its conjugate.

The block B of a node on a dense graph has many rows and columns, and its Gram matrix, at
rows x columns^2 operations, is what a sweep spends its time on. The same matrix is a contraction
of the pairs (node, conjugate node), each summed over its own mode and with a bond of rank r for
r^2; the right-hand side is one of the data with the nodes. Neither ever makes B.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from contraction.arrays import Array
from tnet.als.pairs import COPY, Block, Labels, View, compile_block, permutation, transposed, viewed

DEAR = 1e7  # operations of a Gram matrix below which this is not worth compiling
ROOM = 1.0  # times the entries of the block may be held at most
MOST = 8  # operands, with the data: beyond that their order is greedy


class Source(NamedTuple):
    """An operand as a matrix, and its Gram matrix with every bond beside its conjugate."""

    matrix: View  # to (summed, bonds)
    pairs: tuple[int, ...]  # shape of the Gram matrix: bonds, bonds
    order: tuple[int, ...]
    shape: tuple[int, ...]  # a squared rank for each bond


@dataclass(frozen=True)
class Doubled:
    """The compiled normal equations of a node."""

    sources: tuple[Source, ...]
    gram: Block
    pairs: tuple[int, ...]  # shape of what `gram` makes: each rank twice
    order: tuple[int, ...]  # to (columns, columns)
    rhs: Block  # of the data and the conjugate operands
    flops: float  # with the entries moved, as `visit_flops` counts them

    def equations(
        self, data: Array, operands: Sequence[Array], conj: Callable[[Any], Any]
    ) -> tuple[Array, Array]:
        """Return G = B^T conj(B) and data conj(B)."""
        squares = []
        for source, x in zip(self.sources, operands, strict=True):
            matrix: Any = viewed(x, source.matrix)
            square = (matrix.T @ conj(matrix)).reshape(source.pairs)
            squares.append(transposed(square, source.order).reshape(source.shape))
        made: Any = transposed(self.gram.run(squares).reshape(self.pairs), self.order)
        columns = math.isqrt(math.prod(self.pairs))
        rhs = self.rhs.run([data, *map(conj, operands)])
        return made.reshape((columns, columns)), rhs


def compile_doubled(
    inputs: Sequence[Labels],
    data: Labels,
    rest: Labels,
    columns: Labels,
    sizes: Mapping[str, int],
    *,
    less_than: float,
) -> Doubled | None:
    """Compile the normal equations of a node if they take fewer flops that way.

    Parameters
    ----------
    inputs
        Labels of the operands; those that `data` has too are summed over.
    data, rest
        Labels of the data, and those of them that are the node's own.
    columns
        The node's bonds.
    sizes
        Of all labels.
    less_than
        The flops of making the block and its Gram matrix.
    """
    rows, width = set(data) - set(rest), math.prod(sizes[x] for x in columns)
    height = math.prod(sizes[x] for x in rows)
    if height < width or height * width**2 < DEAR or len(inputs) >= MOST:
        return None
    bonds = [tuple(x for x in labels if x not in rows) for labels in inputs]
    squared = {x: sizes[x] ** 2 for x in {*columns}.union(*bonds)}
    gram = compile_block(bonds, (), columns, squared)
    rhs = compile_block([data, *inputs], rest, columns, sizes)
    moved = 2.0 * sum(_entries(part, squared) for part in bonds) + gram.moved + rhs.moved
    if moved > ROOM * height * width:
        return None
    squaring = sum(
        2.0 * _entries(labels, sizes) * _entries(part, sizes)
        for labels, part in zip(inputs, bonds, strict=True)
    )
    flops = squaring + gram.flops + rhs.flops + 2.0 * COPY * moved + float(width) ** 3
    if flops >= less_than:
        return None
    return Doubled(
        tuple(_source(x, part, sizes) for x, part in zip(inputs, bonds, strict=True)),
        gram,
        tuple(sizes[x] for x in columns for _ in range(2)),
        tuple(range(0, 2 * len(columns), 2)) + tuple(range(1, 2 * len(columns), 2)),
        rhs,
        flops,
    )


def _source(labels: Labels, bonds: Labels, sizes: Mapping[str, int]) -> Source:
    summed = tuple(x for x in labels if x not in bonds)
    count = len(bonds)
    return Source(
        (permutation(labels, summed + bonds), (_entries(summed, sizes), _entries(bonds, sizes))),
        2 * tuple(sizes[x] for x in bonds),
        tuple(k + half for k in range(count) for half in (0, count)),
        tuple(sizes[x] ** 2 for x in bonds),
    )


def _entries(labels: Collection[str], sizes: Mapping[str, int]) -> int:
    return math.prod(sizes[x] for x in labels)
