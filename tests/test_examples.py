"""Every script in examples/ runs to its end, and every page block by block."""

import subprocess
import sys
from pathlib import Path

import pytest

from pages import blocks_of, run_console, run_python

FOLDER = Path(__file__).parent.parent / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))
PAGES = sorted(FOLDER.glob("*.md"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: Path, tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), "an example shows something"
    assert not done.stderr.strip(), done.stderr


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_page(path: Path, tmp_path, monkeypatch) -> None:
    """The blocks of a page follow one another, in one folder."""
    monkeypatch.chdir(tmp_path)
    for number, (language, body) in enumerate(blocks_of(path)):
        assert language in ("python", "console")
        if language == "python":
            run_python(body, f"{path.name}, block {number}")
        else:
            run_console(body, tmp_path)
