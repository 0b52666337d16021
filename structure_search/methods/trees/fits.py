"""Networks of given trees for a search: factorised in the leading vectors of each mode.

With orthonormal columns in V_n, a network Y inside the projection P obeys
||X - Y||^2 = ||X - P X||^2 + ||P X - Y||^2, so factorising the small core P X says exactly how
far the network is from the data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

import tnet
from contraction.arrays import is_complex, namespace
from structure_search.bounds import CutSpectra
from structure_search.fitting import most_columns
from structure_search.methods.base import Problem, Proposal
from structure_search.methods.hosvd import OrthogonalCore, orthogonal_core, project
from tnet.certificate import Certificate, ErrorKind
from tnet.network import Network
from tnet.structure import Structure

LOST = 0.02  # of the squared tolerance: what the projection may leave out
NEAR = 1.1  # a factorisation that misses the goal by no more is refined by sweeps
COLUMNS = 2000  # bond values at a node above which sweeps cost too much for what they gain
FLOPS = 1e10  # the most that the sweeps of one network may take
LEAST_SWEEPS = 3
FLOOR = 1e-6  # a relative error below this is only an estimate: a difference of squares


@dataclass(frozen=True, kw_only=True)
class Reduced:
    """The data in the leading singular vectors of each mode.

    Attributes
    ----------
    small
        The core and the vectors.
    spectra
        Spectra of the cuts of the core, relative to the norm of the data.
    target
        The core, ready for fits.
    lost
        Squared relative error of the projection.
    scale
        Norm of the core over the norm of the data.
    """

    small: OrthogonalCore = field(repr=False)
    spectra: CutSpectra = field(repr=False)
    target: tnet.Target = field(repr=False)
    modes: tuple[str, ...]
    lost: float
    scale: float

    def proposal(self, structure: Structure, goal: float, sweeps: int, label: str) -> Proposal:
        """Return the proposal to factorise a tree, and to refine it if it is just off `goal`."""
        return Proposal(
            structure=structure,
            solve=partial(self.solve, structure, goal, sweeps),
            sweeps=sweeps,
            label=label,
        )

    def solve(self, structure: Structure, goal: float, sweeps: int) -> Network:
        """Return a network of a tree; swept if the factorisation just misses `goal`, or it is 0."""
        sizes = dict(zip(self.modes, self.small.core.shape, strict=True))
        net = tnet.decompose(self.small.core, structure.resized(sizes))
        error = self.whole_error(float(net.error or 0.0))
        if goal == 0.0 or goal < error <= NEAR * goal:
            sweeps = _affordable(net.structure, sweeps)
        else:
            sweeps = 0
        if sweeps:
            options = tnet.ALS(tol=self.core_error(goal), probe=sweeps, polish=0, stall=1e-4)
            rng = np.random.default_rng(0)  # not drawn from: there is a start
            found = tnet.fit(self.target, net.structure, start=net, rng=rng, options=options)
            if self.whole_error(found.error) < error:
                net, error = found.network, self.whole_error(found.error)
        kind = ErrorKind.EXACT if error > FLOOR else ErrorKind.ESTIMATE
        return self.expanded(net, Certificate(error=error, kind=kind))

    def shared(self, structure: Structure, tol: float) -> dict[str, int]:
        """Return the ranks with which a factorisation of the core shares out a tolerance."""
        sizes = dict(zip(self.modes, self.small.core.shape, strict=True))
        bare = structure.resized(sizes)
        net = tnet.decompose(self.small.core, lambda _: bare, tol=self.core_error(tol))
        return dict(net.ranks)

    def whole_error(self, error: float) -> float:
        """Return the relative error over the data of a network with `error` in the core."""
        return math.sqrt(self.lost + (self.scale * error) ** 2)

    def core_error(self, error: float) -> float:
        """Return the relative error allowed in the core."""
        return min(math.sqrt(max(0.0, error**2 - self.lost)) / (self.scale or 1.0), 0.999)

    def expanded(self, net: Network, certificate: Certificate) -> Network:
        """Return a network of the core as one of the data."""
        arrays = dict(net.arrays)
        structure = net.structure
        sizes = {}
        for mode, V in zip(self.modes, self.small.factors, strict=True):
            sizes[mode] = int(V.shape[0])
            node = structure.holders[mode][0]
            xp: Any = namespace(V)
            adjoint: Any = V  # project multiplies by the adjoint of what it is given
            adjoint = xp.conj(adjoint).T if is_complex(V) else adjoint.T
            arrays[node] = project(arrays[node], structure.legs[node].index(mode), adjoint)
        return Network(structure.resized(sizes), arrays, certificate=certificate)


def _affordable(structure: Structure, sweeps: int) -> int:
    """Return how many of some sweeps may be done; a few are of no use."""
    if most_columns(structure) > COLUMNS:
        return 0
    most = int(FLOPS / max(1.0, tnet.planned_flops(structure)))  # one node takes none
    return min(sweeps, most) if most >= LEAST_SWEEPS else 0


def reduced_data(problem: Problem, tol: float) -> Reduced:
    """Return the data projected so far that at most LOST * tol^2 is left out.

    Cost: one Gram matrix per mode, |X| sum I_n multiply-adds, and the projection.
    """
    xp: Any = namespace(problem.x)
    sizes = list(problem.modes.values())
    caps = []
    for mode, size in problem.modes.items():
        tails = problem.spectra.tails([mode])
        enough = math.sqrt(LOST / len(sizes)) * tol
        caps.append(size if tails is None else max(1, int(np.count_nonzero(tails > enough))))
    small = orthogonal_core(problem.x, [min(c, n) for c, n in zip(caps, sizes, strict=True)])
    scale = float(xp.linalg.vector_norm(small.core)) / small.norm if small.norm else 1.0
    lost = 0.0 if caps == sizes else max(0.0, 1.0 - scale**2)
    return Reduced(
        small=small,
        spectra=CutSpectra(small.core, tuple(problem.modes), small.norm),
        target=tnet.Target(small.core),
        modes=tuple(problem.modes),
        lost=lost,
        scale=scale,
    )
