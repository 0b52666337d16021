"""Lazy public names: a package lists what it exports and each module loads at first use.

`tnet --help` must answer at once, so no package may import NumPy merely by being imported.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def attach(
    package: str, exports: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` for a package (PEP 562).

    Parameters
    ----------
    package
        The `__name__` of the package.
    exports
        Module -> the public names it gives the package. No public name may equal the name of a
        module of the package, since importing that module would hide it.
    """
    home = {name: module for module, names in exports.items() for name in names}
    names = sorted(home)

    def load(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(home[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return load, lambda: names, names
