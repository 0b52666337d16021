"""Fits on data projected to the leading singular vectors of each mode, exact about the rest.

With orthonormal columns in V_n, a network Y inside the projection P obeys
||X - Y||^2 = ||X - P X||^2 + ||P X - Y||^2, so a fit to the small core P X says exactly how far
the network is from the data.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

import tnet
from contraction.arrays import is_complex, namespace
from structure_search.bounds import CutSpectra
from structure_search.canonical import canonical_key
from structure_search.fitting import Fitted, Fitter
from structure_search.methods.base import Answer, Problem, Proposal
from structure_search.methods.hosvd import (
    OrthogonalCore,
    orthogonal_core,
    orthogonal_iteration,
    project,
)
from tnet.certificate import Certificate, ErrorKind
from tnet.network import Network
from tnet.structure import Structure

NEAR = 1.03  # a fit in the core this near to the goal is finished on the data themselves
POLISH_SWEEPS = 8
TUCKER_SWEEPS = 10
SLACK = 1.02  # of the tolerance: the Tucker network is the best one in the core, nearly
WIDEST_BOND = 4096  # where a direct factorisation chooses the ranks by tolerance
Descent = Generator[Sequence[Proposal], Sequence[Answer], Structure]


@dataclass(frozen=True, kw_only=True)
class Projected:
    """The data in the leading singular vectors of each mode, ready for fits."""

    small: OrthogonalCore = field(repr=False)
    fitter: Fitter = field(repr=False)
    whole: Fitter = field(repr=False)
    modes: tuple[str, ...]
    tol: float
    sweeps: int
    restarts: int
    lost: float  # squared, relative: what the projection leaves out
    scale: float  # norm of the core / norm of the data
    seed: int
    _reach: dict[tuple[int, ...], float] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, problem: Problem, tol: float, *, sweeps: int, restarts: int) -> Projected:
        """Keep at least four times the vectors that the tolerance demands, and ten."""
        xp: Any = namespace(problem.x)
        needed = [problem.spectra.rank([mode], tol) for mode in problem.modes]
        factor = 4
        while True:
            caps = [
                min(size, max(10, factor * rank))
                for size, rank in zip(problem.modes.values(), needed, strict=True)
            ]
            small = orthogonal_core(problem.x, caps)
            scale = float(xp.linalg.vector_norm(small.core)) / small.norm if small.norm else 1.0
            lost = max(0.0, 1.0 - scale**2)
            if lost <= 0.5 * tol**2 or caps == list(problem.modes.values()):
                break
            factor *= 2  # too much of the tolerance would be used up by the projection
        return cls(
            small=small,
            fitter=Fitter(small.core),
            whole=Fitter(problem.x),
            modes=tuple(problem.modes),
            tol=tol,
            sweeps=sweeps,
            restarts=restarts,
            lost=lost,
            scale=scale,
            seed=int(problem.rng.integers(2**63)),
        )

    @property
    def allowed(self) -> float:
        """The relative error allowed in the core."""
        return math.sqrt(max(0.0, self.tol**2 - self.lost)) / self.scale

    def proposal(self, structure: Structure, label: str) -> Proposal:
        """Return the proposal to fit a structure."""
        return Proposal(
            structure=structure,
            solve=partial(self.solve, structure),
            sweeps=self.sweeps,
            restarts=self.restarts,
            label=label,
        )

    def in_core(self, structure: Structure) -> Structure:
        """Return the structure with modes of the sizes of the core."""
        return structure.resized(dict(zip(self.modes, self.small.core.shape, strict=True)))

    def may_reach(self, structure: Structure) -> bool:
        """Tell whether the best Tucker network with as large ranks comes near enough.

        Unfoldings of the network have at most these ranks, so no other network with them is
        nearer to the data than the best Tucker network.
        """
        ranks = []
        for mode, most in zip(self.modes, self.small.core.shape, strict=True):
            legs = structure.legs[structure.holders[mode][0]]
            others = math.prod(structure.size[leg] for leg in legs if leg != mode)
            ranks.append(min(int(most), others))
        key = tuple(ranks)
        if key not in self._reach:
            core, _, _ = orthogonal_iteration(self.small.core, key, sweeps=TUCKER_SWEEPS)
            xp: Any = namespace(core)
            norm = self.small.norm or 1.0
            kept = float(xp.linalg.vector_norm(core)) / norm
            self._reach[key] = math.sqrt(max(0.0, 1.0 - kept**2))
        return self._reach[key] <= SLACK * self.tol

    def solve(self, structure: Structure) -> Network:
        """Return a network of `structure`, fitted in the core and, if it is close, to the data."""
        key = np.array([self.seed, int(canonical_key(structure), 16)], dtype=np.uint64)
        rng = np.random.Generator(np.random.Philox(key=key))
        fitted = self.fitter.fit(
            self.in_core(structure),
            start=None,
            sweeps=self.sweeps,
            restarts=0 if structure.is_tree else self.restarts,  # factorised, not guessed
            enough=self.allowed,
            rng=rng,
        )
        error = math.sqrt(self.lost + (self.scale * fitted.error) ** 2)
        net = self._expanded(fitted)
        if self.tol < error <= NEAR * self.tol:
            better = self.whole.improve(net, sweeps=POLISH_SWEEPS, enough=self.tol, rng=rng)
            if better.error < error:
                net, error = better.network, better.error
        certificate = Certificate(error=error, kind=ErrorKind.EXACT)
        return Network(net.structure, net.arrays, certificate=certificate)

    def direct(self, graph: Structure) -> Structure:
        """Return `graph` with the ranks that the direct factorisation of a tree needs."""
        wide = self.in_core(graph).resized(dict.fromkeys(graph.bonds, WIDEST_BOND))
        net = tnet.decompose(self.small.core, wide, tol=min(self.allowed, 0.999))
        return graph.resized(net.ranks)

    def _expanded(self, fitted: Fitted) -> Network:
        arrays = dict(fitted.network.arrays)
        structure = fitted.network.structure
        for mode, V in zip(self.modes, self.small.factors, strict=True):
            node = structure.holders[mode][0]
            xp: Any = namespace(V)
            adjoint: Any = V  # project multiplies by the adjoint of what it is given
            adjoint = xp.conj(adjoint).T if is_complex(V) else adjoint.T
            arrays[node] = project(arrays[node], structure.legs[node].index(mode), adjoint)
        sizes = {m: int(V.shape[0]) for m, V in zip(self.modes, self.small.factors, strict=True)}
        return Network(structure.resized(sizes), arrays)


def descent(fits: Projected, label: str, graph: Structure, spectra: CutSpectra) -> Descent:
    """Lower the ranks of a tree from its direct factorisation while fits stay in tolerance.

    Tries the bond that saves most first, by a quarter of its rank, then by less; ends where no
    bond can be lowered by one.
    """
    structure = fits.direct(graph)
    (answer,) = yield [fits.proposal(structure, label)]
    share = 0.25
    while True:
        for lower in _lowered(structure, share):
            if spectra.bound(lower) > fits.tol or not fits.may_reach(lower):
                continue
            (answer,) = yield [fits.proposal(lower, label)]
            if answer.error <= fits.tol:
                structure = lower
                break
        else:
            if all(max(1, int(share * rank)) == 1 for rank in structure.ranks.values()):
                return structure
            share /= 2


def _lowered(structure: Structure, share: float) -> list[Structure]:
    """Return the structure with one bond lowered, for each bond, the smallest first."""
    made = [
        structure.resized({bond: rank - max(1, int(share * rank))})
        for bond, rank in structure.ranks.items()
        if rank > 1
    ]
    return sorted(made, key=lambda s: s.num_params)
