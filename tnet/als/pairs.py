"""Blocks: a few small arrays contracted to one matrix, compiled once and run thousands of times.

The arrays of a sweep are small, so the calls cost more than the arithmetic. A block is therefore
reduced to transpose, reshape and matmul steps with every shape known beforehand. One leg may
have an unknown size (written -1): the observed entries of a masked fit, which all operands share.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contraction.arrays import Array

EXHAUSTIVE_UP_TO = 5  # operands: 2^5 subsets are cheap, beyond that the order is greedy
EXHAUSTIVE_IF_DEAR = 8  # operands: 3^8 / 2 splits take some ms, which this cost is worth:
DEAR = 1e6
COPY = 50.0  # multiplications that moving one entry takes as long as
Labels = tuple[str, ...]
View = tuple[tuple[int, ...] | None, tuple[int, ...]]  # permutation (None: as it lies), shape


@dataclass(frozen=True)
class PairStep:
    """Contract operands `left` and `right`; the result is appended to the operands."""

    left: int
    right: int
    left_view: View  # to (batch, rows, summed)
    right_view: View  # to (batch, summed, columns)
    multiply: bool  # nothing is summed over: an outer product by broadcasting
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Block:
    """A compiled contraction of small arrays to a matrix."""

    steps: tuple[PairStep, ...]
    final: View
    flops: float
    moved: float  # entries that are read, written and permuted

    def run(self, operands: list[Array]) -> Array:
        """Return the matrix; `operands` is extended in place by the intermediate results."""
        for step in self.steps:
            a = viewed(operands[step.left], step.left_view)
            b = viewed(operands[step.right], step.right_view)
            operands.append((a * b if step.multiply else a @ b).reshape(step.shape))
        return viewed(operands[-1], self.final)


def viewed(x: Array, view: View) -> Array:
    """Return `x` permuted and reshaped as `view` says."""
    permutation, shape = view
    return (x if permutation is None else transposed(x, permutation)).reshape(shape)


def transposed(x: Any, axes: tuple[int, ...]) -> Array:
    """Return `x` with its axes in another order: a view, by the shortest way to it."""
    # torch's `transpose` swaps two axes and its `permute` is what the others call transpose
    out: Array = x.transpose(axes) if hasattr(x, "strides") else x.permute(axes)
    return out


def compile_block(
    inputs: Sequence[Labels],
    rows: Labels,
    columns: Labels,
    sizes: Mapping[str, int],
    *,
    dear: float = DEAR,
) -> Block:
    """Compile the contraction of arrays with legs `inputs` to the matrix (rows, columns).

    A leg shared by several inputs and kept by the output, or by a later step, runs along as a
    batch, so hyperbonds need no special case. The best order is looked for where a quick one
    takes more than `dear` multiplications: what runs once is not worth as much as what is kept.
    """
    output = rows + columns
    place = {x: k for k, x in enumerate(output)}
    steps, labels, costs = _pair_steps(inputs, place, sizes, dear)
    shape = (_size(rows, sizes), _size(columns, sizes))
    return Block(tuple(steps), (permutation(labels, output), shape), *costs)


def compile_loose_block(
    inputs: Sequence[Labels], rows: Labels, columns: Labels, sizes: Mapping[str, int]
) -> tuple[Block, Labels, Labels]:
    """Compile the same with rows and columns in whatever order costs the fewest copies.

    Returns
    -------
    block, rows, columns
        The contraction, and the orders it leaves.
    """
    place = dict.fromkeys(rows, 0) | dict.fromkeys(columns, 1)
    steps, labels, costs = _pair_steps(inputs, place, sizes, DEAR)
    rows, columns = (tuple(x for x in labels if place[x] == side) for side in (0, 1))
    shape = (_size(rows, sizes), _size(columns, sizes))
    block = Block(tuple(steps), (permutation(labels, rows + columns), shape), *costs)
    return block, rows, columns


def _pair_steps(
    inputs: Sequence[Labels], place: Mapping[str, int], sizes: Mapping[str, int], dear: float
) -> tuple[list[PairStep], Labels, tuple[float, float]]:
    """Return the steps to an array of the labels in `place`, their order, flops and moves."""
    order = _pair_order(tuple(map(frozenset, inputs)), frozenset(place), sizes, dear)
    ranks = _ranks(inputs, order, place)
    held: list[Labels] = list(inputs)
    alive = list(range(len(inputs)))
    steps = []
    flops = moved = 0.0
    for number, (left, right) in enumerate(order):
        alive = [k for k in alive if k not in (left, right)]
        kept = set(place).union(*(held[k] for k in alive))
        if _out_of_order(held[left], held[right], place):
            left, right = right, left
        step, labels, cost = _pair_step(left, right, held, kept, ranks[number], sizes)
        steps.append(step)
        flops += cost
        alive.append(len(held))
        held.append(labels)
        moved += sum(_entries(x, sizes) for x in (held[left], held[right], labels))
    return steps, held[-1], (flops, moved)


def _ranks(
    inputs: Sequence[Labels], order: Sequence[tuple[int, int]], place: Mapping[str, int]
) -> list[dict[str, int]]:
    """Return for the result of each step in what order its labels are wanted later.

    Labels that go the same way at every later step stand together: then a permutation moves
    long runs, and what has to be reordered is reordered where arrays are small.
    """
    count = len(inputs)
    consumer = {k: (number, pair) for number, pair in enumerate(order) for k in pair}
    sets = [set(x) for x in inputs]
    alive = set(range(count))
    for left, right in order:
        alive -= {left, right}
        kept = set(place).union(*(sets[k] for k in alive))
        alive.add(len(sets))
        sets.append((sets[left] | sets[right]) & kept)
    ranks: list[dict[str, int]] = [{} for _ in order]
    for number in reversed(range(len(order))):
        mine = sets[count + number]
        if count + number not in consumer:
            ranks[number] = {x: place[x] for x in mine}
            continue
        later, (left, right) = consumer[count + number]
        other = sets[right if left == count + number else left]
        after, following = sets[count + later], ranks[later]
        # (shared and kept, only ours, summed), and where they go from there
        found = {
            x: (2 * (x not in after) + (x not in other and x in after), following.get(x, 0))
            for x in mine
        }
        numbered = {key: k for k, key in enumerate(sorted(set(found.values())))}
        ranks[number] = {x: numbered[key] for x, key in found.items()}
    return ranks


def _pair_step(
    left: int,
    right: int,
    held: Sequence[Labels],
    kept: set[str],
    rank: Mapping[str, int],
    sizes: Mapping[str, int],
) -> tuple[PairStep, Labels, float]:
    a, b = held[left], held[right]
    # shared labels in the order of the larger operand, which is the dearer one to copy
    larger = a if _entries(a, sizes) >= _entries(b, sizes) else b
    shared = tuple(x for x in larger if x in a and x in b)
    batch = tuple(x for x in shared if x in kept)
    summed = tuple(x for x in shared if x not in kept)
    mine = tuple(sorted((x for x in a if x not in b), key=rank.__getitem__))
    other = tuple(sorted((x for x in b if x not in a), key=rank.__getitem__))
    dims = [_size(part, sizes) for part in (batch, mine, summed, other)]
    n_batch, n_mine, n_summed, n_other = dims
    labels = batch + mine + other
    matrices: tuple[tuple[int, ...], tuple[int, ...]]
    matrices = ((n_batch, n_mine, n_summed), (n_batch, n_summed, n_other))
    if n_batch == 1:
        matrices = (matrices[0][1:], matrices[1][1:])
    step = PairStep(
        left,
        right,
        (permutation(a, batch + mine + summed), matrices[0]),
        (permutation(b, batch + summed + other), matrices[1]),
        n_summed == 1 and n_batch != 1,
        tuple(sizes[x] for x in labels),
    )
    return step, labels, 2.0 * math.prod(abs(n) for n in dims)


def _out_of_order(a: Labels, b: Labels, place: Mapping[str, int]) -> bool:
    """Tell whether b's legs come before a's in the output: then b should stand left."""
    mine = [place[x] for x in a if x not in b and x in place]
    other = [place[x] for x in b if x not in a and x in place]
    return bool(mine and other) and sum(mine) * len(other) > sum(other) * len(mine)


def _entries(labels: Labels, sizes: Mapping[str, int]) -> int:
    return math.prod(abs(sizes[x]) for x in labels)


def permutation(have: Labels, want: Labels) -> tuple[int, ...] | None:
    """Return the axes that bring labels `have` into the order `want`; None if they lie so."""
    return None if have == want else tuple(have.index(x) for x in want)


def _size(labels: Labels, sizes: Mapping[str, int]) -> int:
    found = [sizes[x] for x in labels]
    return -1 if -1 in found else math.prod(found)


Parts = tuple[frozenset[str], ...]
Pairs = list[tuple[int, int]]


def _pair_order(
    inputs: Parts, output: frozenset[str], sizes: Mapping[str, int], dear: float
) -> Pairs:
    if len(inputs) <= EXHAUSTIVE_UP_TO:
        return _best_order(inputs, output, sizes)
    pairs, cost = _greedy_order(inputs, output, sizes)
    if len(inputs) <= EXHAUSTIVE_IF_DEAR and cost > dear:
        return _best_order(inputs, output, sizes)
    return pairs


def _weight(labels: frozenset[str], sizes: Mapping[str, int]) -> float:
    out = 1.0
    for x in labels:
        out *= abs(sizes[x])
    return out


def _best_order(inputs: Parts, output: frozenset[str], sizes: Mapping[str, int]) -> Pairs:
    """Dynamic programme over subsets of the operands, by multiplications and entries moved."""
    count = len(inputs)
    full = (1 << count) - 1
    legs, weight = _subset_legs(inputs, output, sizes)
    moved = [COPY * weight(legs[s]) for s in range(full + 1)]
    best: dict[int, tuple[float, int]] = {1 << k: (0.0, 0) for k in range(count)}
    for s in range(1, full + 1):
        if s in best:
            continue
        found, which = math.inf, 0
        part = (s - 1) & s
        while part > s ^ part:
            rest = s ^ part
            cost = best[part][0] + best[rest][0]
            if cost < found:
                cost += weight(legs[part] | legs[rest]) + moved[part] + moved[rest]
                if cost < found:
                    found, which = cost, part
            part = (part - 1) & s
        best[s] = (found + moved[s], which)
    pairs: Pairs = []
    place: dict[int, int] = {1 << k: k for k in range(count)}
    todo = [full]
    for s in todo:  # parents before children
        if s not in place:
            todo.extend((best[s][1], s ^ best[s][1]))
    for s in reversed(todo):
        if s not in place:
            pairs.append((place[best[s][1]], place[s ^ best[s][1]]))
            place[s] = count + len(pairs) - 1
    return pairs


class _Products(dict[int, float]):
    """Products of subsets of `values`, made when asked for."""

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__({0: 1.0})
        self.values_ = values

    def __missing__(self, subset: int) -> float:
        low = subset & -subset
        found = self[subset] = self[subset ^ low] * self.values_[low.bit_length() - 1]
        return found


def _subset_legs(
    inputs: Parts, output: frozenset[str], sizes: Mapping[str, int]
) -> tuple[list[int], Callable[[int], float]]:
    """Return the legs of each subset's contraction as bits, and the entries that legs span."""
    names = sorted(output.union(*inputs))
    bit = {x: 1 << k for k, x in enumerate(names)}
    masks = [sum(bit[x] for x in labels) for labels in inputs]
    full = (1 << len(inputs)) - 1
    union = [0] * (full + 1)
    for s in range(1, full + 1):
        low = s & -s
        union[s] = union[s ^ low] | masks[low.bit_length() - 1]
    kept = sum(bit[x] for x in output)
    half = len(names) // 2
    low = (1 << half) - 1
    values = [float(abs(sizes[x])) for x in names]
    first, second = _Products(values[:half]), _Products(values[half:])

    def weight(legs: int) -> float:
        return first[legs & low] * second[legs >> half]

    return [union[s] & (kept | union[full ^ s]) for s in range(full + 1)], weight


def _greedy_order(
    inputs: Parts, output: frozenset[str], sizes: Mapping[str, int]
) -> tuple[Pairs, float]:
    """Contract the pair whose result grows least, until one array is left; return its cost too."""
    alive: dict[int, frozenset[str]] = dict(enumerate(inputs))
    total = 0.0
    pairs: Pairs = []
    while len(alive) > 1:
        found: tuple[float, int, int] | None = None
        for (i, a), (j, b) in itertools.combinations(alive.items(), 2):
            if found is not None and not a & b:
                continue  # outer products only when nothing else is left to try first
            rest = output.union(*(x for k, x in alive.items() if k not in (i, j)))
            gain = _weight((a | b) & rest, sizes) - _weight(a, sizes) - _weight(b, sizes)
            if found is None or (gain, i, j) < found:
                found = (gain, i, j)
        assert found is not None
        _, i, j = found
        a, b = alive.pop(i), alive.pop(j)
        total += _weight(a | b, sizes)
        rest = output.union(*alive.values())
        alive[len(inputs) + len(pairs)] = (a | b) & rest
        pairs.append((i, j))
    return pairs, total
