"""One sweep from the leaves to the root that projects every bond onto fewer dimensions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contraction.arrays import Array, Namespace, namespace_by_name, to_numpy
from contraction.leading import Solver, Values, leading_eigenpairs
from contraction.linalg import adjoint, qr, svd
from tnet._axes import contiguous, fold, unfold
from tnet.network import Network
from tnet.sides import Core, Side, dress, in_range
from tnet.trees import RootedTree


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a sweep may cut.

    Attributes
    ----------
    budget
        Square of the relative error allowed over all bonds together; None: no bond is cut
        because of its values.
    floor
        Squared relative weight that is rounding noise and always cut (if `budget` is not None).
    caps
        Bond -> largest rank.
    min_rank
        Smallest rank, where the bond has that many.
    """

    budget: float | None
    floor: float
    caps: Mapping[str, int]
    min_rank: int = 1


@dataclass(kw_only=True, eq=False)
class Swept:
    """What a sweep found.

    Attributes
    ----------
    arrays
        Node -> new array; all but the root's are isometries towards the root.
    shift
        The root's true array is 2^shift times the one given.
    tails
        Bond -> squared relative weight discarded there.
    methods
        Bond -> how.
    kept
        ||result||^2 / ||tensor||^2.
    nested
        True if no bond was cut after one outside its own subtree, so that the sum of `tails` is
        the squared relative error itself and not only a bound.
    zero
        True for the zero tensor.
    """

    arrays: dict[str, Array] = field(default_factory=dict)
    shift: int = 0
    tails: dict[str, float] = field(default_factory=dict)
    methods: dict[str, str] = field(default_factory=dict)
    kept: float = 1.0
    nested: bool = True
    zero: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class _Basis:
    U: Array  # (m, r) orthonormal
    tail: float  # squared weight left out
    total: float  # squared weight there was
    method: str


class _Scale:
    """Turns squared weights of one bond into squares relative to the norm of the tensor."""

    def __init__(self) -> None:
        self.norm2 = 0.0
        self.shift = 0

    def unit(self, total: float, shift: int) -> float:
        if self.norm2 == 0.0:  # the first bond sees the whole tensor
            self.norm2, self.shift = total, shift
        if self.norm2 == 0.0:
            return 0.0
        # one power of two: 1 / norm2 and the shift may each be near the ends of the range
        fraction, power = math.frexp(self.norm2)
        return math.ldexp(1.0 / fraction, max(min(2 * (shift - self.shift) - power, 1000), -1000))


@dataclass(kw_only=True, eq=False)
class _Chooser:
    """Picks the rank of one bond from the squares of its singular values."""

    limits: Limits
    cap: int
    size: int  # how many values there are
    share: float | None
    scale: _Scale
    shift: int

    def __call__(self, w: Values, total: float) -> int | None:
        """Return the rank; None if more values than those in `w` are needed."""
        count = len(w)
        tails = self.tails(w, total)
        rank: int | None = None if count < self.size else count
        if self.share is not None:
            allowed = max(self.share, self.limits.floor)
            fits = np.flatnonzero(tails * self.scale.unit(total, self.shift) <= allowed)
            rank = max(int(fits[0]), 1) if len(fits) else rank
        if rank is None and self.cap > count:
            return None
        rank = self.cap if rank is None else min(rank, self.cap)
        rank = max(rank, min(self.limits.min_rank, self.size))
        return rank if rank <= count else None

    def tails(self, w: Values, total: float) -> Values:
        """Return [weight left out by keeping r values for r = 0, 1, ...]."""
        if len(w) == self.size:  # all are known: sum the small ones first
            known: Values = np.append(np.cumsum(w[::-1])[::-1], 0.0)
            return known
        rest: Values = np.maximum(np.append(total, total - np.cumsum(w)), 0.0)
        return rest


