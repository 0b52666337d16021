"""Trees within 1, 5 and 10 %: TreeSearch beside TT-SVD over 64 orders, a balanced tree and Tucker.

The fixed formats are stated in two ways. (i) As the literature defines them: each of E bonds may
lose tol / sqrt(E), TT-SVD in each of 64 orders of the modes (Oseledets 2011), Tucker and the
balanced tree sequentially truncated (Vannieuwenhoven et al. 2012, Grasedyck 2010). (ii) With the
ranks of `tnet.decompose`, which passes on what a bond does not use and shares the rest out again.
TreeSearch must never be larger than the best of (ii), on the array as it is.

Beside that it runs on the array with its modes split into prime factors by a reshape, which is a
different problem: the fixed formats are those of the array as it is. `TREES` selects data sets,
`TREES_SPLIT=0` leaves the reshaped arrays out.

pytest benchmarks/test_trees.py --benchmark-only -o addopts="--import-mode=importlib" -s
"""

import math
import os
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


def tt_svd(x: np.ndarray, tol: float) -> int:
    """The parameters of TT-SVD, algorithm 1 of Oseledets (2011), by Gram matrices."""
    allowed = (tol * float(np.linalg.norm(x))) ** 2 / (x.ndim - 1)
    rest, rank, params = x.reshape(1, -1), 1, 0
    for size in x.shape[:-1]:
        rest = rest.reshape(rank * size, -1)
        tall = rest.shape[0] > rest.shape[1]
        values, vectors = np.linalg.eigh(rest.T @ rest if tall else rest @ rest.T)
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        kept = max(1, int(np.count_nonzero(np.cumsum(values[::-1])[::-1] > allowed)))
        params += rank * size * kept
        rank, vectors = kept, vectors[:, :kept]
        rest = np.sqrt(values[:kept, None]) * vectors.T if tall else vectors.T @ rest
    return params + rank * x.shape[-1]


def fixed(x: np.ndarray, tol: float) -> dict[str, tuple[int, int]]:
    """Name -> parameters as in the literature (i), and with shared ranks (ii)."""
    rng = np.random.default_rng(0)
    orders = dict.fromkeys(tuple(rng.permutation(x.ndim).tolist()) for _ in range(ORDERS))
    orders[tuple(range(x.ndim))] = None
    turned = [np.ascontiguousarray(np.transpose(x, order)) for order in orders]
    made = {
        "TT-SVD": (
            min(tt_svd(y, tol) for y in turned),
            min(tnet.decompose(y, tnet.tensor_train, tol=tol).num_params for y in turned),
        )
    }
    for name, form in (("balanced", tnet.balanced_tree), ("Tucker", tnet.tucker)):
        made[name] = textbook(x, form, tol), tnet.decompose(x, form, tol=tol).num_params
    return made


def found(x: np.ndarray, tol: float) -> tuple[int, float]:
    begun = time.process_time()
    goal = RelativeError(tol=tol)
    result = search(x, method=TreeSearch(), objective=goal, rng=np.random.default_rng(0))
    assert result.best.error <= tol
    return result.best.num_params, time.process_time() - begun


@pytest.mark.timeout(7200)
def test_trees(benchmark) -> None:
    chosen = os.environ.get("TREES", ",".join(DATA)).split(",")
    columns: dict[str, list[float]] = {"(i)": [], "(ii)": [], "split (i)": [], "split (ii)": []}
    lines = []
    with threadpool_limits(1):
        for name in chosen:
            x = DATA[name]()
            parts = split(x)
            for tol in TOLERANCES:
                mine, seconds = found(x, tol)
                rivals = fixed(x, tol)
                literature = min(a for a, _ in rivals.values())
                shared = min(b for _, b in rivals.values())
                columns["(i)"].append(literature / mine)
                columns["(ii)"].append(shared / mine)
                text = f"{name} {tol:.0%}: TreeSearch {mine} ({seconds:.1f} s)"
                if parts.shape != x.shape and os.environ.get("TREES_SPLIT", "1") != "0":
                    fine, longer = found(parts, tol)
                    columns["split (i)"].append(literature / fine)
                    columns["split (ii)"].append(shared / fine)
                    text += f", split {fine} ({longer:.1f} s)"
                ratios = ", ".join(f"{k} {v[-1]:.2f}" for k, v in columns.items() if v)
                lines.append(f"{text} | {rivals} | {ratios}")
                print("\n" + lines[-1], flush=True)
    x = kinetic()
    benchmark.pedantic(lambda: found(x, 0.1), rounds=1)
    medians = {name: statistics.median(column) for name, column in columns.items() if column}
    benchmark.extra_info.update(table=lines, medians=medians)
    print("\nmedians: " + ", ".join(f"{name} {median:.2f}" for name, median in medians.items()))
    assert min(columns["(ii)"]) >= 1.0
