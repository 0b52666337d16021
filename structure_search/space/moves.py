"""Moves on graphs: split a node, merge two, exchange modes; trees as families of sets of modes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from contraction.errors import StructureError
from tnet.structure import Structure
from tnet.trees import rooted

Modes = frozenset[str]


def split_node(structure: Structure, node: str, legs: Sequence[str], rank: int = 1) -> Structure:
    """Return the structure with some legs of a node on a new node, joined to the old one.

    The new node stands behind the old one and is named after it.

    Raises
    ------
    StructureError
        No such node, `legs` that it does not hold, or nothing to split.

    Examples
    --------
    >>> import tnet
    >>> tucker = tnet.tucker((2, 3, 4, 5), 2)
    >>> split_node(tucker, "core", tucker.legs["core"][:2], 4).num_params
    60
    """
    own = structure.legs.get(node, ())
    moved = [leg for leg in own if leg in set(legs)]
    if len(moved) != len(set(legs)) or not moved or len(moved) == len(own):
        raise StructureError(
            f"to split node {node!r} name some but not all of its legs {list(own)}, "
            f"got {list(legs)}."
        )
    fresh = _unused(f"{node}'", structure.legs)
    bond = _unused(f"{node}-{fresh}", structure.size)
    nodes = []
    for name, held in structure.nodes:
        if name != node:
            nodes.append((name, held))
            continue
        nodes.append((node, (*(leg for leg in held if leg not in moved), bond)))
        nodes.append((fresh, (bond, *moved)))
    return Structure(nodes, {**structure.size, bond: rank}, structure.modes)


def merged(structure: Structure, bond: str) -> Structure:
    """Return the structure with the two ends of a bond as one node.

    Other bonds between the two vanish with it.

    Raises
    ------
    StructureError
        There is no bond of that name between two nodes.

    Examples
    --------
    >>> import tnet
    >>> merged(tnet.tensor_train((2, 3, 4), 2), "g0-g1").legs["g0"]
    ('x0', 'x1', 'g1-g2')
    """
    if bond not in structure.bonds:
        raise StructureError(f"{bond!r} is no bond; the bonds are {list(structure.bonds)[:12]}.")
    kept, gone = structure.holders[bond]
    shared = {leg for leg in structure.legs[kept] if set(structure.holders[leg]) == {kept, gone}}
    legs = dict.fromkeys((*structure.legs[kept], *structure.legs[gone]))
    joined = tuple(leg for leg in legs if leg not in shared)
    nodes = [(n, joined if n == kept else held) for n, held in structure.nodes if n != gone]
    return Structure(nodes, structure.size, structure.modes)


def exchanged(structure: Structure, a: str, b: str) -> Structure:
    """Return the structure with modes `a` and `b` at each other's nodes.

    Raises
    ------
    StructureError
        One of them is no mode.

    Examples
    --------
    >>> import tnet
    >>> exchanged(tnet.tensor_train((2, 3, 4), 2), "x0", "x2").num_params
    24
    """
    for mode in (a, b):
        if mode not in structure.modes:
            raise StructureError(f"{mode!r} is no mode; the modes are {list(structure.modes)}.")
    other = {a: b, b: a}
    nodes = [(n, tuple(other.get(leg, leg) for leg in legs)) for n, legs in structure.nodes]
    return Structure(nodes, structure.size, structure.modes)


def interchanges(structure: Structure, bond: str) -> Iterator[Structure]:
    """Yield the trees in which two branches on either side of a bond have changed sides.

    The bonds that move keep their ranks; an end with fewer than two other legs has no branches
    to exchange. These are the nearest-neighbour interchanges of
    phylogenetics (Robinson, J. Comb. Theory B 11 (1971) 105); with splits and merges they reach
    every tree.

    Raises
    ------
    StructureError
        There is no bond of that name between two nodes.

    Examples
    --------
    >>> import tnet
    >>> train = tnet.tensor_train((2, 3, 4, 5), 2)
    >>> len(list(interchanges(train, "g1-g2")))
    4
    """
    if bond not in structure.bonds:
        raise StructureError(f"{bond!r} is no bond; the bonds are {list(structure.bonds)[:12]}.")
    left, right = structure.holders[bond]
    sides = [[leg for leg in structure.legs[n] if leg != bond] for n in (left, right)]
    if min(map(len, sides)) < 2:
        return
    for a, b in itertools.product(*sides):
        other = {left: {a: b}, right: {b: a}}
        yield Structure(
            [
                (n, tuple(other.get(n, {}).get(leg, leg) for leg in legs))
                for n, legs in structure.nodes
            ],
            structure.size,
            structure.modes,
        )


def laminar_family(structure: Structure) -> dict[Modes, int]:
    """Return a tree as sets of modes with ranks: the side of each bond without the first mode.

    Any two of the sets are disjoint or nested. Trees with equal families hold the same tensors.

    Raises
    ------
    StructureError
        The structure is no tree.

    Cost: the modes below every bond are listed, so quadratic in the modes for a train.

    Examples
    --------
    >>> import tnet
    >>> laminar_family(tnet.tensor_train((2, 3, 4), (2, 3)))[frozenset({"x2"})]
    3
    """
    first = structure.modes[0] if structure.modes else ""
    root = structure.holders[first][0] if first else structure.node_names[0]
    seen = rooted(structure, root)
    below = seen.leaves_below
    return {
        frozenset(below[node]): structure.size[seen.bond[node]]
        for node in structure.node_names
        if node in seen.bond
    }


def tree_from_family(family: Mapping[Iterable[str], int], modes: Mapping[str, int]) -> Structure:
    """Return the tree of a laminar family: sets of modes -> rank of the bond around each.

    Every set becomes a node that holds its modes outside of its own subsets; the node that is
    left holds the rest. `modes` is mode -> size, in the order of the data.

    Raises
    ------
    StructureError
        Two sets overlap, a set is empty or everything, or it names an unknown mode.

    Examples
    --------
    >>> made = tree_from_family({("x",): 2, ("x", "y"): 3}, {"x": 4, "y": 5, "z": 6})
    >>> made.num_params
    56
    """
    ordered = sorted(((frozenset(s), rank) for s, rank in family.items()), key=lambda p: len(p[0]))
    for one, _ in ordered:
        if not one or not one < set(modes):
            raise StructureError(
                f"a set of the family names some but not all of {list(modes)}, got {sorted(one)}."
            )
    nodes: list[list[str]] = []
    sizes = dict(modes)
    top = {mode: mode for mode in modes}  # the leg by which a mode is reached so far
    for k, (one, rank) in enumerate(ordered):
        inner = {top[mode] for mode in one}
        if any(top[mode] in inner for mode in modes if mode not in one):
            raise StructureError(f"{sorted(one)} overlaps another set of the family.")
        bond = _unused(f"b{k}", sizes)
        nodes.append([*dict.fromkeys(top[m] for m in modes if m in one), bond])
        sizes[bond] = rank
        top |= dict.fromkeys(one, bond)
    nodes.append(list(dict.fromkeys(top.values())))
    return Structure([(f"t{k}", legs) for k, legs in enumerate(nodes)], sizes, tuple(modes))


def _unused(name: str, taken: Iterable[str]) -> str:
    known = set(taken)
    while name in known:
        name += "'"
    return name
