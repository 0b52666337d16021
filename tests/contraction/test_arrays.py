import subprocess
import sys

import numpy as np
import pytest

from contraction import arrays
from contraction.errors import BackendError, DeviceError, DTypeError, NonFiniteError
from strategies import NAMESPACES


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_round_trip_through_each_namespace(namespace):
    for source in (
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6.0)[::-1].reshape(2, 3),
        np.broadcast_to(np.ones(3), (2, 3)),
        np.arange(6.0).astype(">f8").astype("=f8").reshape(2, 3) * 1j,
    ):
        kept = source.copy()
        there = arrays.to(source, namespace=namespace)
        assert arrays.namespace_name(there) == namespace
        np.testing.assert_array_equal(arrays.to_numpy(there), kept)
        np.testing.assert_array_equal(source, kept)


def test_integers_are_promoted_loudly_and_never_wrap():
    for kind in (np.uint8, np.int8, np.int64, np.bool_):
        with pytest.warns(UserWarning, match="computing in float64"):
            x = arrays.as_array(np.ones((2, 2), kind))
        assert x.dtype == np.float64


def test_narrow_and_foreign_byte_orders():
    assert arrays.as_array(np.ones(2, np.float16)).dtype == np.float32
    swapped = arrays.as_array(np.arange(3.0).astype(">f8"))
    assert swapped.dtype.isnative
    np.testing.assert_array_equal(swapped, np.arange(3.0))


@pytest.mark.parametrize(
    "bad",
    [
        np.array(["a"]),
        np.array([object()]),
        np.array(["2020-01-01"], "datetime64[D]"),
        np.ones(2, np.longdouble),
        np.zeros(2, [("a", "f8")]),
        np.ma.masked_array([1.0, 2.0], [True, False]),
    ],
)
def test_what_is_no_number_is_refused(bad):
    with pytest.raises(DTypeError):
        arrays.as_array(bad)


def test_foreign_types_are_refused():
    with pytest.raises(BackendError, match="not supported"):
        arrays.as_array({"a": 1})
    with pytest.raises(BackendError, match="one of numpy"):
        arrays.namespace_by_name("jax")


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_entries_are_counted_and_placed(namespace, bad):
    x = np.ones((3, 4, 5))
    x[1, 2, 3] = bad
    x[2, 0, 0] = bad
    with pytest.raises(NonFiniteError, match=r"2 NaN or infinite entries, the first at index \(1,"):
        arrays.require_finite(arrays.to(x, namespace=namespace))


def test_finite_entries_whose_sum_overflows_pass():
    with np.errstate(over="ignore"):
        arrays.require_finite(np.full(10, 1e308))
    arrays.require_finite(np.array([1e-310, 0.0]))
    arrays.require_finite(np.ones((0, 3)))


def test_random_numbers_are_the_same_bits_everywhere():
    drawn = []
    for namespace in NAMESPACES:
        like = arrays.to(np.zeros(1, np.complex64), namespace=namespace)
        x = arrays.random_normal(np.random.default_rng(7), (3, 4), like=like)
        assert arrays.dtype_name(x) == "complex64"
        drawn.append(arrays.to_numpy(x))
    for x in drawn:
        np.testing.assert_array_equal(x, drawn[0])


def test_mixing_is_refused():
    if "torch" not in NAMESPACES:
        pytest.skip("torch is not installed")
    import torch

    with pytest.raises(BackendError, match="numpy and torch"):
        arrays.namespace(np.ones(2), torch.ones(2))
    with pytest.raises(BackendError, match="cpu/float32"):
        arrays.common([torch.ones(2), torch.ones(2, dtype=torch.float64)])
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="no CUDA device"):
            arrays.to(torch.ones(2), device="cuda:0")
    with pytest.raises(DeviceError, match="live on the cpu"):
        arrays.to(np.ones(2), device="cuda:0")


def test_lists_xarray_and_parameters():
    assert arrays.as_array([[1.0, 2.0]]).shape == (1, 2)
    xarray = pytest.importorskip("xarray")
    assert arrays.as_array(xarray.DataArray(np.ones((2, 3)))).shape == (2, 3)
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.ones(2, 3))
    assert arrays.namespace_name(parameter) == "torch"


def test_the_gpu_probe_never_raises():
    assert arrays.gpu_available("no_such_library") is False
    assert isinstance(arrays.gpu_available("torch"), bool)


def test_global_random_state_is_untouched():
    code = (
        "import numpy as np, tnet; before = np.random.get_state()[1].tobytes();"
        "tnet.random_network(tnet.tucker((3,3,3),2), rng=np.random.default_rng(0));"
        "print(before == np.random.get_state()[1].tobytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_sums_that_overflow_do_not_disturb_the_check_of_finiteness(namespace) -> None:
    arrays.require_finite(arrays.to(np.full(10, 1e308), namespace=namespace))
    with pytest.raises(NonFiniteError, match="2 NaN or infinite entries"):
        arrays.require_finite(arrays.to(np.array([np.inf, -np.inf]), namespace=namespace))
