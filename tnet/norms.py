"""Inner products, norms and distances of networks."""

from __future__ import annotations

import math
import warnings

from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.errors import NonFiniteError, PrecisionWarning
from tnet.alignment import is_same_graph, require_same_modes, same_kind
from tnet.dense_error import dense_distance
from tnet.inner_products import scaled_inner
from tnet.network import Network, contract
from tnet.scaling import array_norm
from tnet.tree_distance import scaled_distance

DENSE_ENTRIES = 1 << 22  # below this many entries a dense comparison is always affordable


def inner(a: Network, b: Network) -> complex:
    """Return the inner product of two tensors, sum of conj(a) * b, as a Python number.

    Parameters
    ----------
    a, b
        Networks with the same modes, of any two graphs, in one namespace and on one device.

    Returns
    -------
    float or complex
        A float if both networks are real.

    Raises
    ------
    StructureError, ShapeError
        The modes differ.
    NonFiniteError
        An array holds NaN or infinity, or the product is beyond the range of a float64
        (then `log_norm` may help).

    Notes
    -----
    On one tree: two matrix products per node; for a tensor train of rank r and mode size d,
    4 d r^3 flops per node and r^2 numbers of memory. Otherwise the cost of the merged plan.

    Examples
    --------
    >>> import numpy as np
    >>> from tnet.formats import tensor_train, tucker
    >>> from tnet.network import random_network
    >>> a = random_network(tensor_train((2, 3, 4), 2), rng=np.random.default_rng(0))
    >>> b = random_network(tucker((2, 3, 4), 2), rng=np.random.default_rng(1))
    >>> dense = float(np.sum(a.to_dense() * b.to_dense()))
    >>> abs(inner(a, b) - dense) < 1e-12
    True
    """
    value, exponent = scaled_inner(a, b)
    if isinstance(value, complex):
        return complex(_number(value.real, exponent), _number(value.imag, exponent))
    return _number(value, exponent)


def norm(net: Network) -> float:
    """Return the Frobenius norm of the full tensor.

    With a known centre this is the norm of the centre's array, exact to rounding. Otherwise it
    is the root of `inner(net, net)`: exact to rounding too unless the network is a difference
    of nearly equal parts, whose norm is lost below sqrt(eps) times theirs; `distance` and
    `orthogonalize` do not have that floor.

    Raises
    ------
    NonFiniteError
        An array holds NaN or infinity, or the norm is beyond the range of a float64
        (`log_norm` gives its logarithm).

    Examples
    --------
    >>> import numpy as np
    >>> from tnet.formats import tensor_train
    >>> net = Network(tensor_train((2, 2), 1), {"g0": np.ones((2, 1)), "g1": np.ones((1, 2))})
    >>> norm(net)
    2.0
    """
    return _number(*_scaled_norm(net))


def log_norm(net: Network) -> float:
    """Return the natural logarithm of the Frobenius norm; minus infinity for a zero tensor.

    No length or scale of the network makes it overflow. On graphs that are no trees a power of
    two is spread evenly over the arrays until the contraction fits the range of the dtype.

    Raises
    ------
    NonFiniteError
        An array holds NaN or infinity, or a network with cycles leaves the range of its dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from tnet.formats import tensor_train
    >>> big = tensor_train((10,) * 500, 1)
    >>> net = Network(big, {n: np.ones(big.node_shape(n)) for n in big.node_names})
    >>> float(round(log_norm(net) / np.log(10.0), 9))
    250.0
    """
    value, exponent = _scaled_norm(net)
    return math.log(value) + exponent * math.log(2.0) if value else -math.inf


def distance(a: Network, b: Network) -> float:
    """Return the Frobenius norm of a - b.

    On one tree the difference network is orthogonalised, which is exact to rounding (a few eps
    times the larger norm) at any length. Otherwise |a|^2 + |b|^2 - 2 Re<a, b> is used, which
    cannot see below sqrt(eps) times the norms; a distance that small is computed from the dense
    tensors if they have no more than 4 million entries, and comes with a `PrecisionWarning` if
    they have more.

    Raises
    ------
    StructureError, ShapeError
        The modes differ.
    NonFiniteError
        An array holds NaN or infinity, or the distance is beyond the range of a float64
        (`relative_error` may still be found).

    Notes
    -----
    On a tree: one QR per node, with as many columns as a and b have ranks together; about
    8 m r^2 flops for nodes of m r entries each. Otherwise the cost of three inner products.

    Examples
    --------
    >>> import numpy as np
    >>> from tnet.formats import tucker
    >>> from tnet.network import random_network
    >>> net = random_network(tucker((2, 3, 4), 2), rng=np.random.default_rng(0))
    >>> distance(net, net) < 1e-14, abs(distance(net, 2.0 * net) / norm(net) - 1.0) < 1e-14
    (True, True)
    """
    return _number(*_scaled_distance(a, b))


