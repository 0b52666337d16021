"""How strongly an operator couples its sites, two by two."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from contraction.errors import InputError
from tnet.formats import Shape, modes_of, tensor_train
from tnet.operators.collecting import TermTable, collect
from tnet.operators.local_matrices import mean_square
from tnet.operators.terms import Pairs, Term

LARGEST = 8192  # modes: the matrix has half a gigabyte
WITHOUT_STRING = {"c": "-", "cdag": "+"}


def coupling_strengths(shape: Shape, terms: Iterable[Any]) -> Any:
    """Return the strength with which the terms of an operator couple every two sites.

    Parameters
    ----------
    shape
        Sizes of the modes, or mode -> size (`model.sites`).
    terms
        As for `tnet.operator`.

    Returns
    -------
    strengths
        Symmetric float64 matrix (modes, modes) in the order of `shape`: the root of the sum of
        squares of all terms that act on both, each times the norms of its local matrices over
        sqrt(size). Fermions count without their strings. The diagonal is zero.

    Raises
    ------
    StructureError, ShapeError, InputError, DTypeError
        As `tnet.operator`; more than 8192 modes.

    Notes
    -----
    With `tree_from_affinity` this is a tree to start from, before any state is known. A term on
    k sites costs O(k^2).

    Examples
    --------
    >>> terms = [(0.5, {"a": "z", "b": "z"}), (2.0, {"a": "x", "c": "x"}), (1.0, {"b": "x"})]
    >>> coupling_strengths({"a": 2, "b": 2, "c": 2}, terms).tolist()
    [[0.0, 0.5, 2.0], [0.5, 0.0, 0.0], [2.0, 0.0, 0.0]]
    """
    modes = modes_of(shape)
    if len(modes) > LARGEST:
        raise InputError(f"a matrix of couplings has at most {LARGEST} modes, got {len(modes)}.")
    table = collect(tensor_train(modes), _without_strings(terms), ())
    weight = np.abs(table.coefficients)
    for k, held in enumerate(table.tables):
        here = table.mode == k
        norms = np.array([math.sqrt(mean_square(matrix)) for matrix in held.matrices])
        np.multiply.at(weight, table.term[here], norms[table.index[here]])
    return np.sqrt(_by_pairs(table, weight**2))


def _by_pairs(table: TermTable, squares: Any) -> Any:
    """Add up a number of every term at all pairs of its sites."""
    count = len(table.tables)
    found = np.zeros((count, count))
    length = np.bincount(table.term, minlength=len(squares))
    start = np.cumsum(length) - length
    for factors in np.unique(length[length > 1]).tolist():
        here = np.flatnonzero(length == factors)
        sites = table.mode[start[here][:, None] + np.arange(factors)]
        for a in range(factors):
            for b in range(a):
                np.add.at(found, (sites[:, a], sites[:, b]), squares[here])
    return found + found.T


def _without_strings(terms: Iterable[Any]) -> Iterable[Any]:
    """Replace fermions by what they do on their own sites."""
    for term in terms:
        if isinstance(term, Pairs):
            yield Pairs(term.coefficients, _bare(term.left), _bare(term.right), term.sites)
            continue
        pair = (term.coefficient, term.factors) if isinstance(term, Term) else term
        if isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], Mapping):
            pair = (pair[0], {site: _bare(op) for site, op in pair[1].items()})
        yield pair  # what is no term is refused where terms are read


def _bare(op: Any) -> Any:
    if isinstance(op, (tuple, list)):
        return type(op)(_bare(x) for x in op) if all(isinstance(x, str) for x in op) else op
    return WITHOUT_STRING.get(op, op) if isinstance(op, str) else op
