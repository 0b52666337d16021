"""Sums and products of networks, each written as a network again.

Every function works node by node on any connected graph: a sum is block-diagonal along the
bonds (ranks add), a product is a Kronecker product along them (ranks multiply). Follow with
`truncate` to bring the ranks down again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.errors import ShapeError, StructureError
from tnet.alignment import aligned, same_kind
from tnet.network import Network
from tnet.structure import Structure

if TYPE_CHECKING:
    from tnet.operators.tree_operator import TreeOperator


def add(a: Network, b: Network, *more: Network) -> Network:
    """Return the sum of networks on one graph; the ranks add up.

    Every node becomes block-diagonal along its bonds and hyperbonds. Summing many networks in
    one call copies each once.

    Parameters
    ----------
    a, b, more
        Networks with the same nodes, bonds and modes (axis orders and ranks may differ), in one
        namespace and on one device. The result has their common dtype and the orders of `a`.

    Raises
    ------
    StructureError
        The graphs differ, or fall into several parts: a sum of products of independent tensors
        is no such product.
    ShapeError
        A mode has different sizes.

    Notes
    -----
    No arithmetic but for single-node networks; memory is that of the result, for k networks of
    rank r about k^q r^q at a node of q bonds. Oseledets, SIAM J. Sci. Comput. 33 (2011) 2295,
    section 4.1, for the tensor train.

    Examples
    --------
    >>> import numpy as np
    >>> s = Structure({"a": ("x", "r"), "b": ("r", "y")}, {"x": 4, "r": 2, "y": 5})
    >>> ones = Network(s, {"a": np.ones((4, 2)), "b": np.ones((2, 5))})
    >>> total = add(ones, ones)
    >>> total.ranks["r"], float(total.to_dense()[0, 0])
    (4, 4.0)
    """
    nets = same_kind(a, b, *more)
    first = nets[0].structure
    parts = first.components
    if len(parts) > 1:
        raise StructureError(
            f"a sum needs one connected network, but this one falls into {len(parts)} parts "
            f"(one begins at {parts[1][0]!r}); join them by bonds of rank 1 "
            "(Structure.with_bond) first."
        )
    terms = [aligned(net, first) for net in nets]
    xp = arrays_.namespace_by_name(nets[0].namespace)
    ranks = {leg: sum(t.structure.size[leg] for t in terms) for leg in first.ranks}
    summed = {
        node: _block_diagonal(xp, [t[node] for t in terms], [leg in ranks for leg in legs])
        for node, legs in first.nodes
    }
    alone = first.node_names[0] if len(first.nodes) == 1 else None
    return Network(first.resized(ranks), summed, alone)


def subtract(a: Network, b: Network) -> Network:
    """Return the difference of two networks on one graph; the ranks add up, as in `add`.

    Examples
    --------
    >>> import numpy as np
    >>> s = Structure({"a": ("x", "r"), "b": ("r", "y")}, {"x": 4, "r": 2, "y": 5})
    >>> ones = Network(s, {"a": np.ones((4, 2)), "b": np.ones((2, 5))})
    >>> float(subtract(ones, ones).to_dense()[0, 0])
    0.0
    """
    return add(a, -b)


def hadamard(a: Network, b: Network) -> Network:
    """Return the entry-by-entry product of two networks on one graph; the ranks multiply.

    Cost: one multiplication per entry of the result.

    Raises
    ------
    StructureError, ShapeError
        As for `add`.

    Examples
    --------
    >>> import numpy as np
    >>> s = Structure({"a": ("x", "r"), "b": ("r", "y")}, {"x": 4, "r": 2, "y": 5})
    >>> ones = Network(s, {"a": np.ones((4, 2)), "b": np.ones((2, 5))})
    >>> squared = hadamard(ones, ones)
    >>> squared.ranks["r"], float(squared.to_dense()[0, 0])
    (4, 4.0)
    """
    a, b = same_kind(a, b)
    b = aligned(b, a.structure)
    inner = set(a.structure.ranks)
    product: dict[str, Array] = {}
    for node, legs in a.structure.nodes:
        left: list[int] = []
        right: list[int] = []
        shape: list[int] = []
        for leg, p, q in zip(legs, a[node].shape, b[node].shape, strict=True):
            left += [p, 1] if leg in inner else [p]
            right += [1, q] if leg in inner else [q]
            shape.append(p * q if leg in inner else p)
        both = a[node].reshape(tuple(left)) * b[node].reshape(tuple(right))
        product[node] = both.reshape(tuple(shape))
    ranks = {leg: a.structure.size[leg] * b.structure.size[leg] for leg in inner}
    return Network(a.structure.resized(ranks), product)


def apply(op: Network | TreeOperator, state: Network) -> Network:
    """Return an operator times a state, exactly, on the state's graph; the ranks multiply.

    The operator reads a mode ``m`` of the state and writes ``m'`` in its place (see
    `operator_structure`); the result calls it ``m`` again. Bonds that operator and state share
    by name, between the same nodes, are fused into one; a bond that only the operator has joins
    the graph. Nodes the operator does not have, and modes it does not read, stay as they are; a
    mode that is read and not written is summed away.

    Parameters
    ----------
    op
        A network whose nodes are nodes of `state`; each reads and writes modes of its own node.
        A `TreeOperator` is taken with dense cores, in the library of the state.
    state
        Any network.

    Raises
    ------
    StructureError
        A node, mode or bond of the operator does not match the state, or `state` is itself an
        operator (use `compose`).
    ShapeError
        A mode has different sizes in operator and state.

    Notes
    -----
    One matrix product per node: for a chain with operator rank w, state rank r and mode size d,
    2 (w r d)^2 flops and (w r)^2 d numbers per node.

    Examples
    --------
    >>> import numpy as np
    >>> s = Structure({"a": ("x", "r"), "b": ("r", "y")}, {"x": 2, "r": 2, "y": 2})
    >>> state = Network(s, {"a": np.eye(2), "b": np.eye(2)})
    >>> flip = Structure({"a": ("x'", "x")}, {"x'": 2, "x": 2})
    >>> apply(Network(flip, {"a": np.array([[0.0, 1.0], [1.0, 0.0]])}), state).to_dense()
    array([[0., 1.],
           [1., 0.]])
    """
    if not isinstance(op, Network):
        op = op.to_network().to(namespace=state.namespace, device=state.device)
    op, state = same_kind(op, state)
    _check_operator(op.structure, state.structure)
    xp = arrays_.namespace_by_name(state.namespace)
    legs: dict[str, tuple[str, ...]] = {}
    arrays: dict[str, Array] = {}
    reads_or_writes = set(op.structure.modes)
    for node, own in state.structure.nodes:
        legs[node], arrays[node] = own, state[node]
        if node in op.structure.legs:
            acting = op.structure.legs[node]
            legs[node], arrays[node] = _apply_node(
                xp, op[node], acting, state[node], own, reads_or_writes
            )
    sizes = {
        leg: int(n)
        for node, ls in legs.items()
        for leg, n in zip(ls, arrays[node].shape, strict=True)
    }
    modes = [mode for mode in state.structure.modes if mode in sizes]
    return Network(Structure(legs, sizes, modes), arrays)


def compose(outer: Network, inner: Network) -> Network:
    """Return the product of two operators on one graph: first `inner`, then `outer`.

    Both have modes ``m'`` (written) and ``m`` (read), as `operator_structure` makes them; the
    result too, in the mode order of `inner`.

    Raises
    ------
    StructureError, ShapeError
        As for `apply`.

    Examples
    --------
    >>> import numpy as np
    >>> s = Structure({"a": ("x'", "x")}, {"x'": 2, "x": 2})
    >>> flip = Network(s, {"a": np.array([[0.0, 1.0], [1.0, 0.0]])})
    >>> compose(flip, flip).to_dense()
    array([[1., 0.],
           [0., 1.]])
    """
    written = [
        m for m in inner.structure.modes if m.endswith("'") and m[:-1] in inner.structure.size
    ]
    hidden = {mode[:-1]: f"{mode[:-1]} (read)" for mode in written}
    shown = {mode: mode[:-1] for mode in written}
    renamed = inner.structure.renamed(hidden | shown)
    done = apply(outer, Network(renamed, inner.arrays))
    back = {new: old for old, new in (hidden | shown).items()}
    structure = done.structure.renamed(
        {leg: back[leg] for leg in done.structure.modes if leg in back}
    )
    return Network(structure, done.arrays)


def adjoint(op: Network) -> Network:
    """Return the adjoint (conjugate transpose) of an operator: ``m`` and ``m'`` change places.

    Examples
    --------
    >>> import numpy as np
    >>> s = Structure({"a": ("x'", "x")}, {"x'": 2, "x": 2})
    >>> adjoint(Network(s, {"a": np.array([[0.0, 1j], [0.0, 0.0]])})).to_dense()
    array([[0.-0.j, 0.-0.j],
           [0.-1.j, 0.-0.j]])
    """
    swap: dict[str, str] = {}
    for mode in op.structure.modes:
        if mode.endswith("'") and mode[:-1] in op.structure.size:
            swap |= {mode: mode[:-1], mode[:-1]: mode}
    turned = op.structure.renamed(swap)
    return Network(turned.permuted(op.structure.modes), op.conj().arrays, op.center)


def _block_diagonal(xp: Any, blocks: Sequence[Array], inner: Sequence[bool]) -> Array:
    """Lay arrays along the diagonal of the inner axes; the other axes are shared."""
    total: Array
    if not any(inner):
        total = blocks[0]
        for block in blocks[1:]:
            total = total + block
        return total
    first: Any = blocks[0]
    shape = tuple(
        sum(int(b.shape[k]) for b in blocks) if grows else int(first.shape[k])
        for k, grows in enumerate(inner)
    )
    total = xp.zeros(shape, dtype=first.dtype, device=first.device)
    start = [0] * len(shape)
    for block in blocks:
        stop = [s + int(n) for s, n in zip(start, block.shape, strict=True)]
        place = tuple(
            slice(s, e) if grows else slice(None)
            for s, e, grows in zip(start, stop, inner, strict=True)
        )
        total[place] = block  # type: ignore[index]
        start = stop
    return total


def _check_operator(op: Structure, state: Structure) -> None:
    bonds = op.ranks
    for node, legs in op.nodes:
        if node not in state.legs:
            raise StructureError(
                f"the operator's node {node!r} is not in the state; its nodes are "
                f"{list(state.node_names[:12])}."
            )
        own = state.legs[node]
        for leg in legs:
            if leg in bonds:
                if leg in state.size and set(op.holders[leg]) != set(state.holders[leg]):
                    raise StructureError(
                        f"bond {leg!r} joins {list(op.holders[leg])} in the operator and "
                        f"{list(state.holders[leg])} in the state; rename one of them."
                    )
            elif leg in own:
                _check_read(leg, op, state)
            elif not (leg.endswith("'") and leg[:-1] in legs and leg[:-1] in own):
                raise StructureError(
                    f"the operator's node {node!r} has the open leg {leg!r}; expected a mode of "
                    f"the state's node {list(own)} to read, or such a mode with ' to write."
                )


def _check_read(mode: str, op: Structure, state: Structure) -> None:
    if mode in state.ranks:
        raise StructureError(f"the operator reads {mode!r}, which is a bond of the state.")
    if f"{mode}'" in state.size:
        raise StructureError(
            f"the state has both {mode!r} and its twin, so it is an operator; multiply operators "
            "with tnet.compose(outer, inner)."
        )
    if op.size[mode] != state.size[mode]:
        raise ShapeError(
            f"mode {mode!r} has size {op.size[mode]} in the operator and {state.size[mode]} in "
            "the state."
        )


def _apply_node(
    xp: Any, acting: Array, op_legs: Sequence[str], x: Array, own: Sequence[str], modes: set[str]
) -> tuple[tuple[str, ...], Array]:
    """Contract one node: read modes are summed, written ones take their place, bonds fuse."""
    read = [leg for leg in op_legs if leg in modes and leg in own]
    axes = [op_legs.index(leg) for leg in read], [own.index(leg) for leg in read]
    product: Array = xp.tensordot(acting, x, axes=axes)
    held = [("op", leg) for leg in op_legs if leg not in read]
    held += [("state", leg) for leg in own if leg not in read]
    groups: list[tuple[str, list[tuple[str, str]]]] = []
    for leg in own:
        if leg in read:
            groups += [(leg, [("op", f"{leg}'")])] if ("op", f"{leg}'") in held else []
        else:
            groups.append((leg, [pair for pair in (("op", leg), ("state", leg)) if pair in held]))
    groups += [(leg, [("op", leg)]) for leg in op_legs if leg not in modes and leg not in own]
    order = [held.index(pair) for _, group in groups for pair in group]
    sizes = dict(zip(held, product.shape, strict=True))
    shape = tuple(math.prod(int(sizes[pair]) for pair in group) for _, group in groups)
    fused: Array = xp.permute_dims(product, tuple(order)).reshape(shape)
    return tuple(leg for leg, _ in groups), fused
