"""`tnet search` and `tnet resume`: find a structure for data, in a run folder that survives."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from structure_search.results import Candidate, Evaluation, Result
    from tnet.inputs import Data

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
        raise UsageError("the core shape needs --max-params.", hint="e.g. --max-params 2000")
    if objective is None:
        raise UsageError("what to look for? give --tol or --max-params.", hint="e.g. --tol 0.05")
    data = open_data(args)
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

    return _finish(begin, args.run, args.budget, objective, args.out, console)


def run_resume(args: argparse.Namespace, console: Console) -> int:
    """Run `tnet resume`."""
    from structure_search import resume
    from structure_search.journal import read_config, read_run, repair

    folder = Path(args.run)
    read_config(folder)
    if args.repair and (aside := repair(folder)) is not None:
        console.note(f"the journal was damaged; what followed is in {aside}")
    record = read_run(folder)
    objective = _objective(args)
    budget = _budget(args.budget, len(record.evaluations))
    last = next((e for e in reversed(record.events) if e["kind"] == "session"), record.config)
    if objective is None:
        from structure_search.objectives import objective_from_dict

        objective = objective_from_dict(last["objective"])

    def begin(**options: Any) -> Result:
        return resume(
            folder,
            objective=objective,
            max_evaluations=budget,
            max_seconds=args.time,
            force=args.force,
            **options,
        )

    total = budget or last["max_evaluations"]
    return _finish(begin, args.run, total, objective, None, console)


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
        return structure_search.RandomSearch(max_rank=args.max_rank, samples=args.budget or 100)
    return structure_search.Greedy(max_degree=args.max_degree, inner_nodes=not args.no_inner_nodes)


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
    console.out(f"data    {data.source}, {data.modes}")
    console.out(f"method  {method!r}")
    console.out(f"memory  about {format_bytes(estimate)}")
    console.out(f"run     {args.run or 'not kept (give --run DIR)'}")
    return ExitCode.DONE


def _finish(
    begin: Callable[..., Result],
    run: str | None,
    total: int | None,
    objective: Any,
    out: str | None,
    console: Console,
) -> int:
    """Run the search with progress and signals, and write its result."""
    from structure_search.results import Outcome
    from structure_search.stopping import Interrupts

    go_on = f"tnet resume {shlex.quote(run)}" if run else ""
    stop = Interrupts(console.note)
    try:
        with stop, _shown(console, total) as show:
            result = begin(progress=show, stop=stop)
    except KeyboardInterrupt:
        if go_on:
            console.note(f"stopped; continue with: {go_on}")
        if stop.outcome is Outcome.TERMINATED:
            return ExitCode.TERMINATED
        raise
    if out:
        import tnet

        tnet.save(out, result.network.to(namespace="numpy"))
    met = objective.met(result.best.num_params, result.best.error)
    console.result(_document(result, run, out, go_on), ok=met)
    _show(result, run, out, console)
    stopped = {
        Outcome.INTERRUPTED: ExitCode.INTERRUPTED,
        Outcome.TERMINATED: ExitCode.TERMINATED,
    }.get(result.outcome)
    if stopped is not None:
        of = f" of {total}" if total else ""
        more = f"; continue with: {go_on}" if go_on else ""
        console.note(f"stopped after {len(result.trace)}{of} evaluations{more}")
        return stopped
    if not met:
        console.note(f"target not reached: {result.outcome.value}")
    return ExitCode.DONE if met else ExitCode.TARGET_NOT_REACHED


def _shown(console: Console, total: int | None) -> AbstractContextManager[Any]:
    from contextlib import contextmanager

    @contextmanager
    def shown() -> Any:
        begun = time.monotonic()
        with console.progress(total, "evaluations") as bar:
            count = 0

            def show(evaluation: Evaluation, best: Candidate) -> None:
                nonlocal count
                count += 1
                rate = count / max(time.monotonic() - begun, 1e-9)
                bar.update(
                    evaluation.index + 1,
                    f"best error {best.error:.3g}  {best.compression:.1f}x smaller  {rate:.3g}/s",
                )

            yield show

    return shown()


def _document(result: Result, run: str | None, out: str | None, go_on: str) -> Mapping[str, Any]:
    return {
        "outcome": result.outcome.name,
        "advice": result.outcome.value,
        "best": result.best.to_dict(),
        "counts": result.counts,
        "evaluations": len(result.trace),
        "seconds": result.seconds,
        "pareto": [
            {"num_params": c.num_params, "error": c.error, "index": c.index} for c in result.pareto
        ],
        "run": run,
        "resume": go_on or None,
        "network": out or (str(Path(run) / "best" / "network.tnet") if run else None),
    }


def _show(result: Result, run: str | None, out: str | None, console: Console) -> None:
    if console.json:
        return
    import tnet

    best, counts = result.best, result.counts
    console.table(
        ["params", "compression", "error", "evaluations", "fits", "seconds", "outcome"],
        [
            [
                best.num_params,
                f"{best.compression:.1f}x",
                f"{best.error:.3e}",
                len(result.trace),
                counts.fitted,
                format_seconds(result.seconds),
                result.outcome.name,
            ]
        ],
    )
    if len(best.structure.nodes) <= 64:
        console.out(f"\n{tnet.draw(best.structure)}")
    if run:
        console.out(f"\nnetwork: {Path(run) / 'best' / 'network.tnet'}")
        console.out(f"report:  tnet report {shlex.quote(run)}")
    if out:
        console.out(f"\nnetwork: {out}")
