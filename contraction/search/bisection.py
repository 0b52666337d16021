"""Spectral bisection: a tree made from the top, by cutting the network in two again and again.

Each part is ordered by the eigenvector of the second smallest eigenvalue of its Laplacian
(Fiedler, Czechoslovak Math. J. 25, 619 (1975)), cut where the least weight of labels is cut, and
the cut is improved by moving single values (Fiduccia and Mattheyses, Proc. 19th DAC, 175 (1982)).
Unlike a greedy tree it knows the network as a whole, which is worth most above some hundred
leaves. Small parts are left to the greedy search.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contraction.search.cuts import Cut, refine, sweep
from contraction.search.greedy import random_greedy
from contraction.search.problem import (
    Found,
    Problem,
    holder_counts,
    recount,
    renumbered,
    simplified,
)
from contraction.tree import Pairs, reorder

LEAST = 12  # leaves of a part that are left to the greedy search
TRIALS = 8  # of it
DENSE = 80  # leaves up to which all eigenvectors are computed
DIRECT = 1500  # leaves up to which the Laplacian is factorised
STEPS = 20  # of diffusion on each finer graph
CLIQUE = 6  # holders of a label up to which each is bound to each; others to a vertex of its own
BALANCE = 0.35  # least share of the leaves on a side of a cut
SMOOTHING = 200  # steps of the diffusion that replaces eigenvectors where there are none
TINY = 1e-3  # least weight of a label: sizes of zero have no logarithm

Floats = NDArray[np.float64]


def bisect(problem: Problem, *, seed: int, deadline: float | None = None) -> Found:
    """Return a tree of the network by recursive spectral bisection.

    Parameters
    ----------
    problem
        What to contract; hyper labels, scalars and parts that share no label are all right.
    seed
        Of the eigenvectors' first guess; the same seed gives the same tree.
    deadline
        Value of `time.perf_counter` after which nothing more is cut: what is left whole goes to
        one greedy trial. The cut that is being made is finished.

    Returns
    -------
    Found
        One tree without slices. Cost: near-linear, 0.2 ms for each leaf of a few labels.

    Examples
    --------
    >>> ring = Problem(tuple((i, (i + 1) % 40) for i in range(40)), (), (2,) * 40)
    >>> bisect(ring, seed=0).log2_cost < 9
    True
    """
    small = simplified(problem)
    pairs = _tree(small.problem, seed, math.inf if deadline is None else deadline)
    counts = recount(small.problem, pairs)
    return small.expand(Found(pairs, (), counts.log2_flops))


def _tree(problem: Problem, seed: int, deadline: float) -> Pairs:
    """Return the tree of a problem; parts are cut in two while they are large and there is time."""
    count = len(problem.leaves)
    rng = np.random.default_rng(seed)
    total = holder_counts(problem)
    parts: list[list[int]] = [list(range(count))]
    inner: list[Pairs] = []  # the tree of a part, over its leaves or its two halves
    below: list[int] = []  # the first of those; -1 where the part is whole
    for part in parts:  # grows while it is walked
        late = time.perf_counter() >= deadline
        if late or len(part) <= LEAST:
            inner.append(_greedy(problem, part, total, seed, 1 if late else TRIALS))
            below.append(-1)
            continue
        inner.append(((0, 1),))
        below.append(len(parts))
        parts += _halves(problem, part, rng)
    roots = [0] * len(parts)
    pairs: list[tuple[int, int]] = []
    for k in range(len(parts) - 1, -1, -1):  # children come after their parents
        names = list(parts[k]) if below[k] < 0 else roots[below[k] : below[k] + 2]
        for i, j in inner[k]:
            pairs.append((names[i], names[j]))
            names.append(count + len(pairs) - 1)
        roots[k] = names[-1]
    return reorder(pairs, count)


def _greedy(
    problem: Problem, part: Sequence[int], total: Sequence[int], seed: int, trials: int
) -> Pairs:
    """Return a tree of a part; labels that others hold are its output."""
    held: dict[int, int] = {}
    for leaf in part:
        for label in problem.leaves[leaf]:
            held[label] = held.get(label, 0) + 1
    outside = [label for label, count in held.items() if count < total[label]]
    inner, _ = renumbered([problem.leaves[leaf] for leaf in part], outside, problem.sizes)
    return random_greedy(inner, seed=seed, trials=trials, keep=1)[0].pairs


def _halves(
    problem: Problem, part: list[int], rng: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Return the two sides of a good cut, neither of them empty."""
    from scipy.sparse.csgraph import connected_components

    nets, weights = _nets(problem, part)
    graph = _graph(len(part), nets, weights)
    pieces, piece = connected_components(graph, directed=False)
    if pieces > 1:
        order = np.argsort(piece[: len(part)], kind="stable")
        return _whole_pieces(part, order, piece[order])
    cut = Cut(len(part), nets, weights, math.ceil(BALANCE * len(part)))
    left = sweep(cut, np.argsort(_fiedler(graph, rng)[: len(part)], kind="stable").tolist())
    side = refine(cut, left)
    return (
        [leaf for leaf, on_left in zip(part, side, strict=True) if on_left],
        [leaf for leaf, on_left in zip(part, side, strict=True) if not on_left],
    )


