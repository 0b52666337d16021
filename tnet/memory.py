"""How much memory one call may take."""

from __future__ import annotations

from contraction.memory import available_memory as available_memory
from contraction.memory import free_memory, memory_limit

SHARE = 0.6  # of what is available, where nothing else is said


def allowed_memory(
    memory: int | float | str | None, *, library: str = "numpy", device: str = "cpu"
) -> int:
    """Return the bytes that `memory` stands for; None is six tenths of what is available.

    Parameters
    ----------
    memory
        Bytes, as a number or text; or a share of what is available, as "80%" or 0.8.
    library, device
        Of the arrays, whose memory is meant.

    Examples
    --------
    >>> allowed_memory("2GiB")
    2147483648
    """
    if memory is None:
        return int(SHARE * free_memory(library, device))
    limit = memory_limit(memory, library=library, device=device)
    assert limit is not None  # as `memory` is given
    return limit
