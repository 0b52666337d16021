"""contraction: arrays, linear algebra, the truncation rule, the planner and the executor."""

from typing import TYPE_CHECKING

from contraction._lazy import attach

if TYPE_CHECKING:
    from contraction.errors import TnetError as TnetError
    from contraction.planner import Plan as Plan
    from contraction.planner import plan as plan
    from contraction.spec import Spec as Spec
    from contraction.truncation import Truncation as Truncation

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "contraction.errors": ["TnetError"],
        "contraction.planner": ["Plan", "plan"],
        "contraction.spec": ["Spec"],
        "contraction.truncation": ["Truncation"],
    },
)
