"""Uncertain transport: mean and variance of the density, and one pair of parameters alone."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

import contraction
from contraction import arrays as arrays_
from integrators.models.model import Model
from integrators.models.transport_models import Transport
from tnet.evaluation import select
from tnet.network import Network
from tnet.operators.terms import Term


class Spread(NamedTuple):
    """Mean and variance of the density (all directions together), by cell."""

    mean: np.ndarray[Any, np.dtype[np.float64]]
    variance: np.ndarray[Any, np.dtype[np.float64]]


def density_spread(problem: Transport, state: Network) -> Spread:
    """Return mean and variance of the density over xi and eta in every cell.

    Parameters
    ----------
    problem
        What `state` solves.
    state
        Network over the sites x, angle, xi, eta of the problem.

    Returns
    -------
    Spread
        Two NumPy vectors of shape (cells,).

    Raises
    ------
    StructureError
        A state without those sites.

    Notes
    -----
    The square is summed from the network as it is, without the full tensor: O(r^4) flops and
    O(cells r^2) memory at rank r.

    Examples
    --------
    >>> import tnet
    >>> from integrators.models import plane_source
    >>> problem = plane_source(cells=11, moments=4, nodes=3, source_width=0.5)
    >>> start = tnet.product_state(problem.tree, problem.start)
    >>> found = density_spread(problem, start)
    >>> round(float(found.mean.sum() * problem.cell), 3), bool(found.variance.max() < 1e-12)
    (1.0, True)
    """
    density = select(state, {"angle": 0})
    root = np.sqrt(problem.weights)
    layer = [(density[node], list(legs)) for node, legs in density.structure.legs.items()]
    like = layer[0][0]
    weights = [(_like(root, like), ["xi"]), (_like(root, like), ["eta"])]
    mean = _einsum([*layer, *weights], ["x"])
    twin = {bond: f"{bond}'" for bond in density.structure.bonds}
    other = [(x, [twin.get(leg, leg) for leg in legs]) for x, legs in layer]
    square = _einsum([*layer, *other], ["x"])
    cells, unit = len(problem.grid), problem.unit
    return Spread(unit * mean[:cells], unit**2 * (square - mean**2)[:cells])


def collocated(problem: Transport, xi: int, eta: int) -> Model:
    """Return the problem for one pair of known parameters: what collocation would solve.

    Parameters
    ----------
    problem
        With uncertain parameters.
    xi, eta
        Numbers of the nodes, from 0 on.

    Returns
    -------
    Model
        Sites x and angle. The array of the state at those nodes, divided by the square roots of
        their weights, solves it.

    Examples
    --------
    >>> from integrators.models import plane_source
    >>> dict(collocated(plane_source(cells=11, moments=4, nodes=3), 0, 2).sites)
    {'x': 11, 'angle': 4}
    """
    chosen = {"xi": xi, "eta": eta}
    terms = []
    for term in problem.model:
        assert isinstance(term, Term)  # all transport problems are written in those
        values = [
            complex(m.diagonal()[chosen[s]]).real for s, m in term.factors.items() if s in chosen
        ]
        kept = {site: m for site, m in term.factors.items() if site not in chosen}
        terms.append(Term(term.coefficient * math.prod(values), kept))
    return Model({s: n for s, n in problem.model.sites.items() if s not in chosen}, tuple(terms))


def _einsum(parts: list[tuple[Any, list[str]]], output: list[str]) -> Any:
    number: dict[str, int] = {}
    operands: list[Any] = []
    for x, legs in parts:
        operands += [x, [number.setdefault(leg, len(number)) for leg in legs]]
    return arrays_.to_numpy(contraction.einsum(*operands, [number[leg] for leg in output]))


def _like(x: Any, like: Any) -> Any:
    return arrays_.to(
        x,
        namespace=arrays_.namespace_name(like),
        device=arrays_.device(like),
        dtype=arrays_.dtype_name(like),
    )
