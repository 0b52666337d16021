"""Integrators: low-rank networks in time, and their ground states."""

from typing import TYPE_CHECKING

from contraction._lazy import attach

if TYPE_CHECKING:
    from integrators.binding import Driven as Driven
    from integrators.binding import bind as bind
    from integrators.control import ConstantStep as ConstantStep
    from integrators.control import PIStep as PIStep
    from integrators.control_conserve import KeepMoments as KeepMoments
    from integrators.control_conserve import KeepNorm as KeepNorm
    from integrators.control_ranks import RankRejection as RankRejection
    from integrators.control_ranks import Scaling as Scaling
    from integrators.cutting import Cut as Cut
    from integrators.cutting import cut as cut
    from integrators.evolving import evolve as evolve
    from integrators.excited import excited_states as excited_states
    from integrators.field import AbstractField as AbstractField
    from integrators.flow import Flow as Flow
    from integrators.flow import Outcome as Outcome
    from integrators.frame import Frame as Frame
    from integrators.frame import frame_of as frame_of
    from integrators.ground import Ground as Ground
    from integrators.ground import GroundOutcome as GroundOutcome
    from integrators.ground import ground_state as ground_state
    from integrators.ground import sweeps_of as sweeps_of
    from integrators.ground_search import Progress as Progress
    from integrators.ground_search import Sweep as Sweep
    from integrators.ground_settings import DMRG as DMRG
    from integrators.ground_trees import GroundTree as GroundTree
    from integrators.ground_trees import ground_tree as ground_tree
    from integrators.local_problem import AbstractLocalSolver as AbstractLocalSolver
    from integrators.local_problem import LocalProblem as LocalProblem
    from integrators.local_solvers import AdaptiveRungeKutta as AdaptiveRungeKutta
    from integrators.local_solvers import DenseExponential as DenseExponential
    from integrators.local_solvers import ImplicitMidpoint as ImplicitMidpoint
    from integrators.local_solvers import Lanczos as Lanczos
    from integrators.local_solvers import RungeKutta4 as RungeKutta4
    from integrators.nonlinear import Nonlinear as Nonlinear
    from integrators.nonlinear import Together as Together
    from integrators.seeding import seeded as seeded
    from integrators.steppers.augmented import AugmentedBUG as AugmentedBUG
    from integrators.steppers.base import AbstractStepper as AbstractStepper
    from integrators.steppers.base import Estimates as Estimates
    from integrators.steppers.base import Statistics as Statistics
    from integrators.steppers.base import Step as Step
    from integrators.steppers.fixed import FixedBUG as FixedBUG
    from integrators.steppers.growth import Growth as Growth
    from integrators.steppers.midpoint import MidpointBUG as MidpointBUG
    from integrators.steppers.parallel import Coupling as Coupling
    from integrators.steppers.parallel import ParallelBUG as ParallelBUG
    from integrators.steppers.parallel_second import ParallelBUG2 as ParallelBUG2
    from integrators.steppers.tdvp import TDVP as TDVP
    from integrators.steppers.tebd import TEBD as TEBD
    from integrators.thermal import Thermal as Thermal
    from integrators.thermal import lifted as lifted
    from integrators.thermal import thermal_state as thermal_state
    from integrators.tree_state import TreeState as TreeState

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "integrators.binding": ["Driven", "bind"],
        "integrators.control": ["ConstantStep", "PIStep"],
        "integrators.control_conserve": ["KeepMoments", "KeepNorm"],
        "integrators.control_ranks": ["RankRejection", "Scaling"],
        "integrators.cutting": ["Cut", "cut"],
        "integrators.evolving": ["evolve"],
        "integrators.excited": ["excited_states"],
        "integrators.field": ["AbstractField"],
        "integrators.flow": ["Flow", "Outcome"],
        "integrators.frame": ["Frame", "frame_of"],
        "integrators.ground": ["Ground", "GroundOutcome", "ground_state", "sweeps_of"],
        "integrators.ground_search": ["Progress", "Sweep"],
        "integrators.ground_settings": ["DMRG"],
        "integrators.ground_trees": ["GroundTree", "ground_tree"],
        "integrators.local_problem": ["AbstractLocalSolver", "LocalProblem"],
        "integrators.local_solvers": [
            "AdaptiveRungeKutta",
            "DenseExponential",
            "ImplicitMidpoint",
            "Lanczos",
            "RungeKutta4",
        ],
        "integrators.nonlinear": ["Nonlinear", "Together"],
        "integrators.seeding": ["seeded"],
        "integrators.steppers.augmented": ["AugmentedBUG"],
        "integrators.steppers.base": ["AbstractStepper", "Estimates", "Statistics", "Step"],
        "integrators.steppers.fixed": ["FixedBUG"],
        "integrators.steppers.growth": ["Growth"],
        "integrators.steppers.midpoint": ["MidpointBUG"],
        "integrators.steppers.parallel": ["Coupling", "ParallelBUG"],
        "integrators.steppers.parallel_second": ["ParallelBUG2"],
        "integrators.steppers.tdvp": ["TDVP"],
        "integrators.steppers.tebd": ["TEBD"],
        "integrators.thermal": ["Thermal", "lifted", "thermal_state"],
        "integrators.tree_state": ["TreeState"],
    },
)
