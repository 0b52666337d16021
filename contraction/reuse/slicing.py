"""Slicing: the derivatives of a sum over slices, slice by slice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from contraction.arrays import namespace_by_name, namespace_name
from contraction.planner import Plan
from contraction.spec import Canonical, Spec

Run = Callable[[list[Any], Any], tuple[Any, dict[int, Any]]]


@dataclass(frozen=True, kw_only=True)
class Sliced:
    """A contraction whose labels `labels` are fixed, one value after another.

    `canonical` is the work of one slice: the fixed labels have size one there.
    """

    spec: Spec
    labels: tuple[Any, ...]
    canonical: Canonical

    def _slices(self) -> Iterator[dict[Any, int]]:
        ranges = [range(self.spec.sizes[x]) for x in self.labels]
        for fixed in itertools.product(*ranges):
            yield dict(zip(self.labels, fixed, strict=True))

    def summed(
        self, run: Run, values: Sequence[Any], cotangent: Any, leaves: Sequence[int]
    ) -> tuple[Any, dict[int, Any]]:
        """Return the value and the derivatives of all slices together.

        A derivative by an input goes to the slice of the input it belongs to, and is added up
        over the fixed labels that the input does not have; a slice of the value likewise.
        """
        spec = self.spec
        xp: Any = namespace_by_name(namespace_name(values[0]))
        like = {"dtype": values[0].dtype, "device": values[0].device}
        found = {i: xp.zeros(spec.shapes[i], **like) for i in leaves}
        total = None
        for fixed in self._slices():
            places = [_place(labels, fixed) for labels in spec.inputs]
            out = _place(spec.output, fixed)
            part = None if cotangent is None else cotangent[out]
            value, parts = run([x[p] for x, p in zip(values, places, strict=True)], part)
            for i in leaves:
                found[i][places[i]] += parts[i]
            if value is not None:
                total = xp.zeros(spec.shape, **like) if total is None else total
                total[out] += value
        return total, found


def _place(labels: Sequence[Any], fixed: dict[Any, int]) -> tuple[slice, ...]:
    return tuple(slice(fixed[x], fixed[x] + 1) if x in fixed else slice(None) for x in labels)


def sliced(plan: Plan) -> Sliced:
    """Return the slices of a plan; without slices the whole contraction is one."""
    spec, canonical = plan.spec, plan.spec.canonical
    if not plan.slices:
        return Sliced(spec=spec, labels=(), canonical=canonical)
    fixed = set(plan.slices)
    sizes = tuple(1 if label in fixed else n for label, n in spec.sizes.items())
    return Sliced(spec=spec, labels=tuple(plan.slices), canonical=canonical._replace(sizes=sizes))
