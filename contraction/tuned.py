"""Tuned: what timing found out about a plan, and how it is written to a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from contraction.errors import PlanError
from contraction.ways import Copy, Kernel, Way


class Tuned(NamedTuple):
    """The ways of all steps that were the fastest for a library, and the seconds they took.

    There are no ways for a plan that is run slice by slice: its kernels are chosen anew.
    """

    library: str
    ways: tuple[Way, ...]
    seconds: float


def fixed_ways(tuned: Tuned | None, library: str) -> dict[int, Way]:
    """Return step -> way where a library is the one that was timed."""
    if tuned is None or tuned.library != library:
        return {}
    return dict(enumerate(tuned.ways))


def tuned_to_dict(tuned: Tuned) -> dict[str, Any]:
    """Return what was found as plain data for JSON."""
    ways = [
        {
            "kernel": way.kernel.value,
            "swapped": way.swapped,
            "batch": [list(group) for group in way.batch],
            "groups": [list(way.m), list(way.n), list(way.summed)],
            "copies": [way.copy_left.value, way.copy_right.value],
        }
        for way in tuned.ways
    ]
    return {"library": tuned.library, "seconds": tuned.seconds, "ways": ways}


def read_tuned(data: Mapping[str, Any], steps: int) -> Tuned:
    """Return what `tuned_to_dict` wrote about a plan of so many steps.

    Raises
    ------
    PlanError
        An entry is missing, of the wrong kind, or of a wrong value.
    """
    try:
        library, seconds = data["library"], float(data["seconds"])
        ways = tuple(_read_way(way) for way in data["ways"])
        if library not in ("numpy", "torch", "cupy") or not 0.0 <= seconds < float("inf"):
            raise ValueError(f"{library!r} took {seconds!r} seconds")
        if len(ways) not in (0, steps):
            raise ValueError(f"{len(ways)} ways for {steps} steps")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise PlanError(
            "what timing found is written as `library`, `seconds` and one entry of `ways` a "
            f"step; reading failed at {error!r}."
        ) from error
    return Tuned(library, ways, seconds)


def _read_way(data: Mapping[str, Any]) -> Way:
    m, n, summed = (tuple(map(int, group)) for group in data["groups"])
    left, right = (Copy(value) for value in data["copies"])
    batch = tuple(tuple(map(int, group)) for group in data["batch"])
    return Way(Kernel(data["kernel"]), bool(data["swapped"]), batch, m, n, summed, left, right)
