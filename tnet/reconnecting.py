"""Reconnect a tree: exchange branches across bonds until every bond carries as little as it can.

Hikihara, Ueda, Okunishi, Harada and Nishino, Phys. Rev. Research 5, 013031 (2023), for binary
trees of spins; here for any tree whose nodes keep their numbers of legs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from contraction.arrays import Array, namespace_by_name, to_numpy
from contraction.elementary import norm as norm_of
from contraction.errors import InputError
from contraction.factor import truncated_svd
from contraction.linalg import qr, singular_values
from contraction.svd_ladder import times_power
from contraction.truncation import Truncation
from tnet.certificate import Certificate, ErrorKind
from tnet.gauge import orthogonalize
from tnet.network import Network
from tnet.structure import Structure
from tnet.trees import require_tree

CLEARLY = 1e-9  # an exchange must gain this share of the old value: no circling among equals


class Criterion(Enum):
    """What an exchange of branches is to lower at a bond."""

    ENTROPY = "entropy"  # of the squared, normalised singular values
    ENTRIES = "entries"  # of the two nodes, cut as the truncation says


@dataclass(frozen=True, kw_only=True)
class Reconnection:
    """A reconnected network and how it came about.

    Attributes
    ----------
    network
        The network on its new tree; its certificate holds a bound on the error of all cuts.
    exchanges
        Number of exchanges made in each sweep; the last is zero where no exchange helps.
    values
        Sum over the visited bonds of what was lowered, by sweep.
    """

    network: Network
    exchanges: tuple[int, ...]
    values: tuple[float, ...]


def reconnect(
    net: Network,
    *,
    truncation: Truncation | None = None,
    criterion: Criterion = Criterion.ENTROPY,
    sweeps: int = 20,
) -> Reconnection:
    """Find a better tree for a network by exchanging branches across its bonds.

    The two nodes of a bond are merged; of all ways to exchange one leg of the first for one of
    the second (three groupings where both have three legs) the best is kept. Bonds are visited
    from the leaves to the centre and back until a sweep changes nothing. Nodes that only join
    two bonds, such as the root of a binary tree, are absorbed first; a leaf that holds one mode
    is moved as a whole, by the bond it hangs on.

    Parameters
    ----------
    net
        A network on any tree.
    truncation
        Tolerance over all sweeps together, relative to the norm (half of what is left for every
        sweep, shared by its cuts in squares), and cap on the ranks, which wins. Without it
        nothing but numerical zeros is cut, so ranks may grow up to those of the exact tree.
    criterion
        What to lower.
    sweeps
        Largest number of sweeps.

    Returns
    -------
    Reconnection
        The network has the modes of `net` in the same order. The bound in its certificate adds
        up the errors of the sweeps; those of the cuts within one are orthogonal.

    Raises
    ------
    StructureError
        The network is no tree.
    InputError
        `sweeps` below one; a truncation with a budget of parameters; a norm beyond the range of
        the dtype.
    NonFiniteError
        An array holds NaN or infinity.

    Notes
    -----
    A bond between two nodes of three legs of size r costs O(r^6) flops and O(r^4) memory: the
    singular values of three matrices r^2 x r^2. Linear in the number of nodes. A descent: it
    ends in a local optimum, which entanglement (or a start that is no chain) may make worse.

    Examples
    --------
    >>> import tnet
    >>> sizes = dict.fromkeys("abcd", 4)
    >>> planted = tnet.tree([["a", "c"], ["b", "d"]], sizes, rank=2)
    >>> x = tnet.random_network(planted, rng=np.random.default_rng(0)).to_dense()
    >>> wrong = tnet.decompose(x, tnet.tree([["a", "b"], ["c", "d"]], sizes, rank=16), tol=1e-10)
    >>> found = reconnect(wrong, truncation=Truncation(tol=1e-8)).network
    >>> wrong.num_params, found.num_params
    (768, 64)
    """
    require_tree(net.structure)
    if sweeps < 1:
        raise InputError(f"`sweeps` is 1 or more, got {sweeps}.")
    truncation = truncation or Truncation()
    if truncation.max_params is not None:
        raise InputError("reconnect cuts bond by bond: give `tol` or `max_rank`, not max_params.")
    work = _Work(orthogonalize(net), net.certificate, truncation, criterion)
    exchanges, values = [], []
    for _ in range(sweeps):
        changed, value = work.sweep()
        exchanges.append(changed)
        values.append(value)
        if not changed:
            break
    else:
        work.explores = False  # a branch that was exchanged may lie where its sweep did not come
        work.sweep()
    return Reconnection(network=work.network(), exchanges=tuple(exchanges), values=tuple(values))


class _Work:
    """A network under reconnection: legs and arrays of the nodes, and where the centre is."""

    def __init__(
        self,
        net: Network,
        before: Certificate | None,
        truncation: Truncation,
        criterion: Criterion,
    ) -> None:
        assert net.center is not None
        self.modes = net.structure.modes
        self.before = before
        self.truncation, self.criterion = truncation, criterion
        self.xp = namespace_by_name(net.namespace)
        self.legs = {node: list(legs) for node, legs in net.structure.legs.items()}
        self.arrays: dict[str, Array] = dict(net.arrays)
        self.holders = {bond: list(net.structure.holders[bond]) for bond in net.structure.bonds}
        self.center = net.center
        # of moderate size while at work: squares of its entries must stay in range
        self.shift = _exponent(net[net.center], self.xp)
        self.arrays[net.center] = times_power(net[net.center], -self.shift)
        self.norm = norm_of(self.arrays[net.center])
        self.spent = 0.0  # by the sweeps that are over
        self.square = 0.0  # spent by this sweep, whose cuts are orthogonal to each other
        self.budget = 0.0
        self.explores = True
        for node in [n for n, legs in self.legs.items() if len(legs) == 2]:
            self.drop_joint(node)

    def drop_joint(self, node: str) -> None:
        """Absorb a node that only joins two bonds into one of its neighbours."""
        first, second = self.legs[node]
        if first not in self.holders or second not in self.holders:
            return
        (other,) = (n for n in self.holders[second] if n != node)
        (kept,) = (n for n in self.holders[first] if n != node)
        self.absorb(other, second, self.arrays[node])
        self.legs[other][self.legs[other].index(second)] = first
        self.holders[first] = [kept, other]
        del self.holders[second], self.legs[node], self.arrays[node]
        if self.center == node:
            self.center = other

    def sweep(self) -> tuple[int, float]:
        """Visit every bond once, from below; return the number of exchanges and the sum."""
        changed, value = 0, 0.0
        left = max(self.truncation.tol * self.norm - self.spent, 0.0)
        self.square, self.budget = 0.0, left / 2  # the sweeps after this one share the rest
        self.share = self.budget / math.sqrt(max(len(self.holders), 1))
        seen: set[str] = set()
        root = self.center
        way: list[tuple[str, str]] = []  # (upper node, bond down) from the root to the centre
        while True:
            bond = next(
                (b for b in self.legs[self.center] if b in self.holders and b not in seen), None
            )
            if bond is not None:
                seen.add(bond)
                way.append((self.center, bond))
                self.move(bond)
                continue
            if not way:
                assert self.center == root
                self.spent += math.sqrt(self.square)
                return changed, value
            above, bond = way.pop()
            up = way[-1][1] if way else None
            exchanged, here = self.settle(above, bond, up)
            changed, value = changed + exchanged, value + here

    def move(self, bond: str) -> None:
        """Move the centre across a bond by QR."""
        node = self.center
        (other,) = (n for n in self.holders[bond] if n != node)
        axis = self.legs[node].index(bond)
        x = self.xp.moveaxis(self.arrays[node], axis, -1)
        Q, R = qr(x.reshape(-1, x.shape[-1]))
        Q = Q.reshape(*x.shape[:-1], Q.shape[1])
        self.arrays[node] = self.xp.moveaxis(Q, -1, axis)
        self.absorb(other, bond, R)
        self.center = other

    def absorb(self, node: str, bond: str, R: Any) -> None:
        axis = self.legs[node].index(bond)
        x = self.xp.moveaxis(self.arrays[node], axis, 0)
        y = (R @ x.reshape(x.shape[0], -1)).reshape(R.shape[0], *x.shape[1:])
        self.arrays[node] = self.xp.moveaxis(y, 0, axis)

    def settle(self, above: str, bond: str, up: str | None) -> tuple[bool, float]:
        """Merge the centre with the node above, group their legs best, leave the centre above."""
        below = self.center
        lower = [leg for leg in self.legs[below] if leg != bond]
        upper = [leg for leg in self.legs[above] if leg != bond]
        merged = self.merged(below, above, bond)
        legs = lower + upper
        groups = list(_groupings(lower, upper, up)) if self.explores else [lower]
        scores = [self.score(self.matrix(merged, legs, group)) for group in groups]
        best = int(np.argmin(scores))
        if scores[best] > scores[0] - CLEARLY * abs(scores[0]) - 1e-14:
            best = 0
        self.split(below, above, bond, merged, legs, groups[best])
        return best != 0, scores[best]

    def merged(self, below: str, above: str, bond: str) -> Any:
        a = self.xp.moveaxis(self.arrays[below], self.legs[below].index(bond), -1)
        b = self.xp.moveaxis(self.arrays[above], self.legs[above].index(bond), 0)
        flat = a.reshape(-1, a.shape[-1]) @ b.reshape(b.shape[0], -1)
        return flat.reshape(*a.shape[:-1], *b.shape[1:])

    def matrix(self, merged: Any, legs: list[str], group: list[str]) -> Any:
        order = [legs.index(leg) for leg in group]
        order += [k for k, leg in enumerate(legs) if leg not in group]
        x = self.xp.permute_dims(merged, order)
        return x.reshape(math.prod(x.shape[: len(group)]), -1)

    def score(self, A: Any) -> float:
        values = np.asarray(to_numpy(singular_values(A)), dtype=np.float64)
        if self.criterion is Criterion.ENTRIES:
            return float(self.kept(values) * (A.shape[0] + A.shape[1]))
        p = values**2 / max(float(np.sum(values**2)), np.finfo(float).tiny)
        p = p[p > 0]
        return float(-np.sum(p * np.log(p)))

    def allowed(self) -> float:
        """Return the error this cut may make: its share of what the sweep may spend."""
        left = math.sqrt(max(self.budget**2 - self.square, 0.0))
        return max(min(self.share, left), 1e-14 * self.norm)

    def kept(self, values: Any) -> int:
        tails = np.sqrt(np.cumsum((values**2)[::-1])[::-1])
        rank = max(int(np.sum(tails > self.allowed())), self.truncation.min_rank, 1)
        cap = self.truncation.max_rank
        return min(rank, len(values)) if cap is None else min(rank, len(values), cap)

    def split(
        self, below: str, above: str, bond: str, merged: Any, legs: list[str], group: list[str]
    ) -> None:
        A = self.matrix(merged, legs, group)
        found = truncated_svd(A, self.truncation, allowed=self.allowed())
        self.square += found.discarded**2 + (found.floor**2 if found.discarded else 0.0)
        rest = [leg for leg in legs if leg not in group]
        size = dict(zip(legs, merged.shape, strict=True))
        rank = int(found.s.shape[0])
        self.arrays[below] = found.U.reshape(*(size[leg] for leg in group), rank)
        weighted = found.s[:, None] * found.Vh
        self.arrays[above] = weighted.reshape(rank, *(size[leg] for leg in rest))
        self.legs[below], self.legs[above] = [*group, bond], [bond, *rest]
        for node, held in ((below, group), (above, rest)):
            for leg in held:
                if leg in self.holders:
                    others = [n for n in self.holders[leg] if n not in (below, above)]
                    self.holders[leg] = [*others, node]
        self.center = above

    def network(self) -> Network:
        sizes = {
            leg: int(n)
            for node, legs in self.legs.items()
            for leg, n in zip(legs, self.arrays[node].shape, strict=True)
        }
        structure = Structure(self.legs, sizes, modes=self.modes)
        arrays: dict[str, Array] = {n: self.arrays[n] for n in self.legs}
        arrays[self.center] = times_power(arrays[self.center], self.shift)
        return Network(structure, arrays, self.center, self.certificate())

    def certificate(self) -> Certificate:
        """Return a bound on the error of all cuts, beside what the network came with."""
        error = bound = self.spent / self.norm if self.norm else 0.0
        kind = ErrorKind.BOUND
        if self.before is not None:
            error = self.before.error + (1.0 + self.before.error) * error
            bound = self.before.bound + (1.0 + self.before.bound) * bound
            if self.before.kind is ErrorKind.ESTIMATE:
                kind = ErrorKind.ESTIMATE
        return Certificate(error=error, kind=kind, bound=bound)


def _exponent(x: Any, xp: Any) -> int:
    """Return e such that the largest entry is about 2^e."""
    return math.frexp(float(xp.max(xp.abs(x))))[1]


def _groupings(lower: list[str], upper: list[str], up: str | None) -> Iterator[list[str]]:
    """Legs of the lower node: as they are, then with one exchanged; `up` stays above."""
    yield lower
    if len(lower) < 2 or len(upper) < 2:
        return
    seen = {frozenset(lower)}
    if up is None:  # at the root the upper node may be either of two equal parts
        seen.add(frozenset(upper))
    for out, into in itertools.product(lower, upper):
        group = [into if leg == out else leg for leg in lower]
        if into != up and frozenset(group) not in seen:
            seen.add(frozenset(group))
            yield group
