"""Compiled kernels: numba, where it is installed and its code already lies in the cache folder.

Compiling takes many seconds, so it is never done inside a search: `compile_kernels` does it once,
on request, and every search afterwards loads the machine code in some tenths of a second. Until
then, and without numba, the searches run in plain Python.

A module of kernels imports numba and decorates its functions with `njit`; nothing but `load`
imports it. Its `SIGNATURES` maps the names of the functions that are called from outside to their
argument types. The code is kept under a key of the sources, the versions and the processor, so a
change of any of them means that kernels are not ready, and never that they are stale.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import os
import platform
import shutil
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from contraction.atomic import write_text
from contraction.cache_folder import wanted_folder
from contraction.errors import BackendError

MODULES = ("contraction.search.annealing_numba", "contraction.search.greedy_numba")
SOURCES = ("*_numba.py", "greedy_network.py")  # beside this file: what compiled code consists of
FOLDER = "kernels"  # in the cache folder
MARKER = "complete.txt"
KEPT = 8  # sets of kernels that stay in the cache folder: other versions, other processors
LOADING = 1.0  # seconds of search from which loading the kernels pays
LOADED = 0.02  # the same once they are loaded
_LOCK = threading.RLock()


def ready() -> bool:
    """Tell whether compiled kernels can be used at once; numba is not imported for that.

    Examples
    --------
    >>> ready() in (True, False)
    True
    """
    return _is_complete(wanted_folder())


def worthwhile(seconds: float) -> bool:
    """Tell whether a search of so many seconds gains by compiled kernels, loading included.

    Examples
    --------
    >>> worthwhile(0.0)
    False
    """
    return seconds >= (LOADED if _load.cache_info().currsize else LOADING) and ready()


def load(name: str) -> ModuleType | None:
    """Return a module of `MODULES` whose kernels can be called, or None where they are not ready.

    Nothing is compiled: the machine code comes from the cache folder, and the kernels refuse
    arguments of other types with `TypeError`. The first call takes some tenths of a second.
    """
    return _load(name, wanted_folder()) if ready() else None


def compile_kernels(progress: Callable[[float], None] | None = None) -> float:
    """Compile what the searches can run faster compiled, for this and all later processes.

    The code is kept in the cache folder (environment variable `TNET_CACHE`). Where it is there
    already and can be loaded, this returns at once. Processes that compile at the same time do
    not disturb each other: each puts a complete set in place when it is done.

    Parameters
    ----------
    progress
        Called with the share of the work that is done, from 0 to 1.

    Returns
    -------
    float
        Seconds it took.

    Raises
    ------
    BackendError
        numba is not installed, does not work, or cannot keep what it compiled.
    """
    start = time.perf_counter()
    tell = progress or _ignore
    tell(0.0)
    with _LOCK:
        if not all(load(name) for name in MODULES):
            _check_numba()
            made = _unfinished_folder()
            try:
                _compile_all(made, tell)
                _put_in_place(made, made.parent / _key())
            finally:
                shutil.rmtree(made, ignore_errors=True)
            _is_complete.cache_clear()
            _load.cache_clear()
    tell(1.0)
    return time.perf_counter() - start


def _ignore(share: float) -> None:
    """Take note of nothing."""


def _check_numba() -> None:
    """Import numba, or raise `BackendError`."""
    try:
        importlib.import_module("numba")
    except ModuleNotFoundError as error:
        if error.name != "numba":
            raise BackendError(f"numba is installed but incomplete: {error}.") from error
        raise BackendError(
            "compiled kernels need numba, which is not installed; "
            "install it with `pip install 'tnet[fast]'`."
        ) from error
    except Exception as error:  # versions of NumPy or LLVM that do not go together
        raise BackendError(
            f"numba is installed but cannot be imported ({error}); install a version of it that "
            "goes with this NumPy, or remove it: everything works without."
        ) from error


def _unfinished_folder() -> Path:
    """Return a new folder for kernels, which only this user may write to."""
    import tempfile  # not needed by any search

    parent = wanted_folder() / FOLDER
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="unfinished-", dir=parent))
    except OSError as error:
        raise BackendError(
            f"compiled kernels cannot be kept in {parent} ({error}); "
            "set TNET_CACHE to a folder that can be written to."
        ) from error


def _compile_all(folder: Path, tell: Callable[[float], None]) -> None:
    kernels = [
        (module, function)
        for module in map(importlib.import_module, MODULES)
        for function in module.SIGNATURES
    ]
    for done, (module, function) in enumerate(kernels):
        tell(done / len(kernels))
        _compile(module, function, folder)
    write_text(folder / MARKER, "\n".join(MODULES) + "\n")


def _put_in_place(made: Path, folder: Path) -> None:
    """Give a complete set of kernels its name; one that is there already makes way."""
    for _ in range(3):  # another process may put its own in place at the same moment
        with contextlib.suppress(OSError):
            made.rename(folder)
            break
        with contextlib.suppress(OSError):
            folder.rename(made.with_name(f"old-{made.name}"))
        shutil.rmtree(made.with_name(f"old-{made.name}"), ignore_errors=True)
    _forget_old(folder)


@lru_cache(maxsize=8)
def _is_complete(folder: Path) -> bool:
    """Tell whether all kernels lie in a cache folder, put there by this user."""
    if importlib.util.find_spec("numba") is None:
        return False
    try:
        return _is_own(folder / FOLDER / _key()) and (folder / FOLDER / _key() / MARKER).is_file()
    except (OSError, ImportError):  # a package without its metadata
        return False


def _is_own(folder: Path) -> bool:
    """Tell whether nobody else can have put code into a folder: it is run as it is."""
    if not hasattr(os, "geteuid"):
        return True
    told = folder.stat()
    return told.st_uid == os.geteuid() and not told.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@lru_cache(maxsize=1)
def _key() -> str:
    """Return a name for the kernels of these sources, versions and this processor."""
    import importlib.metadata  # slow to load, and not needed without a search

    parts = [sys.version, platform.machine(), _processor()]
    parts += [importlib.metadata.version(name) for name in ("numba", "llvmlite", "numpy")]
    digest = hashlib.sha256("\n".join(parts).encode())
    beside = {path for pattern in SOURCES for path in Path(__file__).parent.glob(pattern)}
    for path in (Path(__file__), *sorted(beside), *map(_source, MODULES)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def _source(name: str) -> Path:
    """Return the file of a module, which is not imported for that."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise BackendError(f"the module {name} of kernels is missing; install tnet again.")
    return Path(spec.origin)


