"""Parts: the pieces of a network that share no label, and trees put together from theirs."""

from __future__ import annotations

from collections.abc import Sequence

from contraction.spec import Canonical

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
