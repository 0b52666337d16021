"""Ways: all that a step of a contraction tree can be done by, and what each way would take."""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from contraction.cost import PAGE, CostModel
from contraction.tree import Pair, Tree

Order = tuple[int, ...]
BATCH, KEPT, SUMMED = 0, 1, 2
HUGE = 1 << 200  # entries above which all counts are alike; the product of four is still a float


class Kernel(enum.Enum):
    """What does the arithmetic of a step."""

    MATMUL = "matmul"
    MULTIPLY = "multiply"
    REDUCE = "multiply-sum"


class Copy(enum.Enum):
    """What is done to an operand that no view turns into matrices."""

    NONE = 0
    SUMS_LAST = 1
    SUMS_FIRST = 2


class Way(NamedTuple):
    """One way to do a step: the kernel, and the groups of labels that become its axes.

    For `MATMUL` the left operand is seen as (*batch, m, k) and the right as (*batch, k, n);
    a batch group that an operand lacks becomes an axis of size one. For the others both are
    laid along `batch`, then `summed`.
    """

    kernel: Kernel
    swapped: bool  # the right value is the left operand
    batch: tuple[Order, ...]
    m: Order
    n: Order
    summed: Order
    copy_left: Copy = Copy.NONE
    copy_right: Copy = Copy.NONE


class _Seen(NamedTuple):
    """How a matrix product can look at one operand."""

    outer: tuple[Order, ...]  # kept labels that become batch axes
    inner: Order
    copied: Copy
    seconds: float
    views: tuple[int, int] = (0, 0)  # reshapes and permutations as the left, as the right one
    apart: int = 0  # entries, if it is a view whose rows lie a multiple of a page apart


