"""To and from the many-body states of TeNPy, PyTreeNet and quimb.

What these libraries call a site is a mode here, and the order of the sites is the order of the
modes. Arrays are handed over on the host.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contraction.arrays import to_numpy
from contraction.errors import DeviceError, InputError, StructureError
from tnet.gauge import orthogonalize
from tnet.network import Network, scale
from tnet.norms import norm
from tnet.structure import Structure
from tnet.trees import rooted

_NUMBERED = re.compile(r"(.*?)(\d+)")


def to_tenpy(net: Network, sites: Sequence[Any] | None = None) -> Any:
    """Return a network on a path as a finite ``tenpy.networks.mps.MPS``.

    Parameters
    ----------
    net
        A tree that is a path with one mode on each node; the modes in the order of the path or
        against it. Its norm goes to ``MPS.norm``.
    sites
        One ``tenpy.networks.site.Site`` per mode, in the order of ``net.structure.modes``; by
        default sites without charges or operators but the identity. With conserved charges the
        state must have them.

    Returns
    -------
    MPS
        In right-canonical form, with its singular values. Basis states as without charges: those
        that a site permutes are permuted.

    Raises
    ------
    StructureError
        The graph is no path with one mode a node, or the modes are in another order.
    InputError
        A site has another number of states than its mode, or the state is zero.
    DeviceError
        TeNPy is not installed.

    Notes
    -----
    One QR per node here, and a QR and an SVD per node in TeNPy.
    """
    mps, site, npc = _tenpy()
    nodes = _chain(net.structure)
    sizes = [net.structure.size[mode] for mode in net.structure.modes]
    if sites is None:
        sites = [site.Site(npc.LegCharge.from_trivial(size)) for size in sizes]
    if [int(s.dim) for s in sites] != sizes:
        raise InputError(
            f"`sites` have {[int(s.dim) for s in sites][:12]} states, the modes {sizes[:12]}."
        )
    centred = orthogonalize(net, nodes[0])
    size = norm(centred)
    if size == 0.0:
        raise InputError("the state is zero, which TeNPy cannot hold.")
    cores = [
        to_numpy(x).transpose(1, 0, 2) for x in _chain_cores(scale(centred, 1.0 / size), nodes)
    ]
    psi = mps.MPS.from_Bflat(list(sites), cores, bc="finite", form="B", unit_cell_width=len(nodes))
    psi.norm = size * _phase(psi, cores)
    return psi


def from_tenpy(psi: Any) -> Network:
    """Return a finite TeNPy MPS as a network, with nodes g0, g1, ... and modes s0, s1, ...

    States with conserved charges come as dense arrays, their basis states in the order they have
    without charges: that of TeNPy's site, whose ``SpinSite`` begins with the lowest Sz, while our
    "sz" begins with the highest, so measure with the matrices of the site. ``psi.norm`` is
    multiplied in. A purification has a second mode q0, q1, ... on every node, after all modes s0,
    s1, ... in the full tensor.

    Raises
    ------
    InputError
        `psi` is no MPS, or is infinite, or a site has no canonical form.
    DeviceError
        TeNPy is not installed.
    """
    mps, _, _ = _tenpy()
    if not isinstance(psi, mps.MPS) or psi.bc != "finite":
        kind = getattr(psi, "bc", "")
        raise InputError(f"from_tenpy takes a finite tenpy MPS, got {kind} {type(psi).__name__}.")
    if any(form is None for form in psi.form):
        raise InputError("a site of the MPS has no canonical form; call psi.canonical_form().")
    labels = list(psi._p_label)
    cores = []
    for k in range(psi.L):
        x = psi.get_B(k, form=None).transpose(["vL", *labels, "vR"]).to_ndarray()
        perm = np.argsort(psi.sites[k].perm)
        for axis in range(1, 1 + len(labels)):
            x = np.take(x, perm, axis=axis)
        if k:  # the two forms that meet at a bond hold its singular values once together
            power = 1.0 - psi.form[k - 1][1] - psi.form[k][0]
            if abs(power) > 1e-12:
                x = np.tensordot(_power(psi.get_SL(k), power), x, axes=(1, 0))
        cores.append(x)
    cores[0] = cores[0] * psi.norm
    return _from_chain(cores, ["s", "q"][: len(labels)])


def to_pytreenet(net: Network) -> Any:
    """Return a tree as a ``pytreenet.ttns.TreeTensorNetworkState``.

    Nodes keep their names. A node without modes gets an open leg of size one, as PyTreeNet has it.
    The names and the order of the modes are not kept; give them to `from_pytreenet` to get them
    back.

    Raises
    ------
    StructureError
        The network is no tree.
    DeviceError
        PyTreeNet is not installed.

    Notes
    -----
    Rooted at the centre, or the first node if that is not known. Open legs stand in the order of
    the node's legs.
    """
    ttns, node_module = _pytreenet()
    structure = net.structure
    tree = rooted(structure, net.center)
    found = ttns.TreeTensorNetworkState()
    modes = set(structure.modes)
    for name in tree.pre_order:
        legs = structure.legs[name]
        above = [tree.bond[name]] if name in tree.bond else []
        below = [tree.bond[child] for child in tree.children[name]]
        own = [leg for leg in legs if leg in modes]
        x = to_numpy(net[name]).transpose([legs.index(leg) for leg in (*above, *below, *own)])
        x = x if own else x[..., None]
        node = node_module.Node(identifier=name)
        parent = tree.parent[name]
        if parent is None:
            found.add_root(node, x)
        else:
            place = tree.children[parent].index(name) + (parent in tree.bond)
            found.add_child_to_parent(node, x, 0, parent, place)
    found.orthogonality_center_id = net.center
    return found


def from_pytreenet(ttn: Any, modes: Mapping[str, str | Sequence[str]] | None = None) -> Network:
    """Return a tree tensor network of PyTreeNet as a network.

    Parameters
    ----------
    ttn
        A ``TreeTensorNetwork`` or state.
    modes
        Node -> the name of its open leg, or the names of all of them; the full tensor has them in
        this order. By default nodes are taken as they come, an open leg is named as its node
        (``node.0``, ``node.1``, ... if it has several), and open legs of size one are dropped.

    Raises
    ------
    InputError
        `ttn` is no tree tensor network.
    StructureError
        `modes` does not name the open legs.
    DeviceError
        PyTreeNet is not installed.
    """
    _pytreenet()
    from pytreenet.core.ttn import TreeTensorNetwork

    if not isinstance(ttn, TreeTensorNetwork) or not ttn.nodes:
        raise InputError(f"from_pytreenet takes a TreeTensorNetwork, got {type(ttn).__name__}.")
    nodes: dict[str, tuple[str, ...]] = {}
    arrays: dict[str, Any] = {}
    named: dict[str, tuple[str, ...]] = {}
    for name, node in ttn.nodes.items():
        x = np.asarray(ttn.tensors[name])
        bonds = [f"{node.parent}-{name}"] if node.parent is not None else []
        bonds += [f"{name}-{child}" for child in node.children]
        opened = x.shape[len(bonds) :]
        named[name] = _open_names(name, opened, modes)
        if len(named[name]) != len(opened):  # open legs of size one that nobody has named
            kept = [n for n in opened if n != 1] if modes is None else []
            x = x.reshape((*x.shape[: len(bonds)], *kept))
        nodes[name] = (*bonds, *named[name])
        arrays[name] = x
    order = [mode for name in (modes or nodes) for mode in named[name]]
    sizes = _sizes(nodes, arrays)
    center = ttn.orthogonality_center_id
    return Network(Structure(nodes, sizes, order), arrays, center)


def as_quimb_mps(tn: Any, net: Network) -> Any:
    """Return a quimb network as a ``MatrixProductState`` if it is one, or as it is.

    It is one if the graph is a path with one mode on each node, and modes and nodes are numbered
    along it from 0.
    """
    import quimb.tensor as qtn

    structure = net.structure
    prefixes = [_prefix(structure.modes)]
    try:
        nodes = _chain(structure)
    except StructureError:
        return tn
    prefixes.append(_prefix(nodes))
    if len(nodes) < 2 or None in prefixes:
        return tn
    mode, node = prefixes
    return tn.view_as(
        qtn.MatrixProductState,
        L=len(nodes),
        cyclic=False,
        site_ind_id=f"{mode}{{}}",
        site_tag_id=f"{node}{{}}",
    )


# ---- paths ---------------------------------------------------------------------------------


def _chain(structure: Structure) -> list[str]:
    """Return the nodes of a path in the order of the modes they hold."""
    nodes = [structure.holders[mode][0] for mode in structure.modes]
    linked = all(b in structure.neighbours(a) for a, b in itertools.pairwise(nodes))
    if not structure.is_tree or sorted(nodes) != sorted(structure.legs) or not linked:
        raise StructureError(
            "an MPS is a path with one mode on each node, in the order of the modes; this graph "
            f"has {len(structure.nodes)} nodes for {len(structure.modes)} modes or another order. "
            "tnet.to_pytreenet and tnet.to_quimb take any tree."
        )
    return nodes


def _chain_cores(net: Network, nodes: Sequence[str]) -> list[Any]:
    """Return the arrays along a path with axes (left, mode, right)."""
    structure = net.structure
    found = []
    before: tuple[str, ...] = ()
    for node, mode in zip(nodes, structure.modes, strict=True):
        legs = structure.legs[node]
        after = tuple(leg for leg in legs if leg != mode and leg not in before)
        x = to_numpy(net[node]).transpose([legs.index(leg) for leg in (*before, mode, *after)])
        left = x.shape[0] if before else 1
        found.append(x.reshape(left, structure.size[mode], -1))
        before = after
    return found


def _from_chain(cores: Sequence[Any], names: Sequence[str]) -> Network:
    last = len(cores) - 1
    nodes: dict[str, tuple[str, ...]] = {}
    arrays: dict[str, Any] = {}
    for k, x in enumerate(cores):
        left = (f"g{k - 1}-g{k}",) if k else ()
        right = (f"g{k}-g{k + 1}",) if k < last else ()
        nodes[f"g{k}"] = (*left, *(f"{name}{k}" for name in names), *right)
        inner = x.shape[1:-1]
        ends = (*x.shape[:1][: len(left)], *inner, *x.shape[-1:][: len(right)])
        arrays[f"g{k}"] = np.ascontiguousarray(x.reshape(ends))
    kind = np.result_type(np.float32, *(x.dtype for x in arrays.values()))
    arrays = {node: x.astype(kind, copy=False) for node, x in arrays.items()}
    sizes = _sizes(nodes, arrays)
    order = [f"{name}{k}" for name in names for k in range(last + 1)]
    return Network(Structure(nodes, sizes, order), arrays)


def _sizes(nodes: Mapping[str, Sequence[str]], arrays: Mapping[str, Any]) -> dict[str, int]:
    return {
        leg: int(size)
        for node, legs in nodes.items()
        for leg, size in zip(legs, arrays[node].shape, strict=True)
    }


def _phase(psi: Any, cores: Sequence[Any]) -> complex:
    """Return the phase that TeNPy's canonical form has dropped."""
    environment = np.ones((1, 1))
    for k, x in enumerate(cores):  # axes (mode, left, right)
        other = psi.get_B(k, form="B").transpose(["vL", "p", "vR"]).to_ndarray()
        other = np.take(other, np.argsort(psi.sites[k].perm), axis=1)
        environment = np.einsum("ab,apc,pbd->cd", environment, other.conj(), x, optimize=True)
    overlap = complex(environment.reshape(-1)[0])
    phase = overlap / abs(overlap)
    return phase if abs(phase.imag) > 1e-14 else round(phase.real)


