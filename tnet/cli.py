"""The `tnet` command: finds the sub-commands, runs one, and turns errors into exit codes.

A package adds sub-commands through the entry-point group `tnet.commands`. Each entry names a
module of light imports (standard library, `contraction.errors`, `tnet.console`,
`tnet.options`) with one function, `register(subparsers)`, which calls
`tnet.options.add_command` once per sub-command. Heavy imports belong inside the handlers:
`tnet --help` loads every entry and must answer at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any, NoReturn, final

from contraction import errors
from tnet.console import Console, ExitCode
from tnet.failures import UsageError, report_error
from tnet.options import (
    common_options,
    from_environment,
    limited_threads,
    parse_count,
    parse_seed,
)

GROUP = "tnet.commands"
FIRST = (
    "demo",
    "info",
    "decompose",
    "plan",
    "contract",
    "search",
    "report",
    "calibrate",
    "doctor",
)  # the order in --help

EPILOG = """exit status: 0 done, 1 internal or system error, 2 usage, 3 bad input data,
4 out of memory, 5 finished without reaching the target, 6 run folder in use,
7 damaged run folder, 8 device or optional package missing, 130 interrupted, 143 terminated"""


@final
class Parser(argparse.ArgumentParser):
    """An argument parser that raises `UsageError` instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError`; its hint is where the options are explained."""
        raise UsageError(message, hint=f"see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tnet` with the arguments `argv` (by default the process's) and return the exit code.

    Every error becomes one or two lines on stderr and one of the codes of `ExitCode`; under
    `--json` also one JSON document on stdout. A traceback is shown only with `-v`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # any file name, any locale
    console = Console(json="--json" in words, verbose="-v" in words or "--verbose" in words)
    try:
        code = _guarded(words, console)
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader (`| head`) has gone; point stdout elsewhere, or the interpreter's own
        # flush at exit would complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return ExitCode.DONE
    return code


def _guarded(words: Sequence[str], console: Console) -> int:
    try:
        with _terminable():
            parser = build_parser(console)
            args = parser.parse_args(words)
            console = Console(
                json=args.json,
                quiet=args.quiet,
                verbose=args.verbose,
                progress=not args.no_progress,
                color=not args.no_color,
            )
            return _run(parser, args, console)
    except BrokenPipeError:
        raise
    except SystemExit as stop:  # --help and --version; SIGTERM
        if stop.code == ExitCode.TERMINATED:
            return report_error(stop, console)
        return stop.code if isinstance(stop.code, int) else ExitCode.DONE
    except BaseException as error:
        return report_error(error, console)


def _run(parser: argparse.ArgumentParser, args: argparse.Namespace, console: Console) -> int:
    handler = getattr(args, "handler", None)
    if handler is None:
        if console.json:
            raise UsageError("no command was given.", hint="see tnet --help")
        parser.print_help()
        return ExitCode.USAGE
    with warnings.catch_warnings():
        if not console.verbose:
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", category=UserWarning, module=_OURS)
            warnings.filterwarnings("always", category=errors.PrecisionWarning)
        warnings.showwarning = _shower(console)
        with limited_threads(args.threads):
            return int(handler(args, console) or 0)


_OURS = r"(contraction|tnet|structure_search|integrators)\b"


def _shower(console: Console) -> Any:
    said: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        text = " ".join(str(message).split())
        if text not in said:
            said.add(text)
            console.warn(text)

    return show


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that everything written so far is flushed."""

    def stop(*_: Any) -> NoReturn:
        raise SystemExit(int(ExitCode.TERMINATED))

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def build_parser(console: Console | None = None) -> Parser:
    """Return the parser with every sub-command that is installed.

    A package whose commands cannot be loaded costs a warning and nothing else.
    """
    console = console or Console()
    parser = Parser(
        prog="tnet",
        description="Tensor networks and low-rank decompositions from the shell.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common_options()],
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"tnet {version()}")
    parser.set_defaults(
        json=False,
        quiet=False,
        verbose=False,
        no_color=False,
        no_progress=False,
        threads=from_environment("threads", parse_count, None),
        seed=from_environment("seed", parse_seed, 0),
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", title="commands", dest="command")
    entries = metadata.entry_points(group=GROUP)
    rank = {name: place for place, name in enumerate(FIRST)}
    for entry in sorted(entries, key=lambda e: (rank.get(e.name, len(rank)), e.name)):
        try:
            entry.load().register(subparsers)
        except Exception as error:
            owner = entry.dist.name if entry.dist else "?"
            console.warn(
                f"the commands of {entry.value} (package {owner}) could not be loaded: {error!r}"
            )
    if not subparsers.choices:
        console.warn("no commands are registered; install again: pip install -e .")
    return parser


def version() -> str:
    """Return the version of the installed distribution."""
    try:
        return metadata.version("tnet")
    except metadata.PackageNotFoundError:
        return "0+unknown"


if __name__ == "__main__":
    sys.exit(main())
