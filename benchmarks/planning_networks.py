"""Networks to measure planning on: some are generated, others are read from $TNET_NETWORKS.

The folder holds JSON files with "inputs", "output" and "size_dict", as cotengra's examples do.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from contraction.search.problem import Problem, problem_of
from contraction.spec import Spec

VARIABLE = "TNET_NETWORKS"


def networks() -> Iterator[tuple[str, Problem]]:
    """Yield names and problems: the generated ones, then those of the folder."""
    for count in (100, 300, 1000):
        yield f"regular {count}", problem_of(regular(count).canonical)[0]
    yield "lattice 10x10", problem_of(lattice((10, 10), 8).canonical)[0]
    yield "cubic 5x5x5", problem_of(lattice((5, 5, 5), 2).canonical)[0]
    yield "chains 100", problem_of(chains(100, 64, 5).canonical)[0]
    folder = os.environ.get(VARIABLE)
    for path in sorted(Path(folder).glob("*.json")) if folder else ():
        yield path.stem, problem_of(read(path).canonical)[0]


def read(path: Path) -> Spec:
    """Return the contraction of a JSON file."""
    content = json.loads(path.read_text())
    return Spec(content["inputs"], content["output"], content["size_dict"])


def regular(count: int, degree: int = 3, bond: int = 2, seed: int = 42) -> Spec:
    """Return a random regular graph with a tensor on every node."""
    import networkx

    graph = networkx.random_regular_graph(degree, count, seed=seed)
    return from_edges(count, list(graph.edges), bond)


def lattice(shape: tuple[int, ...], bond: int) -> Spec:
    """Return a lattice with open ends."""
    import numpy as np

    nodes = np.arange(np.prod(shape)).reshape(shape)
    edges = []
    for axis in range(len(shape)):
        low = np.take(nodes, range(shape[axis] - 1), axis).ravel()
        high = np.take(nodes, range(1, shape[axis]), axis).ravel()
        edges += zip(low.tolist(), high.tolist(), strict=True)
    return from_edges(nodes.size, edges, bond)


def chains(length: int, rank: int, operator_rank: int) -> Spec:
    """Return the overlap of two chains of tensors with a chain of operators between them."""
    inputs: list[list[str]] = []
    sizes: dict[str, int] = {}
    for i in range(length):
        for name, size, legs in (
            ("a", rank, [f"s{i}"]),
            ("w", operator_rank, [f"s{i}", f"t{i}"]),
            ("b", rank, [f"t{i}"]),
        ):
            held = [f"{name}{k}" for k in (i, i + 1) if 0 < k < length]
            sizes.update(dict.fromkeys(held, size))
            inputs.append(held + legs)
        sizes[f"s{i}"] = sizes[f"t{i}"] = 2
    return Spec(inputs, [], sizes)


def from_edges(count: int, edges: list[tuple[int, int]], bond: int) -> Spec:
    """Return the contraction of a graph: a tensor on each node, a label on each edge."""
    inputs: list[list[int]] = [[] for _ in range(count)]
    for label, (i, j) in enumerate(edges):
        inputs[i].append(label)
        inputs[j].append(label)
    return Spec(inputs, [], dict.fromkeys(range(len(edges)), bond))
