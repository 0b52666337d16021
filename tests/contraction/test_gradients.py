"""Gradients of plans in PyTorch: checked by its own tools, to second order, sliced and complex."""

import gc
import weakref

import pytest
from hypothesis import given

from contraction import Spec, plan, value_and_gradients
from contraction.errors import MemoryBudgetError
from contractions import random_arrays, specs
from strategies import seeds

torch = pytest.importorskip("torch")

SIZES = {"a": 2, "b": 3, "c": 2, "d": 2}
CASES = {
    "chain": Spec(["ab", "bc", "cd"], "ad", SIZES),
    "ring": Spec(["ab", "bc", "ca"], "", SIZES),
    "hyperedge": Spec(["ab", "ac", "ad"], "ba", SIZES),
    "diagonal": Spec(["aab", "bc", "dd"], "ac", SIZES),
    "sums": Spec(["abc", "cd"], "b", SIZES),
    "one": Spec(["aab"], "ba", SIZES),
    "one scalar": Spec(["ab"], "", SIZES),
    "parts": Spec(["ab", "c", "cd", ""], "ad", SIZES),
}


def tensors(spec, dtype, seed=0):
    xs, cotangent = random_arrays(spec, seed, dtype, "torch")
    return [x.requires_grad_() for x in xs], cotangent


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("slices", ["", "b", "ac"])
@pytest.mark.parametrize("case", CASES)
def test_first_and_second_derivatives(case, slices, dtype) -> None:
    spec = CASES[case]
    p = plan(spec, slices=[x for x in slices if x in spec.sizes])
    xs, _ = tensors(spec, dtype)

    def run(*values):
        return p.run(values)

    assert type(run(*xs).grad_fn).__name__ == "ContractionBackward"
    assert torch.autograd.gradcheck(run, xs)
    assert torch.autograd.gradgradcheck(run, xs)


