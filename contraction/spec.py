"""Spec: what to contract. Labels of every input and of the output, and their sizes; no arrays.

A label may be held by any number of inputs, be repeated on one input (a diagonal, or a trace
when it is not in the output), and be kept in the output however many inputs hold it. Labels
that are not in the output are summed over.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

from contraction.errors import PlanError, ShapeError

Labels = tuple[Hashable, ...]


class Canonical(NamedTuple):
    """A contraction with labels 0, 1, ... in order of appearance: equal iff the same work."""

    inputs: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Spec:
    """A contraction: the labels of each input, the labels of the output, the sizes.

    Parameters
    ----------
    inputs
        For each input the labels of its axes; any hashable labels, any number of them.
    output
        The labels of the result, in the order of its axes.
    sizes
        Label -> length. Labels that no input holds are ignored.

    Raises
    ------
    PlanError
        No input, an output label that is repeated or that no input holds, an unhashable label,
        or a label without a size.
    ShapeError
        A size that is not a whole number >= 0.

    Examples
    --------
    >>> spec = Spec([("a", "b"), ("b", "c")], ("a", "c"), {"a": 2, "b": 3, "c": 4})
    >>> spec.shape, spec.shapes
    ((2, 4), ((2, 3), (3, 4)))
    """

    inputs: tuple[Labels, ...]
    output: Labels
    sizes: Mapping[Hashable, int]
    _hash: int = field(default=0, init=False, repr=False, compare=False)

    def __init__(
        self,
        inputs: Iterable[Sequence[Hashable]],
        output: Sequence[Hashable],
        sizes: Mapping[Any, int],
    ) -> None:
        held = tuple(tuple(labels) for labels in inputs)
        kept = tuple(output)
        if not held:
            raise PlanError("a contraction needs at least one input, got none.")
        try:
            frozen: dict[Hashable, int] = dict.fromkeys(itertools.chain.from_iterable(held), 0)
            for label in frozen:
                size = sizes.get(label)
                frozen[label] = size if type(size) is int and size >= 0 else _size(label, sizes)
            if len(set(kept)) < len(kept) or not frozen.keys() >= set(kept):
                _refuse_output(kept, frozen)
        except TypeError as error:
            raise PlanError(f"labels must be hashable: {error}.") from error
        put = object.__setattr__
        put(self, "inputs", held)
        put(self, "output", kept)
        put(self, "sizes", MappingProxyType(frozen))
        put(self, "_hash", hash((held, kept, tuple(frozen.values()))))

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        return Spec, (self.inputs, self.output, dict(self.sizes))

    @classmethod
    def from_shapes(
        cls,
        inputs: Iterable[Sequence[Hashable]],
        output: Sequence[Hashable],
        shapes: Iterable[Sequence[int]],
    ) -> Spec:
        """Return the spec whose sizes are read off the shapes of the inputs.

        Raises
        ------
        ShapeError
            Another number of shapes than of inputs, a shape with another number of axes than
            labels, or a label of two sizes.

        Examples
        --------
        >>> dict(Spec.from_shapes(["ab", "bc"], "ac", [(2, 3), (3, 4)]).sizes)
        {'a': 2, 'b': 3, 'c': 4}
        """
        held = tuple(tuple(labels) for labels in inputs)
        given = tuple(tuple(shape) for shape in shapes)
        if len(held) != len(given):
            raise ShapeError(
                f"the contraction has {len(held)} inputs, but {len(given)} arrays were given."
            )
        seen: dict[Hashable, tuple[int, int]] = {}
        for position, (labels, shape) in enumerate(zip(held, given, strict=True)):
            check_ndim(position, labels, shape)
            for label, size in zip(labels, shape, strict=True):
                first, known = seen.setdefault(label, (position, size))
                if known != size:
                    raise ShapeError(
                        f"label {label!r} has size {known} on input {first} "
                        f"{held[first]} of shape {given[first]}, but size {size} on input "
                        f"{position} {labels} of shape {shape}; all holders of a label have "
                        "one size."
                    )
        return cls(held, output, {label: size for label, (_, size) in seen.items()})

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the inputs."""
        size = self.sizes
        return tuple(tuple(size[label] for label in labels) for labels in self.inputs)

    @cached_property
    def shape_list(self) -> list[tuple[int, ...]]:
        """The shapes of the inputs as a list, to compare with those of arrays at once."""
        return list(self.shapes)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of the result."""
        return tuple(self.sizes[label] for label in self.output)

    @cached_property
    def canonical(self) -> Canonical:
        """The same contraction with whole numbers for labels: the key of every plan cache."""
        number = dict(zip(self.sizes, range(len(self.sizes)), strict=True)).__getitem__
        return Canonical(
            tuple([tuple(map(number, labels)) for labels in self.inputs]),
            tuple(map(number, self.output)),
            tuple(self.sizes.values()),
        )


def check_ndim(position: int, labels: Sequence[Hashable], shape: Sequence[int]) -> None:
    """Raise `ShapeError` unless input `position` has one axis for each of its labels."""
    if len(labels) != len(shape):
        raise ShapeError(
            f"input {position} has {len(labels)} labels {tuple(labels)}, but its shape "
            f"{tuple(shape)} has {len(shape)} axes."
        )


def _size(label: Hashable, sizes: Mapping[Any, int]) -> int:
    if label not in sizes:
        raise PlanError(
            f"label {label!r} has no size; sizes are given for {list(sizes)[:12]}. "
            "Give every label of the inputs a size."
        )
    size = sizes[label]
    try:
        whole = not isinstance(size, bool) and int(size) == size and size >= 0
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise ShapeError(f"label {label!r} needs a whole size >= 0, got {size!r}.")
    return int(size)


def _refuse_output(output: Labels, sizes: Mapping[Hashable, int]) -> None:
    seen = set()
    for label in output:
        if label not in sizes:
            raise PlanError(
                f"the output label {label!r} is on no input; the inputs hold {list(sizes)[:12]}."
            )
        if label in seen:
            raise PlanError(
                f"the output names label {label!r} twice: {list(output)}; an output label "
                "stands for one axis."
            )
        seen.add(label)