def _processor() -> str:
    """Return what tells processors apart whose machine code may differ."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(errors="replace").partition("\n\n")[0].splitlines()
        told = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
        if told:
            return "\n".join(told)
    return platform.processor()


@lru_cache(maxsize=16)
def _load(name: str, folder: Path) -> ModuleType | None:
    with _LOCK:
        try:
            module = importlib.import_module(name)
        except Exception:  # a numba that does not go with this NumPy; plain Python serves
            return None
        for function in module.SIGNATURES:
            if not _restore(module, function, folder / FOLDER / _key()):
                return None
    return module


def _restore(module: ModuleType, function: str, folder: Path) -> bool:
    """Give a kernel its machine code from the cache, and forbid it to compile; or return False."""
    dispatcher = getattr(module, function)
    types = _types(module, function)
    if types in dispatcher.overloads:
        return True
    context = dispatcher.targetctx
    try:
        found = _cache_of(dispatcher, folder).load_overload(types, context)
    except Exception:  # unpickling what is damaged may raise anything; plain Python serves
        found = None
    if found is None:
        return False
    context.insert_user_function(found.entry_point, found.fndesc, [found.library])
    dispatcher.add_overload(found)
    dispatcher.disable_compile()
    return True


def _compile(module: ModuleType, function: str, folder: Path) -> None:
    """Compile one kernel, keep it and see that it can be loaded."""
    dispatcher = getattr(module, function)
    types = _types(module, function)
    if types not in dispatcher.overloads:
        dispatcher.disable_compile(False)
        dispatcher.compile(types)
        dispatcher.disable_compile()
    cache = _cache_of(dispatcher, folder)
    try:
        cache.save_overload(types, dispatcher.overloads[types])
        kept = cache.load_overload(types, dispatcher.targetctx)
    except OSError as error:
        raise BackendError(f"compiled kernels cannot be kept in {folder} ({error}).") from error
    if kept is None:
        raise BackendError(
            f"numba cannot keep the code of {module.__name__}.{function} in {folder}; "
            "set TNET_CACHE to a folder that can be written to."
        )


def _types(module: ModuleType, function: str) -> tuple[Any, ...]:
    from numba.core.sigutils import normalize_signature

    types, _ = normalize_signature(module.SIGNATURES[function])
    return tuple(types)


def _cache_of(dispatcher: Any, folder: Path) -> Any:
    from numba.core.caching import FunctionCache

    with _numba_cache_at(folder):
        return FunctionCache(dispatcher.py_func)


@contextlib.contextmanager
def _numba_cache_at(folder: Path) -> Iterator[None]:
    """Let numba choose this folder; it reads its variable only when it is imported."""
    from numba.core import config

    before = config.CACHE_DIR
    config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        config.CACHE_DIR = before


def _forget_old(folder: Path) -> None:
    """Remove all but the newest few sets of kernels beside a folder."""
    others = []
    for path in folder.parent.iterdir():
        with contextlib.suppress(OSError):  # another process may have removed it
            others.append((path.stat().st_mtime, path))
    others = sorted(other for other in others if other[1] != folder)
    for _, path in others[: -(KEPT - 1)]:
        shutil.rmtree(path, ignore_errors=True)
