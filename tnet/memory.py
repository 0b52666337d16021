"""How much memory one call may take."""

from __future__ import annotations

from contraction.memory import available_memory as available_memory
from contraction.units import parse_bytes

SHARE = 0.6  # of what is available, where nothing else is said


def allowed_memory(memory: int | float | str | None) -> int:
    """Return the bytes that `memory` stands for; None is six tenths of what is available.

    Examples
    --------
    >>> allowed_memory("2GiB")
    2147483648
    """
    return int(SHARE * available_memory()) if memory is None else parse_bytes(memory)
