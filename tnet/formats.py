"""Formats: named families of structures. Each is a function that returns a `Structure`.

`shape` is either a sequence of sizes (modes are then called x0, x1, ...) or a mapping from mode
name to size. `rank` is one number for every bond, a sequence with one number per bond (in the
order in which `Structure.ranks` lists them), or a mapping from bond to rank. No algorithm knows
any of these functions: everything else in the library works on the graph.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from contraction.errors import RankError, ShapeError, StructureError
from contraction.truncation import check_rank
from tnet._checks import is_whole
from tnet.structure import Structure

Shape: TypeAlias = Sequence[int] | Mapping[str, int]
Rank: TypeAlias = int | Sequence[int] | Mapping[str, int]
TreeSpec: TypeAlias = "str | int | Sequence[TreeSpec]"


def modes_of(shape: Shape) -> dict[str, int]:
    """Return mode name -> size for a shape or a mapping, checked.

    Examples
    --------
    >>> modes_of((4, 5))
    {'x0': 4, 'x1': 5}
    """
    pairs = shape if isinstance(shape, Mapping) else {f"x{i}": n for i, n in enumerate(shape)}
    if not pairs:
        raise ShapeError("a tensor needs at least one mode; the shape is empty.")
    for name, size in pairs.items():
        if not is_whole(size) or size < 1:
            raise ShapeError(f"mode {name!r} needs a whole size >= 1, got {size!r}.")
    return {name: int(size) for name, size in pairs.items()}


def _build(
    nodes: dict[str, list[str]], modes: Mapping[str, int], rank: Rank, order: Sequence[str] = ()
) -> Structure:
    """Give every leg that is no mode its rank, in order of appearance, and build."""
    used = dict.fromkeys(leg for legs in nodes.values() for leg in legs)
    bonds = [leg for leg in used if leg not in modes]
    return Structure(nodes, {**modes, **ranks_of(rank, bonds)}, order or tuple(modes))


def ranks_of(rank: Rank, bonds: Sequence[str]) -> dict[str, int]:
    """Return bond -> rank for any way of saying it.

    Raises
    ------
    RankError
        A rank that is not a whole number >= 1, or a wrong number of them.

    Examples
    --------
    >>> ranks_of([2, 3], ["a-b", "b-c"])
    {'a-b': 2, 'b-c': 3}
    """
    if isinstance(rank, Mapping):
        unknown = [bond for bond in rank if bond not in bonds]
        if unknown or len(rank) != len(bonds):
            raise RankError(
                f"`rank` must give one rank for each of {list(bonds)}, got {dict(rank)}."
            )
        found = {bond: rank[bond] for bond in bonds}
    elif isinstance(rank, Sequence) and not isinstance(rank, str):
        if len(rank) != len(bonds):
            raise RankError(
                f"`rank` needs {len(bonds)} numbers, one for each of {list(bonds)}, "
                f"got {len(rank)}."
            )
        found = dict(zip(bonds, rank, strict=True))
    else:
        found = dict.fromkeys(bonds, rank)
        check_rank(rank, "rank")
    for bond, value in found.items():
        check_rank(value, f"rank of {bond}")
    return {bond: int(value) for bond, value in found.items()}


def tensor_train(shape: Shape, rank: Rank = 1) -> Structure:
    """Return a tensor train (matrix product state): a path g0 - g1 - ... with one mode each.

    Oseledets, SIAM J. Sci. Comput. 33 (2011) 2295.

    Examples
    --------
    >>> tensor_train((4, 5, 6), 2).num_params
    40
    """
    modes = modes_of(shape)
    nodes: dict[str, list[str]] = {}
    last = len(modes) - 1
    for i, mode in enumerate(modes):
        left = [f"g{i - 1}-g{i}"] if i else []
        right = [f"g{i}-g{i + 1}"] if i < last else []
        nodes[f"g{i}"] = [*left, mode, *right]
    return _build(nodes, modes, rank)


def tensor_ring(shape: Shape, rank: Rank = 1) -> Structure:
    """Return a tensor ring: a tensor train whose ends are joined by one more bond.

    Zhao et al., arXiv:1606.05535.

    Examples
    --------
    >>> tensor_ring((4, 5, 6), 2).is_tree
    False
    """
    modes = modes_of(shape)
    if len(modes) < 2:
        raise ShapeError(f"a ring needs at least two modes, got {len(modes)}.")
    count = len(modes)
    bonds = [f"g{i}-g{(i + 1) % count}" for i in range(count)]
    nodes = {f"g{i}": [bonds[i - 1], mode, bonds[i]] for i, mode in enumerate(modes)}
    return _build(nodes, modes, rank_in_order(rank, bonds))


def rank_in_order(rank: Rank, bonds: Sequence[str]) -> Rank:
    """Read a sequence of ranks in the order of `bonds`, whatever order nodes show them in."""
    return rank if isinstance(rank, int) else ranks_of(rank, bonds)


def tucker(shape: Shape, rank: Rank = 1) -> Structure:
    """Return a Tucker network: a star, `core` in the middle and one factor u_i per mode.

    Tucker, Psychometrika 31 (1966) 279.

    Examples
    --------
    >>> tucker((4, 5, 6), (2, 2, 3)).num_params
    48
    """
    modes = modes_of(shape)
    nodes = {"core": [f"core-u{i}" for i in range(len(modes))]}
    nodes |= {f"u{i}": [f"core-u{i}", mode] for i, mode in enumerate(modes)}
    return _build(nodes, modes, rank)


def cp(shape: Shape, rank: int = 1) -> Structure:
    """Return a CP (canonical polyadic) network: factors u_i that all share one hyperbond.

    Kolda and Bader, SIAM Review 51 (2009) 455.

    Examples
    --------
    >>> cp((4, 5, 6), 3).hyperbonds
    ('r',)
    """
    modes = modes_of(shape)
    if len(modes) < 2:
        raise ShapeError(f"CP needs at least two modes, got {len(modes)}.")
    shared = "r" if "r" not in modes else "cp-r"
    return _build({f"u{i}": [mode, shared] for i, mode in enumerate(modes)}, modes, rank)


def balanced_tree(shape: Shape, rank: Rank = 1) -> Structure:
    """Return a balanced binary tree (hierarchical Tucker): leaves u_i, inner nodes t0, t1, ...

    The inner nodes are numbered from the root t0 downwards, row by row.
    Grasedyck, SIAM J. Matrix Anal. Appl. 31 (2010) 2029.

    Examples
    --------
    >>> balanced_tree((2, 2, 2, 2), 2).node_names
    ('t0', 't1', 't2', 'u0', 'u1', 'u2', 'u3')
    """
    modes = modes_of(shape)
    names = list(modes)
    if len(names) == 1:
        return _build({"u0": [names[0]]}, modes, rank)
    nodes: dict[str, list[str]] = {}
    queue: list[tuple[str, int, int, str]] = [("t0", 0, len(names), "")]
    inner = 1
    for node, start, stop, above in queue:  # grows while it is walked
        legs = [above] if above else []
        middle = (start + stop + 1) // 2
        for low, high in ((start, middle), (middle, stop)):
            if high - low == 1:
                child = f"u{low}"
            else:
                child, inner = f"t{inner}", inner + 1
                queue.append((child, low, high, f"{node}-{child}"))
            legs.append(f"{node}-{child}")
            if high - low == 1:
                nodes[child] = [f"{node}-{child}", names[low]]
        nodes[node] = legs
    ordered = {q[0]: nodes[q[0]] for q in queue}
    ordered |= {f"u{i}": nodes[f"u{i}"] for i in range(len(names))}
    return _build(ordered, modes, rank)


def tree(spec: TreeSpec, sizes: Mapping[str, int] | None = None, rank: Rank = 1) -> Structure:
    """Return any tree, written as nested tuples: a tuple is a node, its items are what it holds.

    A text is a mode that the node holds itself, a number is a mode of that size (named x0, x1,
    ... in order), a tuple is a child node. Nodes are called t0, t1, ... from the root down.

    Parameters
    ----------
    spec
        The nested tuples; the outermost is the root.
    sizes
        Mode name -> size, for the modes given by name.
    rank
        Ranks of the bonds.

    Examples
    --------
    >>> tucker_like = tree(((4,), (5,), (6,)), rank=2)
    >>> train_like = tree(("a", ("b", ("c",))), {"a": 4, "b": 5, "c": 6}, rank=2)
    >>> tucker_like.num_params, train_like.num_params
    (38, 40)
    """
    known = dict(sizes or {})
    modes: dict[str, int] = {}
    nodes: dict[str, list[str]] = {}
    work: list[tuple[TreeSpec, str, str]] = [(spec, "t0", "")]
    named = itertools.count(1)
    numbers: dict[str, int] = {}
    while work:
        items, node, above = work.pop()
        if isinstance(items, (str, int)):
            raise StructureError(f"the root of a tree is a tuple of what it holds, got {items!r}.")
        legs = nodes.setdefault(node, [above] if above else [])
        below: list[tuple[TreeSpec, str, str]] = []
        for item in items:
            if isinstance(item, str):
                if item not in known:
                    raise StructureError(f"mode {item!r} of the tree has no size; give `sizes`.")
                modes[item] = known[item]
                legs.append(item)
            elif isinstance(item, int):
                name = f"x{len(numbers)}"
                numbers[name] = modes[name] = item
                legs.append(name)
            else:
                child = f"t{next(named)}"
                legs.append(f"{node}-{child}")
                below.append((item, child, f"{node}-{child}"))
        work.extend(reversed(below))
    return _build(nodes, modes_of(modes), rank, order=_mode_order(modes, known))


def _mode_order(modes: Mapping[str, int], known: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(m for m in known if m in modes) + tuple(m for m in modes if m not in known)


def grid(shape: Shape, rank: Rank = 1, *, rows: int | None = None) -> Structure:
    """Return a two-dimensional grid (PEPS): nodes p{row}_{column}, joined to their neighbours.

    Parameters
    ----------
    shape
        Sizes of the modes, row after row.
    rank
        Ranks of the bonds.
    rows
        Number of rows; by default the divisor of the order nearest below its square root.

    Examples
    --------
    >>> grid((2,) * 6, 3, rows=2).ranks["p0_0-p1_0"]
    3
    """
    modes = modes_of(shape)
    count = len(modes)
    if rows is None:
        rows = max(r for r in range(1, math.isqrt(count) + 1) if count % r == 0)
    check_rank(rows, "rows")
    if count % rows:
        raise ShapeError(f"{count} modes do not fill {rows} rows.")
    columns = count // rows
    names = [f"p{i // columns}_{i % columns}" for i in range(count)]
    nodes: dict[str, list[str]] = {name: [mode] for name, mode in zip(names, modes, strict=True)}
    for i in range(count):
        for j in (i + 1 if (i + 1) % columns else count, i + columns):
            if j < count:
                nodes[names[i]].append(f"{names[i]}-{names[j]}")
                nodes[names[j]].append(f"{names[i]}-{names[j]}")
    return _build(nodes, modes, rank)


def fully_connected(shape: Shape, rank: Rank = 1) -> Structure:
    """Return a fully connected network: one node v_i per mode, a bond between every two.

    Zheng et al., AAAI 35 (2021) 11071.

    Examples
    --------
    >>> len(fully_connected((2, 2, 2, 2), 2).bonds)
    6
    """
    modes = modes_of(shape)
    nodes: dict[str, list[str]] = {f"v{i}": [mode] for i, mode in enumerate(modes)}
    for a, b in itertools.combinations(range(len(modes)), 2):
        nodes[f"v{a}"].append(f"v{a}-v{b}")
        nodes[f"v{b}"].append(f"v{a}-v{b}")
    return _build(nodes, modes, rank)


def operator_structure(state: Structure, rank: Rank = 1) -> Structure:
    """Return the structure of an operator on states of the structure `state`.

    The same graph; beside every mode ``m`` (input) stands its twin ``m'`` (output), of the same
    size. The modes are all outputs, then all inputs, so that the full tensor, reshaped, is the
    operator's matrix. On a tensor train this is an MPO.

    Examples
    --------
    >>> operator_structure(tensor_train((2, 2), 1), rank=3).modes
    ("x0'", "x1'", 'x0', 'x1')
    """
    twins = {mode: f"{mode}'" for mode in state.modes}
    nodes = {
        node: [leg for own in legs for leg in ((twins[own], own) if own in twins else (own,))]
        for node, legs in state.nodes
    }
    sizes = {mode: state.size[mode] for mode in state.modes}
    both = {**{twins[mode]: size for mode, size in sizes.items()}, **sizes}
    return _build(nodes, both, rank)


def tt_matrix(rows: Sequence[int], columns: Sequence[int], rank: Rank = 1) -> Structure:
    """Return a TT-matrix: a tensor train whose node i holds a row mode x_i' and a column mode x_i.

    The modes are all rows, then all columns.

    Examples
    --------
    >>> tt_matrix((2, 3), (4, 5), 2).shape
    (2, 3, 4, 5)
    """
    if len(rows) != len(columns):
        raise ShapeError(
            f"a TT-matrix pairs row modes with column modes; got {len(rows)} and {len(columns)}."
        )
    square = operator_structure(tensor_train(tuple(columns)), 1)
    twins = {f"{mode}'": size for mode, size in modes_of(rows).items()}
    return square.resized(twins | ranks_of(rank, square.bonds))
