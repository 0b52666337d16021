"""Objectives: what makes one network better than another.

An objective orders pairs (number of parameters, relative error); it knows nothing of structures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, final

from contraction.errors import InputError
from contraction.truncation import check_rank, check_tol


class AbstractObjective(ABC):
    """An order on networks by size and error."""

    @abstractmethod
    def order(self, num_params: int, error: float) -> tuple[float, ...]:
        """Return a key that is smaller for the better network."""

    @abstractmethod
    def met(self, num_params: int, error: float) -> bool:
        """Tell whether a network of this size and error fulfils the condition."""

    @property
    @abstractmethod
    def enough(self) -> float:
        """The error at which a fit may stop, since less would not count."""

    @property
    @abstractmethod
    def cap(self) -> int | None:
        """The largest number of parameters of use, or None."""


@final
@dataclass(frozen=True, kw_only=True)
class RelativeError(AbstractObjective):
    """The smallest network within a relative error `tol`.

    Examples
    --------
    >>> goal = RelativeError(tol=0.1)
    >>> goal.order(100, 0.05) < goal.order(200, 0.01) < goal.order(50, 0.2)
    True
    """

    tol: float

    def __post_init__(self) -> None:
        check_tol(self.tol)

    def order(self, num_params: int, error: float) -> tuple[float, ...]:
        """Within `tol` the smaller network is better; outside the nearer one."""
        if error <= self.tol:
            return (0.0, float(num_params), error)
        return (1.0, error, float(num_params))

    def met(self, num_params: int, error: float) -> bool:
        """Tell whether the error is within `tol`."""
        return error <= self.tol

    @property
    def enough(self) -> float:
        """The tolerance."""
        return self.tol

    @property
    def cap(self) -> int | None:
        """No limit on the size."""
        return None


@final
@dataclass(frozen=True, kw_only=True)
class MaxParams(AbstractObjective):
    """The least error with at most `params` parameters.

    Examples
    --------
    >>> goal = MaxParams(params=150)
    >>> goal.order(100, 0.05) < goal.order(120, 0.06) < goal.order(200, 0.01)
    True
    """

    params: int

    def __post_init__(self) -> None:
        check_rank(self.params, "params")

    def order(self, num_params: int, error: float) -> tuple[float, ...]:
        """Within the budget the nearer network is better; outside the smaller one."""
        if num_params <= self.params:
            return (0.0, error, float(num_params))
        return (1.0, float(num_params), error)

    def met(self, num_params: int, error: float) -> bool:
        """Tell whether the network is within the budget."""
        return num_params <= self.params

    @property
    def enough(self) -> float:
        """Zero: every digit counts."""
        return 0.0

    @property
    def cap(self) -> int | None:
        """The budget."""
        return self.params


OBJECTIVES: Mapping[str, type[RelativeError] | type[MaxParams]] = {
    "RelativeError": RelativeError,
    "MaxParams": MaxParams,
}


def objective_to_dict(objective: AbstractObjective) -> dict[str, Any]:
    """Return an objective as plain data for JSON."""
    name = type(objective).__name__
    if name not in OBJECTIVES:
        raise InputError(
            f"a run folder can record the objectives {', '.join(OBJECTIVES)}, got {name}."
        )
    return {"name": name, **asdict(objective)}  # type: ignore[call-overload]


def objective_from_dict(data: Mapping[str, Any]) -> AbstractObjective:
    """Return the objective that `objective_to_dict` wrote.

    Examples
    --------
    >>> objective_from_dict({"name": "RelativeError", "tol": 0.1})
    RelativeError(tol=0.1)
    """
    options = {key: value for key, value in data.items() if key != "name"}
    if data.get("name") not in OBJECTIVES:
        raise InputError(f"unknown objective {data.get('name')!r}; known: {list(OBJECTIVES)}.")
    return OBJECTIVES[data["name"]](**options)
