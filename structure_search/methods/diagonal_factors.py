"""Fully connected networks with a diagonal factor on every bond, made sparse.

The network of N cores G_k and one vector s_kl for each pair of them,

    T(x_1 ... x_N) = sum over all bonds of  prod_k G_k(x_k, r_k1 ... r_kN)  prod_kl s_kl(r_kl),

is fitted by proximal alternating minimisation of

    ||X - T||^2 / 2 + ridge / 2 sum ||G_k||^2 + sparsity sum ||s_kl||_1

(Zheng, Zhao, Meng, Deng, Xu, Jiang, "SVDinsTN", CVPR 2024, arXiv:2305.14912, equation 4). A
core is a ridge problem; a diagonal is a small problem with an l1 term, solved by splitting
(ADMM) and soft thresholds. Entries of s_kl that vanish lower the rank of the bond k-l, and a
bond of rank one is no bond.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from contraction import linalg
from contraction.arrays import Array, is_complex, namespace, random_normal, to_numpy
from tnet.als.entries import beside
from tnet.als.pairs import compile_block
from tnet.network import Network
from tnet.structure import Structure

Float = np.ndarray[Any, np.dtype[np.float64]]
Pair = tuple[int, int]
SPLITTINGS = 50  # steps of ADMM for one diagonal: at most a few tens of unknowns
VANISHED = 1e-3  # times the largest diagonal entry of all


class Weights(NamedTuple):
    """The weights of the penalties, for data of norm one."""

    sparsity: float
    ridge: float
    proximal: float


@dataclass(frozen=True, kw_only=True)
class Factors:
    """Cores and diagonals.

    Attributes
    ----------
    cores
        One per mode: its own axis, then one for each other mode in order.
    diagonals
        Real, by pair of modes.
    """

    cores: tuple[Array, ...] = field(repr=False)
    diagonals: dict[Pair, Float]

    @property
    def ranks(self) -> dict[Pair, int]:
        """The rank of every bond."""
        return {pair: len(s) for pair, s in self.diagonals.items()}

    @property
    def penalties(self) -> tuple[float, float]:
        """The sum of squares of the cores, and of the absolute values of the diagonals."""
        squares = sum(float(namespace(g).linalg.vector_norm(g)) ** 2 for g in self.cores)
        return squares, sum(float(np.abs(s).sum()) for s in self.diagonals.values())

    def network(self, modes: Iterable[str]) -> Network:
        """Return the network, each diagonal taken into the first of its cores."""
        names = list(modes)
        count = len(names)
        bond = {pair: f"v{pair[0]}-v{pair[1]}" for pair in self.diagonals}
        nodes = [(f"v{k}", (names[k], *(bond[p] for p in pairs(k, count)))) for k in range(count)]
        sizes = {name: int(g.shape[0]) for name, g in zip(names, self.cores, strict=True)}
        sizes |= {bond[pair]: rank for pair, rank in self.ranks.items()}
        structure = Structure(nodes, sizes, tuple(names))
        arrays = {f"v{k}": self.weighted(k) for k in range(count)}
        return Network(structure, arrays)

    def weighted(self, k: int, but: int = -1) -> Array:
        """Return core k with the diagonals of the bonds that begin there, but of that to `but`.

        So each diagonal between two cores is taken into one of them.
        """
        core: Any = self.cores[k]
        for axis, pair in enumerate(pairs(k, len(self.cores)), start=1):
            if pair[0] == k and but not in pair:
                core = _scaled(core, axis, self.diagonals[pair])
        found: Array = core
        return found


def pairs(k: int, count: int) -> list[Pair]:
    """Return the bonds of core k, in the order of its axes.

    Examples
    --------
    >>> pairs(1, 4)
    [(0, 1), (1, 2), (1, 3)]
    """
    return [(min(k, m), max(k, m)) for m in range(count) if m != k]


def random_factors(x: Array, ranks: dict[Pair, int], rng: np.random.Generator) -> Factors:
    """Return Gaussian cores whose network has about the norm of `x`, and diagonals of ones."""
    count = x.ndim
    terms = math.prod(x.shape) * math.prod(float(r) for r in ranks.values())
    xp = namespace(x)
    size = (float(xp.linalg.vector_norm(x)) / math.sqrt(terms)) ** (1.0 / count)
    cores = []
    for k in range(count):
        shape = (int(x.shape[k]), *(ranks[pair] for pair in pairs(k, count)))
        core: Any = random_normal(rng, shape, like=x)
        cores.append(core * size)
    ones = {pair: np.ones(rank) for pair, rank in ranks.items()}
    return Factors(cores=tuple(cores), diagonals=ones)


def sweep(x: Array, factors: Factors, weights: Weights) -> Factors:
    """Return the factors after one pass over all cores and diagonals; the objective never rises.

    Parameters
    ----------
    x
        The data, of norm about one.
    factors
        Cores and diagonals of the same modes.
    weights
        Of the penalties.

    Notes
    -----
    Cost per core: with C the product of its ranks, the block of all other cores,
    |X| / I_k rows and C columns, is formed; then |X| C (1 + C / I_k) multiply-adds and C^3 / 3.
    """
    for k in range(x.ndim):
        block = _block(x, factors, k)
        xp: Any = namespace(x)
        conjugate = xp.conj(block) if is_complex(x) else block
        moved: Any = xp.moveaxis(x, k, 0)
        rhs = moved.reshape((x.shape[k], -1)) @ conjugate
        gram = block.T @ conjugate
        factors = _new_core(factors, k, gram, rhs, weights)
        for axis, pair in enumerate(pairs(k, x.ndim), start=1):
            if pair[0] == k:
                factors = _new_diagonal(factors, k, axis, gram, rhs, weights)
    return factors


def dropped(factors: Factors) -> Factors:
    """Return the factors without the diagonal entries that vanished; each bond keeps one."""
    largest = max((float(np.abs(s).max()) for s in factors.diagonals.values()), default=0.0)
    cores, diagonals = list(factors.cores), dict(factors.diagonals)
    for pair, s in factors.diagonals.items():
        keep = np.flatnonzero(np.abs(s) > VANISHED * largest)
        if len(keep) == 0:
            keep = np.array([int(np.argmax(np.abs(s)))])
        if len(keep) == len(s):
            continue
        diagonals[pair] = s[keep]
        for k in pair:
            axis = 1 + pairs(k, len(cores)).index(pair)
            xp: Any = namespace(cores[k])
            cores[k] = xp.take(cores[k], beside(keep, cores[k]), axis=axis)
    return Factors(cores=tuple(cores), diagonals=diagonals)


def balanced(factors: Factors) -> Factors:
    """Return the factors with cores of equal norm; the network stays what it is."""
    xp: Any = namespace(factors.cores[0])
    norms = [float(xp.linalg.vector_norm(core)) for core in factors.cores]
    if not all(0.0 < norm < math.inf for norm in norms):
        return factors
    mean = math.exp(math.fsum(math.log(norm) for norm in norms) / len(norms))
    cores: list[Any] = list(factors.cores)
    scaled = tuple(core * (mean / norm) for core, norm in zip(cores, norms, strict=True))
    return replace(factors, cores=scaled)


def _block(x: Array, factors: Factors, k: int) -> Any:
    """Return all other cores as a matrix; columns are the bonds of core k, diagonals left out."""
    count = x.ndim
    others = [m for m in range(count) if m != k]
    name = {pair: f"{pair[0]}-{pair[1]}" for pair in factors.diagonals}
    sizes = {f"x{m}": int(x.shape[m]) for m in range(count)}
    sizes |= {name[pair]: rank for pair, rank in factors.ranks.items()}
    labels = [(f"x{m}", *(name[pair] for pair in pairs(m, count))) for m in others]
    rows = tuple(f"x{m}" for m in others)
    columns = tuple(name[pair] for pair in pairs(k, count))
    operands = [factors.weighted(m, but=k) for m in others]
    return compile_block(labels, rows, columns, sizes).run(operands)


def _scaled(core: Any, axis: int, s: Float) -> Any:
    shape = [1] * core.ndim
    shape[axis] = -1
    return core * _like(s, core).reshape(tuple(shape))


def _like(values: Float, like: Any) -> Any:
    xp: Any = namespace(like)
    return xp.astype(beside(values, like), like.dtype)


def _new_core(factors: Factors, k: int, gram: Any, rhs: Any, weights: Weights) -> Factors:
    """Solve the ridge problem of core k; `gram` and `rhs` are without its diagonals."""
    own = pairs(k, len(factors.cores))
    scale = np.ones(1)
    for pair in own:
        scale = np.multiply.outer(scale, factors.diagonals[pair]).reshape(-1)
    s = _like(scale, rhs)
    old: Any = factors.cores[k]
    flat = old.reshape(rhs.shape)
    xp: Any = namespace(rhs)
    eye = xp.eye(rhs.shape[1], dtype=rhs.dtype, device=rhs.device)
    H = gram * s[:, None] * s[None, :] + (weights.ridge + weights.proximal) * eye
    # W H = rhs, and H is Hermitian: H^T W^T = rhs^T
    found: Any = linalg.solve_psd(H.T, (rhs * s + weights.proximal * flat).T, ridge=0.0)
    cores = list(factors.cores)
    cores[k] = found.T.reshape(old.shape)
    return replace(factors, cores=tuple(cores))


def _new_diagonal(
    factors: Factors, k: int, axis: int, gram: Any, rhs: Any, weights: Weights
) -> Factors:
    """Solve for the diagonal on one bond of core k, from the normal equations of the core."""
    count = len(factors.cores)
    own = pairs(k, count)
    pair = own[axis - 1]
    core: Any = factors.cores[k]
    xp: Any = namespace(core)
    ranks = [len(factors.diagonals[p]) for p in own]
    for place, other in enumerate(own, start=1):
        if other != pair:
            core = _scaled(core, place, factors.diagonals[other])
    rank, rows = ranks[axis - 1], core.shape[0]
    y = xp.permute_dims(core, (axis, 0, *(a for a in range(1, count) if a != axis)))
    y = y.reshape((rank, rows, -1))
    order = (axis - 1, *(a for a in range(count - 1) if a != axis - 1))
    H = gram.reshape((*ranks, *ranks))
    H = xp.permute_dims(H, (*order, *(a + count - 1 for a in order)))
    H = H.reshape((rank, y.shape[2], rank * y.shape[2]))
    z = (y @ H).reshape((rank, rows, rank, -1))  # for entry r of the diagonal: what H makes of it
    A = xp.permute_dims(rhs.reshape((rows, *ranks)), (1 + order[0], 0, *(1 + a for a in order[1:])))
    A = A.reshape((rank, -1))
    conj = xp.conj if is_complex(core) else (lambda v: v)
    flat = conj(y).reshape((rank, -1))
    turned = xp.permute_dims(z, (0, 2, 1, 3)).reshape((rank, rank, -1))
    Q = to_numpy(xp.real(xp.sum(turned * flat[None, :, :], axis=2))).astype(float)
    b = to_numpy(xp.real(xp.sum(A * flat, axis=1))).astype(float)
    found = sparse_solution(0.5 * (Q + Q.T), b, factors.diagonals[pair], weights)
    return replace(factors, diagonals={**factors.diagonals, pair: found})


def sparse_solution(Q: Float, b: Float, old: Float, weights: Weights) -> Float:
    """Minimise s.Q.s / 2 - b.s + sparsity |s|_1 + proximal |s - old|^2 / 2 by splitting.

    The result is never worse than `old`.

    Examples
    --------
    >>> weights = Weights(sparsity=1.0, ridge=0.0, proximal=0.0)
    >>> sparse_solution(np.eye(2), np.array([3.0, 0.5]), np.ones(2), weights).round(6)
    array([2., 0.])
    """
    count = len(b)
    step = max(float(np.trace(Q)) / count, 1e-300)
    inverse = np.linalg.inv(Q + (weights.proximal + step) * np.eye(count))

    def value(s: Float) -> float:
        smooth = 0.5 * s @ Q @ s - b @ s + 0.5 * weights.proximal * float((s - old) @ (s - old))
        return float(smooth + weights.sparsity * np.abs(s).sum())

    u, v = np.zeros(count), old
    for _ in range(SPLITTINGS):
        w = inverse @ (b + weights.proximal * old + step * (v - u))
        v = np.sign(w + u) * np.maximum(np.abs(w + u) - weights.sparsity / step, 0.0)
        u = u + w - v
    return v if value(v) <= value(old) else old


def initial_ranks(needed: list[int], most: int) -> dict[Pair, int]:
    """Return the rank of every pair: that of the smaller of both unfoldings, at most `most`.

    Examples
    --------
    >>> initial_ranks([2, 5, 9], 4)
    {(0, 1): 2, (0, 2): 2, (1, 2): 4}
    """
    return {
        (i, j): max(1, min(needed[i], needed[j], most))
        for i, j in itertools.combinations(range(len(needed)), 2)
    }
