"""Which ranks a tree can have at all, and which ones were asked for."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from contraction.errors import RankError
from tnet.formats import ranks_of
from tnet.structure import Structure
from tnet.trees import RootedTree

Ranks: TypeAlias = "int | Sequence[int] | Mapping[str, int]"


def possible_ranks(tree: RootedTree, caps: Mapping[str, int] | None = None) -> dict[str, int]:
    """Return bond -> the largest rank that can be of use, given the caps on all of them.

    No rank exceeds the product of the other legs on either of its two nodes; that is iterated up
    and down the tree until nothing changes. Linear in the number of nodes for each round.

    Examples
    --------
    >>> from tnet.formats import tensor_train
    >>> from tnet.trees import rooted
    >>> possible_ranks(rooted(tensor_train((2, 3, 4))))
    {'g1-g2': 4, 'g0-g1': 2}
    """
    structure = tree.structure
    modes = set(structure.modes)
    size: dict[str, float] = {leg: structure.size[leg] for leg in modes}
    size |= {leg: (caps or {}).get(leg, math.inf) for leg in structure.bonds}
    changed = True
    while changed:
        changed = False
        for order in (tree.post_order, tree.pre_order):
            for node in order:
                changed |= _clip(structure.legs[node], size, modes)
    return {tree.bond[node]: int(size[tree.bond[node]]) for node in tree.post_order[:-1]}


def _clip(legs: Sequence[str], size: dict[str, float], modes: set[str]) -> bool:
    """Clip the bonds of one node by the product of its other legs; tell whether one changed."""
    unbounded = [leg for leg in legs if math.isinf(size[leg])]
    if len(unbounded) > 1:
        return False
    product = math.prod(int(size[leg]) for leg in legs if leg not in unbounded)
    changed = False
    for leg in unbounded or [leg for leg in legs if leg not in modes]:
        others = product if unbounded else product // int(size[leg])
        if others < size[leg]:
            size[leg] = others
            product = product if unbounded else others * others
            changed = True
    return changed


def asked_ranks(structure: Structure, ranks: Ranks) -> dict[str, int]:
    """Return bond -> rank for an int, a sequence in the order of `Structure.ranks`, or a mapping.

    Raises
    ------
    RankError
        No whole number >= 1, or a wrong number of ranks, or an unknown bond.
    """
    plain: Any = ranks.tolist() if hasattr(ranks, "tolist") else ranks
    if isinstance(plain, (str, bytes)) or plain is None:
        raise RankError(f"`ranks` is a whole number, a sequence or a mapping, got {ranks!r}.")
    return ranks_of(plain, list(structure.ranks))


def clipped(tree: RootedTree, ranks: Ranks, asked: Mapping[str, int]) -> dict[str, int]:
    """Return the asked ranks, cut to what is possible; warn once if a rank was too large.

    One number for all bonds is a cap: it is too large only where no bond can have it.
    """
    free = possible_ranks(tree)
    over = [bond for bond in free if asked[bond] > free[bond]]
    uniform = len(set(asked.values())) == 1 and not isinstance(ranks, Mapping)
    if over and (not uniform or len(over) == len(free)):
        shown = ", ".join(f"{bond}: {asked[bond]} > {free[bond]}" for bond in over[:4])
        warnings.warn(
            f"{len(over)} of {len(free)} ranks exceed what the shape allows and are clipped "
            f"({shown}).",
            UserWarning,
            stacklevel=4,
        )
    return possible_ranks(tree, asked)


def least_params(structure: Structure) -> int:
    """Return the number of entries with every rank one: the smallest budget that can be met."""
    modes = set(structure.modes)
    return sum(
        math.prod(structure.size[leg] for leg in legs if leg in modes)
        for _, legs in structure.nodes
    )


def within_budget(
    tree: RootedTree, caps: Mapping[str, int] | None, max_params: int
) -> dict[str, int]:
    """Return bond -> the largest rank it could have if all other ranks were one.

    Raises
    ------
    RankError
        Not even ranks of one fit.
    """
    structure = tree.structure
    least = least_params(structure)
    if max_params < least:
        raise RankError(
            f"`max_params` {max_params} is below {least}, the entries of this network with every "
            "rank one; raise it or choose a structure with fewer or smaller nodes."
        )
    modes = set(structure.modes)
    own = {
        node: math.prod(structure.size[leg] for leg in legs if leg in modes)
        for node, legs in structure.nodes
    }
    most = {}
    for bond in structure.bonds:
        a, b = structure.holders[bond]
        step = own[a] + own[b]  # entries that one more of this rank costs at least
        most[bond] = max((max_params - least) // step + 1, 1)
    return possible_ranks(tree, {b: min(r, (caps or most)[b]) for b, r in most.items()})
