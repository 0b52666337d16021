"""To and from the objects of TensorLy and quimb.

TensorLy has one class per format; which one a network becomes is read off its graph alone. In
quimb everything is a graph, so every network goes there and back. Arrays are handed over as they
are or as views; nothing is computed but CP weights and quimb's exponents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.errors import DeviceError, InputError, StructureError
from tnet._checks import LONGEST_NAME
from tnet.convert_states import as_quimb_mps
from tnet.formats import cp, tensor_ring, tensor_train, tt_matrix, tucker
from tnet.network import Network
from tnet.structure import Structure

_GENERATED = re.compile(r"_[0-9a-f]{6}[A-Za-z]{5,}")  # the bond names that quimb makes up


def to_tensorly(net: Network) -> Any:
    """Return the network as an object of TensorLy, by the shape of its graph.

    ==============================================  =================
    graph                                           class
    ==============================================  =================
    factors of one mode that share one hyperbond    ``CPTensor``
    a star, one mode on each outer node, no mode    ``TuckerTensor``
    in the middle
    a path, one mode on each node                   ``TTTensor``
    a ring, one mode on each node                   ``TRTensor``
    a path, one row and one column mode on each     ``TTMatrix``
    node
    ==============================================  =================

    The arrays keep their library; set TensorLy's backend to it before computing with them.

    Raises
    ------
    StructureError
        TensorLy has no class for the graph, or would need the modes in another order.
    DeviceError
        TensorLy is not installed.

    Examples
    --------
    >>> from tnet.network import random_network
    >>> net = random_network(tucker((3, 4, 5), 2), rng=np.random.default_rng(0))
    >>> type(to_tensorly(net)).__name__
    'TuckerTensor'
    """
    _tensorly()
    from tensorly.cp_tensor import CPTensor
    from tensorly.tr_tensor import TRTensor
    from tensorly.tt_matrix import TTMatrix
    from tensorly.tt_tensor import TTTensor
    from tensorly.tucker_tensor import TuckerTensor

    structure = net.structure
    if (shared := _shared_bond(structure)) is not None:
        factors = [_turned(net, _holder(net, m), (m, shared)) for m in structure.modes]
        xp = arrays_.namespace_by_name(net.namespace)
        first: Any = factors[0]
        weights = xp.ones((first.shape[1],), dtype=first.dtype, device=first.device)
        return CPTensor((weights, factors))
    if (core := _middle(structure)) is not None:
        bonds = [_bonds(structure, _holder(net, mode))[0] for mode in structure.modes]
        factors = [
            _turned(net, _holder(net, mode), (mode, bond))
            for mode, bond in zip(structure.modes, bonds, strict=True)
        ]
        return TuckerTensor((_turned(net, core, tuple(bonds)), factors))
    walk = _walk(structure)
    if walk is None:
        raise StructureError(
            f"TensorLy has no class for this graph of {len(structure.nodes)} nodes; it knows CP, "
            "Tucker, tensor trains and rings, and TT-matrices. to_quimb takes any network."
        )
    cores = [_core(net, *step) for step in walk]
    if structure.is_tree:
        return TTTensor(cores) if len(cores[0].shape) == 3 else TTMatrix(cores)
    return TRTensor(cores)


def from_tensorly(obj: Any) -> Network:
    """Return a TensorLy CP, Tucker, TT, TR or TT-matrix object as a network.

    Nodes and bonds are named as the functions `cp`, `tucker`, `tensor_train`, `tensor_ring` and
    `tt_matrix` name them. CP weights are multiplied into the first factor.

    Raises
    ------
    InputError
        Another kind of object; a plain tuple too, as it does not say what it is.
    DeviceError
        TensorLy is not installed.

    Examples
    --------
    >>> from tensorly.cp_tensor import CPTensor
    >>> net = from_tensorly(CPTensor((np.ones(2), [np.ones((3, 2)), np.ones((4, 2))])))
    >>> net.shape, net.ranks["r"]
    ((3, 4), 2)
    """
    _tensorly()
    from tensorly.cp_tensor import CPTensor
    from tensorly.tr_tensor import TRTensor
    from tensorly.tt_matrix import TTMatrix
    from tensorly.tt_tensor import TTTensor
    from tensorly.tucker_tensor import TuckerTensor

    shape = tuple(int(n) for n in getattr(obj, "shape", ()))
    if isinstance(obj, CPTensor):
        return _from_cp(obj.weights, list(obj.factors), shape)
    if isinstance(obj, TuckerTensor):
        turned = [factor.T for factor in obj.factors]
        return _network(tucker(shape, tuple(map(int, obj.core.shape))), [obj.core, *turned])
    cores = list(obj.factors) if isinstance(obj, (TTTensor, TRTensor, TTMatrix)) else []
    ranks = tuple(int(core.shape[-1]) for core in cores)
    if isinstance(obj, TTTensor):
        return _network(tensor_train(shape, ranks[:-1]), cores)
    if isinstance(obj, TRTensor):
        return _network(tensor_ring(shape, ranks), cores)
    if isinstance(obj, TTMatrix):
        half = len(cores)
        return _network(tt_matrix(shape[:half], shape[half:], ranks[:-1]), cores)
    raise InputError(
        f"from_tensorly takes a CPTensor, TuckerTensor, TTTensor, TRTensor or TTMatrix, got "
        f"{type(obj).__name__}; wrap plain tuples in the class they stand for."
    )


def to_quimb(net: Network) -> Any:
    """Return any network as a ``quimb.tensor.TensorNetwork``.

    A path with one mode on each node, both numbered along it (x0, x1, ... on g0, g1, ...; k0,
    k1, ... on I0, I1, ...), becomes a ``MatrixProductState``, which is a tensor network, too.
    Legs become indices of the same names, nodes become tags. quimb keeps no order of the open
    indices; pass ``modes=net.structure.modes`` to `from_quimb` to get it back.

    Raises
    ------
    DeviceError
        quimb is not installed.

    Examples
    --------
    >>> from tnet.network import random_network
    >>> net = random_network(tensor_ring((3, 4, 5), 2), rng=np.random.default_rng(0))
    >>> sorted(to_quimb(net).outer_inds())  # doctest: +SKIP
    ['x0', 'x1', 'x2']
    """
    qtn = _quimb()
    tensors = [
        qtn.Tensor(data=net[node], inds=legs, tags=[node]) for node, legs in net.structure.nodes
    ]
    return as_quimb_mps(qtn.TensorNetwork(tensors, virtual=True), net)


def from_quimb(tn: Any, modes: Sequence[str] | None = None) -> Network:
    """Return a quimb tensor network (or a single tensor) as a network.

    Every kind of network is taken, hyperindices too. A node is named by the first tag that no
    other tensor has, or t0, t1, ...; bonds keep their names unless quimb made them up, in which
    case they are called by their nodes. Mixed dtypes are promoted to one.

    Parameters
    ----------
    tn
        A ``TensorNetwork`` of any class, or a ``Tensor``.
    modes
        The order of the open indices in the full tensor; by default that of the sites where the
        class has sites (MPS, PEPS, trees), and else as in ``tn.outer_inds()``.

    Raises
    ------
    InputError
        `tn` is neither, or has no tensor.
    StructureError
        `modes` are not the open indices, or a tensor holds an index twice.

    Examples
    --------
    >>> import quimb.tensor as qtn  # doctest: +SKIP
    >>> from_quimb(qtn.MPS_rand_state(4, 2)).shape  # doctest: +SKIP
    (2, 2, 2, 2)
    """
    qtn = _quimb()
    if isinstance(tn, qtn.Tensor):
        tn = qtn.TensorNetwork([tn], virtual=True)
    if not isinstance(tn, qtn.TensorNetwork) or not tn.tensors:
        raise InputError(
            f"from_quimb takes a quimb TensorNetwork or Tensor, got {type(tn).__name__}."
        )
    tensors = list(tn.tensors)
    names = _names([list(map(str, tensor.tags)) for tensor in tensors])
    holders: dict[Any, list[str]] = {}
    for name, tensor in zip(names, tensors, strict=True):
        for index in tensor.inds:
            holders.setdefault(index, []).append(name)
    leg = _leg_names(holders)
    nodes = [(n, tuple(leg[i] for i in t.inds)) for n, t in zip(names, tensors, strict=True)]
    held = _uniform([arrays_.as_array(t.data, what="a quimb tensor") for t in tensors])
    if tn.exponent:
        held[0] = held[0] * 10.0 ** float(tn.exponent)
    sizes = {
        name: int(n)
        for (_, legs), x in zip(nodes, held, strict=True)
        for name, n in zip(legs, x.shape, strict=True)
    }
    outer = tn.outer_inds()
    inds = tn.site_inds if isinstance(tn, qtn.TensorNetworkGenVector) else outer
    inds = inds if set(inds) == set(outer) else outer
    order = [leg[index] for index in inds] if modes is None else list(modes)
    return Network(Structure(nodes, sizes, order), dict(zip(names, held, strict=True)))


# ---- graphs that TensorLy has a class for --------------------------------------------------


def _bonds(structure: Structure, node: str) -> tuple[str, ...]:
    return tuple(leg for leg in structure.legs[node] if leg in structure.ranks)


def _holder(net: Network, mode: str) -> str:
    return net.structure.holders[mode][0]


def _shared_bond(structure: Structure) -> str | None:
    """Return the one hyperbond that every node holds beside its one mode, if that is the graph."""
    if len(structure.ranks) != 1 or len(structure.hyperbonds) != 1:
        return None
    good = all(len(legs) == 2 and len(_bonds(structure, n)) == 1 for n, legs in structure.nodes)
    return structure.hyperbonds[0] if good else None


def _middle(structure: Structure) -> str | None:
    """Return the node without modes that joins all others, which hold one mode each, if any."""
    if not structure.is_tree or len(structure.nodes) < 3:  # TensorLy wants two factors
        return None
    inner = [n for n, legs in structure.nodes if len(_bonds(structure, n)) == len(legs)]
    outer = [legs for n, legs in structure.nodes if n not in inner]
    if len(inner) != 1 or len(structure.neighbours(inner[0])) != len(outer):
        return None
    return inner[0] if all(len(legs) == 2 for legs in outer) else None


Step = tuple[str, "str | None", tuple[str, ...], "str | None"]  # node, bond before, modes, after


def _walk(structure: Structure) -> list[Step] | None:
    """Return the steps along a path or ring in the order of the modes, if the graph is one."""
    ends = [n for n in structure.node_names if len(_bonds(structure, n)) <= 1]
    connected = len(structure.components) == 1 and not structure.hyperbonds
    slim = all(len(_bonds(structure, n)) <= 2 for n in structure.node_names)
    counts = {len(legs) - len(_bonds(structure, n)) for n, legs in structure.nodes}
    if not (connected and slim and (counts == {1} or (counts == {2} and ends))):
        return None
    if ends:
        starts: list[tuple[str, str | None]] = [(end, None) for end in ends]
    else:
        first = structure.holders[structure.modes[0]][0]
        starts = [(first, bond) for bond in _bonds(structure, first)]
    ways = [_steps(structure, start, before) for start, before in starts]
    for way in ways:
        rows = [modes[0] for _, _, modes, _ in way]
        columns = [mode for _, _, modes, _ in way for mode in modes[1:]]
        if tuple(rows + columns) == structure.modes:
            return way
    along = [mode for _, _, modes, _ in ways[0] for mode in modes]
    raise StructureError(
        f"TensorLy needs the modes in their order along the network, {along[:12]}, but the full "
        f"tensor has {list(structure.modes[:12])}; exchange Network.structure by "
        "structure.permuted(...) of that order first."
    )


def _steps(structure: Structure, node: str, before: str | None) -> list[Step]:
    way: list[Step] = []
    place = {mode: k for k, mode in enumerate(structure.modes)}
    while True:
        bonds = _bonds(structure, node)
        after = next((bond for bond in bonds if bond != before), None)
        modes = sorted((leg for leg in structure.legs[node] if leg not in bonds), key=place.get)  # type: ignore[arg-type]
        way.append((node, before, tuple(modes), after))
        if after is None or len(way) == len(structure.nodes):
            return way
        node = next(n for n in structure.holders[after] if n != node)
        before = after


def _turned(net: Network, node: str, legs: tuple[str, ...]) -> Any:
    xp = arrays_.namespace_by_name(net.namespace)
    own = net.structure.legs[node]
    return xp.permute_dims(net[node], tuple(own.index(leg) for leg in legs))


def _core(
    net: Network, node: str, before: str | None, modes: tuple[str, ...], after: str | None
) -> Any:
    """Return one array with axes (before, modes, after); a bond that is not there has size one."""
    legs = [leg for leg in (before, *modes, after) if leg is not None]
    size = net.structure.size
    shape = [1 if leg is None else size[leg] for leg in (before, *modes, after)]
    return _turned(net, node, tuple(legs)).reshape(tuple(shape))


# ---- arrays and names ----------------------------------------------------------------------


def _from_cp(weights: Any, factors: list[Any], shape: tuple[int, ...]) -> Network:
    count = int(factors[0].shape[1]) if len(factors[0].shape) == 2 else 1
    columns = [factor.reshape(n, count) for factor, n in zip(factors, shape, strict=True)]
    if weights is not None:
        columns[0] = columns[0] * weights
    if len(shape) == 1:
        return _network(
            tensor_train(shape), [arrays_.namespace(columns[0]).sum(columns[0], axis=1)]
        )
    return _network(cp(shape, count), columns)


def _network(structure: Structure, arrays: Iterable[Any]) -> Network:
    given = _uniform([arrays_.as_array(x, what="a TensorLy factor") for x in arrays])
    shaped = {
        node: x.reshape(structure.node_shape(node))
        for node, x in zip(structure.node_names, given, strict=True)
    }
    return Network(structure, shaped)


def _uniform(arrays: list[Array]) -> list[Array]:
    """Return the arrays in their common dtype."""
    dtypes = dict.fromkeys(map(arrays_.dtype_name, arrays))
    wanted = str(np.result_type(*(np.dtype(name) for name in dtypes)))
    return [arrays_.to(x, dtype=wanted) for x in arrays]


def _names(tags: Sequence[Sequence[str]]) -> list[str]:
    """Name each tensor by its first tag that is all its own, or t0, t1, ..."""
    seen: dict[str, int] = {}
    for own in tags:
        for tag in own:
            seen[tag] = seen.get(tag, 0) + 1
    spare = (name for k in range(2 * len(tags) + len(seen)) if (name := f"t{k}") not in seen)
    return [
        next((tag for tag in own if seen[tag] == 1 and _is_name(tag)), None) or next(spare)
        for own in tags
    ]


def _is_name(name: str) -> bool:
    return 0 < len(name) <= LONGEST_NAME and name.isprintable()


def _leg_names(holders: Mapping[Any, Sequence[str]]) -> dict[Any, str]:
    """Keep the names of indices, but call the bonds with made-up names by their nodes."""
    found = {
        index: str(index)
        for index, nodes in holders.items()
        if len(nodes) == 1 or (_is_name(str(index)) and not _GENERATED.fullmatch(str(index)))
    }
    used = set(found.values())
    for index, nodes in holders.items():
        if index in found:
            continue
        base = f"{nodes[0]}-{nodes[1]}" if len(nodes) == 2 else f"hyper-{nodes[0]}"
        base = base if len(base) <= LONGEST_NAME - 8 else "bond"
        name, count = base, 1
        while name in used:
            name, count = f"{base}-{count}", count + 1
        used.add(name)
        found[index] = name
    return found


def _tensorly() -> None:
    try:
        import tensorly  # noqa: F401
    except ImportError as error:
        raise DeviceError("TensorLy is not installed; `pip install tensorly` brings it.") from error


def _quimb() -> Any:
    try:
        import quimb.tensor as qtn
    except ImportError as error:
        raise DeviceError("quimb is not installed; `pip install quimb` brings it.") from error
    return qtn
