"""Graphs worth trying for data with a few modes: every tree, rings, and CP with shared subspaces.

A tree over given modes is a binary tree with some of its bonds contracted, so contracting all
binary trees gives every tree: tensor trains in all orders, Tucker, hierarchical Tucker, and all
mixtures of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from structure_search.canonical import canonical_key
from tnet.formats import balanced_tree, cp, tensor_ring, tensor_train, tucker
from tnet.structure import Structure

NAMED = 3  # families, the first ones, are trees with a name
ALL_UP_TO = 5  # modes; 6 have 105 binary trees with 512 contractions each
Edge: TypeAlias = tuple[int, int]


def families(modes: Mapping[str, int]) -> tuple[tuple[str, Structure], ...]:
    """Return (label, structure with all ranks one) for every graph, the named formats first.

    Up to five modes these are all trees without idle nodes, all rings, and CP with any of its
    factors split in two; above that the named formats in the given order of modes.

    Examples
    --------
    >>> [label for label, _ in families({"x": 4, "y": 5, "z": 6})][:4]
    ['train', 'Tucker', 'balanced tree', 'CP']
    """
    made: list[tuple[str, Structure]] = [("train", tensor_train(modes)), ("Tucker", tucker(modes))]
    made.append(("balanced tree", balanced_tree(modes)))
    if len(modes) > 2:
        made.append(("CP", cp(modes)))
    if len(modes) <= ALL_UP_TO:
        made += [(_label(s), s) for s in trees_of(modes)]
        made += [("ring", s) for s in rings_of(modes)]
        made += [("CP in subspaces", s) for s in split_cp(modes)]
    seen: dict[str, tuple[str, Structure]] = {}
    for label, structure in made:
        seen.setdefault(graph_key(structure), (label, structure))
    return tuple(seen.values())


def graph_key(structure: Structure) -> str:
    """Return a text that is equal for structures that differ in ranks alone.

    Examples
    --------
    >>> graph_key(tensor_train((4, 5), 2)) == graph_key(tensor_train((4, 5), 3))
    True
    """
    # ranks of two tell graphs apart, which ranks of one would not
    key = canonical_key(structure.resized(dict.fromkeys(structure.ranks, 2)))
    return f"{key} {len(structure.nodes)}"


def _label(structure: Structure) -> str:
    path = all(len(structure.neighbours(node)) <= 2 for node in structure.node_names)
    single = len(structure.nodes) == len(structure.modes)
    return "reordered train" if path and single else "tree"


def trees_of(modes: Mapping[str, int]) -> Iterator[Structure]:
    """Yield every tree over `modes` whose nodes hold a mode or join three bonds, with ranks one.

    Examples
    --------
    >>> len(list(trees_of({"x": 4, "y": 5, "z": 6})))
    8
    """
    names = tuple(modes)
    seen = set()
    for edges in _binary_trees(len(names)):
        for kept in itertools.product((True, False), repeat=len(edges)):
            parts = _contracted(edges, kept)
            joined = [e for e, k in zip(edges, kept, strict=True) if k]
            structure = _tree(names, modes, parts, joined)
            if structure is None:
                continue
            key = graph_key(structure)
            if key not in seen:
                seen.add(key)
                yield structure


def _binary_trees(count: int) -> Iterator[tuple[Edge, ...]]:
    """Yield all unrooted binary trees as edges; leaves are 0, 1, ..., inner nodes -1, -2, ..."""
    if count < 4:
        yield tuple((leaf, -1) for leaf in range(count)) if count == 3 else ((0, 1),)[: count - 1]
        return
    for edges in _binary_trees(count - 1):
        for k, (a, b) in enumerate(edges):
            hub = 2 - count
            yield (*edges[:k], *edges[k + 1 :], (a, hub), (hub, b), (hub, count - 1))


def _contracted(edges: Sequence[Edge], kept: Sequence[bool]) -> dict[int, int]:
    """Return vertex -> the representative of the node it ends up in."""
    part = {0: 0} | {vertex: vertex for edge in edges for vertex in edge}
    for (a, b), keep in zip(edges, kept, strict=True):
        if not keep:
            old, new = part[a], part[b]
            part = {v: new if held == old else held for v, held in part.items()}
    return part


def _tree(
    names: Sequence[str],
    modes: Mapping[str, int],
    part: Mapping[int, int],
    edges: Sequence[Edge],
) -> Structure | None:
    """Build the structure of a contracted tree; None if a node joins two bonds and no mode."""
    held: dict[int, list[int]] = {}
    for vertex in sorted(part, key=lambda v: (v < 0, abs(v))):
        held.setdefault(part[vertex], []).extend([vertex] if vertex >= 0 else [])
    node, hubs = {}, 0
    for place, own in held.items():
        node[place] = f"u{min(own)}" if own else f"t{hubs}"
        hubs += not own
    legs = {node[place]: [names[k] for k in own] for place, own in held.items()}
    sizes = dict(modes)
    for a, b in edges:
        ends = node[part[a]], node[part[b]]
        bond = "-".join(sorted(ends))
        sizes[bond] = 1
        for end in ends:
            legs[end].append(bond)
    if any(len(legs[node[place]]) < 3 for place, own in held.items() if not own):
        return None
    return Structure(legs, sizes, names)


def rings_of(modes: Mapping[str, int]) -> Iterator[Structure]:
    """Yield the rings over all orders of `modes` that differ, with ranks one.

    Examples
    --------
    >>> len(list(rings_of({"w": 2, "x": 2, "y": 2, "z": 2})))
    3
    """
    first, *rest = modes
    if len(rest) < 2:
        return
    for order in itertools.permutations(rest):
        if order[0] < order[-1]:  # the other direction is the same ring
            ring = tensor_ring({name: modes[name] for name in (first, *order)})
            yield ring.permuted(tuple(modes))


def split_cp(modes: Mapping[str, int]) -> Iterator[Structure]:
    """Yield CP with some of its factors written as basis times coefficients, with ranks one.

    This is CP of a Tucker core (CANDELINC: Carroll, Pruzansky, Kruskal, Psychometrika 45 (1980)
    3): smaller than CP where the components share a subspace of a mode.

    Examples
    --------
    >>> len(list(split_cp({"x": 4, "y": 5, "z": 6})))
    7
    """
    if len(modes) < 3:
        return
    plain = cp(modes)
    shared = plain.hyperbonds[0]
    for chosen in itertools.product((False, True), repeat=len(modes)):
        if not any(chosen):
            continue
        legs: dict[str, tuple[str, ...]] = {}
        for k, (mode, split) in enumerate(zip(modes, chosen, strict=True)):
            if split:
                legs[f"c{k}"] = (f"c{k}-u{k}", shared)
                legs[f"u{k}"] = (mode, f"c{k}-u{k}")
            else:
                legs[f"u{k}"] = (mode, shared)
        sizes = {leg: 1 for held in legs.values() for leg in held} | dict(modes)
        yield Structure(legs, sizes, tuple(modes))
