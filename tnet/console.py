"""What a shell command writes, and where: data to stdout, everything else to stderr.

Light imports only: this module is loaded for `tnet --help`. rich is loaded when a terminal
asks for a table or a progress bar, never in a pipe.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any, TextIO, final

SCHEMA_VERSION = 1
SECONDS_BETWEEN_LINES, SECONDS_AT_A_TENTH = 30.0, 1.0
DAY, YEAR = 24 * 60, 365.25  # minutes, days
MOST_TIB = 1e5  # above which a power of ten is easier to read
WIDTH_OF_A_BAR = 90  # columns: a narrower terminal has room for the figures alone


class ExitCode(enum.IntEnum):
    """What the exit status of `tnet` says."""

    DONE = 0
    INTERNAL = 1
    USAGE = 2
    BAD_INPUT = 3
    MEMORY = 4
    TARGET_NOT_REACHED = 5
    RUN_IN_USE = 6
    DAMAGED_FILE = 7
    MISSING_DEVICE = 8
    INTERRUPTED = 130
    TERMINATED = 143


def plain(value: Any) -> Any:
    """Return `value` as plain JSON data: NaN and infinity become None, arrays become lists.

    Examples
    --------
    >>> plain({"error": float("nan"), "shape": (2, 3)})
    {'error': None, 'shape': [2, 3]}
    """
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: plain(getattr(value, name)) for name in names}
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, torch tensors
        return plain(value.tolist())
    if isinstance(value, complex):
        return [plain(value.real), plain(value.imag)]
    return str(value) if isinstance(value, PurePath) else repr(value)


def to_json(document: Any, *, indent: int | None = 2) -> str:
    """Return `document` as strict JSON text.

    Examples
    --------
    >>> to_json({"ok": True}, indent=None)
    '{"ok": true}'
    """
    return json.dumps(plain(document), allow_nan=False, indent=indent)


def format_bytes(count: float) -> str:
    """Return a number of bytes for people.

    Examples
    --------
    >>> format_bytes(3_145_728)
    '3.0 MiB'
    """
    count = min(count, sys.float_info.max)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB" if count < MOST_TIB else f"{count:.3g} TiB"


def format_seconds(seconds: float) -> str:
    """Return a time span for people.

    Examples
    --------
    >>> format_seconds(75), format_seconds(0.25), format_seconds(1e9)
    ('1m15s', '0.25s', '31.7 years')
    """
    if seconds < 10:
        return f"{seconds:.2g}s"
    if seconds == math.inf:
        return "forever"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    if minutes < 2 * DAY:
        return f"{minutes // 60}h{minutes % 60:02d}m"
    days = minutes // DAY
    return f"{days} days" if days < 2 * YEAR else f"{days / YEAR:.3g} years"


@final
class Console:
    """The two streams of one command, and how much to say on them.

    Parameters
    ----------
    json
        stdout carries exactly one JSON document and nothing else.
    quiet
        stderr carries errors only.
    verbose
        Errors come with their traceback.
    progress
        Progress is shown on stderr: a live bar on a terminal, else a line now and then.
    color
        Terminal colours are allowed.
    """

    def __init__(
        self,
        *,
        json: bool = False,
        quiet: bool = False,
        verbose: bool = False,
        progress: bool = True,
        color: bool = True,
    ) -> None:
        self.json = json
        self.quiet = quiet
        self.verbose = verbose
        dumb = os.environ.get("TERM") == "dumb"
        self.color = color and not dumb and not os.environ.get("NO_COLOR")
        self.live = not dumb
        self.progress_wanted = progress and not quiet
        self.answered = False

    def out(self, text: str = "") -> None:
        """Write a line of data to stdout; nothing under `--json`."""
        if not self.json:
            sys.stdout.write(text + "\n")

    def note(self, text: str) -> None:
        """Write a line to stderr, unless `--quiet`."""
        if not self.quiet:
            sys.stderr.write(text + "\n")

    def warn(self, text: str) -> None:
        """Write a warning to stderr, unless `--quiet`."""
        self.note(f"warning: {text}")

    def result(self, document: Mapping[str, Any], *, ok: bool = True) -> None:
        """Write the one JSON document of this command under `--json`; else nothing.

        Parameters
        ----------
        document
            What to write; `ok` and `schema_version` are put in front. NaN becomes null.
        ok
            False if the command finished without reaching what was asked.
        """
        if not self.json:
            return
        if self.answered:
            raise RuntimeError("a command writes one JSON document, not two.")
        self.answered = True
        full = {"ok": ok, "schema_version": SCHEMA_VERSION, **document}
        sys.stdout.write(to_json(full) + "\n")

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = ""
    ) -> None:
        """Write a table to stdout; nothing under `--json`.

        Parameters
        ----------
        columns
            Headings; a column whose cells are all numbers is aligned to the right.
        rows
            Cells; anything that is not text is written with `str`.
        title
            A line above the table.
        """
        if self.json:
            return
        cells = [[str(cell) for cell in row] for row in rows]
        right = [
            bool(rows) and all(isinstance(row[k], (int, float)) or _numeric(row[k]) for row in rows)
            for k in range(len(columns))
        ]
        if sys.stdout.isatty() and self.live:
            self._rich_table(columns, cells, right, title)
        else:
            sys.stdout.write(plain_table(columns, cells, right, title))

    def _rich_table(
        self,
        columns: Sequence[str],
        cells: Sequence[Sequence[str]],
        right: Sequence[bool],
        title: str,
    ) -> None:
        from rich.box import SIMPLE_HEAD
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=escape(title) or None, title_justify="left", box=SIMPLE_HEAD)
        for name, is_right in zip(columns, right, strict=True):
            table.add_column(escape(name), justify="right" if is_right else "left")
        for row in cells:
            table.add_row(*map(escape, row))
        self.rich(sys.stdout).print(table)

    def rich(self, stream: TextIO) -> Any:
        """Return a console of rich that writes to `stream` in the colours that are allowed."""
        from rich.console import Console as RichConsole

        return RichConsole(file=stream, no_color=not self.color, highlight=False)

    @contextmanager
    def progress(self, total: int | None, label: str) -> Iterator[Progress]:
        """Show progress on stderr while the block runs.

        Parameters
        ----------
        total, label
            As for `Progress`.

        Yields
        ------
        Progress
            Call `advance(...)` or `update(...)` on it.
        """
        if self.progress_wanted and self.live and sys.stderr.isatty():
            with _rich_progress(self.rich(sys.stderr), total, label) as shown:
                yield shown
        else:
            lines = ProgressLines(self.note) if self.progress_wanted else None
            yield Progress(total, label, lines)


@final
class Progress:
    """A count of steps that a command shows while it works.

    Parameters
    ----------
    total
        Number of steps, or None if that is not known.
    label
        What is being counted.
    show
        Called as ``show(progress, status)`` after every change; None shows nothing.
    """

    def __init__(
        self,
        total: int | None,
        label: str,
        show: Callable[[Progress, str], None] | None = None,
    ) -> None:
        self.total, self.label, self.done = total, label, 0
        self.start = time.monotonic()
        self._show = show

    def advance(self, steps: int = 1, status: str = "") -> None:
        """Count `steps` more; `status` is a short text such as "best error 3.1e-3"."""
        self.update(self.done + steps, status)

    def update(self, done: int, status: str = "", *, total: int | None = None) -> None:
        """Say that `done` steps are done (and, if given, that there are `total`)."""
        self.done, self.total = done, total if total is not None else self.total
        if self._show is not None:
            self._show(self, status)


@final
class ProgressLines:
    """Progress as plain lines: one per tenth of the way or per half minute, with the ETA.

    Two lines are at least a second apart: quick work leaves no clutter.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._last = time.monotonic()
        self._tenths = 0

    def __call__(self, progress: Progress, status: str) -> None:
        """Write a line if one is due."""
        now, total, done = time.monotonic(), progress.total, progress.done
        tenths = 10 * done // total if total else 0
        due = SECONDS_AT_A_TENTH if tenths > self._tenths else SECONDS_BETWEEN_LINES
        if now - self._last < due:
            return
        self._tenths, self._last = max(tenths, self._tenths), now
        parts = [f"{progress.label} {done}" + (f"/{total}" if total else ""), status]
        if total and 0 < done < total:
            parts.append(f"eta {format_seconds((now - progress.start) / done * (total - done))}")
        self._write("  ".join(part for part in parts if part))


