"""Equations: einsum strings and the interleaved form, read into specs.

"ab,bc->ac" names axes by letters (any character but space, comma, full stop, hyphen and >);
"..." stands for the axes without a letter, aligned at the right and broadcast as NumPy does.
Without "->" the output is the ellipsis axes, then the labels that appear once, sorted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from contraction.errors import PlanError, ShapeError
from contraction.spec import Spec, check_ndim

Term = tuple[Hashable, ...]


@dataclass(frozen=True)  # equal to no label of the caller's, as a named tuple would be
class Free:
    """The label of an ellipsis axis, counted from the right."""

    axis: int


@dataclass(frozen=True)
class Stretched:
    """The label of an axis of size one that is broadcast: nothing else holds it."""

    operand: int
    axis: int


@lru_cache(maxsize=4096)
def read_equation(equation: str) -> tuple[tuple[Term, ...], Term | None]:
    """Return the labels of every term and of the output; `Ellipsis` marks "...".

    Raises
    ------
    PlanError
        The equation is not well formed.

    Examples
    --------
    >>> read_equation("ab, bc -> ac")
    ((('a', 'b'), ('b', 'c')), ('a', 'c'))
    """
    text = "".join(equation.split())
    left, arrow, right = text.partition("->")
    terms = tuple(_read_term(term, equation) for term in left.split(","))
    return terms, _read_term(right, equation) if arrow else None


def _read_term(term: str, equation: str) -> Term:
    before, dots, after = term.partition("...")
    for bad in ",.->":
        if bad in before or bad in after:
            raise PlanError(
                f"the equation {equation!r} has a stray {bad!r} in {term!r}; expected letters, "
                "at most one '...' a term, commas, and at most one '->'."
            )
    middle: Term = (Ellipsis,) if dots else ()
    return (*before, *middle, *after)


@lru_cache(maxsize=512)
def equation_spec(
    terms: tuple[Term, ...], output: Term | None, shapes: tuple[tuple[int, ...], ...]
) -> Spec:
    """Return the spec of an equation on arrays of these shapes, broadcasting as NumPy does.

    Raises
    ------
    PlanError
        An ellipsis that the output lacks, or an output label that is repeated or unknown.
    ShapeError
        Wrong number of arrays or axes, or sizes that disagree.
    """
    if len(terms) != len(shapes):
        raise ShapeError(
            f"the equation has {len(terms)} operands, but {len(shapes)} arrays were given."
        )
    spread = [
        _spread(i, term, shape) for i, (term, shape) in enumerate(zip(terms, shapes, strict=False))
    ]
    widest = max(sum(isinstance(x, Free) for x in term) for term in spread)
    free = tuple(Free(axis) for axis in range(widest, 0, -1))
    if output is None:
        times = Counter(x for term in terms for x in term if x is not Ellipsis)
        once = [x for x, count in times.items() if count == 1]
        kept = (*free, *_sorted(once))
    elif Ellipsis in output:
        dots = output.index(Ellipsis)
        kept = (*output[:dots], *free, *output[dots + 1 :])
    elif free:
        raise PlanError(
            f"the operands have {widest} axes under '...', but the output {output} has no "
            "'...' to hold them; write it, or sum them over labels of their own."
        )
    else:
        kept = output
    return Spec.from_shapes(_stretch(spread, shapes), kept, shapes)


def _spread(position: int, term: Term, shape: tuple[int, ...]) -> Term:
    """Replace the ellipsis of a term by one label an axis, counted from the right."""
    if Ellipsis not in term:
        check_ndim(position, term, shape)
        return term
    if term.count(Ellipsis) > 1:
        raise PlanError(f"operand {position} has more than one '...': {term}.")
    dots, count = term.index(Ellipsis), len(shape) - len(term) + 1
    if count < 0:
        raise ShapeError(
            f"operand {position} has {len(term) - 1} labels beside '...', but its shape "
            f"{shape} has {len(shape)} axes."
        )
    return (*term[:dots], *(Free(axis) for axis in range(count, 0, -1)), *term[dots + 1 :])


def _stretch(spread: Sequence[Term], shapes: Sequence[tuple[int, ...]]) -> list[Term]:
    """Give axes of size one that meet another size a label of their own."""
    largest: dict[Hashable, int] = {}
    for term, shape in zip(spread, shapes, strict=True):
        for label, size in zip(term, shape, strict=True):
            # size zero wins over one, as in every broadcast
            known = largest.get(label, 1)
            largest[label] = size if known == 1 else known
    stretched = []
    for i, (term, shape) in enumerate(zip(spread, shapes, strict=True)):
        stretched.append(
            tuple(
                Stretched(i, axis)
                if size == 1 and largest[label] != 1 and _is_thin(label, term, shape)
                else label
                for axis, (label, size) in enumerate(zip(term, shape, strict=True))
            )
        )
    return stretched


def _is_thin(label: Hashable, term: Term, shape: Sequence[int]) -> bool:
    """Tell whether all axes of one operand with this label have size one."""
    return all(size == 1 for x, size in zip(term, shape, strict=True) if x == label)


def _sorted(labels: Sequence[Any]) -> Sequence[Any]:
    try:
        return sorted(labels)
    except TypeError:  # labels of several types have no order but that of appearance
        return labels


def read_interleaved(
    arguments: Sequence[Any],
) -> tuple[list[Any], tuple[Term, ...], Term | None]:
    """Return the operands, their labels and the output of `x, [0, 1], y, [1, 2], [0, 2]`.

    Raises
    ------
    PlanError
        The arguments do not alternate between arrays and label lists.
    """
    count = len(arguments) // 2
    output = arguments[-1] if len(arguments) % 2 else None
    operands = [arguments[2 * i] for i in range(count)]
    lists = [arguments[2 * i + 1] for i in range(count)]
    for labels in [*lists, *([] if output is None else [output])]:
        if not isinstance(labels, (list, tuple, str)):
            raise PlanError(
                "einsum takes an equation and arrays, or arrays each followed by a list of "
                f"labels; expected a list of labels, got {type(labels).__name__}."
            )
    try:
        hash(tuple(x for labels in lists for x in labels))
    except TypeError as error:
        raise PlanError(f"labels must be hashable: {error}.") from error
    if not count:
        raise PlanError("einsum needs an equation and at least one array.")
    return operands, tuple(tuple(x) for x in lists), None if output is None else tuple(output)
