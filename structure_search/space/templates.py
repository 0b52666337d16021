"""Templates: the graph whose bonds get ranks and whose places get modes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from contraction.errors import InputError
from tnet.formats import balanced_tree, fully_connected, grid, tensor_ring, tensor_train
from tnet.structure import Structure


class Template(StrEnum):
    """A family of graphs, for any number of modes."""

    TRAIN = "train"
    RING = "ring"
    TREE = "tree"  # balanced and binary, with the modes at the leaves
    GRID = "grid"
    FULL = "full"  # a bond between every two nodes: with rank one it is absent


def template_graph(template: Template, modes: Mapping[str, int]) -> Structure:
    """Return the graph of a template over `modes` (name -> size), with all ranks one.

    One or two modes have only one graph, whatever the template: a ring of two nodes would have
    two bonds side by side.

    Examples
    --------
    >>> template_graph(Template.RING, {"x": 4, "y": 5, "z": 6}).bonds
    ('g2-g0', 'g0-g1', 'g1-g2')
    """
    if len(modes) < 3 or template is Template.TRAIN:
        return tensor_train(modes)
    if template is Template.RING:
        return tensor_ring(modes)
    if template is Template.TREE:
        return balanced_tree(modes)
    if template is Template.GRID:
        return grid(modes)
    return fully_connected(modes)


def read_template(name: Template | str) -> Template:
    """Return the template of a name.

    Raises
    ------
    InputError
        There is none of that name.

    Examples
    --------
    >>> read_template("ring")
    <Template.RING: 'ring'>
    """
    try:
        return Template(name)
    except ValueError:
        known = ", ".join(repr(template.value) for template in Template)
        raise InputError(f"`template` is one of {known}, got {name!r}.") from None


def completed(structure: Structure) -> Structure:
    """Return the structure with a bond of rank one between every two nodes that have none.

    Bonds come in the order of pairs of nodes, row by row.

    Raises
    ------
    InputError
        Two nodes have several bonds, a bond has more than two ends, or a node has no mode.

    Examples
    --------
    >>> completed(tensor_train((2, 3, 4), 2)).ranks
    mappingproxy({'g0-g1': 2, 'g0-g2': 1, 'g1-g2': 2})
    """
    names = structure.node_names
    rank: dict[tuple[str, ...], int] = {}
    for leg, size in structure.ranks.items():
        ends = structure.holders[leg]
        if len(ends) > 2 or ends in rank:
            raise InputError(
                f"the start has more than one bond between two nodes, or one bond of several "
                f"({leg!r} between {', '.join(ends)}); a search over all pairs of nodes needs "
                "one bond for each pair."
            )
        rank[ends] = size
    own = {n: [x for x in legs if x not in structure.ranks] for n, legs in structure.nodes}
    if bare := [node for node in names if not own[node]]:
        raise InputError(
            f"the nodes {', '.join(bare[:12])} of the start have no mode; a search over all "
            "pairs needs nodes with modes. Search the start's own graph with another template."
        )
    made = Structure(own, structure.sizes, structure.modes)
    for k, a in enumerate(names):
        for b in names[k + 1 :]:
            made = made.with_bond(a, b, rank.get((a, b), 1), name=_fresh(f"{a}-{b}", structure))
    return made


def _fresh(name: str, structure: Structure) -> str:
    while name in structure.modes:
        name += "'"
    return name
