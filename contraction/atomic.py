"""Atomic writes: a file has either its old content or its new content, never a part of it.

The content goes to a temporary file in the same folder, which is flushed to the disk and then
renamed over the target; the folder is flushed last, so that the new name survives a power cut.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, TypeAlias

from contraction.errors import InputError

PathLike: TypeAlias = "str | os.PathLike[str]"
Buffer: TypeAlias = "bytes | bytearray | memoryview"


def write_bytes(path: PathLike, content: Buffer | Iterable[Buffer]) -> None:
    """Write `content` (one buffer, or several one after the other) to `path` atomically.

    Whatever goes wrong, a file that was there before is untouched and no half-written file is
    left behind.

    Raises
    ------
    InputError
        `path` is a folder or a symbolic link, or its folder does not exist.
    OSError
        The disk is full, or the folder cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_bytes(Path(folder) / "a.bin", b"abc")
    ...     (Path(folder) / "a.bin").read_bytes()
    b'abc'
    """
    pieces = [content] if isinstance(content, (bytes, bytearray, memoryview)) else content

    def write(stream: BinaryIO) -> None:
        for piece in pieces:
            stream.write(piece)

    write_with(path, write)


def write_text(path: PathLike, text: str) -> None:
    """Write `text` to `path` atomically, in UTF-8 and with the line ends as given.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_text(Path(folder) / "a.txt", "é")
    ...     (Path(folder) / "a.txt").read_text(encoding="utf-8")
    'é'
    """
    write_bytes(path, text.encode("utf-8"))


def write_with(
    path: PathLike,
    write: Callable[[BinaryIO], None],
    *,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Let `write` fill a stream, and put the result at `path` atomically.

    `check` is called with the path of the complete temporary file; if it raises, the old file
    stays.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_with(Path(folder) / "a.bin", lambda stream: stream.write(b"abc") and None)
    ...     (Path(folder) / "a.bin").stat().st_size
    3
    """
    target = writable_target(path)
    # 32 characters are at most 128 bytes, and a name may have 255
    name = target.with_name(f".{target.name[:32]}.{secrets.token_hex(8)}.tmp")
    try:
        with open(name, "xb") as stream:  # "x": never through a file or link that is there
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        if check is not None:
            check(name)
        if target.exists():
            shutil.copymode(target, name)
        os.replace(name, target)
    except BaseException as error:  # also an interrupt: nothing half-written stays behind
        with contextlib.suppress(OSError):
            os.unlink(name)
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(name)):
            error.filename = str(target)  # a full disk names no file, the others a temporary one
        raise
    sync_folder(target.parent)


def writable_target(path: PathLike) -> Path:
    """Return `path` as a `Path`, or raise `InputError` where no file may be written.

    Examples
    --------
    >>> writable_target("a.bin").name
    'a.bin'
    """
    target = Path(path)
    if target.is_symlink():
        raise InputError(f"{target} is a symbolic link; give the path of the file itself.")
    if target.is_dir():
        raise InputError(f"{target} is a folder; give the path of a file in it.")
    if not target.parent.is_dir():
        raise InputError(f"the folder {target.parent} does not exist; create it first.")
    return target


def sync_folder(folder: PathLike) -> None:
    """Flush the entries of a folder to the disk, where the operating system can do that.

    Examples
    --------
    >>> sync_folder(".")
    """
    flags = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
    with contextlib.suppress(OSError):  # Windows and some network disks refuse
        handle = os.open(folder, flags)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
