"""Choice of the ridge on a part of the observed entries that is put aside."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contraction.arrays import Array, namespace
from tnet.als.entries import Entries
from tnet.als.masked import MaskedProblem, keys_of, masked_problem, predict
from tnet.als.options import ALS
from tnet.als.race import Run, advance, race
from tnet.als.start import balanced
from tnet.network import Network
from tnet.structure import Structure

FIRST = 1e-2
LADDERS = ((0.1, 0.3, 1.0, 3.0), (1e-3, 1e-5, 0.0))  # up and down from the first
ASIDE = 0.1  # fraction of the entries put aside
POOR = 1.1  # times the best error so far: a ladder ends there
FEW = 20  # with fewer entries than this nothing can be chosen
FALLBACK = 0.1


@dataclass(frozen=True)
class Choice:
    """A ridge, the network that it led to on the entries not put aside, and the cost."""

    ridge: float
    network: Network | None
    sweeps: int


def chosen_ridge(
    entries: Entries, structure: Structure, options: ALS, rng: np.random.Generator
) -> Choice:
    """Return the ridge whose fit predicts entries put aside best.

    A tenth of the entries is put aside. The other entries are fitted with a middling ridge from
    several starts, and the best of these is continued to larger and to smaller ridges, each way
    until the prediction is clearly worse. Data without noise choose none, since only then is the
    prediction exact.
    """
    order = rng.permutation(entries.count)
    aside = max(1, round(ASIDE * entries.count))
    check = entries.take(np.sort(order[:aside]))
    rest = entries.take(np.sort(order[aside:])) if aside < entries.count else check
    if entries.count < FEW or check.norm == 0.0 or rest.norm == 0.0:
        return Choice(FALLBACK, None, 0)
    first = masked_problem(rest, structure, FIRST)
    probing = dataclasses.replace(options, polish=0)
    middle = race(first, [], probing, rng, options.restarts)
    sweeps = middle.sweeps
    found = [(prediction_error(first, middle.winner.cores, check), FIRST, middle.winner.cores)]
    for ladder in LADDERS:
        cores = middle.winner.cores
        for ridge in ladder:
            problem = dataclasses.replace(first, ridge=ridge)
            start = Run(cores, problem.progress(cores, problem.measure(cores)))
            run = advance(problem, start, options, sweeps=options.probe, least=options.stall)
            sweeps += len(run.trace)
            cores = run.cores
            error = prediction_error(problem, cores, check)
            found.append((error, ridge, cores))
            if error > POOR * min(item[0] for item in found):
                break
    _, ridge, cores = min(found, key=lambda item: item[0])
    arrays = balanced(first.arrays(cores), first.scale)
    return Choice(ridge, Network(structure, arrays), sweeps)


def prediction_error(problem: MaskedProblem, cores: Sequence[Array], entries: Entries) -> float:
    """Return the relative error of a fit over other entries than it was made from."""
    xp = namespace(entries.values)
    keys = keys_of(problem.program, entries, entries.values)
    found = predict(problem.program, keys, entries.count, cores)
    error = float(xp.linalg.vector_norm(entries.values - problem.scale * found))
    norm = entries.norm
    return error / norm if norm else error
