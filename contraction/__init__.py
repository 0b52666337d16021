"""contraction: arrays, linear algebra, the truncation rule, the planner and the executor."""

from typing import TYPE_CHECKING

from contraction._lazy import attach

if TYPE_CHECKING:
    from contraction.calibration import calibrate as calibrate
    from contraction.error_kinds import ErrorKind as ErrorKind
    from contraction.errors import TnetError as TnetError
    from contraction.errors import WorkerError as WorkerError
    from contraction.explanation import Explanation as Explanation
    from contraction.explanation import explain as explain
    from contraction.factor import Method as Method
    from contraction.factor import left_basis as left_basis
    from contraction.factor import truncated_svd as truncated_svd
    from contraction.linalg import eigh as eigh
    from contraction.linalg import polar as polar
    from contraction.linalg import qr as qr
    from contraction.linalg import singular_values as singular_values
    from contraction.linalg import solve_psd as solve_psd
    from contraction.linalg import svd as svd
    from contraction.planner import plan as plan
    from contraction.plans import Plan as Plan
    from contraction.reuse.batching import batched as batched
    from contraction.reuse.environments import environments as environments
    from contraction.reuse.environments import value_and_gradients as value_and_gradients
    from contraction.reuse.evaluation import Evaluation as Evaluation
    from contraction.reuse.precision import MixedResult as MixedResult
    from contraction.reuse.precision import mixed_run as mixed_run
    from contraction.search.compiled import compile_kernels as compile_kernels
    from contraction.search.objectives import Objective as Objective
    from contraction.slices import SliceJob as SliceJob
    from contraction.slices import slice_job as slice_job
    from contraction.spec import Spec as Spec
    from contraction.summation import einsum as einsum
    from contraction.truncation import Truncation as Truncation
    from contraction.tuning import tune as tune
    from contraction.workers.cluster import Dask as Dask
    from contraction.workers.devices import Devices as Devices
    from contraction.workers.processes import Processes as Processes
    from contraction.workers.running import contract_with as contract_with
    from contraction.workers.running import resume_contraction as resume_contraction
    from contraction.workers.schedulers import Serial as Serial
    from contraction.workers.schedulers import Threads as Threads

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "contraction.calibration": ["calibrate"],
        "contraction.error_kinds": ["ErrorKind"],
        "contraction.errors": ["TnetError", "WorkerError"],
        "contraction.explanation": ["Explanation", "explain"],
        "contraction.factor": ["Method", "left_basis", "truncated_svd"],
        "contraction.linalg": ["eigh", "polar", "qr", "singular_values", "solve_psd", "svd"],
        "contraction.planner": ["plan"],
        "contraction.plans": ["Plan"],
        "contraction.slices": ["SliceJob", "slice_job"],
        "contraction.reuse.batching": ["batched"],
        "contraction.reuse.environments": ["environments", "value_and_gradients"],
        "contraction.reuse.evaluation": ["Evaluation"],
        "contraction.reuse.precision": ["MixedResult", "mixed_run"],
        "contraction.search.compiled": ["compile_kernels"],
        "contraction.search.objectives": ["Objective"],
        "contraction.spec": ["Spec"],
        "contraction.summation": ["einsum"],
        "contraction.truncation": ["Truncation"],
        "contraction.tuning": ["tune"],
        "contraction.workers.cluster": ["Dask"],
        "contraction.workers.devices": ["Devices"],
        "contraction.workers.processes": ["Processes"],
        "contraction.workers.running": ["contract_with", "resume_contraction"],
        "contraction.workers.schedulers": ["Serial", "Threads"],
    },
)
