"""Two steps in a row done block by block: the same result, and little memory."""

import random
import tracemalloc
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contraction import Spec, arrays, blocks, explain, plan
from contraction.cost import CPU, GPU
from contraction.execute import bind
from contraction.memory import peak_size
from contraction.program import Program, compile_program
from contraction.slices import slice_job
from contraction.workers.cutting import split
from strategies import NAMESPACES

CASES = {  # equation, shapes, tree: the product is made by the first step
    "outermost label kept": ("abc,cr,br->ar", [(40, 30, 20), (20, 50), (30, 50)]),
    "outermost label summed": ("abc,cr,ar->br", [(40, 30, 20), (20, 50), (40, 50)]),
    "cut through an operand": ("abc,ar,br->cr", [(40, 30, 20), (40, 50), (30, 50)]),
    "turned operand": ("cab,cr,br->ar", [(20, 40, 30), (20, 50), (30, 50)]),
    "other order of the factors": ("br,abc,rc->ra", [(30, 50), (40, 30, 20), (50, 20)]),
    "outer product first": ("br,cr,abc->ar", [(30, 50), (20, 50), (40, 30, 20)]),
    "two matrix products": ("abc,cz,by->azy", [(70, 30, 20), (20, 40), (30, 4)]),
    "batch": ("zab,zbc,cd->zad", [(30, 20, 10), (30, 10, 40), (40, 5)]),
    "a scalar": ("abc,cr,abr->", [(40, 30, 20), (20, 50), (40, 30, 50)]),
    "a prime length": ("abc,cr,br->ar", [(41, 31, 20), (20, 53), (31, 53)]),
}
FIRST = {"other order of the factors": ((1, 2), (0, 3))}


def fused(program: Program) -> bool:
    return any(step.blocks is not None for step in program.steps)


def programs(spec: Spec, pairs) -> tuple[Program, Program]:
    """The steps one by one, and as many of them as can be in blocks."""
    with mock.patch.object(blocks, "LARGE", 1 << 60):
        plain = compile_program(spec.canonical, pairs, CPU)
    with mock.patch.object(blocks, "SHORT", 2):
        return plain, compile_program(spec.canonical, pairs, CPU, max_size=0)


def draw(spec: Spec, dtype: str = "float64", namespace: str = "numpy"):
    rng = np.random.default_rng(0)
    xs = [arrays.random_normal(rng, shape, dtype=dtype) for shape in spec.shapes]
    return [arrays.to(x, namespace=namespace) for x in xs]


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("case", CASES)
def test_the_same_result(case, dtype, namespace) -> None:
    equation, shapes = CASES[case]
    p = plan(equation, shapes, path=FIRST.get(case, ((0, 1), (2, 3))))
    plain, cut = programs(p.spec, p.pairs)
    assert fused(cut)
    assert not fused(plain)
    xs = draw(p.spec, dtype, namespace)
    kept = [arrays.to_numpy(x).copy() for x in xs]
    want = arrays.to_numpy(bind(plain, namespace)(list(xs)))
    got = arrays.to_numpy(bind(cut, namespace)(list(xs)))
    rtol = 1e-4 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * np.abs(want).max())
    assert got.dtype == dtype
    for x, y in zip(xs, kept, strict=True):
        np.testing.assert_array_equal(arrays.to_numpy(x), y)


@st.composite
def contractions(draw: st.DrawFn) -> tuple[Spec, list[tuple[int, int]]]:
    sizes = dict(zip("abcdefg", draw(st.lists(st.integers(1, 7), min_size=7, max_size=7)),
                     strict=True))  # fmt: skip
    words = st.text("abcdefg", min_size=1, max_size=4)
    terms = draw(st.lists(words, min_size=3, max_size=5))
    used = sorted(set("".join(terms)))
    kept = draw(st.lists(st.sampled_from(used), unique=True, max_size=3))
    rng = random.Random(draw(st.integers(0, 10**6)))
    alive, pairs = list(range(len(terms))), []
    for k in range(len(terms) - 1):
        i, j = (alive.pop(rng.randrange(len(alive))) for _ in range(2))
        pairs.append((i, j))
        alive.append(len(terms) + k)
    return Spec(terms, kept, sizes), pairs


