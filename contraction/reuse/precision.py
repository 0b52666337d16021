"""Precision: a contraction in single precision, and an honest estimate of what that cost."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.error_kinds import ErrorKind
from contraction.errors import DTypeError, InputError, NonFiniteError, PlanError
from contraction.plans import Plan
from contraction.reuse.passes import bound_messages, checked
from contraction.spec import Labels, Spec

FACTOR = 2.0  # the true error is at most this many times the estimate, at the confidence given
SINGLE = {"float64": "float32", "complex128": "complex64"}


@dataclass(frozen=True, kw_only=True)
class MixedResult:
    """A contraction done in part in single precision.

    Parameters
    ----------
    value
        The result, in the dtype of the inputs.
    error
        The Frobenius norm of the difference to the run in double precision.
    relative
        The same, relative to the norm of the result in double precision.
    kind
        Exact where the result is a scalar, an estimate otherwise.
    confidence
        The probability, over the random probes and for any data, that the true difference is
        at most twice `error`.
    """

    value: Array
    error: float
    relative: float
    kind: ErrorKind
    confidence: float


def mixed_run(
    plan: Plan,
    arrays: Sequence[Array],
    *,
    steps: Collection[int] | None = None,
    probes: int = 64,
    rng: np.random.Generator | None = None,
) -> MixedResult:
    """Contract in single precision and estimate the error from random probes in double.

    The result is multiplied by tensors of random signs, and so is, in double precision, the
    network: the signs are pushed into it, and what is contracted is much smaller than the
    result. The mean square of the differences is an unbiased estimate of the squared error
    whatever the data are, cancellation included (Hutchinson, Commun. Stat. 18, 1059 (1989)).

    Parameters
    ----------
    plan, arrays
        As for `Plan.run`; float64 or complex128 arrays. A plan with slices can only be run in
        single precision as a whole.
    steps
        The steps of the plan done in single precision, by position in `Plan.pairs`; all by
        default. Single precision carries 24 bits and numbers up to 3e38; the inputs are scaled
        by powers of two first, so that only intermediates can leave that range.
    probes
        Number of random probes.
    rng
        The source of the signs; seed 0 by default.

    Raises
    ------
    DTypeError
        Arrays that are in single precision already.
    InputError
        Not a positive number of probes, or a step that there is not.
    PlanError
        Some of the steps of a plan with slices.
    NonFiniteError
        The result is not finite in single precision.
    ShapeError, BackendError, MemoryBudgetError
        As for `Plan.run`.

    Notes
    -----
    With d groups of output labels (one if that is cheap, else two, else one for each label)
    the confidence is 1 - exp(-9 probes / (32 3^d)), from a bound on the lower tail of sums of
    non-negative variables (Maurer, J. Inequal. Pure Appl. Math. 4, 15 (2003)). A scalar result
    takes one run in double precision, which makes the single one pointless except to learn.

    Examples
    --------
    >>> import numpy as np
    >>> from contraction import plan
    >>> x = np.random.default_rng(1).standard_normal((40, 40))
    >>> done = mixed_run(plan("ab,bc->ac", [(40, 40)] * 2), [x, x])
    >>> 1e-8 < done.relative < 1e-6, done.confidence > 0.99
    (True, True)
    """
    count = len(plan.pairs)
    if isinstance(probes, bool) or not isinstance(probes, int) or probes < 1:
        raise InputError(f"`probes` is a positive whole number, got {probes!r}.")
    chosen = set(range(count)) if steps is None else set(steps)
    if not chosen <= set(range(count)):
        raise InputError(f"`steps` are positions of steps, 0..{count - 1}; got {sorted(chosen)}.")
    values, _, name, _ = checked(plan.spec, arrays, None, needed=False)
    dtype = arrays_.dtype_name(values[0])
    if dtype not in SINGLE:
        raise DTypeError(f"the arrays are {dtype} already; mixed precision starts from double.")
    scaled, power = _scaled(values)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if len(chosen) == count:
            made: Any = plan.run([arrays_.to(x, dtype=SINGLE[dtype]) for x in scaled])
        elif plan.slices:
            raise PlanError("a plan with slices runs in single precision as a whole or not at all.")
        else:
            made = _run_steps(plan, scaled, name, chosen, dtype)
    made = arrays_.to(made, dtype=dtype)
    _require_range(made)
    rng = np.random.default_rng(0) if rng is None else rng
    error, norm, groups = _probed(plan, scaled, made, probes, rng)
    unit = math.ldexp(1.0, power) if -1000 < power < 1000 else 2.0**power
    return MixedResult(
        value=made * unit,
        error=error * unit,
        relative=error / norm if norm else (math.inf if error else 0.0),
        kind=ErrorKind.ESTIMATE if groups else ErrorKind.EXACT,
        confidence=1.0 - math.exp(-9.0 * probes / (32.0 * 3.0**groups)) if groups else 1.0,
    )


def _scaled(values: Sequence[Any]) -> tuple[list[Any], int]:
    """Return the arrays with their largest entry brought near one, and the power of two left."""
    made, total = [], 0
    for x in values:
        largest = float(abs(x).max()) if math.prod(x.shape) else 0.0
        power = math.frexp(largest)[1] if 0.0 < largest < math.inf else 0
        made.append(x * math.ldexp(1.0, -power) if -1000 < power < 1000 else x)
        total += power if -1000 < power < 1000 else 0
    return made, total


def _require_range(made: Any) -> None:
    xp: Any = arrays_.namespace(made)
    if not bool(xp.all(xp.isfinite(made))):
        raise NonFiniteError(
            "the result is not finite: an input is not, or an intermediate leaves the range of "
            "single precision (3e38). Do the later steps in double precision (`steps`)."
        )


def _run_steps(plan: Plan, values: Sequence[Any], name: str, chosen: set[int], double: str) -> Any:
    """Return the result with each step in the precision asked for."""
    bound = bound_messages(plan.spec.canonical, plan.pairs, name, None, (), True)
    table, first = bound.prepared(values), bound.messages.inputs + 1
    for k in range(len(plan.pairs)):
        kernel, i, j = bound.kernels[k]
        dtype = SINGLE[double] if k in chosen else double
        operands = (arrays_.to(table[v], dtype=dtype) for v in (i, j))
        table[first + k] = kernel(*operands)
        table[i] = table[j] = None
    return bound.result(table[bound.messages.root])


def _probed(
    plan: Plan, values: Sequence[Any], made: Any, probes: int, rng: np.random.Generator
) -> tuple[float, float, int]:
    """Return estimates of the norms of the error and of the result, and the groups of signs."""
    from contraction.planner import plan as search

    spec = plan.spec
    if not spec.output:
        same: Any = search(spec, path=plan.pairs, slices=plan.slices).run(values)
        exact = complex(same)
        return abs(exact - complex(made)), abs(exact), 0
    probe, best = _fresh(spec), None
    for groups in _groupings(spec):
        labels = [(probe, *group) for group in groups]
        wide = Spec([*spec.inputs, *labels], [probe], {**spec.sizes, probe: probes})
        found = search(wide, memory=plan.memory)
        if best is None or found.flops < best[0].flops:
            best = found, labels
        if 2 * found.flops <= plan.flops:
            break
    assert best is not None
    network, labels = best
    signs = []
    for held in labels:
        drawn = 2.0 * rng.integers(0, 2, [network.spec.sizes[x] for x in held]) - 1.0
        signs.append(_beside(drawn, made))
    sure = arrays_.to_numpy(network.run([*values, *signs]))
    probing = Spec([spec.output, *labels], [probe], network.spec.sizes)
    rough = arrays_.to_numpy(search(probing).run([made, *signs]))
    return _rms(sure - rough), _rms(sure), len(labels)


def _groupings(spec: Spec) -> list[tuple[Labels, ...]]:
    """Return ways to cut the output labels into groups, the fewest groups first."""
    output = spec.output
    ways: list[tuple[Labels, ...]] = [(output,)]
    if len(output) > 1:
        logs = np.cumsum([math.log(max(spec.sizes[x], 1)) for x in output])
        cut = 1 + int(np.argmin(np.abs(logs[:-1] - logs[-1] / 2)))
        ways.append((output[:cut], output[cut:]))
    if len(output) > 2:
        ways.append(tuple((x,) for x in output))
    return ways


def _fresh(spec: Spec) -> Hashable:
    label, number = "probe", 1
    while label in spec.sizes:
        number += 1
        label = f"probe {number}"
    return label


def _beside(signs: Any, like: Any) -> Any:
    name, device = arrays_.namespace_name(like), arrays_.device(like)
    return arrays_.to(signs, namespace=name, device=device, dtype=arrays_.dtype_name(like))


def _rms(x: Any) -> float:
    return float(np.sqrt(np.mean(np.abs(x) ** 2))) if x.size else 0.0
