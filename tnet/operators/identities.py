"""Channels that are exactly the identity, on one side of a bond or on the other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tnet.operators.tree_operator import TreeOperator
from tnet.trees import rooted


class IdentityChannels(NamedTuple):
    """Bond -> the channel that is exactly the identity; bonds without one are left out.

    Attributes
    ----------
    below
        Everything on the far side of the bond, seen from the root, is the identity.
    above
        Everything on the root's side of the bond is the identity: the part of the operator that
        lies wholly below the bond comes up through this channel.
    """

    below: dict[str, int]
    above: dict[str, int]


def identity_channels(operator: TreeOperator, root: str) -> IdentityChannels:
    """Find the channels of every bond that stand for exactly the identity.

    They are recognised by their entries alone: one entry of weight 1 with the identity on every
    mode and an identity channel on every other bond.

    Examples
    --------
    >>> import tnet
    >>> chain = tnet.tensor_train({"a": 2, "b": 2})
    >>> h = tnet.operator(chain, [(1.0, {"a": "x"}), (0.5, {"b": "x"})])
    >>> identity_channels(h, "g0")
    IdentityChannels(below={'g0-g1': 0}, above={'g0-g1': 1})
    """
    tree = rooted(operator.structure, root)
    bonds = operator.ranks
    below: dict[str, int] = {}
    plain: dict[str, np.ndarray] = {}  # node -> (entries, legs): nothing but identity there
    for node in tree.post_order:
        legs, core = operator.structure.legs[node], operator.cores[node]
        above_leg = tree.bond.get(node)
        flags = np.ones((len(core.weights), len(legs)), dtype=bool)
        for k, leg in enumerate(legs):
            if leg != above_leg:
                flags[:, k] = core.channels[:, k] == (below.get(leg, -1) if leg in bonds else 0)
        plain[node] = flags
        if above_leg is not None:
            column = core.channels[:, legs.index(above_leg)]
            one = flags.all(axis=1) & (core.weights == 1)
            found = _alone(column, one)
            if found >= 0:
                below[above_leg] = found
    above: dict[str, int] = {}
    for node in tree.pre_order:
        legs, core = operator.structure.legs[node], operator.cores[node]
        flags = plain[node].copy()
        above_leg = tree.bond.get(node)
        if above_leg is not None:
            k = legs.index(above_leg)
            flags[:, k] = core.channels[:, k] == above.get(above_leg, -1)
        missing = (~flags).sum(axis=1)
        for k, leg in enumerate(legs):
            if leg in bonds and leg != above_leg:
                one = (missing - ~flags[:, k] == 0) & (core.weights == 1)
                found = _alone(core.channels[:, k], one)
                if found >= 0:
                    above[leg] = found
    return IdentityChannels(below, above)


def _alone(column: np.ndarray, one: np.ndarray) -> int:
    """Return the first channel all of whose entries are one entry marked in `one`, or -1."""
    for channel in np.unique(column[one]):
        if int((column == channel).sum()) == 1:
            return int(channel)
    return -1
