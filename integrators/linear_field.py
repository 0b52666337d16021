"""LinearField: a tree operator, or a sum of them with coefficients of time, bound to a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array, namespace
from contraction.errors import DTypeError
from integrators.field import AbstractField, Environment
from integrators.frame import Frame
from integrators.local_problem import LocalProblem
from integrators.programs import (
    IDENTITY,
    ZERO,
    Entry,
    Program,
    Ready,
    program_of,
    ready,
)


@dataclass(frozen=True, eq=False)
class Cores:
    """An operator in the numbers of a frame.

    Attributes
    ----------
    entries
        Node -> its terms: channels of the parent's bond (0 at the root) and of the slots.
    owner
        Entry of the root -> which summand of a `Driven` field it belongs to.
    widths
        Node -> number of channels of the bond to its parent (one at the root).
    places
        Node -> slot -> local matrix -> its place among those that are no identities; empty for
        bonds.
    matrices
        Node -> slot -> the local matrices that are no identities, beside the state.
    """

    entries: tuple[tuple[Entry, ...], ...]
    owner: tuple[int, ...]
    widths: tuple[int, ...]
    places: tuple[tuple[tuple[int, ...], ...], ...]
    matrices: tuple[tuple[tuple[Any, ...], ...], ...]


@final
class LinearField(AbstractField):
    """F(t, Y) = factor * sum_s f_s(t) A_s Y.

    Build it with `integrators.binding.bind`. An environment is a stack (channels, r, r) of the
    channels that are no identities, or None where there is none.

    Attributes
    ----------
    factor
        Common number in front, such as -1j.
    hermitian
        Whether the operator behind the factor is Hermitian.
    """

    homogeneous = True

    def __init__(
        self,
        frame: Frame,
        cores: Cores,
        factor: complex,
        hermitian: bool,
        coefficients: Sequence[Callable[[float], complex]] = (),
        weights: Sequence[complex] | None = None,
        real: bool = False,
    ) -> None:
        self.frame, self.cores = frame, cores
        self.factor, self.hermitian = factor, hermitian
        self._real = real  # the states are: nothing may become complex
        self._coefficients = tuple(coefficients)
        self._weights = None if weights is None else tuple(weights)
        steady = not self._coefficients
        self.upward = _upward_places(frame, cores)
        self.downward = _downward_places(frame, cores, self.upward, steady)
        self._programs: dict[tuple[int, int], Program] = {}
        self._of_root: dict[tuple[int, int], Program] = {}  # they hold the coefficients
        self.memory = {}

    def at(self, t: float) -> AbstractField:
        """Return the field with its coefficients frozen at time `t`."""
        if not self._coefficients:
            return self
        factor, weights = _common_phase([complex(f(t)) for f in self._coefficients])
        factor = complex(self.factor * factor)
        if self._real and (factor.imag or any(w.imag for w in weights)):
            raise DTypeError(
                f"a coefficient of `Driven` is complex at time {t:.6g} and the state is real; "
                'convert it first: state.to(dtype="complex128").'
            )
        frozen = object.__new__(LinearField)
        frozen.__dict__.update(self.__dict__)
        frozen._weights = tuple(weights)
        frozen.factor = factor if factor.imag else factor.real
        frozen.hermitian = self.hermitian and all(w.imag == 0.0 for w in weights)
        frozen._of_root = {}
        return frozen

    def up(self, node: int, core: Array, below: Sequence[Environment]) -> Environment:
        """Return the channels of the bond above `node` in the basis of its subtree."""
        count = _count(self.upward[node])
        if not count:
            return None
        program = ready(self._program(node, -1), [(), *self._below(node, below, -1)])
        return _gram_of_rows(program(core), core, namespace(core))

    def down(
        self, node: int, slot: int, rest: Array, above: Environment, below: Sequence[Environment]
    ) -> Environment:
        """Return the channels of a bond below `node` in the basis of everything else."""
        child = self.frame.slots[node][slot].child
        if not _count(self.downward[child]):
            return None
        matrices = [_listed(above), *self._below(node, below, slot)]
        program = ready(self._program(node, slot), matrices)
        return _gram(program(rest), rest, namespace(rest))

    def seeds(self, node: int, core: Array, below: Sequence[Environment]) -> Sequence[Array]:
        """Return what each channel of the bond above `node` makes of its basis."""
        if not _count(self.upward[node]):
            return ()
        run = ready(self._program(node, -1), [(), *self._below(node, below, -1)])
        return [y for y in run(core) if y is not None]

    def local(self, node: int, above: Environment, below: Sequence[Environment]) -> LocalProblem:
        """Return the equation of the core of `node`."""
        program = self._program(node, len(self.frame.slots[node]))
        run = ready(program, [_listed(above), *self._below(node, below, -1)])
        return self._problem(run)

    def bond(self, node: int, above: Environment, below: Sequence[Environment]) -> LocalProblem:
        """Return the equation of the matrix on the bond above `node`."""
        places = (self.downward[node], self.upward[node])
        entries = [Entry((k, k), 0, 1.0) for k in range(self.cores.widths[node])]
        program = program_of(entries, places, 1)
        return self._problem(ready(program, [_listed(above), _listed(below[node])]))

    def _problem(self, run: Ready) -> LocalProblem:
        def apply(x: Array) -> Array:
            found = run(x)[0]
            return x * 0.0 if found is None else found

        return LocalProblem(apply, self.factor, self.hermitian)

    def _below(self, node: int, below: Sequence[Environment], without: int) -> list[Any]:
        """Return the matrices of the slots of a node, but for one."""
        held = self.cores.matrices[node]
        return [
            held[k] if slot.child < 0 else _listed(below[slot.child])
            for k, slot in enumerate(self.frame.slots[node])
            if k != without
        ]

    def _program(self, node: int, slot: int) -> Program:
        """Return the program of a node towards its parent (-1), a slot, or nobody (their number).

        Made when first asked for. Two threads may make the same one; they are equal.
        """
        programs = self._programs if node else self._of_root
        found = programs.get((node, slot))
        if found is not None:
            return found
        slots = self.frame.slots[node]
        places = [self.downward[node]]
        places += [
            self.cores.places[node][k] if s.child < 0 else self.upward[s.child]
            for k, s in enumerate(slots)
        ]
        entries = self.entries(node)
        if slot == len(slots):
            found = program_of(entries, places, 1)
        elif slot < 0:
            places[0] = (IDENTITY,)  # rows of the core: they are not touched
            wanted = [
                Entry((0, *e.channels[1:]), self.upward[node][e.channels[0]], e.weight)
                for e in entries
            ]
            found = program_of(
                [e for e in wanted if e.output >= 0], places, _count(self.upward[node])
            )
        else:
            found = _towards(entries, places, slot + 1, self.upward_of_slot(node, slot))
        programs[node, slot] = found
        return found

    def upward_of_slot(self, node: int, slot: int) -> tuple[int, ...]:
        """Return the places of the downward channels of the bond in a slot."""
        return self.downward[self.frame.slots[node][slot].child]

    def entries(self, node: int) -> Sequence[Entry]:
        """Return the terms of a node, with the coefficients of this time at the root."""
        entries = self.cores.entries[node]
        if node or self._weights is None:
            return entries
        weights = self._weights
        return [
            entry._replace(weight=entry.weight * weights[k])
            for entry, k in zip(entries, self.cores.owner, strict=True)
        ]


def _common_phase(weights: Sequence[complex]) -> tuple[complex, list[complex]]:
    """Take -i out of coefficients that are all imaginary: Hermitian operators stay Hermitian."""
    if any(w.imag for w in weights) and not any(w.real for w in weights):
        return -1j, [complex(-w.imag) for w in weights]
    return 1.0, list(weights)


def _towards(
    entries: Sequence[Entry],
    places: Sequence[Sequence[int]],
    leg: int,
    toward: Sequence[int],
) -> Program:
    """Compile the terms towards one leg: one output per channel of it that is a matrix."""
    wanted = [
        Entry(e.channels[:leg] + e.channels[leg + 1 :], toward[e.channels[leg]], e.weight)
        for e in entries
        if toward[e.channels[leg]] >= 0
    ]
    others = [p for k, p in enumerate(places) if k != leg]
    return program_of(wanted, others, _count(toward))


def _gram(channels: Sequence[Array | None], x: Any, xp: Any) -> Array:
    """Return the stack of <x, channel> over all axes but the last."""
    size = x.shape[-1]
    matrix = x.reshape(-1, size)
    adjoint = xp.conj(matrix).T
    stack = xp.stack([_flat(y, matrix).reshape(-1, size) for y in channels])
    found: Array = xp.matmul(adjoint[None], stack)
    return found


def _gram_of_rows(channels: Sequence[Array | None], x: Any, xp: Any) -> Array:
    """Return the stack of <x, channel> over all axes but the first."""
    rows = x.reshape(x.shape[0], -1)
    stack = xp.stack([_flat(y, rows).reshape(rows.shape) for y in channels])
    found: Array = xp.matmul(xp.conj(rows)[None], xp.permute_dims(stack, (0, 2, 1)))
    return found


def _flat(y: Any, like: Any) -> Any:
    return like * 0.0 if y is None else y


def _listed(environment: Environment) -> Any:
    return () if environment is None else environment


def _count(places: Sequence[int]) -> int:
    return sum(place >= 0 for place in places)


def _upward_places(frame: Frame, cores: Cores) -> tuple[tuple[int, ...], ...]:
    """Tell for each upward channel which matrix it is, or that it is the identity."""
    found: list[tuple[int, ...]] = [()] * frame.count
    for node in frame.post_order:
        places = [
            cores.places[node][k] if slot.child < 0 else found[slot.child]
            for k, slot in enumerate(frame.slots[node])
        ]
        kinds = [ZERO] * cores.widths[node]
        for entry in cores.entries[node]:
            below = [places[k][c] for k, c in enumerate(entry.channels[1:])]
            plain = entry.weight == 1.0 and all(p == IDENTITY for p in below)
            _note(kinds, entry.channels[0], ZERO in below, plain)
        found[node] = _numbered(kinds)
    return tuple(found)


def _downward_places(
    frame: Frame, cores: Cores, upward: Sequence[Sequence[int]], steady: bool
) -> tuple[tuple[int, ...], ...]:
    """Tell for each downward channel which matrix it is, or that it is the identity."""
    found: list[tuple[int, ...]] = [(IDENTITY,)] + [()] * (frame.count - 1)
    for node in range(frame.count):
        slots = frame.slots[node]
        places: list[Sequence[int]] = [found[node]]
        places += [
            cores.places[node][k] if slot.child < 0 else upward[slot.child]
            for k, slot in enumerate(slots)
        ]
        kinds = {s.child: [ZERO] * cores.widths[s.child] for s in slots if s.child >= 0}
        for entry in cores.entries[node]:
            here = [p[c] for p, c in zip(places, entry.channels, strict=True)]
            zeros, others = here.count(ZERO), sum(p != IDENTITY for p in here)
            unit = entry.weight == 1.0 and (node > 0 or steady)
            for k, slot in enumerate(slots):
                if slot.child >= 0:
                    nothing = zeros > (here[k + 1] == ZERO)
                    plain = unit and others == (here[k + 1] != IDENTITY)
                    _note(kinds[slot.child], entry.channels[k + 1], nothing, plain)
        for child, found_kinds in kinds.items():
            found[child] = _numbered(found_kinds)
    return tuple(found)


MATRIX = 0


def _note(kinds: list[int], channel: int, nothing: bool, plain: bool) -> None:
    """Note one more entry of a channel: it is the identity only if it is one plain entry."""
    if not nothing:
        kinds[channel] = IDENTITY if plain and kinds[channel] == ZERO else MATRIX


def _numbered(kinds: Sequence[int]) -> tuple[int, ...]:
    numbers = iter(range(len(kinds)))
    return tuple(next(numbers) if kind == MATRIX else kind for kind in kinds)


def placed(matrix: Any, like: Array) -> Any:
    """Return a local matrix beside the state: same library, device and dtype; sparse stays sparse.

    Examples
    --------
    >>> placed(np.eye(2), np.zeros(3, complex)).dtype
    dtype('complex128')
    """
    name, kind = arrays_.namespace_name(like), arrays_.dtype_name(like)
    if not hasattr(matrix, "nnz"):
        return arrays_.to(matrix, namespace=name, device=arrays_.device(like), dtype=kind)
    if name == "numpy":
        return matrix.astype(kind)
    if name == "cupy":
        import importlib

        sparse = importlib.import_module("cupyx.scipy.sparse")
        return sparse.csr_matrix(matrix.astype(kind))
    import torch

    csr = matrix.tocsr().astype(kind)
    return torch.sparse_csr_tensor(
        torch.from_numpy(csr.indptr.astype(np.int64)),
        torch.from_numpy(csr.indices.astype(np.int64)),
        torch.from_numpy(csr.data),
        size=csr.shape,
        device=arrays_.device(like),
    )
