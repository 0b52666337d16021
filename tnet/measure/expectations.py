"""Expectation values and variances of operators on a whole tree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from contraction import arrays as arrays_
from contraction.errors import DTypeError, StructureError
from tnet.algebra import apply
from tnet.alignment import aligned, is_same_graph, same_kind
from tnet.measure.canonical import Centred, as_complex, centred, require_numbers
from tnet.measure.deviation import centred_operator, squared
from tnet.measure.operator_sweep import Channels, sweep
from tnet.network import Network, scale
from tnet.norms import distance, inner
from tnet.operators.entry import operator
from tnet.operators.terms import Pairs, Term
from tnet.operators.tree_operator import TreeOperator
from tnet.structure import Structure


def expectation(state: Network, op: Any) -> float | complex:
    """Return <state|op|state> / <state|state>.

    Parameters
    ----------
    state
        A network on any tree, of any norm but zero.
    op
        A `TreeOperator` on the same graph; a `Term`, a plain ``(coefficient, {site: operator})``
        or an iterable of them (compiled by `tnet.operator`, fermionic strings included; compile
        it yourself if you ask more than once); or an operator network (see `operator_structure`).

    Returns
    -------
    float or complex
        A float if state and operator are real, or the operator is Hermitian.

    Raises
    ------
    StructureError
        The state is no tree, or the operator acts on another graph.
    InputError
        The state is zero.
    NonFiniteError
        The value came out as NaN or infinity.

    Notes
    -----
    One sweep from the leaves to the orthogonality centre. Per node of a tensor train of rank r
    and mode size n, 4 n r^3 flops for every channel that is no identity. An operator network
    that does not fit the tree node by node is applied and multiplied out by the planner.

    Examples
    --------
    >>> import tnet
    >>> chain = tnet.tensor_train({"a": 2, "b": 2})
    >>> state = tnet.product_state(chain, {"a": [1, 1], "b": 0})
    >>> value = expectation(state, [(3.0, {"a": "x", "b": "z"}), (1.0, {"a": "z"})])
    >>> round(value, 12)
    3.0
    """
    held = centred(state)
    if isinstance(op, Network) and not _fits(op.structure, held.net.structure):
        a, b = same_kind(held.net, op)
        return _number(complex(inner(a, apply(b, a))), f"the expectation value of {op!r}", False)
    compiled = as_operator(op, held.net.structure)
    held = _beside(held, compiled)
    value = _value(held, compiled)
    return _number(value, "the expectation value", _is_real(held, compiled))


def variance(state: Network, op: Any) -> float:
    """Return the variance ||(op - <op>) state||^2 / <state|state>, without cancellation.

    Parameters
    ----------
    state, op
        As for `expectation`.

    Returns
    -------
    float
        For a Hermitian operator <op^2> - <op>^2. Never negative.

    Raises
    ------
    StructureError, InputError, NonFiniteError
        As for `expectation`.

    Notes
    -----
    What the operator is below every bond is shifted by its own expectation value first, so that
    what is squared are deviations: an eigenstate of energy E per site gives eps times the number
    of sites or so, not eps (N E)^2. One sweep over pairs of channels: w^2 times the cost of a
    channel for an operator of rank w. An operator network that does not fit the tree node by node
    is applied, and the distance of the two networks taken.

    Examples
    --------
    >>> import tnet
    >>> chain = tnet.tensor_train({"a": 2, "b": 2})
    >>> state = tnet.product_state(chain, {"a": [1, 1], "b": 0})
    >>> round(variance(state, [(1.0, {"a": "z"}), (1.0, {"b": "z"})]), 12)
    1.0
    """
    held = centred(state)
    if isinstance(op, Network) and not _fits(op.structure, held.net.structure):
        a, b = same_kind(held.net, op)
        done = apply(b, a)
        mean = complex(inner(a, done))
        return distance(done, scale(a, mean if mean.imag else mean.real)) ** 2
    compiled = as_operator(op, held.net.structure)
    held = _beside(held, compiled)
    shifted = centred_operator(held, compiled)
    cores, locals_ = squared(shifted)
    root = held.tree.root
    value = _first(sweep(held, cores, locals_)[root])
    require_numbers(np.asarray(value), "the variance")
    return max(value.real, 0.0)


def as_operator(op: Any, structure: Structure) -> TreeOperator:
    """Return what a caller gave for an operator on a whole tree as a `TreeOperator`.

    Examples
    --------
    >>> import tnet
    >>> as_operator((2.0, {"x0": "z"}), tnet.tensor_train((2, 2))).num_entries
    2
    """
    if isinstance(op, TreeOperator):
        found = op
    elif isinstance(op, Network):
        found = TreeOperator.from_network(op)
    elif isinstance(op, (Term, Pairs)) or (
        isinstance(op, tuple) and len(op) == 2 and isinstance(op[1], Mapping)
    ):
        found = operator(structure, [op])
    elif isinstance(op, Iterable) and not isinstance(op, (str, Mapping)):
        found = operator(structure, op)
    else:
        raise DTypeError(
            "an operator is a tnet.TreeOperator, terms, or an operator network, got "
            f"{type(op).__name__}; tnet.local_values measures a local operator on every site."
        )
    if not is_same_graph(found.structure, structure):
        raise StructureError(
            "the operator and the state are on different graphs; compile the operator with "
            "tnet.operator(state.structure, terms)."
        )
    return found


def _fits(op: Structure, state: Structure) -> bool:
    """Tell whether an operator network has the graph of the state, with twins for the modes."""
    if op.legs.keys() != state.legs.keys() or set(op.bonds) != set(state.bonds):
        return False
    modes = set(state.modes)
    wanted = {n: set(legs) | {f"{x}'" for x in legs if x in modes} for n, legs in state.nodes}
    return all(set(legs) == wanted[n] for n, legs in op.nodes)


def _beside(state: Centred, op: TreeOperator) -> Centred:
    """Return the state with the legs in the operator's order, complex if the operator is."""
    net = aligned(state.net, op.structure)
    turned = centred(net) if net is not state.net else state
    return as_complex(turned) if op.dtype == "complex128" else turned


def _is_real(state: Centred, op: TreeOperator) -> bool:
    return not state.net.dtype.startswith("complex") or op.hermitian


def _value(state: Centred, op: TreeOperator) -> complex:
    return _first(sweep(state, op.cores, identity_first(op))[state.tree.root])


def _first(channels: Channels) -> complex:
    matrices = channels.matrices
    if not len(matrices):
        return 0j
    return complex(arrays_.to_numpy(matrices).reshape(-1)[0])


def identity_first(op: TreeOperator) -> dict[str, tuple[Any, ...]]:
    """Return the local matrices with None for the identity, which comes first."""
    return {mode: (None, *matrices[1:]) for mode, matrices in op.locals.items()}


def _number(value: complex, what: str, real: bool) -> float | complex:
    require_numbers(np.asarray(value), what)
    return value.real if real else value
