"""`tnet simulate`: run, resume, extend, show, plot."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tnet.console import Console, ExitCode
from tnet.options import UsageError, add_command, parse_count, parse_tolerance

if TYPE_CHECKING:
    from integrators.simulation.records import Record
    from integrators.simulation.running import Run

EXAMPLE = """a description (FILE.toml):
  [model]
  name = "ising"
  count = 16
  [state]
  all = "up"
  [task]
  t_final = 2.0
  [step]
  dt = 0.05
  [truncation]
  tol = 1e-6
  max_rank = 32
  [measure.mz]
  kind = "average"
  operator = "z"
"""


def register(subparsers: Any) -> None:
    """Add `tnet simulate`."""
    parser = add_command(
        subparsers,
        "simulate",
        _no_action,
        help="quenches, ground and thermal states on trees, from a TOML file",
        description="Run what a TOML file describes (model, tree, first state, task, measures) "
        "and keep everything in one HDF5 file, which can be gone on with after any kind of stop.",
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLE
    parser.set_defaults(simulate_parser=parser)
    actions = parser.add_subparsers(metavar="ACTION", title="actions", dest="action")
    run = add_command(actions, "run", run_run, help="run a description from the beginning")
    run.add_argument("file", metavar="FILE.toml", help="the description")
    run.add_argument("--output", metavar="RUN.h5", help="where to keep the run")
    run.add_argument("--force", action="store_true", help="begin anew where there is a run")
    run.add_argument("--dry-run", action="store_true", help="check, say what would be done, stop")
    resume = add_command(actions, "resume", run_resume, help="go on with a run that was stopped")
    resume.add_argument("run", metavar="RUN", help="the run, or its FILE.toml")
    extend = add_command(actions, "extend", run_extend, help="go on with a run that had finished")
    extend.add_argument("run", metavar="RUN", help="the run, or its FILE.toml")
    extend.add_argument("--t-final", type=parse_time, metavar="T", help="another final time")
    extend.add_argument("--beta", type=parse_time, metavar="BETA", help="another temperature")
    extend.add_argument("--sweeps", type=parse_count, metavar="N", help="most sweeps in all")
    extend.add_argument("--max-rank", type=parse_count, metavar="R", help="another largest rank")
    extend.add_argument("--tol", type=parse_tolerance, metavar="TOL", help="another tolerance")
    for action in (run, resume, extend):
        action.add_argument(
            "--workers", type=parse_count, metavar="N", help="threads over the branches of the root"
        )
    show = add_command(actions, "show", run_show, help="what a run holds")
    show.add_argument("run", metavar="RUN", nargs="+", help="runs, or their FILE.toml")
    show.add_argument("--table", action="store_true", help="every recorded row")
    plot = add_command(actions, "plot", run_plot, help="figures of a run")
    plot.add_argument("run", metavar="RUN", help="the run, or its FILE.toml")
    plot.add_argument("--out", metavar="DIR", help="folder for the figures (RUN.figures)")
    plot.add_argument("--only", metavar="NAME", action="append", default=[], help="one figure")
    plot.add_argument("--suffix", default=".png", metavar=".png", help=".png, .svg or .pdf")


def parse_time(text: str) -> float:
    """Read a finite number.

    Examples
    --------
    >>> parse_time("2.5")
    2.5
    """
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not abs(number) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    return number


def _no_action(args: argparse.Namespace, console: Console) -> int:
    if console.json:
        raise UsageError("no action was given.", hint="see tnet simulate --help")
    args.simulate_parser.print_help()
    return ExitCode.USAGE


def run_run(args: argparse.Namespace, console: Console) -> int:
    """Run `tnet simulate run`."""
    from integrators.simulation.running import prepare, simulate

    simulation, _ = prepare(args.file, args.output)
    if args.dry_run:
        return _dry_run(simulation, console)
    task = simulation.task
    end = float(task.sweeps) or task.t_final

    def work(**options: Any) -> Run:
        given = {"output": args.output, "replace_run": args.force, "workers": args.workers}
        return simulate(args.file, **given, **options)

    return _work(work, simulation.output.path, end, console)


def run_resume(args: argparse.Namespace, console: Console) -> int:
    """Run `tnet simulate resume`."""
    return _go_on(args, {}, console)


def run_extend(args: argparse.Namespace, console: Console) -> int:
    """Run `tnet simulate extend`."""
    names = ("t_final", "beta", "sweeps", "max_rank", "tol")
    changes = {n: getattr(args, n) for n in names if getattr(args, n) is not None}
    if not changes:
        raise UsageError(
            "nothing is to be changed.",
            hint="give --t-final, --beta, --sweeps, --max-rank or --tol",
        )
    return _go_on(args, changes, console)


def _go_on(args: argparse.Namespace, changes: dict[str, Any], console: Console) -> int:
    from integrators.simulation.run_files import read_last
    from integrators.simulation.running import changed_document, end_of, extend_run

    path = run_path(args.run)
    record, _ = read_last(path)
    end = end_of(changed_document(record, changes))

    def work(**options: Any) -> Run:
        return extend_run(path, changes, workers=args.workers, **options)

    return _work(work, path, end, console)


def run_path(text: str) -> Path:
    """Return the file of a run, also where its description is named.

    Raises
    ------
    UsageError
        There is no such file.
    """
    path = Path(text)
    if path.suffix == ".toml":
        from integrators.simulation.settings import WHAT, read_output
        from integrators.simulation.tables import Table
        from tnet.toml_files import read_toml

        path = read_output(Table(read_toml(path, WHAT).tables, ""), path.parent, path.stem).path
    if not path.is_file():
        raise UsageError(f"there is no run {str(path)!r}.", hint="tnet simulate run begins one")
    return path


def _work(work: Callable[..., Run], path: Path, end: float, console: Console) -> int:
    """Run with progress and signals; say how it ended."""
    from integrators.flow import Outcome
    from integrators.simulation.screen import Shower, show_summary, summary
    from integrators.simulation.stopping import interrupts

    stop = interrupts(console.note)
    again = f"go on with: tnet simulate resume {shlex.quote(str(path))}"
    try:
        with stop, console.progress(None, path.stem) as progress:
            done = work(show=Shower(progress, end), stop=stop)
    except KeyboardInterrupt:
        console.note(f"stopped; {again}")
        if stop.outcome is Outcome.TERMINATED:
            return ExitCode.TERMINATED
        raise
    for note in done.notes:
        console.warn(note)
    show_summary(done.record, path, console)
    code = {
        Outcome.INTERRUPTED: ExitCode.INTERRUPTED,
        Outcome.TERMINATED: ExitCode.TERMINATED,
    }.get(done.outcome, ExitCode.DONE)
    if code is not ExitCode.DONE:
        console.note(f"stopped at {done.record.moment.time:g} of {end:g}, saved; {again}")
    document = {**summary(done.record, path), "outcome": done.outcome.name}
    console.result(document, ok=code is ExitCode.DONE)
    return code


def _dry_run(simulation: Any, console: Console) -> int:
    task = simulation.task
    plan = {
        "title": simulation.title,
        "kind": task.kind.value,
        "sites": len(simulation.tree.modes),
        "nodes": len(simulation.tree.node_names),
        "operator_rank": max(simulation.operator.ranks.values(), default=1),
        "stepper": repr(simulation.stepper),
        "until": task.t_final if simulation.steps else task.sweeps,
        "measures": list(simulation.measure),
        "run": str(simulation.output.path),
    }
    console.table(["what", "value"], [[key, str(value)] for key, value in plan.items()])
    console.result(plan)
    return ExitCode.DONE


def run_show(args: argparse.Namespace, console: Console) -> int:
    """Run `tnet simulate show`."""
    from integrators.simulation.run_files import read_last
    from integrators.simulation.screen import show_beside, show_summary, summary

    runs = []
    for name in args.run:
        path = run_path(name)
        record, note = read_last(path)
        if note:
            console.warn(note)
        runs.append((path, record))
    documents = [summary(record, path) for path, record in runs]
    if args.table:
        for (path, record), document in zip(runs, documents, strict=True):
            document["table"] = _rows(record)
            rows = zip(*document["table"].values(), strict=True)
            cells = [["" if x is None else f"{x:.8g}" for x in row] for row in rows]
            console.table(list(document["table"]), cells, title=str(path) if len(runs) > 1 else "")
    elif len(runs) > 1:
        show_beside(runs, console)
    else:
        show_summary(record, path, console)
    console.result(documents[0] if len(runs) == 1 else {"runs": documents})
    return ExitCode.DONE


def _rows(record: Record) -> dict[str, list[float]]:
    """Return the columns of all recorded numbers."""
    found = {"time": record.times.tolist(), "norm": [row.norm for row in record.rows]}
    if record.rows and record.rows[0].energy is not None:
        found["energy"] = [row.energy for row in record.rows]
    found["rank"] = [max(row.ranks.values(), default=1) for row in record.rows]
    found["error"] = [row.error for row in record.rows]
    numbers = {name: v for name, v in record.values.items() if v.ndim == 1}
    return found | {name: v.real.tolist() for name, v in numbers.items()}


def run_plot(args: argparse.Namespace, console: Console) -> int:
    """Run `tnet simulate plot`."""
    from integrators.simulation.figures import draw_figures
    from integrators.simulation.run_files import read_last

    path = run_path(args.run)
    record, note = read_last(path)
    if note:
        console.warn(note)
    folder = Path(args.out) if args.out else path.with_suffix(".figures")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {str(folder)!r} is no folder.")
    made = draw_figures(record, folder, suffix=args.suffix, only=args.only)
    for file in made:
        console.out(str(file))
    console.result({"run": str(path), "figures": [str(file) for file in made]})
    return ExitCode.DONE
