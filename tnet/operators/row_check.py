"""What skeletons say of some whole rows of coefficients, beside what these are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tnet.operators.skeletons import Kernel, Skeleton

Ints = Any
Numbers = Any
ROWS = 16


def lost_in_rows(
    kernel: Kernel,
    found: Mapping[str, tuple[Skeleton, ...]],
    between: Mapping[str, Mapping[tuple[int, int, int], Numbers]],
    seed: int = 1,
) -> float:
    """Return an estimate of the squared error of skeletons, over all pairs.

    The rows of `ROWS` random sites are read to the last coefficient; what they miss is scaled to
    all sites. A law that was missed everywhere, such as a coupling at one distance, is seen.
    """
    count = len(kernel.mode)
    sites = np.random.default_rng(seed).permutation(count)[:ROWS]
    total = 0.0
    for kind in kernel.kinds:
        unit = np.zeros((count, len(sites)))
        unit[sites, np.arange(len(sites))] = 1.0
        told = _applied(kernel, kind, unit, found, between)
        for column, site in enumerate(sites):
            others = np.delete(np.arange(count), site)
            want = kernel.block(kind, others, np.array([site]))[:, 0]
            total += float(np.linalg.norm(told[others, column] - want)) ** 2
    # every pair lies in the rows of its two sites: once for either kind, or twice for one
    return total * count / len(sites) / 2


def _applied(
    kernel: Kernel,
    kind: int,
    x: Numbers,
    found: Mapping[str, tuple[Skeleton, ...]],
    between: Mapping[str, Mapping[tuple[int, int, int], Numbers]],
) -> Numbers:
    """Multiply the coefficients between `kind` and its partner with columns of numbers."""
    placing, other = kernel.placing, kernel.partner(kind)
    own = kernel.sites_at
    up: dict[str, Numbers] = {}
    for node in placing.tree.post_order:
        if node in found:
            up[node] = found[node][other].weights.T @ np.concatenate(
                [*(up[child] for child in placing.children[node]), x[own[node]]]
            )
    down: dict[str, Numbers] = {}
    result = np.zeros(x.shape, dtype=np.complex128)
    for node in placing.tree.pre_order:
        children = placing.children[node]
        given = [*(up[child] for child in children), *(x[[site]] for site in own[node])]
        from_above = None
        if node in found:
            from_above = found[node][kind].weights @ down[node]
        row = 0
        for a in range(len(given)):
            size = len(found[children[a]][kind].chosen) if a < len(children) else 1
            part = 0.0 if from_above is None else from_above[row : row + size]
            for b, y in enumerate(given):
                if b != a:
                    part = part + between[node][kind, a, b] @ y
            row += size
            part = part + np.zeros((size, x.shape[1]))
            if a < len(children):
                down[children[a]] = part
            else:
                result[own[node][a - len(children)]] = part[0]
    return result
