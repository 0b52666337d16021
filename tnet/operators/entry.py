"""`operator`: sums of products of local matrices, compiled to a TreeOperator."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from contraction.errors import DTypeError, InputError
from tnet.operators.assembling import assembled, centre
from tnet.operators.bulk import compile_with_samples, is_sampled
from tnet.operators.collecting import collect
from tnet.operators.exact import compile_exact
from tnet.operators.nested import compile_nested
from tnet.operators.terms import Pairs, Term
from tnet.operators.tree_operator import TreeOperator
from tnet.structure import Structure
from tnet.trees import rooted


class Compiler(enum.Enum):
    """How `operator` finds the channels of every bond.

    EXACT
        Minimum vertex covers, with proportional strings taken together: no error but rounding.
        For short-range and equal interactions, and for coefficients without a pattern.
    NESTED_SVD
        Nested orthonormal bases, to a tolerance: for interactions that decay smoothly, and
        wherever coefficients depend on each other.
    SAMPLED
        As NESTED_SVD, but `Pairs` are read at few of their places, so that long-range
        interactions cost nearly as much as their number of sites: for coefficients that are
        smooth in the distance, or in where the sites are. `TreeOperator.error` is then an
        estimate, from the whole rows of 16 random sites; where these do not agree to the
        tolerance, all places are read. Single couplings that follow no law belong into terms of
        their own.
    """

    EXACT = "exact"
    NESTED_SVD = "nested svd"
    SAMPLED = "sampled"


def operator(
    tree: Structure,
    terms: Iterable[Any],
    *,
    method: Compiler = Compiler.EXACT,
    tol: float = 1e-12,
    order: Sequence[str] = (),
) -> TreeOperator:
    """Compile a sum of products of local operators to an operator on a tree.

    Parameters
    ----------
    tree
        The structure of the states: any tree, with any number of modes on any node.
    terms
        `Term`, `Pairs` or plain tuples ``(coefficient, {site: operator, ...})``; sites are modes
        of the tree, an empty mapping is a multiple of the identity. Equal terms are added up.
    method
        How the channels are found.
    tol
        Error allowed to all but `Compiler.EXACT`, relative to all coefficients in the Frobenius
        norm, each times the norms of its local matrices over sqrt(n). That is the relative error
        of the operator where the local matrices of a mode and the identity are orthogonal (Pauli
        and spin matrices, say). `TreeOperator.error` is the sum of what was left out, a bound.
    order
        The fermionic modes in the order of their Jordan-Wigner strings; by default all open legs
        of the tree.

    Returns
    -------
    operator
        float64 where all coefficients and local matrices are real or become so (an even number
        of ``y`` in a term), else complex128. On every bond the identity below and the finished
        part are channels of their own and exact (see `tnet.operators.identity_channels`).

    Raises
    ------
    StructureError
        `tree` is no tree, or a term names a site that it does not have.
    ShapeError
        A local matrix does not fit its mode.
    InputError
        An unknown operator name, an odd number of fermionic operators, NaN or infinity.
    DTypeError
        Something that is no term, or no number.

    Notes
    -----
    EXACT sorts, at every node, the terms that hold something below it and have not been united:
    linear in the number of terms up to the logarithm, no term is ever split. Ren, Li, Jiang and
    Shuai, J. Chem. Phys. 153 (2020) 084118, for chains. NESTED_SVD decomposes matrices of the
    channels below a node against what the terms hold elsewhere; Ceruti, Kressner and Sulz,
    arXiv:2405.09952, for pair interactions.

    Examples
    --------
    >>> import tnet
    >>> chain = tnet.tensor_train({f"s{i}": 2 for i in range(5)})
    >>> bonds = [(-1.0, {f"s{i}": "z", f"s{i + 1}": "z"}) for i in range(4)]
    >>> field = [(-0.5, {f"s{i}": "x"}) for i in range(5)]
    >>> max(tnet.operator(chain, bonds + field).ranks.values())
    3
    """
    if not isinstance(method, Compiler):
        raise DTypeError(f"`method` must be a tnet.Compiler, got {method!r}.")
    if not isinstance(tree, Structure):
        raise DTypeError(
            f"`tree` must be a tnet.Structure, got {type(tree).__name__}; a network has one as "
            "its `structure`."
        )
    if not 0 <= tol < 1:
        raise InputError(f"`tol` must lie in [0, 1), got {tol!r}.")
    view = rooted(tree, centre(tree))
    bulk: list[Any] = []
    if method is Compiler.SAMPLED and not isinstance(terms, (Term, Pairs, Mapping, str)):
        terms = list(terms)
        bulk = [term for term in terms if is_sampled(term)]
        terms = [term for term in terms if not is_sampled(term)]
    table = collect(tree, terms, order)
    error = 0.0
    if method is Compiler.EXACT:
        raw = compile_exact(table, view)
    elif bulk:
        raw, error, _ = compile_with_samples(table, bulk, view, tol)
    else:
        raw, error, _ = compile_nested(table, view, tol)
    locals_ = {t.mode: tuple(t.matrices) for t in table.tables}
    complex_ = table.constant.imag != 0 or any(c.weights.dtype.kind == "c" for c in raw.values())
    cores = assembled(view, raw, "complex128" if complex_ else "float64")
    return TreeOperator(tree, locals_, cores, error)
