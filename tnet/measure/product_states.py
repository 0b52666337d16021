"""Product states: networks of rank one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.errors import InputError, ShapeError, StructureError
from tnet._checks import is_whole
from tnet.network import Network
from tnet.scaling import array_norm
from tnet.structure import Structure
from tnet.trees import require_tree


def product_state(
    tree: Structure,
    vectors: Mapping[str, Any],
    *,
    like: Array | None = None,
    dtype: str | None = None,
) -> Network:
    """Return the product of one vector per mode, as a network of rank one.

    Parameters
    ----------
    tree
        The graph; its ranks do not matter, the result has ranks of one.
    vectors
        Mode -> its vector (of any norm but zero), or a whole number k for the k-th basis state.
    like
        The array beside which the result is made; NumPy on the host by default.
    dtype
        float32, float64, complex64 or complex128; by default that of `like`, or float64, and
        complex where a vector is.

    Returns
    -------
    Network
        Its centre is the first node, which carries the norm; the vectors of the other nodes are
        normalised.

    Raises
    ------
    StructureError
        The graph is no tree, or `vectors` does not name its modes.
    ShapeError
        A vector has not the size of its mode.
    InputError
        A vector is zero, an index is out of range, or the norm is beyond the range of the dtype.
    NonFiniteError
        A vector holds NaN or infinity.

    Examples
    --------
    >>> import tnet
    >>> state = product_state(tnet.tensor_train({"a": 2, "b": 2}), {"a": 0, "b": [0.6, 0.8]})
    >>> state.to_dense()
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    require_tree(tree)
    _check_names(tree, vectors)
    plain = {mode: _vector(mode, vectors[mode], tree.size[mode]) for mode in tree.modes}
    kind = _dtype(plain, like, dtype)
    structure = tree.resized(dict.fromkeys(tree.bonds, 1))
    arrays: dict[str, Any] = {}
    mantissa, power = 1.0, 0
    common = np.result_type(np.float32, *{x.dtype for x in plain.values()})
    for node, legs in structure.nodes:
        x = np.ones((), dtype=common)
        for leg in legs:
            x = np.multiply.outer(x, plain[leg] if leg in plain else np.ones(1))
        size = array_norm(x)
        arrays[node] = x / size if size != 1.0 else x
        mantissa, more = math.frexp(mantissa * size)
        power += more
    center = structure.node_names[0]
    arrays[center] = arrays[center] * _total(mantissa, power, kind)
    name = "numpy" if like is None else arrays_.namespace_name(like)
    place = None if like is None else arrays_.device(like)
    held = {n: arrays_.to(x, namespace=name, device=place, dtype=kind) for n, x in arrays.items()}
    return Network(structure, held, center)


def _check_names(tree: Structure, vectors: Mapping[str, Any]) -> None:
    if set(vectors) != set(tree.modes):
        missing = sorted(set(tree.modes) - set(vectors))[:6]
        extra = sorted(set(vectors) - set(tree.modes))[:6]
        raise StructureError(
            f"a product state needs one vector for each mode of the tree: missing are {missing}, "
            f"and {extra} are no modes."
        )


def _vector(mode: str, given: Any, size: int) -> np.ndarray[Any, np.dtype[Any]]:
    if isinstance(given, (int, np.integer)) and is_whole(given):
        if not 0 <= given < size:
            raise InputError(f"mode {mode!r} has the states 0 to {size - 1}, got {given}.")
        x = np.zeros(size)
        x[int(given)] = 1.0
        return x
    x = np.asarray(arrays_.to_numpy(given))
    if x.dtype.kind in "biu":
        x = x.astype(np.float64)
    x = arrays_.to_numpy(arrays_.as_array(x, what=f"the vector of mode {mode!r}"))
    if x.shape != (size,):
        raise ShapeError(f"mode {mode!r} needs a vector of {size} numbers, got shape {x.shape}.")
    arrays_.require_finite(x, what=f"the vector of mode {mode!r}")
    if not x.any():
        raise InputError(f"the vector of mode {mode!r} is zero, so the state would be zero.")
    return x


def _dtype(vectors: Mapping[str, Any], like: Array | None, dtype: str | None) -> str:
    if dtype is not None:
        return dtype
    wanted = "float64" if like is None else arrays_.dtype_name(like)
    if any(np.iscomplexobj(x) for x in vectors.values()) and not wanted.startswith("complex"):
        return {"float32": "complex64", "float64": "complex128"}[wanted]
    return wanted


def _total(mantissa: float, power: int, kind: str) -> float:
    if abs(power) > (120 if kind in ("float32", "complex64") else 1020):
        raise InputError(
            f"the norm of the product is about 2^{power}, beyond the range of {kind}; normalise "
            "the vectors first."
        )
    return math.ldexp(mantissa, power)
