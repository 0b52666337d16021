"""Schmidt spectra: the singular values of the full tensor across every bond of a tree."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from contraction.arrays import to_numpy
from contraction.errors import InputError
from contraction.linalg import singular_values
from contraction.triangular import r_factor
from tnet.network import Network
from tnet.sides import cores_of, lower_sides, upper_sides
from tnet.trees import rooted

Spectrum: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


def bond_spectra(net: Network) -> dict[str, Spectrum]:
    """Return the singular values of the tensor across every bond, descending.

    Parameters
    ----------
    net
        A network on any tree.

    Returns
    -------
    dict
        Bond -> float64 array of min(rank, size of a side) absolute singular values of the
        matrix whose rows are the modes on one side of the bond and whose columns are those on
        the other. The squares of each spectrum sum to the squared norm of the tensor.

    Raises
    ------
    StructureError
        The network is no tree.
    NonFiniteError
        An array holds NaN or infinity.
    InputError
        A singular value is beyond the range of float64.

    Notes
    -----
    One upward and one downward pass of QR factorisations without Q (`tnet.sides`), two per
    bond, and the singular values of one r x r matrix per bond; linear in the number of nodes.
    With a known centre the upward pass is free. Absolute accuracy about eps times the norm.
    Nothing of the size of the tensor is ever formed. Hierarchical singular values: Grasedyck,
    SIAM J. Matrix Anal. Appl. 31 (2010) 2029, section 4, by QR instead of Gram matrices.

    Examples
    --------
    >>> import tnet
    >>> net = tnet.Network(tnet.tensor_train((2, 2), 2), {"g0": np.eye(2), "g1": np.diag([3, 1.0])})
    >>> bond_spectra(net)
    {'g0-g1': array([3., 1.])}
    """
    tree = rooted(net.structure, net.center)
    cores = cores_of(net)
    lower = lower_sides(net, tree, cores, r_factor, every=True)
    upper = upper_sides(net, tree, cores, lower, r_factor)
    found: dict[str, Spectrum] = {}
    for node, bond in tree.bond.items():
        low, up = lower[node], upper[node]
        assert up.R is not None
        matrix: Any = up.R if low.R is None else low.R @ up.R.T  # type: ignore[attr-defined]
        values = np.asarray(to_numpy(singular_values(matrix)), dtype=np.float64)
        with np.errstate(over="ignore"):
            found[bond] = np.ldexp(values, low.shift + up.shift)
        if not np.isfinite(found[bond]).all():
            raise InputError(
                f"a singular value of bond {bond!r} is about 2^{low.shift + up.shift}, beyond "
                f"the range of float64; scale the network down first."
            )
    return {bond: found[bond] for bond in net.structure.bonds}
