import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contraction.errors import InputError, RankError
from contraction.truncation import Truncation

spectra = st.lists(st.floats(0, 1e3), min_size=1, max_size=12).map(
    lambda values: sorted(values, reverse=True)
)


@given(spectra, st.floats(0, 0.999))
def test_the_smallest_rank_within_the_tolerance(values, tol):
    rank = Truncation(tol=tol).rank(values)
    norm = math.hypot(*values)
    assert 1 <= rank <= len(values)
    assert math.hypot(*values[rank:], 0.0) <= tol * norm + 1e-12 * norm
    if rank > 1:
        assert math.hypot(*values[rank - 1 :]) > tol * norm * (1 - 1e-12)


@given(spectra, st.integers(1, 5), st.integers(0, 5))
def test_caps_and_floors(values, low, more):
    rule = Truncation(tol=0.5, min_rank=low, max_rank=low + more)
    rank = rule.rank(values)
    assert min(low, len(values)) <= rank <= low + more


def test_edge_cases():
    assert Truncation().rank([0.0, 0.0]) == 1
    assert Truncation().rank([1.0, 1e-17]) == 1  # rounding noise is no signal
    assert Truncation().rank([1.0, 1e-10]) == 2
    assert Truncation().rank(np.array([1.0, 1e-9], np.float32)) == 1
    assert Truncation(tol=0.1).rank([3.0, 2.0, 1.0], allowed=10.0) == 1


@pytest.mark.parametrize("tol", [-0.1, 1.0, float("nan"), float("inf"), "x", True, None])
def test_bad_tolerances(tol):
    with pytest.raises(InputError, match="tol"):
        Truncation(tol=tol)


@pytest.mark.parametrize("rank", [0, -1, 2.5, float("nan"), "x", True])
def test_bad_ranks(rank):
    with pytest.raises(RankError, match="max_rank"):
        Truncation(max_rank=rank)
    with pytest.raises(RankError, match="min_rank"):
        Truncation(min_rank=rank)
