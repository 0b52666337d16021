"""Parts: the pieces of a network that share no label, and trees put together from theirs."""

from __future__ import annotations

from collections.abc import Sequence

from contraction.spec import Canonical
from contraction.tree import Pairs, build_tree, reorder

Leaves = Sequence[tuple[int, ...]]


def components(leaves: Leaves) -> list[list[int]]:
    """Return the parts of a network that share no label, each a list of inputs.

    Examples
    --------
    >>> components([(0, 1), (2,), (1,), ()])
    [[0, 2], [1], [3]]
    """
    holders: dict[int, list[int]] = {}
    for value, labels in enumerate(leaves):
        for label in labels:
            holders.setdefault(label, []).append(value)
    seen = [False] * len(leaves)
    parts: list[list[int]] = []
    for start in range(len(leaves)):
        if seen[start]:
            continue
        seen[start] = True
        found = [start]
        for value in found:  # grows while it is walked
            for label in leaves[value]:
                for other in holders.pop(label, ()):
                    if not seen[other]:
                        seen[other] = True
                        found.append(other)
        parts.append(sorted(found))
    return parts


def restricted(
    canonical: Canonical, leaves: Leaves, part: Sequence[int]
) -> tuple[Canonical, tuple[int, ...]]:
    """Return a part as a contraction of its own, and its labels in the whole."""
    number: dict[int, int] = {}
    inputs = tuple(
        tuple(number.setdefault(x, len(number)) for x in leaves[value]) for value in part
    )
    output = tuple(number[x] for x in canonical.output if x in number)
    return Canonical(inputs, output, tuple(canonical.sizes[x] for x in number)), tuple(number)


def factors_first(canonical: Canonical, pairs: Pairs) -> Pairs:
    """Return a tree that multiplies a value without labels onto the smallest value there is.

    Examples
    --------
    >>> canonical = Canonical(((0, 1), (1, 2), (3,), (3,)), (0, 2), (9, 2, 9, 5))
    >>> factors_first(canonical, ((0, 1), (2, 3), (5, 4)))
    ((2, 3), (0, 4), (5, 1))
    """
    tree, count = build_tree(canonical, pairs), len(pairs) + 1
    sizes = [tree.size(value) for value in range(2 * count - 1)]
    for step, pair in enumerate(pairs):
        factor, other = sorted(pair, key=lambda value: len(tree.legs[value]))
        if tree.legs[factor] or not tree.legs[other]:
            continue
        least = min(_below(pairs, other), key=lambda value: (sizes[value], value))
        if sizes[least] < sizes[other]:
            return _moved(pairs, step, (factor, other, least))
    return pairs


def _below(pairs: Pairs, root: int) -> list[int]:
    """Return a value and all values that it is made of."""
    count, found = len(pairs) + 1, [root]
    for value in found:  # grows while it is walked
        found += pairs[value - count] if value >= count else ()
    return found


def _moved(pairs: Pairs, step: int, values: tuple[int, int, int]) -> Pairs:
    """Return the tree in which a step multiplies its factor onto a value below the other one."""
    count = len(pairs) + 1
    factor, other, least = values
    changed = list(pairs)
    changed[step] = pairs[other - count]  # the two change places
    changed = [(other if i == least else i, other if j == least else j) for i, j in changed]
    changed[other - count] = (least, factor)
    return reorder(changed, count)
