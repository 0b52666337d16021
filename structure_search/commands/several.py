"""Several data sets in one command: a run folder for each, one table, one exit code."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from structure_search.commands.finishing import Finished
from structure_search.reporting.screen import times
from tnet.console import Console, ExitCode, format_seconds
from tnet.failures import UsageError, error_document, exit_code, write_error

STOPPED = (ExitCode.INTERRUPTED, ExitCode.TERMINATED)
LONGEST = 64  # characters of a folder's name


def folder_names(sources: Sequence[str]) -> list[str]:
    """Return a folder name for each source: safe on every system, and each another.

    Examples
    --------
    >>> folder_names(["a/x.npy", "b/x.npy", "skimage:camera"])
    ['x', 'x-2', 'skimage-camera']
    """
    found: list[str] = []
    for source in sources:
        path = Path(source)
        base = path.name if path.suffix == "" or ":" in path.suffix else path.stem
        base = re.sub(r"[^A-Za-z0-9._-]+", "-", base).strip("-.")[:LONGEST] or "data"
        name, k = base, 1
        while name.lower() in (other.lower() for other in found):
            k += 1
            name = f"{base}-{k}"
        found.append(name)
    return found


def search_several(
    args: argparse.Namespace, console: Console, search: Callable[[argparse.Namespace], Finished]
) -> int:
    """Search for each of `args.data`; one that fails costs its own row of the table.

    Returns the exit code: that of the first failure, or else whether all goals were reached.
    """
    if args.out is not None:
        raise UsageError("--out takes one network, and there are several DATA; give --run DIR.")
    if args.run is not None and Path(args.run).exists() and not Path(args.run).is_dir():
        raise UsageError(f"--run {args.run!r} is no folder.")
    runs: list[dict[str, Any]] = []
    codes: list[int] = []
    for source, name in zip(args.data, folder_names(args.data), strict=True):
        folder = None if args.run is None else str(Path(args.run) / name)
        one = argparse.Namespace(**{**vars(args), "data": source, "run": folder})
        console.out(f"--- {source}\n")
        code, document = _one(one, search, console)
        codes.append(code)
        runs.append({"data": source, "exit_code": int(code), **document})
        console.out()
        if code in STOPPED:
            break
    _table(runs, console)
    code = _code(codes)
    console.result({"runs": runs, "asked": len(args.data)}, ok=code == ExitCode.DONE)
    return code


def _one(
    args: argparse.Namespace, search: Callable[[argparse.Namespace], Finished], console: Console
) -> tuple[int, dict[str, Any]]:
    begun = args.run is not None and (Path(args.run) / "run.json").is_file()
    args.going_on = begun and not args.dry_run
    try:
        if args.going_on:
            console.note(f"{args.run} holds this run already; going on with it")
        done = search(args)
        return done.code, done.document
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED, {"error": "interrupted"}
    except Exception as error:  # one data set shall not lose the others
        write_error(error, console)
        return exit_code(error), {"error": error_document(error)["error"]}


def _code(codes: Sequence[int]) -> int:
    for code in codes:
        if code in STOPPED:
            return code
    failed = [c for c in codes if c not in (ExitCode.DONE, ExitCode.TARGET_NOT_REACHED)]
    return failed[0] if failed else max(codes, default=0)


def _table(runs: Sequence[dict[str, Any]], console: Console) -> None:
    rows = []
    for run in runs:
        best = run.get("best")
        if best is None:
            error = run.get("error", "")
            why = error["code"] if isinstance(error, dict) else error
            rows.append((run["data"], "-", "-", "-", "-", "-", f"failed: {why}"))
            continue
        rows.append(
            (
                run["data"],
                f"{best['num_params']:,}",
                times(best["compression"]),
                f"{best['error']:.4g}",
                f"{run['evaluations']:,}",
                format_seconds(run["seconds"]),
                run["outcome"] if run["exit_code"] == 0 else f"{run['outcome']}, target missed",
            )
        )
    heads = ["data", "parameters", "smaller", "error", "evaluations", "time", "how it ended"]
    if any(run.get("best") or run.get("error") for run in runs):
        console.table(heads, rows)
