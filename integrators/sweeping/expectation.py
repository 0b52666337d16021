"""The expectation value of the operator behind a linear field."""

from __future__ import annotations

from contraction.arrays import to_numpy
from integrators.field import AbstractField
from integrators.sweeping.states import carried
from integrators.tree_state import TreeState


def energy_of(field: AbstractField, state: TreeState) -> float:
    """Return <state| factor * operator |state> / <state|state>, its real part.

    One pass over the tree.
    """
    held = carried(field, state, "energy_of")
    centre = held.centre
    sight = centre.sight
    leg = next((x for x in sight.axes[centre.at] if sight.is_bond(x)), "")
    x = centre.matrix(centre.at, leg) if leg else centre.arrays[centre.at]
    z = x.reshape(-1)
    acted = centre.single(centre.at, leg)(z)[0]
    if acted is None:
        return 0.0
    found = complex(to_numpy(sight.xp.vecdot(z, acted))) * held.field.factor
    return complex(found).real / state.norm**2
