"""Options that several sub-commands share, and the readers of their values.

Light imports only: this module is loaded for `tnet --help`.
"""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tnet.console import Console
from tnet.failures import UsageError as UsageError

if TYPE_CHECKING:
    from tnet.inputs import Data

Handler: TypeAlias = Callable[[argparse.Namespace, Console], "int | None"]

UNITS = {"": 1, "b": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
UNITS |= {f"{u}b": n for u, n in list(UNITS.items()) if u not in ("", "b")}
UNITS |= {"kib": 1024, "mib": 1024**2, "gib": 1024**3, "tib": 1024**4}
THREADED = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
SECONDS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class MissingChoice(Enum):
    """What a command does with missing entries."""

    REFUSE = "refuse"  # an error that says where the first one is
    MASK = "mask"  # not observed: fitted around
    ZERO = "zero"  # zero


def _split_number(text: str) -> tuple[float, str]:
    body = text.strip().lower()
    cut = len(body)
    while cut and (body[cut - 1].isalpha()):
        cut -= 1
    number = float(body[:cut])
    if not math.isfinite(number) or number < 0:
        raise ValueError
    return number, body[cut:]


def parse_size(text: str) -> int:
    """Read a number of bytes: ``"2GiB"``, ``"500MB"``, ``"1e9"``.

    Examples
    --------
    >>> parse_size("2KiB"), parse_size("1.5 kB")
    (2048, 1500)
    """
    try:
        number, unit = _split_number(text)
        return int(number * UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size; write 500MB, 2GiB or a number of bytes"
        ) from None


def parse_seconds(text: str) -> float:
    """Read a time span above zero: ``"90s"``, ``"10m"``, ``"2h"``, ``"1.5"``.

    Examples
    --------
    >>> parse_seconds("10m"), parse_seconds("90")
    (600.0, 90.0)
    """
    try:
        number, unit = _split_number(text)
        seconds = number * SECONDS[unit]
        if not 0.0 < seconds < math.inf:
            raise ValueError
        return seconds
    except (ValueError, KeyError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time above zero; write 90s, 10m or 2h"
        ) from None


def parse_memory(text: str) -> str:
    """Check a memory limit, ``"4GiB"`` or a share of what is free, ``"80%"``; returned as it is.

    Examples
    --------
    >>> parse_memory("80%"), parse_memory("2GiB")
    ('80%', '2GiB')
    """
    from contraction.units import parse_bytes, parse_share

    try:
        if parse_share(text) is None and parse_bytes(text) < 1:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a limit of memory; write 4GiB, 500MB, a number of bytes, or 80%"
        ) from None
    return text


def parse_shape(text: str) -> tuple[int, ...]:
    """Read a shape: ``"4x4x3"`` or ``"4,4,3"``; one entry may be -1.

    Examples
    --------
    >>> parse_shape("4x4x3")
    (4, 4, 3)
    """
    try:
        sizes = tuple(int(part) for part in text.lower().replace("x", ",").split(","))
    except ValueError:
        sizes = ()
    if not sizes or any(n < 1 and n != -1 for n in sizes) or sizes.count(-1) > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape; write 4x4x3")
    return sizes


def parse_devices(text: str) -> tuple[str, ...]:
    """Read devices, separated by commas.

    Examples
    --------
    >>> parse_devices("cuda:0,cuda:1")
    ('cuda:0', 'cuda:1')
    """
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
            raise argparse.ArgumentTypeError(f"{name!r} is no device; name them as cuda:0,cuda:1")
    return names


def parse_count(text: str) -> int:
    """Read a whole number >= 1.

    Examples
    --------
    >>> parse_count("12")
    12
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number >= 1")
    return number


def parse_ratio(text: str) -> float:
    """Read a compression ratio > 0.

    Examples
    --------
    >>> parse_ratio("10")
    10.0
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a compression ratio > 0")
    return number


def parse_ranks(text: str) -> int | tuple[int, ...]:
    """Read one rank for every bond (``"8"``) or one rank per bond (``"8,8,4"``).

    Examples
    --------
    >>> parse_ranks("8"), parse_ranks("8,4")
    (8, (8, 4))
    """
    ranks = tuple(parse_count(part) for part in text.split(","))
    return ranks[0] if len(ranks) == 1 else ranks


