"""Arrays by type: which library an array belongs to, and the few doors between libraries.

The namespace (numpy, torch or cupy, wrapped by array-api-compat) is read off the *type* of an
array, never off global state; dtype and device come from the arrays themselves. Importing this
module imports neither torch nor cupy: a namespace is loaded when the first array of it is seen.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from contraction.errors import (
    BackendError,
    DeviceError,
    DTypeError,
    NonFiniteError,
    ShapeError,
)

Namespace: TypeAlias = Any  # a module that follows the array API standard
NAMESPACES = ("numpy", "torch", "cupy")
DTYPES = ("float32", "float64", "complex64", "complex128")


@runtime_checkable
class Array(Protocol):
    """What the library asks of an array: shape, dtype, indexing, arithmetic."""

    @property
    def shape(self) -> Any: ...
    @property
    def ndim(self) -> Any: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, key: Any, /) -> Any: ...
    def __add__(self, other: Any, /) -> Array: ...
    def __sub__(self, other: Any, /) -> Array: ...
    def __mul__(self, other: Any, /) -> Array: ...
    def __rmul__(self, other: Any, /) -> Array: ...
    def __truediv__(self, other: Any, /) -> Array: ...
    def __matmul__(self, other: Any, /) -> Array: ...
    def __neg__(self) -> Array: ...
    def reshape(self, *args: Any, **kwargs: Any) -> Array: ...
    def __radd__(self, other: Any, /) -> Array: ...
    def __rsub__(self, other: Any, /) -> Array: ...
    def __pow__(self, other: Any, /) -> Array: ...


def _kind(x: Any) -> Any:
    return type(x)  # as Any: mypy does not take a type object for a hashable one


@lru_cache(maxsize=64)
def _name_of_type(kind: Any) -> str:
    for base in kind.__mro__:
        root = base.__module__.partition(".")[0]
        if root in NAMESPACES:
            return str(root)
    raise BackendError(
        f"arrays of type {kind.__module__}.{kind.__qualname__} are not supported; "
        f"pass a NumPy, PyTorch or CuPy array (np.asarray(x) converts most things)."
    )


@lru_cache(maxsize=8)
def namespace_by_name(name: str) -> Namespace:
    """Return the array-API namespace called `name`: "numpy", "torch" or "cupy".

    Raises
    ------
    BackendError
        `name` is none of the three.
    DeviceError
        The library is not installed.

    Examples
    --------
    >>> namespace_by_name("numpy").ones(2)
    array([1., 1.])
    """
    if name not in NAMESPACES:
        raise BackendError(f"namespace must be one of {', '.join(NAMESPACES)}, got {name!r}.")
    try:
        return importlib.import_module(f"array_api_compat.{name}")
    except ImportError as error:
        extra = {"torch": "torch", "cupy": "gpu"}.get(name, "all")
        raise DeviceError(
            f"{name} is not installed ({error}); `pip install 'tnet[{extra}]'` brings it."
        ) from error


def namespace_name(x: Array) -> str:
    """Return "numpy", "torch" or "cupy", by the type of `x`.

    Examples
    --------
    >>> namespace_name(np.zeros(3))
    'numpy'
    """
    return _name_of_type(_kind(x))


def namespace(*arrays: Array) -> Namespace:
    """Return the one namespace of all `arrays`.

    Raises
    ------
    BackendError
        The arrays belong to more than one library.

    Examples
    --------
    >>> namespace(np.zeros(2), np.ones(3)).__name__
    'array_api_compat.numpy'
    """
    if len(arrays) == 1:
        return namespace_by_name(_name_of_type(type(arrays[0])))
    names = list(dict.fromkeys(_name_of_type(_kind(x)) for x in arrays))
    if len(names) != 1:
        raise BackendError(
            f"arrays of {' and '.join(names) or 'no library'} cannot be mixed; "
            "move all of them to one namespace first (Network.to, contraction.to)."
        )
    return namespace_by_name(names[0])


def device(x: Array) -> str:
    """Return the device of `x` as text: "cpu", "cuda:0", ...

    Examples
    --------
    >>> device(np.zeros(2))
    'cpu'
    """
    name = namespace_name(x)
    if name == "numpy":
        return "cpu"
    found: Any = x.device  # type: ignore[attr-defined]
    return f"cuda:{found.id}" if name == "cupy" else str(found)


def on_gpu(x: Array) -> bool:
    """Tell whether `x` is in the memory of a device, which the host has to wait for.

    Examples
    --------
    >>> on_gpu(np.zeros(2))
    False
    """
    return namespace_name(x) != "numpy" and device(x) != "cpu"


def dtype_name(x: Array) -> str:
    """Return the dtype of `x` as text, the same in every namespace.

    Examples
    --------
    >>> dtype_name(np.zeros(2, np.float32))
    'float32'
    """
    return _text_of_dtype(x.dtype)


@lru_cache(maxsize=64)
def _text_of_dtype(dtype: Any) -> str:
    return str(dtype).rpartition(".")[2]


@lru_cache(maxsize=64)
def _eps_of_name(name: str) -> float:
    return float(np.finfo(np.dtype(name)).eps)


def is_complex(x: Array) -> bool:
    """Tell whether `x` is complex."""
    return dtype_name(x).startswith("complex")


def eps(x: Array | str) -> float:
    """Return the machine epsilon of the dtype of `x` (or of a dtype's name).

    Examples
    --------
    >>> eps("float32") == float(np.finfo(np.float32).eps)
    True
    """
    return _eps_of_name(x if isinstance(x, str) else dtype_name(x))


def dtype_in(xp: Namespace, name: str) -> Any:
    """Return the dtype object called `name` in the namespace `xp`."""
    return getattr(xp, name)


def to_numpy(x: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """Return `x` as a NumPy array on the host; a view where that is possible."""
    name = _name_of_type(_kind(x)) if not isinstance(x, (list, tuple, int, float, complex)) else ""
    if name == "torch":
        return np.asarray(x.detach().resolve_conj().resolve_neg().cpu().numpy())
    if name == "cupy":
        return np.asarray(x.get())
    return np.asarray(x)


def to(
    x: Array,
    *,
    namespace: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
) -> Array:
    """Move one array to another namespace, device or dtype; what is not named stays.

    Complex to real is refused: it would drop the imaginary part.

    Examples
    --------
    >>> to(np.ones(2), dtype="float32").dtype
    dtype('float32')
    """
    name = namespace or namespace_name(x)
    wanted = dtype or dtype_name(x)
    if is_complex(x) and not wanted.startswith("complex"):
        raise DTypeError(f"casting {dtype_name(x)} to {wanted} would drop the imaginary part.")
    xp = namespace_by_name(name)
    kind = dtype_in(xp, wanted)
    if name == namespace_name(x):
        moved: Any = xp.astype(x, kind, copy=False)
        return moved if device is None else _on_device(moved, name, device)
    host = to_numpy(x)
    if name == "numpy":
        return np.asarray(host, dtype=wanted)
    require_device(name, device)
    if name == "torch":
        # torch refuses read-only and negative-stride memory
        safe = np.require(host, requirements=["C", "W"])
        tensor: Array = xp.asarray(safe, dtype=kind, device=device or "cpu")
        return tensor
    return _on_device(xp.asarray(host, dtype=kind), name, device or "cuda:0")


def _on_device(x: Any, name: str, device: str) -> Array:
    require_device(name, device)
    moved: Array = x
    if name == "numpy":
        return moved
    if name == "torch":
        moved = x.to(device)
        return moved
    cupy = importlib.import_module("cupy")  # the wrapper promises no more than the standard
    with cupy.cuda.Device(int(device.partition(":")[2] or 0)):
        moved = cupy.asarray(x)
    return moved


def require_device(name: str, device: str | None) -> None:
    """Raise `DeviceError` unless the library `name` can put an array on `device`."""
    if device is None or device == "cpu":
        if name == "cupy" and device == "cpu":
            raise DeviceError("CuPy arrays live on a GPU; use namespace='numpy' for the host.")
        return
    if name == "numpy":
        raise DeviceError(f"NumPy arrays live on the cpu, not on {device!r}.")
    if device.startswith("cuda") and not gpu_available(name):
        raise DeviceError(f"{name} sees no CUDA device, so {device!r} cannot be used.")


@lru_cache(maxsize=4)
def gpu_available(name: str = "cupy") -> bool:
    """Tell whether the library `name` can use a CUDA device; probed once, never raises."""
    try:
        module = importlib.import_module(name)
        return bool(module.cuda.is_available())
    except Exception:  # a broken driver raises anything, and that means no
        return False


def as_array(x: Any, *, what: str = "the array") -> Array:
    """Return `x` as a float or complex array of its own library, refusing what cannot be one.

    Lists and tuples become NumPy arrays. Integers and booleans are promoted to float64 with a
    `UserWarning`; float16 and bfloat16 to float32. The input is never modified.

    Raises
    ------
    DTypeError
        Objects, text, dates, structured and long-double data, or a masked array.
    ShapeError
        A list of lists of different lengths.
    BackendError
        The library is not known.

    Examples
    --------
    >>> as_array([[1.0, 2.0]]).shape
    (1, 2)
    """
    if isinstance(x, np.ma.MaskedArray):
        raise DTypeError(
            f"{what} is a masked array; fill it with NaN (x.filled(np.nan)) for missing entries."
        )
    if isinstance(x, (list, tuple, int, float, complex)):
        try:
            x = np.asarray(x)
        except ValueError as error:
            raise ShapeError(f"{what} is a list of no one shape: {error}.") from error
    if type(x).__module__.partition(".")[0] == "xarray":
        x = x.values
    name, kind = _name_of_type(_kind(x)), dtype_name(x)
    xp = namespace_by_name(name)
    if name == "numpy":
        if not x.dtype.isnative:
            x = x.astype(x.dtype.newbyteorder("="))
            kind = dtype_name(x)
        if isinstance(x, np.generic):
            x = np.asarray(x)
    if kind in DTYPES:
        return x  # type: ignore[no-any-return]
    if kind in ("float16", "bfloat16"):
        return xp.astype(x, dtype_in(xp, "float32"))  # type: ignore[no-any-return]
    if kind.startswith(("int", "uint", "bool")):
        warnings.warn(f"{what} holds {kind}; computing in float64.", UserWarning, stacklevel=3)
        return xp.astype(x, dtype_in(xp, "float64"))  # type: ignore[no-any-return]
    raise DTypeError(f"{what} holds {kind}; expected one of {', '.join(DTYPES)} or integers.")


def require_finite(x: Array, *, what: str = "the array") -> None:
    """Raise `NonFiniteError` with the count and the first place if `x` holds NaN or infinity.

    Cost: one pass; the bulk test is a single sum, which is finite iff (almost always) all
    entries are, and an exact pass follows only when it is not.
    """
    xp = namespace(x)
    with np.errstate(over="ignore", invalid="ignore"):
        total = complex(xp.sum(x))
    if np.isfinite(total.real) and np.isfinite(total.imag):
        return
    bad = ~xp.isfinite(x)
    count = int(xp.sum(xp.astype(bad, xp.int64)))
    if count == 0:
        return  # the sum overflowed, the entries did not
    flat = to_numpy(bad).reshape(-1)
    first = tuple(int(i) for i in np.unravel_index(int(flat.argmax()), tuple(x.shape)))
    raise NonFiniteError(
        f"{what} has {count} NaN or infinite entr{'y' if count == 1 else 'ies'}, "
        f"the first at index {first}; every entry must be finite. Remove them, or pass the "
        "missing ones as a mask to tnet.fit (the shell: --missing mask)."
    )


def random_normal(
    rng: np.random.Generator, shape: Sequence[int], *, like: Array | None = None, dtype: str = ""
) -> Array:
    """Draw standard normal entries on the host and move them beside `like`.

    Every namespace gets the same bits for the same `rng`. Complex entries have unit variance.

    Examples
    --------
    >>> random_normal(np.random.default_rng(0), (2, 3)).shape
    (2, 3)
    """
    kind = dtype or (dtype_name(like) if like is not None else "float64")
    drawn = rng.standard_normal(tuple(shape))
    if kind.startswith("complex"):
        drawn = (drawn + 1j * rng.standard_normal(tuple(shape))) / np.sqrt(2.0)
    if like is None:
        return drawn.astype(kind)
    return to(drawn, namespace=namespace_name(like), device=device(like), dtype=kind)


def common(arrays: Iterable[Array]) -> tuple[str, str, str]:
    """Return (namespace, device, dtype) shared by all `arrays`; raise `BackendError` if not one."""
    seen = dict.fromkeys((namespace_name(x), device(x), dtype_name(x)) for x in arrays)
    if len(seen) != 1:
        listed = "; ".join("/".join(triple) for triple in seen)
        raise BackendError(
            f"the arrays of one network share namespace, device and dtype, got {listed}; "
            "convert them first with contraction.to(x, namespace=, device=, dtype=)."
        )
    return next(iter(seen))
