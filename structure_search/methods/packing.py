"""Tucker packing: the core shape that keeps the most spectrum within a number of parameters.

A core of shape r costs prod r_n + sum I_n r_n parameters. The sum over modes of the squared
singular values kept, sum_n S_n(r_n), is an additive surrogate of the true quality, within a
factor N (Ghadiri, Fahrbach, Fu, Mirrokni, arXiv:2302.03886).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from contraction.errors import InputError

Float = np.ndarray[Any, np.dtype[np.float64]]
Int = np.ndarray[Any, np.dtype[np.int64]]
ENUMERATE_UP_TO = 2**26  # combinations of all ranks but one


def shape_params(ranks: Sequence[int], sizes: Sequence[int]) -> int:
    """Return the number of parameters of a Tucker network.

    Examples
    --------
    >>> shape_params((2, 2, 3), (4, 5, 6))
    48
    """
    return math.prod(ranks) + sum(n * r for n, r in zip(sizes, ranks, strict=True))


def rank_caps(sizes: Sequence[int], budget: int) -> tuple[int, ...]:
    """Return the largest rank of each mode that any shape within `budget` can have.

    Raises
    ------
    InputError
        Not even ranks of one fit the budget.

    Examples
    --------
    >>> rank_caps((4, 5, 6), 48)
    (4, 5, 5)
    """
    least = shape_params([1] * len(sizes), sizes)
    if budget < least:
        raise InputError(
            f"a Tucker network of modes {tuple(sizes)} has at least {least} parameters, "
            f"and `max_params` is {budget}; allow more."
        )
    return tuple(min(n, 1 + (budget - least) // (n + 1)) for n in sizes)


def best_packing(kept: Sequence[Float], sizes: Sequence[int], budget: int) -> tuple[int, ...]:
    """Return the shape with the largest sum of kept spectra within `budget`, exactly.

    All ranks but the one of the largest mode m are enumerated; the last follows in closed form,
    r_m = floor((B - sum_{n != m} I_n r_n) / (prod_{n != m} r_n + I_m)).

    Parameters
    ----------
    kept
        For each mode the sums of its 1, 2, 3, ... leading squared singular values.
    sizes
        Sizes of the modes.
    budget
        Most parameters allowed.

    Examples
    --------
    >>> kept = [np.cumsum([4.0, 1.0]), np.cumsum([3.0, 2.0]), np.cumsum([4.5, 0.4, 0.1])]
    >>> best_packing(kept, (2, 2, 3), 14)
    (1, 2, 1)
    """
    caps = rank_caps(sizes, budget)
    last = max(range(len(sizes)), key=lambda n: caps[n])
    others = [n for n in range(len(sizes)) if n != last]
    if math.prod(caps[n] for n in others) > ENUMERATE_UP_TO:
        return _packing_by_gain(kept, sizes, budget)
    product: Int = np.ones((), np.int64)
    total: Int = np.zeros((), np.int64)
    value: Float = np.zeros(())
    for n in others:
        ranks = np.arange(1, caps[n] + 1)
        product = product[..., None] * ranks
        total = total[..., None] + sizes[n] * ranks
        value = value[..., None] + kept[n][: caps[n]]
    rank = np.minimum((budget - total) // (product + sizes[last]), caps[last])
    value = np.where(rank >= 1, value + kept[last][np.maximum(rank, 1) - 1], -np.inf)
    best = np.unravel_index(int(np.argmax(value)), value.shape)
    shape = dict(zip(others, (int(k) + 1 for k in best), strict=True))
    shape[last] = int(rank[best])
    return tuple(shape[n] for n in range(len(sizes)))


def _packing_by_gain(kept: Sequence[Float], sizes: Sequence[int], budget: int) -> tuple[int, ...]:
    """Raise the rank with the largest gain per parameter until none fits (not exact)."""
    caps, ranks = rank_caps(sizes, budget), [1] * len(sizes)
    while True:
        used = shape_params(ranks, sizes)
        gains = []
        for n, rank in enumerate(ranks):
            raised = [*ranks[:n], rank + 1, *ranks[n + 1 :]]
            cost = shape_params(raised, sizes)
            if rank < caps[n] and cost <= budget:
                gains.append(((kept[n][rank] - kept[n][rank - 1]) / (cost - used), n))
        if not gains:
            return tuple(ranks)
        ranks[max(gains)[1]] += 1


def integer_program(
    kept: Sequence[Float],
    sizes: Sequence[int],
    budget: int,
    *,
    eps: float = 0.5,
    guesses: Iterable[int] | None = None,
) -> tuple[int, ...]:
    """Return the packing found by the published integer programs, for comparison.

    The budget is split in two by a guess b. With x_{n,k} = 1 if mode n has rank k, both
    prod r <= b (after taking logarithms) and sum I r <= B - b are linear, and HiGHS maximises
    sum x_{n,k} S_n(k); then the same with the parts exchanged. Shapes with entries up to 1/eps
    are tried one by one (arXiv:2302.03886, section 4).

    Parameters
    ----------
    kept, sizes, budget
        As for `best_packing`.
    eps
        Guesses are the powers of 1 + eps.
    guesses
        Guesses to use instead; with every whole number up to the budget the result is exact.
    """
    caps = rank_caps(sizes, budget)
    small = itertools.product(*(range(1, min(cap, int(1 / eps)) + 1) for cap in caps))
    found = {tuple(r) for r in small if shape_params(r, sizes) <= budget}
    if guesses is None:
        count = int(math.log(budget) / math.log1p(eps)) + 1
        guesses = sorted({math.floor((1 + eps) ** k) for k in range(count + 1)})
    for b in guesses:
        for product, total in ((b, budget - b), (budget - b, b)):
            shape = _solve_program(kept, sizes, caps, product, total)
            if shape is not None and shape_params(shape, sizes) <= budget:
                found.add(shape)
    return max(found, key=lambda r: sum(k[n - 1] for k, n in zip(kept, r, strict=True)))


def _solve_program(
    kept: Sequence[Float], sizes: Sequence[int], caps: Sequence[int], product: int, total: int
) -> tuple[int, ...] | None:
    from scipy.optimize import Bounds, LinearConstraint, milp

    if product < 1 or total < sum(sizes):
        return None
    value = np.concatenate([k[:cap] for k, cap in zip(kept, caps, strict=True)])
    logs = np.concatenate([np.log(np.arange(1, cap + 1)) for cap in caps])
    weights = np.concatenate([n * np.arange(1.0, c + 1) for n, c in zip(sizes, caps, strict=True)])
    owner = np.repeat(np.arange(len(caps)), caps)
    one_each = (owner == np.arange(len(caps))[:, None]).astype(float)
    done = milp(
        -value,
        integrality=np.ones(len(value)),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(logs[None, :], ub=math.log(product) + 1e-9),
            LinearConstraint(weights[None, :], ub=float(total)),
            LinearConstraint(one_each, lb=1.0, ub=1.0),
        ],
    )
    if done.x is None:
        return None
    chosen = np.round(done.x).astype(bool)
    ranks = np.concatenate([np.arange(1, cap + 1) for cap in caps])
    return tuple(int(r) for r in ranks[chosen])
