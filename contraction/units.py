"""Amounts written as text: bytes ("2GiB") and seconds ("10s")."""

from __future__ import annotations

import re
import sys

from contraction.errors import InputError

_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BYTES |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SECONDS = {"": 1.0, "MS": 1e-3, "S": 1.0, "MIN": 60.0, "H": 3600.0}
_AMOUNT = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)\s*")
_PERCENT = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*%\s*")


def parse_bytes(amount: int | float | str, *, name: str = "memory") -> int:
    """Return a number of bytes.

    Raises
    ------
    InputError
        Not a positive number, or an unknown unit.

    Examples
    --------
    >>> parse_bytes("2GiB"), parse_bytes("1.5 kB"), parse_bytes(800)
    (2147483648, 1500, 800)
    """
    value = _parse(amount, _BYTES, name, "bytes: 800, '64MB', '2GiB', or a share: '80%'")
    return int(value)


def parse_share(amount: int | float | str, *, name: str = "memory") -> float | None:
    """Return the share that "80%" or a float in (0, 1] stands for, None for anything else.

    Raises
    ------
    InputError
        A percentage that is not above 0 and at most 100.

    Examples
    --------
    >>> parse_share("80%"), parse_share(0.25), parse_share("2GiB"), parse_share(1)
    (0.8, 0.25, None, None)
    """
    if isinstance(amount, float):
        return amount if 0 < amount <= 1 else None
    if not isinstance(amount, str) or not amount.strip().endswith("%"):
        return None
    match = _PERCENT.fullmatch(amount)
    share = float(match[1]) / 100 if match else 0.0
    if not 0 < share <= 1:
        raise InputError(f"`{name}` as a share lies above 0% and up to 100%, got {amount!r}.")
    return share


def parse_seconds(amount: int | float | str, *, name: str = "budget") -> float:
    """Return a number of seconds; refuses what `parse_bytes` refuses.

    Examples
    --------
    >>> parse_seconds("10s"), parse_seconds("200 ms"), parse_seconds(3)
    (10.0, 0.2, 3.0)
    """
    return _parse(amount, _SECONDS, name, "seconds: 3, '10s', '2min'")


def _parse(
    amount: int | float | str, units: dict[str, int] | dict[str, float], name: str, hint: str
) -> float:
    if isinstance(amount, str):
        match = _AMOUNT.fullmatch(amount)
        unit = match[2].upper() if match else "?"
        if match and unit in units:
            amount = float(match[1]) * units[unit]
    if isinstance(amount, (str, bool)) or not 0 < amount <= sys.float_info.max:
        raise InputError(f"`{name}` is a positive number of {hint}; got {amount!r}.")
    return float(amount)
