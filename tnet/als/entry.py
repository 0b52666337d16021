"""fit: the one door to alternating least squares."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array, namespace
from contraction.errors import (
    BackendError,
    DTypeError,
    InputError,
    PlanError,
    ShapeError,
    StructureError,
)
from tnet.als.dense import Target, dense_problem
from tnet.als.entries import Entries, checked_mask, observed
from tnet.als.local import local_fit
from tnet.als.masked import masked_problem
from tnet.als.memory_need import check_memory
from tnet.als.mixed import dense_race
from tnet.als.options import ALS, FirstStart, Fit, FitOutcome
from tnet.als.race import Problem, Race, Run, race
from tnet.als.ridge import Choice, chosen_ridge, prediction_error
from tnet.als.start import balanced, carried_over, spanning_tree
from tnet.als.sweep_program import planned_flops
from tnet.certificate import Certificate, ErrorKind
from tnet.network import Network
from tnet.structure import Structure


def fit(
    x: Array | Target | Entries,
    structure: Structure | Network,
    *,
    mask: Array | None = None,
    held_out: Array | Entries | None = None,
    start: Network | None = None,
    rng: np.random.Generator,
    options: ALS | None = None,
) -> Fit:
    """Fit a network of any graph to a tensor, or to some of its entries, by least squares.

    Cycles, hyperbonds (CP), nodes without modes and nodes with several modes are all welcome.
    Ranks may exceed what the data need.

    Parameters
    ----------
    x
        The tensor, axes in the order of `structure.modes`, NaN where an entry is missing; or a
        `Target` made of it, which keeps what many fits share; or the observed `Entries`. The
        data are taken as they are: nothing is centred or rescaled but by one common factor.
    structure
        The graph with its ranks; or a network, which is then the start as well.
    mask
        True where an entry is known; elsewhere `x` is not read.
    held_out
        Entries that are not fitted; the error over them is returned. True where an entry is
        held out, or `Entries` if `x` is such.
    start
        A network to start from, on this structure or one with other ranks or bonds (see
        `carried_over`). Nothing else is tried then, and the result is never worse than it.
    rng
        Source of the random starts; equal generators give equal results.
    options
        See `ALS`.

    Raises
    ------
    PlanError
        A sweep over a full tensor would take more than `ALS.max_flops`.
    StructureError
        The structure is not connected, or the start does not fit it.
    ShapeError
        The shapes of `x`, `mask` and the structure differ.
    NonFiniteError
        Infinite entries; NaN in a `Target`.
    InputError
        No observed entry.
    MemoryBudgetError
        The fit would hold more than `ALS.memory` at once: a node with C bond values needs
        normal equations of C^2 numbers, unless they fall into parts, as on a tree. Found from
        the structure before any work.

    Notes
    -----
    Nothing missing: the projected sweep on a dimension tree, two products with the data
    (4 |X| cut flops) per sweep whatever the number of nodes, at most one permuted copy of the
    data in memory. Each node solves proximally regularised normal equations by Cholesky, with
    QR as the fall-back, so the error never rises. The first start is the decomposition of a
    spanning tree, so on a tree the error of `decompose` is never exceeded.

    Sweeps of more than 2e9 operations run in single precision, with normal equations in double,
    until they gain no more or the error is below 1e-3; from there they go on in the precision
    of the data. The error reported is measured in that precision.

    Random starts on tensors of up to two million entries are fitted to balanced data first: each
    mode multiplied by a small negative power of its Gram matrix, which changes neither graph nor
    ranks and is undone exactly. Positive data, one large term and little else, are thereby found
    in some ten sweeps instead of thousands. All errors are those on the data themselves.

    Where the surroundings of a node fall into parts that hang together only through it (any
    node of a tree, the core of a Tucker network), the Gram matrix is a Kronecker product and is
    diagonalised part by part, never formed.

    Missing entries: each node solves ridge-regularised normal equations over the observed
    entries, m C^2 flops for m entries and a node with C numbers per own index, or one planned
    contraction over the whole grid where that is shorter; C^3 / 3 flops for their Cholesky
    factor; memory m C + C^2. The regularised objective never rises. See `ALS.ridge`.

    Threads: sweeps below 2e8 flops (5 ms) keep BLAS to one thread, which is as fast when the
    machine is idle and steadier when it is not. In longer ones NumPy's BLAS keeps its threads,
    and SciPy's, where it brings one of its own for the small factorisations, has one: two pools
    that take turns would each wait for the other one's idle threads.

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
    data, test = _read(x, mask, held_out, options)
    _check_shape(structure, data.shape)
    if data.norm == 0.0:
        return _zero(structure, data, test, begun)
    if options.nodes is not None and not set(options.nodes) >= set(structure.legs):
        return _local(data, structure, start, options, rng)
    if isinstance(data, Target):
        _check_flops(structure, options.max_flops)
    copies = data.balanced_bytes if start is None and isinstance(data, Target) else 0
    check_memory(data, structure, options.memory, copies=copies)
    if isinstance(data, Target):
        problem = dense_problem(data, structure)
        most = options.restarts if start is None else 1
        if start is None and options.first is FirstStart.DECOMPOSED:
            start = _decomposed(data, structure)
        done = dense_race(problem, _starts(problem, start, rng), options, rng, most)
        return _fit(problem, done, begun, None, 0.0)
    choice = Choice(options.ridge or 0.0, None, 0)
    if options.ridge is None:
        choice = chosen_ridge(data, structure, options, rng)
    masked = masked_problem(data, structure, choice.ridge)
    starts = _starts(masked, choice.network if start is None else start, rng)
    done = race(masked, starts, options, rng, len(starts) or options.restarts)
    missed = None if test is None else prediction_error(masked, done.winner.cores, test)
    done = Race(done.winner, done.sweeps + choice.sweeps, done.restarts)
    return _fit(masked, done, begun, missed, choice.ridge)


