"""Where the error sits: the relative error of every slice of the data, mode by mode."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import contraction
from contraction.arrays import Array, to_numpy
from contraction.errors import CheckpointError, ShapeError
from structure_search.journal import BEST, write_json
from tnet.network import Network

RESIDUAL = "residual.json"


def slice_errors(net: Network, x: Array) -> dict[str, list[float]]:
    """Return mode -> for each index, the norm of the error in that slice over its share of X.

    The share is ||X|| / sqrt(number of slices), so that over a mode the mean of the squares is
    the squared relative error of the whole.

    Cost: the full tensor of `net` is formed, and one pass per mode.

    Raises
    ------
    ShapeError
        `net` and `x` differ in shape.

    Examples
    --------
    >>> from tnet.structure import Structure
    >>> net = Network(Structure({"a": ("x",)}, {"x": 2}), {"a": np.array([3.0, 0.0])})
    >>> [round(e, 6) for e in slice_errors(net, np.array([3.0, 4.0]))["x"]]
    [0.0, 1.131371]
    """
    return _slices(net, *squared_errors(net, x))


def squared_errors(net: Network, x: Array) -> tuple[Any, float]:
    """Return |X - T|**2 entry by entry, and ||X||.

    Raises
    ------
    ShapeError
        `net` and `x` differ in shape.
    """
    if tuple(net.shape) != tuple(x.shape):
        raise ShapeError(f"the network has shape {net.shape}, the data {tuple(x.shape)}.")
    host = to_numpy(x)
    gone: Any = np.abs(to_numpy(net.to_dense()) - host) ** 2
    return gone, math.sqrt(float(np.sum(np.abs(host) ** 2))) or 1.0


def _slices(net: Network, gone: Any, norm: float) -> dict[str, list[float]]:
    found = {}
    for axis, mode in enumerate(net.structure.modes):
        others = tuple(k for k in range(gone.ndim) if k != axis)
        parts = np.sqrt(gone.sum(axis=others) * gone.shape[axis]) / norm
        found[mode] = [float(value) for value in parts]
    return found


@dataclass(frozen=True, kw_only=True)
class Residuals:
    """The errors of slices of one network of a run, and the memory that forming it took.

    `index` is the evaluation that found the network, `peak` the most bytes that were allocated
    at once beside it, where that was seen, `maps` the error over pairs of modes (`residual_map`).
    """

    index: int
    slices: Mapping[str, Sequence[float]] = field(repr=False)
    peak: int | None = None
    maps: Sequence[Mapping[str, Any]] = field(default=(), repr=False)


def write_residuals(folder: Path, net: Network, x: Array, *, index: int) -> None:
    """Write best/residual.json for the report; `net` was found by evaluation `index`."""
    from structure_search.reporting.residual_map import residual_maps

    gone, norm = squared_errors(net, x)
    sizes = dict(zip(net.structure.modes, net.shape, strict=True))
    found = {"index": index, "slices": _slices(net, gone, norm), "peak_bytes": observed_peak(net)}
    found["maps"] = residual_maps(gone, sizes, norm)
    write_json(folder / BEST / RESIDUAL, found)


def read_residuals(folder: Path) -> Residuals | None:
    """Return what best/residual.json says; None if there is none.

    Raises
    ------
    CheckpointError
        It is damaged.
    """
    path = folder / BEST / RESIDUAL
    if not path.is_file():
        return None
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        peak = known.get("peak_bytes")
        return Residuals(
            index=int(known["index"]),
            slices=dict(known["slices"]),
            peak=None if peak is None else int(peak),
            maps=tuple(known.get("maps") or ()),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}; delete it.") from error


def observed_peak(net: Network) -> int | None:
    """Form the full tensor, and return the most bytes that were allocated at once.

    As tracemalloc sees NumPy; None where the arrays are of another library, or something else
    is tracing.
    """
    if tracemalloc.is_tracing():
        return None
    plan = contraction.plan(net.structure.spec(), objective="flops")
    arrays: list[Any] = list(net.arrays.values())
    if any(type(array).__module__ != "numpy" for array in arrays):
        return None
    plan.run(arrays)  # once before, for what is made only once
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        plan.run(arrays)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before
