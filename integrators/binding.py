"""Binding: generators of any kind become fields on a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.errors import DTypeError, InputError, ShapeError, StructureError
from integrators.field import AbstractField
from integrators.frame import Frame
from integrators.linear_field import Cores, LinearField, placed
from integrators.programs import Entry
from tnet.network import Network

Coefficient: TypeAlias = "complex | Callable[[float], complex]"


@dataclass(frozen=True, eq=False)
class Driven:
    """A sum of operators with coefficients that may depend on time.

    Parameters
    ----------
    terms
        Pairs (coefficient, operator): a number or a function of time, and a `TreeOperator`, such
        as `(lambda t: math.cos(t), -1j * field)`. A step freezes them at its middle.
    """

    terms: Sequence[tuple[Coefficient, Any]]


def bind(generator: Any, frame: Frame, like: Array) -> AbstractField:
    """Return what drives a state, bound to a frame.

    Parameters
    ----------
    generator
        The right-hand side F of dY/dt = F(t, Y): a `TreeOperator` A for F = A Y (for
        Schroedinger's equation ``-1j * H``), an operator as a `Network`, `Driven` for
        coefficients of time, or a field of your own (`AbstractField`, on the same frame).
    frame
        From `frame_of`; nodes, bonds and modes are those of the operator.
    like
        An array of the state: its library, device and dtype. It must be complex where the
        generator is (`dtype_for`).

    Raises
    ------
    StructureError
        Operator and frame are not on the same graph.
    ShapeError
        A local matrix does not fit the size of its mode.
    DTypeError
        The generator is complex and the state is real.

    Notes
    -----
    Linear in the number of entries of the operator. Channels that are exactly identities are
    found here, and never multiplied afterwards.

    Examples
    --------
    >>> import tnet
    >>> tree = tnet.balanced_tree({"a": 2, "b": 2})
    >>> hamiltonian = tnet.operator(tree, [(1.0, {"a": "x", "b": "x"}), (0.5, {"a": "z"})])
    >>> from integrators.frame import frame_of
    >>> bind(-1j * hamiltonian, frame_of(tree), np.zeros(1, complex)).factor
    (-0-1j)
    """
    if isinstance(generator, AbstractField):
        if generator.frame is not frame:
            raise StructureError("the field is bound to another frame than the state.")
        return generator
    if hasattr(generator, "on_frame"):
        found: AbstractField = generator.on_frame(frame, like)
        return found
    terms = generator.terms if isinstance(generator, Driven) else ((1.0, generator),)
    if not terms:
        raise InputError("`Driven` needs at least one pair (coefficient, operator).")
    operators = [_operator(op) for _, op in terms]
    real = not arrays_.is_complex(like) and not any(_is_complex(op) for op in operators)
    if real and not all(op.hermitian for op in operators):
        factor, hermitian = complex(1.0), False  # i times a real skew matrix is no real operator
    else:
        factor, hermitian, operators = _common_factor(operators)
    if factor.imag == 0.0:
        factor = factor.real
    _require_dtype(factor, operators, like)
    cores = _on_frame(operators, frame, like)
    coefficients = [_function(f) for f, _ in terms] if isinstance(generator, Driven) else []
    return LinearField(
        frame, cores, factor, hermitian, coefficients, real=not arrays_.is_complex(like)
    )


def dtype_for(generator: Any, dtype: str) -> str:
    """Return the dtype a state of `dtype` needs under a generator: complex where that is.

    Examples
    --------
    >>> import tnet
    >>> one = tnet.operator(tnet.balanced_tree({"a": 2, "b": 2}), [(1.0, {"a": "x"})])
    >>> dtype_for(one, "float64"), dtype_for(-1j * one, "float64")
    ('float64', 'complex128')
    """
    if isinstance(generator, Network):
        operators, numbers = [_operator(generator)], list[complex]()
    elif isinstance(generator, Driven):
        operators = [_operator(op) for _, op in generator.terms]
        numbers = [complex(f) for f, _ in generator.terms if not callable(f)]
    elif hasattr(generator, "cores"):
        operators, numbers = [generator], []
    else:
        return dtype
    needed = any(_is_complex(op) for op in operators) or any(complex(n).imag for n in numbers)
    promoted = {"float32": "complex64", "float64": "complex128"}
    return promoted.get(dtype, dtype) if needed else dtype


def _operator(generator: Any) -> Any:
    if isinstance(generator, Network):
        from tnet.operators.tree_operator import TreeOperator

        return TreeOperator.from_network(generator)
    if not all(hasattr(generator, name) for name in ("structure", "locals", "cores")):
        raise InputError(
            f"a generator is a TreeOperator, an operator Network, Driven or a field, got "
            f"{type(generator).__name__}; tnet.operator(tree, terms) makes the first."
        )
    return generator


def _function(coefficient: Coefficient) -> Callable[[float], complex]:
    if callable(coefficient):
        return coefficient
    number = complex(coefficient)
    return lambda t: number


def _common_factor(operators: Sequence[Any]) -> tuple[complex, bool, list[Any]]:
    """Split generators into one number and Hermitian operators, if that is what they are."""
    if all(op.hermitian for op in operators):
        return 1.0, True, list(operators)
    turned = [1j * op for op in operators]
    if all(op.hermitian for op in turned):
        return -1j, True, turned
    return 1.0, False, list(operators)


def _is_complex(operator: Any) -> bool:
    weights = any(np.asarray(core.weights).imag.any() for core in operator.cores.values())
    return weights or any(
        np.dtype(m.dtype).kind == "c" and abs(m.imag).max() > 0.0
        for matrices in operator.locals.values()
        for m in matrices
    )


def _require_dtype(factor: complex, operators: Sequence[Any], like: Array) -> None:
    if arrays_.is_complex(like):
        return
    if complex(factor).imag or any(_is_complex(op) for op in operators):
        raise DTypeError(
            f"the generator is complex and the state is {arrays_.dtype_name(like)}; convert it "
            'first: state.to(dtype="complex128").'
        )


def _on_frame(operators: Sequence[Any], frame: Frame, like: Array) -> Cores:
    """Return nodes, legs and channels in the numbers of the frame; summands stand in a row."""
    for operator in operators:
        _check(operator, frame)
    count = frame.count
    entries: list[list[Entry]] = [[] for _ in range(count)]
    owner: list[int] = []
    widths = [0] * count
    widths[0] = 1
    offset: dict[str, int] = dict.fromkeys(frame.structure.size, 0)
    for number, operator in enumerate(operators):
        ranks = _channels(operator)
        for node, name in enumerate(frame.names):
            found = _entries(operator, frame, node, name, offset)
            entries[node] += found
            if node == 0:
                owner += [number] * len(found)
        for leg in offset:
            offset[leg] += ranks[leg] if leg in ranks else len(operator.locals.get(leg, ()))
        for node in range(1, count):
            widths[node] += ranks[frame.bond[node]]
    places, matrices = [], []
    for node in range(count):
        of_slots = [
            _placed_locals(operators, s.leg, like) if s.child < 0 else ((), ())
            for s in frame.slots[node]
        ]
        places.append(tuple(p for p, _ in of_slots))
        matrices.append(tuple(m for _, m in of_slots))
    return Cores(
        tuple(map(tuple, entries)), tuple(owner), tuple(widths), tuple(places), tuple(matrices)
    )


def _entries(
    operator: Any, frame: Frame, node: int, name: str, offset: dict[str, int]
) -> list[Entry]:
    """Return the entries of one core with their columns in frame order."""
    legs = operator.structure.legs[name]
    core = operator.cores[name]
    order = [legs.index(slot.leg) for slot in frame.slots[node]]
    shift = [offset[slot.leg] for slot in frame.slots[node]]
    if node:
        order.insert(0, legs.index(frame.bond[node]))
        shift.insert(0, offset[frame.bond[node]])
    channels = np.asarray(core.channels).reshape(-1, len(legs))[:, order] + np.array(
        shift, dtype=np.int64
    )
    rows = [tuple(map(int, row)) for row in channels]
    weights = [complex(w) for w in core.weights]
    return [
        Entry(row if node else (0, *row), 0, w if w.imag else w.real)
        for row, w in zip(rows, weights, strict=True)
        if w != 0.0
    ]


def _channels(operator: Any) -> dict[str, int]:
    return {bond: int(n) for bond, n in operator.ranks.items()}


def _placed_locals(
    operators: Sequence[Any], mode: str, like: Array
) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """Return which local matrices are identities, and the others beside the state."""
    from integrators.programs import IDENTITY

    places: list[int] = []
    held: list[Any] = []
    for operator in operators:
        for matrix in operator.locals.get(mode, ()):
            if _is_identity(matrix):
                places.append(IDENTITY)
            else:
                places.append(len(held))
                real = matrix.real if not arrays_.is_complex(like) else matrix
                held.append(placed(real, like))
    return tuple(places), tuple(held)


def _is_identity(matrix: Any) -> bool:
    """Tell whether a local matrix is exactly the identity."""
    n = matrix.shape[0]
    if hasattr(matrix, "nnz"):
        plain = matrix.tocoo()
        off = plain.data[plain.row != plain.col]
        return not off.any() and bool((matrix.diagonal() == 1.0).all())
    return bool(np.array_equal(np.asarray(matrix), np.eye(n)))


def _check(operator: Any, frame: Frame) -> None:
    """Require the graph of the frame and local matrices of the right size."""
    mine, other = frame.structure, operator.structure
    same = set(mine.legs) == set(other.legs) and all(
        sorted(mine.legs[node]) == sorted(other.legs[node]) for node in mine.legs
    )
    if not same:
        raise StructureError(
            "operator and state are not on the same tree: the operator's nodes are "
            f"{list(other.node_names[:6])}, the state's {list(mine.node_names[:6])}; build the "
            "operator on the structure of the state (tnet.operator(state.structure, terms))."
        )
    for mode in mine.modes:
        for matrix in operator.locals.get(mode, ()):
            if tuple(matrix.shape) != (mine.size[mode],) * 2:
                raise ShapeError(
                    f"a local matrix of mode {mode!r} is {tuple(matrix.shape)}; the mode has "
                    f"size {mine.size[mode]}."
                )