def _whole_pieces(
    part: list[int], order: NDArray[np.intp], piece: NDArray[np.intp]
) -> tuple[list[int], list[int]]:
    """Return a cut near the middle between parts that share no label."""
    borders = np.flatnonzero(np.diff(piece)) + 1
    border = int(borders[np.argmin(np.abs(borders - len(part) / 2))])
    leaves = [part[k] for k in order]
    return leaves[:border], leaves[border:]


def _nets(problem: Problem, part: Sequence[int]) -> tuple[list[list[int]], list[float]]:
    """Return the holders of every label that at least two leaves of the part hold."""
    held: dict[int, list[int]] = {}
    for k, leaf in enumerate(part):
        for label in problem.leaves[leaf]:
            held.setdefault(label, []).append(k)
    inner = {label: nodes for label, nodes in held.items() if len(nodes) > 1}
    weights = [max(math.log2(max(problem.sizes[x], 1)), TINY) for x in inner]
    return list(inner.values()), weights


def _graph(count: int, nets: list[list[int]], weights: list[float]) -> Any:
    """Return the weighted graph of a hypergraph; its size is linear in that of the labels."""
    from scipy.sparse import coo_array

    rows: list[int] = []
    columns: list[int] = []
    entries: list[float] = []
    fresh = count
    for nodes, weight in zip(nets, weights, strict=True):
        if len(nodes) <= CLIQUE:
            each = weight / (len(nodes) - 1)
            for k, i in enumerate(nodes):
                rows += [i] * k
                columns += nodes[:k]
                entries += [each] * k
        else:
            rows += nodes
            columns += [fresh] * len(nodes)
            entries += [weight] * len(nodes)
            fresh += 1
    graph = coo_array((entries, (rows, columns)), shape=(fresh, fresh)).tocsr()
    return graph + graph.T


def _fiedler(graph: Any, rng: np.random.Generator) -> Floats:
    """Return the second eigenvector of the Laplacian of a connected graph, or nearly.

    A large graph is coarsened until it can be factorised; the eigenvector of the coarse one is
    then smoothed on each of the finer ones.
    """
    graphs, owners = [graph], []
    while graphs[-1].shape[0] > DIRECT:
        owner = _matching(graphs[-1], rng)
        if owner.max() + 1 > 0.9 * len(owner):  # a star: nothing left to match
            break
        owners.append(owner)
        graphs.append(_coarse(graphs[-1], owner))
    vector = _coarsest_fiedler(graphs.pop(), rng)
    for finer, owner in zip(reversed(graphs), reversed(owners), strict=True):
        vector = _smoothed(finer, vector[owner], STEPS)
    return vector


def _coarsest_fiedler(graph: Any, rng: np.random.Generator) -> Floats:
    from scipy.sparse import csgraph, identity
    from scipy.sparse.linalg import ArpackError, eigsh

    laplacian = csgraph.laplacian(graph)
    count = graph.shape[0]
    if count <= DENSE:
        dense: Floats = np.linalg.eigh(laplacian.toarray())[1][:, 1]
        return dense
    start = rng.standard_normal(count)
    if count <= 2 * DIRECT:
        shift = 1e-6 * float(laplacian.diagonal().max())
        shifted = (laplacian + shift * identity(count)).tocsc()
        try:
            values, vectors = eigsh(shifted, k=2, sigma=0.0, which="LM", v0=start, tol=1e-4)
            second: Floats = vectors[:, np.argsort(values)[1]]
            if np.isfinite(second).all():
                return second
        except (ArpackError, RuntimeError):  # no convergence, or a singular factor
            pass
    return _smoothed(graph, start, SMOOTHING)


def _smoothed(graph: Any, vector: Floats, steps: int) -> Floats:
    """Return a vector after diffusion on a graph, without its mean."""
    degree = np.maximum(graph.sum(axis=1), TINY)
    for _ in range(steps):
        vector = 0.5 * (vector + (graph @ vector) / degree)
        vector = vector - degree @ vector / degree.sum()
        vector = vector / (np.linalg.norm(vector) or 1.0)
    return vector


def _matching(graph: Any, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return a coarse node for each node: it and its heaviest neighbour still free, or it alone."""
    first, nodes, weights = graph.indptr.tolist(), graph.indices.tolist(), graph.data.tolist()
    owner = [-1] * (len(first) - 1)
    fresh = 0
    for node in rng.permutation(len(owner)).tolist():
        if owner[node] >= 0:
            continue
        heaviest, mate = 0.0, node
        for k in range(first[node], first[node + 1]):
            if weights[k] > heaviest and owner[nodes[k]] < 0 and nodes[k] != node:
                heaviest, mate = weights[k], nodes[k]
        owner[node] = owner[mate] = fresh
        fresh += 1
    return np.array(owner)


def _coarse(graph: Any, owner: NDArray[np.intp]) -> Any:
    from scipy.sparse import coo_array

    edges = graph.tocoo()
    rows, columns = owner[edges.row], owner[edges.col]
    between = rows != columns
    count = int(owner.max()) + 1
    where = (rows[between], columns[between])
    return coo_array((edges.data[between], where), shape=(count, count)).tocsr()
