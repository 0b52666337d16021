"""The methods by name, for run folders and the shell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contraction.errors import CheckpointError
from structure_search.methods.adaptive import Adaptive
from structure_search.methods.base import AbstractMethod
from structure_search.methods.core_shape import CoreShape
from structure_search.methods.cut_rank import CutRank
from structure_search.methods.greedy import Greedy
from structure_search.methods.random_search import RandomSearch
from structure_search.methods.reuse import Reuse
from structure_search.methods.smallest_first import SmallestFirst
from structure_search.methods.svdinstn import SVDinsTN
from structure_search.methods.tnale import TnALE
from structure_search.methods.tnga import TNGA
from structure_search.methods.tnls import TNLS
from structure_search.methods.tree_search import TreeSearch

METHODS: Mapping[str, Any] = {
    "Adaptive": Adaptive,
    "CoreShape": CoreShape,
    "CutRank": CutRank,
    "Greedy": Greedy,
    "RandomSearch": RandomSearch,
    "Reuse": Reuse,
    "SmallestFirst": SmallestFirst,
    "SVDinsTN": SVDinsTN,
    "TnALE": TnALE,
    "TNGA": TNGA,
    "TNLS": TNLS,
    "TreeSearch": TreeSearch,
}


def method_from_dict(data: Mapping[str, Any]) -> AbstractMethod:
    """Return the method that `method_to_dict` wrote.

    Examples
    --------
    >>> method_from_dict({"name": "CoreShape", "options": {"max_params": 100}}).max_params
    100
    """
    name = data.get("name")
    if not isinstance(name, str) or name not in METHODS:
        raise CheckpointError(
            f"the run was made by the method {name!r}, which is not one of {list(METHODS)}; "
            "pass it to `resume` as `method`."
        )
    try:
        method: AbstractMethod = METHODS[name](**data["options"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"the options of {name} in run.json are damaged: {error}.") from error
    return method
