"""Pair interactions read at samples: against all coefficients, and how many of them are read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tnet
from contraction.errors import NonFiniteError, StructureError
from tnet.operators.probing import product_ratio

SAMPLED = {"method": tnet.Compiler.SAMPLED}


def sizes(count):
    return {f"s{i}": 2 for i in range(count)}


def decay(power):
    return lambda i, j: (j - i) ** -float(power)


def errors(op, matrix, probes=4):
    """Relative errors for z z pairs, on random up-down states, over the Frobenius norm."""
    rng = np.random.default_rng(3)
    upper = np.triu(matrix, 1)
    found = []
    for _ in range(probes):
        signs = rng.choice([-1.0, 1.0], len(matrix))
        state = {f"s{k}": [1, 0] if s > 0 else [0, 1] for k, s in enumerate(signs)}
        want = signs @ upper @ signs
        found.append(abs(product_ratio(op, state, state) - want) / np.linalg.norm(upper))
    return max(found)


def table(function, count):
    i, j = np.triu_indices(count, 1)
    matrix = np.zeros((count, count))
    matrix[i, j] = function(i, j)
    return matrix


LAWS = {
    "power 1": decay(1),
    "power 6": decay(6),
    "oscillating": lambda i, j: np.cos(0.3 * (j - i)) * np.exp(-(j - i) / 40.0),
    "distances in a plane": lambda i, j: 1 / np.hypot(j - i, 3.0),
    "one distance": lambda i, j: (j - i == 37).astype(float),
    "steps": lambda i, j: (i < 100) * (j > 140) * 1.0,
    "none": lambda i, j: 0.0 * i,
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("make", [tnet.tensor_train, tnet.balanced_tree])
def test_laws(law, make):
    count = 200
    pairs = tnet.Pairs(LAWS[law], "z", "z", list(sizes(count)))
    op = tnet.operator(make(sizes(count)), [pairs], tol=1e-9, **SAMPLED)
    assert op.error <= 1e-9
    if law == "none":
        assert op.num_entries == 0 or max(op.ranks.values()) == 1
    else:
        assert errors(op, table(LAWS[law], count)) <= 1e-8


def test_few_coefficients_are_read():
    """Twice the sites: some more than twice the reads, of ever fewer of all pairs."""

    def reads(count):
        read = [0]

        def law(i, j):
            read[0] += len(i)
            return (j - i) ** -3.0

        tree = tnet.balanced_tree(sizes(count))
        tnet.operator(tree, [tnet.Pairs(law, "z", "z", list(sizes(count)))], tol=1e-4, **SAMPLED)
        return read[0]

    few, many = reads(256), reads(512)
    assert many < 2.5 * few


def test_shuffled_sites_are_no_smooth_law_and_still_right():
    count = 150
    names = [f"s{k}" for k in np.random.default_rng(0).permutation(count)]
    pairs = tnet.Pairs(decay(2), "z", "z", names)
    op = tnet.operator(tnet.tensor_train(sizes(count)), [pairs], tol=1e-10, **SAMPLED)
    place = np.array([int(name[1:]) for name in names])
    matrix = np.zeros((count, count))
    rows = table(decay(2), count)
    matrix[np.ix_(place, place)] = rows + rows.T
    assert errors(op, matrix) <= 1e-9


@settings(max_examples=12)
@given(st.integers(2, 5), st.integers(0, 2**32 - 1), st.booleans())
def test_anything_on_few_sites(count, seed, imaginary):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((count, count))
    values = values + imaginary * 1j * rng.standard_normal((count, count))
    chosen = [f"s{k}" for k in rng.permutation(count + 1)[:count]]
    tree = tnet.balanced_tree(sizes(count + 1))
    terms = [
        tnet.Pairs(values, "x", "z", chosen),
        tnet.Pairs(values.real, "y", "y", chosen),
        (0.5, {"s0": "z"}),
        (2.0, {}),
    ]
    got, want = tnet.operator(tree, terms, **SAMPLED), tnet.operator(tree, terms)
    assert got.dtype == want.dtype
    a, b = (np.asarray(op.to_network().to_dense()) for op in (got, want))
    np.testing.assert_allclose(a, b, atol=1e-11)


def test_parts_share_identity_and_finished_channels():
    spins = sizes(12)
    pairs = [tnet.Pairs(decay(0), op, op, list(spins)) for op in "xyz"]
    field = [(0.3, {site: "x"}) for site in spins]
    op = tnet.operator(tnet.tensor_train(spins), [*pairs, *field], **SAMPLED)
    assert max(op.ranks.values()) == 5
    assert op.hermitian


def test_wrong_laws():
    tree = tnet.tensor_train(sizes(300))
    bad = tnet.Pairs(lambda i, j: np.where(j - i == 1, np.inf, 1.0), "z", "z", list(sizes(300)))
    with pytest.raises(NonFiniteError):
        tnet.operator(tree, [bad], **SAMPLED)
    with pytest.raises(StructureError, match="twice"):
        tnet.operator(tree, [tnet.Pairs(decay(1), "z", "z", ["s0", "s0"])], **SAMPLED)


@pytest.mark.slow
@pytest.mark.parametrize(("power", "chain", "tree"), [(1, 17, 26), (3, 14, 23)])
def test_four_thousand_sites(power, chain, tree):
    """Ranks beside those of 1024 sites: a few more for four times the length."""
    count = 4096
    pairs = tnet.Pairs(decay(power), "z", "z", list(sizes(count)))
    for make, rank in ((tnet.tensor_train, chain), (tnet.balanced_tree, tree)):
        op = tnet.operator(make(sizes(count)), [pairs], tol=1e-8, **SAMPLED)
        assert max(op.ranks.values()) <= rank + 6
        assert op.error <= 1e-8
        assert errors(op, table(decay(power), count), probes=1) <= 1e-7
