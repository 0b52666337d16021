"""Canonical structures: what two structures must share to hold the same tensors.

Two reductions lose nothing. A bond of rank one multiplies by numbers, so it is left out (as
long as the network stays in one piece). A bond can use no more values than the other legs of
either end offer, r_e <= prod of the other legs, so higher ranks are lowered until that is
stable ("saturated ranks").
"""

from __future__ import annotations

import hashlib
import itertools
import math
from functools import lru_cache

from tnet.structure import Structure


@lru_cache(maxsize=4096)
def reduced(structure: Structure) -> Structure:
    """Return the smallest structure that holds the same tensors, by the two rules above.

    Examples
    --------
    >>> import tnet
    >>> reduced(tnet.tensor_train((2, 3, 2), (5, 5))).ranks
    mappingproxy({'g0-g1': 2, 'g1-g2': 2})
    >>> reduced(tnet.tensor_ring((2, 2, 2), (2, 2, 1))).bonds
    ('g0-g1', 'g1-g2')
    """
    return _without_idle_bonds(_saturated(structure))


@lru_cache(maxsize=4096)
def charged(structure: Structure) -> Structure:
    """Return the structure that is really fitted and counted: reduced, and in one piece.

    Parameters are charged for what is left when nothing is idle, not for the ranks that were
    asked for: that is the network which a user gets. (The published code of TnALE charges the
    ranks as asked, so its figures are never below these.)

    Examples
    --------
    >>> import tnet
    >>> wide = tnet.tensor_train((2, 3, 2), (5, 5))
    >>> wide.num_params, charged(wide).num_params
    (95, 20)
    """
    return in_one_piece(reduced(structure))


def in_one_piece(structure: Structure) -> Structure:
    """Return the structure with its parts joined by bonds of rank one, so that a tree is one.

    Examples
    --------
    >>> s = Structure({"a": ("x",), "b": ("y",)}, {"x": 2, "y": 3})
    >>> in_one_piece(s).ranks
    mappingproxy({'a-b': 1})
    """
    parts = structure.components
    for left, right in itertools.pairwise(parts):
        name = f"{left[0]}-{right[0]}"
        while name in structure.size:
            name += "'"
        structure = structure.with_bond(left[0], right[0], 1, name=name)
    return structure


def _saturated(structure: Structure) -> Structure:
    size = dict(structure.sizes)
    waiting = list(structure.bonds)
    while waiting:
        bond = waiting.pop()
        ends = structure.holders[bond]
        most = min(_others(structure.legs[node], bond, size) for node in ends)
        if most < size[bond]:
            size[bond] = most
            waiting += [b for n in ends for b in structure.legs[n] if b in structure.ranks]
            waiting = [b for b in waiting if len(structure.holders[b]) == 2]
    return structure if size == structure.size else structure.resized(size)


def _others(legs: tuple[str, ...], bond: str, size: dict[str, int]) -> int:
    return math.prod(size[leg] for leg in legs if leg != bond)


def _without_idle_bonds(structure: Structure) -> Structure:
    idle = [leg for leg in (*structure.bonds, *structure.hyperbonds) if structure.size[leg] == 1]
    if not idle or len(structure.nodes) == 1:
        return structure
    group = {node: node for node in structure.node_names}

    def find(node: str) -> str:
        while group[node] != node:
            group[node] = group[group[node]]
            node = group[node]
        return node

    def join(leg: str) -> bool:
        roots = {find(node) for node in structure.holders[leg]}
        first = min(roots)
        group.update(dict.fromkeys(roots, first))
        return len(roots) > 1

    for leg in structure.ranks:
        if structure.size[leg] > 1:
            join(leg)
    dropped = {leg for leg in idle if not join(leg)}
    nodes = [(n, tuple(leg for leg in legs if leg not in dropped)) for n, legs in structure.nodes]
    return Structure(nodes, structure.sizes, structure.modes) if dropped else structure


@lru_cache(maxsize=4096)
def canonical_key(structure: Structure) -> str:
    """Return a digest that is equal for structures that hold the same tensors.

    Names of nodes and bonds, the order of legs and bonds of rank one play no part; modes keep
    their names. Nodes without a mode are told apart by what is around them; should two of them
    look alike from near and not from afar, equal structures may get two keys (a fit is then
    done twice), never two structures one key.

    Examples
    --------
    >>> import tnet
    >>> a = tnet.tensor_ring((2, 2, 2), (2, 2, 1))
    >>> b = tnet.tensor_train((2, 2, 2), 2)
    >>> canonical_key(a) == canonical_key(b)
    True
    """
    return hashlib.blake2b(_text(reduced(structure)).encode(), digest_size=8).hexdigest()


def _text(structure: Structure) -> str:
    open_legs = set(structure.modes)
    label = {}
    for node, legs in structure.nodes:
        own = sorted(f"{leg!r}={structure.size[leg]}" for leg in legs if leg in open_legs)
        label[node] = "+".join(own)
    hubs = [node for node in structure.node_names if not label[node]]
    if hubs:
        seen = _refined(structure, label)
        for k, hub in enumerate(sorted(hubs, key=lambda node: (seen[node], node))):
            label[hub] = f"#{k}"
    live = [leg for leg in structure.ranks if structure.size[leg] > 1]
    bonds = sorted(
        "~".join(sorted(label[n] for n in structure.holders[leg])) + f":{structure.size[leg]}"
        for leg in live
    )
    return " ".join([*sorted(label.values()), "|", *bonds])


def _refined(structure: Structure, label: dict[str, str]) -> dict[str, str]:
    """Colour refinement: each round a node's colour takes in its neighbours' colours."""
    color = dict(label)
    for _ in range(min(len(color), 8)):
        fresh = {}
        for node, legs in structure.nodes:
            around = sorted(
                f"{structure.size[leg]}:{color[other]}"
                for leg in legs
                if leg in structure.ranks and structure.size[leg] > 1
                for other in structure.holders[leg]
                if other != node
            )
            text = f"{color[node]}({','.join(around)})"
            fresh[node] = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        color = fresh
    return color
