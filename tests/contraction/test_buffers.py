"""Buffers of NumPy's element-wise loops: what is predicted is what is allocated."""

import math
import random

import numpy as np
import pytest

from contraction.buffers import fused_buffers, given_loop, made_loop, product_buffers
from traces import traced

LENGTHS = [1, 2, 3, 4, 5, 8, 12, 16, 30, 64, 100, 500]
OBJECTS = 3000  # bytes of Python's own objects
BLOCKS = np.lib.NumpyVersion(np.__version__) >= "2.3.0"  # before, buffers were chosen otherwise


def operand(rng: random.Random, shape: list[int], absent: float):
    """A permuted array with some axes broadcast, and its strides in entries."""
    held = [axis for axis in range(len(shape)) if rng.random() >= absent]
    order = rng.sample(held, len(held))
    x = np.ones([shape[axis] for axis in order]).transpose([order.index(a) for a in held])
    strides = [0] * len(shape)
    for stride, axis in zip(x.strides, held, strict=True):
        strides[axis] = stride // 8 if shape[axis] > 1 else 0
    wide = x[tuple(slice(None) if axis in held else None for axis in range(len(shape)))]
    return wide, tuple(strides)


def cases(seed: int, absent: float, count: int = 120):
    rng = random.Random(seed)
    while count:
        shape = [rng.choice(LENGTHS) for _ in range(rng.randint(1, 6))]
        if math.prod(shape) > 500_000:
            continue
        x, y = operand(rng, shape, absent), operand(rng, shape, absent)
        if any(n > 1 and not a and not b for n, a, b in zip(shape, x[1], y[1], strict=True)):
            continue
        count -= 1
        yield rng, shape, x, y


@pytest.mark.skipif(not BLOCKS, reason="an older NumPy")
@pytest.mark.parametrize("seed", range(4))
def test_fused_sums(seed) -> None:
    buffered = 0
    for rng, shape, (x, along_x), (y, along_y) in cases(seed, 0.25):
        kept = rng.randint(0, len(shape) - 1)
        letters = "abcdef"[: len(shape)]
        words = f"{letters},{letters}->{letters[:kept]}"
        peak, result = traced(
            lambda words=words, x=x, y=y: np.asarray(np.einsum(words, x, y), order="C")
        )
        beside = fused_buffers(shape, [along_x, along_y], kept)
        assert -64 <= peak - 8 * (beside + result.size) <= OBJECTS
        _, in_order = made_loop(shape, [along_x, along_y], kept)
        assert np.einsum(words, x, y).flags.c_contiguous == in_order if kept else in_order
        buffered += beside > 0
    assert buffered > 3


@pytest.mark.skipif(not BLOCKS, reason="an older NumPy")
@pytest.mark.parametrize("seed", range(4))
def test_products(seed) -> None:
    buffered = 0
    for _, shape, (x, along_x), (y, along_y) in cases(seed, 0.25):
        peak, result = traced(lambda x=x, y=y: np.multiply(x, y, order="C"))
        beside = product_buffers(shape, [along_x, along_y])
        assert -64 <= peak - 8 * (beside + result.size) <= OBJECTS
        buffered += beside > 0
    assert buffered > 3


@pytest.mark.skipif(not BLOCKS, reason="an older NumPy")
def test_sums_in_place() -> None:
    def add(x, target) -> None:
        target += x

    buffered = 0
    for rng, shape, (x, along), _ in cases(0, 0.0):
        whole = np.zeros([m for n in shape for m in (n, rng.choice([1, 2]))])
        inner = tuple(i for _ in shape for i in (slice(None), 0))
        target = whole[inner]
        there = tuple(
            step // 8 if n > 1 else 0 for n, step in zip(shape, target.strides, strict=True)
        )
        peak, _ = traced(lambda x=x, target=target: add(x, target))
        beside = given_loop(shape, [there, along, there]).buffers
        assert -64 <= peak - 8 * beside <= OBJECTS
        buffered += beside > 0
    assert buffered > 3
