"""Fits of some nodes: the error is that of the whole network, and the others do not change."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tnet
from contraction.arrays import eps, to, to_numpy
from contraction.errors import InputError, MemoryBudgetError, PlanError
from strategies import DTYPES, NAMESPACES, graphs, seeds
from tnet import ALS, fit
from tnet.als import local


def rng(seed=0):
    return np.random.default_rng(seed)


def distance(x, net):
    x = to_numpy(x)
    return float(np.linalg.norm(x - to_numpy(tnet.contract(net))) / np.linalg.norm(x))


OPTIONS = {"polish": 0, "stall": 0.0, "probe": 3}


@settings(max_examples=40)
@given(
    graphs(max_nodes=5),
    st.sampled_from(DTYPES),
    st.sampled_from(NAMESPACES),
    st.booleans(),
    st.data(),
    seeds,
)
def test_frozen_nodes_stay_and_the_error_is_exact(structure, dtype, library, formed, data, seed):
    nodes = data.draw(
        st.lists(st.sampled_from(structure.node_names), min_size=1, unique=True).map(tuple)
    )
    x = to(rng(seed).standard_normal(structure.shape), dtype=dtype, namespace=library)
    start = tnet.random_network(structure, rng=rng(seed + 1), like=x)
    assume(np.isfinite(distance(x, start)))
    with pytest.MonkeyPatch.context() as patch:
        if not formed:
            patch.setattr(local, "FORMED", 0)
            patch.setattr(local, "local_program", local.local_program.__wrapped__)
        found = fit(x, start, rng=rng(), options=ALS(nodes=nodes, **OPTIONS))
    for name in structure.node_names:
        if name not in nodes:
            assert np.array_equal(to_numpy(found.network[name]), to_numpy(start[name]))
    slack = 30 * math.sqrt(eps(dtype))
    assert found.error == pytest.approx(distance(x, found.network), abs=slack)
    assert found.error <= distance(x, start) + slack


@settings(max_examples=40)
@given(graphs(max_nodes=4), st.data(), seeds)
def test_one_node_is_solved_exactly(structure, data, seed):
    """Oracle: dense least squares for that node."""
    node = data.draw(st.sampled_from(structure.node_names))
    x = rng(seed).standard_normal(structure.shape)
    start = tnet.random_network(structure, rng=rng(seed + 1))
    found = fit(x, start, rng=rng(), options=ALS(nodes=(node,), polish=0, probe=1))
    size = math.prod(structure.node_shape(node))
    columns = []
    for k in range(size):
        unit = np.zeros(size)
        unit[k] = 1.0
        unit = unit.reshape(structure.node_shape(node))
        net = tnet.Network(structure, {**start.arrays, node: unit})
        columns.append(np.asarray(tnet.contract(net)).ravel())
    design = np.stack(columns, axis=1)
    best = x.ravel() - design @ np.linalg.lstsq(design, x.ravel(), rcond=1e-9)[0]
    assert found.error == pytest.approx(np.linalg.norm(best) / np.linalg.norm(x), abs=1e-5)


def test_sweeping_two_ends_is_the_same_as_two_nodes_in_turn():
    structure = tnet.tensor_ring((5,) * 5, 3)
    x = rng().standard_normal(structure.shape)
    start = tnet.random_network(structure, rng=rng(1))
    both = fit(x, start, rng=rng(), options=ALS(nodes=("g1", "g2"), **OPTIONS))
    turns = {}
    for first in (("g1", "g2"), ("g2", "g1")):
        net = start
        for _ in range(3):
            for node in first:
                options = ALS(nodes=(node,), polish=0, probe=1)
                net = fit(x, net, rng=rng(), options=options).network
        turns[first] = distance(x, net)
    assert min(abs(both.error - error) for error in turns.values()) <= 1e-9


def test_a_start_with_other_ranks_is_carried_over():
    structure = tnet.tensor_ring((5,) * 4, 3)
    x = rng().standard_normal(structure.shape)
    smaller = tnet.random_network(tnet.tensor_ring((5,) * 4, 2), rng=rng(1))
    options = ALS(nodes=("g0", "g1"), polish=0)
    found = fit(x, structure, start=smaller, rng=rng(2), options=options)
    assert found.network.structure == structure
    assert found.error < distance(x, smaller)


@pytest.mark.parametrize("scale", [1e-200, 1e-20, 1e200])
def test_any_size_of_the_data(scale):
    structure = tnet.tensor_ring((4,) * 4, 2)
    x = rng().standard_normal(structure.shape)
    start = tnet.random_network(structure, rng=rng(1))
    options = ALS(nodes=("g0", "g2"), **OPTIONS)
    plain = fit(x, start, rng=rng(), options=options)
    scaled = fit(scale * x, start * scale, rng=rng(), options=options)
    assert scaled.error == pytest.approx(plain.error, rel=1e-6)


def test_an_exact_fit_is_measured_entry_by_entry():
    structure = tnet.tensor_train((4,) * 5, 3)
    net = tnet.random_network(structure, rng=rng(1))
    x = tnet.contract(net)
    start = tnet.Network(structure, {**net.arrays, "g2": rng(2).standard_normal((3, 4, 3))})
    found = fit(x, start, rng=rng(), options=ALS(nodes=("g2",), polish=0))
    assert found.error <= 1e-11
    assert found.error == pytest.approx(distance(x, found.network), abs=1e-13)


def test_what_the_frozen_nodes_cannot_reach():
    """Data orthogonal to all that the swept node can make: nothing is gained, and no error."""
    structure = tnet.tensor_train((3, 3), 1)
    x = np.zeros((3, 3))
    x[0, 0] = 1.0
    arrays = {"g0": np.ones((3, 1)), "g1": np.array([[0.0, 1.0, 0.0]])}
    start = tnet.Network(structure, arrays)
    found = fit(x, start, rng=rng(), options=ALS(nodes=("g0",), polish=0))
    assert found.error == pytest.approx(1.0)


class TestErrors:
    x = rng().standard_normal((4, 4, 4))
    structure = tnet.tensor_ring((4, 4, 4), 2)

    def test_names(self):
        start = tnet.random_network(self.structure, rng=rng())
        with pytest.raises(InputError, match="g0"):
            fit(self.x, start, rng=rng(), options=ALS(nodes=("nobody",)))
        for nodes in ("g0", ()):
            with pytest.raises(InputError, match="tuple"):
                ALS(nodes=nodes)

    def test_start_and_all_entries_are_needed(self):
        with pytest.raises(InputError, match="start"):
            fit(self.x, self.structure, rng=rng(), options=ALS(nodes=("g0",)))
        start = tnet.random_network(self.structure, rng=rng())
        x = self.x.copy()
        x[0, 0, 0] = np.nan
        with pytest.raises(InputError, match="missing"):
            fit(x, start, rng=rng(), options=ALS(nodes=("g0",)))

    def test_limits(self):
        start = tnet.random_network(self.structure, rng=rng())
        with pytest.raises(PlanError, match="operations"):
            fit(self.x, start, rng=rng(), options=ALS(nodes=("g0",), max_flops=1.0))
        with pytest.raises(MemoryBudgetError):
            fit(self.x, start, rng=rng(), options=ALS(nodes=("g0",), memory=100))
