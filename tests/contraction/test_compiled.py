"""Compiled kernels: loaded where they lie ready, compiled on request, and never otherwise."""

import ast
import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from contraction.errors import BackendError
from contraction.search import compiled

numba_only = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba is not installed"
)

KERNELS = """
    from numba import njit

    SIGNATURES = {"doubled": "(float64[::1],)"}


    @njit(nogil=True)
    def one(x):
        return x + x


    @njit(nogil=True)
    def doubled(xs):
        total = 0.0
        for x in xs:
            total += one(x)
        return total
"""
# a process that counts how often numba compiles
COUNTED = """
    import sys
    from contraction.search import compiled
    compiled.MODULES = ("some_kernels",)
    was_ready = compiled.ready()
    assert "numba" not in sys.modules
    from numba.core.event import install_recorder
    import numpy as np
    with install_recorder("numba:compile") as recorder:
        module = compiled.load("some_kernels")
        value = None if module is None else module.doubled(np.arange(4.0))
        refused = None
        if module is not None:
            try:
                module.doubled(np.arange(4))
            except TypeError as error:
                refused = "No matching definition" in str(error)
    print(was_ready, value, refused, len(recorder.buffer))
    if "compile" in sys.argv:
        told = []
        assert compiled.compile_kernels(told.append) > 0.0
        assert told[0] == 0.0 and told[-1] == 1.0 and told == sorted(told)
        print(compiled.ready(), compiled.load("some_kernels").doubled(np.arange(5.0)))
"""


def run(code: str, *arguments: str, folder) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True, text=True, check=True, cwd=folder,
        env={"TNET_CACHE": str(folder / "cache"), "PYTHONPATH": f"{folder}:{':'.join(sys.path)}"},
    )  # fmt: skip
    return done.stdout.split("\n")[:-1]


@numba_only
def test_kernels_are_compiled_on_request_only_and_loaded_afterwards(tmp_path) -> None:
    source = tmp_path / "some_kernels.py"
    source.write_text(textwrap.dedent(KERNELS))
    cold = run(COUNTED, "compile", folder=tmp_path)
    assert cold == ["False None None 0", "True 20.0"]
    warm = run(COUNTED, folder=tmp_path)
    assert warm == ["True 12.0 True 0"]  # loaded, called, other types refused, none compiled
    assert not list(tmp_path.glob("**/__pycache__/*.nbi"))  # the cache folder and nowhere else
    source.write_text(source.read_text().replace("x + x", "x + 2 * x"))
    assert run(COUNTED, folder=tmp_path) == ["False None None 0"]  # another source


def test_the_key_covers_all_that_compiled_code_consists_of() -> None:
    folder = Path(compiled.__file__).parent
    sources = {path for pattern in compiled.SOURCES for path in folder.glob(pattern)}
    kernels = sorted(folder.glob("*_numba.py"))
    assert {f"contraction.search.{path.stem}" for path in kernels} >= set(compiled.MODULES)
    for path in kernels:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("contraction"):
                names = {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
                assert any(f"contraction.search.{path.stem}" in names for path in sources), path


@numba_only
def test_damaged_code_is_not_used_and_is_compiled_again(tmp_path) -> None:
    (tmp_path / "some_kernels.py").write_text(textwrap.dedent(KERNELS))
    run(COUNTED, "compile", folder=tmp_path)
    kernels = tmp_path / "cache" / "kernels"
    for path in kernels.rglob("*.nb[ic]"):
        path.write_bytes(b"\x80\x04broken")
    assert run(COUNTED, "compile", folder=tmp_path) == ["True None None 0", "True 20.0"]
    for path in kernels.rglob("*.nbi"):
        path.unlink()
    assert run(COUNTED, folder=tmp_path) == ["True None None 0"]
    (folder,) = kernels.iterdir()  # nothing unfinished stays behind
    folder.chmod(0o777)
    if hasattr(os, "geteuid"):  # anybody may have put code there
        asked = "from contraction.search import compiled; print(compiled.ready())"
        assert run(asked, folder=tmp_path) == ["False"]


@numba_only
@pytest.mark.slow
def test_processes_that_compile_at_once_do_not_disturb_each_other(tmp_path) -> None:
    (tmp_path / "some_kernels.py").write_text(textwrap.dedent(KERNELS))
    code = textwrap.dedent(COUNTED)
    environment = {
        "TNET_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": f"{tmp_path}:{':'.join(sys.path)}",
    }
    command = [sys.executable, "-c", code, "compile"]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    for process in both:
        assert process.communicate()[0].endswith("True 20.0\n")
    assert len(list((tmp_path / "cache" / "kernels").iterdir())) == 1


def test_a_numba_that_cannot_be_imported_is_said_to_be_so(tmp_path) -> None:
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text("raise ImportError('needs another NumPy')")
    code = """
        from contraction.search import compiled
        compiled._is_complete = lambda folder: True
        print(compiled.ready(), [compiled.load(name) for name in compiled.MODULES])
        try:
            compiled.compile_kernels()
        except compiled.BackendError as error:
            print("needs another NumPy" in str(error))
    """
    none = [None] * len(compiled.MODULES)
    assert run(code, folder=tmp_path) == [f"True {none}", "True"]


@numba_only
def test_kernels_that_cannot_be_kept_are_not_compiled(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TNET_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(compiled, "_compile_all", None)
    with pytest.raises(BackendError, match="TNET_CACHE"):
        compiled.compile_kernels()


def test_without_numba_plain_python_serves(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TNET_CACHE", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "numba", None)
    compiled._is_complete.cache_clear()
    assert not compiled.ready()
    assert not compiled.worthwhile(100.0)
    assert compiled.load("contraction.search.annealing_numba") is None
    with pytest.raises(BackendError, match="tnet\\[fast\\]"):
        compiled.compile_kernels()
    compiled._is_complete.cache_clear()


def test_old_kernels_leave_the_cache_folder(tmp_path) -> None:
    made = [tmp_path / str(k) for k in range(12)]
    for path in made:
        path.mkdir()
    compiled._forget_old(made[0])
    left = list(tmp_path.iterdir())
    assert made[0] in left
    assert len(left) == compiled.KEPT
