"""Staging: what has to be copied of the arrays of a run before it starts, and how much that is.

Arrays of several dtypes, of integers, or with gaps in memory are copied first. These copies count
towards the memory of a run like everything else it allocates, so they are known before any is
made.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from contraction import arrays as arrays_
from contraction.errors import DTypeError
from contraction.execute import SMALL, memory_orders, prepare
from contraction.loop_program import GAPS
from contraction.program import Layouts
from contraction.spec import Spec


class Staged(NamedTuple):
    """The arrays of a run, ready for it."""

    values: list[Any]
    name: str  # of their library
    layouts: Layouts | None


class Needed(NamedTuple):
    """What staging would copy."""

    owned: tuple[int, ...]  # for each input the entries of its copy; zero where there is none
    itemsize: int  # bytes of an entry in the common dtype
    name: str  # of the library
    layouts: Layouts | None  # how the arrays will lie in memory


def needed(values: Sequence[Any], sliced: Collection[int] = ()) -> Needed:
    """Return what `stage` would allocate for arrays.

    Parameters
    ----------
    values
        The arrays.
    sliced
        Positions of inputs that are taken slice by slice, and not copied for their gaps.
    """
    arrays = [x if hasattr(x, "dtype") else np.asarray(x) for x in values]
    kinds = [str(x.dtype).rpartition(".")[2] for x in arrays]
    try:
        common = np.result_type(*(_promoted(kind) for kind in kinds))
    except TypeError as error:
        raise DTypeError(f"the arrays hold {', '.join(sorted(set(kinds)))}.") from error
    owned: list[int] = []
    layouts: list[tuple[int, ...] | None] = []
    for i, (x, kind) in enumerate(zip(arrays, kinds, strict=True)):
        order, size, is_sliced = _order(x), math.prod(x.shape), i in sliced
        copied = order is not None and (order == GAPS or size <= SMALL) and not is_sliced
        converted = kind != common.name
        owned.append(size if copied or converted else 0)
        layouts.append(None if copied or (converted and order == GAPS) else order)
    name = arrays_.namespace_name(arrays[0])
    return Needed(tuple(owned), common.itemsize, name, tuple(layouts) if any(layouts) else None)


def stage(values: Sequence[Any], spec: Spec, sliced: Collection[int] = ()) -> Staged:
    """Check the arrays, bring them to one dtype, and say how they lie in memory.

    Raises
    ------
    ShapeError, BackendError, DTypeError
        As `contraction.execute.prepare`.
    """
    ready = list(values)
    name = prepare(ready, spec)
    whole = [i for i in range(len(ready)) if i not in sliced]
    kept = [ready[i] for i in whole]
    orders = memory_orders(kept, name) or (None,) * len(kept)
    layouts: list[tuple[int, ...] | None] = [None] * len(ready)
    for i, x, order in zip(whole, kept, orders, strict=True):
        ready[i], layouts[i] = x, order
    for i in sliced:
        layouts[i] = _order(ready[i])
    return Staged(ready, name, tuple(layouts) if any(layouts) else None)


def _promoted(kind: str) -> str:
    if kind in arrays_.DTYPES:
        return kind
    return "float32" if kind in ("float16", "bfloat16") else "float64"


def _order(x: Any) -> tuple[int, ...] | None:
    """Return the permutation that brings an array to C order, None if it is, `GAPS` if none."""
    torch = arrays_.namespace_name(x) == "torch"
    if x.is_contiguous() if torch else x.flags.c_contiguous:
        return None
    strides = x.stride() if torch else x.strides
    axes = tuple(sorted(range(len(strides)), key=lambda a: -strides[a]))
    turned = x.permute(axes) if torch else x.transpose(axes)
    dense = turned.is_contiguous() if torch else turned.flags.c_contiguous
    return axes if dense and min(strides) >= 0 else GAPS
