"""structure_search: which network fits the data, found by evaluating structures."""

from typing import TYPE_CHECKING

from contraction._lazy import attach

if TYPE_CHECKING:
    from structure_search.estimator import StructureSearch as StructureSearch
    from structure_search.journal import RunRecord as RunRecord
    from structure_search.journal import read_run as read_run
    from structure_search.methods.adaptive import Adaptive as Adaptive
    from structure_search.methods.base import AbstractMethod as AbstractMethod
    from structure_search.methods.base import Answer as Answer
    from structure_search.methods.base import Problem as Problem
    from structure_search.methods.base import Proposal as Proposal
    from structure_search.methods.base import Warmth as Warmth
    from structure_search.methods.core_shape import CoreShape as CoreShape
    from structure_search.methods.cut_rank import CutRank as CutRank
    from structure_search.methods.cut_rank_levels import cut_rank_bound as cut_rank_bound
    from structure_search.methods.cut_rank_levels import cut_rank_start as cut_rank_start
    from structure_search.methods.greedy import Greedy as Greedy
    from structure_search.methods.greedy import Screening as Screening
    from structure_search.methods.greedy import StepChoice as StepChoice
    from structure_search.methods.halving import halved as halved
    from structure_search.methods.random_search import RandomSearch as RandomSearch
    from structure_search.methods.reuse import Reuse as Reuse
    from structure_search.methods.smallest_first import SmallestFirst as SmallestFirst
    from structure_search.methods.svdinstn import SVDinsTN as SVDinsTN
    from structure_search.methods.tnale import TnALE as TnALE
    from structure_search.methods.tnga import TNGA as TNGA
    from structure_search.methods.tnls import TNLS as TNLS
    from structure_search.methods.tree_search import TreeSearch as TreeSearch
    from structure_search.objectives import AbstractObjective as AbstractObjective
    from structure_search.objectives import Custom as Custom
    from structure_search.objectives import MaxBytes as MaxBytes
    from structure_search.objectives import MaxFlops as MaxFlops
    from structure_search.objectives import MaxParams as MaxParams
    from structure_search.objectives import RelativeError as RelativeError
    from structure_search.objectives import WeightedError as WeightedError
    from structure_search.results import Candidate as Candidate
    from structure_search.results import Counts as Counts
    from structure_search.results import ErrorOf as ErrorOf
    from structure_search.results import Evaluation as Evaluation
    from structure_search.results import Outcome as Outcome
    from structure_search.results import Result as Result
    from structure_search.results import Source as Source
    from structure_search.running import resume as resume
    from structure_search.running import search as search
    from structure_search.tasks.loss import Loss as Loss

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "structure_search.estimator": ["StructureSearch"],
        "structure_search.journal": ["RunRecord", "read_run"],
        "structure_search.methods.adaptive": ["Adaptive"],
        "structure_search.methods.base": [
            "AbstractMethod",
            "Answer",
            "Problem",
            "Proposal",
            "Warmth",
        ],
        "structure_search.methods.core_shape": ["CoreShape"],
        "structure_search.methods.cut_rank": ["CutRank"],
        "structure_search.methods.cut_rank_levels": ["cut_rank_bound", "cut_rank_start"],
        "structure_search.methods.greedy": ["Greedy", "Screening", "StepChoice"],
        "structure_search.methods.halving": ["halved"],
        "structure_search.methods.random_search": ["RandomSearch"],
        "structure_search.methods.reuse": ["Reuse"],
        "structure_search.methods.smallest_first": ["SmallestFirst"],
        "structure_search.methods.svdinstn": ["SVDinsTN"],
        "structure_search.methods.tnale": ["TnALE"],
        "structure_search.methods.tnga": ["TNGA"],
        "structure_search.methods.tnls": ["TNLS"],
        "structure_search.methods.tree_search": ["TreeSearch"],
        "structure_search.objectives": [
            "AbstractObjective",
            "Custom",
            "MaxBytes",
            "MaxFlops",
            "MaxParams",
            "RelativeError",
            "WeightedError",
        ],
        "structure_search.results": [
            "Candidate",
            "Counts",
            "ErrorOf",
            "Evaluation",
            "Outcome",
            "Result",
            "Source",
        ],
        "structure_search.running": ["resume", "search"],
        "structure_search.tasks.loss": ["Loss"],
    },
)
