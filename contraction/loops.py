"""Loops: a sliced tree cut into parts, each done again only when a loop it depends on moves on.

The sliced labels are looped over, the first of them outermost. A value depends on the loops of
the sliced labels that the inputs below it hold; the innermost of these is its depth. Where the
depth rises from a value to the one made of it, the tree is cut: what lies below is contracted
once for each turn of its own loops and kept while the inner ones run. Depth zero is done once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from contraction.spec import Canonical
from contraction.tree import Pairs, Tree, build_tree


class Part(NamedTuple):
    """A piece of the tree between two cuts: a contraction of its own."""

    value: int  # of the whole tree, made by this part
    depth: int  # number of the outer loops that it depends on
    members: tuple[int, ...]  # inputs and values of other parts
    pairs: Pairs  # over the members


def sliced_canonical(canonical: Canonical, slices: Sequence[int]) -> Canonical:
    """Return the contraction of one slice: `slices` removed from all inputs and the output.

    The other labels keep their numbers and all labels their sizes.

    Examples
    --------
    >>> sliced_canonical(Canonical(((0, 1), (1, 2)), (0, 2), (2, 3, 4)), [1])
    Canonical(inputs=((0,), (2,)), output=(0, 2), sizes=(2, 3, 4))
    """
    gone = set(slices)
    if not gone:
        return canonical
    inputs = tuple(tuple(x for x in labels if x not in gone) for labels in canonical.inputs)
    return Canonical(inputs, tuple(x for x in canonical.output if x not in gone), canonical.sizes)


def loop_order(
    canonical: Canonical, pairs: Sequence[tuple[int, int]], slices: Sequence[int]
) -> tuple[int, ...]:
    """Return the sliced labels in an order of loops that repeats little work, outermost first.

    From the innermost loop outwards each takes the label that makes the steps which then need
    not be repeated save the most. Cost: the number of steps times that of the labels.
    """
    labels = sorted(set(slices))
    if len(labels) < 2:
        return tuple(labels)
    bit = {label: k for k, label in enumerate(labels)}
    tree = build_tree(sliced_canonical(canonical, labels), pairs)
    below = [sum(1 << bit[x] for x in set(held) & bit.keys()) for held in canonical.inputs]
    for pair in tree.pairs:
        below.append(below[pair.left] | below[pair.right])
    work = [tree.step_size(pair) for pair in tree.pairs]
    most = max(max(work, default=1), 1)
    left: dict[int, float] = {}  # the work of the steps that depend on the same loops
    for mask, size in zip(below[len(canonical.inputs) :], work, strict=True):
        left[mask] = left.get(mask, 0.0) + size / most
    order: list[int] = []
    while labels:
        total = sum(left.values())
        cost = {x: sum(w for mask, w in left.items() if mask >> bit[x] & 1) for x in labels}

        def repeated(x: int, total: float = total, cost: dict[int, float] = cost) -> float:
            return cost[x] + (total - cost[x]) / max(canonical.sizes[x], 1)

        inner = min(labels, key=repeated)
        order.append(inner)
        labels.remove(inner)
        left = {mask: w for mask, w in left.items() if not mask >> bit[inner] & 1}
    return tuple(reversed(order))


def depths_of(
    canonical: Canonical, pairs: Sequence[tuple[int, int]], loops: Sequence[int]
) -> list[int]:
    """Return for each value of the tree how many of the loops it depends on."""
    place = {label: k + 1 for k, label in enumerate(loops)}
    depths = [max((place.get(x, 0) for x in held), default=0) for held in canonical.inputs]
    for i, j in pairs:
        depths.append(max(depths[i], depths[j]))
    return depths


def parts_of(tree: Tree, canonical: Canonical, depths: Sequence[int]) -> tuple[Part, ...]:
    """Return the parts of a sliced tree, every one after those it needs.

    Parameters
    ----------
    tree, canonical
        Of one slice.
    depths
        Of all values; a value no shallower than the one made of it is not cut off.
    """
    count, total = len(tree.leaves), len(tree.legs)
    parent = [total - 1] * total
    for k, pair in enumerate(tree.pairs):
        parent[pair.left] = parent[pair.right] = count + k
    cut = [depths[v] < depths[parent[v]] for v in range(total)]
    for v in range(count):  # an input that is taken as it is needs no part
        cut[v] = cut[v] and (depths[v] > 0 or tuple(canonical.inputs[v]) != tree.leaves[v])
    cut[-1] = True
    owner = list(range(total))
    for v in range(total - 1, -1, -1):
        owner[v] = v if cut[v] else owner[parent[v]]
    members: dict[int, list[int]] = {v: [v] if v < count else [] for v in range(total) if cut[v]}
    steps: dict[int, list[int]] = {v: [] for v in members}
    for k, pair in enumerate(tree.pairs):
        home = owner[count + k]
        steps[home].append(k)
        members[home] += [v for v in (pair.left, pair.right) if cut[v] or v < count]
    return tuple(
        Part(v, depths[v], tuple(members[v]), _local(tree, count, members[v], steps[v]))
        for v in members
    )


def _local(tree: Tree, count: int, members: list[int], steps: list[int]) -> Pairs:
    name = {value: i for i, value in enumerate(members)}
    name |= {count + k: len(members) + i for i, k in enumerate(steps)}
    return tuple((name[tree.pairs[k].left], name[tree.pairs[k].right]) for k in steps)


def repeats(sizes: Sequence[int]) -> list[int]:
    """Return how often what depends on 0, 1, 2, ... of the loops is done.

    Examples
    --------
    >>> repeats((3, 4))
    [1, 3, 12]
    """
    return [math.prod(sizes[:depth]) for depth in range(len(sizes) + 1)]
