"""contraction: arrays, linear algebra, the truncation rule, the planner and the executor."""

from contraction.plan import Plan as Plan
from contraction.plan import plan as plan
from contraction.spec import Spec as Spec
from contraction.truncation import Truncation as Truncation
