"""Gradients of plans in PyTorch: checked by its own tools, to second order, sliced and complex."""

import pytest
from hypothesis import given

from contraction import Spec, plan, value_and_gradients
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
