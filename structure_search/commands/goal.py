"""What a search looks for, on which data, and who works, as the shell says it."""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tnet.failures import UsageError
from tnet.options import (
    MissingChoice,
    parse_count,
    parse_seconds,
    parse_size,
    parse_tolerance,
)

if TYPE_CHECKING:
    from structure_search.objectives import AbstractObjective
    from tnet.inputs import Data

SECONDS_TO_ANSWER = 5.0  # of a scheduler


class Goal(NamedTuple):
    """An objective in the shell: its class, and the field that the option sets."""

    kind: str
    field: str


GOALS: Mapping[str, Goal] = {
    "tol": Goal("RelativeError", "tol"),
    "max_params": Goal("MaxParams", "params"),
    "max_bytes": Goal("MaxBytes", "nbytes"),
    "max_flops": Goal("MaxFlops", "flops"),
    "weight": Goal("WeightedError", "weight"),
}


def parse_weight(text: str) -> float:
    """Read a positive number.

    Examples
    --------
    >>> parse_weight("5")
    5.0
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a weight > 0")
    return number


def parse_flops(text: str) -> int:
    """Read a number of operations >= 1: ``"1e9"``, ``"2500"``.

    Examples
    --------
    >>> parse_flops("1e3")
    1000
    """
    try:
        number = float(text)
        whole = int(text) if text.strip().isdigit() else int(number)
        if not (math.isfinite(number) and whole >= 1 and (whole == number or number > 2**53)):
            raise ValueError
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of operations; write 1e9 or a whole number >= 1"
        ) from None
    return whole


def parse_share(text: str) -> float:
    """Read a share between zero and one.

    Examples
    --------
    >>> parse_share("0.1"), parse_share("10%")
    (0.1, 0.1)
    """
    try:
        percent = text.strip().endswith("%")
        number = float(text.strip().removesuffix("%")) / (100.0 if percent else 1.0)
    except ValueError:
        number = math.nan
    if not 0.0 < number < 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share between 0 and 1; write 0.1")
    return number


def add_goal_options(group: Any) -> None:
    """Add the options that say what to look for; exactly one is given."""
    group.add_argument(
        "--tol", type=parse_tolerance, metavar="T", help="smallest network within this error"
    )
    group.add_argument(
        "--max-params", type=parse_count, metavar="B", help="least error with so many parameters"
    )
    group.add_argument(
        "--max-bytes", type=parse_size, metavar="64KiB", help="least error within so many bytes"
    )
    group.add_argument(
        "--max-flops", type=parse_flops, metavar="1e9",
        help="least error of networks that are contracted with so many operations",
    )  # fmt: skip
    group.add_argument(
        "--weight", type=parse_weight, metavar="L",
        help="least params/entries + L * error^2, as published with TNGA, TNLS and TnALE",
    )  # fmt: skip


def add_limit_options(group: Any) -> None:
    """Add the options that say when to stop, and who works."""
    group.add_argument("--budget", type=parse_count, metavar="N", help="most evaluations")
    group.add_argument("--time", type=parse_seconds, metavar="10m", help="most time")
    group.add_argument(
        "--patience", type=parse_count, metavar="N",
        help="stop after so many evaluations in a row without a better network",
    )  # fmt: skip


def add_worker_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say who does the fits: processes, or a cluster."""
    workers = parser.add_mutually_exclusive_group()
    workers.add_argument(
        "--workers", type=parse_count, metavar="N", help="processes that fit at the same time"
    )
    workers.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="a Dask cluster that fits")


