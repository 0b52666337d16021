"""What a failed command says: its exit code, its lines on stderr, its JSON document.

This is the one place where classes of errors are mapped to exit codes.
"""

from __future__ import annotations

import sys
import traceback
from typing import Any

from contraction import errors
from tnet.console import SCHEMA_VERSION, Console, ExitCode, to_json

PACKAGES = ("contraction", "tnet", "structure_search", "integrators")


class UsageError(errors.InputError):
    """The command line cannot be followed as written."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


# the first class that fits decides, so the narrow ones stand before the wide ones
EXIT_CODES: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (UsageError, ExitCode.USAGE),
    (errors.RankError, ExitCode.USAGE),
    (errors.InputError, ExitCode.BAD_INPUT),
    (errors.FileFormatError, ExitCode.BAD_INPUT),
    (errors.DTypeError, ExitCode.BAD_INPUT),
    (errors.CheckpointError, ExitCode.DAMAGED_FILE),
    (errors.RunLockedError, ExitCode.RUN_IN_USE),
    (errors.DeviceError, ExitCode.MISSING_DEVICE),
    (errors.BackendError, ExitCode.MISSING_DEVICE),
    (MemoryError, ExitCode.MEMORY),
    (errors.WorkerError, ExitCode.MEMORY),  # by far the most common end of a worker
    (FileNotFoundError, ExitCode.BAD_INPUT),
    (PermissionError, ExitCode.BAD_INPUT),
    (IsADirectoryError, ExitCode.BAD_INPUT),
    (NotADirectoryError, ExitCode.BAD_INPUT),
    (KeyboardInterrupt, ExitCode.INTERRUPTED),
    (SystemExit, ExitCode.TERMINATED),
)


def exit_code(error: BaseException) -> ExitCode:
    """Return the exit code that stands for `error`.

    Examples
    --------
    >>> int(exit_code(errors.NonFiniteError("one NaN")))
    3
    """
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] not in PACKAGES:
        return ExitCode.MISSING_DEVICE
    for kind, code in EXIT_CODES:
        if isinstance(error, kind):
            return code
    return ExitCode.INTERNAL


def error_document(error: BaseException) -> dict[str, Any]:
    """Return what `--json` prints for `error`."""
    return {
        "ok": False,
        "schema_version": SCHEMA_VERSION,
        "error": {
            "code": code_name(error),
            "message": message(error),
            "hint": getattr(error, "hint", "") or None,
            "where": getattr(error, "where", None) or getattr(error, "filename", None),
            "exit_code": int(exit_code(error)),
        },
    }


def write_error(error: BaseException, console: Console) -> None:
    """Write `error` to stderr: one or two lines, and the traceback under `--verbose`."""
    if console.verbose:
        sys.stderr.write("".join(traceback.format_exception(error)))
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        sys.stderr.write(f"{message(error)}\n")
        return
    sys.stderr.write(f"tnet: {message(error)}\n")
    hint = getattr(error, "hint", "")
    if hint:
        sys.stderr.write(f"  {hint}\n")
    known = isinstance(error, (errors.TnetError, OSError, MemoryError, ImportError))
    if not known and not console.verbose:
        sys.stderr.write("  this is a defect in tnet; run again with -v for the traceback\n")


def report_error(error: BaseException, console: Console) -> int:
    """Write `error` for people (stderr) and, under `--json`, for programs; return its code."""
    write_error(error, console)
    if console.json and not console.answered:
        sys.stdout.write(to_json(error_document(error)) + "\n")
    return exit_code(error)


def code_name(error: BaseException) -> str:
    """Return the error's name for programs.

    Examples
    --------
    >>> code_name(errors.NonFiniteError("")), code_name(KeyboardInterrupt())
    ('NON_FINITE', 'INTERRUPTED')
    """
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return message(error).upper()
    name = type(error).__name__.removesuffix("Error")
    spaced = (
        f"_{c}" if c.isupper() and i and not name[i - 1].isupper() else c
        for i, c in enumerate(name)
    )
    return "".join(spaced).upper()


def message(error: BaseException) -> str:
    """Return one line that says what went wrong."""
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return "interrupted" if isinstance(error, KeyboardInterrupt) else "terminated"
    text = " ".join(str(error).split())
    if isinstance(error, errors.TnetError):
        return text
    if isinstance(error, MemoryError):
        return f"out of memory. {text}".strip()
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
