"""`tnet report`: the HTML page and the figures of a run folder, written again."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from structure_search.reporting import screen
from tnet.console import Console, ExitCode
from tnet.options import UsageError, add_command


def register(subparsers: Any) -> None:
    """Add `tnet report`."""
    parser = add_command(
        subparsers,
        "report",
        run_report,
        help="write the HTML report and the figures of a run",
        description="Write DIR/report.html (one page that needs nothing else) and "
        "DIR/figures/*.svg from a run folder, also while the search is running. The first time, "
        "the data are read again to compare with fixed formats at the same error.",
    )
    parser.add_argument("run", metavar="DIR", help="the run folder")
    parser.add_argument(
        "--open", choices=["yes", "no"], default="no", help="show it in the browser (no)"
    )


def _require_run(folder: Path) -> None:
    """Raise `UsageError` for a folder that holds runs instead of being one."""
    if (folder / "run.json").exists():
        return
    runs = sorted(str(path.parent) for path in folder.glob("**/run.json"))
    if runs:
        raise UsageError(
            f"{folder} is no run folder, but holds {screen.counted(len(runs), 'run')}.",
            hint=f"e.g. tnet report {shlex.quote(runs[0])}",
        )


def run_report(args: argparse.Namespace, console: Console) -> int:
    """Run `tnet report`."""
    from structure_search.journal import read_run

    _require_run(Path(args.run))
    page = screen.make_report(args.run, console)
    run = read_run(args.run)
    figures = sorted(str(path) for path in (Path(args.run) / "figures").glob("*.svg"))
    console.result({"report": str(page), "figures": figures, "fixed": list(run.baselines)})
    screen.show_comparison(run, console)
    console.out(f"report:  {page}")
    console.out(f"figures: {len(figures)} files in {Path(args.run) / 'figures'}")
    if args.open == "yes":
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    return ExitCode.DONE
