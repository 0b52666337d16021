"""Code blocks of a page: what they are, and how they are run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class Block(NamedTuple):
    """A fenced block of a Markdown page."""

    language: str
    body: str


def blocks_of(page: Path) -> list[Block]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    return [Block(*block) for block in found]


def commands(block: str) -> list[str]:
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]


def run_python(body: str, title: str) -> None:
    exec(compile(body, title, "exec"), {"__name__": "page"})


def run_console(body: str, folder: Path) -> None:
    for command in commands(body):
        words = shlex.split(command, comments=True)
        assert words[0] == "tnet", f"only tnet commands are shown, got {command!r}"
        done = subprocess.run(
            [sys.executable, "-m", "tnet", *words[1:]],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=240,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
