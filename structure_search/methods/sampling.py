"""What the methods share that walk through a `SearchSpace`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from contraction.errors import InputError
from contraction.truncation import check_rank
from structure_search.canonical import charged
from structure_search.results import Candidate
from structure_search.space.limits import Limits
from structure_search.space.search_space import Arrangement
from structure_search.space.templates import read_template
from tnet.structure import Structure

UNKNOWN = math.inf  # the error of what was not evaluated


def candidate(structure: Structure, error: float) -> Candidate:
    """Return what a structure amounts to with this relative error.

    Parameters are those of what is left when nothing is idle, as the evaluator counts them.

    Examples
    --------
    >>> import tnet
    >>> candidate(tnet.tensor_train((2, 3, 2), (5, 5)), 0.1).num_params
    20
    """
    real = charged(structure)
    return Candidate(structure=real, num_params=real.num_params, error=error, index=-1)


def limits_of(options: Any) -> Limits:
    """Return the limits that the fields of a method state."""
    return Limits(
        max_degree=options.max_degree,
        max_params=options.max_params,
        max_memory=options.max_memory,
    )


def arrangement_of(exchanges: int | None) -> Arrangement:
    """Return whether modes move, when so many exchanges are tried (None is all)."""
    return Arrangement.FIXED if exchanges == 0 else Arrangement.FREE


def check_walk(options: Any, *, counts: Mapping[str, int]) -> None:
    """Check the fields that these methods have in common; `counts` gives the least of each.

    Reads the name of a template, so that options that went through JSON equal the originals.

    Raises
    ------
    RankError, InputError
        The message names the field.
    """
    object.__setattr__(options, "template", read_template(options.template))
    for name, least in {"max_rank": 2, "sweeps": 1, "restarts": 1, **counts}.items():
        check_rank(getattr(options, name), name, least=least)
    limits_of(options)


def check_probability(value: float, name: str) -> None:
    """Check a number between zero and one.

    Raises
    ------
    InputError
        It is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0:
        raise InputError(f"`{name}` is a probability between 0 and 1, got {value!r}.")
