"""Lowering: what is charged for the ways of a step."""

import numpy as np
import pytest

from contraction import plan
from contraction.cost import CPU


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("abc,cd->abd", [(128, 128, 128), (128, 32)]),
        ("abc,ad->dbc", [(128, 128, 128), (128, 32)]),
        ("abz,bcz->acz", [(40, 50, 60), (50, 30, 60)]),
    ],
)
def test_a_result_may_lie_in_any_order(equation, shapes) -> None:
    p = plan(equation, shapes)
    beside = p.seconds - sum(step.seconds for step in p.program.steps)
    assert 0.0 <= beside <= 10 * CPU.view  # a view, not a copy
    xs = [np.random.default_rng(0).standard_normal(shape) for shape in shapes]
    np.testing.assert_allclose(p.run(xs), np.einsum(equation, *xs), rtol=1e-9, atol=1e-9)
