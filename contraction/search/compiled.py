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
import importlib.metadata
import importlib.util
import platform
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from contraction.atomic import write_text
from contraction.cache_folder import cache_folder, wanted_folder
from contraction.errors import BackendError

MODULES = ("contraction.search.annealing_numba", "contraction.search.greedy_numba")
SOURCES = ("*_numba.py", "greedy_network.py")  # beside this file: what compiled code consists of
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


def compile_kernels() -> float:
    """Compile what the searches can run faster compiled, for this and all later processes.

    The code is kept in the cache folder (environment variable `TNET_CACHE`). Where it is there
    already this returns at once.

    Returns
    -------
    float
        Seconds it took.

    Raises
    ------
    BackendError
        numba is not installed, or cannot keep what it compiled.
    """
    start = time.perf_counter()
    if ready():
        return time.perf_counter() - start
    if importlib.util.find_spec("numba") is None:
        raise BackendError(
            "compiled kernels need numba, which is not installed; "
            "install it with `pip install 'tnet[fast]'`."
        )
    folder = cache_folder() / "kernels" / _key()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _LOCK:
        for name in MODULES:
            _compile(name, folder)
        write_text(folder / MARKER, "\n".join(MODULES) + "\n")
        _forget_old(folder)
        _is_complete.cache_clear()
        _load.cache_clear()
    return time.perf_counter() - start


@lru_cache(maxsize=8)
def _is_complete(folder: Path) -> bool:
    if importlib.util.find_spec("numba") is None:
        return False
    return (folder / "kernels" / _key() / MARKER).is_file()


@lru_cache(maxsize=1)
def _key() -> str:
    """Return a name for the kernels of these sources, versions and this processor."""
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
        module = importlib.import_module(name)
        for function in module.SIGNATURES:
            if not _restore(module, function, folder / "kernels" / _key()):
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


def _compile(name: str, folder: Path) -> None:
    module = importlib.import_module(name)
    for function in module.SIGNATURES:
        dispatcher = getattr(module, function)
        types = _types(module, function)
        if types not in dispatcher.overloads:
            dispatcher.disable_compile(False)
            dispatcher.compile(types)
            dispatcher.disable_compile()
        cache = _cache_of(dispatcher, folder)
        cache.save_overload(types, dispatcher.overloads[types])
        if cache.load_overload(types, dispatcher.targetctx) is None:
            raise BackendError(
                f"numba cannot keep the code of {name}.{function} in {folder}; "
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
    others = [path for path in folder.parent.iterdir() if path != folder]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[KEPT - 1 :]:
        shutil.rmtree(path, ignore_errors=True)
