"""The exact compiler: one pass from the leaves to the root, every edge factorised symbolically.

At every moment the operator is a sum of products over a frontier of modes and finished subtrees.
A node takes the modes and subtrees below it out of the frontier and puts itself in: what the
terms hold inside are the rows of a sparse matrix, what they hold outside are its columns, and a
minimum vertex cover of the matrix names the channels of the edge above (Ren et al., J. Chem.
Phys. 153 (2020) 084118, for chains). No term is ever split, so the work is linear in the terms.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tnet.operators.assembling import DONE, IDENTITY, OPEN, RawCore, raw_core
from tnet.operators.collecting import TermTable
from tnet.operators.covers import Cover, minimum_cover
from tnet.operators.grouping import group_rows, hash_of
from tnet.trees import RootedTree

Ints = Any


class _Frontier:
    """The terms as they stand: coefficients, names of what they hold, and where they hold it.

    Filled while the tree is walked; nothing outside this module sees it.
    """

    def __init__(self, table: TermTable) -> None:
        count = len(table.coefficients)
        self.coefficients = table.coefficients.copy()
        self.alive = np.ones(count, dtype=bool)
        self.factors = np.bincount(table.term, minlength=count)
        self.names = np.zeros((count, 2), dtype=np.uint64)
        np.add.at(self.names, table.term, hash_of(table.mode, table.index))
        order = np.argsort(table.mode, kind="stable")
        stops = np.searchsorted(table.mode[order], np.arange(len(table.tables) + 1))
        self.held: dict[int, tuple[Ints, Ints]] = {}
        for k in range(len(table.tables)):
            part = order[stops[k] : stops[k + 1]]
            self.held[k] = table.term[part], table.index[part]

    def take(self, slots: list[int]) -> tuple[Ints, Ints]:
        """Return the living terms that hold something at `slots`, and what they hold."""
        parts = [self.held.pop(slot) for slot in slots]
        term = np.concatenate([part[0] for part in parts])
        column = np.repeat(np.arange(len(slots)), [len(part[0]) for part in parts])
        index = np.concatenate([part[1] for part in parts])
        living = self.alive[term]
        found, row = np.unique(term[living], return_inverse=True)
        inside = np.zeros((len(found), len(slots)), dtype=np.int64)
        inside[row, column[living]] = index[living]
        return found, inside


def compile_exact(table: TermTable, tree: RootedTree) -> dict[str, RawCore]:
    """Return the entries of every node."""
    structure = tree.structure
    mode_slot = {mode: k for k, mode in enumerate(structure.modes)}
    node_slot = {node: len(mode_slot) + k for k, node in enumerate(structure.node_names)}
    bond_slot = {bond: node_slot[node] for node, bond in tree.bond.items()}
    frontier = _Frontier(table)
    done: set[int] = set()
    cores: dict[str, RawCore] = {}
    for node in tree.post_order:
        above = tree.bond.get(node)
        slots = [
            mode_slot[leg] if leg in mode_slot else bond_slot[leg]
            for leg in structure.legs[node]
            if leg != above
        ]
        root = above is None
        cores[node] = _visit(frontier, slots, node_slot[node], done, root, table.constant)
    return cores


def _visit(
    frontier: _Frontier, slots: list[int], me: int, done: set[int], root: bool, constant: complex
) -> RawCore:
    """Take what is below one node out of the frontier, put the node in, return its entries."""
    width = len(slots)
    term, inside = frontier.take(slots) if slots else (np.zeros(0, int), np.zeros((0, 0), int))
    names = frontier.names[term]
    for k, slot in enumerate(slots):
        names = names - hash_of(slot, inside[:, k])
    outside = frontier.factors[term] - (inside > 0).sum(axis=1)
    coefficient = frontier.coefficients[term]
    nothing = np.zeros((1, width), dtype=np.int64)
    below = [DONE * (np.arange(width) == k)[None] for k, s in enumerate(slots) if s in done]
    if root:
        weight = coefficient.dtype.type(
            constant if coefficient.dtype.kind == "c" else constant.real
        )
        blocks: list[Any] = [(inside, 0, coefficient), *((row, 0, 1.0) for row in below)]
        return raw_core([*blocks, (nothing, 0, weight)] if constant else blocks)
    finished = outside == 0
    row, first = group_rows(inside)
    column, _ = group_rows(names)
    whole = _Matrix(row, column, coefficient)
    going = np.flatnonzero(~finished)
    cover = _cover(whole, going)
    own_channel = bool(finished.any())
    if own_channel and not below and np.sum(np.bincount(row[finished])) <= cover.width:
        # few finished terms, as on a leaf: they may share the channels of the others
        shared = _cover(whole, np.arange(len(row)))
        if shared.width <= cover.width:
            own_channel, cover = False, shared
    blocks = [(nothing, IDENTITY, 1.0), *((r, DONE, 1.0) for r in below)]
    if own_channel:
        blocks.append((inside[finished], DONE, coefficient[finished]))
    if own_channel or below:
        done.add(me)
    blocks.append((inside[first[cover.row]], cover.channel + OPEN, cover.weight))
    left = term[cover.kept]
    frontier.alive[term] = False
    frontier.alive[left] = True
    frontier.coefficients[left] = cover.kept_coefficient
    frontier.factors[left] = outside[cover.kept] + 1
    index = cover.kept_channel + OPEN
    frontier.names[left] = names[cover.kept] + hash_of(me, index)
    frontier.held[me] = left, index
    return raw_core(blocks)


class _Matrix(NamedTuple):
    """Coefficients: rows are what is inside, columns what is outside."""

    row: Ints
    column: Ints
    value: Any


def _cover(matrix: _Matrix, entries: Ints) -> Cover:
    """Factorise the part of the matrix that `entries` are, in the numbers of the whole."""
    rows, row = np.unique(matrix.row[entries], return_inverse=True)
    _, column = np.unique(matrix.column[entries], return_inverse=True)
    cover = minimum_cover(row, column, matrix.value[entries])
    return cover._replace(row=rows[cover.row], kept=entries[cover.kept])
