"""PyTorch's LAPACK lent to NumPy: tall matrices, where it was measured to be faster here.

The rule, for a matrix of at least twice as many rows as columns in memory of the host (or as many
columns as rows, for the SVD):

- the profile of this machine (`tnet calibrate`) says for this dtype that PyTorch is faster by
  `MARGIN`; without a profile, or without PyTorch, nothing is lent;
- 2 m n^2 flops reach `WORTH`, below which converting costs as much as is gained;
- PyTorch is imported already, or the flops reach `WORTH_IMPORTING`: the import takes a second
  or two, and the factorisation then gains as much by itself.

Whose LAPACK it is changes results by rounding only. PyTorch uses as many threads as it is set
to.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from contraction.arrays import DTYPES, Array, dtype_name, namespace_name

MARGIN = 1.2  # times as fast, at least
WORTH = 2.0**24
WORTH_IMPORTING = 2e10


def lends_qr(x: Array) -> bool:
    """Tell whether the QR factorisation of `x` is PyTorch's; see the rule of this module.

    Examples
    --------
    >>> lends_qr(np.ones((4, 2)))
    False
    """
    if len(x.shape) != 2 or x.shape[0] < 2 * x.shape[1]:
        return False
    return _lends(x, _flops(*x.shape), _qr_ratio)


def lends_svd(x: Array) -> bool:
    """Tell whether the singular value decomposition of `x` is PyTorch's, tall or wide.

    Examples
    --------
    >>> lends_svd(np.ones((2, 4)))
    False
    """
    long, short = max(x.shape), min(x.shape)
    return long >= 2 * short and _lends(x, _flops(long, short), _svd_ratio)


def prepare(x: Array, rows: int, columns: int) -> None:
    """Import PyTorch if a tall matrix of this shape is to be factorised by it in blocks.

    Parameters
    ----------
    x
        An array of the library, device and dtype of the blocks.
    rows, columns
        Of the matrix that they make up.
    """
    if rows >= 2 * columns and _lends(x, _flops(rows, columns), _qr_ratio):
        importlib.import_module("torch")


def _flops(long: int, short: int) -> float:
    return 2.0 * long * short * short


def _lends(x: Array, flops: float, ratio: Callable[[Any], float]) -> bool:
    if flops < WORTH or namespace_name(x) != "numpy" or dtype_name(x) not in DTYPES:
        return False
    if not is_loaded() and (flops < WORTH_IMPORTING or not is_installed()):
        return False
    # large matrices alone ask for a profile, which is read from a file
    from contraction.machine import measured_tall_qr

    found = measured_tall_qr(dtype_name(x))
    return found is not None and ratio(found) >= MARGIN


def _qr_ratio(found: Any) -> float:
    return float(found.qr_ratio)


def _svd_ratio(found: Any) -> float:
    return float(found.svd_ratio)


def is_loaded() -> bool:
    """Tell whether PyTorch has been imported."""
    return "torch" in sys.modules


@lru_cache(maxsize=1)
def is_installed() -> bool:
    """Tell whether PyTorch could be imported, without doing so."""
    return importlib.util.find_spec("torch") is not None


def qr(x: Array) -> tuple[Array, Array]:
    """Return the reduced QR factorisation of a NumPy matrix, as the driver signs it.

    Examples
    --------
    >>> Q, R = qr(np.ones((4, 1)))
    >>> np.allclose(Q @ R, 1.0)
    True
    """
    import torch

    Q, R = torch.linalg.qr(shared(x))
    return _rows_in_order(Q), _rows_in_order(R)


def triangle(x: Array) -> Array:
    """Return the R factor of a NumPy matrix alone, half the work of `qr`.

    Examples
    --------
    >>> abs(triangle(np.ones((4, 1)))).tolist()
    [[2.0]]
    """
    import torch

    R: Array = _rows_in_order(torch.linalg.qr(shared(x), mode="r")[1])
    return R


def svd(x: Array) -> tuple[Array, Array, Array]:
    """Return the thin singular value decomposition of a NumPy matrix.

    Examples
    --------
    >>> svd(np.ones((4, 1)))[1].tolist()
    [2.0]
    """
    import torch

    U, s, Vh = torch.linalg.svd(shared(x), full_matrices=False)
    return _rows_in_order(U), _rows_in_order(s), _rows_in_order(Vh)


def shared(x: Any) -> Any:
    """Return a NumPy array as a tensor of the same memory, or of a copy that torch can read.

    It refuses negative strides and those that are no whole number of entries, and warns of
    memory that may not be written to.

    Examples
    --------
    >>> x = np.zeros(2)
    >>> shared(x)[0] = 1.0
    >>> x.tolist()
    [1.0, 0.0]
    """
    import torch

    strange = any(step < 0 or step % x.itemsize for step in x.strides)
    return torch.from_numpy(np.array(x) if strange or not x.flags.writeable else np.asarray(x))


def _rows_in_order(x: Any) -> Any:
    """Return a tensor as a NumPy array in C order, as NumPy's own drivers give it."""
    return np.ascontiguousarray(x.numpy())
