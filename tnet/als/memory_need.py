"""What a fit will hold in memory, worked out from its compiled program before any work.

The sizes of everything a sweep makes are known from the structure: the results and copies of
each contraction, what waits along the dimension tree, and at a node with C bond values the
normal equations of C^2 numbers with the copies that shifting and factorising them take.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from contraction.arrays import device, dtype_name, namespace_name
from contraction.errors import MemoryBudgetError
from tnet.als.dense import Target
from tnet.als.entries import Entries
from tnet.als.entry_program import EntryVisit, compile_entry_program
from tnet.als.kernels import DOUBLE
from tnet.als.layout import Layout
from tnet.als.masked import CHUNK as ENTRY_CHUNK
from tnet.als.pairs import Block, View
from tnet.als.rows import LENGTHS
from tnet.als.sweep_program import Visit, compile_program
from tnet.als.sweeps import CHUNK
from tnet.memory import allowed_memory
from tnet.structure import Structure

COPIES = 4  # of all cores: the best, the last, the one before and the new
SMALL = 64 * 1024**2  # bytes that are always there: the system is not asked about these
NORMAL = 4  # a Gram matrix, its conjugate, the shifted one and its factor
ITEMSIZE = {"float32": 4, "float64": 8, "complex64": 8, "complex128": 16}


@dataclass(frozen=True, kw_only=True)
class Need:
    """The step of a fit that holds most at once."""

    nbytes: int
    nodes: tuple[str, ...]  # the node solved for, or the nodes contracted on the way


def check_memory(
    data: Target | Entries,
    structure: Structure,
    memory: int | float | str | None,
    *,
    copies: int = 0,
) -> None:
    """Raise unless a fit of `structure` to `data` fits the memory.

    Parameters
    ----------
    data
        What is fitted.
    structure
        The structure.
    memory
        Bytes allowed, or a share of what is available. None is six tenths of it, on the host or
        on the device of the data.
    copies
        Bytes of copies of the data that starts are made from, in addition.

    Raises
    ------
    MemoryBudgetError
        It does not; nothing was allocated. The message names the node, its ranks, the bytes
        needed and allowed.
    """
    like = data.x if isinstance(data, Target) else data.values
    kind = dtype_name(like)
    if isinstance(data, Target):
        need = dense_need(structure, kind)
    else:
        need = entry_need(structure, data.count, DOUBLE.get(kind, kind))
    need = dataclasses.replace(need, nbytes=need.nbytes + copies)
    if memory is None and need.nbytes <= SMALL:
        return
    allowed = allowed_memory(memory, library=namespace_name(like), device=device(like))
    if need.nbytes > allowed:
        raise MemoryBudgetError(_refusal(structure, need, allowed))


def _refusal(structure: Structure, need: Need, allowed: int) -> str:
    inside = set(need.nodes)
    ranks = ", ".join(
        f"{leg}={structure.size[leg]}"
        for leg, holders in structure.holders.items()
        if len(holders) > 1 and not inside.isdisjoint(holders) and not inside.issuperset(holders)
    )
    names = ", ".join(map(repr, need.nodes[:6])) + (", ..." if len(need.nodes) > 6 else "")
    what = "node" if len(need.nodes) == 1 else "nodes"
    other = (
        ", or take tnet.decompose, which factorises a tree without normal equations"
        if structure.is_tree
        else ""
    )
    return (
        f"the fit would hold {need.nbytes:,} bytes at once at {what} {names} with ranks {ranks}; "
        f"{allowed:,} are allowed, and nothing was allocated. Lower these ranks, allow more "
        f'(ALS(memory="8GiB")){other}.'
    )


@lru_cache(maxsize=512)
def dense_need(structure: Structure, kind: str) -> Need:
    """Return what a fit to a full tensor of dtype `kind` holds, beside the tensor itself.

    Examples
    --------
    >>> import tnet
    >>> dense_need(tnet.fully_connected((8,) * 5, 4), "float64").nodes
    ('v0',)
    """
    program = compile_program(structure)
    item = ITEMSIZE[kind]
    wide = ITEMSIZE[DOUBLE.get(kind, kind)]  # small solves run in double precision
    layout = program.layout
    size = math.prod(structure.shape)
    base = COPIES * item * structure.num_params
    if program.axes != tuple(range(len(program.axes))):
        base += item * size
    stack = [0] * (len(layout.names) + 2)  # entries of Y; the data themselves are counted above
    found = [Need(nbytes=base, nodes=layout.names[:1])]
    left = 0  # the basis of the last projection lives until the next
    for visit in program.visits:
        waiting = base + item * (sum(stack) + left)
        y = stack[visit.depth] or size
        if visit.node < 0:
            held, stack[visit.depth + 1] = _inner(visit, y)
            nodes = tuple(layout.names[k] for part in visit.parts for k in part.operands)
            left = max((math.prod(p.block.final[1]) for p in visit.parts), default=left)
            found.append(Need(nbytes=waiting + item * held, nodes=nodes or layout.names[:1]))
        else:
            nbytes = waiting + _leaf(visit, y, math.prod(visit.shape), item, wide)
            found.append(Need(nbytes=nbytes, nodes=(layout.names[visit.node],)))
    if program.halves:
        held = sum(_made(half) for half in program.halves) + 2 * min(size, CHUNK)
        half = layout.names[: program.split]
        found.append(Need(nbytes=base + item * held, nodes=half))
    return max(found, key=lambda need: need.nbytes)


def _inner(visit: Visit, y: int) -> tuple[int, int]:
    """Return the entries held on the way to an inner vertex, and those of Y there."""
    most = kept = 0
    for part in visit.parts:
        rest = part.view[1][0]
        rows, columns = part.block.final[1]
        copy = y if part.view[0] is not None else 0
        made = kept + _made(part.block)
        after = rest * columns if part.project else y
        # the block, what the QR packs, Q with its conjugate, R
        factors = 4 * rows * columns + columns**2 if part.project else rows * columns
        most = max(most, made + copy, kept + factors + copy + after)
        kept += math.prod(part.shape)
        y = after
    return most + y, y + kept


def _leaf(visit: Visit, y: int, core: int, item: int, wide: int) -> int:
    """Return the bytes held while a node is solved for."""
    if len(visit.parts) > 1:  # one small Gram matrix per part, never their product
        blocks = sum(_made(part.block) for part in visit.parts)
        grams = sum(NORMAL * part.block.final[1][1] ** 2 for part in visit.parts)
        return item * (blocks + 3 * y) + wide * (grams + 6 * core)
    part = visit.parts[0]
    rows, columns = part.block.final[1]
    made = _made(part.block) + (y if part.view[0] is not None else 0)
    small = min(rows, columns)
    solve = NORMAL * small**2 + rows * columns + 5 * core
    if rows < columns or wide != item:
        solve += 2 * y
    return item * made + wide * solve


def _made(block: Block, entries: int = 1) -> int:
    """Return the most entries that running a block holds; `entries` for the unknown size."""
    held = most = 0
    for step in block.steps:
        made = held + _count(step.shape, entries)
        copies = _copied(step.left_view, entries) + _copied(step.right_view, entries)
        most, held = max(most, made + copies), made
    return max(most, held + _copied(block.final, entries))


def _copied(view: View, entries: int) -> int:
    return 0 if view[0] is None else _count(view[1], entries)


def _count(shape: Sequence[int], entries: int) -> int:
    size = math.prod(shape)
    return size if size >= 0 else -size * entries


@lru_cache(maxsize=256)
def entry_need(structure: Structure, entries: int, kind: str) -> Need:
    """Return what a fit to observed entries holds, computing in dtype `kind`.

    Examples
    --------
    >>> import tnet
    >>> need = entry_need(tnet.tucker((9, 9, 9), 9), 500, "float64")
    >>> need.nodes, need.nbytes > 8 * 9**6
    (('core',), True)
    """
    program = compile_entry_program(structure, entries)
    item, layout = ITEMSIZE[kind], program.layout
    base = COPIES * item * structure.num_params + 8 * entries * (4 * len(layout.names) + 6)
    if any(visit.grid for visit in program.visits):
        base += 3 * item * layout.span(layout.names)
    stack = [0] * (len(layout.names) + 2)
    whole = _portion(program.whole, min(entries, max(1, ENTRY_CHUNK // program.whole.width)))
    found = [Need(nbytes=base + item * whole, nodes=layout.names[:1])]
    for visit in program.visits:
        waiting = base + item * sum(stack)
        if visit.node >= 0:
            held = _entry_leaf(visit, layout, entries)
            nodes: tuple[str, ...] = (layout.names[visit.node],)
        else:
            made = entries * visit.columns if visit.block is not None else 0
            held = _portion(visit, min(entries, max(1, ENTRY_CHUNK // visit.width))) + 2 * made
            stack[visit.depth + 1] = made
            nodes = tuple(layout.names[k] for s in visit.sources for k in s.nodes)
        found.append(Need(nbytes=waiting + item * held, nodes=nodes))
    return max(found, key=lambda need: need.nbytes)


def _entry_leaf(visit: EntryVisit, layout: Layout, entries: int) -> int:
    """Return the entries held while a node is solved for, over the grid or row by row."""
    rows, square = layout.span((layout.names[visit.node],)), visit.columns**2
    if visit.grid is not None:
        made = max(visit.grid.gram.peak_size, visit.grid.rhs.peak_size)
        return max(made, rows * square) + NORMAL * rows * square
    each = -(-entries // rows)
    length = next((n for n in LENGTHS if n >= each), LENGTHS[-1])
    height = min(rows, max(1, ENTRY_CHUNK // square))
    step = min(
        height * -(-each // length), max(1, ENTRY_CHUNK // max(length * visit.width, square))
    )
    grams = height * square
    adding = step * square + 2 * min(step, height) * square
    design = 2 * step * length * visit.columns
    portion = _portion(visit, step * length)
    return grams + design + max(portion + adding, step * square + NORMAL * grams)


def _portion(visit: EntryVisit, entries: int) -> int:
    """Return what is gathered and made for some entries, and the tables they come from."""
    tables = sum(math.prod(s.shape) + _made(s.table) for s in visit.sources if s.table is not None)
    gathered = sum(entries * math.prod(s.shape[1:]) for s in visit.sources if s.keyed)
    made = 0 if visit.block is None else _made(visit.block, entries)
    return tables + gathered + made
