"""Sums of products as tree operators, written by hand: one channel per term on every bond."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from integrators.frame import frame_of
from integrators.tree_state import TreeState
from references import local
from tnet.network import random_network
from tnet.operators.tree_operator import SparseCore
from tnet.structure import Structure


@dataclasses.dataclass(frozen=True)
class HandOperator:
    """What `TreeOperator` promises, with a verdict on hermiticity that is not probed."""

    structure: Structure
    locals: Mapping[str, tuple[Any, ...]]
    cores: Mapping[str, SparseCore]
    hermitian: bool
    terms: int

    @property
    def ranks(self) -> dict[str, int]:
        return dict.fromkeys(self.structure.bonds, self.terms)

    def __rmul__(self, factor: complex) -> HandOperator:
        first = self.structure.node_names[0]
        core = self.cores[first]
        cores = {**self.cores, first: SparseCore(core.channels, core.weights * factor)}
        matrix = sum_of(self.structure, cores, self.locals)
        return dataclasses.replace(
            self, cores=cores, hermitian=bool(abs(matrix - matrix.getH()).max() < 1e-10)
        )


def sum_of(structure: Structure, cores: Any, locals_: Any) -> Any:
    """The dense matrix, if it is small; else nothing is said (Hermitian by what the term says)."""
    sizes = [structure.size[m] for m in structure.modes]
    total = sp.csr_matrix((int(np.prod(sizes)),) * 2, dtype=complex)
    terms = len(next(iter(cores.values())).weights)
    where = {leg: node for node in structure.legs for leg in structure.legs[node]}
    for k in range(terms):
        weight = np.prod([core.weights[k] for core in cores.values()])
        found = sp.identity(1)
        for mode in structure.modes:
            node = where[mode]
            axis = structure.legs[node].index(mode)
            found = sp.kron(found, locals_[mode][cores[node].channels[k, axis]], "csr")
        total = total + weight * found
    return total


def hand_operator(tree: Structure, terms: Sequence[tuple[complex, Mapping[str, Any]]]) -> Any:
    matrices: dict[str, list[Any]] = {m: [np.eye(tree.size[m])] for m in tree.modes}
    column: dict[str, list[int]] = {m: [] for m in tree.modes}
    for _, factors in terms:
        for mode in tree.modes:
            if mode in factors:
                matrices[mode].append(local(factors[mode], tree.size[mode]))
                column[mode].append(len(matrices[mode]) - 1)
            else:
                column[mode].append(0)
    cores = {}
    for k, (node, legs) in enumerate(tree.nodes):
        rows = [column[leg] if leg in column else list(range(len(terms))) for leg in legs]
        weights = [c if k == 0 else 1.0 for c, _ in terms]
        cores[node] = SparseCore(np.array(rows).T.reshape(len(terms), len(legs)), np.array(weights))
    locals_ = {m: tuple(x) for m, x in matrices.items()}
    made = HandOperator(tree, locals_, cores, True, len(terms))
    return 1.0 * made


def random_terms(tree: Any, rng: np.random.Generator, count: int = 4) -> list[Any]:
    """Hermitian sums of products on random sets of modes."""
    terms = []
    for _ in range(count):
        factors = {}
        for mode in rng.permutation(tree.modes)[: int(rng.integers(1, 3))]:
            n = tree.size[str(mode)]
            x = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
            factors[str(mode)] = x + x.conj().T
        terms.append((float(rng.normal()), factors))
    return terms


def random_state(tree: Any, seed: int = 0, root: str | None = None) -> TreeState:
    net = random_network(tree, rng=np.random.default_rng(seed), dtype="complex128")
    return TreeState.from_network(net, frame_of(tree, root))
