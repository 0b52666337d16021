"""`tnet search` and `tnet resume`: find a structure for data, in a run folder that survives."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structure_search import screen
from tnet.console import Console, ExitCode, format_bytes, format_seconds
from tnet.options import (
    UsageError,
    add_command,
    add_data_options,
    open_data,
    output_path,
    parse_count,
    parse_seconds,
    parse_tolerance,
)

if TYPE_CHECKING:
    from structure_search.objectives import AbstractObjective
    from structure_search.results import Result
    from tnet.inputs import Data

UNLIMITED = 10**9  # random structures
METHODS = ("greedy", "core-shape", "random", "smallest-first")


def register(subparsers: Any) -> None:
    """Add `tnet search` and `tnet resume`."""
    parser = add_command(
        subparsers,
        "search",
        run_search,
        help="search the network structure that fits an array",
        description="Find the smallest network within a relative error (--tol), or the best "
        "one within a number of parameters (--max-params). With --run every evaluation is "
        "journalled, and tnet resume goes on after any kind of stop.",
    )
    add_data_options(parser)
    group = parser.add_argument_group("the search")
    group.add_argument("--method", choices=METHODS, default="greedy", help="how to search (greedy)")
    group.add_argument("--tol", type=parse_tolerance, metavar="T", help="relative error allowed")
    group.add_argument("--max-params", type=parse_count, metavar="B", help="most parameters")
    group.add_argument("--budget", type=parse_count, metavar="N", help="most evaluations")
    group.add_argument("--time", type=parse_seconds, metavar="10m", help="most time")
    group.add_argument("--run", metavar="DIR", help="run folder: a new or empty one")
    group.add_argument("--out", metavar="NET.tnet", help="file for the best network")
    group.add_argument("--max-degree", type=parse_count, metavar="D", help="most bonds at a node")
    group.add_argument("--no-inner-nodes", action="store_true", help="only nodes with a mode")
    group.add_argument("--max-rank", type=parse_count, default=4, help="random: largest rank (4)")
    group.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
    again = add_command(
        subparsers,
        "resume",
        run_resume,
        help="go on with a search, also one that had finished",
        description="Go on with a run: after a kill, an interrupt or a power cut, or with a "
        "larger budget or a smaller error than before. No journalled evaluation is repeated.",
    )
    again.add_argument("run", metavar="DIR", help="the run folder")
    again.add_argument("--budget", metavar="N|+N", help="most evaluations in all, or more of them")
    again.add_argument("--time", type=parse_seconds, metavar="10m", help="most time, from now")
    again.add_argument("--tol", type=parse_tolerance, metavar="T", help="another relative error")
    again.add_argument("--max-params", type=parse_count, metavar="B", help="other most parameters")
    again.add_argument("--force", action="store_true", help="go on although the data changed")
    again.add_argument(
        "--repair", action="store_true", help="put aside what follows a damaged journal line"
    )


def run_search(args: argparse.Namespace, console: Console) -> int:
    """Run `tnet search`."""
    if args.out:
        output_path(args.out, suffixes=(".tnet",))
    objective = _objective(args)
    if args.method == "core-shape" and args.max_params is None:
        raise UsageError("--method core-shape needs --max-params.", hint="e.g. --max-params 2000")
    if args.method == "smallest-first" and args.tol is None:
        raise UsageError("--method smallest-first needs --tol.", hint="e.g. --tol 0.05")
    if objective is None:
        raise UsageError("what to look for? give --tol or --max-params.", hint="e.g. --tol 0.05")
    data = open_data(args)
    _require_complete(args, data)
    method = _method(args)
    if args.dry_run:
        return _dry_run(args, data, method, console)
    import numpy as np

    from structure_search import search

    def begin(**options: Any) -> Result:
        return search(
            np.asarray(data.array),
            method=method,
            objective=objective,
            max_evaluations=args.budget,
            max_seconds=args.time,
            rng=np.random.default_rng(args.seed),
            modes=data.names,
            run=args.run,
            source=_source(args, data),
            **options,
        )

    task = _Task(
        run=args.run, out=args.out, total=args.budget, seconds=args.time, objective=objective
    )
    return _finish(begin, task, console)


def run_resume(args: argparse.Namespace, console: Console) -> int:
    """Run `tnet resume`."""
    from structure_search import resume
    from structure_search.journal import read_config, read_run, repair
    from structure_search.objectives import objective_from_dict

    folder = Path(args.run)
    read_config(folder)
    if args.repair and (aside := repair(folder)) is not None:
        console.note(f"the journal was damaged; what followed is in {aside}")
    record = read_run(folder)
    done = len(record.evaluations)
    objective = _objective(args) or objective_from_dict(record.settings["objective"])
    budget = _budget(args.budget, done)
    if done:
        console.note(f"{done} evaluations are in the journal; going over them first")

    def begin(**options: Any) -> Result:
        return resume(
            folder,
            objective=objective,
            max_evaluations=budget,
            max_seconds=args.time,
            force=args.force,
            **options,
        )

    total = budget or record.settings["max_evaluations"]
    task = _Task(run=args.run, out=None, total=total, seconds=args.time, objective=objective)
    return _finish(begin, task, console)


def _budget(text: str | None, done: int) -> int | None:
    if text is None:
        return None
    try:
        more = parse_count(text.removeprefix("+"))
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"--budget: {error}.") from None
    return done + more if text.startswith("+") else more


def _objective(args: argparse.Namespace) -> Any:
    from structure_search.objectives import MaxParams, RelativeError

    if args.tol is not None and args.max_params is not None:
        raise UsageError("give --tol or --max-params, not both.")
    if args.tol is not None:
        return RelativeError(tol=args.tol)
    return None if args.max_params is None else MaxParams(params=args.max_params)


def _method(args: argparse.Namespace) -> Any:
    import structure_search

    if args.method == "smallest-first":
        return structure_search.SmallestFirst()
    if args.method == "core-shape":
        return structure_search.CoreShape(max_params=args.max_params)
    if args.method == "random":
        # a limit ends it as a limit does, so that more can be had by going on
        samples = {"samples": UNLIMITED} if args.budget or args.time else {}
        return structure_search.RandomSearch(max_rank=args.max_rank, **samples)
    return structure_search.Greedy(max_degree=args.max_degree, inner_nodes=not args.no_inner_nodes)


def _require_complete(args: argparse.Namespace, data: Data) -> None:
    """Raise unless every entry is there: a search has no mask."""
    import numpy as np

    from contraction.errors import NonFiniteError

    holes = int(data.array.size - np.count_nonzero(np.isfinite(data.array)))
    if not holes:
        return
    name = shlex.quote(args.data)
    raise NonFiniteError(
        f"{holes:,} of {data.array.size:,} entries are missing (NaN) or infinite, and a search "
        f"needs them all. Fit a fixed format around the missing ones (tnet decompose {name} "
        "--format tt --rank 4 --missing mask), or count them as zeros (--missing zero)."
    )


def _source(args: argparse.Namespace, data: Data) -> dict[str, Any]:
    """Return what run.json needs to read the data again, from any folder."""
    source = args.data
    if data.path is not None and source.startswith(str(data.path)):
        source = str(data.path.resolve()) + source.removeprefix(str(data.path))
    return {
        "source": source,
        "path": None if data.path is None else str(data.path.resolve()),
        "key": args.key,
        "reshape": args.reshape,
        "order": args.order,
        "missing": args.missing.value if args.missing.value == "zero" else None,
        "coords": args.coords.split(",") if args.coords else None,
        "value": args.value,
    }


def _dry_run(args: argparse.Namespace, data: Data, method: Any, console: Console) -> int:
    # the data in double precision, two permuted copies for the sweeps, and the residual
    estimate = 4 * 8 * data.array.size
    plan = {
        "data": data.source,
        "modes": data.modes,
        "method": repr(method),
        "budget": args.budget,
        "seconds": args.time,
        "seed": args.seed,
        "run": args.run,
        "memory": estimate,
    }
    console.result(plan)
    shape = " x ".join(f"{name} {size}" for name, size in data.modes.items())
    goal = f"error {args.tol:g}" if args.tol is not None else f"{args.max_params:,} parameters"
    limits = [f"{args.budget:,} evaluations"] if args.budget else []
    limits += [format_seconds(args.time)] if args.time else []
    console.out(f"data    {data.source}: {shape} = {data.array.size:,} entries")
    console.out(f"goal    at most {goal}")
    console.out(f"method  {method!r}")
    console.out(f"limits  {', '.join(limits) or 'none: until the method ends, or Ctrl-C'}")
    console.out(f"memory  about {format_bytes(estimate)}")
    console.out(f"run     {args.run or 'not kept (give --run DIR)'}")
    return ExitCode.DONE


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What a search is to do, as far as the screen needs it."""

    run: str | None
    out: str | None
    total: int | None
    seconds: float | None
    objective: AbstractObjective


