"""Every code block of README.md runs as it stands there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README.read_text("utf-8"), re.M | re.S)
PYTHON = [body for language, body in BLOCKS if language == "python"]
CONSOLE = [body for language, body in BLOCKS if language == "console" and "pip install" not in body]


def commands(block: str) -> list[str]:
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]


def test_the_first_two_blocks_are_one_set_up_command_each() -> None:
    for (language, body), last_word in zip(BLOCKS[:2], ("tnet demo", "pytest -q"), strict=True):
        assert language == "console"
        assert len(body.strip().splitlines()) == 1
        [command] = commands(body)
        assert command.startswith("python3 -m venv ")
        assert " -c constraints.txt " in command
        assert command.endswith(last_word)
    others = [body for _, body in BLOCKS[2:] if "python3 -m venv" in body]
    assert not others, "a third set-up command"


def test_every_block_says_its_language() -> None:
    assert {language for language, _ in BLOCKS} <= {"python", "console"}


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_block(number: int, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(
        compile(PYTHON[number], f"README.md, Python block {number}", "exec"), {"__name__": "readme"}
    )


def test_console_blocks(tmp_path) -> None:
    """One folder for all: a later command may read what an earlier one wrote."""
    assert CONSOLE
    for block in CONSOLE:
        for command in commands(block):
            words = shlex.split(command, comments=True)
            assert words[0] == "tnet", f"only tnet commands are shown, got {command!r}"
            done = subprocess.run(
                [sys.executable, "-m", "tnet", *words[1:]],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=240,
                env={**os.environ, "PYTHONWARNINGS": "ignore"},
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
