"""Copies of permuted arrays: the same entries, in C order, whatever tiles they were taken in."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contraction.copies import WORTH, _tiles, in_c_order, product_in_c_order
from timing import in_turns


def assert_copied(view: np.ndarray) -> None:
    got = in_c_order(view)
    assert got.flags.c_contiguous
    assert got.dtype == view.dtype
    np.testing.assert_array_equal(got, view)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((512, 512), (1, 0)),  # entries a power of two apart
        ((64, 64, 64), (2, 1, 0)),
        ((64, 64, 64), (2, 0, 1)),
        ((16,) * 4, (2, 3, 0, 1)),
        ((1, 300, 1, 400), (3, 2, 1, 0)),
        ((8, 64, 1, 128), (3, 1, 0, 2)),
        ((100, 90, 80), (2, 0, 1)),
        ((33, 1024), (1, 0)),
        ((1024, 33), (1, 0)),
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
def test_permuted(shape, axes, dtype) -> None:
    x = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    assert_copied(x.transpose(axes))
    assert_copied(x[::-1].transpose(axes))
    np.testing.assert_array_equal(x.reshape(-1), np.arange(x.size))


@given(st.lists(st.sampled_from([1, 2, 3, 8, 16, 32, 40]), min_size=2, max_size=5), st.randoms())
def test_any_permutation(shape, rng) -> None:
    if np.prod(shape) > 300_000:
        return
    axes = rng.sample(range(len(shape)), len(shape))
    assert_copied(np.arange(np.prod(shape)).reshape(shape).transpose(axes))


def test_tiles_cover_every_entry_once() -> None:
    for shape in ((512, 512), (64, 64, 64), (64, 8, 64, 8)):
        x = np.zeros(shape)
        for axes in itertools.permutations(range(len(shape))):
            view = x.transpose(axes)
            tiles = _tiles(view.shape, view.strides, WORTH)
            for tile in itertools.product(*tiles):
                view[tile] += 1
            assert not tiles or view.min() == view.max() == 1
            x[:] = 0


def test_what_lies_in_order_is_not_copied() -> None:
    x = np.zeros((200, 200))
    assert in_c_order(x) is x
    assert in_c_order(np.float64(2.0)).shape == ()
    broadcast = np.broadcast_to(np.arange(200.0), (300, 200))
    assert_copied(broadcast)
    assert_copied(broadcast.T)


def test_tiles_are_faster_where_entries_compete() -> None:
    x = np.zeros((2048, 2048), np.float32).T
    times = in_turns(
        {"tiles": lambda: in_c_order(x), "plain": lambda: np.ascontiguousarray(x)}, rounds=5
    )
    assert times["tiles"] < times["plain"]  # by a factor of 3 to 9 where it was measured


@pytest.mark.parametrize(
    ("shape", "axes", "other"),
    [
        ((64, 1024), (1, 0), (1, 64)),
        ((64, 64, 64), (1, 2, 0), (64, 1, 64)),
        ((64, 64, 64), (2, 1, 0), (64, 64, 64)),
        ((64, 64, 64), (2, 1, 0), (1, 1, 1)),
        ((64, 1, 1024), (2, 1, 0), (1024, 5, 64)),  # both broadcast
        ((10, 12), (1, 0), (12, 1)),
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "complex64"])
def test_products(shape, axes, other, dtype) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(dtype).transpose(axes)
    y = rng.standard_normal(other).astype(dtype)
    for a, b in ((x, y), (y, x)):
        got = product_in_c_order(a, b)
        assert got.flags.c_contiguous
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, a * b)