def _finish(begin: Callable[..., Result], task: _Task, console: Console) -> int:
    """Run the search with progress and signals, and show and write its result."""
    from structure_search.journal import CONFIG
    from structure_search.objectives import objective_to_dict
    from structure_search.results import Outcome
    from structure_search.stopping import Interrupts

    stop = Interrupts(console.note)
    try:
        with stop, screen.search_progress(console, task.total, task.seconds) as show:
            result = begin(progress=show, stop=stop)
    except KeyboardInterrupt:
        if task.run:
            console.note(f"stopped; {screen.continued(task.run)}")
        if stop.outcome is Outcome.TERMINATED:
            return ExitCode.TERMINATED
        raise
    except OSError:
        if task.run and (Path(task.run) / CONFIG).exists():
            console.note(
                f"what was journalled is safe; once that is mended, {screen.continued(task.run)}"
            )
        raise
    if task.out:
        import tnet

        tnet.save(task.out, result.network.to(namespace="numpy"))
    screen.show_result(result, objective_to_dict(task.objective), console)
    stopped = {
        Outcome.INTERRUPTED: ExitCode.INTERRUPTED,
        Outcome.TERMINATED: ExitCode.TERMINATED,
    }.get(result.outcome)
    _store(result, task, console, report=stopped is None)
    met = task.objective.met(result.best)
    told = screen.advice(result.outcome, run=task.run, done=len(result.trace))
    if stopped is not None:
        of = f" of {task.total}" if task.total else ""
        told = screen.continued(task.run) if task.run else "nothing was kept: no --run DIR"
        console.note(f"stopped after {len(result.trace)}{of} evaluations; {told}")
        return stopped
    if not met:
        console.note(f"target not reached: {told}")
    elif result.outcome is not Outcome.REACHED:
        console.note(f"the search was not over: {told}")
    return ExitCode.DONE if met else ExitCode.TARGET_NOT_REACHED


