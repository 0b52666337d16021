"""Programs: a sparse core applied leg by leg, with few products and none by an identity.

An operator's core is a sum of entries w M_1 x M_2 x ... x M_m, one matrix per leg. Going leg by
leg, what is still to do for an entry is its *suffix*: the channels of the legs not reached yet.
Everything with one suffix is summed before the next leg, and the weights are multiplied into the
matrices of the first leg that has any, once per step of time and not once per application:

    y[suffix] = sum over channels k of the leg: M[k] y_before[(k, suffix)].

Where the matrices of all terms of a suffix are identities it is an alias, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from contraction.arrays import Array, namespace

Number: TypeAlias = complex
IDENTITY, ZERO = -1, -2  # places of channels that are no matrices


class Merge(NamedTuple):
    """A matrix made before the run: sum of factors[j] * matrices[places[j]] + shift * identity."""

    places: tuple[int, ...]
    factors: tuple[Number, ...]
    shift: Number


class Piece(NamedTuple):
    """Add the merged matrix times tensor `source` to tensor `target`."""

    source: int
    target: int
    merge: Merge


class Stage(NamedTuple):
    """All products along one axis; tensors are numbered in the order in which they are made."""

    axis: int
    pieces: tuple[Piece, ...]
    first: int  # the first tensor this stage makes
    made: int


class Program(NamedTuple):
    """Stages, and for each output the tensor and the factor it is (-1: there is none)."""

    stages: tuple[Stage, ...]
    outputs: tuple[tuple[int, Number], ...]


class Entry(NamedTuple):
    """One term of a core: channels of the legs in the order of the axes, output, weight."""

    channels: tuple[int, ...]
    output: int
    weight: Number


Ready: TypeAlias = Callable[[Array], list[Array | None]]


def program_of(entries: Iterable[Entry], places: Sequence[Sequence[int]], outputs: int) -> Program:
    """Compile the application of the entries to a tensor.

    Parameters
    ----------
    entries
        The terms.
    places
        For each leg, channel -> which matrix of that leg it is, `IDENTITY` or `ZERO`.
    outputs
        Number of outputs.

    Examples
    --------
    >>> ising = [Entry((0, 1), 0, 2.0), Entry((1, 0), 0, 1.0)]
    >>> program = program_of(ising, [(IDENTITY, 0), (IDENTITY, 0)], 1)
    >>> [len(stage.pieces) for stage in program.stages]
    [1, 2]
    """
    now: dict[tuple[tuple[int, ...], int], dict[int, Number]] = {}
    for entry in entries:
        if all(places[leg][k] != ZERO for leg, k in enumerate(entry.channels)):
            held = now.setdefault((entry.channels, entry.output), {0: 0.0})
            held[0] += entry.weight
    made, stages = 1, []
    for axis, place in enumerate(places):
        stage, now, made = _stage(axis, place, now, made)
        if stage.pieces:
            stages.append(stage)
    found: list[tuple[int, Number]] = [(-1, 0.0)] * outputs
    for (_, output), alias in now.items():
        found[output] = next(iter(alias.items()))
    return Program(tuple(stages), tuple(found))


def _stage(
    axis: int,
    place: Sequence[int],
    now: dict[tuple[tuple[int, ...], int], dict[int, Number]],
    made: int,
) -> tuple[Stage, dict[tuple[tuple[int, ...], int], dict[int, Number]], int]:
    """Sum over the channels of one leg; every suffix becomes an alias or a tensor to be made."""
    sums: dict[tuple[tuple[int, ...], int], dict[int, dict[int, Number]]] = {}
    for (channels, output), tensors in now.items():
        found = sums.setdefault((channels[1:], output), {})
        for tensor, scale in tensors.items():
            matrix = found.setdefault(tensor, {})
            where = place[channels[0]]
            matrix[where] = matrix.get(where, 0.0) + scale
    after: dict[tuple[tuple[int, ...], int], dict[int, Number]] = {}
    pieces: list[Piece] = []
    first, known = made, dict[tuple[Any, ...], int]()
    for suffix, found in sums.items():
        if len(found) == 1 and set(only := next(iter(found.values()))) == {IDENTITY}:
            after[suffix] = {next(iter(found)): only[IDENTITY]}
            continue
        scale = _scale(found)
        merges = tuple((tensor, _merge(matrix, scale)) for tensor, matrix in found.items())
        if merges not in known:
            known[merges] = made
            pieces += [Piece(tensor, made, merge) for tensor, merge in merges]
            made += 1
        after[suffix] = {known[merges]: scale}
    pieces.sort(key=lambda piece: (piece.source, piece.target))
    return Stage(axis, tuple(pieces), first, made - first), after, made


def _scale(found: dict[int, dict[int, Number]]) -> Number:
    """Return the weight of a suffix that is one product: it may be shared with other weights."""
    matrices = list(found.values())
    if len(matrices) == 1 and len(matrices[0]) == 1:
        return next(iter(matrices[0].values()))
    return 1.0


def _merge(matrix: dict[int, Number], scale: Number) -> Merge:
    held = {k: (1.0 if scale == v else v) for k, v in matrix.items()}
    places = tuple(k for k in held if k >= 0)
    return Merge(places, tuple(_plain(held[k]) for k in places), _plain(held.get(IDENTITY, 0.0)))


def _plain(number: Number) -> Number:
    """Return a real number as a float, so that real arrays stay real."""
    number = complex(number)
    return number if number.imag else number.real


def ready(program: Program, matrices: Sequence[Sequence[Any]]) -> Ready:
    """Return the program with its matrices merged, as a function of the tensor.

    Parameters
    ----------
    program
        From `program_of`.
    matrices
        For each leg its matrices that are no identities: arrays (new size, size), or sparse
        matrices of the library of the tensor.
    """
    steps = [
        _made_ready(stage, [_merged(piece.merge, matrices[stage.axis]) for piece in stage.pieces])
        for stage in program.stages
    ]
    outputs = [(tensor, _plain(scale)) for tensor, scale in program.outputs]

    def run(x: Array) -> list[Array | None]:
        tensors: list[Any] = [x]
        for step in steps:
            step(tensors)
        return [
            None if t < 0 else tensors[t] if scale == 1.0 else tensors[t] * scale
            for t, scale in outputs
        ]

    return run


def _merged(merge: Merge, matrices: Sequence[Any]) -> Any:
    """Return the matrix of a piece, or the factor of a piece that is an identity."""
    if not merge.places:
        return merge.shift
    total: Any = None
    for place, factor in zip(merge.places, merge.factors, strict=True):
        term = matrices[place] if factor == 1.0 else matrices[place] * factor
        total = term if total is None else total + term
    return total + merge.shift * _identity(total) if merge.shift else total


def _identity(matrix: Any) -> Any:
    if is_sparse(matrix):
        from scipy.sparse import identity

        return identity(matrix.shape[0], dtype=matrix.dtype, format="csr")
    xp = namespace(matrix)
    return xp.eye(matrix.shape[0], dtype=matrix.dtype, device=matrix.device)


def is_sparse(matrix: Any) -> bool:
    """Tell whether a local matrix is stored sparsely (SciPy, CuPy or PyTorch)."""
    return hasattr(matrix, "nnz") or bool(getattr(matrix, "is_sparse_csr", False))


def _made_ready(stage: Stage, matrices: Sequence[Any]) -> Callable[[list[Any]], None]:
    """Group the pieces of a stage by source, so that each group is one stacked product."""
    groups: list[tuple[int, list[int], Any]] = []
    singles: list[tuple[int, int, Any]] = []
    by_source: dict[int, list[tuple[int, Any]]] = {}
    for piece, matrix in zip(stage.pieces, matrices, strict=True):
        target = piece.target - stage.first
        if isinstance(matrix, (int, float, complex)) or is_sparse(matrix):
            singles.append((piece.source, target, matrix))
        else:
            by_source.setdefault(piece.source, []).append((target, matrix))
    for source, wanted in by_source.items():
        xp = namespace(wanted[0][1])
        groups.append((source, [t for t, _ in wanted], xp.stack([m for _, m in wanted])))
    axis, count = stage.axis, stage.made

    def step(tensors: list[Any]) -> None:
        new: list[Any] = [None] * count
        own = [False] * count
        for source, targets, stack in groups:
            for k, found in zip(targets, along(stack, tensors[source], axis), strict=True):
                new[k] = found if new[k] is None else _added(new[k], found, own[k])
                own[k] = True
        for source, k, matrix in singles:
            if isinstance(matrix, (int, float, complex)):
                found = tensors[source] if matrix == 1.0 else tensors[source] * matrix
            else:
                found = sparse_along(matrix, tensors[source], axis)
            if new[k] is None:
                new[k], own[k] = found, found is not tensors[source]
            else:
                new[k], own[k] = _added(new[k], found, own[k]), True
        tensors += new

    return step


def _added(x: Any, y: Any, own: bool) -> Any:
    """Return x + y, in the memory of `x` where that is ours."""
    if not own:
        return x + y
    x += y
    return x


def along(stack: Any, x: Any, axis: int) -> Any:
    """Return the products of a stack (n, new, old) of matrices with one axis of a tensor.

    Examples
    --------
    >>> import numpy as np
    >>> along(np.ones((2, 4, 3)), np.ones((5, 3, 6)), 1).shape
    (2, 5, 4, 6)
    """
    xp = namespace(x)
    n, new, old = stack.shape
    shape = tuple(x.shape)
    target = (n, *shape[:axis], new, *shape[axis + 1 :])
    before, after = _product(shape[:axis]), _product(shape[axis + 1 :])
    if before == 1:
        return (stack.reshape(n * new, old) @ x.reshape(old, after)).reshape(target)
    if after == 1:
        turned = xp.permute_dims(stack, (0, 2, 1))
        return xp.matmul(x.reshape(1, before, old), turned).reshape(target)
    return xp.matmul(stack[:, None], x.reshape(1, before, old, after)).reshape(target)


def sparse_along(matrix: Any, x: Any, axis: int) -> Any:
    """Return the product of a sparse matrix with one axis of a tensor.

    Examples
    --------
    >>> import numpy as np, scipy.sparse as sp
    >>> sparse_along(sp.csr_array(np.eye(3)), np.ones((5, 3)), 1).shape
    (5, 3)
    """
    xp = namespace(x)
    shape = tuple(x.shape)
    moved = xp.moveaxis(x, axis, 0)
    rest = tuple(moved.shape[1:])
    found = matrix @ moved.reshape(shape[axis], -1)
    return xp.moveaxis(found.reshape((matrix.shape[0], *rest)), 0, axis)


def _product(sizes: Sequence[int]) -> int:
    total = 1
    for size in sizes:
        total *= int(size)
    return total
