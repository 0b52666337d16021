"""Parts of a state: reduced densities, and the spectrum between any set of modes and the rest.

The state is a matrix M (kept modes, other modes). On the way from the leaves to the root every
subtree is an array (K, e, r): kept labels, labels that are traced out, the bond above. Only
e e^H matters for the density, so e is cut down to K r by a QR; for the singular values K may be
cut down to e r as well. A subtree that is traced out as a whole is an isometry, and so is nothing
but its bond: the cost depends on how often the kept and the other modes border on each other.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from contraction.arrays import Array, to_numpy
from contraction.errors import MemoryBudgetError, StructureError
from contraction.linalg import singular_values
from contraction.triangular import r_factor
from tnet.measure.canonical import Centred, Values, centred, conjugate, require_numbers
from tnet.memory import allowed_memory
from tnet.network import Network
from tnet.structure import Structure
from tnet.trees import rooted

SURE = 1 << 26  # bytes that need no question
Label = tuple[str, str]  # what an axis is: a leg of the node, or a label of a child


class Whole(enum.Enum):
    """A subtree on one side as a whole: its bond stands for it."""

    KEPT = "kept"
    TRACED = "traced"


class Part(NamedTuple):
    """A subtree: its array (K, e, r) and, if K is not cut, the modes that K runs over."""

    x: Any
    modes: tuple[str, ...]


def reduced_density(state: Network, modes: Sequence[str]) -> Array:
    """Return the reduced density matrix of some modes.

    Parameters
    ----------
    state
        A network on any tree, of any norm but zero; the density has trace one.
    modes
        The modes that are kept, on any nodes, in the order of the result.

    Returns
    -------
    Array
        (D, D), D the product of the sizes of `modes`, the last of them running fastest; beside
        the arrays of the state. Hermitian and without negative eigenvalues up to rounding.

    Raises
    ------
    StructureError
        The state is no tree, or has no such mode.
    MemoryBudgetError
        The matrix, or what is needed for it, does not fit the memory.

    Notes
    -----
    The centre goes between the modes; then only the nodes between them are touched.
    For two modes of size n in a tensor train of rank r, about 4 n^3 r^3 flops and a QR of
    (n^2 r, n r) per node between them.

    Examples
    --------
    >>> import tnet
    >>> bell = tnet.Network(tnet.tensor_train((2, 2), 2), {"g0": np.eye(2), "g1": np.eye(2)})
    >>> reduced_density(bell, ["x1"])
    array([[0.5, 0. ],
           [0. , 0.5]])
    """
    kept = checked_modes(state.structure, modes)
    size = math.prod(state.structure.size[mode] for mode in kept)
    _require_memory(size * size, state)
    held = centred(state, _middle(state.structure, _holders(state.structure, kept)))
    part = _sweep(held, set(kept), cut_kept=False)
    order = tuple(part.modes.index(mode) for mode in kept)
    shape = tuple(state.structure.size[mode] for mode in part.modes)
    x = part.x.reshape((*shape, -1))
    matrix: Any = held.xp.permute_dims(x, (*order, len(order))).reshape((size, -1))
    density: Array = matrix @ conjugate(matrix, held.xp).T  # type: ignore[attr-defined]
    return density


def schmidt_values(state: Network, modes: Collection[str]) -> Values:
    """Return the singular values between some modes and all others, descending.

    Parameters
    ----------
    state
        A network on any tree; it is divided by its norm, so the squares sum to one.
    modes
        The modes on one side, in any number and on any nodes.

    Returns
    -------
    ndarray
        float64 on the host: at most as many as the smaller side has states; values that only
        stand for directions nothing lies in may be left out.

    Raises
    ------
    StructureError
        The state is no tree, or has no such mode.
    MemoryBudgetError
        The two sides border on each other so often that no computation fits the memory.

    Notes
    -----
    Both sides are cut to the bonds they meet at, so that the modes inside a block cost nothing
    but their number: up to r^b values for b borders of rank r.

    Examples
    --------
    >>> import tnet
    >>> bell = tnet.Network(tnet.tensor_train((2, 2), 2), {"g0": np.eye(2), "g1": np.eye(2)})
    >>> schmidt_values(bell, ["x0"]) ** 2
    array([0.5, 0.5])
    """
    kept = checked_modes(state.structure, modes)
    if len(kept) == len(state.structure.modes):
        return np.ones(1)
    held = centred(state, _middle(state.structure, _borders(state.structure, set(kept))))
    part = _sweep(held, set(kept), cut_kept=True)
    K, e, _ = part.x.shape
    values = to_numpy(singular_values(part.x.reshape(K, e))).astype(np.float64)
    return require_numbers(values, "the singular values")


def checked_modes(structure: Structure, modes: Collection[str]) -> tuple[str, ...]:
    """Return `modes` as a tuple, each a mode of the structure, each once, at least one."""
    given = (modes,) if isinstance(modes, str) else tuple(modes)
    known = set(structure.modes)
    for mode in given:
        if mode not in known:
            raise StructureError(
                f"{mode!r} is no mode of the state; its modes are {list(structure.modes[:12])}."
            )
    if not given or len(set(given)) != len(given):
        raise StructureError(f"name one mode or more, each once; got {list(given[:12])}.")
    return given


def _holders(structure: Structure, modes: Collection[str]) -> dict[str, int]:
    """Return node -> how many of the modes it holds."""
    found: dict[str, int] = {}
    for mode in modes:
        node = structure.holders[mode][0]
        found[node] = found.get(node, 0) + 1
    return found


def _borders(structure: Structure, kept: set[str]) -> dict[str, int]:
    """Return node -> how often the two sides border on each other there."""
    tree = rooted(structure)
    modes = set(structure.modes)
    side: dict[str, bool] = {}  # of the region that a subtree ends with
    found: dict[str, int] = {}
    for node in tree.post_order:
        own = {leg in kept for leg in structure.legs[node] if leg in modes}
        below = [side[child] for child in tree.children[node]]
        if own:
            side[node] = min(own)
            found[node] = len(own) - 1 + sum(child != side[node] for child in below)
        else:
            side[node] = below[0] if below else False
            found[node] = len(set(below)) - 1 if below else 0
    return found


def _middle(structure: Structure, weight: dict[str, int]) -> str:
    """Return the node none of whose branches holds more than half of the weight."""
    tree = rooted(structure)
    total = {node: weight.get(node, 0) for node in tree.post_order}
    for node in tree.post_order[:-1]:
        above = tree.parent[node]
        assert above is not None
        total[above] += total[node]
    node = tree.root
    while True:
        heavy = [c for c in tree.children[node] if 2 * total[c] > total[tree.root]]
        if not heavy:
            return node
        node = heavy[0]


def _sweep(state: Centred, kept: set[str], *, cut_kept: bool) -> Part:
    """Carry the parts to the root; there r = 1."""
    tree = state.tree
    below: dict[str, Whole | Part] = {}
    for node in tree.post_order:
        parts = {tree.bond[child]: below.pop(child) for child in tree.children[node]}
        above = tree.bond.get(node)
        sides: set[Whole | None] = {p if isinstance(p, Whole) else None for p in parts.values()}
        own = [leg for leg in state.net.structure.legs[node] if leg not in parts and leg != above]
        sides |= {Whole.KEPT if leg in kept else Whole.TRACED for leg in own}
        if above is not None and sides == {Whole.TRACED}:
            below[node] = Whole.TRACED
        elif above is not None and sides == {Whole.KEPT} and cut_kept:
            below[node] = Whole.KEPT
        else:
            part = _node(state, node, parts, kept)
            below[node] = _cut(part, state, cut_kept=cut_kept)
    found = below[tree.root]
    assert isinstance(found, Part)
    return found


def _node(state: Centred, node: str, parts: dict[str, Whole | Part], kept: set[str]) -> Part:
    """Contract one node with the parts below it, and sort its axes into (K, e, r)."""
    tree, xp = state.tree, state.xp
    x: Any = state.net[node]
    labels: list[Label] = [("leg", leg) for leg in state.net.structure.legs[node]]
    keep: list[Label] = []
    trace: list[Label] = []
    modes: list[str] = []
    above = tree.bond.get(node)
    for label in tuple(labels):
        leg = label[1]
        part = parts.get(leg)
        if isinstance(part, Part):
            axis = labels.index(label)
            _require_memory(_entries(x) * _entries(part.x) // x.shape[axis] ** 2, state.net)
            x = xp.tensordot(x, part.x, axes=([axis], [2]))
            labels.remove(label)
            labels += [("K", leg), ("e", leg)]
            keep.append(("K", leg))
            trace.append(("e", leg))
            modes += part.modes
        elif part is Whole.KEPT or leg in kept:
            keep.append(label)
            modes.append(leg)
        elif leg != above:
            trace.append(label)
    last = [("leg", above)] if above is not None else []
    order = [labels.index(label) for label in (*keep, *trace, *last)]
    x = xp.permute_dims(x, tuple(order))
    sizes = tuple(x.shape)
    K = math.prod(sizes[: len(keep)])
    e = math.prod(sizes[len(keep) : len(keep) + len(trace)])
    return Part(x.reshape(K, e, -1), tuple(modes))


def _cut(part: Part, state: Centred, *, cut_kept: bool) -> Part:
    """Cut e to K r, and K to e r if wanted: M = L Q, and the isometry Q is dropped."""
    xp = state.xp
    x = part.x
    K, e, r = x.shape
    if e > K * r:
        columns = xp.permute_dims(x, (1, 0, 2)).reshape(e, K * r)
        # x = sum_e q[e, f] R[f, (K, r)]
        x = r_factor(columns).reshape(-1, K, r)
        x = xp.permute_dims(x, (1, 0, 2))
        e = x.shape[1]
    if cut_kept and K > e * r:
        x = r_factor(x.reshape(K, e * r)).reshape(-1, e, r)
    return Part(x, part.modes)


def _entries(x: Array) -> int:
    return math.prod(int(n) for n in x.shape)


def _require_memory(entries: int, net: Network) -> None:
    need = entries * np.dtype(net.dtype).itemsize
    if need < SURE:
        return
    allowed = allowed_memory(None, library=net.namespace, device=net.device)
    if need > allowed:
        raise MemoryBudgetError(
            f"this set of modes needs an array of {need / 2**30:.1f} GiB, and "
            f"{allowed / 2**30:.1f} GiB are allowed; take fewer modes, or modes that lie closer "
            "together in the tree."
        )
