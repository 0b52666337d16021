"""SVDinsTN: a fully connected network made sparse, bond by bond."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, final

from contraction.errors import InputError
from contraction.truncation import check_rank
from structure_search.canonical import charged
from structure_search.methods.base import AbstractMethod, Problem, Proposal, Proposals
from structure_search.methods.diagonal_factors import (
    Factors,
    Weights,
    balanced,
    dropped,
    initial_ranks,
    random_factors,
    sweep,
)
from structure_search.methods.greedy import isolated
from structure_search.methods.growth import Limits
from structure_search.methods.shrinking import Backward, shrunk
from structure_search.objectives import RelativeError
from structure_search.results import Candidate, as_candidate
from tnet.network import Network
from tnet.structure import Structure

COLUMNS = 1000  # the product of the ranks at one core at the beginning, if not told otherwise
FREE_SWEEPS = 1
SETTLED = 4  # sweeps that leave all ranks as they are end the turn of a weight
EXCHANGE = 6  # of rank, tried in vain at the end
FREE = 1.0  # times the ridge, in sweeps before the path
DETAIL = 1e-3  # relative: what singular values of a mode leave out is no reason for a rank


@final
@dataclass(frozen=True, kw_only=True)
class SVDinsTN(AbstractMethod):
    """All bonds at once, with a diagonal factor on each; what the data do not need vanishes.

    One core per mode and a bond between any two of them. Proximal alternating minimisation of
    the squared error, a ridge on the cores and the sum of absolute values of the diagonals
    drives diagonal entries to zero; these are taken out, and with them ranks and bonds. The
    weight of the sum rises step by step, so that one run gives a path of ever smaller
    structures. Those are then fitted without any penalty, the smallest first, each from where
    the path left it; under `RelativeError` up to the first that is near enough, whose ranks are
    then lowered while it stays so.

    After Zheng, Zhao, Meng, Deng, Xu, Jiang, CVPR 2024, arXiv:2305.14912, who choose one weight
    and take its structure as it is.

    Parameters
    ----------
    sparsity
        The smallest and the largest weight of the diagonals, for data of norm one.
    steps, path_sweeps
        Weights between them, evenly on a logarithmic scale, and most sweeps at each.
    ridge, proximal
        Weights of the sum of squares of the cores, and of that of the change in one update.
    max_rank
        Largest rank of a bond at the beginning; by default the largest for which the ranks of
        a core have a product of at most 1000. Never more than the rank of either mode.
    sweeps, restarts
        Of the fits at the end, as for `Greedy`.

    Notes
    -----
    Cost of one sweep: each core forms the block of all others, |X| / I rows and C columns with
    C the product of its ranks, and its Gram matrix: 2 |X| C^2 / I flops. Ranks fall soon. No
    node without a mode is ever made: of a Tucker network the best star around a mode is found.

    Examples
    --------
    >>> import numpy as np
    >>> import tnet
    >>> from structure_search import search
    >>> train = tnet.tensor_train((4, 4, 4), (2, 2))
    >>> x = tnet.contract(tnet.random_network(train, rng=np.random.default_rng(0)))
    >>> found = search(
    ...     x, method=SVDinsTN(), objective=RelativeError(tol=1e-4), rng=np.random.default_rng(0)
    ... )
    >>> found.best.num_params <= train.num_params
    True
    """

    needs_every_entry: ClassVar[bool] = True

    sparsity: tuple[float, float] = (3e-3, 5e-2)
    steps: int = 8
    path_sweeps: int = 40
    ridge: float = 1e-3
    proximal: float = 1e-3
    max_rank: int | None = None
    sweeps: int = 40
    restarts: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "sparsity", tuple(self.sparsity))
        for name in ("steps", "path_sweeps", "sweeps", "restarts"):
            check_rank(getattr(self, name), name)
        if self.max_rank is not None:
            check_rank(self.max_rank, "max_rank")
        if len(self.sparsity) != 2 or not 0.0 < self.sparsity[0] <= self.sparsity[1] < math.inf:
            raise InputError(
                f"`sparsity` is two positive numbers, the smaller one first, got {self.sparsity!r}."
            )
        for name in ("ridge", "proximal"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise InputError(f"`{name}` is a positive number, got {getattr(self, name)!r}.")

    def default_objective(self) -> None:
        """Return None: which structure of the path is taken has to be told."""

    def propose(self, problem: Problem) -> Proposals:
        """Go along the path, then fit its structures, the smallest first."""
        problem.require_complete("SVDinsTN")
        if problem.start is not None:
            raise InputError("SVDinsTN begins with all bonds; it takes no start.")
        goal = problem.objective
        path = self._path(problem)
        if not path:  # nothing to be made sparse
            yield [Proposal(structure=isolated(problem), sweeps=self.sweeps, label="rank one")]
        best: Candidate | None = None
        for net in reversed(path):
            structure = charged(net.structure)
            if not goal.allows(structure):
                continue
            useful = goal.useful_error(structure, best)
            if isinstance(goal, RelativeError):
                useful = min(useful, goal.tol)
            (answer,) = yield [self._proposal(net, useful)]
            if not math.isfinite(answer.error):
                continue
            found = as_candidate(answer.evaluation)
            if best is None or goal.order(found) < goal.order(best):
                best = found
            if isinstance(goal, RelativeError) and goal.met(found):
                yield from shrunk(problem, answer, self._backward(goal))
                return
        if best is None and path:  # no structure can be near enough: the nearest there is
            yield [self._proposal(path[0], math.inf)]

    def _proposal(self, net: Network, useful: float) -> Proposal:
        return Proposal(
            structure=net.structure,
            start=net,
            sweeps=self.sweeps,
            restarts=self.restarts,
            useful=useful,
            label=f"path, {charged(net.structure).num_params} parameters",
        )

    def _backward(self, goal: RelativeError) -> Backward:
        return Backward(
            sweeps=self.sweeps,
            restarts=1,
            exchange=EXCHANGE,
            inner_nodes=False,
            limits=Limits(allows=goal.allows),
        )

    def _path(self, problem: Problem) -> list[Network]:
        """Return one network of each structure on the path, the largest first."""
        x: Any = problem.x
        if not problem.norm or x.ndim < 2:
            return []
        x = x / problem.norm
        factors = random_factors(x, self._ranks(problem), problem.rng)
        free = Weights(0.0, FREE * self.ridge, self.proximal)
        for _ in range(FREE_SWEEPS):  # penalties on a random start would leave nothing of it
            factors = sweep(x, factors, free)
        factors = balanced(factors)
        networks: list[Network] = []
        for weight in self._weights():
            same = 0
            for _ in range(self.path_sweeps):
                before = factors.ranks
                factors = dropped(sweep(x, factors, weight))
                networks = _with(networks, factors, problem)
                same = same + 1 if factors.ranks == before else 0
                if same >= SETTLED:
                    break
        return networks

    def _weights(self) -> list[Weights]:
        low, high = self.sparsity
        powers = [k / max(1, self.steps - 1) for k in range(self.steps)]
        return [Weights(low * (high / low) ** p, self.ridge, self.proximal) for p in powers]

    def _ranks(self, problem: Problem) -> dict[tuple[int, int], int]:
        count = len(problem.modes)
        most = self.max_rank or 1
        while self.max_rank is None and (most + 1) ** (count - 1) <= COLUMNS:
            most += 1
        if self.max_rank is None and most < 2:
            raise InputError(
                f"SVDinsTN begins with a bond between any two of {count} modes, and rank 2 "
                f"everywhere gives each core {2 ** (count - 1):,} columns; at most {COLUMNS} "
                "are taken unasked. Merge modes, or set max_rank=2."
            )
        detail = min(DETAIL, max(problem.objective.enough, 0.0)) or DETAIL
        needed = [problem.spectra.rank([mode], detail) for mode in problem.modes]
        return initial_ranks(needed, most)


def _with(networks: list[Network], factors: Factors, problem: Problem) -> list[Network]:
    """Append the network of the factors; of equal structures the last one stays."""
    net = factors.network(problem.modes) * problem.norm
    if networks and _same(networks[-1].structure, net.structure):
        networks = networks[:-1]
    return [*networks, net]


def _same(one: Structure, other: Structure) -> bool:
    return one.sizes == other.sizes
