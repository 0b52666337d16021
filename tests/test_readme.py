"""Every code block of README.md runs as it stands there."""

from pathlib import Path

import pytest

from pages import blocks_of, commands, run_console, run_python

BLOCKS = blocks_of(Path(__file__).parent.parent / "README.md")
PYTHON = [body for language, body in BLOCKS if language == "python"]
CONSOLE = [body for language, body in BLOCKS if language == "console" and "pip install" not in body]


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
    run_python(PYTHON[number], f"README.md, Python block {number}")


def test_console_blocks(tmp_path) -> None:
    """One folder for all: a later command may read what an earlier one wrote."""
    assert CONSOLE
    for body in CONSOLE:
        run_console(body, tmp_path)
