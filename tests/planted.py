"""Structures that tests and benchmarks plant."""

from tnet.structure import Structure


def triangle():
    """Three nodes joined in a ring of rank 2, with two more hanging on."""
    bonds = {(0, 1): 5, (1, 2): 2, (2, 3): 5, (1, 4): 2, (2, 4): 2}
    nodes = {f"v{i}": [f"x{i}"] for i in range(5)}
    sizes = {f"x{i}": 7 for i in range(5)}
    for (i, j), rank in bonds.items():
        nodes[f"v{i}"].append(f"v{i}-v{j}")
        nodes[f"v{j}"].append(f"v{i}-v{j}")
        sizes[f"v{i}-v{j}"] = rank
    return Structure(nodes, sizes, [f"x{i}" for i in range(5)])
