"""Checks of what `evolve` is given, before any work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contraction import arrays as arrays_
from contraction.errors import DTypeError, InputError, NonFiniteError
from integrators.control import AbstractController
from integrators.steppers.base import AbstractStepper
from tnet.network import Network
from tnet.trees import require_tree


def check_times(t0: Any, t1: Any, dt: Any) -> None:
    """Raise `InputError` unless t0 < t1 are finite and dt > 0.

    Examples
    --------
    >>> check_times(0.0, 1.0, 0.1)
    """
    for name, value in (("t0", t0), ("t1", t1), ("dt", dt)):
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            raise InputError(f"`{name}` must be a number, got {value!r}.")
        if not math.isfinite(value):
            raise InputError(f"`{name}` must be a finite number, got {value}.")
    if not t1 > t0:
        raise InputError(
            f"`t1` must be later than `t0`, got t0={t0} and t1={t1}; to go back in time, take "
            "minus the generator."
        )
    if not dt > 0:
        raise InputError(f"`dt` must be positive, got {dt}.")
    if t0 + dt == t0 or (t1 - t0) / dt > 1e12:
        raise InputError(f"`dt` = {dt} is too small to go from {t0} to {t1}.")


def save_times(save_at: Any, t0: float, t1: float) -> tuple[float, ...] | None:
    """Return the output times in order, checked; None where there are none.

    Examples
    --------
    >>> save_times([0.5, 1.0], 0.0, 1.0)
    (0.5, 1.0)
    """
    if save_at is None:
        return None
    try:
        times = tuple(float(t) for t in save_at)
    except (TypeError, ValueError):
        raise InputError(f"`save_at` is a sequence of times, got {save_at!r:.200}.") from None
    if not times:
        raise InputError("`save_at` is empty; leave it out to save every step.")
    for before, after in zip((-math.inf, *times), times, strict=False):
        if not before < after:  # also NaN
            raise InputError(f"`save_at` must increase; {after} follows {before}.")
    outside = [t for t in times if not t0 <= t <= t1]
    if outside:
        raise InputError(f"`save_at` holds {outside[0]}, which is not between {t0} and {t1}.")
    return times


def check_measures(measure: Any) -> None:
    """Raise `InputError` unless `measure` maps names to functions of a network."""
    if not isinstance(measure, Mapping):
        raise InputError(
            f"`measure` maps names to functions of a network, got {type(measure).__name__}."
        )
    for name, function in measure.items():
        if not isinstance(name, str) or not name:
            raise InputError(f"a measure is named by a text, got {name!r}.")
        if not callable(function):
            raise InputError(f"measure {name!r} must be a function of a network, got {function!r}.")


def check_state(state: Any) -> None:
    """Raise unless `state` is a tree network with finite entries."""
    if not isinstance(state, Network):
        raise DTypeError(
            f"`state` must be a Network, got {type(state).__name__}; tnet.product_state makes one."
        )
    require_tree(state.structure)
    for node, x in state.arrays.items():
        if not np.isfinite(arrays_.to_numpy(x)).all():
            raise NonFiniteError(f"node {node!r} of the state holds NaN or infinity.")


def check_parts(stepper: Any, controller: Any, callback: Any) -> None:
    """Raise unless stepper, controller and callback are what they should be."""
    if not isinstance(stepper, AbstractStepper):
        raise InputError(
            f"`stepper` must be a stepper such as AugmentedBUG(), got {stepper!r:.200}."
        )
    if stepper.truncation.max_params is not None:
        raise InputError("a stepper's truncation cannot follow `max_params`; give `max_rank`.")
    if not isinstance(controller, AbstractController):
        raise InputError(
            f"`controller` must be ConstantStep() or PIStep(), got {controller!r:.200}."
        )
    if callback is not None and not callable(callback):
        raise InputError(f"`callback` must be a function of a Moment, got {callback!r:.200}.")


def checked_value(name: str, value: Any, before: Any) -> Any:
    """Return what a measure has returned as a NumPy scalar or array of the shape it had before.

    Raises
    ------
    InputError
        It is no number or array, or its shape has changed.
    """
    found = arrays_.to_numpy(value) if hasattr(value, "shape") else np.asarray(value)
    if found.dtype.kind not in "biufc":
        raise InputError(f"measure {name!r} must return numbers, got {value!r:.200}.")
    if before is not None and np.shape(before) != found.shape:
        raise InputError(
            f"measure {name!r} returned shape {found.shape} after {np.shape(before)}; its shape "
            "must stay."
        )
    return found


def check_keep(keep: Sequence[Any], kind: type, state: Network, complex_: bool) -> None:
    """Raise unless `keep` is a sequence of `kind`, on the graph of the state."""
    for item in keep:
        if not isinstance(item, kind):
            raise InputError(f"`keep` holds KeepNorm() or KeepMoments(...), got {item!r:.200}.")
        for moment in getattr(item, "moments", ()):
            if not isinstance(moment, Network) or not moment.structure.same_graph(state.structure):
                raise InputError("a moment to keep must be a network on the graph of the state.")
            if moment.dtype.startswith("complex") and not complex_:
                raise InputError("a complex moment cannot be kept of a real state.")
