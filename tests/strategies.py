"""Hypothesis strategies: random structures, networks, dtypes and namespaces."""

import importlib.util

import numpy as np
from hypothesis import strategies as st

import tnet

NAMESPACES = ["numpy"] + (["torch"] if importlib.util.find_spec("torch") else [])
DTYPES = ["float64", "complex128", "float32"]
seeds = st.integers(0, 2**32 - 1)


@st.composite
def trees(draw: st.DrawFn, max_nodes: int = 7, max_size: int = 4, max_rank: int = 4):
    """A random tree: any shape, nodes with zero, one or two modes, sizes from one."""
    count = draw(st.integers(1, max_nodes))
    nodes: dict[str, list[str]] = {f"n{i}": [] for i in range(count)}
    sizes: dict[str, int] = {}
    for i in range(1, count):
        parent = draw(st.integers(0, i - 1))
        bond = f"b{i}"
        nodes[f"n{parent}"].append(bond)
        nodes[f"n{i}"].append(bond)
        sizes[bond] = draw(st.integers(1, max_rank))
    modes = 0
    for i in range(count):
        leaf = len(nodes[f"n{i}"]) <= 1
        for _ in range(draw(st.integers(1 if leaf else 0, 2 if count <= 4 else 1))):
            nodes[f"n{i}"].insert(draw(st.integers(0, len(nodes[f"n{i}"]))), f"x{modes}")
            sizes[f"x{modes}"] = draw(st.integers(1, max_size))
            modes += 1
    order = draw(st.permutations([f"x{i}" for i in range(modes)]))
    return tnet.Structure(nodes, sizes, order)


@st.composite
def graphs(draw: st.DrawFn, max_nodes: int = 5, max_size: int = 3, max_rank: int = 3):
    """A random connected structure with cycles and hyperbonds."""
    structure = draw(trees(max_nodes, max_size, max_rank))
    nodes = {name: list(legs) for name, legs in structure.nodes}
    sizes = dict(structure.size)
    for k in range(draw(st.integers(0, 3))):
        holders = (
            draw(st.lists(st.sampled_from(sorted(nodes)), min_size=2, max_size=4, unique=True))
            if len(nodes) > 1
            else []
        )
        for node in holders:
            nodes[node].append(f"c{k}")
            sizes[f"c{k}"] = 2
    return tnet.Structure(nodes, sizes, structure.modes)


@st.composite
def networks(draw: st.DrawFn, structures=None, namespaces=tuple(NAMESPACES), dtypes=tuple(DTYPES)):
    """A network with Gaussian entries on a random structure."""
    structure = draw(structures if structures is not None else trees())
    rng = np.random.default_rng(draw(seeds))
    net = tnet.random_network(structure, rng=rng, dtype=draw(st.sampled_from(dtypes)))
    return net.to(namespace=draw(st.sampled_from(namespaces)))
