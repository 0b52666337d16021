"""Where measured profiles, compiled kernels and plans are kept between runs."""

from __future__ import annotations

import os
import sys
import warnings
from functools import lru_cache
from pathlib import Path

from contraction.errors import CacheFolderWarning

VARIABLE = "TNET_CACHE"


def cache_folder() -> Path:
    """Return the folder for files that are kept between runs; it exists and can be written to.

    It is the folder named by the environment variable `TNET_CACHE`, else `tnet` in the user's
    cache folder of the platform: `$XDG_CACHE_HOME` or `~/.cache`, `~/Library/Caches` on macOS,
    `%LOCALAPPDATA%` on Windows. Where that cannot be written to, a `CacheFolderWarning` says so
    once, and a temporary folder serves until the process ends; it is no error.

    Examples
    --------
    >>> cache_folder().is_dir()
    True
    """
    folder = wanted_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        usable = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        usable = False
    return folder if usable else _temporary_folder(folder)


def wanted_folder() -> Path:
    """Return the folder that `cache_folder` makes, which may not exist yet: enough for reading.

    Examples
    --------
    >>> wanted_folder() == cache_folder()
    True
    """
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given).absolute()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        base = Path(local) if local else _home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = _home() / "Library" / "Caches"
    else:
        xdg = os.environ.get("XDG_CACHE_HOME", "")
        # a relative path is to be ignored, says the XDG Base Directory Specification
        base = Path(xdg) if os.path.isabs(xdg) else _home() / ".cache"
    return base / "tnet"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a container may have no home; nothing can be made below this
        return Path(os.devnull).absolute()


@lru_cache(maxsize=8)
def _temporary_folder(wanted: Path) -> Path:
    import atexit
    import shutil
    import tempfile  # none of them is needed where the folder can be written to

    made = Path(tempfile.mkdtemp(prefix="tnet-cache-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    warnings.warn(
        f"the cache folder {wanted} cannot be made or written to; {made} serves until this "
        f"process ends, so that nothing is remembered. Set {VARIABLE} to a folder of yours.",
        CacheFolderWarning,
        stacklevel=3,
    )
    return made
