"""Tables of errors that answer search methods in place of fits."""

from __future__ import annotations

import math

import numpy as np

from structure_search.bounds import CutSpectra
from structure_search.methods.base import Answer, Problem
from structure_search.results import Evaluation
from structure_search.tasks.decomposition import Decomposition


class Scripted:
    """A generator whose numbers are given."""

    def __init__(self, *numbers):
        self.left = list(numbers)

    def integers(self, high):
        number = self.left.pop(0)
        assert 0 <= number < high
        return number


def problem(start, objective, rng=None, size=50, modes=None):
    """A problem whose data nobody looks at; modes so large that no rank is idle."""
    named = dict.fromkeys(start.modes, size) if start is not None else dict(modes)
    x = np.zeros((2,) * len(named))
    return Problem(
        task=Decomposition(x, named),
        objective=objective,
        start=start,
        spectra=CutSpectra(x, tuple(named), 0.0),
        rng=np.random.default_rng(0) if rng is None else rng,
    )


def drive(method, work, error, bound=lambda structure: 0.0, most=20_000):
    """Answer a method from a table; return its batches, and the errors of what was evaluated."""
    walk, batches, found = method.propose(work), [], []
    batch = next(walk)
    while sum(map(len, batches)) < most:
        batches.append(batch)
        answers = []
        for proposal in batch:
            structure = proposal.structure
            hopeless = bound(structure) > proposal.useful
            missed = math.inf if hopeless else error(structure)
            if not hopeless:
                found.append((structure, missed))
            evaluation = Evaluation(
                index=0, key="", structure=structure, num_params=0, error=missed
            )
            answers.append(Answer(evaluation=evaluation, effort=1, load=lambda: None))
        try:
            batch = walk.send(answers)
        except StopIteration:
            break
    return batches, found


def ranks(structure):
    return tuple(structure.ranks.values())


def asked(batches):
    return [[ranks(p.structure) for p in batch] for batch in batches]


def order_of_modes(structure):
    return "".join(leg for _, legs in structure.nodes for leg in legs if leg in structure.modes)
