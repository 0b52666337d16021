"""`tnet resume`: go on with a search, also one that had finished."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structure_search.commands.finishing import Work, finish
from structure_search.commands.goal import (
    add_goal_options,
    add_worker_options,
    make_objective,
    make_workers,
)
from tnet.console import Console
from tnet.options import UsageError, add_command, parse_count, parse_seconds

if TYPE_CHECKING:
    from structure_search.results import Result


def register(subparsers: Any) -> None:
    """Add `tnet resume`."""
    parser = add_command(
        subparsers,
        "resume",
        run_resume,
        help="go on with a search, also one that had finished",
        description="Go on with a run: after a kill, an interrupt or a power cut, or with a "
        "larger budget or another goal than before. No journalled evaluation is repeated.",
    )
    parser.add_argument("run", metavar="DIR", help="the run folder")
    parser.add_argument("--budget", metavar="N|+N", help="most evaluations in all, or more of them")
    parser.add_argument("--time", type=parse_seconds, metavar="10m", help="most time, from now")
    parser.add_argument(
        "--patience", type=parse_count, metavar="N",
        help="stop after so many evaluations in a row without a better network",
    )  # fmt: skip
    add_goal_options(parser.add_argument_group("another goal than before"))
    add_worker_options(parser)
    parser.add_argument("--force", action="store_true", help="go on although the data changed")
    parser.add_argument(
        "--repair", action="store_true", help="put aside what follows a damaged journal line"
    )


def run_resume(args: argparse.Namespace, console: Console) -> int:
    """Run `tnet resume`."""
    from structure_search import resume
    from structure_search.journal import read_config, read_run, repair
    from structure_search.objectives import objective_from_dict

    folder = Path(args.run)
    workers = make_workers(args)
    read_config(folder)
    if args.repair and (aside := repair(folder)) is not None:
        console.note(f"the journal was damaged; what followed is in {aside}")
    record = read_run(folder)
    done = len(record.evaluations)
    objective = make_objective(args) or objective_from_dict(record.settings["objective"])
    budget = new_budget(args.budget, done)
    if done:
        console.note(f"{done} evaluations are in the journal; going over them first")
    more = workers | ({"patience": args.patience} if args.patience is not None else {})

    def begin(**options: Any) -> Result:
        return resume(
            folder,
            objective=objective,
            max_evaluations=budget,
            max_seconds=args.time,
            force=args.force,
            **more,
            **options,
        )

    total = budget or record.settings["max_evaluations"]
    work = Work(
        run=args.run,
        out=None,
        total=total,
        seconds=args.time,
        objective=objective,
        method=str(record.config["method"].get("name", "")),
    )
    done_ = finish(begin, work, console)
    if done_.document:
        console.result(done_.document, ok=done_.code == 0)
    return done_.code


def new_budget(text: str | None, done: int) -> int | None:
    """Return the evaluations in all that ``--budget N`` or ``--budget +N`` means.

    Examples
    --------
    >>> new_budget("+50", 100), new_budget("50", 100), new_budget(None, 100)
    (150, 50, None)
    """
    if text is None:
        return None
    try:
        more = parse_count(text.removeprefix("+"))
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"--budget: {error}.") from None
    return done + more if text.startswith("+") else more
