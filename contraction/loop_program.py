"""Loop program: the parts of a sliced tree lowered, with all that is known about a run in advance.

Plain data, no arrays. A contraction without slices is the case of one part and no loops.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

from contraction.buffers import dense_strides, given_loop
from contraction.cost import CostModel
from contraction.loops import Part, depths_of, parts_of, repeats, sliced_canonical
from contraction.memory import peak_size
from contraction.program import Layouts, Program, compile_program
from contraction.spec import Canonical
from contraction.tree import Pairs, build_tree

GAPS = (-1,)  # instead of a permutation: the memory of the array is dense in no order of its axes
HUGE = 1 << 900  # slices above which all numbers of them are alike
TURN, TAKE = 5e-7, 1e-7  # seconds of a turn of the loops, and of one slice of an input
CHUNKS = 64  # into how many pieces the slices are cut at most


class Take(NamedTuple):
    """How a part comes by one member: which loop fixes each axis, and whether it is copied."""

    value: int
    made: bool  # by another part; otherwise it is an input
    fixed: tuple[int | None, ...]  # for each axis the loop that fixes it; () for no axis fixed
    copied: bool
    size: int  # entries of the copy; zero for a view


class LoopPart(NamedTuple):
    """One part of the tree, lowered."""

    value: int
    depth: int
    takes: tuple[Take, ...]
    program: Program
    size: int  # entries of what the part allocates for its result
    peak_size: int  # most entries that a run of the part has alive, with its copies


class LoopProgram(NamedTuple):
    """All parts, outer ones first, and the counts of a whole run."""

    parts: tuple[LoopPart, ...]
    loops: tuple[int, ...]  # the sliced labels, outermost first
    loop_sizes: tuple[int, ...]
    placed: tuple[int | None, ...]  # for each axis of the result the loop that fixes it
    shape: tuple[int, ...]
    piece: tuple[int, ...]  # the shape of what one slice adds to
    flops: int
    write_size: int
    peak_size: int
    seconds: float

    @property
    def num_slices(self) -> int:
        """The number of slices."""
        return math.prod(self.loop_sizes)

    @property
    def chunks(self) -> tuple[tuple[int, int], ...]:
        """The slices cut into ranges, the same for whoever runs them."""
        count = self.num_slices
        pieces = min(count, CHUNKS)
        bounds = [count * k // pieces for k in range(pieces + 1)] if pieces else [0]
        return tuple(itertools.pairwise(bounds))

    @property
    def overlapping(self) -> bool:
        """Whether different chunks add to the same entries of the result."""
        summed = set(range(len(self.loops))) - set(self.placed)
        return any(self.loop_sizes[k] > 1 for k in summed)


def compile_loops(
    canonical: Canonical,
    pairs: Pairs,
    loops: Sequence[int],
    model: CostModel,
    layouts: Layouts | None = None,
    raised: Sequence[int] = (),
    *,
    library: str = "numpy",
    max_size: float = math.inf,
) -> LoopProgram:
    """Return the program of a sliced contraction.

    Parameters
    ----------
    canonical, pairs
        What to contract, slices included, and the tree.
    loops
        The sliced labels, outermost first.
    model
        Rates by which the lowering of each step is chosen.
    layouts
        For each input the permutation of its axes that makes its memory C-contiguous, None
        where it is so already, `GAPS` where there is none.
    raised
        Values that are made again with what they serve, instead of being kept for it.
    library
        Whose kernels decide how much memory the steps take.
    max_size
        Entries that a part should have alive at most; see `compile_program`.
    """
    if not loops:
        program = compile_program(canonical, pairs, model, layouts, max_size=max_size)
        takes = tuple(Take(v, False, (), False, 0) for v in range(len(canonical.inputs)))
        size = math.prod(program.shape)
        peak = peak_size(program.loads, program.steps, library=library)
        only = LoopPart(2 * len(takes) - 2, 0, takes, program, size, peak)
        return _totals(canonical, (only,), (), model)
    inner = sliced_canonical(canonical, loops)
    tree = build_tree(inner, pairs)
    depths = _raise(depths_of(canonical, pairs, loops), pairs, raised, len(canonical.inputs))
    held: dict[int, tuple[int, ...]] = dict(enumerate(inner.inputs))
    parts: list[LoopPart] = []
    made: set[int] = set()
    for part in parts_of(tree, inner, depths):
        takes, orders = _takes(canonical, inner, part, loops, layouts, made)
        members = [held[v] for v in part.members]
        made.add(part.value)
        free, output = part.value != len(tree.legs) - 1, tree.legs[part.value]
        if not free:  # labels of size one may have been dropped by other parts
            there = {x for member in members for x in member}
            output = tuple(x for x in inner.output if x in there)
        work = _Work(members, inner.sizes, part.pairs, model, orders, max_size)
        program, order = _lower(work, output, free=free)
        held[part.value] = order
        owned = [take.size for take in takes]
        result = math.prod(inner.sizes[x] for x in order)
        is_view = not part.pairs and not owned[0] and not program.loads
        size = 0 if is_view else result
        peak = peak_size(program.loads, program.steps, owned, library=library)
        parts.append(LoopPart(part.value, part.depth, takes, program, size, peak))
    parts.sort(key=lambda p: (p.depth, p.value))
    return _totals(canonical, tuple(parts), tuple(loops), model)


def fitting_loops(
    canonical: Canonical,
    pairs: Pairs,
    loops: Sequence[int],
    model: CostModel,
    layouts: Layouts | None = None,
    *,
    library: str = "numpy",
    max_size: float = math.inf,
) -> LoopProgram:
    """Return the program of a sliced contraction that keeps no more than it may.

    Of the values that could be kept for several slices the largest are given up, twice as many
    each time, until the rest fits into `max_size` entries. If nothing fits, the program with
    the smallest peak is returned.
    """
    best = compile_loops(
        canonical, pairs, loops, model, layouts, library=library, max_size=max_size
    )
    kept = sorted((part for part in best.parts[:-1] if part.size), key=lambda part: -part.size)
    count = 1
    while best.peak_size > max_size and count < 2 * len(kept):
        given_up = [part.value for part in kept[:count]]
        other = compile_loops(
            canonical, pairs, loops, model, layouts, given_up, library=library, max_size=max_size
        )
        best = min(best, other, key=lambda program: program.peak_size)
        count *= 2
    return best


def _raise(depths: list[int], pairs: Pairs, raised: Sequence[int], count: int) -> list[int]:
    if not raised:
        return depths
    again = set(raised)
    for k in range(len(pairs) - 1, -1, -1):
        for value in pairs[k]:
            if value in again:
                depths[value] = depths[count + k]
    return depths


def _takes(
    canonical: Canonical,
    inner: Canonical,
    part: Part,
    loops: Sequence[int],
    layouts: Layouts | None,
    made: Collection[int],
) -> tuple[tuple[Take, ...], Layouts | None]:
    """Return how the members are taken, and how their axes then lie in memory."""
    place = {label: k for k, label in enumerate(loops)}
    takes: list[Take] = []
    orders: list[tuple[int, ...] | None] = []
    for value in part.members:
        layout: tuple[int, ...] | None = None
        fixed: tuple[int | None, ...] = ()
        copied, size = False, 0
        if value not in made:
            layout = layouts[value] if layouts is not None else None
            labels = canonical.inputs[value]
            fixed = tuple(place.get(x) for x in labels)
            if any(k is not None for k in fixed):
                layout, copied = _slice_layout(fixed, labels, layout, canonical.sizes)
                if copied:
                    size = math.prod(canonical.sizes[x] for x in inner.inputs[value])
            else:
                fixed = ()
        takes.append(Take(value, value in made, fixed, copied, size))
        orders.append(layout)
    return tuple(takes), (tuple(orders) if any(orders) else None)


def _slice_layout(
    fixed: Sequence[int | None],
    labels: Sequence[int],
    layout: tuple[int, ...] | None,
    sizes: Sequence[int],
) -> tuple[tuple[int, ...] | None, bool]:
    """Return the memory order of a slice, and whether it has to be copied.

    A slice whose fixed axes are the outermost in memory is dense as it is.
    """
    if layout == GAPS:
        return None, True
    order = tuple(range(len(fixed))) if layout is None else layout
    wide = [axis for axis in order if sizes[labels[axis]] != 1]
    outer = sum(fixed[axis] is not None for axis in wide)
    if any(fixed[axis] is None for axis in wide[:outer]):
        return None, True
    rest = [axis for axis in order if fixed[axis] is None]
    rank = {axis: i for i, axis in enumerate(sorted(rest))}
    turned = tuple(rank[axis] for axis in rest)
    return (None if turned == tuple(sorted(turned)) else turned), False


class _Work(NamedTuple):
    """What a part contracts, and how it is lowered."""

    members: Sequence[tuple[int, ...]]
    sizes: tuple[int, ...]
    pairs: Pairs
    model: CostModel
    layouts: Layouts | None
    max_size: float


def _lower(work: _Work, output: tuple[int, ...], *, free: bool) -> tuple[Program, tuple[int, ...]]:
    """Return the program of one part, and the labels of its result in the order of its axes.

    Where the order is `free` it is that of the result in memory.
    """
    program = _compiled(work, output)
    axes = program.final.axes
    if free and axes is not None:
        output = tuple(output[t] for t in sorted(range(len(axes)), key=axes.__getitem__))
        program = _compiled(work, output)
    return program, output


def _compiled(work: _Work, output: tuple[int, ...]) -> Program:
    canonical = _numbered(work.members, output, work.sizes)
    return compile_program(canonical, work.pairs, work.model, work.layouts, max_size=work.max_size)


def _numbered(
    members: Sequence[tuple[int, ...]], output: tuple[int, ...], sizes: Sequence[int]
) -> Canonical:
    number: dict[int, int] = {}
    inputs = tuple(tuple(number.setdefault(x, len(number)) for x in m) for m in members)
    return Canonical(inputs, tuple(number[x] for x in output), tuple(sizes[x] for x in number))


def _totals(
    canonical: Canonical, parts: tuple[LoopPart, ...], loops: tuple[int, ...], model: CostModel
) -> LoopProgram:
    place = {label: k for k, label in enumerate(loops)}
    placed = tuple(place.get(x) for x in canonical.output)
    shape = tuple(canonical.sizes[x] for x in canonical.output)
    sizes = tuple(canonical.sizes[x] for x in loops)
    times = repeats(sizes)
    flops = sum(p.program.flops * times[p.depth] for p in parts)
    turns = [min(n, HUGE) for n in times]  # as floats
    seconds = sum((p.program.seconds + _fetching(p, model)) * turns[p.depth] for p in parts)
    written = sum(
        (p.program.write_size + sum(t.size for t in p.takes)) * times[p.depth] for p in parts
    )
    slot = tuple(n for n, loop in zip(shape, placed, strict=True) if loop is None)
    made = LoopProgram(parts, loops, sizes, placed, shape, slot, flops, written, 0, seconds)
    if not loops:
        return made._replace(peak_size=parts[-1].peak_size)
    piece = math.prod(slot)
    seconds += turns[-1] * (TURN + model.multiply(piece, piece, across=False))
    written += times[-1] * piece
    return made._replace(write_size=written, seconds=seconds, peak_size=peak_of_loops(made))


def _fetching(part: LoopPart, model: CostModel) -> float:
    """Return the seconds in which a part comes by its slices of the inputs."""
    if not part.depth:
        return 0.0
    taken = sum(any(loop is not None for loop in take.fixed) for take in part.takes)
    copied = sum(model.copy(min(t.size, HUGE), 1) for t in part.takes if t.copied)
    return TAKE * taken + copied


def peak_of_loops(made: LoopProgram, owned: Sequence[int] = ()) -> int:
    """Return the most entries alive in a run: kept values, the part at work, and the result.

    Parameters
    ----------
    made
        The program.
    owned
        For each input the entries of a copy made for the run. It is held until the parts that
        are done once are through, and to the end where a loop needs it.
    """
    result = math.prod(made.shape)
    results = result * (2 if made.overlapping and len(made.chunks) > 1 else 1)
    looped = {t.value for part in made.parts if part.depth for t in part.takes if not t.made}
    held = sum(size for value, size in enumerate(owned) if value in looped)
    kept, peak = 0, sum(owned)
    for part in made.parts:
        alive = kept + (held + results if part.depth else sum(owned))
        peak = max(peak, alive + part.peak_size)
        kept += part.size
    return max(peak, held + results + kept + _adding(made))


def _adding(made: LoopProgram) -> int:
    """Return the entries that NumPy buffers to add a slice to the result."""
    final = made.parts[-1].program.final
    wide = [n for n in made.piece if n != 1]
    strides = list(dense_strides(wide))
    if final.axes is not None and len(final.axes) == len(wide):
        split = [wide[i] for i in sorted(range(len(wide)), key=final.axes.__getitem__)]
        strides = [dense_strides(split)[axis] for axis in final.axes]
    target = dense_strides(made.shape)
    there = [target[i] for i, loop in enumerate(made.placed) if loop is None]
    where = tuple(step for step, n in zip(there, made.piece, strict=True) if n != 1)
    return given_loop(wide, [where, tuple(strides), where]).buffers
