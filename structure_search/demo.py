"""`tnet demo`: search the smallest network for a real data set, and compare with fixed formats."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structure_search.reporting.screen import by_size, make_report, times
from tnet.console import Console, ExitCode, format_bytes, format_seconds
from tnet.options import (
    UsageError,
    add_command,
    parse_count,
    parse_seconds,
    parse_tolerance,
)

if TYPE_CHECKING:
    from structure_search.journal import RunRecord
    from structure_search.results import Candidate, Evaluation, Outcome
    from tnet.inputs import Data

FOLDER, DATA, TOL, KEEP = "tnet-demo", "kinetic", 0.04, 8
FORMATS = ("train", "Tucker", "balanced tree", "CP")  # labels of the fixed formats
SHOWN = 8  # of the networks found


def register(subparsers: Any) -> None:
    """Add `tnet demo`."""
    parser = add_command(
        subparsers,
        "demo",
        run_demo,
        help="see it work: search the smallest network for a real data set",
        description="Search the smallest tensor network within a relative error for real data "
        "that come with the installation, compare it with the fixed formats, and write a "
        "report. Takes a few seconds. Run it again to go on, or to see the result again.",
    )
    parser.add_argument("--data", default=DATA, metavar="NAME", help=f"the data ({DATA})")
    parser.add_argument(
        "--tol", type=parse_tolerance, default=TOL, metavar="T", help=f"error allowed ({TOL:g})"
    )
    parser.add_argument("--out", default=FOLDER, metavar="DIR", help=f"run folder ({FOLDER})")
    parser.add_argument(
        "--keep", type=parse_count, default=KEEP, metavar="N", help=f"graphs to find ({KEEP})"
    )
    parser.add_argument(
        "--time", type=parse_seconds, default=40.0, metavar="40s", help="most time to search (40s)"
    )
    parser.add_argument("--force", action="store_true", help="delete an earlier demo and begin")


def run_demo(args: argparse.Namespace, console: Console) -> int:
    """Run `tnet demo`."""
    from structure_search.journal import CONFIG, read_run
    from tnet.inputs import open_array

    folder = Path(args.out)
    begun_before = (folder / CONFIG).is_file()
    if begun_before and args.force:
        shutil.rmtree(folder)  # only ever a run folder: it has a run.json
        begun_before = False
    if begun_before:
        run = read_run(folder)
        _require_same(args, run)
        if run.outcome is not None and run.outcome.name == "REACHED" and run.baselines:
            console.note(f"{folder} holds a finished demo; --force begins again.\n")
            return _summary(args, read_run(folder), console)
    data = open_array(args.data)
    _introduce(args, data, console)
    return _work(args, data, folder, console, resuming=begun_before)


def _work(
    args: argparse.Namespace, data: Data, folder: Path, console: Console, *, resuming: bool
) -> int:
    """Search, compare and show."""
    import numpy as np

    from structure_search.journal import read_run

    outcome = _search(args, data, folder, console, resuming=resuming)
    if outcome.name in ("INTERRUPTED", "TERMINATED"):
        count = len(read_run(folder).evaluations)
        console.note(f"stopped after {count} evaluations; continue with: {_again(args)}")
        stopped = outcome.name == "INTERRUPTED"
        return ExitCode.INTERRUPTED if stopped else ExitCode.TERMINATED
    try:
        make_report(folder, console, x=np.asarray(data.array))
    except KeyboardInterrupt:
        console.note(f"stopped; continue with: {_again(args)}")
        raise
    return _summary(args, read_run(folder), console)


def _again(args: argparse.Namespace) -> str:
    words = ["tnet", "demo"]
    for name, value, default in (("data", args.data, DATA), ("out", args.out, FOLDER)):
        words += [f"--{name}", value] if value != default else []
    words += ["--tol", f"{args.tol:g}"] if args.tol != TOL else []
    words += ["--keep", str(args.keep)] if args.keep != KEEP else []
    return shlex.join(words)


def _require_same(args: argparse.Namespace, run: RunRecord) -> None:
    about, goal = run.config.get("input", {}), run.config["objective"]
    keep = run.config["method"].get("options", {}).get("keep")
    if (about.get("source"), goal.get("tol"), keep) != (args.data, args.tol, args.keep):
        raise UsageError(
            f"{args.out} holds another run ({about.get('source')}, error {goal.get('tol')}).",
            hint="choose another folder with --out DIR, or delete that run with --force",
        )


def _introduce(args: argparse.Namespace, data: Data, console: Console) -> None:
    """Say in three lines what is about to happen and why, and on what machine."""
    import numpy as np

    from structure_search.families import families
    from tnet.readers.common import available_memory

    entries = int(np.prod(data.shape))
    modes = " x ".join(f"{name} {size}" for name, size in data.modes.items())
    about = f", {data.notes[0]}" if data.notes else ""
    graphs = len(families(data.modes))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    console.note(f"data     {data.source}{about}")
    console.note(f"         {modes} = {entries:,} numbers")
    console.note(
        f"goal     the fewest parameters that give it back within {args.tol:g} (relative error)"
    )
    console.note(f"how      {graphs} graphs (trees, trains, rings, CP), the smallest network first")
    console.note(
        f"machine  {cores} cores, {format_bytes(available_memory())} free, "
        f"NumPy {np.__version__} on the CPU\n"
    )


def _search(
    args: argparse.Namespace, data: Data, folder: Path, console: Console, *, resuming: bool
) -> Outcome:
    """Search, or go on searching, and show what is found."""
    import numpy as np

    from structure_search import RelativeError, SmallestFirst, resume, search
    from structure_search.stopping import interrupts

    stop = interrupts(console.note)
    with stop, console.progress(None, "networks tried") as bar:
        shown = math.inf

        def show(evaluation: Evaluation, best: Candidate) -> None:
            nonlocal shown
            if evaluation.error <= args.tol and evaluation.num_params < shown:
                shown = evaluation.num_params
                console.note(_better(evaluation))
            bar.update(evaluation.index + 1, f"best {best.num_params:,} parameters")

        common: dict[str, Any] = {"max_seconds": args.time, "progress": show, "stop": stop}
        try:
            if resuming:
                result = resume(folder, np.asarray(data.array), **common)
            else:
                result = search(
                    np.asarray(data.array),
                    method=SmallestFirst(keep=args.keep),
                    objective=RelativeError(tol=args.tol),
                    rng=np.random.default_rng(args.seed),
                    modes=data.names,
                    run=folder,
                    source={
                        "source": args.data,
                        "path": None if data.path is None else str(data.path.resolve()),
                    },
                    **common,
                )
        except KeyboardInterrupt:
            console.note(f"stopped; continue with: {_again(args)}")
            raise
    return result.outcome


def _better(evaluation: Evaluation) -> str:
    dense = math.prod(evaluation.structure.shape)
    size = evaluation.num_params
    return (
        f"{evaluation.elapsed:6.1f}s  {size:>7,} parameters  {times(dense / size):>6} smaller  "
        f"error {evaluation.error:.4f}  {evaluation.label} {_ranks(evaluation.structure.ranks)}"
    )


def _found(run: RunRecord, tol: float) -> list[Evaluation]:
    """Return the networks within the error, one of each graph, smallest first."""
    from structure_search.families import graph_key

    met = sorted((e for e in run.evaluations if e.error <= tol), key=lambda e: e.num_params)
    seen: dict[str, Evaluation] = {}
    for e in met:
        seen.setdefault(graph_key(e.structure), e)
    return list(seen.values())


def _summary(args: argparse.Namespace, run: RunRecord, console: Console) -> int:
    """Write the table, the drawing and the paths."""
    import tnet
    from structure_search.reporting.figures import fixed_name

    found = _found(run, args.tol)
    dense = math.prod(run.config["input"]["shape"])
    fixed = by_size(run.baselines)
    console.result(_document(args, run, found, dense), ok=bool(found))
    rows = [
        (f"found: {e.label}", _ranks(e.structure.ranks), e.num_params, e.error, e.elapsed)
        for e in found[:SHOWN]
    ]
    rows += [
        (fixed_name(b), _ranks(b["ranks"]), b["num_params"], b["error"], b["seconds"])
        for b in fixed
    ]
    console.table(
        ["network", "ranks", "parameters", "smaller", "error", "time"],
        [
            (name, ranks, f"{size:,}", times(dense / size), f"{error:.4f}", format_seconds(t))
            for name, ranks, size, error, t in rows
        ],
    )
    console.out(f"\n{_verdict(found, fixed, args.tol)}\n")
    if found:
        console.out(f"{tnet.draw(found[0].structure)}\n")
    network = Path(args.out) / "best" / "network.tnet"
    console.out(f"report:    {Path(args.out) / 'report.html'}   (open it in a browser)")
    console.out(f"network:   {network}")
    console.out(f'in Python: net = tnet.load("{network.as_posix()}"); net.to_dense()')
    console.out("next:      tnet info FILE.npy   |   tnet search FILE.npy --tol 0.01 --run DIR")
    return ExitCode.DONE if found else ExitCode.TARGET_NOT_REACHED


def _ranks(ranks: Any) -> str:
    return " ".join(str(rank) for rank in ranks.values())


def _verdict(found: list[Evaluation], fixed: list[Any], tol: float) -> str:
    """Say who won, also when that is a fixed format."""
    met = [row for row in fixed if row["met"]]
    rival = min(met, key=lambda row: int(row["num_params"])) if met else None
    if not found:
        won = f"; {rival['name']} does with {rival['num_params']:,}" if rival else ""
        return f"The search found no network within {tol:g} in its time{won}."
    best = found[0].num_params
    if rival is None:
        return f"The best network found has {best:,} parameters; no fixed format reaches {tol:g}."
    name, size = rival["name"], int(rival["num_params"])
    if best < size:
        lines = [f"The best network found has {best:,} parameters:"]
        lines.append(f"{_fewer(best, size)} than the best fixed format ({name}, {size:,})")
        named = [e for e in found if e.label in FORMATS]
        if named and named[0] is not found[0]:
            also = named[0].label, named[0].num_params
            lines.append(
                f"{_fewer(best, also[1])} than with searched ranks ({also[0]}, {also[1]:,})"
            )
        return "\n".join(lines)
    if best == size:
        return f"The best network found and {name} both have {best:,} parameters."
    return f"A fixed format wins here: {name} has {size:,} parameters, the search found {best:,}."


def _fewer(best: int, size: int) -> str:
    return f"{100 * (1 - best / size):4.0f} % fewer"


def _document(
    args: argparse.Namespace, run: RunRecord, found: list[Evaluation], dense: int
) -> dict[str, Any]:
    return {
        "data": args.data,
        "tol": args.tol,
        "outcome": run.outcome.name if run.outcome else None,
        "evaluations": len(run.evaluations),
        "seconds": run.elapsed,
        "found": [
            {
                "graph": e.label,
                "num_params": e.num_params,
                "compression": dense / e.num_params,
                "error": e.error,
                "ranks": dict(e.structure.ranks),
                "structure": e.structure.to_dict(),
            }
            for e in found
        ],
        "fixed": [dict(row) for row in run.baselines],
        "run": str(args.out),
        "report": str(Path(args.out) / "report.html"),
        "network": str(Path(args.out) / "best" / "network.tnet"),
    }