def _power(values: Any, power: float) -> Any:
    """Return the singular values of a bond to a power, as a matrix."""
    if values.ndim != 1:
        raise InputError("a bond of the MPS holds a matrix; call psi.canonical_form() first.")
    return np.diag(np.asarray(values) ** power)


def _prefix(names: Sequence[str]) -> str | None:
    """Return the text before the numbers of names that are numbered 0, 1, ..., if they are."""
    match = _NUMBERED.fullmatch(names[0])
    if match is None or "{" in match[1] or "}" in match[1]:
        return None
    return match[1] if list(names) == [f"{match[1]}{k}" for k in range(len(names))] else None


def _open_names(
    node: str, sizes: Sequence[int], modes: Mapping[str, str | Sequence[str]] | None
) -> tuple[str, ...]:
    if modes is None:
        count = sum(n != 1 for n in sizes)
        return (node,) if count == 1 else tuple(f"{node}.{k}" for k in range(count))
    given = modes.get(node, ())
    names = (given,) if isinstance(given, str) else tuple(given)
    if len(names) != len(sizes) and not (not names and all(n == 1 for n in sizes)):
        raise StructureError(
            f"node {node!r} has {len(sizes)} open legs of sizes {list(sizes)}, but `modes` names "
            f"{list(names)}."
        )
    return names


def _tenpy() -> tuple[Any, Any, Any]:
    try:
        from tenpy.linalg import np_conserved
        from tenpy.networks import mps, site
    except ImportError as error:
        raise DeviceError(
            "TeNPy is not installed; `pip install physics-tenpy` brings it."
        ) from error
    return mps, site, np_conserved


def _pytreenet() -> tuple[Any, Any]:
    try:
        from pytreenet.core import node
        from pytreenet.ttns import ttns
    except ImportError as error:
        raise DeviceError(
            "PyTreeNet is not installed; `pip install pytreenet` brings it."
        ) from error
    return ttns, node
