"""`decompose`: from a dense tensor to a network of any structure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from contraction.arrays import NAMESPACES, Array, as_array
from contraction.blas_threads import gram_flops, threads_for
from contraction.errors import InputError, ShapeError
from contraction.factor import Method
from contraction.truncation import check_rank, check_tol
from contraction.units import parse_bytes
from tnet.decomposition.certified import decomposed
from tnet.decomposition.chunked import chunked_target
from tnet.decomposition.ranks import Ranks, asked_ranks, clipped, possible_ranks, within_budget
from tnet.decomposition.target import AbstractTarget, dense_target
from tnet.decomposition.tree_sweep import Goal
from tnet.network import Network
from tnet.readers.common import available_memory
from tnet.structure import Structure
from tnet.trees import rooted

COPIES = 3  # of a tensor in memory that a sweep may hold at once: itself, permuted, projected
Format: TypeAlias = Callable[[Any], Structure]


def decompose(
    x: Any,
    structure: Structure | Format,
    *,
    tol: float | None = None,
    ranks: Ranks | None = None,
    max_params: int | None = None,
    method: Method = Method.AUTO,
    center: str | None = None,
    memory: int | str | None = None,
    rng: np.random.Generator | None = None,
) -> Network:
    """Return a network that approximates a dense tensor.

    On a tree by one sweep of truncated factorisations from the leaves to the root, whatever the
    tree: Tucker (sequentially truncated HOSVD), tensor train (TT-SVD), hierarchical Tucker, and
    any other, with modes anywhere and in any order. On any other graph by `tnet.fit`.

    Parameters
    ----------
    x
        The tensor: NumPy, PyTorch or CuPy array, a list, or anything with `shape`, `dtype` and
        slices (a memory map, a dataset of h5py or zarr), which is read slab by slab if it does
        not fit the memory. Never written to.
    structure
        A `Structure` with the shape of `x`, or a format: a function from a shape to a structure
        (`tnet.tensor_train`, `tnet.tucker`, `tnet.balanced_tree`, ...). The ranks of a
        `Structure` are the largest allowed; those of a format's are not looked at.
    tol
        Relative Frobenius error over the whole network, in [0, 1). Zero, and nothing given with
        a format, means exact to rounding. Where ranks cap a bond, they win.
    ranks
        One number for all bonds, a sequence in the order of `Structure.ranks`, or a mapping from
        bond to rank; replaces the ranks of `structure`. Ranks above what is possible are clipped
        with a warning, and no rank exceeds what the data have.
    max_params
        Largest number of entries of the network.
    method
        How to factorise; see `contraction.Method`.
    center
        Root of the sweep and orthogonality centre of the result. By default the node that splits
        the tensor most evenly, which is the cheapest.
    memory
        Bytes that may be used beside `x`, as a number or text ("2GiB"); by default six tenths of
        what is free. A host array larger than a third of it is treated slab by slab.
    rng
        Random numbers for `Method.RANDOMIZED` and for `tnet.fit`.

    Returns
    -------
    Network
        In the namespace, on the device and in the dtype of `x`, with `center` set, and with a
        `certificate`: the error (exact, since the squares of the discarded weights add up;
        otherwise a bound), an upper bound, and for each bond its share and its method.

    Raises
    ------
    NonFiniteError
        NaN or infinity in `x`.
    ShapeError
        A scalar, a mode of size zero, or a shape other than that of `structure`.
    RankError
        Ranks that are no whole numbers >= 1, too many or too few of them, or `max_params` below
        what ranks of one need.
    InputError
        `tol` outside [0, 1), or a tolerance or a budget for a graph that is no tree.
    DTypeError
        `x` holds no numbers that can be decomposed.
    MemoryBudgetError
        A slab, or a Gram matrix, does not fit `memory`; nothing was allocated.

    Warns
    -----
    PrecisionWarning
        `tol` lies below the rounding error of the dtype.

    Notes
    -----
    Cost for N entries and rank r at a mode of size n: n N flops for the Gram matrix, 2 r N for
    the projection, then the same on what is left. Memory: r N / n beside `x`. Slab by slab: one
    pass over `x` for each factorisation until what is left fits, and one to gather it.

    Vannieuwenhoven, Vandebril, Meerbergen, SIAM J. Sci. Comput. 34 (2012) A1027, algorithm 1;
    Oseledets, SIAM J. Sci. Comput. 33 (2011) 2295, algorithm 1.

    Examples
    --------
    >>> from tnet.formats import tensor_train
    >>> x = np.add.outer(np.arange(4.0), np.add.outer(np.arange(5.0), np.arange(6.0)))
    >>> net = decompose(x, tensor_train, tol=1e-10)
    >>> dict(net.ranks), bool(net.error < 1e-10)
    ({'g0-g1': 2, 'g1-g2': 2}, True)
    """
    x, budget = opened(x, memory)
    plan = _resolved(tuple(int(n) for n in x.shape), structure, ranks)
    _check_goal(tol, max_params)
    if not plan.is_tree:
        return _fitted(as_array(x, what="the tensor"), plan, tol, max_params, rng)
    tree = rooted(plan, center or central_node(plan))
    caps = None
    if ranks is not None:
        caps = clipped(tree, ranks, plan.ranks)
    elif isinstance(structure, Structure):
        caps = possible_ranks(tree, plan.ranks)
    target: AbstractTarget
    if budget is None:
        target = dense_target(x, plan.modes)
    else:
        target = chunked_target(x, plan.modes, budget)
    if max_params is not None:
        caps = within_budget(tree, caps, max_params)
    free = possible_ranks(tree, caps)
    goal = Goal(tol=tol or 0.0, caps=caps and free, free=free, method=method, rng=rng)
    with threads_for(gram_flops(plan.shape)):
        return decomposed(target, tree, goal, max_params)


def opened(x: Any, memory: int | str | None) -> tuple[Any, int | None]:
    """Return an array in memory and None, or something to read by slices and the bytes allowed."""
    root = type(x).__module__.partition(".")[0]
    sliced = hasattr(x, "shape") and hasattr(x, "dtype") and root not in (*NAMESPACES, "xarray")
    if sliced or (isinstance(x, np.ndarray) and (memory is not None or isinstance(x, np.memmap))):
        allowed = parse_bytes(memory) if memory is not None else int(0.6 * available_memory())
        entries = math.prod(int(n) for n in x.shape)
        if COPIES * entries * np.dtype(x.dtype).itemsize > allowed:
            return x, allowed
        x = np.asarray(x[(slice(None),) * len(x.shape)] if sliced else x)  # no memmap in a network
    return as_array(x, what="the tensor"), None


def central_node(structure: Structure) -> str:
    """Return the node whose removal leaves the smallest largest part, by the log of its modes.

    Examples
    --------
    >>> from tnet.formats import tensor_train
    >>> central_node(tensor_train((4, 4, 4, 4, 4)))
    'g2'
    """
    tree = rooted(structure)
    modes = set(structure.modes)
    weight = {
        node: sum(math.log(structure.size[leg]) for leg in structure.legs[node] if leg in modes)
        for node in tree.pre_order
    }
    below = dict(weight)
    heaviest = dict.fromkeys(below, 0.0)
    for node in tree.post_order:
        above = tree.parent[node]
        if above is not None:
            below[above] += below[node]
            heaviest[above] = max(heaviest[above], below[node])
    total = below[tree.root]
    worst = {node: max(heaviest[node], total - below[node]) for node in tree.pre_order}
    least = min(worst.values())
    # ties (up to rounding of the logarithms) go to the first node of the structure
    return next(n for n in structure.node_names if worst[n] <= least + 1e-9 * (1.0 + total))


def _resolved(shape: tuple[int, ...], structure: Structure | Format, ranks: Any) -> Structure:
    """Return the structure for a tensor of this shape, with the ranks asked for."""
    if not shape:
        raise ShapeError("a scalar has no modes to decompose; pass an array with axes.")
    if isinstance(structure, Structure):
        found = structure
    elif callable(structure):
        found = structure(shape)
        if not isinstance(found, Structure):
            raise InputError(
                f"the format returned {type(found).__name__}, not a Structure, for shape {shape}."
            )
    else:
        raise InputError(
            "decompose takes a Structure or a format such as tnet.tensor_train, "
            f"got {type(structure).__name__}."
        )
    if found.shape != shape:
        raise ShapeError(
            f"the tensor has shape {shape}, the structure {found.shape} with modes {found.modes}."
        )
    return found if ranks is None else found.resized(asked_ranks(found, ranks))


def _check_goal(tol: float | None, max_params: int | None) -> None:
    if tol is not None:
        check_tol(tol)
    if max_params is not None:
        check_rank(max_params, "max_params")


def _fitted(
    x: Array,
    structure: Structure,
    tol: float | None,
    max_params: int | None,
    rng: np.random.Generator | None,
) -> Network:
    """Hand a graph that is no tree to alternating least squares."""
    if tol is not None or max_params is not None:
        name = "tol" if tol is not None else "max_params"
        raise InputError(
            f"`{name}` chooses ranks on trees only, and this structure has cycles or hyperbonds; "
            "give its ranks, or let structure_search.search choose them."
        )
    if rng is None:
        raise InputError(
            "a structure that is no tree is fitted from random starts; pass "
            "rng=np.random.default_rng(seed)."
        )
    from tnet.als.entry import fit  # at call time: trees never need it

    return fit(x, structure, rng=rng).network
