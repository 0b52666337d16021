"""An array times itself: one copy and half the arithmetic, and never for two different arrays."""

import numpy as np
import pytest

from contraction import arrays, plan
from strategies import NAMESPACES

GRAMS = [
    ("abc,adc->bd", (4, 5, 6), True),
    ("zabc,zadc->zbd", (3, 4, 5, 6), True),
    ("azbc,azdc->zbd", (4, 3, 5, 6), True),
    ("abcd,aecf->bdef", (4, 5, 6, 3), True),
    ("abc,dbc->ad", (4, 5, 6), False),  # views: BLAS sees for itself
    ("abc,bac->c", (5, 5, 6), False),  # the same shape, but not a Gram matrix
    ("abc,cbd->ad", (5, 5, 5), False),
]


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize(("equation", "shape", "twins"), GRAMS)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_gram(namespace, equation, shape, twins, dtype) -> None:
    rng = np.random.default_rng(0)
    x, y = (arrays.random_normal(rng, shape, dtype=dtype) for _ in range(2))
    p = plan(equation, [shape, shape])
    assert p.program.steps[0].twins == twins
    one, other = (arrays.to(z, namespace=namespace) for z in (x, y))
    for pair, data in (((one, one), (x, x)), ((one, other), (x, y)), ((other, one), (y, x))):
        got = arrays.to_numpy(p.run(list(pair)))
        np.testing.assert_allclose(got, np.einsum(equation, *data), rtol=1e-10, atol=1e-12)


def test_views_of_one_memory_are_compared_by_place_and_strides() -> None:
    x = np.random.default_rng(0).standard_normal((40, 30, 30))
    p = plan("abc,adc->bd", [x.shape, x.shape])
    turned = np.asfortranarray(x)
    for first, second in ((turned, turned), (x[:], x[:]), (x, x.transpose(0, 2, 1))):
        want = np.einsum("abc,adc->bd", first, second)
        np.testing.assert_allclose(p.run([first, second]), want, rtol=1e-9, atol=1e-9)


def test_conjugated_views_are_no_twins() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x = torch.from_numpy(arrays.random_normal(rng, (4, 5, 6), dtype="complex128"))
    p = plan("abc,adc->bd", [(4, 5, 6)] * 2)
    want = np.einsum("abc,adc->bd", x.numpy(), x.numpy().conj())
    np.testing.assert_allclose(p.run([x, x.conj()]).resolve_conj().numpy(), want, rtol=1e-10)


def test_a_step_of_intermediates_is_no_gram_step() -> None:
    p = plan("ax,axb,ay,ayc->bc", [(9, 8), (9, 8, 7)] * 2, path=[(0, 1), (2, 3), (4, 5)])
    assert not p.program.steps[-1].twins
