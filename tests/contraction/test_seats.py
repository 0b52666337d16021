"""Workers in processes: what is raised there comes here, and nobody stays when all is over."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="stops processes")

SCRIPT = """
import os, signal, sys, threading, time
from contraction import Processes, WorkerError
from contraction.workers.kits import Bench, Kit
from contraction.workers.schedulers import Assignment

class Odd(Exception):
    def __reduce__(self):
        raise TypeError("stays where it is")

class Desk(Bench):
    def run(self, task):
        if task == "odd":
            raise Odd("very")
        if task == "full":
            raise OSError(28, "no space", "somewhere")
        if task == "local":
            return lambda: 1
        return task, os.getpid()

class Plan(Kit):
    def build(self, arrays):
        return Desk()
    def for_library(self, library, move):
        return self

class Post:
    def pack(self, task):
        return task
    def write(self, task, result):
        return result
    def collect(self, task, letter):
        return letter

def said(run, task):
    try:
        return run(task)
    except (WorkerError, OSError) as error:
        return f"{type(error).__name__}: {error}"

staff = Processes(workers=1).staff(Assignment(Plan(), [], Desk(), lambda folder: Post()))
crew = staff.__enter__()
first, pid = crew.run("first")
for task in ("odd", "full", "local"):
    print(said(crew.run, task))
print(crew.run("second") == ("second", pid))
if sys.argv[1] == "stopped":
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(0.3, crew.abort).start()
    print(said(crew.run, "third"))
    staff.__exit__(None, None, None)
print(pid)
"""


def run(word: str) -> list[str]:
    """Return what the script prints."""
    command = [sys.executable, "-c", SCRIPT, word]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def alive(pid: str) -> bool:
    try:
        return "loky" in (Path("/proc") / pid / "cmdline").read_text()
    except OSError:
        return False


@linux
def test_errors_travel_and_a_stopped_worker_is_ended() -> None:
    odd, full, local, same, third, pid = run("stopped")
    assert odd == "WorkerError: Odd in a worker process: very"
    assert full == "OSError: [Errno 28] no space: 'somewhere'"
    assert local.startswith("WorkerError: ")
    assert same == "True"
    assert third == "WorkerError: the workers were sent home."
    assert not alive(pid)


@linux
def test_workers_that_nobody_ended_go_with_their_parent() -> None:
    """An interrupt may come between the beginning of a worker and all that would end it."""
    *_, pid = run("left alone")
    assert not alive(pid)
