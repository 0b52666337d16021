"""Where the ticks of an axis stand, and what is written at them."""

from __future__ import annotations

import math
from enum import Enum


class Scale(Enum):
    """How numbers become places on an axis."""

    LINEAR = "linear"
    LOG = "log"


def ticks(low: float, high: float, scale: Scale) -> list[tuple[float, str]]:
    """Return places and texts of the ticks of an axis.

    Examples
    --------
    >>> ticks(0.0, 10.0, Scale.LINEAR)
    [(0.0, '0'), (2.0, '2'), (4.0, '4'), (6.0, '6'), (8.0, '8'), (10.0, '10')]
    """
    decades = math.log10(high / low) if scale is Scale.LOG else 0.0
    if decades > 0.6:  # over less than that, a logarithm is nearly a straight line
        steps = (1,) if decades > 3.5 else (1, 2, 5) if decades > 1.3 else (1, 2, 3, 5, 7)
        every = max(1, math.ceil(decades / 8))
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found = [m * 10.0**p for p in powers if p % every == 0 for m in steps]
        return [(v, number_text(v)) for v in found if low <= v <= high]
    raw = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [(k * step + 0.0, number_text(k * step + 0.0)) for k in range(first, first + count)]


def number_text(value: float) -> str:
    """Return the text of a tick.

    Examples
    --------
    >>> number_text(1500.0), number_text(2e-6)
    ('1,500', '2·10⁻⁶')
    """
    if value == 0.0:
        return "0"
    if 1e-3 <= abs(value) < 1e6:
        text = f"{value:,.6g}" if abs(value) < 1e3 else f"{value:,.0f}"
        return text
    mantissa, _, power = f"{value:.1e}".partition("e")
    digits = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    front = "" if mantissa == "1.0" else f"{mantissa.removesuffix('.0')}·"
    return f"{front}10{digits}"
