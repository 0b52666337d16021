"""What `tnet search`, `resume`, `report` and `demo` show: progress, result, comparison, advice."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contraction.errors import TnetError
from structure_search.reporting.live_table import PER_SECOND, Limits, LiveState, LiveTable
from tnet.console import Console, format_seconds
from tnet.failures import message

if TYPE_CHECKING:
    from structure_search.commands.finishing import Work
    from structure_search.journal import RunRecord
    from structure_search.results import Candidate, Counts, Evaluation, Outcome, Result

MOST_NODES_DRAWN = 64


def times(factor: float) -> str:
    """Return a factor for people.

    Examples
    --------
    >>> times(2.345), times(1019.5)
    ('2.3x', '1,020x')
    """
    return f"{factor:,.0f}x" if factor >= 10 else f"{factor:.1f}x"


def counted(count: int, what: str) -> str:
    """Return a number of things.

    Examples
    --------
    >>> counted(1, "fit"), counted(1200, "fit")
    ('1 fit', '1,200 fits')
    """
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def how_answered(counts: Counts) -> str:
    """Return how the evaluations of a search were answered; their numbers add up to all.

    Examples
    --------
    >>> from structure_search import Counts
    >>> how_answered(Counts(requested=5, fitted=1, cached=3, inherited=1))
    '1 fit, 3 known, 1 inherited'
    """
    parts = [counted(counts.fitted, "fit")]
    words = {
        "known": counts.cached,
        "inherited": counts.inherited,
        "ruled out": counts.pruned,
        "too large": counts.refused,
        "failed": counts.failed,
    }
    return ", ".join([*parts, *(f"{count:,} {what}" for what, count in words.items() if count)])


def bytes_of(goal: Mapping[str, Any], num_params: int) -> int:
    """Return the bytes of so many parameters in the number type of a `MaxBytes` goal.

    Examples
    --------
    >>> bytes_of({"dtype": "float32"}, 10)
    40
    """
    import numpy as np

    return num_params * int(np.dtype(goal["dtype"]).itemsize)


@contextmanager
def search_progress(
    console: Console, work: Work, label: str = "evaluations"
) -> Iterator[Callable[[Evaluation, Candidate], None]]:
    """Yield a `progress` for `search`: a live table on a terminal, else a line now and then."""
    limits = Limits(evaluations=work.total, seconds=work.seconds)
    state = LiveState(limits, work.method)
    if console.progress_wanted and console.live and sys.stderr.isatty():
        from rich.live import Live

        screen = console.rich(sys.stderr)
        with Live(LiveTable(state), console=screen, transient=True, refresh_per_second=PER_SECOND):
            yield state.seen
        return
    with console.progress(work.total, label) as bar:

        def show(evaluation: Evaluation, best: Candidate) -> None:
            state.seen(evaluation, best)
            status = f"{best.num_params:,} parameters, error {best.error:.3g}"
            left = state.seconds_left
            if work.seconds is not None and left is not None:
                status += f", {format_seconds(math.ceil(left))} left at most"
            bar.update(evaluation.index + 1, status)

        yield show


ENDED = {  # outcome -> why a search ended, in plain words
    "REACHED": "the method has nothing better to propose",
    "EXHAUSTED": "the method has nothing more to propose",
    "CONVERGED": "no better network for as many evaluations as --patience says",
    "BUDGET": "the evaluations are used up",
    "TIME": "the time is used up",
    "INTERRUPTED": "stopped by the user",
    "TERMINATED": "stopped by a signal",
}


def advice(outcome: Outcome, *, run: str | None, done: int) -> str:
    """Return why a search of `done` evaluations ended, and the command to go on with.

    Examples
    --------
    >>> from structure_search import Outcome
    >>> advice(Outcome.BUDGET, run="my run", done=50)
    "the evaluations are used up; continue with: tnet resume 'my run' --budget +50"
    """
    why = ENDED[outcome.name]
    if outcome.name == "EXHAUSTED":
        return f"{why}; allow a larger error or network, or try another --method"
    if outcome.name in ("REACHED", "EXHAUSTED", "CONVERGED"):
        return why
    if run is None:
        return f"{why}; with --run DIR a search can be continued"
    more = f" --budget +{done}" if outcome.name == "BUDGET" else ""
    return f"{why}; {continued(run)}{more}"


def continued(run: str | Path) -> str:
    """Return the words that say how to go on with a run."""
    return f"continue with: {resume_command(run)}"


def resume_command(run: str | Path) -> str:
    """Return the command that goes on with a run."""
    return f"tnet resume {shlex.quote(str(run))}"


ERRORS = {  # error_of -> what the error is, in a few words
    "ALL": "relative",
    "OBSERVED": "relative, over the observed entries, which were fitted",
    "HELD_OUT": "relative, over held-out entries, which were not fitted",
    "LOSS": "the loss",
}


def show_result(result: Result, goal: Mapping[str, Any], console: Console) -> None:
    """Write the best network of a search in a few lines and a drawing."""
    if console.json:
        return
    import tnet

    best, counts = result.best, result.counts
    allowed = f" of {goal['tol']:g} allowed" if "tol" in goal else ""
    limit = f" of {goal['params']:,} allowed" if "params" in goal else ""
    if "flops" in goal:
        limit += f", {best.flops:,} operations of {goal['flops']:,} allowed"
    if "nbytes" in goal:
        held = bytes_of(goal, best.num_params)
        limit += f", {held:,} bytes of {goal['nbytes']:,} allowed"
    size = (
        f"{times(best.compression)} smaller than the data"
        if best.num_params < best.dense_size
        else f"not fewer than the {best.dense_size:,} entries of the data"
    )
    console.out(f"found    {best.num_params:,} parameters{limit}, {size}")
    console.out(f"error    {best.error:.4g}{allowed} ({ERRORS[result.error_of.name]})")
    if "weight" in goal:
        objective = best.num_params / best.dense_size + goal["weight"] * best.error**2
        console.out(f"value    {objective:.6g} = params/entries + {goal['weight']:g} error^2")
    console.out(
        f"search   {counted(len(result.trace), 'evaluation')} ({how_answered(counts)}), "
        f"{format_seconds(result.seconds)}"
    )
    console.out(f"ended    {result.outcome.name}: {ENDED[result.outcome.name]}")
    if len(best.structure.nodes) <= MOST_NODES_DRAWN:
        console.out(f"\n{tnet.draw(best.structure)}")


def show_comparison(run: RunRecord, console: Console) -> None:
    """Write a table of the best network and the fixed formats."""
    from structure_search.reporting.figures import best_of, fixed_name

    best = best_of(run)
    if best is None or not run.baselines:
        return
    dense = math.prod(best.structure.shape)
    rows = [("found", best.num_params, best.error, run.elapsed)]
    rows += [
        (fixed_name(row), int(row["num_params"]), float(row["error"]), float(row["seconds"]))
        for row in by_size(run.baselines)
    ]
    console.table(
        ["network", "parameters", "smaller", "error", "time"],
        [
            (name, f"{size:,}", times(dense / size), f"{error:.4g}", format_seconds(seconds))
            for name, size, error, seconds in rows
        ],
    )
    rival = by_size(run.baselines)[0]
    if "beside" in rival:
        rival = min(run.baselines, key=lambda row: float(row["error"]))
        if float(rival["error"]) < best.error:
            console.out(f"\nA fixed format of this size predicts better: {rival['name']}.")
        return
    if rival["met"] and rival["num_params"] < best.num_params:
        console.out(
            f"\nA fixed format wins here: {rival['name']}, {rival['num_params']:,} parameters. "
            "Another --method may do better."
        )


def by_size(baselines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the fixed formats, the smallest first; those that miss the error come last."""
    return sorted(baselines, key=lambda row: (not row["met"], int(row["num_params"])))


def make_report(
    folder: str | Path, console: Console, *, x: Any = None, cp_seconds: float = math.inf
) -> Path:
    """Compare a run with the fixed formats, where that can be done, and write its report.

    Without `x` the data are read again from where run.json says. CP is tried for `cp_seconds`,
    and never longer than a comparison takes by itself. A report without the
    comparison is a report too: what hinders it is a note.
    """
    from structure_search import running
    from structure_search.journal import read_run
    from structure_search.reporting import comparison
    from structure_search.reporting.fixed_formats import CP_SECONDS
    from structure_search.reporting.report import write_report

    run = read_run(folder)
    if not comparison.is_compared(run):
        try:
            comparison.require_comparable(run)
            data = running.reopen(run.config) if x is None else x
            with console.progress(4, "fixed formats") as bar:
                comparison.compare(
                    folder,
                    data,
                    cp_seconds=min(cp_seconds, CP_SECONDS),
                    show=lambda f: bar.advance(1, f"{f.name} {f.num_params:,} parameters"),
                )
        except (TnetError, ArithmeticError, MemoryError) as error:
            console.note(f"not compared with fixed formats: {message(error)}")
    return write_report(folder)
