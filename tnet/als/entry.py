"""fit: the one door to alternating least squares."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from contraction.arrays import Array, namespace
from contraction.errors import BackendError, DTypeError, InputError, ShapeError, StructureError
from tnet.als.dense import DenseProblem, Target, dense_problem
from tnet.als.options import ALS, Fit, FitOutcome
from tnet.als.race import Progress, Run, race
from tnet.als.start import balanced, carried_over
from tnet.certificate import Certificate, ErrorKind
from tnet.network import Network
from tnet.structure import Structure


def fit(
    x: Array | Target,
    structure: Structure | Network,
    *,
    mask: Array | None = None,
    start: Network | None = None,
    rng: np.random.Generator,
    options: ALS | None = None,
) -> Fit:
    """Fit a network of any graph to a tensor by alternating least squares.

    Cycles, hyperbonds (CP), nodes without modes and nodes with several modes are all welcome.
    Ranks may exceed what the data need.

    Parameters
    ----------
    x
        The tensor, axes in the order of `structure.modes`; or a `Target` made of it, which
        keeps what many fits share.
    structure
        The graph with its ranks; or a network, which is then the start as well.
    mask
        True where an entry is known. NaN in `x` means missing as well.
    start
        A network to start from, on this structure or one with other ranks or bonds (see
        `carried_over`). The result is never worse than it.
    rng
        Source of the random starts; equal generators give equal results.
    options
        See `ALS`.

    Raises
    ------
    StructureError
        The structure is not connected, or the start does not fit it.
    ShapeError
        The shapes of `x`, `mask` and the structure differ.
    NonFiniteError
        Infinite entries.

    Notes
    -----
    Without missing entries: the projected sweep on a dimension tree, two products with the data
    (4 |X| cut flops) per sweep whatever the number of nodes, at most one permuted copy of the
    data in memory. Each node solves proximally regularised normal equations by Cholesky, with
    QR as the fall-back, so the error never rises.

    Examples
    --------
    >>> import tnet
    >>> ring = tnet.tensor_ring((4, 4, 4), 2)
    >>> x = tnet.contract(tnet.random_network(ring, rng=np.random.default_rng(0)))
    >>> found = tnet.fit(x, ring, rng=np.random.default_rng(1), options=tnet.ALS(tol=1e-6))
    >>> found.error <= 1e-6, found.outcome.name
    (True, 'TARGET')
    """
    begun = time.perf_counter()
    options = options or ALS()
    if isinstance(structure, Network):
        start = structure if start is None else start
        structure = structure.structure
    _check_structure(structure)
    if mask is not None:
        raise InputError("fits with missing entries are not available yet.")
    target = x if isinstance(x, Target) else Target(x)
    _check_shape(structure, target.shape)
    if target.norm == 0.0:
        return _zero(structure, target, begun)
    problem = dense_problem(target, structure)
    starts = [] if start is None else [_start(problem, start, rng)]
    done = race(problem, starts, options, rng)
    winner = done.winner
    error = problem.measure(winner.cores)
    arrays = balanced(problem.arrays(winner.cores), target.scale)
    return Fit(
        network=Network(structure, arrays, certificate=_certificate(error)),
        error=error,
        outcome=winner.outcome,
        trace=tuple(p.error for p in winner.trace),
        sweeps=done.sweeps,
        restarts=done.restarts,
        seconds=time.perf_counter() - begun,
    )


def _certificate(error: float) -> Certificate:
    return Certificate(error=error, kind=ErrorKind.EXACT, bound=error)


def _start(problem: DenseProblem, start: Network, rng: np.random.Generator) -> Run:
    like = problem.matrix
    if namespace(like) is not namespace(next(iter(start.arrays.values()))):
        raise BackendError(
            f"the start holds {start.namespace} arrays and the data do not; "
            "convert it first (Network.to)."
        )
    if next(iter(start.arrays.values())).dtype != like.dtype:
        raise DTypeError(
            f"the start holds {start.dtype}, the data {like.dtype}; convert it (Network.to)."
        )
    net = carried_over(start, problem.program.structure, rng=rng)
    if problem.target.scale != 1.0:
        net = net * (1.0 / problem.target.scale)
    cores = problem.cores(net)
    error = problem.measure(cores)
    return Run(cores, Progress(error, error))


def _zero(structure: Structure, target: Target, begun: float) -> Fit:
    xp: Any = namespace(target.x)
    zero = {n: xp.zeros_like(target.x.reshape((-1,))[:1]) for n in structure.node_names}
    arrays = {
        n: xp.broadcast_to(z.reshape((1,) * len(structure.legs[n])), structure.node_shape(n)) + z
        for n, z in zero.items()
    }
    return Fit(
        network=Network(structure, arrays, certificate=_certificate(0.0)),
        error=0.0,
        outcome=FitOutcome.TARGET,
        trace=(),
        sweeps=0,
        restarts=0,
        seconds=time.perf_counter() - begun,
    )


def _check_structure(structure: Structure) -> None:
    parts = structure.components
    if len(parts) > 1:
        listed = "; ".join(", ".join(part[:6]) for part in parts[:4])
        raise StructureError(
            f"a fit needs a connected network, this one falls into {len(parts)} parts: {listed}. "
            "Join them by a bond of rank 1 (Structure.with_bond)."
        )


def _check_shape(structure: Structure, shape: tuple[int, ...]) -> None:
    if structure.shape != shape:
        wanted = ", ".join(f"{m}={structure.size[m]}" for m in structure.modes)
        raise ShapeError(
            f"the structure has modes {wanted}, but x has shape {shape}; reorder the modes "
            "(Structure.permuted) or give the right sizes."
        )