def _read(
    x: Array | Target | Entries,
    mask: Array | None,
    held_out: Array | Entries | None,
    options: ALS,
) -> tuple[Target | Entries, Entries | None]:
    """Return what is fitted, and the entries held out."""
    if isinstance(x, Entries):
        if mask is not None or not (held_out is None or isinstance(held_out, Entries)):
            raise InputError("`Entries` take no `mask`, and `held_out` as `Entries` as well.")
        if held_out is not None and held_out.shape != x.shape:
            raise ShapeError(f"`held_out` has shape {held_out.shape}, x has {x.shape}.")
        return x, held_out
    if isinstance(held_out, Entries):
        raise InputError("`held_out` is a mask of the shape of x unless x is `Entries`.")
    regular = bool(options.ridge)
    if isinstance(x, Target):
        if mask is None and held_out is None and not regular:
            return x, None
        x = x.x
    dense = arrays_.as_array(x, what="x")
    test: Entries | None = None
    if held_out is not None:
        aside = checked_mask(held_out, dense)
        both: Any = aside if mask is None else aside & checked_mask(mask, dense)
        test = observed(dense, both, always=True)
        mask = ~aside if mask is None else checked_mask(mask, dense) & ~aside
    found = observed(dense, mask, always=regular)
    return (Target(dense) if found is None else found), test


def _decomposed(target: Target, structure: Structure) -> Network | None:
    """Return the quasi-optimal network on a spanning tree, if that is of use."""
    tree = spanning_tree(structure)
    if tree is None:
        return None
    from tnet.decomposition.entry import decompose  # which itself fits graphs with cycles

    return decompose(target.x, tree)


def _starts(problem: Problem, start: Network | None, rng: np.random.Generator) -> list[Run]:
    if start is None:
        return []
    _check_start(problem.like, start)
    net = carried_over(start, problem.structure, rng=rng)
    if problem.scale != 1.0:
        net = Network(problem.structure, balanced(dict(net.arrays), 1.0 / problem.scale))
    cores = problem.cores(net)
    return [Run(cores, problem.progress(cores, problem.measure(cores)))]


