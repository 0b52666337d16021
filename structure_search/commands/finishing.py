"""What follows a search in the shell: result, report, exit code."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from structure_search.reporting import screen
from tnet.console import Console, ExitCode

if TYPE_CHECKING:
    from structure_search.objectives import AbstractObjective
    from structure_search.results import Result


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a search is to do, as far as the screen needs it."""

    run: str | None
    out: str | None
    total: int | None
    seconds: float | None
    objective: AbstractObjective
    method: str = ""


class Finished(NamedTuple):
    """How a search ended for the shell."""

    code: int
    document: dict[str, Any]
    result: Result | None


def finish(begin: Callable[..., Result], work: Work, console: Console) -> Finished:
    """Run the search with progress and signals, and show and write its result."""
    from structure_search.journal import CONFIG
    from structure_search.objectives import objective_to_dict
    from structure_search.results import Outcome
    from structure_search.stopping import interrupts

    stop = interrupts(console.note)
    try:
        with stop, screen.search_progress(console, work) as show:
            result = begin(progress=show, stop=stop)
    except KeyboardInterrupt:
        if work.run:
            console.note(f"stopped; {screen.continued(work.run)}")
        if stop.outcome is Outcome.TERMINATED:
            return Finished(ExitCode.TERMINATED, {}, None)
        raise
    except OSError:
        if work.run and (Path(work.run) / CONFIG).exists():
            console.note(
                f"what was journalled is safe; once that is mended, {screen.continued(work.run)}"
            )
        raise
    if work.out:
        import tnet

        tnet.save(work.out, result.network.to(namespace="numpy"))
    screen.show_result(result, objective_to_dict(work.objective), console)
    stopped = {
        Outcome.INTERRUPTED: ExitCode.INTERRUPTED,
        Outcome.TERMINATED: ExitCode.TERMINATED,
    }.get(result.outcome)
    document = _store(result, work, console, report=stopped is None)
    met = work.objective.met(result.best)
    told = screen.advice(result.outcome, run=work.run, done=len(result.trace))
    if stopped is not None:
        of = f" of {work.total}" if work.total else ""
        told = screen.continued(work.run) if work.run else "nothing was kept: no --run DIR"
        console.note(f"stopped after {len(result.trace)}{of} evaluations; {told}")
        return Finished(stopped, document, result)
    if not met:
        console.note(f"target not reached: {told}")
    elif result.outcome not in (Outcome.REACHED, Outcome.CONVERGED):
        console.note(f"the search was not over: {told}")
    return Finished(ExitCode.DONE if met else ExitCode.TARGET_NOT_REACHED, document, result)


def _store(result: Result, work: Work, console: Console, *, report: bool) -> dict[str, Any]:
    """Write the report of a run, say where everything is, and return the answer to `--json`."""
    from structure_search.journal import read_run

    page, run = None, work.run
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
    console.out()
    for path in filter(None, (work.out, kept)):
        console.out(f"network: {path}")
    if run:
        where = f"{page}   (open it in a browser)" if page else f"tnet report {shlex.quote(run)}"
        console.out(f"report:  {where}")
    return _document(result, work, network=work.out or kept, report=page)


def _document(
    result: Result, work: Work, *, network: str | None, report: Path | None
) -> dict[str, Any]:
    from structure_search.journal import read_run

    return {
        "outcome": result.outcome.name,
        "advice": screen.advice(result.outcome, run=work.run, done=len(result.trace)),
        "best": result.best.to_dict(),
        "error_of": result.error_of.name.lower(),
        "counts": result.counts,
        "evaluations": len(result.trace),
        "seconds": result.seconds,
        "pareto": [
            {"num_params": c.num_params, "error": c.error, "index": c.index} for c in result.pareto
        ],
        "fixed": list(read_run(work.run).baselines) if work.run and report else [],
        "run": work.run,
        "resume": screen.resume_command(work.run) if work.run else None,
        "network": network,
        "report": None if report is None else str(report),
    }
