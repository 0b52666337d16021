"""einsum against numpy.einsum: every form of equation, every kind of label, two libraries."""

import random
import string
import time

import numpy as np
import opt_einsum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contraction import TnetError, arrays, einsum
from contraction.errors import (
    BackendError,
    DTypeError,
    InputError,
    MemoryBudgetError,
    PlanError,
    ShapeError,
)
from contraction.expressions import equation_spec
from contraction.tree import read_path
from strategies import NAMESPACES


def random_equation(rng: random.Random) -> tuple[str, list[tuple[int, ...]]]:
    """An equation with traces, hyperindices, scalars, ellipses and stretched axes of size one."""
    labels = string.ascii_letters[: rng.randint(1, 7)]
    size = {x: rng.choice([1, 2, 2, 3, 4]) for x in labels}
    dots = [rng.choice([1, 2, 3]) for _ in range(rng.randint(0, 2))]  # the broadcast shape
    ellipsis = rng.random() < 0.4
    terms, shapes = [], []
    for _ in range(rng.randint(1, 5)):
        term = [rng.choice(labels) for _ in range(rng.randint(0, 4))]
        shape = [size[x] for x in term]
        if not ellipsis:
            shape = [1 if rng.random() < 0.03 and term.count(x) == 1 else size[x] for x in term]
        words = "".join(term)
        if ellipsis and rng.random() < 0.8:
            held = dots[rng.randint(0, len(dots)) :]
            held = [1 if rng.random() < 0.3 else n for n in held]
            cut = rng.randint(0, len(term))
            words = words[:cut] + "..." + words[cut:]
            shape[cut:cut] = held
        terms.append(words)
        shapes.append(tuple(shape))
    equation = ",".join(terms)
    if rng.random() < 0.25:
        return equation, shapes
    used = sorted(set(equation) & set(labels))
    output = "".join(rng.sample(used, rng.randint(0, min(4, len(used)))))
    if "..." in equation:
        cut = rng.randint(0, len(output))
        output = output[:cut] + "..." + output[cut:]
    return rng.choice(["{}->{}", " {} -> {} "]).format(equation, output), shapes


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("block", range(20))
def test_two_thousand_random_equations(namespace, block) -> None:
    rng = random.Random(block)
    for case in range(100):
        equation, shapes = random_equation(rng)
        drawn = np.random.default_rng(1000 * block + case)
        xs = [drawn.standard_normal(shape) for shape in shapes]
        if case % 5 == 0:
            xs = [x + 1j * drawn.standard_normal(x.shape) for x in xs]
        want = np.einsum(equation, *xs)
        got = einsum(equation, *[arrays.to(x, namespace=namespace) for x in xs])
        assert arrays.namespace_name(got) == namespace
        assert tuple(got.shape) == np.shape(want), equation
        np.testing.assert_allclose(
            arrays.to_numpy(got), want, rtol=1e-9, atol=1e-10, err_msg=f"{equation} {shapes}"
        )


@given(st.integers(0, 2**32 - 1))
def test_interleaved_form(seed) -> None:
    rng = random.Random(seed)
    equation, shapes = random_equation(rng)
    left, arrow, right = equation.replace(" ", "").partition("->")

    def labels(term: str) -> list[object]:
        before, dots, after = term.partition("...")
        number = string.ascii_letters.index
        return [*map(number, before), *[Ellipsis] * bool(dots), *map(number, after)]

    xs = [np.random.default_rng(seed).standard_normal(shape) for shape in shapes]
    arguments = [part for x, t in zip(xs, left.split(","), strict=True) for part in (x, labels(t))]
    if arrow:
        arguments.append(labels(right))
    want = np.einsum(*arguments)
    np.testing.assert_allclose(einsum(*arguments), want, rtol=1e-9, atol=1e-10)


def test_interleaved_labels_need_not_be_numbers() -> None:
    x, y = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    got = einsum(x, ["row", ("k", 1)], y, [("k", 1), None], [None, "row"])
    np.testing.assert_allclose(got, (x @ y).T)
    # labels without an order among them appear in order of appearance
    np.testing.assert_allclose(einsum(x, ["row", 7], y, [7, None]), x @ y)


def test_more_labels_than_letters() -> None:
    rng = np.random.default_rng(0)
    chain = [rng.standard_normal((2, 2)) for _ in range(80)]
    arguments = [part for i, x in enumerate(chain) for part in (x, [i, i + 1])]
    want = np.linalg.multi_dot(chain)
    np.testing.assert_allclose(einsum(*arguments, [0, 80]), want, rtol=1e-9)
    words = [chr(0x4E00 + i) for i in range(81)]
    equation = ",".join(words[i] + words[i + 1] for i in range(80)) + "->" + words[0] + words[80]
    np.testing.assert_allclose(einsum(equation, *chain), want, rtol=1e-9)


