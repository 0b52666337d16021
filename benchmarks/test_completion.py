"""Completion of pictures: a searched structure beside fixed formats with as many parameters.

pytest benchmarks/test_completion.py --benchmark-only -o addopts="--import-mode=importlib"

A picture of 256 x 256 pixels is cut into 2 x 2 blocks level by level: eight modes of size four,
and one for the colours. One entry in ten is known. The fixed formats have the rank that does
best on the hidden entries, which no one could know, and each its own ridge; the search sees the
known entries alone and puts a tenth of them aside.
"""

import itertools
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import tnet
from structure_search import Greedy, MaxParams, search
from structure_search.canonical import reduced

KNOWN = 0.1
BUDGET = 1600
PICTURES = ("astronaut", "coffee", "camera")
FORMATS = {
    "train": tnet.tensor_train,
    "ring": tnet.tensor_ring,
    "tucker": tnet.tucker,
    "cp": tnet.cp,
}
RIDGES = (0.3, 1.0, 3.0)


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1):
        yield


def picture(name: str) -> np.ndarray:
    """Return a picture of 256 x 256 pixels as a tensor of 4^8, or 4^8 x 3, between 0 and 1."""
    from skimage import data, transform

    pixels = np.asarray(getattr(data, name)(), dtype=float) / 255.0
    pixels = transform.resize(pixels, (256, 256, *pixels.shape[2:]), anti_aliasing=True)
    colours = pixels.shape[2:]
    bits = pixels.reshape(*[2] * 16, *colours)
    order = [axis for level in range(8) for axis in (level, 8 + level)]
    return bits.transpose(*order, *range(16, bits.ndim)).reshape(*[4] * 8, *colours)


def psnr(net: tnet.Network, x: np.ndarray) -> float:
    guess = np.clip(np.asarray(tnet.contract(net, list(net.structure.modes))), 0.0, 1.0)
    return float(-10.0 * np.log10(np.mean((guess - x) ** 2)))


def fixed(name: str, x: np.ndarray, known: np.ndarray) -> tuple[float, int]:
    """Return the best PSNR over all ranks within the budget, and the parameters."""
    found = []
    fits = []
    for rank in itertools.count(1):
        s = reduced(FORMATS[name](x.shape, rank))
        if s.num_params > BUDGET or (fits and s == fits[-1]):
            break
        fits.append(s)
    for s in fits[-3:]:  # smaller ones are worse, far below the budget
        fit = tnet.fit(x, s, mask=known, rng=np.random.default_rng(0))
        found.append((psnr(fit.network, x), s.num_params))
    return max(found)


def searched(x: np.ndarray, known: np.ndarray) -> tuple[float, int]:
    """Return the PSNR of what a search finds, and the parameters."""
    results = []
    for ridge in RIDGES:
        result = search(
            x,
            method=Greedy(look_ahead=2, trial_sweeps=2, sweeps=4),
            objective=MaxParams(params=BUDGET),
            mask=known,
            held_out=0.1,
            ridge=ridge,
            rng=np.random.default_rng(0),
        )
        results.append((result.best.error, ridge, result.network))
    _, ridge, net = min(results, key=lambda r: r[0])
    # the entries put aside join in at the end
    fit = tnet.fit(
        x,
        net.structure,
        mask=known,
        start=net,
        rng=np.random.default_rng(0),
        options=tnet.ALS(ridge=ridge),
    )
    return psnr(fit.network, x), net.num_params


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", PICTURES)
def test_a_searched_structure_completes_pictures_better(benchmark, name: str) -> None:
    x = picture(name)
    known = np.random.default_rng(0).random(x.shape) < KNOWN
    rows = {}
    for form in FORMATS:
        begun = time.process_time()
        rows[form] = (*fixed(form, x, known), time.process_time() - begun)
    begun = time.process_time()
    ours = benchmark.pedantic(lambda: searched(x, known), rounds=1, iterations=1)
    spent = time.process_time() - begun
    benchmark.extra_info.update(searched=ours, cpu_seconds=spent, **rows)
    print(f"\n{name}: searched {ours[0]:.2f} dB with {ours[1]} parameters in {spent:.0f} s of CPU")
    for form, (value, params, seconds) in rows.items():
        print(f"  {form:8s} {value:.2f} dB with {params} in {seconds:.0f} s")
    assert ours[1] <= BUDGET
    assert ours[0] > max(value for value, _, _ in rows.values())