def _store(result: Result, task: _Task, console: Console, *, report: bool) -> None:
    """Write the report of a run, say where everything is, and answer `--json`."""
    from structure_search.journal import read_run

    page, run = None, task.run
    if run and report:
        try:
            page = screen.make_report(run, console, cp_seconds=max(1.0, result.seconds))
        except KeyboardInterrupt:
            console.note(f"the search is done; for its report: tnet report {shlex.quote(run)}")
            raise
        if read_run(run).baselines:
            console.out()
            screen.show_comparison(read_run(run), console)
    kept = str(Path(run) / "best" / "network.tnet") if run else None
    console.result(
        _document(result, task, network=task.out or kept, report=page),
        ok=task.objective.met(result.best),
    )
    console.out()
    for path in filter(None, (task.out, kept)):
        console.out(f"network: {path}")
    if run:
        where = f"{page}   (open it in a browser)" if page else f"tnet report {shlex.quote(run)}"
        console.out(f"report:  {where}")


def _document(
    result: Result, task: _Task, *, network: str | None, report: Path | None
) -> Mapping[str, Any]:
    from structure_search.journal import read_run

    return {
        "outcome": result.outcome.name,
        "advice": screen.advice(result.outcome, run=task.run, done=len(result.trace)),
        "best": result.best.to_dict(),
        "counts": result.counts,
        "evaluations": len(result.trace),
        "seconds": result.seconds,
        "pareto": [
            {"num_params": c.num_params, "error": c.error, "index": c.index} for c in result.pareto
        ],
        "fixed": list(read_run(task.run).baselines) if task.run and report else [],
        "run": task.run,
        "resume": screen.resume_command(task.run) if task.run else None,
        "network": network,
        "report": None if report is None else str(report),
    }
