"""What is fitted, read from what the caller gave: an array, one with holes, entries or a loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contraction.arrays import Array, as_array, dtype_name, namespace, require_finite
from contraction.errors import InputError, ShapeError
from structure_search.arguments import check_kind, check_number, checked_truths
from structure_search.tasks.base import AbstractTask, scale_for
from structure_search.tasks.completion import completion
from structure_search.tasks.decomposition import Decomposition
from structure_search.tasks.loss import Loss, LossTask
from tnet.als.entries import Entries
from tnet.formats import modes_of
from tnet.structure import Structure


def read_task(
    x: Any,
    *,
    modes: Sequence[str] | None,
    start: Structure | None,
    mask: Array | None,
    held_out: float | Array | Entries | None,
    ridge: float | None,
    seed: int,
) -> AbstractTask:
    """Return the task that the arguments of `search` describe.

    Raises
    ------
    InputError, ShapeError, NonFiniteError
        As for `search`.
    """
    check_number("ridge", ridge)
    if start is not None:
        check_kind("start", start, Structure, "a Structure (of a network: `.structure`)")
    asked = {"mask": mask, "held_out": held_out, "ridge": ridge}
    given = [name for name, value in asked.items() if value is not None]
    if isinstance(x, Loss):
        if given:
            raise InputError(f"`{given[0]}` is for data; a loss has no entries.")
        loss = LossTask(x, named_modes(tuple(x.shape), modes, start))
        loss.require_differentiable()
        return loss
    if isinstance(held_out, (int, float, np.floating)) and not isinstance(held_out, bool):
        held_out = float(held_out)
    if isinstance(x, Entries):
        named = named_modes(x.shape, modes, start)
        return completion(x, named, mask=mask, held_out=held_out, ridge=ridge, seed=seed)
    data: Any = as_array(x, what="the data")
    if data.ndim == 0 or 0 in tuple(data.shape):
        raise ShapeError(f"the data need at least one entry and one mode, got {data.shape}.")
    data = data.detach() if hasattr(data, "detach") else data
    xp = namespace(data)
    # one order in memory, whatever the caller's: equal data shall give equal searches
    data = xp.reshape(xp.reshape(data, (-1,)), tuple(data.shape))
    shape = tuple(int(n) for n in data.shape)
    named = named_modes(shape, modes, start)
    if not given and not bool(xp.any(xp.isnan(data))):
        require_finite(data, what="the data")
        scale = scale_for(float(xp.max(xp.abs(data))), dtype_name(data))
        task = Decomposition(data if scale == 1.0 else data / scale, named, scale=scale)
        if not math.isfinite(task.norm * scale):
            raise InputError("the norm of the data exceeds the largest number; scale them down.")
        return task
    if mask is not None:
        mask = checked_truths("mask", mask, shape)
    if held_out is not None and not isinstance(held_out, (float, Entries)):
        held_out = checked_truths("held_out", held_out, shape)
    return completion(data, named, mask=mask, held_out=held_out, ridge=ridge, seed=seed)


def named_modes(
    shape: tuple[int, ...], modes: Sequence[str] | None, start: Structure | None
) -> Mapping[str, int]:
    """Return mode name -> size, in the axis order of the data.

    Examples
    --------
    >>> named_modes((4, 5), None, None)
    {'x0': 4, 'x1': 5}
    """
    if modes is None:
        modes = tuple(modes_of(shape)) if start is None else start.modes
    if start is not None and len(start.modes) != len(shape):
        raise ShapeError(f"`start` has the modes {list(start.modes)}, the data {len(shape)} axes.")
    if len(set(modes)) != len(shape):
        raise ShapeError(f"`modes` names {len(shape)} axes, each differently; got {list(modes)}.")
    named = modes_of(dict(zip(modes, shape, strict=True)))
    if start is not None and dict(zip(start.modes, start.shape, strict=True)) != named:
        raise ShapeError(
            f"`start` has modes {dict(zip(start.modes, start.shape, strict=True))}, "
            f"the data have {named}."
        )
    return named


def recorded_held_out(
    about: Mapping[str, Any], held_out: float | Array | Entries | None
) -> float | Array | Entries | None:
    """Return what a run holds out: the fraction that run.json records, or what is given again.

    Raises
    ------
    InputError
        It was given entry by entry, and is not given now.
    """
    known = about.get("held_out")
    if held_out is None and known == "given":
        raise InputError(
            "the run holds out entries that were given one by one; give the same `held_out`."
        )
    if held_out is None and isinstance(known, float) and math.isfinite(known):
        return known
    return held_out