def parse_tolerance(text: str) -> float:
    """Read a relative error in [0, 1).

    Examples
    --------
    >>> parse_tolerance("1e-3")
    0.001
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0.0 <= number < 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a relative error in [0, 1)")
    return number


def parse_seed(text: str) -> int:
    """Read a seed: a whole number from 0 to 2^64 - 1.

    Examples
    --------
    >>> parse_seed("7")
    7
    """
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number < 2**64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a seed; it is a number from 0 to 2^64-1")
    return number


def variable(name: str) -> str:
    """Return the environment variable of an option.

    Examples
    --------
    >>> variable("max_params")
    'TNET_MAX_PARAMS'
    """
    return f"TNET_{name.upper()}"


def environment(name: str) -> str | None:
    """Return what the environment says of an option; None if nothing, or no more than blanks."""
    return os.environ.get(variable(name), "").strip() or None


def from_environment(name: str, read: Callable[[str], Any], default: Any) -> Any:
    """Return the value of an option in the environment, or its default.

    Raises
    ------
    UsageError
        It cannot be read; the message names the variable.
    """
    text = environment(name)
    try:
        return default if text is None else read(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{variable(name)}: {error}.") from None


def common_options() -> argparse.ArgumentParser:
    """Return a parent parser with the options of every command.

    They may stand before or after the sub-command. A value that was not given stays absent
    here; the defaults are those of the main parser.
    """
    parent = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = parent.add_argument_group("options of every command")
    group.add_argument("--json", action="store_true", help="one JSON document on stdout")
    group.add_argument("--quiet", action="store_true", help="errors only on stderr")
    group.add_argument("-v", "--verbose", action="store_true", help="errors with traceback")
    group.add_argument("--no-progress", action="store_true", help="no progress display")
    group.add_argument("--no-color", action="store_true", help="no terminal colours")
    group.add_argument("--threads", type=parse_count, metavar="N", help="BLAS threads")
    group.add_argument("--seed", type=parse_seed, metavar="S", help="random seed (0)")
    return parent


def add_command(
    subparsers: Any, name: str, handler: Handler, *, help: str, description: str = ""
) -> argparse.ArgumentParser:
    """Add the sub-command `name` with the common options, and return its parser.

    Parameters
    ----------
    subparsers
        What `register(subparsers)` was given.
    name
        Name of the sub-command.
    handler
        Called as ``handler(args, console)``; returns an `ExitCode` (None means done).
    help
        One line for `tnet --help`.
    description
        Text of `tnet NAME --help`; `help` if not given.
    """
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=help,
        description=description or help,
        parents=[common_options()],
        allow_abbrev=False,
    )
    parser.set_defaults(handler=handler)
    return parser


def add_data_options(
    parser: argparse.ArgumentParser, *, nargs: str | None = None, help: str = ""
) -> None:
    """Add the positional DATA and the options that say how to read it; see `open_data`.

    With `nargs` there may be several DATA, and `args.data` is a list.
    """
    about = help or "a file, FILE:KEY, or a bundled name"
    parser.add_argument("data", metavar="DATA", nargs=nargs, help=about)
    group = parser.add_argument_group("how to read the data")
    group.add_argument("--key", help="which array of a file that holds several")
    group.add_argument("--reshape", type=parse_shape, metavar="4x4x3", help="shape to read it as")
    group.add_argument("--order", choices=["C", "F"], default="C", help="index order of --reshape")
    group.add_argument(
        "--missing",
        type=MissingChoice,
        choices=list(MissingChoice),
        default=MissingChoice.REFUSE,
        metavar="refuse|mask|zero",
        help="what to do with missing entries: NaN, or not listed in a coordinate file (refuse)",
    )
    group.add_argument("--memory", type=parse_size, metavar="2GiB", help="memory budget")
    group.add_argument("--coords", metavar="I,J,K", help="index columns of a CSV file")
    group.add_argument("--value", metavar="NAME", help="value column of a CSV file")


def open_data(args: argparse.Namespace) -> Data:
    """Open the DATA of `add_data_options` as the options say."""
    from tnet.inputs import Missing, open_array

    data = open_array(
        args.data,
        key=args.key,
        memory=args.memory,
        missing=Missing.ZERO if args.missing is MissingChoice.ZERO else Missing.NAN,
        coords=tuple(args.coords.split(",")) if args.coords else None,
        value=args.value,
    )
    return data if args.reshape is None else data.reshaped(args.reshape, order=args.order)


def output_path(path: str | Path, *, suffixes: Sequence[str] = ()) -> Path:
    """Return `path` if a file can be written there; checked before any work is done.

    Raises
    ------
    UsageError
        The folder is missing or cannot be written to, `path` is a folder or a symbolic link,
        or its suffix is not one of `suffixes`.
    """
    target = Path(path)
    folder = target.parent
    if not folder.is_dir():
        raise UsageError(f"the folder {str(folder)!r} does not exist.", hint="make it first")
    if target.is_dir() or target.is_symlink():
        raise UsageError(f"{str(target)!r} is a folder or a symbolic link; name a file.")
    if not os.access(target if target.exists() else folder, os.W_OK):
        raise UsageError(f"{str(target)!r} cannot be written to.")
    if suffixes and target.suffix not in suffixes:
        raise UsageError(f"{str(target)!r} must end in {' or '.join(suffixes)}.")
    return target


@contextmanager
def limited_threads(count: int | None) -> Iterator[None]:
    """Run the block with `count` BLAS threads; None leaves them alone."""
    if count is None:
        yield
        return
    # libraries that are loaded in the block, and worker processes, read these at their start
    names = [f"{name}_NUM_THREADS" for name in THREADED]
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(count)))
    try:
        import numpy  # noqa: F401  # only a loaded BLAS can be limited
        from threadpoolctl import threadpool_limits

        with threadpool_limits(limits=count):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
