"""TOML files that people write: read once, with errors that say what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from tnet.failures import UsageError

LARGEST = 2**20  # bytes of a file


class TomlFile(NamedTuple):
    """The tables of a file, and its text as it stands."""

    tables: dict[str, Any]
    text: str


def read_toml(path: Path, what: str, *, named: str = "") -> TomlFile:
    """Return what a TOML file says.

    Parameters
    ----------
    path
        The file.
    what
        What it is to be, for the message about a file that is too large.
    named
        How the user named it, for the message about one that cannot be read; by default the path.

    Raises
    ------
    UsageError
        It is not there, too large, or no TOML.
    """
    import tomllib

    try:
        if path.stat().st_size > LARGEST:
            raise UsageError(f"{path} is too large for {what}.")
        text = path.read_text(encoding="utf-8")
        return TomlFile(tomllib.loads(text), text)
    except OSError as error:
        raise UsageError(f"{named or path}: {error.strerror or error}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}.") from None
