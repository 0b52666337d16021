"""`tnet compare`: several search methods on the same data, over several seeds."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structure_search.commands.config_file import config_text, make_configurable, settle
from structure_search.commands.goal import (
    add_goal_options,
    add_limit_options,
    goal_words,
    make_objective,
    parse_share,
    require_goal,
    task_options,
)
from structure_search.commands.method_choice import (
    METHOD_LINES,
    make_method,
    method_class,
    method_options,
    split_settings,
)
from structure_search.reporting.screen import times
from tnet.console import Console, ExitCode, format_seconds
from tnet.options import (
    UsageError,
    add_command,
    add_data_options,
    limited_threads,
    open_data,
    parse_count,
)

if TYPE_CHECKING:
    from structure_search.objectives import AbstractObjective
    from structure_search.reporting.method_runs import Failure, RunJob
    from structure_search.reporting.method_table import MethodRow
    from tnet.inputs import Data

FOLDER, SEEDS, BUDGET = "tnet-compare", 5, 200
READING = ("data", "key", "memory", "missing", "reshape", "order", "coords", "value")


def register(subparsers: Any) -> None:
    """Add `tnet compare`."""
    parser = add_command(
        subparsers,
        "compare",
        run_compare,
        help="compare search methods on the same data, over several seeds",
        description="Run every method with every seed, each in a run folder below --run, and "
        "write a table and a page: medians and spreads, fronts, how fast each gets there, and "
        "which differences are more than luck. Give the same command again to go on after a "
        "stop, or with more methods or seeds.",
    )
    add_data_options(parser)
    group = parser.add_argument_group("the comparison")
    group.add_argument(
        "--methods",
        type=parse_names,
        metavar="A,B,C",
        help="see tnet search --list-methods",
    )
    group.add_argument(
        "--seeds", type=parse_count, default=SEEDS, metavar="N",
        help=f"seeds of each method, from --seed on ({SEEDS})",
    )  # fmt: skip
    group.add_argument(
        "--set", action="append", default=[], metavar="[METHOD.]NAME=VALUE", dest="settings",
        help="an option of one method, or of all that have it",
    )  # fmt: skip
    add_goal_options(group)
    group.add_argument(
        "--held-out", type=parse_share, metavar="0.1",
        help="with --missing mask: judge by this share of the observed entries, not fitted",
    )  # fmt: skip
    group.add_argument("--max-rank", type=parse_count, metavar="R", help="where a method has it")
    group.add_argument("--max-degree", type=parse_count, metavar="D", help="where a method has it")
    add_limit_options(group)
    group.add_argument("--workers", type=parse_count, metavar="N", help="runs at the same time")
    group.add_argument(
        "--run", default=FOLDER, metavar="DIR", help=f"folder for all runs ({FOLDER})"
    )
    make_configurable(parser)


def parse_names(text: str) -> tuple[str, ...]:
    """Read names, separated by commas, each once.

    Examples
    --------
    >>> parse_names("greedy,random")
    ('greedy', 'random')
    """
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of methods; write greedy,random")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise argparse.ArgumentTypeError(f"{twice[0]!r} is named twice in {text!r}")
    return names


def run_compare(args: argparse.Namespace, console: Console) -> int:
    """Run `tnet compare`."""
    settle(args)
    if args.print_config:
        console.out(config_text(args).rstrip("\n"))
        console.result({"config": config_text(args)})
        return ExitCode.DONE
    if not args.methods:
        raise UsageError("which methods? give --methods.", hint="e.g. --methods greedy,random")
    objective = _checked(args)
    if args.budget is None and args.time is None:
        args.budget = BUDGET
        console.note(f"neither --budget nor --time is given; each run has {BUDGET} evaluations")
    data = open_data(args)
    jobs = _jobs(args, objective, data)
    from structure_search.reporting.method_runs import finished_runs, is_done

    root = Path(args.run)
    left = [job for job in jobs if not is_done(job)]
    if len(left) < len(jobs):
        console.note(f"{len(jobs) - len(left)} of {len(jobs)} runs are in {root} already")
    failures, stopped = _work(left, root, args, console)
    runs = finished_runs(jobs)
    again = _again(args)
    if stopped:
        console.note(f"stopped; the same command goes on: {again}")
        return stopped
    if not runs:
        _tell(failures, console)
        raise UsageError("no run has fitted anything.", hint="see the reasons above")
    return _answer(args, objective, data, runs, failures, console)


def _checked(args: argparse.Namespace) -> AbstractObjective:
    objective = make_objective(args)
    for name in args.methods:
        method_class(name)
    args.method = args.methods[0]
    require_goal(args, "")
    for name in args.methods:
        args.method = name
        line = METHOD_LINES.get(name)
        require_goal(args, line.needs if line else "")
    assert objective is not None
    return objective


def _jobs(args: argparse.Namespace, objective: AbstractObjective, data: Data) -> list[RunJob]:
    from structure_search.commands.search import source_of
    from structure_search.reporting.method_runs import RunJob

    task = task_options(args, data)
    task |= {} if args.patience is None else {"patience": args.patience}
    reading = {name: getattr(args, name) for name in READING}
    jobs = []
    for name in args.methods:
        method = make_method(
            name,
            settings_of(name, args.settings, args.methods),
            flags=_flags(name, args),
            unlimited=True,
        )
        for seed in range(args.seed, args.seed + args.seeds):
            jobs.append(
                RunJob(
                    folder=Path(args.run) / name / f"seed-{seed}",
                    name=name,
                    seed=seed,
                    method=method,
                    objective=objective,
                    max_evaluations=args.budget,
                    max_seconds=args.time,
                    options=task,
                    data=partial(read_again, reading),
                    modes=tuple(data.names),
                    source=source_of(args, data),
                )
            )
    # seed by seed, so that a comparison that is stopped has something of every method
    return sorted(jobs, key=lambda job: job.seed)


def _flags(name: str, args: argparse.Namespace) -> dict[str, Any]:
    options = method_options(method_class(name))
    flags = {"max_rank": args.max_rank, "max_degree": args.max_degree}
    kept = {key: value for key, value in flags.items() if key in options}
    return {**kept, "max_params": args.max_params}


def settings_of(name: str, words: Sequence[str], methods: Sequence[str]) -> dict[str, str]:
    """Return the options of one method of a comparison.

    ``greedy.sweeps=5`` is for one, ``sweeps=5`` for all that have it.

    Raises
    ------
    UsageError
        A method that is not compared, or an option that none of them has.

    Examples
    --------
    >>> settings_of("greedy", ["random.samples=9", "sweeps=5"], ["greedy", "random"])
    {'sweeps': '5'}
    """
    own: list[str] = []
    for word in words:
        key = word.partition("=")[0]
        method, dot, rest = key.partition(".")
        if dot and method not in methods:
            raise UsageError(
                f"--set {word!r}: {method!r} is not compared.", hint=f"known: {', '.join(methods)}"
            )
        if dot and method == name:
            own.append(word.partition(".")[2])
        elif not dot:
            having = [m for m in methods if _has(m, rest or key)]
            if not having:
                raise UsageError(f"--set {word!r}: no method of {', '.join(methods)} has it.")
            if name in having:
                own.append(word)
    return split_settings(own)


def _has(method: str, key: str) -> bool:
    return key.strip().replace("-", "_") in method_options(method_class(method))


def read_again(reading: dict[str, Any]) -> Any:
    """Return the data in whatever process needs them."""
    import numpy as np

    return np.asarray(open_data(argparse.Namespace(**reading)).array)


def _work(
    jobs: Sequence[RunJob], root: Path, args: argparse.Namespace, console: Console
) -> tuple[list[Failure], int]:
    """Do what is left; return the failures, and the exit code if it was stopped."""
    from structure_search.reporting.method_runs import do_all
    from structure_search.results import Outcome
    from structure_search.stopping import interrupts

    if not jobs:
        return [], 0
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--run {str(root)!r} cannot be made: {error.strerror}.") from None
    stop = interrupts(console.note)
    with stop, console.progress(len(jobs), "runs") as bar, limited_threads(args.threads or 1):

        def show(job: RunJob, fine: bool) -> None:
            bar.advance(1, f"{job.name}, seed {job.seed}{'' if fine else ': failed'}")

        failures = do_all(jobs, root=root, workers=args.workers or 1, stop=stop, show=show)
    codes = {
        Outcome.INTERRUPTED: ExitCode.INTERRUPTED,
        Outcome.TERMINATED: ExitCode.TERMINATED,
    }
    return failures, 0 if stop.outcome is None else codes[stop.outcome]


def _again(args: argparse.Namespace) -> str:
    words = ["tnet", "compare", args.data, "--methods", ",".join(args.methods)]
    return shlex.join([*words, "--run", args.run]) + " ..."


def _tell(failures: Sequence[Failure], console: Console) -> None:
    for failure in failures:
        console.note(f"failed: {failure.job.name}, seed {failure.job.seed}: {failure.reason}")


def _answer(
    args: argparse.Namespace,
    objective: AbstractObjective,
    data: Data,
    runs: Sequence[Any],
    failures: Sequence[Failure],
    console: Console,
) -> int:
    from contraction import atomic
    from structure_search.reporting.method_page import comparison_document, write_comparison
    from structure_search.reporting.method_table import method_rows, seed_row, verdict
    from tnet.console import to_json

    rows = [seed_row(job, run) for job, run in runs]
    ranked = method_rows(rows)
    told = verdict(rows, ranked)
    goal = goal_words(objective)
    failed = [(f.job.name, f.job.seed, f.reason) for f in failures]
    document = comparison_document(str(data.source), goal, rows, ranked, told, failed)
    page = write_comparison(Path(args.run), document, rows, ranked, runs)
    atomic.write_text(Path(args.run) / "comparison.json", to_json(document) + "\n")
    console.out(f"{data.source}: {goal}; {args.seeds} seeds\n")
    console.table(*table(ranked), title="medians over the seeds")
    if args.seeds > 1:
        console.out()
        console.table(*spread_table(ranked), title="least and greatest")
    console.out()
    for line in told:
        console.out(line)
    _tell(failures, console)
    console.out(f"\npage:    {page}   (open it in a browser)")
    code = ExitCode.DONE if any(row.met for row in ranked) else ExitCode.TARGET_NOT_REACHED
    code = ExitCode.INTERNAL if failures else code
    console.result({**document, "run": args.run, "report": str(page)}, ok=code == ExitCode.DONE)
    return code


def table(ranked: Sequence[MethodRow]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the heads and rows of the table of medians."""
    heads = ["method", "better", "met", "parameters", "error", "smaller", "asked", "fits", "wall"]
    seconds: Callable[[float], str] = format_seconds
    rows: list[tuple[str, ...]] = []
    for row in ranked:
        s = row.spreads
        rows.append(
            (
                row.method,
                f"{100 * row.better:.0f}%",
                f"{row.met}/{row.seeds}",
                f"{s['num_params'].median:,.0f}",
                f"{s['error'].median:.3g}",
                times(s["compression"].median),
                f"{s['requested'].median:,.0f}",
                f"{s['fitted'].median:,.0f}",
                seconds(s["seconds"].median),
            )
        )
    return [*heads, "CPU"], [
        (*cells, seconds(row.spreads["cpu"].median) if "cpu" in row.spreads else "-")
        for cells, row in zip(rows, ranked, strict=True)
    ]


def spread_table(ranked: Sequence[MethodRow]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the heads and rows of the table of the least and the greatest values."""
    forms = {
        "num_params": ("parameters", ",.0f"),
        "error": ("error", ".3g"),
        "fitted": ("fits", ",.0f"),
        "seconds": ("wall seconds", ".3g"),
    }
    rows = []
    for row in ranked:
        spreads = [(row.spreads[name], form) for name, (_, form) in forms.items()]
        rows.append(
            (row.method, *(f"{s.least:{form}} to {s.greatest:{form}}" for s, form in spreads))
        )
    return ["method", *(head for head, _ in forms.values())], rows