@contextmanager
def _rich_progress(console: Any, total: int | None, label: str) -> Iterator[Progress]:
    from rich import progress as parts
    from rich.markup import escape

    columns: list[parts.ProgressColumn] = [parts.TextColumn(escape(label))]
    if console.width >= WIDTH_OF_A_BAR:
        columns.append(parts.BarColumn(bar_width=16))
    if total is None:
        columns += [parts.TextColumn("{task.completed}"), parts.TimeElapsedColumn()]
    else:
        columns += [parts.MofNCompleteColumn(), parts.TextColumn("eta")]
        columns.append(parts.TimeRemainingColumn())
    columns.append(parts.TextColumn("{task.fields[status]}", markup=False))
    bar = parts.Progress(*columns, console=console, transient=True)

    def show(progress: Progress, status: str) -> None:
        bar.update(task, completed=progress.done, total=progress.total, status=status)

    with bar:
        task = bar.add_task("", total=total, status="")
        yield Progress(total, label, show)


def _numeric(cell: Any) -> bool:
    text = str(cell).strip().rstrip("%x")
    try:
        float(text.replace(",", "").replace("s", "") if text else "x")
    except ValueError:
        return text in ("", "-")
    return True


def plain_table(
    columns: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool], title: str = ""
) -> str:
    """Return a table as aligned text, for pipes and dumb terminals.

    Examples
    --------
    >>> print(plain_table(["format", "params"], [["tt", "40"]], [False, True]), end="")
    format  params
    tt          40
    """
    rows = [list(columns), *map(list, cells)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(columns))]
    lines = [title] if title else []
    for row in rows:
        pairs = zip(row, widths, right, strict=True)
        joined = "  ".join(c.rjust(w) if is_right else c.ljust(w) for c, w, is_right in pairs)
        lines.append(joined.rstrip())
    return "\n".join(lines) + "\n"