def relative_error(net: Network, x: Network | Array) -> float:
    """Return ||net - x|| / ||x||, for a dense array or a network `x`.

    A dense `x` is compared block by block along its longest mode, so that beside `x` itself
    (which may be memory-mapped) no more than one block is in memory; the figure is exact to
    rounding. A network is compared by `distance`. For x = 0 the error is zero or infinite.

    Parameters
    ----------
    net
        Any network.
    x
        An array of the shape of `net`, in the same namespace and on the same device (any real
        or complex dtype, integers too), or a network with the same modes.

    Raises
    ------
    ShapeError
        The shape of `x` is not that of the network.
    BackendError
        `x` lives in another namespace or on another device.
    NonFiniteError
        `x` or the network holds NaN or infinity.

    Examples
    --------
    >>> import numpy as np
    >>> from tnet.formats import tensor_train
    >>> net = Network(tensor_train((2, 2), 1), {"g0": np.ones((2, 1)), "g1": np.ones((1, 2))})
    >>> relative_error(net, np.array([[1.0, 1.0], [1.0, 0.0]]))
    0.5773502691896258
    """
    if isinstance(x, Network):
        (away, p), (size, q) = _scaled_distance(net, x), _scaled_norm(x)
        shift = max(-4000, min(4000, p - q))  # beyond it the ratio is zero or infinite
    else:
        away, size = dense_distance(net, x)
        shift = 0
    if size == 0.0:
        return 0.0 if away == 0.0 else math.inf
    return _number(away / size, shift)


def _number(value: float, exponent: int) -> float:
    """Return value 2^exponent, or raise if no float64 can hold it."""
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        size = math.log10(abs(value)) + exponent * math.log10(2.0)
        raise NonFiniteError(
            f"the result is about 1e{size:.0f}, beyond the range of a float64; use log_norm or "
            "relative_error, or scale the network first (tnet.scale)."
        ) from None


def _scaled_norm(net: Network) -> tuple[float, int]:
    """Return (value, exponent) with ||net|| = value 2^exponent."""
    if net.center is not None:
        return array_norm(net[net.center]), 0
    value, exponent = scaled_inner(net, net)
    odd = exponent % 2
    return math.sqrt(max(value.real, 0.0) * 2.0**odd), (exponent - odd) // 2


def _scaled_distance(a: Network, b: Network) -> tuple[float, int]:
    """Return (value, exponent) with ||a - b|| = value 2^exponent."""
    require_same_modes(a.structure, b.structure)
    a, b = same_kind(a, b)
    if a.structure.is_tree and is_same_graph(a.structure, b.structure):
        return scaled_distance(a, b)
    return _distance_by_products(a, b)


def _distance_by_products(a: Network, b: Network) -> tuple[float, int]:
    pairs = [scaled_inner(a, a), scaled_inner(b, b), scaled_inner(a, b)]
    most = max((exponent for value, exponent in pairs if value), default=0)
    most += most % 2
    aa, bb, ab = (math.ldexp(value.real, exponent - most) for value, exponent in pairs)
    found = math.sqrt(max(math.fsum((aa, bb, -2.0 * ab)), 0.0))
    floor = 100.0 * math.sqrt(arrays_.eps(a.dtype) * max(aa, bb))
    if found > floor or max(aa, bb) == 0.0:
        return found, most // 2
    if math.prod(a.shape) <= DENSE_ENTRIES:
        return array_norm(contract(a) - contract(b, a.structure.modes)), 0
    warnings.warn(
        f"the distance is below {floor / math.sqrt(max(aa, bb)):.1e} of the norm, where inner "
        f"products lose it to cancellation; {_number(found, most // 2):.1e} is an estimate.",
        PrecisionWarning,
        stacklevel=4,
    )
    return found, most // 2