class StepWays:
    """The ways of doing one step, whatever the axis orders of its two values."""

    def __init__(self, tree: Tree, pair: Pair, wish: dict[int, int], model: CostModel) -> None:
        self.pair, self.sizes, self.wish, self.model = pair, tree.sizes, wish, model
        self.b, self.k = self._volume(pair.batch), self._volume(pair.summed)
        self.m, self.n = self._volume(pair.left_only), self._volume(pair.right_only)
        of_vectors = self.b > 1 and min(self.m, self.n) == 1
        self.turned = model.gemv_turned if of_vectors else model.turned
        self.loop = model.gemv_loop if min(self.m, self.n) == 1 < self.k else 0.0
        self.fate_left = dict.fromkeys(pair.batch, BATCH) | dict.fromkeys(pair.summed, SUMMED)
        self.fate_right = self.fate_left | dict.fromkeys(pair.right_only, KEPT)
        self.fate_left |= dict.fromkeys(pair.left_only, KEPT)
        self._known: dict[tuple[Order, bool, Order], list[_Seen]] = {}

    def _volume(self, labels: Sequence[int]) -> int:
        return min(math.prod([self.sizes[x] for x in labels]), HUGE)

    def ways(self, left: Order, right: Order) -> Iterator[tuple[float, Order, Way]]:
        """Yield (seconds, axis order of the result, way)."""
        if not self.pair.summed:
            yield from self._multiply(left, right)
            return
        yield from self._matmul(left, right)
        fewest = min(self.m, self.n)
        if fewest == 1 or (self.pair.batch and fewest <= 8):
            yield from self._reduce(left, right)

    def _multiply(self, left: Order, right: Order) -> Iterator[tuple[float, Order, Way]]:
        views = ((len(left) > 1) + (len(right) > 1)) * self.model.view
        for order in self._merged(left, right):
            runs, across = zip(*(_run(x, order, self.sizes) for x in (left, right)), strict=True)
            volume = self.b * self.m * self.n
            tile = _tile(order, left, right, self.sizes)
            seconds = self.model.multiply(volume, min(runs), across=any(across), tile=tile)
            seconds += views
            yield seconds, order, Way(Kernel.MULTIPLY, False, singles(order), (), (), ())

    def _reduce(self, left: Order, right: Order) -> Iterator[tuple[float, Order, Way]]:
        summed = self.pair.summed
        volume = self.b * self.m * self.n * self.k
        big, small = (left, right) if self.m >= self.n else (right, left)
        run, across = _run(small, big, self.sizes)
        along, outer = big[-1] in summed, big[0] in summed
        fates = itertools.takewhile(lambda x: (x in summed) is along, reversed(big))
        run = min(run, self._volume(tuple(fates)))  # kept and summed labels are walked apart
        walked = (*(x for x in big if x not in summed), *summed)
        tile = _tile(walked, left, right, self.sizes)
        seconds = self.model.multiply_sum(
            volume, run, along=along, across=across, outer=outer, tile=tile
        )
        seconds += ((len(left) > 1) + (len(right) > 1)) * self.model.view
        held = set(big)
        extra = tuple(x for x in small if x not in held)
        kept = tuple(x for x in big if x not in summed)
        for order in dict.fromkeys([(*kept, *extra), (*extra, *kept)]):
            yield seconds, order, Way(Kernel.REDUCE, False, singles(order), (), (), summed)

    def _merged(self, left: Order, right: Order) -> list[Order]:
        """Return orders of all labels that follow one operand and fit the other in."""
        on_left, on_right = set(left), set(right)
        new_right = tuple(x for x in right if x not in on_left)
        new_left = tuple(x for x in left if x not in on_right)
        orders = [
            (*left, *new_right),
            (*right, *new_left),
            (*new_right, *left),
            (*new_left, *right),
        ]
        return list(dict.fromkeys(orders))

    def _matmul(self, left: Order, right: Order) -> Iterator[tuple[float, Order, Way]]:
        summed = [tuple(x for x in o if self.fate_left.get(x) == SUMMED) for o in (left, right)]
        for k in dict.fromkeys(summed):
            seen = self._seen(left, self.fate_left, k), self._seen(right, self.fate_right, k)
            for a, b in itertools.product(*seen):
                if not (a.outer and b.outer):
                    yield from self._products(left, right, a, b, k)

    def _seen(self, order: Order, fate: dict[int, int], k: Order) -> list[_Seen]:
        key = order, fate is self.fate_left, k
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = list(self._looks(order, fate, k))
        return known

    def _looks(self, order: Order, fate: dict[int, int], k: Order) -> Iterator[_Seen]:
        blocks = _blocks(order, fate)
        kept = [labels for what, labels in blocks if what == KEPT]
        sums = [labels for what, labels in blocks if what == SUMMED]
        last = blocks[-1][0]
        if last != BATCH and sums == [k]:
            # reading across the memory costs the packing of the product some locality
            across = last == KEPT and len(blocks) > 1
            seconds = across * self._volume(order) * self.turned
            if self.loop:
                seconds += self._volume(order) / self._volume(blocks[-1][1]) * self.loop
            views = self._views(order, blocks)
            far = across and self._volume(blocks[-1][1]) % PAGE == 0
            apart = self._volume(order) if far else 0
            if len(kept) <= 1:
                yield _Seen((), kept[0] if kept else (), Copy.NONE, seconds, views, apart)
                return
            inner = kept[-1] if last == KEPT else max(kept, key=self._volume)
            outer = tuple(labels for labels in kept if labels is not inner)
            yield _Seen(outer, inner, Copy.NONE, seconds, (1, 1), apart)
        ends = next((what for what, _ in reversed(blocks) if what != BATCH), SUMMED)
        yield from self._copies(order, kept, k, ends)

    def _views(self, order: Order, blocks: list[tuple[int, Order]]) -> tuple[int, int]:
        """Return whether an operand must be reshaped or permuted on the left, on the right."""
        if len(blocks) == len(order):  # every group of labels is one axis already
            ends = blocks[-2:]
            if len(ends) == 2 and {what for what, _ in ends} == {KEPT, SUMMED}:
                return (0, 1) if ends[1][0] == SUMMED else (1, 0)
            if len(ends) == 1 and self.b * self.m * self.n == 1:
                return 0, 0
        return 1, 1

    def _copies(self, order: Order, kept: list[Order], k: Order, ends: int) -> Iterator[_Seen]:
        size, copy = self._volume(order), self.model.copy
        inner = tuple(x for labels in kept for x in labels)
        if len(kept) > 1 and self.wish:
            inner = tuple(sorted(inner, key=lambda x: self.wish.get(x, 0)))
        if ends != KEPT:
            seconds = copy(size, *walk(order, (*inner, *k), self.sizes))
            yield _Seen((), inner, Copy.SUMS_LAST, seconds)
            return
        seconds = copy(size, *walk(order, (*k, *inner), self.sizes))
        yield _Seen((), inner, Copy.SUMS_FIRST, seconds)
        if len(kept) > 1:  # leave the end as it lies: longer runs, but a batch of products
            seconds = copy(size, *walk(order, (*k, *kept[-1]), self.sizes))
            yield _Seen(tuple(kept[:-1]), kept[-1], Copy.SUMS_FIRST, seconds)

    def _products(
        self, left: Order, right: Order, a: _Seen, b: _Seen, k: Order
    ) -> Iterator[tuple[float, Order, Way]]:
        outer = a.outer or b.outer
        loops = math.prod([self._volume(labels) for labels in outer])
        batch = self.b * loops
        m, n = self._volume(a.inner), self._volume(b.inner)
        looks, matmul, view = a.seconds + b.seconds, self.model.matmul, self.model.view
        packed = self.model.packed
        seconds = (
            looks + (a.views[0] + b.views[1]) * view + b.apart * packed
            + matmul(batch, m, n, self.k),
            looks + (b.views[0] + a.views[1]) * view + a.apart * packed
            + matmul(batch, n, m, self.k),
        )  # fmt: skip
        for groups in self._batches(left, right, a, b, outer):
            flat = tuple(x for labels in groups for x in labels)
            for swapped in (False, True):
                rows, columns = (b.inner, a.inner) if swapped else (a.inner, b.inner)
                copies = (b.copied, a.copied) if swapped else (a.copied, b.copied)
                way = Way(Kernel.MATMUL, swapped, groups, rows, columns, k, *copies)
                yield seconds[swapped], (*flat, *rows, *columns), way

    def _batches(
        self, left: Order, right: Order, a: _Seen, b: _Seen, outer: tuple[Order, ...]
    ) -> list[tuple[Order, ...]]:
        """Return the orders of the batch axes: as on the left, as on the right."""
        if not self.pair.batch:
            return [outer]
        first = {labels[0]: labels for labels in outer}
        every = []
        for order, holds in ((left, bool(a.outer)), (right, bool(b.outer))):
            groups: list[Order] = [] if holds else list(outer)
            groups += [
                first.get(x, (x,)) for x in order if x in first or self.fate_left.get(x) == BATCH
            ]
            every.append(tuple(groups))
        return list(dict.fromkeys(every))


