"""Integrators: low-rank networks in time, and their ground states."""

from typing import TYPE_CHECKING

from contraction._lazy import attach

if TYPE_CHECKING:
    from integrators.binding import Driven as Driven
    from integrators.control import ConstantStep as ConstantStep
    from integrators.control import PIStep as PIStep
    from integrators.control_conserve import KeepMoments as KeepMoments
    from integrators.control_conserve import KeepNorm as KeepNorm
    from integrators.control_ranks import RankRejection as RankRejection
    from integrators.control_ranks import Scaling as Scaling
    from integrators.evolving import evolve as evolve
    from integrators.excited import excited_states as excited_states
    from integrators.flow import Flow as Flow
    from integrators.flow import Outcome as Outcome
    from integrators.ground import DMRG as DMRG
    from integrators.ground import Ground as Ground
    from integrators.ground import GroundOutcome as GroundOutcome
    from integrators.ground import ground_state as ground_state
    from integrators.local_solvers import AdaptiveRungeKutta as AdaptiveRungeKutta
    from integrators.local_solvers import DenseExponential as DenseExponential
    from integrators.local_solvers import ImplicitMidpoint as ImplicitMidpoint
    from integrators.local_solvers import Krylov as Krylov
    from integrators.local_solvers import RungeKutta4 as RungeKutta4
    from integrators.nonlinear import Nonlinear as Nonlinear
    from integrators.nonlinear import Together as Together
    from integrators.steppers.augmented import AugmentedBUG as AugmentedBUG
    from integrators.steppers.fixed import FixedBUG as FixedBUG
    from integrators.steppers.growth import Growth as Growth
    from integrators.steppers.midpoint import MidpointBUG as MidpointBUG
    from integrators.steppers.parallel import Coupling as Coupling
    from integrators.steppers.parallel import ParallelBUG as ParallelBUG
    from integrators.steppers.parallel_second import ParallelBUG2 as ParallelBUG2
    from integrators.steppers.tdvp import TDVP as TDVP

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "integrators.binding": ["Driven"],
        "integrators.control": ["ConstantStep", "PIStep"],
        "integrators.control_conserve": ["KeepMoments", "KeepNorm"],
        "integrators.control_ranks": ["RankRejection", "Scaling"],
        "integrators.evolving": ["evolve"],
        "integrators.excited": ["excited_states"],
        "integrators.flow": ["Flow", "Outcome"],
        "integrators.ground": ["DMRG", "Ground", "GroundOutcome", "ground_state"],
        "integrators.local_solvers": [
            "AdaptiveRungeKutta",
            "DenseExponential",
            "ImplicitMidpoint",
            "Krylov",
            "RungeKutta4",
        ],
        "integrators.nonlinear": ["Nonlinear", "Together"],
        "integrators.steppers.augmented": ["AugmentedBUG"],
        "integrators.steppers.fixed": ["FixedBUG"],
        "integrators.steppers.growth": ["Growth"],
        "integrators.steppers.midpoint": ["MidpointBUG"],
        "integrators.steppers.parallel": ["Coupling", "ParallelBUG"],
        "integrators.steppers.parallel_second": ["ParallelBUG2"],
        "integrators.steppers.tdvp": ["TDVP"],
    },
)
