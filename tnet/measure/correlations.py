"""All two-site correlations of a state in one sweep.

Below every bond each site has one matrix (bra, ket): its operator between the basis states of
the subtree. A node carries those of its subtrees up, all of one subtree in one product, and pairs
every two subtrees: the operators of the smaller one are put on its array and closed over all but
the other's bond, and one matrix product gives the correlations with all operators there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from contraction import arrays as arrays_
from contraction.errors import InputError
from tnet.measure.canonical import (
    Centred,
    Values,
    centred,
    conjugate,
    dressed_cores,
    require_numbers,
)
from tnet.measure.local import (
    LocalOperators,
    beside,
    common_field,
    is_hermitian,
    local_mean,
    site_matrices,
)
from tnet.network import Network
from tnet.operators.assembling import centre
from tnet.operators.local_matrices import FERMION, Matrix, is_sparse

CHUNK_ENTRIES = 1 << 22  # numbers that the matrices carried at once may take


class _Source(NamedTuple):
    """The sites that come into a node by one leg; `right` is None if `left` says it all."""

    axis: int
    sites: tuple[int, ...]
    left: Any  # (sites, bra, ket), or one scipy.sparse matrix
    right: Any


def correlation_matrix(
    state: Network, left: LocalOperators, right: LocalOperators, sites: Sequence[str] | None = None
) -> Values:
    """Return <left_i right_j> for all pairs of sites, in one sweep.

    Parameters
    ----------
    state
        A network on any tree, of any norm but zero; values are divided by <state|state>.
    left, right
        Local operators: a name (see `local_operator`), a matrix, or a mapping from site to its
        operator. Fermionic names are refused: their strings are no product of two sites.
    sites
        The modes i and j run over; by default those of a mapping, or else all, in the order of
        ``state.structure.modes``.

    Returns
    -------
    ndarray
        (sites, sites) on the host; on the diagonal the product left_i right_i on one site.
        float64 if state and operators are real, or left and right are the same and Hermitian;
        complex128 otherwise. Subtract ``np.outer(local_values(state, left), local_values(state,
        right))`` for the connected part.

    Raises
    ------
    StructureError
        The state is no tree, or has no such mode.
    InputError
        The state is zero, or an operator is fermionic.
    NonFiniteError
        A value came out as NaN or infinity.

    Notes
    -----
    No pair is contracted by itself. Every site is carried up to the centre, which is put in the
    middle of the tree: for d sites of a tensor train of rank r and mode size n about n d^2 r^3
    flops, once if `right` is `left` or its adjoint and twice otherwise; d log d instead of d^2
    on a balanced tree, and d^2 r^2 for the numbers themselves. Memory d r^2.

    Examples
    --------
    >>> import tnet
    >>> cat = tnet.Network(tnet.tensor_train((2, 2), 2), {"g0": np.eye(2), "g1": np.eye(2)})
    >>> correlation_matrix(cat, "z", "z").round(12)
    array([[1., 1.],
           [1., 1.]])
    """
    for op in (left, right):
        if isinstance(op, str) and op in FERMION:
            raise InputError(
                f"{op!r} has a Jordan-Wigner string over the sites between, so this is no matrix "
                "of two-site correlations; use tnet.expectation with terms, which adds strings."
            )
    held = centred(state, centre(state.structure))
    lefts = site_matrices(held.net.structure, left, sites)
    rights = site_matrices(held.net.structure, right, list(lefts) if sites is None else sites)
    held, _ = common_field(held, [*lefts.values(), *rights.values()])
    twin = _twin(lefts, rights)
    found = _sweep(held, lefts, rights, twin)
    same = all(_equal(lefts[mode], rights[mode]) for mode in lefts)
    real = not held.net.dtype.startswith("complex") or (
        same and all(map(is_hermitian, lefts.values()))
    )
    return require_numbers(found.real if real else found, "the correlations")


class _Twin(NamedTuple):
    """How the matrices of `right` follow from those of `left`."""

    same: bool
    adjoint: bool


def _twin(lefts: dict[str, Matrix], rights: dict[str, Matrix]) -> _Twin:
    same = all(_equal(lefts[mode], rights[mode]) for mode in lefts)
    adjoint = all(_equal(lefts[mode].conj().T, rights[mode]) for mode in lefts)
    return _Twin(same, adjoint and not same)


def _equal(a: Matrix, b: Matrix) -> bool:
    if is_sparse(a) or is_sparse(b):
        return is_sparse(a) and is_sparse(b) and not (a - b).tocsr().data.any()
    return a is b or bool(np.array_equal(a, b))


def _sweep(
    state: Centred, lefts: dict[str, Matrix], rights: dict[str, Matrix], twin: _Twin
) -> Values:
    structure, tree = state.net.structure, state.tree
    number = {mode: k for k, mode in enumerate(lefts)}
    wide = "complex128" if state.net.dtype.startswith("complex") else "float64"
    found = np.zeros((len(lefts), len(lefts)), dtype=wide)
    dressed = {node: core for node, core, _ in dressed_cores(state, tree.pre_order)}
    below: dict[str, _Source] = {}
    single = twin.same or twin.adjoint
    for node in tree.post_order:
        legs = structure.legs[node]
        bra = conjugate(state.net[node], state.xp)
        ket = dressed.pop(node)
        sources = [below.pop(child) for child in tree.children[node] if child in below]
        for axis, leg in enumerate(legs):
            if leg in number:
                k = number[leg]
                both = lefts[leg] @ rights[leg]
                found[k, k] = _host(local_mean(both, ket, bra, axis, state))
                second = None if single else _stack(rights[leg], state)
                sources.append(_Source(axis, (k,), _stack(lefts[leg], state), second))
        for a, b in itertools.combinations(sources, 2):
            _pair(state, ket, bra, a, b, twin, found)
        if node != tree.root and sources:
            below[node] = _up(state, node, bra, sources, single)
    return found


def _stack(matrix: Matrix, state: Centred) -> Any:
    return matrix.tocsr() if is_sparse(matrix) else beside(matrix, state.net)[None]


def _pair(
    state: Centred, ket: Any, bra: Any, a: _Source, b: _Source, twin: _Twin, found: Values
) -> None:
    """Write the correlations between two sources, both ways round."""
    if not is_sparse(a.left) and (is_sparse(b.left) or len(b.sites) < len(a.sites)):
        a, b = b, a
    rows, columns = np.array(a.sites), np.array(b.sites)
    if a.right is None:  # <left_i left_j>, or of the adjoint of left_j
        other = _adjoints(b.left, state.xp) if twin.adjoint else b.left
        values = _closed(state, ket, bra, a, a.left, b.axis, other)
        found[np.ix_(rows, columns)] = values
        found[np.ix_(columns, rows)] = values.T if twin.same else values.conj().T
        return
    found[np.ix_(rows, columns)] = _closed(state, ket, bra, a, a.left, b.axis, b.right)
    found[np.ix_(columns, rows)] = _closed(state, ket, bra, a, a.right, b.axis, b.left).T


def _closed(
    state: Centred, ket: Any, bra: Any, a: _Source, mine: Any, axis: int, others: Any
) -> Values:
    """Return (sites of a, sites of b): operators `mine` on a's leg, `others` on `axis`."""
    xp = state.xp
    if is_sparse(others):
        others = beside(others.toarray(), state.net)[None]
    flat = others.reshape(others.shape[0], -1).T
    parts = [
        arrays_.to_numpy(part.reshape(part.shape[0], -1) @ flat)
        for part in _carried(xp, ket, bra, a.axis, mine, axis)
    ]
    return np.concatenate(parts)