@given(contractions(), st.sampled_from(NAMESPACES))
def test_any_tree(case, namespace) -> None:
    spec, pairs = case
    with mock.patch.object(blocks, "ADDED", 1):
        plain, cut = programs(spec, pairs)
    xs = draw(spec, namespace=namespace)
    want = arrays.to_numpy(bind(plain, namespace)(list(xs)))
    got = arrays.to_numpy(bind(cut, namespace)(list(xs)))
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9 * max(1.0, np.abs(want).max()))
    assert [(s.left, s.right, s.flops) for s in cut.steps] == [
        (s.left, s.right, s.flops) for s in plain.steps
    ]


def test_random_trees_are_cut_often() -> None:
    rng, count = random.Random(0), 0
    for _ in range(60):
        sizes = {x: rng.randint(2, 7) for x in "abcdef"}
        terms = ["".join(rng.sample("abcdef", 3)) for _ in range(4)]
        spec = Spec(terms, rng.sample(sorted(set("".join(terms))), 1), sizes)
        count += fused(programs(spec, plan(spec).pairs)[1])
    assert count > 15


def traced(run, xs) -> int:
    tracemalloc.start()
    run(list(xs))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("case", CASES)
def test_memory_is_that_of_a_block(case) -> None:
    equation, shapes = CASES[case]
    grown = [tuple(2 * n for n in shape) for shape in shapes]
    p = plan(equation, grown, path=FIRST.get(case, ((0, 1), (2, 3))))
    plain, cut = programs(p.spec, p.pairs)
    xs = draw(p.spec)
    run = bind(cut, "numpy")
    run(list(xs))
    measured = traced(run, xs) / 8
    assert cut.peak_size < 0.7 * plain.peak_size
    assert measured <= 1.02 * cut.peak_size + 2500  # views and closures of Python
    assert measured >= 0.85 * cut.peak_size
    assert peak_size(cut.loads, cut.steps, library="torch") >= cut.peak_size - max(
        step.buffers for step in cut.steps
    )


def test_large_products_are_cut_to_save_time() -> None:
    shapes = [(300, 200, 100), (100, 32), (200, 32)]
    canonical = plan("abc,cr,br->ar", shapes).spec.canonical
    pairs = ((0, 1), (2, 3))
    assert fused(compile_program(canonical, pairs, CPU))
    assert not fused(compile_program(canonical, pairs, GPU))  # calls take too long there
    small = plan("abc,cr,br->ar", [(30, 20, 10), (10, 32), (20, 32)], path=pairs)
    assert not fused(small.program)


def test_blocks_before_slices() -> None:
    shapes = [(60, 50, 40), (40, 32), (50, 32)]
    free = plan("abc,cr,br->ar", shapes, path=((0, 1), (2, 3)))
    assert not fused(free.program)
    tight = plan("abc,cr,br->ar", shapes, path=((0, 1), (2, 3)), memory=free.peak_size)
    assert tight.num_slices == 1
    assert fused(tight.program)
    assert tight.peak_size * 8 <= free.peak_size
    xs = draw(tight.spec)
    np.testing.assert_allclose(tight.run(xs), free.run(xs), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(slice_job(tight, xs).result(), tight.run(xs))


def test_every_pair_is_explained() -> None:
    p = plan("abc,cr,br->ar", [(300, 200, 20), (20, 32), (200, 32)], path=((0, 1), (2, 3)))
    assert fused(p.program)
    found = explain(p, draw(p.spec))
    assert [set(step.equation) & set("abcr") for step in found.steps] == [set("abcr"), set("abr")]
    assert "in blocks with the next step" in found.steps[0].lowering
    assert "blocks" in found.steps[1].lowering
    assert all(step.measured > 0.0 and step.predicted > 0.0 for step in found.steps)
    assert max(step.live_bytes for step in found.steps) == p.peak_size * 8


def test_a_pair_is_never_cut_apart() -> None:
    p = plan("abc,cr,br,a->r", [(300, 200, 20), (20, 32), (200, 32), (300,)],
             path=((0, 1), (2, 4), (3, 5)))  # fmt: skip
    assert p.program.steps[1].blocks is not None
    cut = split(p.program, 4, [5])
    xs = draw(p.spec)
    values = dict(enumerate(xs))
    for piece in (*cut.pieces, cut.rest):
        made = bind(piece.program, "numpy")([values[v] for v in piece.inputs])
        values[piece.value] = made
    np.testing.assert_array_equal(made, p.run(xs))
