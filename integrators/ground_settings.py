"""How variational sweeps are done."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from contraction.errors import InputError
from contraction.truncation import Truncation, check_rank


@final
@dataclass(frozen=True, kw_only=True)
class DMRG:
    """Variational sweeps over a tree (density matrix renormalisation group).

    Parameters
    ----------
    sites
        2: the two nodes of an edge at a time; ranks grow by themselves. 1: one node at a time,
        whose basis is first given new directions of what the operator makes of it, and cut back
        when the next node was optimised (as a basis-update and Galerkin step does). None (the
        default): 2 on paths, 1 where a node has three bonds or more, since two such nodes
        together are r^4 numbers.
    steps
        Lanczos vectors per local problem. They are doubled, up to 32, after every sweep that
        gained more than a quarter of what the one before gained at the same ranks.
    cutoff
        Relative Frobenius error allowed at every cut, beside `max_rank`.
    first_rank, growth
        No bond may exceed `first_rank`, or `growth` times the largest rank before the sweep,
        whichever is larger: the first sweeps are far from converged and should be cheap.
    share
        For `sites=1`: new directions per bond, as a share of the largest rank.
    seed
        Of the random sketch that finds them.

    Notes
    -----
    White, PRB 48 (1993) 10345; Schollwoeck, Ann. Phys. 326 (2011) 96 in the language of tensor
    trains. New directions: Hubig, McCulloch, Schollwoeck and Wolf, PRB 91 (2015) 155115, by a
    sketch of the operator's action on two nodes (Gleis, Li and von Delft, PRL 130 (2023) 246402)
    that never forms their product.
    """

    sites: int | None = None
    steps: int = 4
    cutoff: float = 1e-7
    first_rank: int = 8
    growth: float = 2.0
    share: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sites not in (None, 1, 2):
            raise InputError(
                f"DMRG optimises `sites` = 1 or 2 nodes at a time (or None), got {self.sites!r}."
            )
        check_rank(self.steps, "steps", least=2)
        check_rank(self.first_rank, "first_rank")
        Truncation(tol=self.cutoff)  # refuses what is no relative error
        if not 1.0 <= self.growth < math.inf or not 0.0 <= self.share < math.inf:
            raise InputError(
                f"`growth` is at least one and `share` not negative, got {self.growth!r} and "
                f"{self.share!r}."
            )