def test_one_step_over_more_than_64_labels() -> None:
    # fused axes keep a step within the axes an array may have
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((1,) * 40 + (2,) * 10), rng.standard_normal((2,) * 10 + (1,) * 40)
    got = einsum(x, list(range(50)), y, list(range(40, 90)), [])
    np.testing.assert_allclose(got, x.reshape(-1) @ y.reshape(-1))


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ab,bc->ac", [(0, 3), (3, 4)]),
        ("ab,bc->ac", [(2, 0), (0, 4)]),
        ("abz,zb->a", [(2, 0, 3), (3, 0)]),
        ("a,b,abc->c", [(2,), (0,), (2, 0, 3)]),
        ("zab,zbc->zac", [(0, 2, 3), (0, 3, 4)]),
    ],
)
def test_empty_axes(namespace, equation, shapes) -> None:
    xs = [np.ones(shape) for shape in shapes]
    got = einsum(equation, *[arrays.to(x, namespace=namespace) for x in xs])
    np.testing.assert_array_equal(arrays.to_numpy(got), np.einsum(equation, *xs))


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", arrays.DTYPES)
def test_dtype_is_kept(namespace, dtype) -> None:
    xs = [arrays.to(np.ones((3, 3)), namespace=namespace, dtype=dtype) for _ in range(3)]
    for equation in ("ab,bc,cd->ad", "ab,ab,ab->", "aa,bb,cc->abc", "ab,ab,ca->cb"):
        got = einsum(equation, *xs)
        assert arrays.dtype_name(got) == dtype
        want = np.einsum(equation, *[np.ones((3, 3))] * 3)
        np.testing.assert_allclose(arrays.to_numpy(got), want, rtol=1e-5)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_mixed_dtypes_take_the_common_one(namespace) -> None:
    a = arrays.to(np.ones((2, 3)), namespace=namespace, dtype="float32")
    b = arrays.to(1j * np.ones((3, 2)), namespace=namespace)
    got = einsum("ab,bc->ac", a, b)
    assert arrays.dtype_name(got) == "complex128"
    np.testing.assert_allclose(arrays.to_numpy(got), 3j * np.ones((2, 2)))


def test_integers_become_floats_with_a_warning() -> None:
    x = np.full((2, 2), 2**31, dtype=np.int64)
    with pytest.warns(UserWarning, match="float64"):
        got = einsum("ab,bc->ac", x, x.astype(np.float64))
    np.testing.assert_allclose(got, 2.0**63)
    with pytest.warns(UserWarning, match="float64"):
        assert einsum("a,a->", [1, 2], [3, 4]) == 11.0
    with pytest.raises(DTypeError):
        einsum("a->", np.array(["x"]))


def test_libraries_are_not_mixed() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(BackendError, match="numpy and torch"):
        einsum("a,a->", np.ones(2), torch.ones(2, dtype=torch.float64))


def test_scalars_come_back_as_arrays() -> None:
    for equation, xs in [
        ("->", [np.array(3.0)]),
        ("aa->", [np.eye(3)]),
        ("a,a->", [np.ones(3)] * 2),
    ]:
        got = einsum(equation, *xs)
        assert isinstance(got, np.ndarray)
        assert got.shape == ()
        assert got == 3.0


@pytest.mark.parametrize(
    ("equation", "shapes", "error", "words"),
    [
        ("ab,bc->ad", [(2, 3), (3, 4)], PlanError, "'d'"),
        ("ab,bc->aa", [(2, 3), (3, 4)], PlanError, "twice"),
        ("ab,bc->ac", [(2, 3)], ShapeError, "2 operands, but 1 arrays"),
        ("ab,bc->ac", [(2, 3), (3,)], ShapeError, "input 1"),
        ("ab,bc->ac", [(2, 3), (5, 4)], ShapeError, "'b'"),
        ("aa->a", [(1, 3)], ShapeError, "'a'"),
        ("a..b->ab", [(2, 3)], PlanError, "stray '.'"),
        ("a...b...->ab", [(2, 3)], PlanError, "stray '.'"),
        ("ab->a->b", [(2, 3)], PlanError, "stray '-'"),
        ("ab-a", [(2, 3)], PlanError, "stray '-'"),
        ("ab->a,b", [(2, 3)], PlanError, "stray ','"),
        ("...a->a", [(2, 3)], PlanError, "no '...'"),
        ("ab...->ab...", [(2,)], ShapeError, "2 labels beside"),
        ("...a,...a->...", [(2, 3), (4, 3)], ShapeError, "size 2"),
        ("", [], ShapeError, "1 operands, but 0 arrays"),
    ],
)
def test_bad_equations_say_why(equation, shapes, error, words) -> None:
    with pytest.raises(error, match=words) as caught:
        einsum(equation, *[np.ones(shape) for shape in shapes])
    assert isinstance(caught.value, TnetError)


def test_bad_calls_say_why() -> None:
    with pytest.raises(PlanError, match="at least one array"):
        einsum()
    with pytest.raises(PlanError, match="list of labels"):
        einsum(np.ones(2), np.ones(2))
    with pytest.raises(PlanError, match="hashable"):
        einsum(np.ones(2), [["a"]])
    with pytest.raises(PlanError, match="time, flops, size, write, combo"):
        einsum("a->", np.ones(2), objective="FLOPS")
    with pytest.raises(PlanError, match="time, flops, size, write, combo"):
        einsum("a->", np.ones(2), objective=["time"])
    with pytest.raises(InputError, match="memory"):
        einsum("a->", np.ones(2), memory="lots")


