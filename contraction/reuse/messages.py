"""Messages: the tree of a plan with a value for each direction of each of its edges.

A contraction is linear in each input. Going up, every step makes a value; going down, the
derivative by a value is the derivative by its parent times its sibling (Linnainmaa 1976; on
trees: Pearl 1982). Where three edges meet each of the three products has the same labels, so
that a downward step costs as many multiply-adds as the upward step it mirrors, and all
derivatives together twice one contraction.

The numbers of the values are those of the plan with one more input: the cotangent, by which
the result is weighted. Inputs are 0 .. n-1, the cotangent is n, upward step k makes n+1+k, and
the downward steps follow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from contraction.cost import CostModel
from contraction.lowering import Order, Way, choose_ways
from contraction.memory import workspace
from contraction.program import Layouts, Load, Shape, Step, View, final_view, make_loads, make_step
from contraction.spec import Canonical
from contraction.tree import Pair, Tree, build_tree
from contraction.ways import HUGE, StepWays, walk

MANY = 1000  # inputs above which fewer axis orders are compared


class Finish(NamedTuple):
    """How the derivative by an input, as it lies in memory, becomes an array of its shape.

    Reshape, permute, reshape, each left out where it changes nothing; broadcast along the
    labels that the input alone holds; put on the diagonal of labels that it repeats.
    """

    first: Shape | None
    axes: tuple[int, ...] | None
    last: Shape | None
    spread: Shape | None
    diagonal: tuple[int, ...] | None  # for each axis of the input, the axis that has its label
    shape: Shape
    copied: bool  # the message is also another value, or the caller's
    size: int  # entries written beside the message itself


class Messages(NamedTuple):
    """All steps up and down a tree, as plain data."""

    inputs: int
    loads: tuple[Load, ...]
    steps: tuple[Step, ...]  # step k makes value inputs + 1 + k
    parents: tuple[int, ...]  # of each input and upward value; -1 for the root
    siblings: tuple[int, ...]  # likewise, the other value under the parent
    pairs: tuple[tuple[int, int], ...]  # the two values under upward step k
    derivatives: dict[int, int]  # value -> the value that holds the derivative by it
    finishes: dict[int, Finish]  # input -> how to shape its derivative
    cotangent: Shape  # labels of size one left out; empty for a scalar
    final: View
    sizes: tuple[int, ...]  # entries of every value; nothing for inputs that are not copied
    beside: tuple[int, ...]  # entries that each step needs for a moment beside its result

    @property
    def root(self) -> int:
        """The value that holds the result."""
        return self.inputs + len(self.pairs) if self.pairs else 0


def build_messages(
    canonical: Canonical,
    pairs: Sequence[tuple[int, int]],
    model: CostModel,
    layouts: Layouts | None = None,
    leaves: Iterable[int] | None = None,
    *,
    weighted: bool = True,
    library: str = "numpy",
) -> Messages:
    """Return the steps up the tree and down to the inputs `leaves` (all by default).

    Parameters
    ----------
    canonical, pairs
        What is contracted, and its tree.
    model
        Rates by which kernels and axis orders are chosen. The upward steps are those of the
        plan; for the downward steps a dynamic programme over the tree chooses.
    layouts
        For each input the permutation that makes its memory C-contiguous, None for all plain.
    weighted
        Whether there is a cotangent. Without one the result must be a scalar; the derivatives
        by the two values under the root are then each other, which saves two steps.
    library
        Whose kernels will do the steps; it matters for what they need beside their results.

    Cost: linear in the number of labels of all values.
    """
    tree = build_tree(canonical, pairs)
    loads, orders, shapes = make_loads(canonical, tree, layouts)
    count = len(orders)
    ways, every = choose_ways(tree, orders, model, width=6 if count <= MANY else 2)[:2]
    wanted = range(count) if leaves is None else sorted(set(leaves))
    whole, parents, derivatives = _both_ways(tree, wanted, weighted or bool(tree.output))
    known = [*every[:count], tree.output, *every[count:]]
    down = _choose_down(whole, known, derivatives, count, model)
    memory = [*known, *(order for _, order in down)]
    seen = [*shapes, tuple(tree.sizes[x] for x in tree.output)]
    steps = []
    for k, way in enumerate([*ways, *(way for way, _ in down)]):
        step, shape = make_step(whole, k, way, memory, seen)
        steps.append(step)
        seen.append(shape)
    shared = {i for i in wanted if derivatives[i] < 2 * count}
    finishes = {
        i: _finish(canonical, i, memory[derivatives[i]], seen[derivatives[i]], i in shared)
        for i in wanted
    }
    entries = [0] * (count + 1) + [step.size for step in steps]
    for load in loads:
        entries[load.value] = load.size
    root = 2 * count - 1 if count > 1 else 0
    return Messages(
        count,
        loads,
        tuple(steps),
        parents,
        _siblings(whole.pairs[: count - 1], 2 * count),
        tuple((pair.left, pair.right) for pair in whole.pairs[: count - 1]),
        derivatives,
        finishes,
        seen[count],
        final_view(canonical, tree, memory[root], seen[root]),
        tuple(entries),
        tuple(workspace(steps, library)),
    )


def _siblings(pairs: Sequence[Pair], total: int) -> tuple[int, ...]:
    siblings = [-1] * total
    for pair in pairs:
        siblings[pair.left], siblings[pair.right] = pair.right, pair.left
    return tuple(siblings)


def _both_ways(
    tree: Tree, wanted: Iterable[int], weighted: bool
) -> tuple[Tree, tuple[int, ...], dict[int, int]]:
    """Return the tree with its downward steps, the parents, and the derivative of each value."""
    count = len(tree.leaves)

    def shifted(value: int) -> int:
        return value if value < count else value + 1

    up = [p._replace(left=shifted(p.left), right=shifted(p.right)) for p in tree.pairs]
    parents = [-1] * (2 * count)
    for k, pair in enumerate(up):
        parents[pair.left] = parents[pair.right] = count + 1 + k
    asked = [False] * (2 * count)
    for leaf in wanted:
        value = leaf
        while value >= 0 and not asked[value]:
            asked[value] = True
            value = parents[value]
    legs = [*tree.leaves, tree.output, *tree.legs[count:]]
    root = 2 * count - 1 if count > 1 else 0
    derivatives = {root: count}
    down: list[Pair] = []
    stack = [root]
    while stack:
        value = stack.pop()
        if value < count:
            continue
        pair = up[value - count - 1]
        for target, other, gone, new in (
            (pair.left, pair.right, pair.right_only, pair.left_only),
            (pair.right, pair.left, pair.left_only, pair.right_only),
        ):
            if not asked[target]:
                continue
            if value == root and not weighted:
                derivatives[target] = other  # a product of two: each is the other's derivative
            else:
                step = Pair(derivatives[value], other, pair.batch, gone, new, pair.summed)
                derivatives[target] = 2 * count + len(down)
                down.append(step)
                legs.append((*pair.batch, *new, *pair.summed))
            stack.append(target)
    whole = Tree((*tree.leaves, tree.output), (*up, *down), tuple(legs), tree.sizes, ())
    return whole, tuple(parents), derivatives


class _Choice(NamedTuple):
    """A way to make a message in one order from one order of the message above."""

    seconds: float
    order: int
    way: Way


def _choose_down(
    tree: Tree,
    known: Sequence[Order],
    derivatives: dict[int, int],
    count: int,
    model: CostModel,
) -> list[tuple[Way, Order]]:
    """Return the way and the axis order of every downward step, the cheapest in all.

    From the root downwards each message gets a few candidate orders; from the leaves upwards
    the cheapest continuation of each is summed; downwards again they are picked.
    """
    first = 2 * count
    width = 5 if count <= MANY else 2
    pairs = tree.pairs[count - 1 :]
    wishes = _wishes(tree, derivatives, count)
    orders: list[list[Order]] = [[order] for order in known]
    choices: list[list[list[_Choice]]] = []
    for k, pair in enumerate(pairs):
        step = StepWays(tree, pair, wishes.get(first + k, {}), model)
        kept, found = _options(step, orders[pair.left], known[pair.right], width)
        orders.append(kept)
        choices.append(found)
    below = [[0.0] * len(options) for options in orders]
    for leaf, message in derivatives.items():  # best is the order of the input itself
        if leaf < count and message >= first:
            below[message] = [_turn(tree, model, o, known[leaf]) for o in orders[message]]
    for k in range(len(pairs) - 1, -1, -1):
        costs, above = below[first + k], below[pairs[k].left]
        for i, options in enumerate(choices[k]):
            above[i] += min(c.seconds + costs[c.order] for c in options)
    picked = [0] * len(orders)
    made = []
    for k, pair in enumerate(pairs):
        costs = below[first + k]
        best = min(choices[k][picked[pair.left]], key=lambda c: c.seconds + costs[c.order])
        picked[first + k] = best.order
        made.append((best.way, orders[first + k][best.order]))
    return made


def _turn(tree: Tree, model: CostModel, order: Order, wanted: Order) -> float:
    """Return the seconds of bringing the axes of a result from one order to another."""
    if order == wanted:
        return 0.0
    size = min(math.prod([tree.sizes[x] for x in order]), HUGE)
    return model.copy(size, *walk(order, wanted, tree.sizes))


def _options(
    step: StepWays, above: Sequence[Order], other: Order, width: int
) -> tuple[list[Order], list[list[_Choice]]]:
    """Return candidate orders of a result, and from each order above the ways to them."""
    tables: list[dict[Order, tuple[float, Way]]] = []
    least: dict[Order, float] = {}
    for order in above:
        table: dict[Order, tuple[float, Way]] = {}
        for seconds, made, way in step.ways(order, other):
            if made not in table or seconds < table[made][0]:
                table[made] = seconds, way
                least[made] = min(seconds, least.get(made, seconds))
        tables.append(table)
    kept = sorted(least, key=lambda o: least[o])[:width]
    for table in tables:  # every order above leads on
        if not any(order in table for order in kept):
            kept.append(min(table, key=lambda o: table[o][0]))
    number = {order: i for i, order in enumerate(kept)}
    found = [
        [_Choice(seconds, number[o], way) for o, (seconds, way) in table.items() if o in number]
        for table in tables
    ]
    return kept, found


def _wishes(tree: Tree, derivatives: dict[int, int], count: int) -> dict[int, dict[int, int]]:
    """Return, for each message, a rank of its labels: those of one fate together."""
    wishes = {}
    for value, message in derivatives.items():
        if value > count:
            pair = tree.pairs[value - count - 1]
            labels = (*pair.batch, *pair.left_only, *pair.right_only)
            wishes[message] = {label: i for i, label in enumerate(labels)}
    return wishes


def _finish(canonical: Canonical, value: int, order: Order, memory: Shape, shared: bool) -> Finish:
    """Return how the derivative by input `value` is shaped, from `order` and shape in memory."""
    sizes, labels = canonical.sizes, canonical.inputs[value]
    distinct = tuple(dict.fromkeys(labels))
    place = {x: i for i, x in enumerate(order)}
    first: Shape | None = tuple(sizes[x] for x in order)
    axes: tuple[int, ...] | None = tuple(place[x] for x in distinct if x in place)
    last = tuple(sizes[x] if x in place else 1 for x in distinct)
    turned = axes != tuple(range(len(order)))
    seen = tuple(sizes[order[axis]] for axis in axes or ()) if turned else memory
    spread = tuple(sizes[x] for x in distinct)
    shape = tuple(sizes[x] for x in labels)
    repeated, broadcast = len(distinct) < len(labels), spread != last
    copied = shared and not repeated and not broadcast
    return Finish(
        first if turned and first != memory else None,
        axes if turned else None,
        last if last != seen else None,
        spread if broadcast else None,
        tuple(distinct.index(x) for x in labels) if repeated else None,
        shape,
        copied,
        math.prod(spread) * (broadcast or copied) + math.prod(shape) * repeated,
    )
