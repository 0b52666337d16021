"""From a sweep to a network: its certificate, what it left of the budget, what it measured."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from contraction.arrays import eps
from contraction.errors import PrecisionWarning
from contraction.gram import squared_norm, wide
from contraction.truncation import Truncation
from tnet.allocation import allocate
from tnet.certificate import Certificate, ErrorKind
from tnet.decomposition.ranks import least_params
from tnet.decomposition.target import AbstractTarget
from tnet.decomposition.tree_sweep import ENERGY_FLOOR, Goal, Swept, sweep
from tnet.network import Network
from tnet.rounding import truncate
from tnet.spectra import bond_spectra
from tnet.trees import RootedTree, rooted

WORTH = 0.02  # share of the squared tolerance left over that is worth a second look
Spectra = Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]


def decomposed(
    target: AbstractTarget, tree: RootedTree, goal: Goal, max_params: int | None
) -> Network:
    """Return the network of one sweep, fitted to the tolerance and the budget.

    The sweep shares its tolerance out before it has seen all spectra. What it leaves is spent
    afterwards where it saves most parameters; a budget of parameters is shared out likewise.
    """
    rounding = 4.0 * eps(target.like()) * (len(tree.bond) + 1)
    reachable = 2.0 * rounding
    if 0.0 < goal.tol < reachable:
        warnings.warn(
            f"`tol` {goal.tol:.3g} is below {reachable:.2g}, what the arithmetic can promise for "
            "this dtype and network; the certificate says what was reached.",
            PrecisionWarning,
            stacklevel=3,
        )
    tol = goal.tol - rounding if goal.tol >= reachable else goal.tol
    swept = sweep(target, tree, replace(goal, tol=tol))
    net = _network(tree, swept, rounding, goal.tol)
    if max_params is not None and net.num_params > max_params:
        small = truncate(_bare(net), Truncation(max_params=max_params))
        return projected(target, net, small, swept.norm or 0.0, rounding)
    small_enough = net.num_params <= target.entries // 4  # else there is little to save
    if goal.tol >= reachable and small_enough and net.certificate is not None:
        left = tol**2 - (net.certificate.bound - rounding) ** 2
        ranks = saved_ranks(net, left) if left > WORTH * tol**2 else None
        if ranks is not None:
            small = truncate(_bare(net), ranks)
            found = projected(target, net, small, swept.norm or 0.0, rounding)
            assert found.certificate is not None
            if found.certificate.bound <= goal.tol and found.num_params < net.num_params:
                return found
    return net


def saved_ranks(net: Network, left: float) -> dict[str, int] | None:
    """Return ranks that discard at most `left` more of the squared norm, or None if none can.

    The fewest parameters for which `tnet.allocation.allocate` stays within `left`, by bisection.
    """
    found = bond_spectra(net)
    top = max((float(values[0]) for values in found.values()), default=0.0)
    if top == 0.0:
        return None
    spectra: Spectra = {bond: np.asarray(values) / top for bond, values in found.items()}
    squares = {bond: values**2 for bond, values in spectra.items()}
    limit = left * max(float(values.sum()) for values in squares.values())
    if all(len(values) < 2 or values[-1] > limit for values in squares.values()):
        return None
    low, high, best = least_params(net.structure), net.num_params, None
    while low < high:
        middle = (low + high) // 2
        ranks = allocate(spectra, net.structure, middle)
        if sum(float(squares[bond][rank:].sum()) for bond, rank in ranks.items()) <= limit:
            high, best = middle, ranks
        else:
            low = middle + 1
    return best


def projected(
    target: AbstractTarget, large: Network, small: Network, norm: float, rounding: float
) -> Network:
    """Return the best network with the bases of `small`, and its error.

    `small` is a truncation of `large`. For given isometries the best root is the projection of
    the tensor itself, and ||X - Y||^2 = ||X||^2 - ||Y||^2. That difference is lost in the
    rounding of small errors (in single precision below about 1e-3); but the bases are nested, so
    the squares of both errors add up to a bound. One pass, 2 r N flops.
    """
    first, second = large.certificate, small.certificate
    assert first is not None
    assert second is not None
    tree = rooted(small.structure, small.center)
    swept = sweep(target, tree, Goal(tol=0.0, caps=None, free=small.ranks, bases=small.arrays))
    root: Any = wide(swept.arrays[tree.root])
    kept = squared_norm([(root / norm).reshape(1, 1, -1)]) if norm else 1.0
    lost = max(1.0 - kept, 0.0)
    floor = math.sqrt(max(ENERGY_FLOOR * (len(tree.bond) + 1), 2.0 * rounding))
    measured = certified(math.sqrt(lost), floor, rounding)
    summed = math.hypot(max(first.bound - rounding, 0.0), second.bound) + rounding
    if measured.kind is ErrorKind.BOUND and summed < measured.bound:
        measured = replace(measured, error=summed, bound=summed)
    discarded = {
        bond: math.hypot(first.discarded.get(bond, 0.0), second.discarded.get(bond, 0.0))
        for bond in small.structure.bonds
    }
    certificate = replace(
        measured,
        discarded=discarded,
        methods={**first.methods, **second.methods},
        allowed=first.allowed,
    )
    return Network(small.structure, swept.arrays, tree.root, certificate)


def certified(error: float, slack: float, rounding: float) -> Certificate:
    """Return the certificate of an error known up to `slack` (in squares) and `rounding`."""
    bound = math.hypot(error, slack) + rounding
    exact = error >= 10.0 * max(slack, rounding)
    kind = ErrorKind.EXACT if exact else ErrorKind.BOUND
    return Certificate(error=error if exact else bound, kind=kind, bound=bound)


def _network(tree: RootedTree, swept: Swept, rounding: float, tol: float) -> Network:
    """Return the network of a sweep; the squares of the discarded weights add up exactly."""
    sizes = {tree.bond[node]: int(swept.arrays[node].shape[tree.axis(node)]) for node in tree.bond}
    if swept.discarded:
        error = math.sqrt(sum(value**2 for value in swept.discarded.values()))
        slack = math.sqrt(sum(value**2 for value in swept.floors.values()))
        certificate = certified(error, slack, rounding)
    else:  # nothing was cut: zero, or a single node
        certificate = Certificate(error=0.0, kind=ErrorKind.EXACT, bound=0.0)
    certificate = replace(
        certificate,
        discarded=swept.discarded,
        methods={bond: method.value for bond, method in swept.methods.items()},
        allowed=tol or None,
    )
    return Network(tree.structure.resized(sizes), swept.arrays, tree.root, certificate)


def _bare(net: Network) -> Network:
    """Return the network without its certificate, so that a truncation's errors are its own."""
    return Network(net.structure, net.arrays, net.center)
