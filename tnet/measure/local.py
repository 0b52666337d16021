"""Local operators: their matrices, and their expectation values on every site in one sweep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.errors import StructureError
from tnet._axes import all_but_axis, unfold
from tnet.measure.canonical import (
    Centred,
    Values,
    as_complex,
    centred,
    conjugate,
    dressed_cores,
    require_numbers,
)
from tnet.network import Network
from tnet.operators.local_matrices import Matrix, as_matrix, is_sparse
from tnet.structure import Structure

LocalOperators: TypeAlias = "Any | Mapping[str, Any]"  # one for all sites, or site -> its own


def local_values(state: Network, op: LocalOperators, sites: Sequence[str] | None = None) -> Values:
    """Return the expectation value of a local operator on every site, in one sweep.

    Parameters
    ----------
    state
        A network on any tree, of any norm but zero: the values are <state|op|state> over
        <state|state>.
    op
        A name (see `local_operator`), a matrix (n, n), dense or scipy.sparse, or a mapping from
        site to its operator.
    sites
        The modes to measure; by default those that a mapping names, or else all, in the order of
        ``state.structure.modes``.

    Returns
    -------
    ndarray
        (sites,) on the host: float64 where all operators are Hermitian, or they and the state
        are real; complex128 otherwise.

    Raises
    ------
    StructureError
        The state is no tree, or has no such mode.
    InputError
        The state is zero, or there is no operator of that name.
    NonFiniteError
        A value came out as NaN or infinity.

    Notes
    -----
    One way down from the orthogonality centre: for a tensor train of rank r and mode size n,
    4 n r^3 flops per node (8 times that for complex numbers); without a known centre a QR per
    node comes before.

    Examples
    --------
    >>> import tnet
    >>> state = tnet.product_state(tnet.balanced_tree((2, 2, 2)), {"x0": 0, "x1": 1, "x2": [1, 1]})
    >>> local_values(state, "z").round(12) + 0.0
    array([ 1., -1.,  0.])
    """
    held = centred(state)
    matrices = site_matrices(held.net.structure, op, sites)
    held, real = common_field(held, matrices.values())
    structure = held.net.structure
    nodes: dict[str, list[str]] = {}
    for mode in matrices:
        nodes.setdefault(structure.holders[mode][0], []).append(mode)
    found: dict[str, Any] = {}
    for node, dressed, _ in dressed_cores(held, nodes):
        bra = conjugate(held.net[node], held.xp)
        for mode in nodes[node]:
            axis = structure.legs[node].index(mode)
            found[mode] = local_mean(matrices[mode], dressed, bra, axis, held)
    values = on_host([found[mode] for mode in matrices], held)
    return require_numbers(values.real if real else values, "the local values")


def site_matrices(
    structure: Structure, op: LocalOperators, sites: Sequence[str] | None
) -> dict[str, Matrix]:
    """Return mode -> its local matrix on the host, checked.

    Examples
    --------
    >>> import tnet
    >>> sorted(site_matrices(tnet.tensor_train((2, 2)), "z", None))
    ['x0', 'x1']
    """
    named = isinstance(op, Mapping)
    if sites is None:
        sites = list(op) if named else structure.modes
    sites = [sites] if isinstance(sites, str) else list(sites)
    modes = set(structure.modes)
    for mode in sites:
        if mode not in modes:
            raise StructureError(
                f"{mode!r} is no mode of the state; its modes are {list(structure.modes[:12])}."
            )
        if named and mode not in op:
            raise StructureError(f"site {mode!r} is to be measured, but has no operator.")
    if len(set(sites)) != len(sites):
        raise StructureError("a site is named twice; name each once.")
    return {
        mode: as_matrix(
            op[mode] if named else op, structure.size[mode], f"the operator on {mode!r}"
        )
        for mode in sites
    }


def common_field(state: Centred, matrices: Iterable[Matrix]) -> tuple[Centred, bool]:
    """Return the state, complex if an operator is, and whether all expectation values are real."""
    given = list({id(x): x for x in matrices}.values())
    complex_op = any(x.dtype.kind == "c" for x in given)
    complex_state = state.net.dtype.startswith("complex")
    real = not (complex_op or complex_state) or all(map(is_hermitian, given))
    return (as_complex(state) if complex_op else state), real


def is_hermitian(matrix: Matrix) -> bool:
    """Tell whether a matrix equals its adjoint, entry by entry.

    Examples
    --------
    >>> is_hermitian(np.array([[0.0, 1j], [-1j, 0.0]])), is_hermitian(np.array([[0.0, 1], [0, 0]]))
    (True, False)
    """
    if is_sparse(matrix):
        return not (matrix - matrix.conj().T).data.any()
    return bool(np.array_equal(matrix, matrix.conj().T))


def beside(matrix: Matrix, net: Network) -> Array:
    """Return a dense matrix of the host beside the arrays of a network, in their dtype."""
    return arrays_.to(
        np.ascontiguousarray(matrix), namespace=net.namespace, device=net.device, dtype=net.dtype
    )


def local_mean(matrix: Matrix, ket: Array, bra: Array, axis: int, state: Centred) -> Any:
    """Return the sum of bra times the matrix on one axis of ket.

    Through the density of the mode for a dense matrix; a sparse one may be so large that it is
    put on the ket.
    """
    if is_sparse(matrix):
        lower, upper = (arrays_.to_numpy(unfold(x, axis, state.xp)).T for x in (ket, bra))
        return state.xp.asarray(np.sum(upper * (matrix @ lower)), device=arrays_.device(ket))
    turned: Any = beside(matrix.T, state.net)
    return state.xp.sum(turned * all_but_axis(ket, bra, axis, state.xp))


def on_host(values: Sequence[Any], state: Centred) -> Values:
    """Return scalars of the state's library as one array of the host, in double precision."""
    wide = "complex128" if state.net.dtype.startswith("complex") else "float64"
    if not values:
        return np.zeros(0, dtype=wide)
    stacked = state.xp.stack([state.xp.reshape(x, ()) for x in values])
    return arrays_.to_numpy(stacked).astype(wide)
