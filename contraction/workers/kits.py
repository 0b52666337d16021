"""What workers are given, whatever the work: a bench to work at, and the way results come back.

A kit travels to each worker once. There it becomes a bench, which does one task after the other.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Bench(ABC):
    """Does tasks; what they share has been prepared."""

    @property
    def most(self) -> int:
        """The number of tasks that there can be at once."""
        return sys.maxsize

    @abstractmethod
    def run(self, task: Any) -> Any:
        """Do one task. May be called by several threads at once."""

    def halt(self) -> None:  # noqa: B027  # a bench of short tasks need not listen
        """Have the tasks under way in other threads raise soon."""


class Kit(ABC):
    """A bench without its arrays: plain data that travels to other processes."""

    @abstractmethod
    def build(self, arrays: Sequence[Any]) -> Bench:
        """Return the bench of these arrays."""

    @abstractmethod
    def for_library(self, library: str, move: Callable[[Any], Any]) -> Kit:
        """Return the same kit for arrays of a library, where `move` brings arrays."""


class Mail(Protocol):
    """How tasks and results travel between processes of one machine: by a pipe, or by files."""

    def pack(self, task: Any) -> Any:
        """Return what is sent to the worker through a pipe."""

    def write(self, task: Any, result: Any) -> Any:
        """Return what is sent back, having written to a file what is large in the result.

        `task` is what `pack` returned.
        """

    def collect(self, task: Any, letter: Any) -> Any:
        """Return the result of a task, given what was sent back; None if it is not whole."""
