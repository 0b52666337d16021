"""Gradients of plans in PyTorch: checked by its own tools, to second order, sliced and complex."""

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