def sweep(
    net: Network,
    tree: RootedTree,
    cores: Mapping[str, Core],
    upper: Mapping[str, Side],
    limits: Limits,
    *,
    gram: bool,
) -> Swept:
    """Project every bond onto leading left singular vectors, children before parents.

    At a node with its children's bases applied, M (m, r), and the upper side R of its bond, the
    singular values of B = M R^T are those of the (already projected) tensor at the bond. U, the
    leading left singular vectors, becomes the node's array and U^H M passes to the parent.

    A bond that needs less than its share of the budget leaves the rest to those after it.
    """
    xp = namespace_by_name(net.namespace)
    out, scale = Swept(), _Scale()
    passed: dict[str, Side] = {}
    cuts_below, ranks = dict.fromkeys(tree.pre_order, 0), dict[str, int]()
    left, bonds, cuts = limits.budget, len(tree.post_order) - 1, 0
    for node in tree.post_order[:-1]:
        x, shift = _with_children(net, tree, cores[node], passed, node)
        bond, side = tree.bond[node], upper[node]
        axis = net.structure.legs[node].index(bond)
        M = unfold(x, axis, xp)
        assert side.R is not None
        B: Array = M @ side.R.T  # type: ignore[attr-defined]
        chooser = _Chooser(
            limits=limits,
            cap=limits.caps.get(bond, side.rank),
            size=min(B.shape),
            share=None if left is None else max(left, 0.0) / bonds,
            scale=scale,
            shift=shift + side.shift,
        )
        guess = max([ranks[c] for c in tree.children[node]], default=side.rank)
        if bond in limits.caps:
            guess = chooser.cap
        basis = _by_gram(B, chooser, guess, xp) if gram else _by_svd(B, chooser)
        if basis.total == 0.0:
            return Swept(zero=True)
        tail = basis.tail * scale.unit(basis.total, chooser.shift)
        rank = int(basis.U.shape[1])
        parent = tree.parent[node]
        assert parent is not None
        if rank < chooser.size:
            out.tails[bond], out.methods[bond] = tail, basis.method
            out.nested = out.nested and cuts_below[node] == cuts
            cuts += 1
            cuts_below[node] += 1
        cuts_below[parent] += cuts_below[node]
        left, bonds = None if left is None else left - tail, bonds - 1
        T = in_range(adjoint(basis.U, xp) @ M, xp)
        passed[node] = Side(R=T.x, shift=T.shift + shift, size=T.size, rank=side.rank)
        ranks[node] = rank
        out.arrays[node] = contiguous(fold(basis.U, tuple(x.shape), axis, xp))
        for child in tree.children[node]:
            del passed[child]
    x, out.shift = _with_children(net, tree, cores[tree.root], passed, tree.root)
    out.arrays[tree.root] = x
    size = in_range(x, xp)
    out.kept = size.size**2 * scale.unit(size.size**2, size.shift + out.shift)
    return out


def _with_children(
    net: Network, tree: RootedTree, core: Core, passed: Mapping[str, Side], node: str
) -> tuple[Array, int]:
    """Return a node's array with what its children passed up applied to it."""
    xp, axes = namespace_by_name(net.namespace), net.structure.legs[node].index
    below = [(axes(tree.bond[child]), passed[child]) for child in tree.children[node]]
    x, shift = dress(core.x, core.shift, below, xp)
    if not below:
        return x, shift
    found = in_range(x, xp)
    return found.x, shift + found.shift


def _by_svd(B: Array, choose: _Chooser) -> _Basis:
    U, s, _ = svd(B)
    squares = np.asarray(to_numpy(s), dtype=np.float64) ** 2
    total = float(squares.sum())
    if total == 0.0:
        return _Basis(U=U, tail=0.0, total=0.0, method="qr+svd")
    rank = choose(squares, total)
    assert rank is not None
    tail = float(choose.tails(squares, total)[rank])
    return _Basis(U=U[:, :rank], tail=tail, total=total, method="qr+svd")


def _by_gram(B: Array, choose: _Chooser, guess: int, xp: Namespace) -> _Basis:
    """Leading left singular vectors from the Gram matrix of the shorter side."""
    wide = B.shape[0] <= B.shape[1]
    H: Any = B @ adjoint(B, xp) if wide else adjoint(B, xp) @ B
    total = float(xp.sum(xp.real(xp.linalg.diagonal(H))))
    if total == 0.0:
        return _Basis(U=B, tail=0.0, total=0.0, method="gram")
    found = leading_eigenpairs(H, choose, guess=guess, trace=total)
    U = found.vectors if wide else qr(B @ found.vectors)[0]
    method = "gram+subspace" if found.solver is Solver.SUBSPACE else "gram+eigh"
    return _Basis(U=U, tail=found.left, total=total, method=method)
