"""How much memory there is, and how much of it one call may take."""

from __future__ import annotations

import os

from contraction.units import parse_bytes

SHARE = 0.6  # of what is available, where nothing else is said


def available_memory() -> int:
    """Return the bytes of memory that can be allocated now, as far as the system says."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError, AttributeError):
        return 4 * 1024**3


def allowed_memory(memory: int | float | str | None) -> int:
    """Return the bytes that `memory` stands for; None is six tenths of what is available.

    Examples
    --------
    >>> allowed_memory("2GiB")
    2147483648
    """
    return int(SHARE * available_memory()) if memory is None else parse_bytes(memory)
