"""truncate: lower ranks on the same tree, with a guarantee on the error."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from enum import Enum

import numpy as np

from contraction.arrays import Array, Namespace, eps, namespace_by_name, to
from contraction.blas_threads import threads_for
from contraction.errors import InputError, PrecisionWarning, RankError
from contraction.linalg import qr
from contraction.svd_ladder import times_power
from contraction.triangular import gram_factor, r_factor
from contraction.truncation import Truncation, check_rank
from tnet._axes import apply_matrix, contiguous, fold, unfold
from tnet.allocation import allocate
from tnet.certificate import Certificate, ErrorKind
from tnet.gauge import balanced, fits, orthogonalize, put_back
from tnet.leaf_sweep import Limits, Swept, sweep
from tnet.network import Network
from tnet.sides import amplification, cores_of, lower_sides, upper_sides
from tnet.spectra import bond_spectra
from tnet.trees import RootedTree, rooted

SMALL_RANK = 16  # below, QR costs no more than a Gram matrix
SURE = 1e3  # a weight this many times the noise is trusted to three digits
CLEAR = 50.0  # an error this many times the rounding is exact to a few digits
BAD_GAUGE = 1e4  # noise per node, in units of eps, beyond which the network is regauged first
NOISE = 8.0  # amplitudes below NOISE eps (times the amplification) are rounding


class Rounding(Enum):
    """How `truncate` finds the singular vectors of the bonds."""

    AUTO = "auto"  # GRAM for ranks where it pays and requests it can serve, else QR_SVD
    QR_SVD = "qr+svd"  # accurate to eps
    GRAM = "gram"  # accurate to sqrt(eps); where that is not enough, QR_SVD all the same


def truncate(
    net: Network,
    truncation: Truncation | Mapping[str, int],
    *,
    method: Rounding = Rounding.AUTO,
) -> Network:
    """Lower the ranks of a tree network; the graph stays, the error is bounded.

    Parameters
    ----------
    net
        A network on any tree, in any gauge.
    truncation
        A `Truncation`: `tol` is the relative Frobenius error allowed over all bonds together,
        `max_rank` caps and `min_rank` holds up every rank, and `max_params` shares a budget of
        parameters out over the bonds by their spectra (`tnet.allocation.allocate`). Or a
        mapping bond -> largest rank; bonds that are not named keep theirs.
    method
        See `Rounding`.

    Returns
    -------
    Network
        With `center` at the old centre (the first node if that was unknown; None if the norm
        is beyond the range of the dtype) and a `certificate`: `bound` >= the true error always;
        `error` is exact (`ErrorKind.EXACT`) or equal to the bound; `discarded` and `methods` by
        bond. No rank falls below one: a zero tensor has all ranks one.

    Raises
    ------
    StructureError
        The network is no tree.
    RankError
        A mapping with an unknown bond or a rank below one, or a budget of parameters that even
        the smallest ranks exceed.
    NonFiniteError
        An array holds NaN or infinity.

    Warns
    -----
    PrecisionWarning
        `tol` is below ten times the eps of the dtype.

    Notes
    -----
    1. From the root outwards, the triangular factor R of the part above every bond
       (`tnet.sides`), by QR or by Cholesky of Gram matrices.
    2. From the leaves to the root, at each node M (with its children's bases applied): U = the
       leading left singular vectors of M R^T becomes the node, U^H M goes to the parent
       (`tnet.leaf_sweep`).

    Let P_k be the orthogonal projector onto the basis of the subtree below bond k, in the order
    of the sweep, and X_k = P_k X_{k-1}. The bases are nested, so P_j X_k = X_k for j <= k, and
    the steps X_{k-1} - X_k are orthogonal to each other: ||X - X_n||^2 = sum ||X_{k-1} - X_k||^2
    exactly. Projectors of other branches commute with P_k, so each term is at most the weight
    t_k^2 that bond k discards from the tensor with only its own subtree projected. Hence
    error^2 <= sum t_k^2, with equality if no bond is cut after a bond outside its own subtree,
    as on a path seen from its end. Otherwise error^2 = ||X||^2 - ||X_n||^2, which is quoted
    while it stands clear of the rounding. A bond may discard its equal share of what is left of
    tol^2; what it does not need goes to the bonds after it.

    `tol` counts from what the network was made from: if its certificate says that truncations
    have used up a tolerance already, only the difference is left, so truncating again with the
    same `tol` changes nothing. Drop the certificate (`net.replace({})`) to start afresh.

    Cost for a path of n nodes, mode size d, ranks r -> q: QR_SVD 2 d r^3 + O(d q r^2 + r^3) with
    the constants of QR and SVD per node; GRAM 3 d r^3 + 2 d q r^2 + O(q r^2), all in matrix
    products. Al Daas, Ballard and Manning, arXiv:2110.04393 (Gram rounding of tensor trains);
    Grasedyck, SIAM J. Matrix Anal. Appl. 31 (2010) 2029 (truncation on trees).

    Examples
    --------
    >>> import numpy as np, tnet
    >>> net = tnet.random_network(tnet.tensor_train((4, 4, 4), 4), rng=np.random.default_rng(0))
    >>> small = truncate(net, tnet.Truncation(max_rank=2))
    >>> dict(small.ranks), small.certificate.kind.value
    ({'g0-g1': 2, 'g1-g2': 2}, 'exact')
    >>> lost = np.linalg.norm(net.to_dense() - small.to_dense()) / np.linalg.norm(net.to_dense())
    >>> bool(np.isclose(lost, small.error))
    True
    """
    tree = rooted(net.structure, net.center)
    if isinstance(truncation, Mapping):
        return _cut(net, tree, Truncation(), _caps(net, truncation), method)
    if not isinstance(truncation, Truncation):
        raise InputError(
            "truncate needs a Truncation(tol=, max_rank=, max_params=) or a mapping from bond to "
            f"rank, got {type(truncation).__name__}."
        )
    if 0.0 < truncation.tol < 10.0 * eps(net.dtype):
        warnings.warn(
            f"tol={truncation.tol:.1e} is below what {net.dtype} can resolve; "
            f"expect an error of about {10.0 * eps(net.dtype):.0e}.",
            PrecisionWarning,
            stacklevel=2,
        )
    budget, top = truncation.max_params, truncation.max_rank
    if budget is None or net.num_params <= budget or truncation.tol or top is not None:
        caps = {bond: top for bond in net.ranks if top is not None and net.ranks[bond] > top}
        small = _cut(net, tree, truncation, caps, method)
        if budget is None or small.num_params <= budget:
            return small
    ranks = allocate(
        bond_spectra(net),
        net.structure,
        budget,
        min_rank=truncation.min_rank,
        max_rank=top,
    )
    return _cut(net, tree, Truncation(min_rank=truncation.min_rank), ranks, method)


def _caps(net: Network, ranks: Mapping[str, int]) -> dict[str, int]:
    for bond, rank in ranks.items():
        if bond not in net.ranks:
            raise RankError(
                f"there is no bond {bond!r} to truncate; the bonds are {list(net.ranks)[:12]}."
            )
        check_rank(rank, f"rank of {bond}")
    return {bond: int(rank) for bond, rank in ranks.items() if rank < net.ranks[bond]}


def _cut(
    net: Network, tree: RootedTree, truncation: Truncation, caps: Mapping[str, int], how: Rounding
) -> Network:
    """Truncate by the method asked for, or by the cheapest that is accurate enough."""
    spent = None if net.certificate is None else net.certificate.allowed
    used = spent or 0.0
    fresh = spent is None or truncation.tol > used
    tol = (truncation.tol - used) / (1.0 + used) if fresh else None
    cut: _Cut | None = None
    with threads_for(2.0 * net.num_params * max(net.ranks.values(), default=1)):
        if how is Rounding.GRAM or (how is Rounding.AUTO and _promising(net, tol, caps)):
            cut = _attempt(net, tree, truncation, tol, caps, gram=True)
        if cut is None:
            cut = _attempt(net, tree, truncation, tol, caps, gram=False)
    assert cut is not None
    return _network(net, tree, cut, max(truncation.tol, used))


def _promising(net: Network, tol: float | None, caps: Mapping[str, int]) -> bool:
    """Tell whether the Gram way may be accurate enough and is worth trying."""
    ranks = net.ranks.values()
    if max(ranks, default=1) <= SMALL_RANK or tol is None:
        return False
    nodes = len(net.arrays)
    return tol * tol >= SURE * nodes * nodes * eps(net.dtype) if tol else bool(caps)


class _Cut:
    """A sweep with the rounding noise of the squares (`noise`) and of the result (`unit`)."""

    def __init__(self, swept: Swept, noise: float, unit: float) -> None:
        self.swept, self.noise, self.unit = swept, noise, unit


def _attempt(
    net: Network,
    tree: RootedTree,
    truncation: Truncation,
    tol: float | None,
    caps: Mapping[str, int],
    *,
    gram: bool,
    least: float = 1.0,
) -> _Cut | None:
    """Sweep once; None if the Gram way turned out too inaccurate for what was asked.

    `least` is rounding noise that the network has already, in units of eps.
    """
    cores = cores_of(net)
    factor = gram_factor if gram else r_factor
    lower = lower_sides(net, tree, cores, factor, every=False)
    upper = upper_sides(net, tree, cores, lower, factor)
    lost, bonds, unit = amplification(net, tree, cores, upper), len(upper), eps(net.dtype)
    if not gram and lost > BAD_GAUGE * len(cores) and net.center is None:
        even = balanced(net, tree)
        cores = cores_of(even)
        lower = lower_sides(even, tree, cores, factor, every=False)
        # what stays is no matter of scales: parts that cancel, which no gauge can bring back
        stays = amplification(even, tree, cores, upper_sides(even, tree, cores, lower, factor))
        better = orthogonalize(even, tree.root)
        return _attempt(better, tree, truncation, tol, caps, gram=False, least=stays)
    lost = max(lost, least)
    rounding = NOISE * unit * math.sqrt(lost)
    noise = unit * lost if gram else rounding**2
    # what counts as zero: the noise along the signal only, since the rest is an estimate
    aligned = max((side.aligned for side in upper.values()), default=1.0)
    floor = NOISE * unit * aligned if gram else (NOISE * unit) ** 2 * aligned
    budget: float | None = None
    if tol is not None:
        budget = max(max(tol - rounding, 0.0) ** 2 - bonds * noise, 0.0)
        if gram and tol and budget < SURE * noise * bonds:
            return None
    limits = Limits(budget=budget, floor=floor, caps=caps, min_rank=truncation.min_rank)
    swept = sweep(net, tree, cores, upper, limits, gram=gram)
    if gram and not tol and _unsure(swept, noise):
        return None
    return _Cut(swept, noise, rounding)


def _unsure(swept: Swept, noise: float) -> bool:
    """Tell whether so little was cut that the figure would be mostly rounding noise."""
    return sum(swept.tails.values()) < SURE * noise * len(swept.tails)


def _network(net: Network, tree: RootedTree, cut: _Cut, allowed: float) -> Network:
    """Build the network and its certificate from a sweep."""
    xp = namespace_by_name(net.namespace)
    swept = cut.swept
    if swept.zero:
        certificate = Certificate(error=0.0, kind=ErrorKind.EXACT, bound=0.0, allowed=allowed)
        return _certified(_zero(net, tree.root), net, certificate)
    arrays = dict(swept.arrays)
    _shed(net, tree, arrays, xp)
    center: str | None = tree.root
    if fits(arrays[tree.root], swept.shift, xp):
        arrays[tree.root] = put_back(arrays[tree.root], swept.shift, xp)
    else:  # no node can hold the norm: every node takes a part, and none is the centre
        part, rest = divmod(swept.shift, len(arrays))
        arrays = {
            node: times_power(x, part + (k < rest)) for k, (node, x) in enumerate(arrays.items())
        }
        center = None
    small = net.replace(arrays, center=center)
    total = sum(swept.tails.values())
    noise = len(tree.bond) * cut.noise  # uncut bonds too: their bases are no better
    bound = math.sqrt(total + noise) + cut.unit
    lost = max(1.0 - swept.kept, 0.0)
    clear = CLEAR * cut.unit  # below, the rounding of the network itself shows
    if not tree.bond:
        return _certified(
            small, net, Certificate(error=0.0, kind=ErrorKind.EXACT, bound=0.0, allowed=allowed)
        )
    if swept.nested and total >= max(SURE * noise, clear**2):
        error, kind = math.sqrt(total), ErrorKind.EXACT
    elif lost >= max(10.0 * SURE * eps(net.dtype) * len(arrays), SURE * noise, clear**2):
        error, kind = min(math.sqrt(lost), bound), ErrorKind.EXACT
    else:
        error, kind = bound, ErrorKind.BOUND
    certificate = Certificate(
        error=error,
        kind=kind,
        bound=bound,
        discarded={bond: math.sqrt(tail) for bond, tail in swept.tails.items()},
        methods=swept.methods,
        allowed=allowed,
    )
    return _certified(small, net, certificate)


def _zero(net: Network, center: str) -> Network:
    """Return the zero tensor with all ranks one: unit vectors around a zero centre."""
    arrays = {}
    for node, legs in net.structure.nodes:
        unit = np.zeros([1 if leg in net.ranks else net.structure.size[leg] for leg in legs])
        unit.reshape(-1)[0] = 0.0 if node == center else 1.0
        arrays[node] = to(unit, namespace=net.namespace, device=net.device, dtype=net.dtype)
    return net.replace(arrays, center=center)


def _certified(small: Network, net: Network, new: Certificate) -> Network:
    """Attach a certificate, composed with the one that the network came with."""
    old = net.certificate
    if old is not None:
        grown = 1.0 + old.error  # the norm of the network over that of what it approximates
        error = old.error + grown * new.error
        kinds = {old.kind, new.kind}
        kind = ErrorKind.BOUND
        if ErrorKind.ESTIMATE in kinds:
            kind = ErrorKind.ESTIMATE
        elif kinds == {ErrorKind.EXACT} and 0.0 in (old.error, new.error):
            kind = ErrorKind.EXACT
        both = dict(old.discarded)
        for bond, weight in new.discarded.items():
            both[bond] = math.hypot(both.get(bond, 0.0), weight)
        new = Certificate(
            error=error,
            kind=kind,
            bound=old.bound + (1.0 + old.bound) * new.bound,
            discarded=both,
            methods={**old.methods, **new.methods},
            allowed=new.allowed,
        )
    return Network(small.structure, small.arrays, small.center, new)


def _shed(net: Network, tree: RootedTree, arrays: dict[str, Array], xp: Namespace) -> None:
    """Drop ranks that the upper node has no room for: r above the product of its other legs.

    The rows of such a node are a matrix (others, r) = L W with W^T an isometry (r, others); W
    goes into the child, which stays an isometry.
    """
    for node in tree.pre_order:
        x = arrays[node]
        for child in tree.children[node]:
            axis = net.structure.legs[node].index(tree.bond[child])
            others = math.prod(x.shape) // x.shape[axis]
            if x.shape[axis] <= others:
                continue
            rows = unfold(x, axis, xp)
            Q, R = qr(rows.T)  # type: ignore[attr-defined]
            x = contiguous(fold(R.T, tuple(x.shape), axis, xp))  # type: ignore[attr-defined]
            where = net.structure.legs[child].index(tree.bond[child])
            arrays[child] = apply_matrix(arrays[child], Q.T, where, xp)  # type: ignore[attr-defined]
        arrays[node] = x
