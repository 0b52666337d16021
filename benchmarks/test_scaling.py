"""Time per node from 1,000 to 20,000 nodes: every tree algorithm is linear in the tree's size."""

import math
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import tnet
from tnet import Truncation

NODES = (1_000, 2_000, 5_000, 10_000, 20_000)
LIMIT = 2.0  # time per node at 20,000 nodes over that at 2,000


def path(count):
    return tnet.tensor_train((2,) * count, 4)


def balanced(count):
    return tnet.balanced_tree((2,) * ((count + 1) // 2), 4)


def random_tree(count):
    """Bounded degree: a new node hangs below one of the last hundred that has room."""
    rng = np.random.default_rng(count)
    nodes, sizes, degree, free = {"n0": ["x0"]}, {"x0": 2}, [1], [0]
    for i in range(1, count):
        place = int(rng.integers(max(len(free) - 100, 0), len(free)))
        parent = free[place]
        bond = f"b{i}"
        nodes[f"n{parent}"].append(bond)
        nodes[f"n{i}"] = [bond, f"x{i}"]
        sizes |= {bond: 3, f"x{i}": 2}
        degree[parent] += 1
        if degree[parent] == 4:
            free.pop(place)
        degree.append(2)
        free.append(i)
    return tnet.Structure(nodes, sizes)


def caterpillar(count):
    """A spine of nodes with up to sixty leaves each: high degree, bonds of rank one and two."""
    nodes, sizes, spine = {}, {}, 0
    while len(nodes) < count:
        legs = [f"s{spine}"] if spine else []
        sizes |= {f"s{spine + 1}": 2}
        for k in range(60):
            leaf = f"l{spine}-{k}"
            legs.append(leaf)
            nodes[f"u{spine}-{k}"] = [leaf, f"x{spine}-{k}"]
            sizes |= {leaf: 2 if k < 3 else 1, f"x{spine}-{k}": 2}
        legs.append(f"s{spine + 1}")
        nodes[f"c{spine}"] = legs
        spine += 1
    nodes[f"c{spine}"] = [f"s{spine}", "end"]
    return tnet.Structure(nodes, sizes | {"end": 2})


TREES = {f.__name__: f for f in (path, balanced, random_tree, caterpillar)}


def build(shape, count):
    """A random network of norm one; a norm of 2^10000 would leave the floats."""
    net = tnet.random_network(TREES[shape](count), rng=np.random.default_rng(0))
    factor = math.exp(-tnet.log_norm(net) / len(net.arrays))
    return tnet.Network(net.structure, {n: x * factor for n, x in net.arrays.items()})


WORK = {
    "orthogonalize": lambda net: tnet.orthogonalize(net),
    "bond_spectra": tnet.bond_spectra,
    "truncate": lambda net: tnet.truncate(net, Truncation(tol=1e-3)),
    "inner": lambda net: tnet.inner(net, net),
    "contract": lambda net: tnet.contract(net, ()),
}

# A long random network nearly always has some node in a bad gauge; truncate then orthogonalises
# first, which costs a factor of about 2.4 once, whatever the size. The curve is taken without it.
PREPARED = {"truncate": tnet.orthogonalize}


def curve(shape, work, counts=NODES):
    """Microseconds of CPU per node for each size; the best of three."""
    found = {}
    for count in counts:
        if work == "build":
            best = min(timed(lambda count=count: build(shape, count)) for _ in range(2))
            found[count] = best / count * 1e6
            continue
        net = PREPARED.get(work, lambda raw: raw)(build(shape, count))
        best = min(timed(lambda net=net: WORK[work](net)) for _ in range(3))
        found[count] = best / len(net.arrays) * 1e6
    return found


def timed(call):
    start = time.process_time()
    call()
    return time.process_time() - start


@pytest.mark.parametrize("work", ["build", *WORK])
@pytest.mark.parametrize("shape", TREES)
def test_time_per_node(benchmark, shape, work):
    with threadpool_limits(1):
        found = curve(shape, work)
        net = build(shape, 1_000)
        once = (lambda: build(shape, 1_000)) if work == "build" else (lambda: WORK[work](net))
        benchmark.pedantic(once, rounds=1)
    benchmark.extra_info["us per node"] = {count: round(t, 1) for count, t in found.items()}
    ratio = found[20_000] / found[2_000]
    benchmark.extra_info["20k over 2k"] = round(ratio, 2)
    print(
        f"\n{shape:12s} {work:14s}", *(f"{c}: {t:.0f} us" for c, t in found.items()), f"{ratio:.2f}"
    )
    assert ratio <= LIMIT
