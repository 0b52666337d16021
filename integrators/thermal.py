"""thermal_state: exp(-beta H) as a purification, cooled from infinite temperature on any tree."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from contraction.errors import InputError
from contraction.truncation import Truncation, check_rank
from integrators.binding import bind, dtype_for
from integrators.cutting import cut
from integrators.frame import frame_of
from integrators.seeding import seeded
from integrators.steppers.base import AbstractStepper
from integrators.steppers.tdvp import TDVP
from integrators.sweeping.expectation import energy_of
from integrators.tree_state import TreeState
from tnet.network import Network
from tnet.operators.tree_operator import SparseCore, TreeOperator
from tnet.structure import Structure

SEEDED_RANK = 8
Numbers = np.ndarray[Any, np.dtype[np.float64]]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Thermal:
    """A thermal state, and the way to it.

    Attributes
    ----------
    state
        Purification of norm one: beside every mode ``m`` its ancilla ``m'`` on the same node.
        <state| O |state> is Tr(exp(-beta H) O) / Z for every O on the modes without a dash;
        `lifted(O)` acts there.
    beta
        Inverse temperature.
    energy
        <H>, in the units of H.
    log_partition
        ln Tr exp(-beta H).
    betas, energies, log_partitions
        The same at every step from infinite temperature.
    error
        Sum over steps of the relative Frobenius errors of truncations (an estimate: what a step
        of the integrator itself loses is not in it).
    """

    state: Network = field(repr=False)
    beta: float
    energy: float
    log_partition: float
    betas: Numbers = field(repr=False)
    energies: Numbers = field(repr=False)
    log_partitions: Numbers = field(repr=False)
    error: float

    @property
    def free_energy(self) -> float:
        """-ln Z / beta; minus infinity at infinite temperature."""
        return -self.log_partition / self.beta if self.beta else -math.inf

    @property
    def entropy(self) -> float:
        """Entropy of the thermal state, in nats: beta <H> + ln Z."""
        return self.beta * self.energy + self.log_partition


def thermal_state(
    operator: TreeOperator,
    beta: float,
    *,
    steps: int,
    stepper: AbstractStepper | None = None,
) -> Thermal:
    """Cool the state of infinite temperature to exp(-beta H) / Z in imaginary time.

    Parameters
    ----------
    operator
        A Hermitian `tnet.operator`.
    beta
        Inverse temperature, not negative.
    steps
        Number of equal steps; each is beta / (2 steps) of imaginary time.
    stepper
        `TDVP(truncation=Truncation(tol=1e-7, max_rank=64))` by default. Its truncation is meant
        per unit of imaginary time. For long steps or very different scales of energy use a BUG
        method, which has no backward parts.

    Returns
    -------
    Thermal
        The state, its energy and ln Z, and both at all temperatures on the way.

    Raises
    ------
    InputError
        The operator is not Hermitian, `beta` is negative, or there is no step.

    Notes
    -----
    A pair of maximally entangled modes per site, evolved by exp(-beta H / 2) on one of each
    (Verstraete, Garcia-Ripoll and Cirac, PRL 93 (2004) 207204). The norm is taken out after
    every step: ln Z never overflows. Ranks grow with beta up to the square of those of the
    ground state.

    Examples
    --------
    >>> import tnet
    >>> tree = tnet.tensor_train({"a": 2, "b": 2})
    >>> found = thermal_state(tnet.operator(tree, [(1.0, {"a": "z", "b": "z"})]), 1.0, steps=4)
    >>> bool(abs(found.energy + np.tanh(1.0)) < 1e-6)
    True
    """
    if not operator.hermitian:
        raise InputError("the operator is not Hermitian, so it has no thermal states.")
    if not 0.0 <= beta < math.inf:
        raise InputError(f"`beta` is a finite number >= 0, got {beta!r}.")
    check_rank(steps, "steps")
    stepper = stepper or TDVP(truncation=Truncation(tol=1e-7, max_rank=64))
    whole = lifted(operator)
    net = infinite_temperature(operator.structure, dtype=dtype_for(operator, "float64"))
    frame = frame_of(net.structure)
    state = TreeState.from_network(net, frame)
    driven = bind(-1.0 * whole, frame, state.cores[0])
    most = stepper.truncation.max_rank or SEEDED_RANK
    state = seeded(state, driven, min(SEEDED_RANK, most))
    h = beta / (2 * steps)
    rule = dataclasses.replace(stepper.truncation, tol=min(stepper.truncation.tol * h, 0.5))
    sizes = operator.structure.size
    log_z = [math.fsum(math.log(sizes[mode]) for mode in operator.structure.modes)]
    energies, error = [-energy_of(driven, state)], 0.0
    for k in range(steps):
        done = cut(stepper.step(driven, k * h, h, state).state, rule)
        size = done.state.norm
        state = done.state.with_cores({0: done.state.cores[0] * (1.0 / size)})
        log_z.append(log_z[-1] + 2.0 * math.log(size))
        energies.append(-energy_of(driven, state))
        error += done.error
    return Thermal(
        state=state.to_network(),
        beta=beta,
        energy=energies[-1],
        log_partition=log_z[-1],
        betas=np.linspace(0.0, beta, steps + 1),
        energies=np.array(energies),
        log_partitions=np.array(log_z),
        error=error,
    )


def lifted(operator: TreeOperator) -> TreeOperator:
    """Return an operator on a tree where every mode has an ancilla, which it leaves alone.

    Examples
    --------
    >>> import tnet
    >>> h = tnet.operator(tnet.tensor_train({"a": 2, "b": 2}), [(1.0, {"a": "z"})])
    >>> lifted(h).structure.modes
    ('a', 'b', "a'", "b'")
    """
    structure = with_ancillas(operator.structure)
    cores = {}
    for node, legs in operator.structure.nodes:
        channels, weights = operator.cores[node]
        mine = [legs.index(leg) if leg in legs else -1 for leg in structure.legs[node]]
        wide = np.zeros((len(weights), len(mine)), dtype=np.int64)
        for k, column in enumerate(mine):
            if column >= 0:
                wide[:, k] = channels[:, column]
        cores[node] = SparseCore(wide, weights)
    plain = {f"{mode}'": (np.eye(structure.size[mode]),) for mode in operator.structure.modes}
    return TreeOperator(structure, {**operator.locals, **plain}, cores, operator.error)


def with_ancillas(structure: Structure) -> Structure:
    """Return the tree with an ancilla ``m'`` beside every mode ``m``.

    Examples
    --------
    >>> import tnet
    >>> with_ancillas(tnet.tensor_train({"a": 2, "b": 3})).legs["g1"]
    ('g0-g1', 'b', "b'")
    """
    modes = set(structure.modes)
    nodes = {}
    for node, legs in structure.nodes:
        nodes[node] = [x for leg in legs for x in ((leg, f"{leg}'") if leg in modes else (leg,))]
    sizes = {**structure.size, **{f"{m}'": structure.size[m] for m in structure.modes}}
    return Structure(nodes, sizes, (*structure.modes, *(f"{m}'" for m in structure.modes)))


def infinite_temperature(structure: Structure, *, dtype: str = "float64") -> Network:
    """Return the purification of the maximally mixed state, of norm one and rank one.

    Examples
    --------
    >>> import tnet
    >>> net = infinite_temperature(tnet.tensor_train({"a": 2, "b": 2}))
    >>> round(float(tnet.norm(net)), 12), dict(net.ranks)
    (1.0, {'g0-g1': 1})
    """
    whole = with_ancillas(structure)
    whole = whole.resized(dict.fromkeys(whole.bonds, 1))
    arrays = {}
    for node, legs in whole.nodes:
        x = np.ones((), dtype=dtype)
        for leg in legs:
            if f"{leg}'" in whole.size:
                n = whole.size[leg]
                x = np.multiply.outer(x, np.eye(n, dtype=dtype) / math.sqrt(n))
        arrays[node] = x.reshape(whole.node_shape(node))
    return Network(whole, arrays)
