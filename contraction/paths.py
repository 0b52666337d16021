"""Objectives, and the search for a contraction tree without slices."""

from __future__ import annotations

import math

from contraction.cost import CostModel
from contraction.search import portfolio
from contraction.search.objectives import Objective as Objective
from contraction.search.objectives import read_objective as read_objective
from contraction.search.parts import components as components
from contraction.search.portfolio import _all_trees as _all_trees
from contraction.spec import Canonical
from contraction.tree import Pairs


def search_pairs(
    canonical: Canonical,
    objective: Objective,
    model: CostModel,
    *,
    seconds: float | None = None,
    max_size: float = math.inf,
) -> Pairs:
    """Return the tree of `contraction.search.portfolio.search_pairs`."""
    return portfolio.search_pairs(
        canonical, objective, model, seconds=seconds, max_size=max_size
    ).pairs
