"""A search whose batches hold all that the driver must keep in order, for tests of workers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import tnet
from contraction.errors import InputError
from structure_search import AbstractMethod, Proposal
from structure_search.methods.base import Problem, Proposals


def ring_data(size: int = 5, seed: int = 0, order: int = 4) -> np.ndarray:
    """Return a tensor of norm one that is a ring of rank 2, with a little noise."""
    rng = np.random.default_rng(seed)
    s = tnet.tensor_ring((size,) * order, (2,) * order)
    x = np.asarray(tnet.contract(tnet.random_network(s, rng=rng)))
    x = x / np.linalg.norm(x)
    return x + 1e-3 * rng.standard_normal(x.shape) / np.sqrt(x.size)


@dataclass(frozen=True, kw_only=True)
class Batches(AbstractMethod):
    """Rings of random ranks in batches: afresh, from the best so far, twice the same, hopeless."""

    rounds: int = 3
    width: int = 6
    sweeps: int = 6

    def default_objective(self) -> None:
        """Return None."""

    def propose(self, problem: Problem) -> Proposals:
        """Yield one batch a round."""
        modes = dict(problem.modes)
        best, parent = None, ""
        for k in range(self.rounds):
            batch = [self._fresh(problem, modes, f"{k}.{i}") for i in range(self.width)]
            batch.append(
                Proposal(structure=batch[1].structure, sweeps=self.sweeps - 1, label=f"{k} again")
            )
            train = tnet.tensor_train(modes, 1)
            batch.append(Proposal(structure=train, useful=1e-9, label=f"{k} hopeless"))
            batch.append(Proposal(structure=train.resized({"g0-g1": 2}), solve=fails, label=f"{k}"))
            if best is not None:
                batch.append(
                    Proposal(
                        structure=best.structure,
                        start=best,
                        sweeps=self.sweeps,
                        before=10 * k,
                        parent=parent,
                        label=f"{k} further",
                    )
                )
            answers = yield batch
            found = min(answers, key=lambda a: a.error)
            if found.network is not None:
                best, parent = found.network, found.request

    def _fresh(self, problem: Problem, modes: dict[str, int], label: str) -> Proposal:
        ranks = problem.rng.integers(1, 4, size=len(modes)).tolist()
        ring = tnet.tensor_ring(modes, ranks)
        return Proposal(structure=ring, sweeps=self.sweeps, restarts=2, label=label)


def fails() -> tnet.Network:
    """Raise, as a method's own fit may."""
    raise InputError("no luck")


def story(trace) -> list[tuple]:
    """Return what must be the same whoever did the fits."""
    return [
        (e.index, e.request, e.key, e.error, e.bound, e.source, e.sweeps, e.num_params, e.failure)
        for e in trace
    ]


def assert_same(found, wanted) -> None:
    """Check that two searches agree in every bit."""
    assert story(found.trace) == story(wanted.trace)
    assert found.best == wanted.best
    assert found.outcome is wanted.outcome
    assert found.network.structure == wanted.network.structure
    assert found.network.certificate == wanted.network.certificate
    for node, array in wanted.network.arrays.items():
        np.testing.assert_array_equal(np.asarray(found.network[node]), np.asarray(array))