@given(specs(), seeds)
def test_autograd_agrees_with_torch_and_with_us(spec, seed) -> None:
    xs, cotangent = tensors(spec, "complex128", seed)
    p = plan(spec)
    made = torch.autograd.grad(p.run(xs), xs, cotangent)
    operands = []
    number = {x: i for i, x in enumerate(spec.sizes)}
    for x, labels in zip(xs, spec.inputs, strict=True):
        operands += [x, [number[label] for label in labels]]
    theirs = torch.einsum(*operands, [number[label] for label in spec.output])
    want = torch.autograd.grad(theirs, xs, cotangent)
    _, ours = value_and_gradients(p, [x.detach() for x in xs], cotangent)
    for a, b, c in zip(made, want, ours, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(c, b, rtol=1e-9, atol=1e-9)


def test_the_limit_of_the_plan_holds_for_its_gradient() -> None:
    count = 12
    sizes = dict.fromkeys(range(count + 1), 3) | {0: 400}
    spec = Spec([[i, i + 1] for i in range(count)], [0, count], sizes)
    path = [(0, 1), *((count + k, k + 2) for k in range(count - 2))]
    xs, cotangent = tensors(spec, "float64")
    want = torch.autograd.grad(plan(spec, path=path).run(xs), xs, cotangent)
    everything = 8 * 400 * 3 * (count + 2)
    tight = plan(spec, path=path, memory=int(0.75 * everything))
    for made, same in zip(torch.autograd.grad(tight.run(xs), xs, cotangent), want, strict=True):
        torch.testing.assert_close(made, same, rtol=1e-9, atol=1e-9)
    small = plan(spec, path=path, memory=8 * 400 * 3 * 3)
    small.run([x.detach() for x in xs])
    with pytest.raises(MemoryBudgetError, match="nothing was allocated"):
        small.run(xs)


def test_a_graph_kept_is_used_again() -> None:
    xs, cotangent = tensors(CASES["chain"], "float64")
    made = plan(CASES["chain"]).run(xs)
    first = torch.autograd.grad(made, xs, cotangent, retain_graph=True)
    for a, b in zip(first, torch.autograd.grad(made, xs, cotangent), strict=True):
        torch.testing.assert_close(a, b)


def test_only_what_is_asked_for_is_made() -> None:
    spec = CASES["chain"]
    xs, cotangent = tensors(spec, "float64")
    xs[0].requires_grad_(False)
    p = plan(spec)
    p.run(xs).backward(cotangent)
    assert xs[0].grad is None
    want = value_and_gradients(p, [x.detach() for x in xs], cotangent, leaves=[1, 2])[1]
    torch.testing.assert_close(xs[1].grad, want[0])
    torch.testing.assert_close(xs[2].grad, want[1])
    with torch.no_grad():
        assert p.run(xs).grad_fn is None
    turned = [x.detach().T.contiguous().T.requires_grad_() for x in xs]
    grads = torch.autograd.grad(p.run(turned), turned, cotangent)
    torch.testing.assert_close(grads[1], want[0])
    mixed = [xs[0].detach().to(torch.complex128), *xs[1:]]
    (real,) = torch.autograd.grad(p.run(mixed), [xs[1]], cotangent.to(torch.complex128))
    torch.testing.assert_close(real, want[0])


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of PyTorch itself
@pytest.mark.parametrize("slices", ["", "b", "ac"])
def test_transforms_of_functions(slices) -> None:
    spec = CASES["chain"]
    p = plan(spec, slices=slices)
    xs, _ = tensors(spec, "float64")
    first, *rest = (x.detach() for x in xs)

    def run(x):
        return p.run([x, *rest])

    def squared(x):
        return (run(x) ** 2).sum()

    want = torch.autograd.functional.jacobian(run, first)
    torch.testing.assert_close(torch.func.jacrev(run)(first), want)
    torch.testing.assert_close(torch.func.jacfwd(run)(first), want)
    torch.testing.assert_close(
        torch.func.hessian(squared)(first), torch.autograd.functional.hessian(squared, first)
    )
    many = torch.stack([first, 2 * first, -first])
    torch.testing.assert_close(torch.vmap(run)(many), torch.stack([run(x) for x in many]))
    tracked = torch.vmap(lambda x: p.run([x, *xs[1:]]))(many)
    assert tracked.requires_grad
    weights = torch.randn(3, *spec.shape, dtype=torch.float64)
    batched = torch.autograd.grad(p.run(xs), xs, weights, is_grads_batched=True)
    for k, weight in enumerate(weights):
        for made, same in zip(batched, torch.autograd.grad(p.run(xs), xs, weight), strict=True):
            torch.testing.assert_close(made[k], same)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of PyTorch itself
def test_forward_mode_of_tracked_tensors() -> None:
    spec = CASES["chain"]
    p = plan(spec)
    xs, _ = tensors(spec, "float64")
    line = torch.ones_like(xs[0])
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(xs[0], line)
        made = torch.autograd.forward_ad.unpack_dual(p.run([dual, *xs[1:]])).tangent
    torch.testing.assert_close(made, p.run([line, *xs[1:]]))


def test_inference_mode_records_nothing() -> None:
    xs, _ = tensors(CASES["chain"], "float64")
    with torch.inference_mode():
        assert plan(CASES["chain"]).run(xs).is_inference()


def test_an_input_changed_in_place_is_noticed() -> None:
    xs, cotangent = tensors(CASES["chain"], "float64")
    copies = [x * 1 for x in xs]
    made = plan(CASES["chain"]).run(copies)
    copies[1].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        made.backward(cotangent)


def test_nothing_outlives_the_graph() -> None:
    xs, _ = tensors(CASES["ring"], "float64")
    alive = [weakref.ref(x) for x in xs]
    gc.disable()
    try:
        made = plan(CASES["ring"]).run(xs)
        slopes = torch.autograd.grad(made, xs, create_graph=True)
        sum(x.sum() for x in slopes).backward()
        for x in xs:
            x.grad = None
        del made, slopes, x, xs
        assert [ref() for ref in alive] == [None] * 3
    finally:
        gc.enable()


@pytest.mark.parametrize("count", [600, pytest.param(5000, marks=pytest.mark.slow)])
def test_a_deep_tree_twice(count) -> None:
    spec = Spec([[i, i + 1] for i in range(count)], [0, count], dict.fromkeys(range(count + 1), 2))
    p = plan(spec, path=[(0, 1), *((count + k, k + 2) for k in range(count - 2))])
    x = torch.eye(2, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(p.run([x] * count).sum(), x, create_graph=True)
    torch.testing.assert_close(slope, torch.full((2, 2), float(count), dtype=torch.float64))
    (second,) = torch.autograd.grad(slope.sum(), x)
    want = 2.0 * count * (count - 1)  # for every two of the factors all entries once
    torch.testing.assert_close(second, torch.full((2, 2), want, dtype=torch.float64))
