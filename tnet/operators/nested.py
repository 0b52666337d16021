"""The numerical compiler: nested orthonormal bases from the leaves to the root.

For every edge the terms that cross it are a matrix of coefficients, what they hold below against
what they hold above. Its left singular vectors are the channels; they are expressed in those of
the children, so that the factors of the singular value decomposition are the cores (for pair
interactions these are the nested bases of hierarchically semi-separable matrices: Ceruti,
Kressner and Sulz, arXiv:2405.09952). The channels "identity" and "finished" are kept apart and
exact, so that their large weights never hide a small interaction.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from tnet.operators.assembling import DONE, IDENTITY, OPEN, RawCore, raw_core
from tnet.operators.block_svd import Factors, block_svd
from tnet.operators.collecting import TermTable
from tnet.operators.grouping import group_rows
from tnet.operators.local_matrices import mean_square
from tnet.operators.placing import Contents, PlacedTerms, Placing, in_leg_order, placed
from tnet.trees import RootedTree

Ints = Any


class Nested(NamedTuple):
    """Entries of every node, the relative error of the coefficients, and their squared norm."""

    cores: dict[str, RawCore]
    error: float
    square: float


class _Basis(NamedTuple):
    """What a node gives to its parent.

    `terms` stand for the columns of `right` (channels x columns): any term that holds the same
    above. `names` (sorted) and `strings` say how what is held below, where another subtree asks
    for it, reads in the channels.
    """

    done: bool
    terms: Ints
    right: Any
    names: Any
    strings: Any


class _Entries(NamedTuple):
    """Coefficients at a node: by channels or names at its children, local indices, and the rest.

    `channel` (entries, children) is 0 where nothing is held; `name` where it is not yet written
    in channels. `term` is any term that holds the same outside.
    """

    channel: Ints
    name: Any
    index: Ints
    rest: Any
    term: Ints
    value: Any


def compile_nested(table: TermTable, tree: RootedTree, tol: float) -> Nested:
    """Return the entries of every node, to the relative tolerance `tol` in all."""
    placing = placed(tree)
    weights = [np.sqrt([mean_square(x) for x in t.matrices]) for t in table.tables]
    scale = np.concatenate([[0.0], *weights])
    start = np.cumsum([1, *(len(row) for row in weights)])
    value = table.coefficients.copy()
    np.multiply.at(value, table.term, scale[start[table.mode] + table.index])
    total = float(np.linalg.norm(value))
    allowed = (tol * total) ** 2 / max(len(tree.bond), 1)
    work = _Work(PlacedTerms(table, placing), placing, value, weights, allowed)
    asked = _asked(work)
    bases: dict[str, _Basis] = {}
    cores: dict[str, RawCore] = {}
    discarded = 0.0
    for node in tree.post_order:
        below = [bases.pop(child) for child in placing.children[node]]
        core, basis, lost = _visit(work, node, below, asked.pop(node))
        if node == tree.root and table.constant:
            core = _with_constant(core, table.constant)
        discarded += lost
        cores[node] = in_leg_order(core, node, placing)
        bases[node] = basis
    error = float(np.sqrt(discarded)) / total if total else 0.0
    return Nested(cores, error, total**2)


class _Work(NamedTuple):
    terms: PlacedTerms
    placing: Placing
    value: Any
    weights: list[Any]
    allowed: float


def _asked(work: _Work) -> dict[str, Ints]:
    """Return, for every node, terms that hold there all that other subtrees will ask for.

    At a node where a term holds something at several slots, all but the first are asked how
    their part reads in their channels; they in turn ask their children.
    """
    meeting = work.terms.meeting()
    asked: dict[str, list[Ints]] = {node: [] for node in work.placing.tree.pre_order}
    found: dict[str, Ints] = {}
    for node in work.placing.tree.pre_order:
        children = work.placing.children[node]
        parts = asked.pop(node)
        found[node] = np.unique(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.int64)
        fresh = meeting.get(node)
        for terms, first in ((found[node], 0), (fresh, 1)):
            if terms is None or len(terms) == 0 or len(children) <= first:
                continue
            names = work.terms.at(node, terms).names
            for k in range(first, len(children)):
                held = names[:, k].any(axis=1)
                _, one = group_rows(names[held, k])
                asked[children[k]].append(terms[held][one])
    return found


def _visit(
    work: _Work, node: str, below: list[_Basis], asked: Ints
) -> tuple[RawCore, _Basis, float]:
    """Factorise the coefficients at one node."""
    entries = _merged(_gathered(work, node, below), below)
    children = len(below)
    width = children + entries.index.shape[1]
    inputs = np.concatenate([entries.channel, entries.index], axis=1)
    finished = ~entries.rest.any(axis=1)
    carried = [DONE * (np.arange(width) == k)[None] for k, b in enumerate(below) if b.done]
    own = work.placing.modes[node]
    norm = np.ones(len(inputs))
    for k, mode in enumerate(own):
        norm = norm * work.weights[mode][entries.index[:, k]]
    if node == work.placing.tree.root:
        blocks: list[Any] = [(inputs, 0, entries.value / norm), *((r, 0, 1.0) for r in carried)]
        return raw_core(blocks), _nothing(False, entries), 0.0
    row, first = group_rows(inputs)
    column, one = group_rows(entries.rest)
    shape = (len(first), len(one))
    going = ~finished
    matrix = sparse.csr_array((entries.value[going], (row[going], column[going])), shape=shape)
    factors = _factorised(matrix, work.allowed)
    kept_rows = len(np.unique(row))
    own_done = bool(finished.any())
    if own_done and not carried and kept_rows <= factors.left.shape[1] + 1:
        # no more strings than channels: each is a channel, and finished ones are among them
        whole = sparse.csr_array((entries.value, (row, column)), shape=shape)
        eye = sparse.eye_array(kept_rows, format="csr", dtype=entries.value.dtype)
        factors, own_done = Factors(eye, whole, 0.0), False
    blocks = [(np.zeros((1, width), dtype=np.int64), IDENTITY, 1.0)]
    blocks += [(r, DONE, 1.0) for r in carried]
    if own_done:
        blocks.append((inputs[finished], DONE, (entries.value / norm)[finished]))
    left = factors.left.tocoo()
    at = first[left.coords[0]]
    blocks.append((inputs[at], left.coords[1] + OPEN, left.data / norm[at]))
    used = np.flatnonzero(np.diff(factors.right.tocsc().indptr))
    done = own_done or bool(carried)
    names, strings = _strings(work, node, below, asked, inputs[first], factors.left)
    basis = _Basis(done, entries.term[one[used]], factors.right[:, used], names, strings)
    return raw_core(blocks), basis, factors.discarded


def _factorised(matrix: Any, allowed: float) -> Factors:
    if matrix.nnz:
        return block_svd(matrix, allowed)
    rows, columns = matrix.shape
    kind = matrix.dtype
    left = sparse.csr_array((rows, 0), dtype=kind)
    return Factors(left, sparse.csr_array((0, columns), dtype=kind), 0.0)


def _nothing(done: bool, entries: _Entries) -> _Basis:
    none = np.zeros(0, dtype=np.int64)
    empty = sparse.csr_array((0, 0), dtype=entries.value.dtype)
    return _Basis(done, none, empty, np.zeros((0, 2), dtype=np.uint64), empty)


def _gathered(work: _Work, node: str, below: list[_Basis]) -> _Entries:
    """Collect the coefficients at a node: from the children's right factors and raw terms.

    Every term is taken where it first holds something: at the first such child, or, if at none,
    at the first own mode.
    """
    children = len(below)
    parts: list[_Entries] = []
    for k, basis in enumerate(below):
        held = work.terms.at(node, basis.terms)
        mine = ~held.names[:, :k].any(axis=(1, 2))
        right = basis.right.tocsc()[:, mine].tocoo()
        entry = _described(held, np.flatnonzero(mine)[right.coords[1]], basis.terms, children)
        entry.channel[:, k] = right.coords[0] + OPEN
        entry.name[:, k] = 0
        parts.append(entry._replace(value=right.data))
    raw = work.terms.first_here(node)
    held = work.terms.at(node, raw)
    mine = np.flatnonzero(~held.names[:, :children].any(axis=(1, 2)))
    entry = _described(held, mine, raw, children)
    parts.append(entry._replace(value=work.value[raw[mine]]))
    return _Entries(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _described(held: Contents, chosen: Ints, terms: Ints, children: int) -> _Entries:
    channel = np.zeros((len(chosen), children), dtype=np.int64)
    return _Entries(
        channel,
        held.names[chosen][:, :children].copy(),
        held.index[chosen],
        held.rest[chosen],
        terms[chosen],
        np.zeros(0),
    )


def _merged(entries: _Entries, below: list[_Basis]) -> _Entries:
    """Write what is named at each child in the child's channels, and add up equal entries."""
    for k, basis in enumerate(below):
        named = entries.name[:, k].any(axis=1)
        if named.any():
            entries = _projected(entries, named, k, basis)
    return entries


