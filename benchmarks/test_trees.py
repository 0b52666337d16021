"""Trees within 1, 5 and 10 %: TreeSearch beside TT-SVD over 64 orders, a balanced tree and Tucker.

The fixed formats have the ranks of the textbook (every bond may lose tol / sqrt(E)) and those of
`tnet.decompose`, which passes on what a bond does not use; the smaller one counts. TreeSearch runs
on the same array, and on the array with its modes split into prime factors by a reshape.

pytest benchmarks/test_trees.py --benchmark-only -o addopts="--import-mode=importlib" -s
"""

import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import tnet
from contraction.truncation import Truncation
from structure_search import RelativeError, TreeSearch, search

ORDERS = 64
TOLERANCES = (0.01, 0.05, 0.1)


def pines() -> np.ndarray:
    x = np.asarray(pytest.importorskip("tensorly.datasets").load_indian_pines().tensor)
    return np.ascontiguousarray(x[:144, :144].reshape(12, 12, 12, 12, 200))


def kinetic() -> np.ndarray:
    return np.asarray(pytest.importorskip("tensorly.datasets").load_kinetic().tensor)


def camera() -> np.ndarray:
    x = pytest.importorskip("skimage.data").camera().astype(float) / 255
    x = x.reshape(256, 2, 256, 2).mean((1, 3))
    return x.reshape((4,) * 8, order="F")


def line(function: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    return function(np.linspace(0.0, 1.0, math.prod(shape), endpoint=False)).reshape(shape)


def plane(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    u = np.linspace(-1.0, 1.0, 256)
    return function(u[:, None], u[None, :]).reshape((4,) * 8)


DATA: dict[str, Callable[[], np.ndarray]] = {
    "kinetic": kinetic,
    "indian-pines": pines,
    "camera": camera,
    "chirp 4^8": lambda: line(lambda t: np.sin(40 * np.pi * t**2) * np.exp(-t), (4,) * 8),
    "runge 4^8": lambda: line(
        lambda t: 1 / (1 + 25 * (2 * t - 1) ** 2) + 0.3 * np.sqrt(np.abs(t - 0.37)), (4,) * 8
    ),
    "waves 2^16": lambda: line(
        lambda t: np.sin(300 * t) + 0.5 * np.sin(71 * t) / (1 + t), (2,) * 16
    ),
    "ripple": lambda: plane(lambda x, y: np.sin(20 * np.hypot(x - 0.3, y + 0.2))),
    "tilted gauss": lambda: plane(lambda x, y: np.exp(-8 * (x - 0.6 * y) ** 2 - 2 * (x + y) ** 2)),
    "edge": lambda: plane(lambda x, y: np.tanh(8 * (x**2 + y - 0.2))),
}


def split(x: np.ndarray) -> np.ndarray:
    """Every mode as its prime factors, in the order in which its index runs."""
    parts: list[int] = []
    for size in x.shape:
        factor = 2
        while size > 1:
            if size % factor:
                factor += 1
            else:
                parts.append(factor)
                size //= factor
    return x.reshape(parts)


def textbook(x: np.ndarray, form: Callable[..., tnet.Structure], tol: float) -> int:
    """The parameters with a share of tol / sqrt(E) for every bond, from a finer network."""
    net = tnet.decompose(x, form, tol=0.05 * tol)
    tree = tnet.rooted(net.structure)
    allowed = tol / math.sqrt(max(1, len(tree.bond))) * tnet.norm(net)
    for node in tree.post_order:
        if node in tree.bond:
            bond = tree.bond[node]
            values = tnet.bond_spectra(net)[bond]
            net = tnet.truncate(net, {bond: Truncation().rank(list(values), allowed=allowed)})
    return net.num_params


def fixed(x: np.ndarray, tol: float) -> dict[str, tuple[int, int]]:
    """Name -> parameters with shared ranks, and with the textbook's."""
    rng = np.random.default_rng(0)
    orders = dict.fromkeys(tuple(rng.permutation(x.ndim).tolist()) for _ in range(ORDERS))
    orders[tuple(range(x.ndim))] = None
    turned = [np.transpose(x, order) for order in orders]
    sizes = [tnet.decompose(y, tnet.tensor_train, tol=tol).num_params for y in turned]
    best = turned[int(np.argmin(sizes))]
    return {
        "TT-SVD": (min(sizes), textbook(best, tnet.tensor_train, tol)),
        "balanced": (
            tnet.decompose(x, tnet.balanced_tree, tol=tol).num_params,
            textbook(x, tnet.balanced_tree, tol),
        ),
        "Tucker": (
            tnet.decompose(x, tnet.tucker, tol=tol).num_params,
            textbook(x, tnet.tucker, tol),
        ),
    }


def found(x: np.ndarray, tol: float) -> tuple[int, float]:
    begun = time.process_time()
    goal = RelativeError(tol=tol)
    result = search(x, method=TreeSearch(), objective=goal, rng=np.random.default_rng(0))
    assert result.best.error <= tol
    return result.best.num_params, time.process_time() - begun


@pytest.mark.timeout(7200)
def test_trees(benchmark) -> None:
    shared, text, plain, lines = [], [], [], []
    with threadpool_limits(1):
        for name, load in DATA.items():
            x = load()
            parts = split(x)
            for tol in TOLERANCES:
                mine, seconds = found(x, tol)
                fine, longer = (mine, 0.0) if parts.shape == x.shape else found(parts, tol)
                begun = time.process_time()
                rivals = fixed(x, tol)
                spent = time.process_time() - begun
                least = min(a for a, _ in rivals.values())
                taught = min(b for _, b in rivals.values())
                plain.append(least / mine)
                shared.append(least / min(mine, fine))
                text.append(taught / min(mine, fine))
                lines.append(
                    f"{name} {tol:.0%}: TreeSearch {mine} ({seconds:.1f} s), split {fine} "
                    f"({longer:.1f} s) | {rivals} ({spent:.1f} s) | {shared[-1]:.2f} times, "
                    f"textbook {text[-1]:.2f}, unsplit {plain[-1]:.2f}"
                )
                print("\n" + lines[-1], flush=True)
    x = kinetic()
    benchmark.pedantic(lambda: found(x, 0.1), rounds=1)
    medians = [statistics.median(column) for column in (shared, text, plain)]
    benchmark.extra_info.update(
        table=lines, median=medians[0], textbook_median=medians[1], unsplit_median=medians[2]
    )
    print(f"\nmedians: {medians[0]:.2f}, textbook {medians[1]:.2f}, unsplit {medians[2]:.2f}")
    assert min(shared) >= 1.0
