"""Programs of sparse cores against the sum over their entries, one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg as sl
from hypothesis import given, settings
from hypothesis import strategies as st

from contraction.truncation import Truncation
from hand_operators import hand_operator, random_state, random_terms, sum_of
from integrators import AugmentedBUG, Lanczos
from integrators.binding import bind
from integrators.cutting import cut
from integrators.programs import IDENTITY, ZERO, Entry, program_of, ready
from strategies import trees


@st.composite
def sums(draw: st.DrawFn) -> tuple[list[Entry], list[list[int]], list[int], int]:
    """Entries over up to four legs; channels that are matrices, identities or nothing."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    places = []
    for _ in sizes:
        kinds = draw(st.lists(st.sampled_from([0, IDENTITY, ZERO]), min_size=1, max_size=4))
        numbers = iter(range(len(kinds)))
        places.append([next(numbers) if kind == 0 else kind for kind in kinds])
    outputs = draw(st.integers(1, 3))
    entry = st.builds(
        Entry,
        st.tuples(*(st.integers(0, len(p) - 1) for p in places)),
        st.integers(0, outputs - 1),
        st.sampled_from([1.0, -2.0, 0.5j]),
    )
    return draw(st.lists(entry, max_size=12)), places, sizes, outputs


@given(sums(), st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_programs_are_the_sums_they_stand_for(case: Any, seed: int) -> None:
    entries, places, sizes, outputs = case
    rng = np.random.default_rng(seed)
    matrices = [
        [rng.normal(size=(n, n)) for p in row if p >= 0]
        for row, n in zip(places, sizes, strict=True)
    ]
    x = rng.normal(size=(*sizes, 2)) + 0j  # the last axis has no leg
    kept = x.copy()
    found = ready(program_of(entries, places, outputs), matrices)(x)
    assert np.array_equal(x, kept)
    want = np.zeros((outputs, *x.shape), complex)
    for entry in entries:
        y: Any = x
        for axis, channel in enumerate(entry.channels):
            place = places[axis][channel]
            if place == ZERO:
                y = y * 0.0
            elif place != IDENTITY:
                y = np.moveaxis(np.tensordot(matrices[axis][place], y, (1, axis)), 0, axis)
        want[entry.output] += entry.weight * y
    for k in range(outputs):
        here = np.zeros_like(x) if found[k] is None else found[k]
        assert np.allclose(here, want[k])


def test_identities_cost_no_product_and_weights_are_merged() -> None:
    entries = [Entry((1, 0, 0), 0, 2.0), Entry((0, 1, 0), 0, 3.0), Entry((0, 0, 1), 0, 4.0)]
    program = program_of(entries, [(IDENTITY, 0)] * 3, 1)
    products = [p for stage in program.stages for p in stage.pieces if p.merge.places]
    assert len(products) == 3
    nothing = program_of([Entry((0, 0), 0, 2.0)], [(IDENTITY,), (IDENTITY,)], 1)
    assert nothing.stages == ()
    assert nothing.outputs == ((0, 2.0),)


@given(trees(max_nodes=5, max_size=3), st.integers(0, 20))
@settings(max_examples=15, deadline=None)
def test_full_ranks_are_exact_on_any_tree(tree: Any, seed: int) -> None:
    """With all ranks as large as they can be, one step is the exponential itself."""
    if int(np.prod(tree.shape)) > 250 or not tree.modes:
        return
    wide = tree.resized(dict.fromkeys(tree.bonds, 16))
    state = random_state(wide, seed)
    hand = hand_operator(tree, random_terms(tree, np.random.default_rng(seed), 3))
    matrix = np.asarray(sum_of(tree, hand.cores, hand.locals).todense())
    field = bind(-1j * hand, state.frame, state.cores[0])
    h = 0.5 / max(np.linalg.norm(matrix, 2), 1.0)
    done = AugmentedBUG(local=Lanczos(tol=1e-12)).step(field, 0.0, h, state).state
    end = cut(done, Truncation()).state.to_network().to_dense().reshape(-1)
    want = sl.expm(-1j * h * matrix) @ state.to_network().to_dense().reshape(-1)
    assert np.linalg.norm(end - want) < 1e-8 * np.linalg.norm(want)
    assert done.norm == pytest.approx(state.norm, rel=1e-9)
