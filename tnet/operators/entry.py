"""`operator`: sums of products of local matrices, compiled to a TreeOperator."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Any

from contraction.errors import DTypeError
from tnet.operators.assembling import assembled, centre
from tnet.operators.collecting import collect
from tnet.operators.exact import compile_exact
from tnet.operators.nested import compile_nested
from tnet.operators.tree_operator import TreeOperator
from tnet.structure import Structure
from tnet.trees import rooted


class Compiler(enum.Enum):
    """How `operator` finds the channels of every bond."""

    EXACT = "exact"
    NESTED_SVD = "nested svd"


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
        `Term`, `Pairs` or plain tuples ``(coefficient, {site: operator, ...})``.
    method
        How the channels are found.
    tol
        Relative error allowed to `Compiler.NESTED_SVD`.
    order
        The fermionic modes in the order of their Jordan-Wigner strings; by default all open legs
        of the tree.

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
    view = rooted(tree, centre(tree))
    table = collect(tree, terms, order)
    if method is Compiler.EXACT:
        raw, error = compile_exact(table, view), 0.0
    else:
        raw, error = compile_nested(table, view, tol)
    locals_ = {t.mode: tuple(t.matrices) for t in table.tables}
    complex_ = table.coefficients.dtype.kind == "c" or table.constant.imag != 0
    cores = assembled(view, raw, "complex128" if complex_ else "float64")
    return TreeOperator(tree, locals_, cores, error)