def test_lists_of_no_one_shape_and_sparse_tensors_are_refused() -> None:
    with pytest.raises(ShapeError, match="operand 0"):
        einsum("ab->a", [[1.0, 2.0], [1.0]])
    torch = pytest.importorskip("torch")
    for sparse in (torch.eye(4).to_sparse(), torch.ones(4, 4, 2)[..., 0].to_sparse()):
        with pytest.raises(BackendError, match="to_dense"):
            einsum("ab,bc->ac", sparse, torch.eye(4))


def test_labels_that_are_tuples() -> None:
    # equal to no label made here for a stretched axis or for one under an ellipsis
    x, y = np.arange(3.0).reshape(1, 3), np.arange(4.0)
    got = einsum(x, ["k", (0, 0)], y, ["k"], [(0, 0), "k"])
    np.testing.assert_array_equal(got, np.outer(x[0], y))
    z = np.arange(6.0).reshape(2, 3)
    got = einsum(z, [..., "a"], y, [(1,)], [..., "a", (1,)])
    np.testing.assert_array_equal(got, np.multiply.outer(z, y))


def test_a_diagonal_of_size_one_is_broadcast() -> None:
    one, x = np.full((1, 1), 2.0), np.arange(3.0)
    np.testing.assert_array_equal(einsum("aa,a->a", one, x), np.einsum("aa,a->a", one, x))
    with pytest.raises(ShapeError, match="'a'"):
        einsum("aa,a->a", np.ones((1, 3)), x)


def test_outputs_of_very_many_labels_are_found_in_linear_time() -> None:
    terms = tuple((i, i + 1) for i in range(20_000))
    start = time.process_time()
    spec = equation_spec(terms, None, ((2, 2),) * len(terms))
    assert spec.output == (0, 20_000)
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize("optimize", [None, True, False, "greedy", "optimal", [(0, 2), (0, 1)]])
def test_optimize_of_numpy_and_opt_einsum(optimize) -> None:
    rng = np.random.default_rng(0)
    xs = [rng.standard_normal(shape) for shape in [(3, 4), (4, 5), (5, 6)]]
    got = einsum("ab,bc,cd->ad", *xs, optimize=optimize)
    np.testing.assert_allclose(got, np.linalg.multi_dot(xs), rtol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_paths_of_numpy_and_opt_einsum_are_followed(seed) -> None:
    rng = random.Random(seed)
    equation = "ab,bc,cd,de,ef->af"
    xs = [np.ones((rng.randint(2, 9),) * 2) for _ in range(5)]
    size = xs[0].shape[0]
    xs = [np.arange(float(size * size)).reshape(size, size) / size for _ in xs]
    want = np.einsum(equation, *xs, optimize="greedy")
    for path in (
        np.einsum_path(equation, *xs, optimize="optimal")[0],
        np.einsum_path(equation, *xs, optimize=False)[0],  # one step of all five
        opt_einsum.contract_path(equation, *xs, optimize="random-greedy")[0],
    ):
        np.testing.assert_allclose(einsum(equation, *xs, optimize=path), want, rtol=1e-12)
    assert read_path([(0, 4), (0, 1, 2), (0, 1)], 5) == ((0, 4), (1, 2), (6, 3), (5, 7))
    assert read_path([(0,)], 1) == ()


@pytest.mark.parametrize(
    ("optimize", "words"),
    [
        (("greedy", 1000), "list of steps"),  # NumPy's limit on memory is `memory` here
        (3, "list of steps"),
        ([(0, 1)], "2 pairs, got 1"),
        ([(0, 3), (0, 1)], "different positions"),
        ([(0, 0), (0, 1)], "different positions"),
        ([(), (0, 1)], "different positions"),
    ],
)
def test_paths_that_cannot_be_followed(optimize, words) -> None:
    with pytest.raises(PlanError, match=words):
        einsum("a,a,a->a", *[np.ones(2)] * 3, optimize=optimize)


@pytest.mark.parametrize("other", ["out", "dtype", "order", "casting", "backend"])
def test_what_einsum_cannot_do_is_not_ignored(other) -> None:
    with pytest.raises(TypeError, match=other):
        einsum("a->", np.ones(2), **{other: None})


def test_memory_counts_the_true_dtype() -> None:
    x = np.ones((40, 40), np.float32)
    assert einsum("ab,bc->ac", x, x, memory=40 * 40 * 4).shape == (40, 40)
    with pytest.raises(MemoryBudgetError, match="12,800 bytes"):
        einsum("ab,bc->ac", x.astype(float), x, memory=40 * 40 * 4)
    with pytest.raises(MemoryError, match="nothing was allocated"):
        einsum("a,b,c->abc", *[np.ones(10**6)] * 3, memory="2GiB")
