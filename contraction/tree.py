"""The contraction tree: which labels each pairwise step sums, keeps and shares.

A tree is written as pairs in static single assignment form: the inputs are 0 .. n-1 and the
k-th pair makes value n+k. Every value is used once, so n inputs need n-1 pairs.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

from contraction.errors import PlanError
from contraction.spec import Canonical

Pairs = tuple[tuple[int, int], ...]


class Pair(NamedTuple):
    """One step: two values, and their labels sorted by what becomes of them."""

    left: int
    right: int
    batch: tuple[int, ...]  # on both and kept
    summed: tuple[int, ...]  # on both and gone afterwards
    left_only: tuple[int, ...]
    right_only: tuple[int, ...]


class Tree(NamedTuple):
    """A contraction tree with the labels of all its values. Labels of size one are left out."""

    leaves: tuple[tuple[int, ...], ...]  # labels of the inputs once their own sums are done
    pairs: tuple[Pair, ...]
    legs: tuple[tuple[int, ...], ...]  # labels of every value, inputs first
    sizes: tuple[int, ...]
    output: tuple[int, ...]

    def size(self, value: int) -> int:
        """Return the number of entries of a value."""
        return math.prod(self.sizes[label] for label in self.legs[value])

    def step_size(self, pair: Pair) -> int:
        """Return the number of multiply-adds of a step."""
        labels = pair.batch + pair.summed + pair.left_only + pair.right_only
        return math.prod(self.sizes[label] for label in labels)


def leaf_labels(canonical: Canonical) -> tuple[tuple[tuple[int, ...], ...], list[int]]:
    """Return what is left of each input after its own sums, and the holders of each label.

    Repeated labels are taken once (a diagonal) and labels that nothing else holds are summed.
    The output counts as one holder. Labels of size one are left out of both.
    """
    sizes = canonical.sizes
    wide = [tuple(dict.fromkeys(x for x in ls if sizes[x] != 1)) for ls in canonical.inputs]
    holders = [0] * len(sizes)
    for labels in (*wide, canonical.output):
        for label in labels:
            holders[label] += 1
    leaves = tuple(tuple(x for x in labels if holders[x] > 1) for labels in wide)
    return leaves, holders


def build_tree(canonical: Canonical, pairs: Sequence[tuple[int, int]]) -> Tree:
    """Return the tree of `pairs`. Cost: linear in the number of labels of all values.

    Raises
    ------
    PlanError
        The pairs are not one tree over all inputs.
    """
    leaves, holders = leaf_labels(canonical)
    legs: list[tuple[int, ...] | None] = [*leaves]
    check_pairs(pairs, len(leaves))
    steps, every = [], list(leaves)
    for i, j in pairs:
        left, right = legs[i] or (), legs[j] or ()
        legs[i] = legs[j] = None
        on_left, on_right = set(left), set(right)
        batch: list[int] = []
        summed: list[int] = []
        for label in left:
            if label in on_right:
                holders[label] -= 1
                (summed if holders[label] == 1 else batch).append(label)
        left_only = tuple(x for x in left if x not in on_right)
        right_only = tuple(x for x in right if x not in on_left)
        steps.append(Pair(i, j, tuple(batch), tuple(summed), left_only, right_only))
        made = (*batch, *left_only, *right_only)
        legs.append(made)
        every.append(made)
    output = tuple(x for x in canonical.output if canonical.sizes[x] != 1)
    return Tree(leaves, tuple(steps), tuple(every), canonical.sizes, output)


def read_path(path: Any, count: int) -> Pairs:
    """Return the pairs of a path as `numpy.einsum_path` and opt_einsum write it.

    Each step names the positions of its operands in the list of those still there, and its
    result goes to the end of the list. The operands of a step of more than two are joined from
    the left; a step of one does nothing.

    Raises
    ------
    PlanError
        Not a list of such steps over `count` operands.

    Examples
    --------
    >>> read_path(["einsum_path", (1, 2), (0, 1)], 3)
    ((1, 2), (0, 3))
    """
    alive, pairs = list(range(count)), []
    try:
        steps = [list(map(operator.index, step)) for step in path if step != "einsum_path"]
    except TypeError as error:
        raise PlanError(
            "a path is a list of steps, each the positions of the operands it joins, such as "
            f"[(0, 1), (0, 1)]; got {path!r}."
        ) from error
    for k, step in enumerate(steps):
        if not step or len(set(step)) < len(step) or not 0 <= min(step) <= max(step) < len(alive):
            raise PlanError(
                f"step {k} of the path joins the operands at {tuple(step)}; expected different "
                f"positions in 0..{len(alive) - 1}."
            )
        joined, *others = [alive[position] for position in step]
        for position in sorted(step, reverse=True):
            del alive[position]
        for other in others:
            pairs.append((joined, other))
            joined = count + len(pairs) - 1
        alive.append(joined)
    check_pairs(pairs, count)
    return tuple(pairs)


def check_pairs(pairs: Sequence[Sequence[int]], count: int) -> None:
    """Raise `PlanError` unless `pairs` is one tree over `count` inputs."""
    if len(pairs) != count - 1:
        raise PlanError(f"{count} inputs need {count - 1} pairs, got {len(pairs)}.")
    used = [False] * (2 * count - 1)
    for k, pair in enumerate(pairs):
        if len(pair) != 2:
            raise PlanError(f"step {k} of the path joins two values, got {tuple(pair)}.")
        for value in pair:
            if not 0 <= value < count + k or used[value]:
                raise PlanError(
                    f"step {k} of the path uses value {value}, which "
                    f"{'was used before' if 0 <= value < count + k else 'does not exist yet'}; "
                    f"inputs are 0..{count - 1} and step k makes value {count}+k."
                )
            used[value] = True


def order_for_memory(tree: Tree, work: Sequence[int] = ()) -> Pairs:
    """Return the same tree with its steps ordered so that little is alive at once.

    Of the two branches under a step the one whose peak exceeds its result by more is made
    first (Sethi and Ullman 1970). The inputs belong to the caller and count nothing.

    Parameters
    ----------
    tree
        The tree.
    work
        For each step the entries that it needs beside its operands and its result, if known.
    """
    count = len(tree.leaves)
    size = [0] * count + [tree.size(count + k) for k in range(len(tree.pairs))]
    peak = [0] * count
    children = []
    for k, pair in enumerate(tree.pairs):
        first, second = pair.left, pair.right
        if peak[second] - size[second] > peak[first] - size[first]:
            first, second = second, first
        children.append((first, second))
        both = size[first] + size[second] + size[count + k] + (work[k] if work else 0)
        peak.append(max(peak[first], size[first] + peak[second], both))
    return reorder(children, count)


def reorder(pairs: Sequence[tuple[int, int]], count: int) -> Pairs:
    """Return the tree over `count` inputs with every branch finished before the next.

    Of each pair the first branch is made first. The steps may come in any order, but the last
    is the root.
    """
    stack, order = ([count + len(pairs) - 1] if pairs else []), []
    while stack:  # parents before children, second branches first; then reversed
        value = stack.pop()
        order.append(value)
        stack += [child for child in pairs[value - count] if child >= count]
    renamed = list(range(count)) + [0] * len(order)
    made: list[tuple[int, int]] = []
    for k, value in enumerate(reversed(order)):
        i, j = pairs[value - count]
        made.append((renamed[i], renamed[j]))
        renamed[value] = count + k
    return tuple(made)
