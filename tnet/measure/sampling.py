"""Perfect sampling: independent draws from the squared amplitudes of a state, many at once.

The state is rooted at an end of a longest path. A node is entered with an array V (bond, e) per
draw: what is above, given everything drawn so far; e stands for subtrees that are not drawn yet.
Its modes are drawn from V times its core, and then its subtrees in turn: the one to come gets
all others as its e; when it is through, the vector of its draws takes the place of its bond. The
largest subtree comes last: nothing is open then, e is one, and along a chain a draw costs no
more than a matrix times a vector per site.

Ferris and Vidal, Phys. Rev. B 85 (2012) 165146.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from contraction.arrays import eps, is_complex, to_numpy
from contraction.errors import InputError, NonFiniteError
from contraction.linalg import identity_like
from tnet._checks import is_whole
from tnet.measure.canonical import Centred, centred, conjugate
from tnet.network import Network
from tnet.row_sweep import Rows, Table, bonds_of, by_modes, site_rows
from tnet.trees import RootedTree

CHUNK_ENTRIES = 1 << 22  # numbers that one chunk of draws may take

Reals = np.ndarray[Any, np.dtype[np.float64]]


class Samples(NamedTuple):
    """What `sample` has drawn.

    Attributes
    ----------
    indices
        (count, modes) int64: a row per draw, a column per mode of ``structure.modes``.
    log_probabilities
        (count,) float64: the natural logarithm of the probability of each row.
    """

    indices: Rows
    log_probabilities: Reals


class _Site(NamedTuple):
    """One node of the way: its core as (bond above, modes, children) and what to do there."""

    name: str
    core: Any  # (bond above, flat modes, product of the children's bonds)
    columns: tuple[int, ...]  # of the index matrix
    sizes: tuple[int, ...]
    children: tuple[str, ...]  # the smallest subtree first
    ranks: tuple[int, ...]  # of the children's bonds
    table: Table | None  # (flat modes, children, bond above), if the way back up is needed


def sample(state: Network, count: int, rng: np.random.Generator | int) -> Samples:
    """Draw index rows with the probabilities |amplitude|^2 / <state|state>, independently.

    Parameters
    ----------
    state
        A network on any tree, of any norm but zero, with any number of modes on any node.
    count
        How many rows to draw.
    rng
        A generator, or a seed. Drawn on the host: the same seed gives the same rows in every
        namespace, up to rounding at the edges.

    Returns
    -------
    Samples
        `indices` (count, modes) and `log_probabilities` (count,), on the host.

    Raises
    ------
    StructureError
        The state is no tree.
    InputError
        `count` is no whole number >= 0, or the state is zero.
    NonFiniteError
        The state holds NaN or infinity.

    Notes
    -----
    Batched over the draws, in chunks of some 4 million numbers. Per draw 2 n r^2 flops a node on
    a chain; about 2 n r^4 on a node with two branches of rank r. No burn-in, no correlation
    between draws. Ferris and Vidal, Phys. Rev. B 85 (2012) 165146.

    Examples
    --------
    >>> import tnet
    >>> cat = tnet.Network(tnet.tensor_train((2, 2), 2), {"g0": np.eye(2), "g1": np.eye(2)})
    >>> drawn = sample(cat, 100, 0)
    >>> bool((drawn.indices[:, 0] == drawn.indices[:, 1]).all())
    True
    >>> np.exp(drawn.log_probabilities[:2]).round(12)
    array([0.5, 0.5])
    """
    if not is_whole(count) or count < 0:
        raise InputError(f"`count` is a whole number of draws >= 0, got {count!r}.")
    rng = np.random.default_rng(rng)
    held = centred(state)
    held = centred(held.net, held.tree.pre_order[-1])  # the deepest node: an end of a longest path
    sites = _sites(held)
    steps = _steps(held.tree, sites)
    chunk = max(1, CHUNK_ENTRIES // _peak(sites, steps))
    width = sum(1 for site in sites.values() if site.columns)
    indices = np.zeros((int(count), len(state.structure.modes)), np.int64)
    logs = np.zeros(int(count))
    for start in range(0, int(count), chunk):
        rows, log = indices[start : start + chunk], logs[start : start + chunk]
        _draw(held, sites, steps, rng.random((len(rows), width)), rows, log)
    return Samples(indices, logs)


def _sites(state: Centred) -> dict[str, _Site]:
    structure, tree, xp = state.net.structure, state.tree, state.xp
    place = {mode: column for column, mode in enumerate(structure.modes)}
    weight = dict.fromkeys(tree.post_order, 1)
    for node in tree.post_order[:-1]:
        weight[tree.parent[node] or ""] += weight[node]
    climbs = {tree.root: False}
    found: dict[str, _Site] = {}
    for node in tree.pre_order:
        children = tuple(sorted(tree.children[node], key=lambda child: weight[child]))
        for child in children:
            climbs[child] = climbs[node] or child != children[-1]
        below = tuple(tree.bond[child] for child in children)
        above = tuple(bond for bond in bonds_of(state.net, node) if bond not in below)
        table = by_modes(state.net, node, (*below, *above), place)
        ranks = tuple(structure.size[bond] for bond in below)
        x = table.x.reshape(table.x.shape[0], math.prod(ranks), -1)
        core = xp.permute_dims(x, (2, 0, 1)).reshape(x.shape[2], x.shape[0], x.shape[1])
        kept = table if climbs[node] else None
        found[node] = _Site(node, core, table.columns, table.sizes, children, ranks, kept)
    return found


def _steps(tree: RootedTree, sites: dict[str, _Site]) -> list[tuple[str, int]]:
    """Return (node, k) in the order of the work: k = -1 enters, k >= 0 comes back from child k."""
    found: list[tuple[str, int]] = []
    work = [(tree.root, -1)]
    while work:
        node, k = work.pop()
        found.append((node, k))
        children = sites[node].children
        if k + 1 < len(children):
            work.append((node, k + 1))
            work.append((children[k + 1], -1))
    return found


def _peak(sites: dict[str, _Site], steps: list[tuple[str, int]]) -> int:
    """Return how many numbers one draw takes at most."""
    width = {steps[0][0]: 1}
    held: dict[str, int] = {}
    peak = live = 1
    for node, k in steps:
        site = sites[node]
        if k < 0:
            rest = width[node] * math.prod(site.ranks)
            peak = max(peak, live + 2 * width[node] * math.prod(site.core.shape[1:]))
            held[node] = rest
            live += rest
        else:
            live -= held[node]
            held[node] //= site.ranks[k]
            live += held[node]
        if k + 1 < len(site.children):
            child = site.children[k + 1]
            width[child] = min(held[node] // site.ranks[k + 1], site.ranks[k + 1])
            peak = max(peak, live + 2 * held[node])
        else:
            live -= held.pop(node)
            peak = max(peak, live + 2 * math.prod(site.ranks) * site.core.shape[0])
    return peak


def _draw(
    state: Centred,
    sites: dict[str, _Site],
    steps: list[tuple[str, int]],
    uniform: Reals,
    rows: Rows,
    logs: Reals,
) -> None:
    """Fill `rows` and `logs` for one chunk of draws."""
    xp = state.xp
    count = len(rows)
    like: Any = state.net[steps[0][0]]
    above: dict[str, Any] = {
        steps[0][0]: xp.ones((count, 1, 1), dtype=like.dtype, device=like.device)
    }
    open_: dict[str, Any] = {}  # node -> (draws, e, bonds of the children still to come)
    drawn: dict[str, Rows] = {}
    up: dict[str, Any] = {}
    column = 0
    for node, k in steps:
        site = sites[node]
        if k < 0:
            x = _times_core(xp, above.pop(node), site.core)
            if site.columns:
                drawn[node], log = _choose(xp, x, uniform[:, column], node)
                column += 1
                logs += log
                rows[:, site.columns] = np.stack(np.unravel_index(drawn[node], site.sizes), axis=1)
                at = xp.asarray(drawn[node], device=like.device)
                x = x[xp.arange(count, device=like.device), :, at, :]
            open_[node] = _unit(xp, x)
        elif k + 1 < len(site.children):
            child = site.children[k]
            vector = up.pop(child) if site.table is None else up[child]
            open_[node] = _unit(xp, _closed(xp, open_[node], vector, _after(site, k)))
        if k + 1 < len(site.children):
            child, rank = site.children[k + 1], site.ranks[k + 1]
            parted = open_[node].reshape(count, -1, rank, _after(site, k + 1))
            above[child] = _squeezed(xp, parted)
        else:
            del open_[node]
            if site.table is not None:
                flat = drawn[node] if site.columns else np.zeros(count, np.int64)
                factors = [up.pop(child) for child in site.children]
                up[node] = _unit(xp, site_rows(xp, site.table.x, flat, factors))


def _after(site: _Site, k: int) -> int:
    """Return the product of the ranks of the children after the k-th."""
    return math.prod(site.ranks[k + 1 :])


def _times_core(xp: Any, above: Any, core: Any) -> Any:
    """Return (draws, e, flat modes, children) from (draws, bond, e) and the core."""
    count, rank, e = above.shape
    matrix = xp.permute_dims(above, (0, 2, 1)).reshape(count * e, rank)
    return (matrix @ core.reshape(rank, -1)).reshape(count, e, *core.shape[1:])


def _closed(xp: Any, x: Any, vector: Any, after: int) -> Any:
    """Put the vector of a subtree that is drawn in the place of its bond."""
    count, rank = vector.shape
    parted = x.reshape(count, -1, rank, after)
    e = parted.shape[1]
    moved = xp.permute_dims(parted, (0, 1, 3, 2)).reshape(count, e * after, rank)
    return xp.matmul(moved, vector[:, :, None]).reshape(count, e * after)


def _squeezed(xp: Any, parted: Any) -> Any:
    """Return (draws, bond, e) from (draws, e, bond, after), with e no more than the bond."""
    count, e, rank, after = parted.shape
    x = xp.permute_dims(parted, (0, 2, 1, 3)).reshape(count, rank, e * after)
    if e * after <= rank:
        return x
    gram = xp.matmul(x, xp.permute_dims(conjugate(x, xp), (0, 2, 1)))
    # x has norm one, so that this much keeps a singular matrix positive and is seen by no draw
    shift = (rank + 4) * eps(x)
    return xp.linalg.cholesky(gram + shift * identity_like(gram[0], xp))


def _unit(xp: Any, x: Any) -> Any:
    """Divide each draw by its norm; the result has axes (draws, rest)."""
    flat = x.reshape(x.shape[0], -1)
    return flat / xp.sqrt(_squares(xp, flat))[:, None]


def _squares(xp: Any, flat: Any) -> Any:
    size = xp.real(flat) ** 2 + xp.imag(flat) ** 2 if is_complex(flat) else flat * flat
    return xp.sum(size, axis=1)


def _choose(xp: Any, x: Any, uniform: Reals, node: str) -> tuple[Rows, Reals]:
    """Draw one flat index per row of (draws, e, values, children); return it and its log."""
    count, e, values, below = x.shape
    by_value = xp.permute_dims(x, (0, 2, 1, 3)).reshape(count * values, e * below)
    weights = to_numpy(_squares(xp, by_value)).astype(np.float64).reshape(count, values)
    sums = np.cumsum(weights, axis=1)
    total = sums[:, -1]
    if not (np.isfinite(total).all() and (total > 0.0).all()):
        raise NonFiniteError(
            f"the probabilities at node {node!r} came out as NaN, infinity or zero: an array of "
            "the state holds such entries, or its centre is not where it says."
        )
    flat = np.count_nonzero(sums <= (uniform * total)[:, None], axis=1)
    last = values - 1 - np.argmax(weights[:, ::-1] > 0.0, axis=1)
    flat = np.minimum(flat, last)
    picked = np.take_along_axis(weights, flat[:, None], axis=1)[:, 0]
    return flat, np.log(picked / total)
