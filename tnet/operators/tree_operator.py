"""TreeOperator: an operator on a tree, as one small sparse core per node."""

from __future__ import annotations

import cmath
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from contraction.errors import DTypeError, NonFiniteError
from tnet.formats import operator_structure
from tnet.network import Network
from tnet.operators.local_matrices import Matrix, is_sparse
from tnet.structure import Structure


class SparseCore(NamedTuple):
    """The nonzero entries of one node's core.

    Attributes
    ----------
    channels
        (entries, legs) integers, the legs in the order of ``structure.legs[node]``: for a bond
        the channel, for a mode the index of the local matrix in ``locals[mode]``.
    weights
        (entries,) float64 or complex128.
    """

    channels: Any
    weights: Any


@dataclass(frozen=True, eq=False)
class TreeOperator:
    """An operator on the states of a tree: a network whose cores are sparse.

    The operator is the contraction of all cores over the channels of the bonds, each index of a
    mode standing for its local matrix. Make one with `tnet.operator`; `to_network` gives dense
    cores for everything that takes a `Network`.

    Attributes
    ----------
    structure
        The graph of the states it acts on; the ranks of the states do not matter.
    locals
        Mode -> its distinct local matrices (n, n); index 0 is exactly the identity. NumPy arrays
        or scipy.sparse CSR.
    cores
        Node -> its entries.
    error
        Bound on the relative error of the compiler; 0 where it is exact.

    Examples
    --------
    >>> import tnet
    >>> chain = tnet.tensor_train({"a": 2, "b": 2})
    >>> h = tnet.operator(chain, [(1.0, {"a": "z", "b": "z"}), (0.5, {"a": "x"})])
    >>> h.ranks
    {'g0-g1': 2}
    """

    structure: Structure
    locals: Mapping[str, tuple[Matrix, ...]]
    cores: Mapping[str, SparseCore]
    error: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "locals", MappingProxyType(dict(self.locals)))
        object.__setattr__(self, "cores", MappingProxyType(dict(self.cores)))

    def __reduce__(self) -> tuple[Any, ...]:
        held = (self.structure, dict(self.locals), dict(self.cores), self.error)
        return TreeOperator, held

    @cached_property
    def ranks(self) -> dict[str, int]:
        """Bond -> number of channels."""
        found = dict.fromkeys(self.structure.bonds, 1)
        for node, legs in self.structure.nodes:
            channels = self.cores[node].channels
            for k, leg in enumerate(legs):
                if leg in found and len(channels):
                    found[leg] = max(found[leg], int(channels[:, k].max()) + 1)
        return found

    @cached_property
    def dtype(self) -> str:
        """float64, or complex128 if any weight or local matrix is complex."""
        held = [core.weights for core in self.cores.values()]
        held += [matrix for row in self.locals.values() for matrix in row]
        return "complex128" if any(x.dtype.kind == "c" for x in held) else "float64"

    @cached_property
    def dense_structure(self) -> Structure:
        """The structure of `to_network`: the graph with a twin for every mode, and the ranks."""
        return operator_structure(self.structure, self.ranks)

    @property
    def num_entries(self) -> int:
        """Number of entries of all cores together."""
        return sum(len(core.weights) for core in self.cores.values())

    def __rmul__(self, factor: complex) -> TreeOperator:
        from tnet.operators.arithmetic import scaled  # stands above this module

        return scaled(self, factor)

    def __mul__(self, factor: complex) -> TreeOperator:
        return self.__rmul__(factor)

    def __neg__(self) -> TreeOperator:
        return self.__rmul__(-1.0)

    def __add__(self, other: TreeOperator) -> TreeOperator:
        if not isinstance(other, TreeOperator):
            return NotImplemented
        from tnet.operators.arithmetic import summed

        return summed(self, other)

    def __sub__(self, other: TreeOperator) -> TreeOperator:
        return NotImplemented if not isinstance(other, TreeOperator) else self + -other

    @cached_property
    def hermitian_factor(self) -> complex | None:
        """Number c of modulus one if this is c times a Hermitian operator, else None.

        Asked of random product states, once: right with probability one, up to rounding.
        """
        from tnet.operators.probing import hermitian_factor

        return hermitian_factor(self)

    @property
    def hermitian(self) -> bool:
        """Whether the operator is Hermitian."""
        return self.hermitian_factor == 1

    def adjoint(self) -> TreeOperator:
        """Return the adjoint (conjugate transpose)."""
        from tnet.operators.arithmetic import adjoint_of

        return adjoint_of(self)

    def to_network(self) -> Network:
        """Return the operator as a network of dense cores.

        Legs as in `tnet.operator_structure`: beside every mode ``m`` (read) its twin ``m'``
        (written). Memory: for a node of q bonds w^q n^2 numbers for rank w and mode size n.
        """
        kind = np.dtype(self.dtype)
        arrays = {node: self._dense(node, kind) for node in self.structure.node_names}
        return Network(self.dense_structure, arrays)

    @classmethod
    def from_network(cls, net: Network) -> TreeOperator:
        """Return the operator with the cores of a network whose legs are as in `to_network`.

        Proportional slices share one local matrix; slices that are multiples of the identity are
        recognised, exactly equal numbers only. Nodes with several modes are expanded in matrices
        of one entry. Arrays of any library are copied to the host.

        Raises
        ------
        StructureError
            A mode without its twin, or of another size.
        """
        from tnet.operators.dense_cores import from_dense_cores

        return from_dense_cores(net)

    def _dense(self, node: str, kind: np.dtype[Any]) -> Any:
        """Return one dense core: scatter the entries, then put in the matrices mode by mode."""
        legs = self.structure.legs[node]
        core = self.cores[node]
        sizes = [self.ranks.get(leg) or len(self.locals[leg]) for leg in legs]
        dense = np.zeros(sizes, dtype=kind)
        if len(core.weights):
            np.add.at(dense, tuple(core.channels.T), core.weights)
        axis = 0
        for leg in legs:
            if leg in self.ranks:
                axis += 1
                continue
            stack = np.stack([x.toarray() if is_sparse(x) else x for x in self.locals[leg]]).astype(
                kind
            )
            opened = np.tensordot(dense, stack, axes=(axis, 0))  # the two new axes come last
            dense = np.moveaxis(opened, (-2, -1), (axis, axis + 1))
            axis += 2
        return np.ascontiguousarray(dense)

    def __repr__(self) -> str:
        widest = max(self.ranks.values(), default=1)
        return (
            f"TreeOperator({len(self.cores)} nodes, {len(self.locals)} modes, "
            f"{self.num_entries} entries, ranks up to {widest}, {self.dtype}, error={self.error:g})"
        )


def checked_number(factor: Any, what: str) -> complex:
    """Return a finite number as complex, or raise naming `what`."""
    if isinstance(factor, bool) or not isinstance(factor, (int, float, complex, np.number)):
        raise DTypeError(f"{what} must be a number, got {type(factor).__name__}.")
    number = complex(factor)
    if not cmath.isfinite(number):
        raise NonFiniteError(f"{what} must be finite, got {factor}.")
    return number
