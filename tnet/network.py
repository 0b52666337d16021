"""Network: a structure with its arrays. Frozen; unchanged arrays are shared between versions."""

from __future__ import annotations

import cmath
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

import contraction
from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.errors import DTypeError, InputError, ShapeError, StructureError
from tnet.certificate import Certificate, ErrorKind
from tnet.structure import Structure


@dataclass(frozen=True, eq=False)
class Network:
    """A tensor written as a network of smaller tensors.

    Parameters
    ----------
    structure
        The graph.
    arrays
        Node -> its array, axes in the order of `structure.legs[node]`. All arrays share one
        namespace, device and dtype; they are never written to.
    center
        The node that all others are isometric towards (the orthogonality centre), or None if
        that is not known.
    certificate
        How far this network is from what it was made from, if it is an approximation.

    Raises
    ------
    StructureError
        Nodes without an array, or arrays without a node.
    ShapeError
        An array whose shape disagrees with the structure.
    BackendError
        Mixed namespaces, devices or dtypes.

    Examples
    --------
    >>> s = Structure({"a": ("x", "r"), "b": ("r", "y")}, {"x": 4, "r": 2, "y": 5})
    >>> net = Network(s, {"a": np.ones((4, 2)), "b": np.ones((2, 5))})
    >>> contract(net).shape, net.num_params
    ((4, 5), 18)
    """

    structure: Structure
    arrays: Mapping[str, Array]
    center: str | None = None
    certificate: Certificate | None = None

    def __post_init__(self) -> None:
        structure, held = self.structure, dict(self.arrays)
        if set(held) != set(structure.legs):
            missing = sorted(set(structure.legs) - set(held))[:6]
            extra = sorted(set(held) - set(structure.legs))[:6]
            raise StructureError(
                f"every node needs one array: nodes without {missing}, arrays without {extra}."
            )
        if self.center is not None and self.center not in structure.legs:
            raise StructureError(f"the centre {self.center!r} is not a node of the network.")
        kind = arrays_.common(held.values())
        for node in structure.node_names:
            want = structure.node_shape(node)
            if tuple(held[node].shape) != want:
                raise ShapeError(
                    f"node {node!r} with legs {structure.legs[node]} needs shape {want}, "
                    f"got {tuple(held[node].shape)}."
                )
        if kind[2] not in arrays_.DTYPES:
            raise DTypeError(f"a network holds {', '.join(arrays_.DTYPES)}, got {kind[2]}.")
        ordered = {node: held[node] for node in structure.node_names}
        object.__setattr__(self, "arrays", MappingProxyType(ordered))

    def __reduce__(self) -> tuple[Any, ...]:
        return Network, (self.structure, dict(self.arrays), self.center, self.certificate)

    def __getitem__(self, node: str) -> Array:
        return self.arrays[node]

    @property
    def num_params(self) -> int:
        """Number of entries of all arrays together."""
        return self.structure.num_params

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the full tensor."""
        return self.structure.shape

    @property
    def ranks(self) -> Mapping[str, int]:
        """Bond -> its rank."""
        return self.structure.ranks

    @cached_property
    def _kind(self) -> tuple[str, str, str]:
        return arrays_.common([next(iter(self.arrays.values()))])

    @property
    def error(self) -> float | None:
        """Relative error against what it was made from; None if it approximates nothing."""
        return None if self.certificate is None else self.certificate.error

    @property
    def namespace(self) -> str:
        """Library of the arrays: "numpy", "torch" or "cupy"."""
        return self._kind[0]

    @property
    def device(self) -> str:
        """Device of the arrays: "cpu", "cuda:0", ..."""
        return self._kind[1]

    @property
    def dtype(self) -> str:
        """Dtype of the arrays, by name."""
        return self._kind[2]

    def replace(self, arrays: Mapping[str, Array], *, center: str | None = None) -> Network:
        """Return the network with some arrays exchanged; leg sizes follow the new shapes.

        The centre is dropped unless given, since any array may have been in it; so is the
        certificate.
        """
        sizes: dict[str, int] = {}
        for node, array in arrays.items():
            if node not in self.structure.legs:
                raise StructureError(f"there is no node {node!r} to replace.")
            legs = self.structure.legs[node]
            if len(array.shape) != len(legs):
                raise ShapeError(
                    f"node {node!r} has {len(legs)} legs {legs}, got shape {tuple(array.shape)}."
                )
            for leg, size in zip(legs, array.shape, strict=True):
                sizes[leg] = int(size)
        changed = {leg: n for leg, n in sizes.items() if n != self.structure.size[leg]}
        structure = self.structure.resized(changed) if changed else self.structure
        return Network(structure, {**self.arrays, **arrays}, center)

    def to(
        self,
        *,
        namespace: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ) -> Network:
        """Return the network in another namespace, on another device or in another dtype.

        In a dtype of lower precision the error of a certificate becomes an estimate without a
        bound: how the rounding of the nodes adds up depends on the gauge.
        """
        moved = {
            node: arrays_.to(x, namespace=namespace, device=device, dtype=dtype)
            for node, x in self.arrays.items()
        }
        certificate = self.certificate
        if certificate is not None and dtype and arrays_.eps(dtype) > arrays_.eps(self.dtype):
            error = certificate.error + len(moved) * arrays_.eps(dtype)
            certificate = dataclasses.replace(
                certificate, error=error, kind=ErrorKind.ESTIMATE, bound=math.inf
            )
        return Network(self.structure, moved, self.center, certificate)

    def conj(self) -> Network:
        """Return the complex conjugate."""
        if not self.dtype.startswith("complex"):
            return self
        xp = arrays_.namespace_by_name(self.namespace)
        conjugated = {node: xp.conj(x) for node, x in self.arrays.items()}
        return Network(self.structure, conjugated, self.center, self.certificate)

    def to_dense(self) -> Array:
        """Return the full tensor; the same as `tnet.contract(net)`."""
        return contract(self)

    def __mul__(self, factor: complex) -> Network:
        return scale(self, factor)

    def __rmul__(self, factor: complex) -> Network:
        return scale(self, factor)

    def __neg__(self) -> Network:
        return scale(self, -1.0)

    def __add__(self, other: Network) -> Network:
        if not isinstance(other, Network):
            return NotImplemented
        from tnet.algebra import add  # stands above this module

        return add(self, other)

    def __sub__(self, other: Network) -> Network:
        return NotImplemented if not isinstance(other, Network) else self + -other

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape)) or "scalar"
        return (
            f"Network({shape}, {len(self.arrays)} nodes, {self.num_params} params, "
            f"{self.namespace} {self.dtype}, center={self.center!r})"
        )


def scale(net: Network, factor: complex) -> Network:
    """Return `factor` times the network; one array is touched, the centre stays.

    A complex factor makes a real network complex.

    Raises
    ------
    DTypeError
        `factor` is no number.
    InputError
        `factor` is NaN or infinite.

    Examples
    --------
    >>> s = Structure({"a": ("x",)}, {"x": 2})
    >>> contract(2.0 * Network(s, {"a": np.ones(2)}))
    array([2., 2.])
    """
    if not isinstance(factor, (int, float, complex, np.number)):
        raise DTypeError(f"a network is scaled by a number, got {type(factor).__name__}.")
    number = complex(factor)
    if not cmath.isfinite(number):
        raise InputError(f"a network is scaled by a finite number, got {factor}.")
    if number.imag and not net.dtype.startswith("complex"):
        net = net.to(dtype={"float32": "complex64", "float64": "complex128"}[net.dtype])
    node = net.center or net.structure.node_names[0]
    scaled: Any = net[node] * (number if number.imag else number.real)
    return Network(net.structure, {**net.arrays, node: scaled}, net.center, net.certificate)


def contract(net: Network, modes: Sequence[str] | None = None, **options: Any) -> Array:
    """Sum over all bonds and return the full tensor.

    Parameters
    ----------
    net
        Any network.
    modes
        Open legs to keep, in the order of the result's axes; the other open legs are summed
        over. By default all, in the order of `net.structure.modes`.
    options
        Passed on to `contraction.plan` (objective, memory, ...).

    Raises
    ------
    MemoryBudgetError
        The plan does not fit the memory allowed.

    Examples
    --------
    >>> s = Structure({"a": ("x", "r"), "b": ("r", "y")}, {"x": 4, "r": 2, "y": 5})
    >>> net = Network(s, {"a": np.ones((4, 2)), "b": np.ones((2, 5))})
    >>> contract(net, ["y", "x"]).shape
    (5, 4)
    """
    spec = net.structure.spec(modes)
    dense: Array = contraction.plan(spec, **options).run(list(net.arrays.values()))
    return dense


def random_network(
    structure: Structure, *, rng: np.random.Generator, like: Array | None = None, dtype: str = ""
) -> Network:
    """Return a network with Gaussian entries, scaled so that the full tensor's are about one.

    A bond of rank r is given the factor r^(-1/2), shared out over the nodes that hold it.

    Examples
    --------
    >>> s = Structure({"a": ("x", "r"), "b": ("r", "y")}, {"x": 4, "r": 2, "y": 5})
    >>> random_network(s, rng=np.random.default_rng(0)).num_params
    18
    """
    held = {}
    for node in structure.node_names:
        scale_ = 1.0
        for leg in structure.legs[node]:
            if len(structure.holders[leg]) > 1:
                scale_ *= structure.size[leg] ** (-0.5 / len(structure.holders[leg]))
        drawn: Any = arrays_.random_normal(rng, structure.node_shape(node), like=like, dtype=dtype)
        held[node] = drawn * scale_
    return Network(structure, held)
