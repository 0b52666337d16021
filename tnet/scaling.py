"""Arrays of any scale: norms that cannot overflow, and scaling by powers of two."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.errors import NonFiniteError
from contraction.svd_ladder import times_power
from tnet.network import Network

_CALM = 2.0**16  # arrays with a largest entry between 1/_CALM and _CALM are left as they are
_SMALLEST = 1e-140  # below this the square of a norm loses digits


def array_norm(x: Array) -> float:
    """Return the Frobenius norm of an array, accumulated in double precision, never overflowing.

    Raises
    ------
    NonFiniteError
        `x` holds NaN or infinity.

    Examples
    --------
    >>> import numpy as np
    >>> array_norm(np.array([2e200]))
    2e+200
    """
    wide = {"float32": "float64", "complex64": "complex128"}.get(arrays_.dtype_name(x))
    flat: Any = (arrays_.to(x, dtype=wide) if wide else x).reshape(-1)
    flat = flat.detach() if hasattr(flat, "detach") else flat
    xp = arrays_.namespace(flat)
    with np.errstate(over="ignore", invalid="ignore"):
        size = math.sqrt(_square(xp, flat))
    if _SMALLEST < size < math.inf:
        return size
    largest = float(xp.max(xp.abs(flat)))
    if not math.isfinite(largest):
        arrays_.require_finite(x)
    if largest == 0.0:
        return 0.0
    exponent = math.frexp(largest)[1]
    root = math.sqrt(_square(xp, times_power(flat, -exponent)))
    try:
        return math.ldexp(root, exponent)
    except OverflowError:
        raise NonFiniteError("the norm is beyond the range of a float64.") from None


def _square(xp: Any, flat: Any) -> float:
    if arrays_.is_complex(flat):
        return float(xp.real(xp.conj(flat) @ flat))
    return float(flat @ flat)


def detached(net: Network) -> Network:
    """Cut a torch network out of the graph of gradients: the result is a plain number."""
    held: Any = net.arrays
    if net.namespace != "torch" or not any(x.requires_grad for x in held.values()):
        return net
    return Network(net.structure, {node: x.detach() for node, x in held.items()}, net.center)


def scaled_to_one(net: Network) -> tuple[Network, int]:
    """Scale each array by a power of two to a norm of about one; return the sum of exponents."""
    total, scaled = 0, {}
    for node, x in net.arrays.items():
        size = _finite_norm(node, x)
        exponent = math.frexp(size)[1] if size else 0
        total += exponent
        scaled[node] = times_power(x, -exponent) if exponent else x
    return Network(net.structure, scaled), total


def _finite_norm(node: str, x: Array) -> float:
    try:
        return array_norm(x)
    except NonFiniteError:
        arrays_.require_finite(x, what=f"the array of node {node!r}")
        raise


def calmed(xp: Any, x: Any) -> tuple[Any, int]:
    """Return x / 2^e and e, with e = 0 for entries of ordinary size; None for a zero array."""
    largest = float(xp.max(xp.abs(x)))
    if largest == 0.0:
        return None, 0
    if 1.0 / _CALM < largest < _CALM or not math.isfinite(largest):
        return x, 0
    exponent = math.frexp(largest)[1]
    return times_power(x, -exponent), exponent