def _check_start(like: Array, start: Network) -> None:
    if namespace(like) is not namespace(next(iter(start.arrays.values()))):
        raise BackendError(
            f"the start holds {start.namespace} arrays, the data {arrays_.namespace_name(like)} "
            "arrays; convert it first (Network.to)."
        )
    if start.dtype != arrays_.dtype_name(like):
        raise DTypeError(
            f"the start holds {start.dtype}, the data {arrays_.dtype_name(like)}; convert it "
            "(Network.to)."
        )


def _fit(
    problem: Problem, done: Race, begun: float, held_out_error: float | None, ridge: float
) -> Fit:
    winner = done.winner
    error = problem.measure(winner.cores)
    arrays = balanced(problem.arrays(winner.cores), problem.scale)
    return Fit(
        network=Network(problem.structure, arrays, certificate=problem.certificate(error)),
        error=error,
        outcome=winner.outcome,
        trace=tuple(p.error for p in winner.trace),
        sweeps=done.sweeps,
        restarts=done.restarts,
        seconds=time.perf_counter() - begun,
        held_out_error=held_out_error,
        ridge=ridge,
    )


def _local(
    data: Target | Entries,
    structure: Structure,
    start: Network | None,
    options: ALS,
    rng: np.random.Generator,
) -> Fit:
    if start is None or isinstance(data, Entries):
        raise InputError(
            "`ALS.nodes` sweeps some nodes of a network given as `start` and keeps the others, on "
            "data without missing entries."
        )
    _check_start(data.x, start)
    return local_fit(data, carried_over(start, structure, rng=rng), options, rng)


def _zero(structure: Structure, data: Target | Entries, test: Entries | None, begun: float) -> Fit:
    """Return the network that is zero, which data that are zero ask for."""
    like = data.x if isinstance(data, Target) else data.values
    xp: Any = namespace(like)
    arrays = {
        n: xp.zeros(structure.node_shape(n), dtype=like.dtype, device=arrays_.device(like))
        for n in structure.node_names
    }
    exact = Certificate(error=0.0, kind=ErrorKind.EXACT, bound=0.0)
    return Fit(
        network=Network(structure, arrays, certificate=exact),
        error=0.0,
        outcome=FitOutcome.TARGET,
        trace=(),
        sweeps=0,
        restarts=0,
        seconds=time.perf_counter() - begun,
        held_out_error=None if test is None else (1.0 if test.norm else 0.0),
    )


def _check_structure(structure: Structure) -> None:
    parts = structure.components
    if len(parts) > 1:
        listed = "; ".join(", ".join(part[:6]) for part in parts[:4])
        raise StructureError(
            f"a fit needs a connected network, this one falls into {len(parts)} parts: {listed}. "
            "Join them by a bond of rank 1 (Structure.with_bond)."
        )


def _check_flops(structure: Structure, most: float | None) -> None:
    if most is None:
        return
    flops = planned_flops(structure)
    if flops > most:
        raise PlanError(
            f"one sweep would take {flops:.2g} operations, {most:.2g} are allowed; nothing was "
            f"allocated. Lower ranks (the widest node has {_widest(structure)} bond values), or "
            "allow more (ALS(max_flops=...))."
        )


def _widest(structure: Structure) -> int:
    ranks = structure.ranks
    return max(math.prod(ranks[x] for x in legs if x in ranks) for _, legs in structure.nodes)


def _check_shape(structure: Structure, shape: tuple[int, ...]) -> None:
    if structure.shape != shape:
        wanted = ", ".join(f"{m}={structure.size[m]}" for m in structure.modes)
        raise ShapeError(
            f"the structure has modes {wanted}, but x has shape {shape}; reorder the modes "
            "(Structure.permuted) or give the right sizes."
        )
