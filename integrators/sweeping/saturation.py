"""Which subtrees a sweep can leave alone."""

from __future__ import annotations

from integrators.sweeping.centre import Centre


def saturated(centre: Centre) -> list[str]:
    """Return the nodes whose bond spans the whole space of everything below it.

    Such a subtree can represent anything already: no optimum and no step in time is changed by
    leaving it as it is, exactly. Parents come first.
    """
    found: set[str] = set()
    tree = centre.tree
    for node in tree.post_order[:-1]:
        r = centre.arrays[node].shape[centre.sight.axes[node].index(tree.bond[node])]
        below = all(child in found for child in tree.children[node])
        if below and int(r) ** 2 == centre.size(node):
            found.add(node)
    return [node for node in tree.pre_order if node in found]
