"""Choice of the ridge on a part of the observed entries that is put aside."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from contraction.arrays import Array, namespace
from tnet.als.entries import Entries
from tnet.als.masked import MaskedProblem, keys_of, masked_problem, predict
from tnet.als.options import ALS
from tnet.als.race import race
from tnet.structure import Structure

RIDGES = (0.0, 1e-3, 1e-2, 0.1, 0.3, 1.0, 3.0)
ASIDE = 0.1  # fraction of the entries put aside
FEW = 20  # with fewer entries than this nothing can be chosen
FALLBACK = 0.1


def chosen_ridge(
    entries: Entries, structure: Structure, options: ALS, rng: np.random.Generator
) -> tuple[float, int]:
    """Return the ridge whose fit predicts entries put aside best, and the sweeps it took.

    A tenth of the entries is put aside; for each ridge of a fixed ladder one start is fitted
    to the rest. Noise-free data choose none, since only then is the prediction exact.
    """
    if entries.count < FEW:
        return FALLBACK, 0
    order = rng.permutation(entries.count)
    aside = max(1, round(ASIDE * entries.count))
    check = entries.take(np.sort(order[:aside]))
    rest = entries.take(np.sort(order[aside:]))
    if check.norm == 0.0 or rest.norm == 0.0:
        return FALLBACK, 0
    once = dataclasses.replace(options, restarts=1, polish=0)
    found = []
    sweeps = 0
    for ridge in RIDGES:
        problem = masked_problem(rest, structure, ridge)
        done = race(problem, [], once, rng)
        sweeps += done.sweeps
        found.append((prediction_error(problem, done.winner.cores, check), ridge))
    return min(found)[1], sweeps


def prediction_error(problem: MaskedProblem, cores: Sequence[Array], entries: Entries) -> float:
    """Return the relative error of a fit over other entries than it was made from."""
    xp = namespace(entries.values)
    keys = keys_of(problem.program, entries, entries.values)
    found = predict(problem.program, keys, entries.count, cores)
    error = float(xp.linalg.vector_norm(entries.values - problem.scale * found))
    norm = entries.norm
    return error / norm if norm else error
