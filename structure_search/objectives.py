"""Objectives: what makes one network better than another.

An objective orders candidates: structures with the error that was reached on them. All but
`Custom` promise that on one structure less error is never worse, which is what lets bounds rule
structures out (`AbstractObjective.useful_error`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, final

from contraction.errors import InputError
from contraction.truncation import check_tol
from structure_search.budgets import MaxBytes as MaxBytes
from structure_search.budgets import MaxFlops as MaxFlops
from structure_search.budgets import MaxParams as MaxParams
from structure_search.objective_base import AbstractObjective as AbstractObjective
from structure_search.results import Candidate
from tnet.structure import Structure


@final
@dataclass(frozen=True, kw_only=True)
class RelativeError(AbstractObjective):
    """The smallest network within a relative error `tol`.

    Examples
    --------
    >>> import tnet
    >>> goal, s = RelativeError(tol=0.1), tnet.tensor_train((4, 4), 1)
    >>> tried = [
    ...     Candidate(structure=s, num_params=p, error=e, index=0)
    ...     for p, e in [(200, 0.01), (50, 0.2), (100, 0.05)]
    ... ]
    >>> [c.num_params for c in sorted(tried, key=goal.order)]
    [100, 200, 50]
    """

    tol: float

    def __post_init__(self) -> None:
        check_tol(self.tol)

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        """Within `tol` the smaller network is better; outside the nearer one."""
        size, error = float(candidate.num_params), candidate.error
        return (0.0, size, error) if error <= self.tol else (1.0, error, size)

    def met(self, candidate: Candidate) -> bool:
        """Tell whether the error is within `tol`."""
        return candidate.error <= self.tol

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
class WeightedError(AbstractObjective):
    """The least ``parameters / entries of the full tensor + weight * error**2``.

    The objective of the papers on TNGA, TNLS and TnALE (Li and Sun, ICML 2020; Li et al., ICML
    2022 and 2023): squared errors, RSE, weighted against the share of parameters.

    Parameters
    ----------
    weight
        Of the squared relative error.
    negligible
        A squared error that contributes less than this does not matter: fits stop there.

    Examples
    --------
    >>> import tnet
    >>> s = tnet.tensor_train((4, 4), 1)
    >>> WeightedError(weight=5.0).order(Candidate(structure=s, num_params=8, error=0.1, index=0))
    (0.55, 8.0)
    """

    weight: float = 5.0
    negligible: float = 1e-8

    def __post_init__(self) -> None:
        for name in ("weight", "negligible"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise InputError(f"`{name}` is a positive number, got {getattr(self, name)!r}.")

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        """Return the weighted sum, then the number of parameters."""
        size = candidate.num_params / candidate.dense_size
        missed = self.weight * (candidate.error * candidate.error)
        return (size + missed, float(candidate.num_params))

    def met(self, candidate: Candidate) -> bool:
        """There is no condition: every network meets it."""
        return True

    @property
    def enough(self) -> float:
        """The error whose contribution to the sum is `negligible`."""
        return math.sqrt(self.negligible / self.weight)

    @property
    def cap(self) -> int | None:
        """No limit on the size."""
        return None


@final
@dataclass(frozen=True, kw_only=True)
class Custom(AbstractObjective):
    """The least value of any function of a candidate.

    Nothing is known about the function, so no bound rules a structure out.

    Parameters
    ----------
    score
        Candidate -> number, smaller is better. Deterministic.
    enough_error
        The relative error at which a fit may stop.

    Examples
    --------
    >>> import tnet
    >>> goal = Custom(score=lambda c: c.num_params * c.error)
    >>> s = tnet.tensor_train((4, 4), 1)
    >>> goal.order(Candidate(structure=s, num_params=8, error=0.5, index=0))
    (4.0, 8.0)
    """

    score: Callable[[Candidate], float] = field(repr=False)
    enough_error: float = 0.0

    def __post_init__(self) -> None:
        if not callable(self.score):
            raise InputError(f"`score` is a function of a candidate, got {self.score!r}.")
        check_tol(self.enough_error, "enough_error")

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        """Return the score, then the number of parameters."""
        score = float(self.score(candidate))
        if math.isnan(score):
            raise InputError(
                f"the score of a candidate with {candidate.num_params} parameters and error "
                f"{candidate.error:g} is NaN; return a number, infinity for what is no good."
            )
        return (score, float(candidate.num_params))

    def met(self, candidate: Candidate) -> bool:
        """There is no condition: every network meets it."""
        return True

    @property
    def enough(self) -> float:
        """The error given."""
        return self.enough_error

    @property
    def cap(self) -> int | None:
        """No limit on the size."""
        return None

    def useful_error(self, structure: Structure, than: Candidate | None) -> float:
        """Infinity: nothing is known about the function."""
        return math.inf


OBJECTIVES: Mapping[str, Any] = {
    "MaxBytes": MaxBytes,
    "MaxFlops": MaxFlops,
    "MaxParams": MaxParams,
    "RelativeError": RelativeError,
    "WeightedError": WeightedError,
}


def objective_to_dict(objective: AbstractObjective) -> dict[str, Any]:
    """Return an objective as plain data for JSON.

    Raises
    ------
    InputError
        It is none of `OBJECTIVES`.
    """
    name = type(objective).__name__
    if name not in OBJECTIVES:
        raise InputError(
            f"a run folder can record the objectives {', '.join(OBJECTIVES)}, got {name}, which "
            "cannot be written down; take one of these, or search without a run folder."
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
    found: AbstractObjective = OBJECTIVES[data["name"]](**options)
    return found
