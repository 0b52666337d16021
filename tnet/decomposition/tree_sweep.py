"""One sweep from the leaves to the root: every tree decomposition there is.

At each node the legs below it (its modes and the bonds of its children) are the rows of an
unfolding of what is left of the tensor; its leading left singular vectors are the node's array,
and the tensor is projected on them. What is left at the root is the root's array. On a star this
is the sequentially truncated HOSVD, on a path the TT-SVD, on a binary tree the hierarchical SVD.

The projections are orthogonal and nested, so the squares of what they discard add up to the
square of the error, exactly.

Vannieuwenhoven, Vandebril, Meerbergen, SIAM J. Sci. Comput. 34 (2012) A1027, theorem 5.1;
Oseledets, SIAM J. Sci. Comput. 33 (2011) 2295; Grasedyck, SIAM J. Matrix Anal. Appl. 31 (2010)
2029.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from contraction.arrays import Array, dtype_name, namespace
from contraction.errors import NonFiniteError, StructureError
from contraction.factor import Basis, Method, left_basis
from contraction.gram import empty_basis
from contraction.truncation import Truncation
from tnet.decomposition.target import AbstractTarget
from tnet.trees import RootedTree

SINGLE_TOL = 3e-3  # share of the norm above which single precision finds the same basis
ENERGY_FLOOR = 32.0 * float(np.finfo(np.float64).eps)  # of a difference of squared norms
SINGLE_ENTRIES = 1 << 17  # below, both precisions take as long
MOST_AXES = 64  # of a NumPy array
LARGEST_SHARE = 0.999  # a tolerance is below one


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a sweep is asked for.

    Attributes
    ----------
    tol
        Relative error over all bonds together.
    caps
        Bond -> largest rank; None if no ranks were asked for.
    free
        Bond -> largest rank that can be of use; bonds of rank one take no share of the error.
    method, rng
        As for `contraction.factor.left_basis`.
    bases
        Node -> array to use instead of a new factorisation; the root is always new.
    """

    tol: float
    caps: Mapping[str, int] | None
    free: Mapping[str, int]
    method: Method = Method.AUTO
    rng: np.random.Generator | None = None
    bases: Mapping[str, Array] | None = None


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What a sweep gives.

    Attributes
    ----------
    arrays
        Node -> array; all but the root isometric towards it.
    norm
        Frobenius norm of the tensor; None if no factorisation was needed.
    discarded, floors
        Bond -> relative weight cut there, and its uncertainty.
    methods
        Bond -> factorisation used there.
    """

    arrays: Mapping[str, Array]
    norm: float | None
    discarded: Mapping[str, float]
    floors: Mapping[str, float]
    methods: Mapping[str, Method]


def sweep(target: AbstractTarget, tree: RootedTree, goal: Goal) -> Swept:
    """Decompose `target` on `tree` by truncated factorisations from the leaves to the root.

    The error allowed is shared out equally over the bonds that are left; what one does not use
    goes to the others. Of the nodes whose children are done, the one is taken next that shrinks
    the tensor most for its cost.

    Raises
    ------
    NonFiniteError
        NaN or infinity in the tensor.

    Notes
    -----
    Cost for N entries: the factorisations (see `contraction.basis`) and 2 r N flops for each
    projection, both on what is left. Memory: the tensor and its first projection; one permuted
    copy if the order of its axes does not suit the tree, made as late as possible.
    """
    run = _Run(target, tree, goal)
    try:
        while run.ready:
            run.step(run.next_node())
    except NonFiniteError:
        target.require_finite()  # the same complaint with the index in the user's array
        raise
    return run.result()


class _Run:
    """The state of one sweep."""

    def __init__(self, target: AbstractTarget, tree: RootedTree, goal: Goal) -> None:
        self.target, self.tree, self.goal = target, tree, goal
        self.size: dict[str, int] = {leg: tree.structure.size[leg] for leg in tree.structure.modes}
        self.arrays: dict[str, Array] = {}
        self.ready: list[str] = []  # nodes whose children are done, with more than one row
        self.norm: float | None = None
        self.square: float | None = None  # of the norm of what is left, where it was measured
        self.used = 0.0  # squared relative error so far
        self.shares = sum(rank > 1 for rank in goal.free.values())
        self.discarded: dict[str, float] = {}
        self.floors: dict[str, float] = {}
        self.methods: dict[str, Method] = {}
        self.waiting = {node: len(below) for node, below in tree.children.items()}
        self.like = target.like()
        for node in tree.post_order:
            if not tree.children[node]:
                self.arrive(node)

    def group(self, node: str) -> list[str]:
        """Return the legs below `node` that the target holds, in its order."""
        above = self.tree.bond.get(node)
        held = {leg for leg in self.tree.structure.legs[node] if leg != above}
        return [leg for leg in self.target.legs if leg in held]

    def arrive(self, node: str) -> None:
        """List a node whose children are done; one with a single row is done at once."""
        while node != self.tree.root:
            if self.group(node):
                self.ready.append(node)
                return
            self.store(node, [], empty_basis(1, self.like))
            above = self.parent_if_done(node)
            if above is None:
                return
            node = above

    def parent_if_done(self, node: str) -> str | None:
        """Return the parent of `node` if that was the last child it waited for."""
        above = self.tree.parent[node]
        assert above is not None
        self.waiting[above] -= 1
        return above if self.waiting[above] == 0 else None

    def next_node(self) -> str:
        """Return the ready node to take: no moving of data, then least cost per shrinking."""

        def price(node: str) -> tuple[bool, float, bool, int]:
            group = self.group(node)
            rows = self.target.rows(group)
            small = min(rows, self.target.entries // rows)
            rank = min(self.cap(node) or max(small // 2, 1), small)
            # exchange argument: a before b if cost_a + shrink_a cost_b is the smaller sum
            cost = small / (1.0 - rank / rows) if rank < rows else math.inf
            # a group at either end is a matrix as it stands; one in the middle is a batch
            inside = self.target.legs[0] not in group and self.target.legs[-1] not in group
            place = self.target.legs.index(group[0])
            # of two ends the last: its rows are contiguous, which products read fastest
            return not self.target.adjacent(group), cost, inside, -place

        return min(self.ready, key=price)

    def cap(self, node: str) -> int | None:
        return None if self.goal.caps is None else self.goal.caps[self.tree.bond[node]]

    def step(self, node: str) -> None:
        """Factorise at `node` and project."""
        self.ready.remove(node)
        bond = self.tree.bond[node]
        if not self.target.adjacent(self.group(node)):
            self.target = self.target.arranged(arrangement(self.tree, self.target, self.arrays))
        group = self.group(node)
        if self.goal.bases is not None:
            basis, rest = self.given(node, group, self.goal.bases[node])
        else:
            basis, rest = self.quick(node, group) or self.thorough(node, group)
        self.norm = basis.norm if self.norm is None else self.norm
        if self.norm > 0.0:
            self.discarded[bond] = basis.discarded / self.norm
            self.floors[bond] = basis.floor / self.norm
        self.used += self.discarded.get(bond, 0.0) ** 2
        self.methods[bond] = basis.method
        self.shares -= self.goal.free[bond] > 1
        self.target = rest
        self.store(node, group, basis.U)
        above = self.parent_if_done(node)
        if above is not None:
            self.arrive(above)

    def share(self, node: str) -> float:
        """Return the relative error that the bond above `node` may make."""
        left = max(self.goal.tol**2 - self.used, 0.0) / max(self.shares, 1)
        return math.sqrt(left) if self.goal.free[self.tree.bond[node]] > 1 else 0.0

    def thorough(self, node: str, group: Sequence[str]) -> tuple[Basis, AbstractTarget]:
        """Return the basis at `node` by the method asked for, and the projected target."""
        share, goal = self.share(node), self.goal
        self.square = None
        basis = left_basis(
            self.target.unfolded(group),
            Truncation(tol=min(share, LARGEST_SHARE), max_rank=self.cap(node)),
            allowed=None if self.norm is None else share * self.norm,
            norm=self.norm,
            method=goal.method,
            rng=goal.rng,
        )
        return basis, self.target.compressed(group, self.tree.bond[node], basis.U)

    def given(self, node: str, group: Sequence[str], array: Array) -> tuple[Basis, AbstractTarget]:
        """Return a basis that is known and the projected target; nothing is measured."""
        legs, bond = self.tree.structure.legs[node], self.tree.bond[node]
        order = [*(legs.index(leg) for leg in group), legs.index(bond)]
        order = [axis for axis in range(len(legs)) if axis not in order] + order  # ones first
        moved: Any = namespace(array).permute_dims(array, tuple(order))
        U = moved.reshape(self.target.rows(group), -1)
        basis = Basis(U=U, norm=0.0, discarded=0.0, floor=0.0, method=Method.AUTO)
        return basis, self.target.compressed(group, bond, U)

    def quick(self, node: str, group: Sequence[str]) -> tuple[Basis, AbstractTarget] | None:
        """Find the basis in single precision and measure in double what it discards.

        None where that is not safe: the cut must lie above what single precision can judge, or
        the tolerance hold as measured.
        """
        share, cap, rows = self.share(node), self.cap(node), self.target.rows(group)
        cuts = share >= SINGLE_TOL or (cap is not None and cap < rows)
        wide = dtype_name(self.like) in ("float64", "complex128")
        if not (cuts and wide and rows >= 32 and self.target.entries >= SINGLE_ENTRIES):
            return None
        if self.goal.method is not Method.AUTO:
            return None
        x = self.target.unfolded(group)
        if x.whole is None:  # measuring what is discarded would take a pass of its own
            return None
        basis = left_basis(
            x,
            Truncation(tol=min(share, LARGEST_SHARE), max_rank=cap),
            allowed=None if self.norm is None else share * self.norm,
            method=Method.GRAM_SINGLE,
        )
        before = basis.norm * basis.norm if self.square is None else self.square
        if not 1e-250 < before < 1e250:
            return None
        norm = self.norm or basis.norm
        if self.goal.tol == 0.0 and basis.discarded < SINGLE_TOL * norm:
            return None
        rest = self.target.compressed(group, self.tree.bond[node], basis.U)
        after = rest.squared_norm()
        lost = max(before - (after or 0.0), 0.0)
        within = lost <= (share * norm) ** 2
        if not within and (int(basis.U.shape[1]) != cap or lost < (SINGLE_TOL * norm) ** 2):
            return None
        self.square = after
        floor = math.sqrt(ENERGY_FLOOR) * norm
        return replace(basis, norm=norm, discarded=math.sqrt(lost), floor=floor), rest

    def store(self, node: str, group: Sequence[str], U: Array) -> None:
        """Keep U, with rows in the order of `group`, as the array of `node`."""
        bond = self.tree.bond[node]
        self.size[bond] = int(U.shape[1])
        legs = [*group, bond] if self.size[bond] > 1 else list(group)
        self.arrays[node] = self.as_node(node, legs, U)

    def as_node(self, node: str, legs: Sequence[str], x: Array) -> Array:
        """Return `x` with axes `legs` (none of size one) in the axis order of `node`."""
        order = self.tree.structure.legs[node]
        if len(order) > MOST_AXES:
            raise StructureError(
                f"node {node!r} has {len(order)} legs, and an array has at most {MOST_AXES} axes; "
                "split it into several nodes."
            )
        plain: Any = x.reshape(tuple(self.size[leg] for leg in legs))
        axes = tuple(legs.index(leg) for leg in order if leg in legs)
        moved = namespace(x).permute_dims(plain, axes) if axes else plain
        array: Array = moved.reshape(tuple(self.size[leg] for leg in order))
        return array

    def result(self) -> Swept:
        root = self.tree.root
        x = self.target.dense()
        if not self.methods:  # nothing was projected: the array is still the user's
            self.target.require_finite()
            x = namespace(x).asarray(x, copy=True)
        self.arrays[root] = self.as_node(root, self.target.legs, x)
        return Swept(
            arrays=self.arrays,
            norm=self.norm,
            discarded=self.discarded,
            floors=self.floors,
            methods=self.methods,
        )


def arrangement(
    tree: RootedTree, target: AbstractTarget, done: Mapping[str, Array]
) -> tuple[str, ...]:
    """Return an order of the target's legs in which every subtree is one interval.

    Of all such orders one that follows the present order: what a node holds is sorted by first
    appearance. Linear in the number of nodes (times a logarithm).
    """
    place = {leg: k for k, leg in enumerate(target.legs)}
    first: dict[str, int] = {}
    items: dict[str, list[tuple[int, str, bool]]] = {}
    for node in tree.post_order:
        if node in done:
            continue
        held = [(place[leg], leg, True) for leg in tree.structure.legs[node] if leg in place]
        below = [(first[c], c, False) for c in tree.children[node] if c not in done]
        items[node] = sorted(held + below)
        first[node] = min((k for k, _, _ in items[node]), default=len(place))
    order: list[str] = []
    work = [(tree.root, False)]
    while work:
        name, is_leg = work.pop()
        if is_leg:
            order.append(name)
        else:
            work.extend((item, leg) for _, item, leg in reversed(items[name]))
    return tuple(order)
