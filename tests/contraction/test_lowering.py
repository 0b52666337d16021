"""Lowering: what is charged for the ways of a step."""

from dataclasses import replace

import numpy as np
import pytest

from contraction import machine, plan
from contraction.cost import CPU, forget_models, model_for
from contraction.program import compile_program, planned_program


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


def test_a_machine_measured_meanwhile_gets_plans_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TNET_CACHE", str(tmp_path))
    work = "abc,cd,de->abe", [(20, 30, 40), (40, 50), (50, 6)]
    before = plan(*work).seconds  # before the machine is measured
    slow = replace(model_for(), gemm=1000 * CPU.gemm)
    machine.store_profile(
        machine.Profile(
            key=machine.resolved_key("numpy", device="cpu", dtype="float64", threads=None),
            model=slow,
            quality=machine.Quality(median=1.0, ninth=1.0, rank_correlation=1.0, steps=100),
        )
    )
    try:
        after = plan(*work)
        assert after.seconds > 20 * before
        assert plan(*work).compiled is after.compiled
    finally:
        forget_models()


def test_what_a_search_lowered_is_not_lowered_again() -> None:
    p = plan("ab,bc,cd,de,ef->af", [(9, 8), (8, 7), (7, 6), (6, 5), (5, 4)])
    found = planned_program(p.spec.canonical, p.pairs, p.compiled.model("numpy"))
    assert found is p.program
    assert found == compile_program(p.spec.canonical, p.pairs, p.compiled.model("numpy"))


@pytest.mark.parametrize("axes", [(1, 0), (2, 0, 1), (3, 1, 0, 2)])
def test_products_of_torch_lie_in_c_order(axes) -> None:
    torch = pytest.importorskip("torch")
    labels = "abcd"[: len(axes)]
    turned = "".join(labels[axis] for axis in axes)
    shape = (70, 60, 5, 7)[: len(axes)]
    there = tuple(shape[axis] for axis in axes)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(shape), rng.standard_normal(there)
    p = plan(f"{labels},{turned},z->{turned}z", [shape, there, (2,)], path=((0, 1), (3, 2)))
    got = p.run([torch.from_numpy(x), torch.from_numpy(y), torch.ones(2)])
    want = np.multiply.outer(x.transpose(axes) * y, np.ones(2))
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-12)