def chosen_goals(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options given that say what to look for."""
    found = {name: getattr(args, name, None) for name in GOALS}
    return {name: value for name, value in found.items() if value is not None}


def make_objective(args: argparse.Namespace) -> AbstractObjective | None:
    """Return the objective that the options name, or None if they name none.

    Raises
    ------
    UsageError
        More than one is named.
    """
    from structure_search import objectives

    given = chosen_goals(args)
    if len(given) > 1:
        flags = [f"--{name.replace('_', '-')}" for name in given]
        raise UsageError(f"give one goal, not both {' and '.join(flags)}.")
    for name, value in given.items():
        goal = GOALS[name]
        made: AbstractObjective = getattr(objectives, goal.kind)(**{goal.field: value})
        return made
    return None


def require_goal(args: argparse.Namespace, needs: str) -> None:
    """Raise `UsageError` unless exactly one goal is named, and it is the one a method needs."""
    given = chosen_goals(args)
    if needs and not given.keys() <= {needs}:
        flag = needs.replace("_", "-")
        raise UsageError(f"--method {args.method} needs --{flag}.", hint=f"e.g. --{flag} 0.05")
    if not given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in GOALS)
        raise UsageError(f"what to look for? give one of {flags}.", hint="e.g. --tol 0.05")


def make_workers(args: argparse.Namespace) -> dict[str, Any]:
    """Return the `workers` of `search` that the options name; empty for this process alone."""
    if args.scheduler is not None:
        if not args.scheduler.partition("://")[2].rpartition(":")[2].isdigit():
            raise UsageError(
                f"--scheduler {args.scheduler!r} is no address.", hint="write tcp://HOST:PORT"
            )
        from contraction import Dask

        return {"workers": Dask(address=args.scheduler, timeout=SECONDS_TO_ANSWER)}
    if args.workers is not None and args.workers > 1:
        from contraction import Processes

        return {"workers": Processes(workers=args.workers)}
    return {}


def task_options(args: argparse.Namespace, data: Data) -> dict[str, Any]:
    """Return what `search` must know of missing and held-out entries.

    Raises
    ------
    NonFiniteError
        Entries are missing, and the options do not say what to do about them.
    UsageError
        --held-out without --missing mask.
    """
    import numpy as np

    from contraction.errors import NonFiniteError

    held = getattr(args, "held_out", None)
    if args.missing is MissingChoice.MASK:
        infinite = int(np.count_nonzero(np.isinf(data.array)))
        if infinite:
            raise NonFiniteError(
                f"{infinite:,} entries are infinite; only NaN stands for a missing entry."
            )
        return {} if held is None else {"held_out": held}
    if held is not None:
        raise UsageError(
            "--held-out takes entries out of a completion.", hint="give --missing mask with it"
        )
    infinite = int(np.count_nonzero(np.isinf(data.array)))
    if infinite:
        raise NonFiniteError(
            f"{infinite:,} of {data.array.size:,} entries of {shlex.quote(str(data.source))} are "
            "infinite; replace them, or write NaN for those that are missing."
        )
    holes = int(np.count_nonzero(np.isnan(data.array)))
    if holes:
        name = shlex.quote(str(data.source))
        raise NonFiniteError(
            f"{holes:,} of {data.array.size:,} entries of {name} are missing (NaN). "
            "Fit around the missing ones (--missing mask, with --held-out 0.1 for an honest "
            "error), or count them as zeros (--missing zero)."
        )
    return {}


def goal_words(objective: AbstractObjective) -> str:
    """Return an objective in a few words.

    Examples
    --------
    >>> from structure_search import RelativeError
    >>> goal_words(RelativeError(tol=0.05))
    'the fewest parameters within a relative error of 0.05'
    """
    from structure_search.objectives import objective_to_dict

    data = objective_to_dict(objective)
    words = {
        "RelativeError": "the fewest parameters within a relative error of {tol:g}",
        "MaxParams": "the least error with at most {params:,} parameters",
        "MaxBytes": "the least error with parameters of at most {nbytes:,} bytes ({dtype})",
        "MaxFlops": "the least error with at most {flops:,} operations to the full tensor",
        "WeightedError": "the least parameters / entries + {weight:g} * error^2",
    }
    text: str = words.get(data["name"], str(data["name"]))
    return text.format(**data)