def _up(state: Centred, node: str, bra: Any, sources: list[_Source], single: bool) -> _Source:
    """Carry all sources of a node to the bond above it."""
    xp, tree = state.xp, state.tree
    above = tree.axis(node)
    core = state.net[node]
    sites = tuple(site for source in sources for site in source.sites)
    lefts = [x for s in sources for x in _carried(xp, core, bra, s.axis, s.left, above)]
    right = None
    if not single:
        rights = [x for s in sources for x in _carried(xp, core, bra, s.axis, s.right, above)]
        right = xp.concat(rights)
    parent = tree.parent[node]
    assert parent is not None
    axis = state.net.structure.legs[parent].index(tree.bond[node])
    return _Source(axis, sites, xp.concat(lefts), right)


def _carried(xp: Any, ket: Any, bra: Any, axis: int, stack: Any, keep: int) -> Iterator[Any]:
    """Yield (sites, bra, ket) of axis `keep`, chunk by chunk, with the stack put on `axis`."""
    others = [k for k in range(len(ket.shape)) if k not in (axis, keep)]
    order = (axis, *others, keep)
    lower = xp.permute_dims(ket, order)
    n, q = lower.shape[0], lower.shape[-1]
    upper = xp.permute_dims(bra, order).reshape(-1, q).T
    lower = lower.reshape(n, -1)
    if is_sparse(stack):
        done = arrays_.to(
            stack @ arrays_.to_numpy(lower),
            namespace=arrays_.namespace_name(ket),
            device=arrays_.device(ket),
            dtype=arrays_.dtype_name(ket),
        )
        yield (upper @ done.reshape(-1, q))[None]
        return
    chunk = max(1, CHUNK_ENTRIES // math.prod(lower.shape))
    for start in range(0, stack.shape[0], chunk):
        part = stack[start : start + chunk]
        done = part.reshape(-1, n) @ lower
        yield xp.matmul(upper, done.reshape(part.shape[0], -1, q))


def _adjoints(stack: Any, xp: Any) -> Any:
    if is_sparse(stack):
        return stack.conj().T.tocsr()
    return conjugate(xp.permute_dims(stack, (0, 2, 1)), xp)


def _host(x: Any) -> Any:
    return arrays_.to_numpy(x)[()]