def _blocks(order: Order, fate: dict[int, int]) -> list[tuple[int, Order]]:
    """Return the runs of neighbouring labels of one fate."""
    blocks: list[tuple[int, list[int]]] = []
    for label in order:
        what = fate[label]
        if blocks and blocks[-1][0] == what:
            blocks[-1][1].append(label)
        else:
            blocks.append((what, [label]))
    return [(what, tuple(labels)) for what, labels in blocks]


def _tail(order: Order, wanted: Order, sizes: Sequence[int]) -> int:
    """Return the number of entries that stay neighbours when `order` becomes `wanted`."""
    run = 1
    for x, y in zip(reversed(order), reversed(wanted), strict=False):
        if x != y:
            break
        run *= sizes[x]
    return min(run, HUGE)


def walk(order: Order, wanted: Order, sizes: Sequence[int]) -> tuple[int, int, int]:
    """Return how a copy from `order` to `wanted` walks: what `CostModel.copy` takes beside a size.

    That is the entries that stay neighbours, the length of the inner loop along the new order,
    and how far apart its entries lay before.
    """
    run = _tail(order, wanted, sizes)
    if run > 1 or not wanted:
        return run, run, 1
    at = order.index(wanted[-1])
    stride = math.prod([sizes[x] for x in order[at + 1 :]])
    length = 1
    for x in reversed(wanted):
        if at < 0 or order[at] != x:
            break
        length *= sizes[x]
        at -= 1
    return 1, min(length, HUGE), min(stride, HUGE)


def _tile(walked: Order, left: Order, right: Order, sizes: Sequence[int]) -> int:
    """Return the entries of the two innermost axes of a kernel, neighbours joined."""
    places = [{x: i for i, x in enumerate(order)} for order in (left, right)]
    tile, axes, inner = 1, 1, None
    for x in reversed(walked):
        if inner is not None:  # -1 twice: held by neither
            axes += any(p.get(inner, -1) != p.get(x, -2) + 1 for p in places)
            if axes > 2:
                break
        tile, inner = tile * sizes[x], x
    return min(tile, HUGE)


def _run(order: Order, walked: Order, sizes: Sequence[int]) -> tuple[int, bool]:
    """Return how an element-wise kernel that walks along `walked` meets an operand.

    That is the length of its inner loop, and whether the operand is read across its memory.
    """
    held = set(order)
    if not walked:
        return 1, False
    if walked[-1] in held:
        if order[-1] != walked[-1]:
            return min(sizes[walked[-1]], HUGE), True
        return _tail(order, walked, sizes), False
    run = 1
    for label in reversed(walked):
        if label in held:
            break
        run *= sizes[label]
    return min(run, HUGE), False


def singles(labels: Order) -> tuple[Order, ...]:
    """Return each label as a group of its own."""
    return tuple((label,) for label in labels)
