"""Parts: the results of tasks as files of one folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from numpy.typing import NDArray

from contraction.atomic import write_with
from contraction.workers.stored import read_result, write_plainly, write_result


class Parts(NamedTuple):
    """A folder of results.

    `key` is that of the job, so that no result is taken for one of another job. `lasting` parts
    are to survive the process, and a power cut.
    """

    folder: Path
    key: str
    lasting: bool

    def path(self, task: int) -> Path:
        """Return the file of the result of a task."""
        return self.folder / f"{task:06d}.part"

    def read(self, task: int) -> NDArray[Any] | None:
        """Return the result of a task; None if there is none, or none that is whole."""
        return read_result(self.path(task), f"{self.key}:{task}")

    def pack(self, task: int) -> int:
        """Return the number that a task is."""
        return task

    def collect(self, task: int, letter: None) -> NDArray[Any] | None:
        """Return the result of a task; if it is not to last, its file goes."""
        result = self.read(task)
        if not self.lasting:
            with suppress(OSError):  # some systems keep what is mapped
                self.path(task).unlink()
        return result

    def write(self, task: int, result: NDArray[Any]) -> None:
        """Write the result of a task, whole or not at all."""
        write: Callable[[Path, Callable[[BinaryIO], None]], None] = (
            write_with if self.lasting else write_plainly
        )
        write_result(result, self.path(task), f"{self.key}:{task}", write)