def _projected(entries: _Entries, named: Any, k: int, basis: _Basis) -> _Entries:
    part = _Entries(*(column[named] for column in entries))
    others = _Entries(*(column[~named] for column in entries))
    part.name[:, k], string = 0, _found(basis.names, part.name[:, k])
    which, first = group_rows(*_columns(part))
    matrix = sparse.csr_array((part.value, (string, which)), shape=(len(basis.names), len(first)))
    product = (basis.strings.conj().T @ matrix).tocoo()
    at = first[product.coords[1]]
    fresh = _Entries(*(column[at] for column in part))._replace(value=product.data)
    fresh.channel[:, k] = product.coords[0] + OPEN
    return _Entries(*(np.concatenate(pair) for pair in zip(others, fresh, strict=True)))


def _columns(entries: _Entries) -> list[Any]:
    count = len(entries.value)
    names = entries.name.reshape(count, -1)
    return [entries.channel, names, entries.index, entries.rest]


def _found(names: Any, wanted: Any) -> Ints:
    """Return the places of 128-bit names in a table sorted by their first half."""
    place = np.searchsorted(names[:, 0], wanted[:, 0])
    assert (names[place] == wanted).all()
    return place


def _strings(
    work: _Work, node: str, below: list[_Basis], asked: Ints, rows: Ints, left: Any
) -> tuple[Any, Any]:
    """Write the strings that others ask for in the channels of this node."""
    held = work.terms.at(node, asked)
    count = len(asked)
    children = len(below)
    entry = _described(held, np.arange(count), asked, children)
    entry = entry._replace(value=np.ones(count, dtype=left.dtype), term=np.arange(count))
    for k, basis in enumerate(below):
        named = np.flatnonzero(entry.name[:, k].any(axis=1))
        if len(named):
            entry = _spelled(entry, named, k, basis)
    inputs = np.concatenate([entry.channel, entry.index], axis=1)
    both = np.concatenate([rows, inputs])
    which, first = group_rows(both)
    row_of = np.full(len(first), -1, dtype=np.int64)
    row_of[which[: len(rows)]] = np.arange(len(rows))
    row = row_of[which[len(rows) :]]
    known = row >= 0
    spelled = sparse.csr_array(
        (entry.value[known], (entry.term[known], row[known])), shape=(count, len(rows))
    )
    names = held.names.sum(axis=1, dtype=np.uint64)
    order = np.argsort(names[:, 0], kind="stable")
    return names[order], (spelled @ left)[order]


def _spelled(entry: _Entries, named: Ints, k: int, basis: _Basis) -> _Entries:
    """Replace the names at child `k` by channels: one entry for each."""
    rest = np.ones(len(entry.value), dtype=bool)
    rest[named] = False
    others = _Entries(*(column[rest] for column in entry))
    chosen = basis.strings[_found(basis.names, entry.name[named, k])].tocoo()
    at = named[chosen.coords[0]]
    fresh = _Entries(*(column[at] for column in entry))
    fresh.channel[:, k] = chosen.coords[1] + OPEN
    fresh.name[:, k] = 0
    fresh = fresh._replace(value=fresh.value * chosen.data)
    return _Entries(*(np.concatenate(pair) for pair in zip(others, fresh, strict=True)))


def _with_constant(core: RawCore, constant: complex) -> RawCore:
    kind = core.weights.dtype if not constant.imag else np.dtype(np.complex128)
    number = constant if kind.kind == "c" else constant.real
    return RawCore(
        np.concatenate([core.inputs, np.zeros((1, core.inputs.shape[1]), dtype=np.int64)]),
        np.concatenate([core.output, [0]]),
        np.concatenate([core.weights, np.array([number], dtype=kind)]),
    )
