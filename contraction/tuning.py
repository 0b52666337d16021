"""tune: the best few trees and kernels of a plan, timed beside each other."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.compilation import Compiled
from contraction.errors import MemoryBudgetError
from contraction.execute import bind, memory_orders, prepare
from contraction.plans import Plan
from contraction.program import chosen_ways
from contraction.rivals import Entrant, Rivals, costliest
from contraction.search.objectives import Objective
from contraction.spec import Spec
from contraction.tuned import Tuned
from contraction.units import parse_seconds

TREES = 8  # trees that are timed
WAYS = 5  # other ways of one step that are timed
ROUNDS = 12
SAMPLE = 3e-4  # seconds that one sample takes at least
FINALISTS = 2  # trees whose steps are looked at
CLOSE = 1.3  # times the shortest time that such a tree takes at most
GAIN = 0.98  # of the time so far that something else must take to be preferred

Sampler = Callable[[], float]


def tune(
    plan: Plan,
    arrays: Sequence[Array] | None = None,
    *,
    library: str = "numpy",
    dtype: str = "float64",
    budget: float | str = "1s",
) -> Plan:
    """Return the plan whose tree and kernels are the fastest as measured.

    The trees of the least estimated time are run in turns (of up to five inputs all trees are
    looked at, otherwise those around the costliest steps), then other ways of the costliest
    steps, on trees of the shortest times; what is clearly slower drops out early. Of a plan
    made for anything but time the tree is kept.

    Parameters
    ----------
    plan
        The plan.
    arrays
        What to run it on; by default random arrays of its shapes. They are not written to.
    library, dtype
        Of the random arrays.
    budget
        Seconds to spend, beside one run of the plan; a number, or text such as "500ms".

    Returns
    -------
    Plan
        `measured` is the shortest time seen of one run. A plan whose estimated time is more
        than a third of `budget` is returned as it is. No run takes more memory than the plan
        allows or, where it sets no limit, than four times what the plan takes.

    Raises
    ------
    ShapeError, BackendError, DTypeError, MemoryBudgetError
        As `Plan.run`.

    Notes
    -----
    Tuning pays where a plan is run many times: it costs hundreds of runs of small plans, and
    some ten runs of those that take a tenth of the budget. The result depends on measured times
    and may differ from call to call.

    Examples
    --------
    >>> import contraction
    >>> p = contraction.plan("ab,bc,cd->ad", [(8, 9), (9, 10), (10, 4)])
    >>> q = tune(p, budget="10ms")
    >>> q.spec is p.spec, q.measured > 0
    (True, True)
    """
    stop = time.perf_counter() + parse_seconds(budget)
    values = random_arrays(plan.spec, library, dtype) if arrays is None else list(arrays)
    name = prepare(values, plan.spec)
    if 3.0 * plan.seconds > parse_seconds(budget):
        return plan
    if plan.slices or memory_orders(values, name) is not None:
        return _measured(plan, values, name, stop)
    itemsize = int(values[0].dtype.itemsize)
    limit = 4 * plan.peak_size + 4096 if plan.memory is None else plan.memory // itemsize
    model = plan.compiled.model(name)
    share = time.perf_counter() + 0.3 * (stop - time.perf_counter())
    rivals = Rivals(plan.spec.canonical, model, limit, share, limit=plan.compiled.max_size)
    known = plan.compiled.tuned
    fixed = {} if known is None or known.library != name else dict(enumerate(known.ways))
    first = rivals.entrant(plan.pairs, fixed)
    if first.program.peak_size > limit:
        raise MemoryBudgetError(
            f"the contraction would have {first.program.peak_size:,} entries of {itemsize} bytes "
            f"alive at once, but `memory` allows {plan.memory:,} bytes; nothing was allocated."
        )
    best, seconds = _contest(plan, rivals, first, values, name, stop)
    ways = chosen_ways(plan.spec.canonical, best.pairs, model, best.fixed)
    return _with(plan, best.pairs, Tuned(name, tuple(ways), seconds))


def _contest(
    plan: Plan, rivals: Rivals, first: Entrant, values: list[Any], name: str, stop: float
) -> tuple[Entrant, float]:
    """Return the fastest entrant and its seconds; the first unless another is clearly faster."""
    wait = _waiter(name, values[0])

    def timed(entrants: Sequence[Entrant], share: float) -> list[float]:
        now = time.perf_counter()
        samplers = [_sampler(rival, values, name, wait) for rival in entrants]
        return race(samplers, now + share * (stop - now))

    leaders = [first]
    if plan.objective is Objective.TIME:
        field = [first, *rivals.trees(first, TREES)]
        times = timed(field, 0.4)
        order = sorted(range(len(field)), key=times.__getitem__)
        leaders = [field[i] for i in order[:FINALISTS] if times[i] <= CLOSE * times[order[0]]]
    rivals.stop = stop
    for place, leader in enumerate(leaders):
        for step in costliest(leader.program):
            now = time.perf_counter()
            others = [leaders[place], *rivals.ways(leaders[place], step, WAYS)]
            if len(others) > 1 and now < stop:
                times = timed(others, 0.2)
                leaders[place] = others[min(range(len(others)), key=times.__getitem__)]
    last = [first, *(leader for leader in leaders if leader is not first)]
    times = timed(last, 1.0)
    best = min(range(len(last)), key=times.__getitem__)
    if times[best] > GAIN * times[0]:
        best = 0
    return last[best], times[best]


def race(samplers: Sequence[Sampler], stop: float) -> list[float]:
    """Return the shortest time of each sampler, all asked in turns.

    What is clearly slower than the best is asked no more, and nothing after `stop`, but each
    is asked once.
    """
    best = [sample() for sample in samplers]
    alive = list(range(len(samplers)))
    for turn in range(ROUNDS):
        margin = 1.0 + 1.0 / (1 + turn)
        alive = [i for i in alive if best[i] <= margin * min(best)]
        if len(alive) == 1 and turn > 2:
            break
        for i in alive:
            if time.perf_counter() > stop:
                return best
            best[i] = min(best[i], samplers[i]())
    return best


def _sampler(rival: Entrant, values: list[Any], name: str, wait: Callable[[], None]) -> Sampler:
    run, loops = bind(rival.program, name), 0

    def sample() -> float:
        nonlocal loops
        if not loops:
            run(list(values))
            wait()
            start = time.perf_counter()
            run(list(values))
            wait()
            loops = max(1, math.ceil(SAMPLE / max(time.perf_counter() - start, 1e-7)))
        start = time.perf_counter()
        for _ in range(loops):
            run(list(values))
        wait()
        return (time.perf_counter() - start) / loops

    return sample


def _measured(plan: Plan, values: list[Any], name: str, stop: float) -> Plan:
    """Return the plan as it is with its measured time."""
    wait = _waiter(name, values[0])

    def sample() -> float:
        start = time.perf_counter()
        plan.run(values)
        wait()
        return time.perf_counter() - start

    sample()
    return _with(plan, plan.pairs, Tuned(name, (), min(race([sample], stop))))


def _with(plan: Plan, pairs: Any, tuned: Tuned) -> Plan:
    compiled: Compiled = plan.compiled.with_tuned(pairs, tuned)
    return dataclasses.replace(plan, pairs=compiled.pairs, compiled=compiled)


def random_arrays(spec: Spec, library: str = "numpy", dtype: str = "float64") -> list[Any]:
    """Return arrays of the shapes of a contraction whose result has a mean square of about one.

    Examples
    --------
    >>> spec = Spec([("a", "b"), ("b",)], ("a",), {"a": 2, "b": 3})
    >>> [x.shape for x in random_arrays(spec)]
    [(2, 3), (3,)]
    """
    arrays_.namespace_by_name(library)
    holders: dict[Any, int] = {}
    for labels in spec.inputs:
        for label in labels:
            holders[label] = holders.get(label, 0) + 1
    rng, made, kept = np.random.default_rng(0), [], set(spec.output)
    for labels, shape in zip(spec.inputs, spec.shapes, strict=True):
        scale = math.prod(
            max(spec.sizes[x], 1) ** (-0.5 / holders[x]) for x in labels if x not in kept
        )
        x: Any = arrays_.random_normal(rng, shape, dtype=dtype)
        made.append(arrays_.to((x * scale).astype(dtype), namespace=library))
    return made


def _waiter(name: str, x: Any) -> Callable[[], None]:
    """Return what waits for the work given to the device of `x`."""
    if name == "torch" and x.is_cuda:
        import torch

        return lambda: torch.cuda.synchronize(x.device)
    if name == "cupy":
        import cupy

        return lambda: cupy.cuda.get_current_stream().synchronize()
    return lambda: None
