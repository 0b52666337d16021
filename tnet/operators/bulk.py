"""Pair interactions that are read at samples: which ones, and how they join the other terms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contraction import arrays as arrays_
from tnet.operators.assembling import DONE, IDENTITY, OPEN, RawCore
from tnet.operators.collecting import TermTable
from tnet.operators.local_matrices import mean_square
from tnet.operators.nested import Nested, compile_nested
from tnet.operators.pairs import indices_of, is_fermionic, modes_of_pairs
from tnet.operators.placing import Placing, placed
from tnet.operators.sampled import compile_sampled
from tnet.operators.skeletons import Kernel
from tnet.operators.terms import Pairs
from tnet.trees import RootedTree


def is_sampled(term: Any) -> bool:
    """Tell whether a term is a pair interaction that can be read at samples."""
    return isinstance(term, Pairs) and not is_fermionic(term) and len(term.sites) > 1


def compile_with_samples(
    table: TermTable, bulk: Sequence[Pairs], tree: RootedTree, tol: float
) -> Nested:
    """Compile plain terms by nested bases and every pair interaction from samples.

    The channels of all parts stand side by side on every bond; identity and finished part are
    common to them.
    """
    plain = compile_nested(table, tree, tol)
    square = plain.square
    lost = (plain.error**2) * square
    parts = [plain.cores]
    placing = placed(tree)
    for pairs in bulk:
        found = compile_sampled(_kernel(pairs, table, placing), tol)
        parts.append(found.cores)
        square, lost = square + found.square, lost + found.lost
    error = math.sqrt(lost / square) if square else 0.0
    return Nested(_side_by_side(tree, parts), error, square)


def _kernel(pairs: Pairs, table: TermTable, placing: Placing) -> Kernel:
    place = {mode: k for k, mode in enumerate(placing.tree.structure.modes)}
    mode = modes_of_pairs(pairs, place)
    given = pairs.coefficients
    if not callable(given):
        given = np.asarray(arrays_.to_numpy(given))
    left, left_factor = indices_of(pairs.left, mode, table.tables)
    right, right_factor = indices_of(pairs.right, mode, table.tables)
    norms = [
        np.array(
            [
                math.sqrt(mean_square(table.tables[m].matrices[k]))
                for m, k in zip(mode, index, strict=True)
            ]
        )
        for index in (left, right)
    ]
    same = (left == right).all() and (left_factor == right_factor).all()
    return Kernel(
        pairs=Pairs(given, pairs.left, pairs.right, pairs.sites),
        weights=(left_factor * norms[0], right_factor * norms[1]),
        kinds=(0,) if same else (0, 1),
        index=(left, right),
        norms=(norms[0], norms[1]),
        mode=mode,
        placing=placing,
    )


def _side_by_side(tree: RootedTree, parts: Sequence[Mapping[str, RawCore]]) -> dict[str, RawCore]:
    """Add up operators: open channels of a later part get higher numbers."""
    structure = tree.structure
    cores: dict[str, RawCore] = {}
    shift: dict[str, list[int]] = {}  # bond -> by part, from the node below it
    for node in tree.post_order:
        above = tree.bond.get(node)
        below = [leg for leg in structure.legs[node] if leg != above]
        inputs, output, weights = [], [], []
        counts = [0]
        for k, part in enumerate(parts):
            core = part[node]
            row = core.inputs.copy()
            for axis, leg in enumerate(below):
                if leg in shift:
                    row[:, axis] += shift[leg][k] * (row[:, axis] >= OPEN)
            held = core.output + counts[k] * (core.output >= OPEN)
            fresh = int(core.output.max(initial=OPEN - 1)) - OPEN + 1
            counts.append(counts[k] + fresh)
            inputs.append(row)
            output.append(held)
            weights.append(core.weights)
        if above is not None:
            shift[above] = counts
        joined = RawCore(*(np.concatenate(x) for x in (inputs, output, weights)))
        cores[node] = _once(joined, above is None)
    return cores


def _once(core: RawCore, root: bool) -> RawCore:
    """Keep one of the rows that every part has: the identity, and finished parts passed on."""
    done = core.inputs == DONE
    finished = 0 if root else DONE
    passed = (done.sum(axis=1) == 1) & (core.inputs.sum(axis=1) == DONE)
    passed &= core.output == finished
    if not root:
        passed |= ~core.inputs.any(axis=1) & (core.output == IDENTITY)
    key = np.concatenate([core.inputs[passed], core.output[passed, None]], axis=1)
    if not len(key):
        return core
    first = np.flatnonzero(passed)[np.unique(key, axis=0, return_index=True)[1]]
    keep = ~passed
    keep[first] = True
    return RawCore(core.inputs[keep], core.output[keep], core.weights[keep])
