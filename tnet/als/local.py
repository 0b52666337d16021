"""Local fits: some nodes are swept, the others stay as they are.

What is frozen is contracted once. With B = Q S for each connected part of it,

    ||X - L B^T||^2 = ||X||^2 - ||X conj(Q)||^2 + ||X conj(Q) - L S^T||^2,

so what is left is a small network: the swept nodes and one frozen node S for each part, fitted to
the projected data. Its sweeps cost what the swept nodes need, whatever |X| is.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from contraction.arrays import Array, namespace
from contraction.errors import InputError, PlanError
from tnet.als.balance import multiplied
from tnet.als.dense import DenseProblem, Target, dense_problem
from tnet.als.kernels import kernels
from tnet.als.memory_need import ITEMSIZE, check_memory
from tnet.als.options import ALS, Fit
from tnet.als.pairs import COPY, Block, compile_block
from tnet.als.race import UNKNOWN, Progress, Run, race
from tnet.als.sweep_program import QR_PENALTY, Visit, compile_program, visit_flops
from tnet.als.sweeps import residual, sweep
from tnet.network import Network
from tnet.norms import relative_error
from tnet.structure import Structure

FORMED = 1 << 24  # entries of the largest frozen block that is formed
SMALL = 1 << 13  # entries of one that is formed without much thought
SWEEPS = 4.0  # that forming a wide block must pay for


@dataclass(frozen=True)
class Frozen:
    """One connected part of what is frozen.

    Attributes
    ----------
    nodes
        Its nodes; contracted to one block, or left as they are if that would be too large.
    modes
        Its modes, in the order of the block's rows.
    block
        The contraction to (modes, legs to swept nodes); None if nothing is contracted.
    project
        The block is higher than wide.
    name, shape
        Of the node that stands for it.
    """

    nodes: tuple[str, ...]
    modes: tuple[str, ...]
    block: Block | None
    project: bool
    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Entries of the block; 0 if there is none."""
        return 0 if self.block is None else math.prod(self.block.final[1])


@dataclass(frozen=True)
class LocalProgram:
    """What a local fit is made of, for one structure and one set of nodes.

    Attributes
    ----------
    parts
        What is frozen.
    axes, shape
        The order of the data's axes, and their shape with one axis for each formed part.
    structure
        The small network.
    visits
        Of the small network's sweep, without those that lead to frozen nodes alone.
    flops
        Of one such sweep.
    """

    parts: tuple[Frozen, ...]
    axes: tuple[int, ...]
    shape: tuple[int, ...]
    structure: Structure
    visits: tuple[Visit, ...]
    flops: float


@lru_cache(maxsize=256)
def local_program(structure: Structure, swept: tuple[str, ...]) -> LocalProgram:
    """Compile the small network for sweeping some of the nodes.

    A large block is formed, and projected on, only where that is cheaper than to contract its
    nodes anew in every sweep.
    """
    inside = set(swept)
    nodes = _parts(structure, [n for n in structure.legs if n not in inside])
    parts = [_frozen(structure, part, inside, k) for k, part in enumerate(nodes)]
    found = _compiled(structure, swept, parts)
    if all(part.size <= SMALL for part in parts):
        return found
    apart = [dataclasses.replace(p, block=None) if p.size > SMALL else p for p in parts]
    return min(found, _compiled(structure, swept, apart), key=_whole_cost)


def _whole_cost(program: LocalProgram) -> float:
    cost = SWEEPS * program.flops
    for part in program.parts:
        if part.block is not None:
            rows, columns = part.block.final[1]
            cost += part.block.flops + 2.0 * COPY * part.block.moved
            if part.project:
                cost += QR_PENALTY * rows * columns**2
                cost += 2.0 * math.prod(program.shape) * columns
    return cost


def _compiled(
    structure: Structure, swept: tuple[str, ...], parts: Sequence[Frozen]
) -> LocalProgram:
    inside, modes = set(swept), set(structure.modes)
    nodes = [(n, legs) for n, legs in structure.nodes if n in inside]
    sizes = {leg: structure.size[leg] for _, legs in nodes for leg in legs}
    order = [x for _, legs in nodes for x in legs if x in modes]
    names, shape = list(order), [sizes[x] for x in order]
    for part in parts:
        order.extend(part.modes)
        if part.block is None:
            for n in part.nodes:
                nodes.append((n, structure.legs[n]))
                sizes.update((x, structure.size[x]) for x in structure.legs[n])
            names.extend(part.modes)
            shape.extend(structure.size[x] for x in part.modes)
            continue
        mine = (part.name,) if part.modes else ()
        cut = _cut(structure, part.nodes, inside)
        nodes.append((part.name, mine + cut))
        sizes.update(zip(mine + cut, part.shape, strict=True))
        names.extend(mine)
        if mine:
            shape.append(math.prod(structure.size[x] for x in part.modes))
    small = Structure(nodes, sizes, names)
    program = compile_program(small)
    visits = _leading_to(program.visits, {program.layout.place[n] for n in swept})
    axes = tuple(structure.modes.index(x) for x in order)
    flops = sum(visit_flops(v) for v in visits)
    return LocalProgram(tuple(parts), axes, tuple(shape), small, visits, flops)


def _parts(structure: Structure, nodes: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the groups of `nodes` that hang together by legs they share."""
    part = {n: n for n in nodes}

    def top(n: str) -> str:
        while part[n] != n:
            part[n] = n = part[part[n]]
        return n

    for holders in structure.holders.values():
        held = [n for n in holders if n in part]
        for a, b in itertools.pairwise(held):
            part[top(a)] = top(b)
    groups: dict[str, list[str]] = {}
    for n in nodes:
        groups.setdefault(top(n), []).append(n)
    return [tuple(group) for group in groups.values()]


def _cut(structure: Structure, nodes: Sequence[str], swept: set[str]) -> tuple[str, ...]:
    held = dict.fromkeys(x for n in nodes for x in structure.legs[n])
    return tuple(x for x in held if not swept.isdisjoint(structure.holders[x]))


def _frozen(structure: Structure, nodes: tuple[str, ...], swept: set[str], number: int) -> Frozen:
    open_legs = set(structure.open_legs)
    modes = tuple(x for n in nodes for x in structure.legs[n] if x in open_legs)
    cut = _cut(structure, nodes, swept)
    height, width = (math.prod(structure.size[x] for x in legs) for legs in (modes, cut))
    name = f"frozen{number}"
    while name in structure.legs or name in structure.size:
        name += "'"
    if height * width > FORMED:
        return Frozen(nodes, modes, None, False, name, ())
    block = compile_block([structure.legs[n] for n in nodes], modes, cut, structure.size)
    project = height > width
    first = (width if project else height,) if modes else ()
    return Frozen(nodes, modes, block, project, name, (*first, *(structure.size[x] for x in cut)))


def _leading_to(visits: Sequence[Visit], swept: set[int]) -> tuple[Visit, ...]:
    """Return the visits of the swept nodes, and those on the way to them."""
    kept: list[Visit] = []
    wanted: set[int] = set()  # depths whose problem some later visit reads
    for visit in reversed(visits):
        if visit.node < 0:
            if visit.depth + 1 not in wanted:
                continue
            wanted.discard(visit.depth + 1)
        elif visit.node not in swept:
            continue
        wanted.add(visit.depth)
        kept.append(visit)
    return tuple(reversed(kept))


@dataclass(frozen=True, eq=False)
class LocalProblem:
    """The small network on the projected data, as the race wants it."""

    inner: DenseProblem
    squared_norm: float  # of all data
    rest: float  # squared norm of what the frozen nodes cannot reach

    @property
    def structure(self) -> Structure:
        """The small network."""
        return self.inner.structure

    @property
    def like(self) -> Array:
        """An array of the namespace, device and dtype of the fit."""
        return self.inner.like

    @property
    def scale(self) -> float:
        """One: the data given are in range."""
        return 1.0

    @property
    def flops(self) -> float:
        """About the floating-point operations of one sweep."""
        return self.inner.program.flops

    @property
    def floor(self) -> float:
        """Relative errors below this need a look at all entries."""
        return self.inner.floor

    def random(self, rng: Any) -> list[Array]:
        """Refuse: what is frozen has no random start."""
        raise InputError("a fit of some nodes has no random starts.")

    def start(self, rng: Any, options: ALS, number: int, rival: float) -> Run:
        """Refuse: what is frozen has no random start."""
        return Run(self.random(rng), UNKNOWN)

    def cores(self, net: Network) -> list[Array]:
        """Return the cores of a network on the small structure."""
        return self.inner.cores(net)

    def arrays(self, cores: list[Array]) -> dict[str, Array]:
        """Return the node arrays of the small network."""
        return self.inner.arrays(cores)

    def sweep(self, cores: list[Array]) -> tuple[list[Array], Progress]:
        """Update every swept node once."""
        problem = self.inner
        cores, squared = sweep(
            problem.program, problem.kernels, problem.matrix, problem.squared_norm, cores
        )
        error = math.sqrt((squared + self.rest) / self.squared_norm)
        if not error >= self.floor:
            error = self.measure(cores)
        return cores, self.progress(cores, error)

    def progress(self, cores: Sequence[Array], error: float) -> Progress:
        """Return the objective, here the error itself, beside the error."""
        return Progress(error, error)

    def measure(self, cores: Sequence[Array]) -> float:
        """Return the relative error: entry by entry of the projected data, and their rest."""
        away = residual(self.inner.program, self.inner.matrix, cores)
        return math.sqrt((away**2 + self.rest) / self.squared_norm)

    def certificate(self, error: float) -> Any:
        """Return what an error over all entries proves: everything."""
        return self.inner.certificate(error)


def local_fit(target: Target, start: Network, options: ALS, rng: Any) -> Fit:
    """Fit the nodes `options.nodes` of a network on the structure wanted; the others stay.

    Raises
    ------
    InputError
        A node is not there, or none is named.
    PlanError
        A sweep would take more than `options.max_flops`.
    MemoryBudgetError
        The fit would hold more than `options.memory`.

    Notes
    -----
    The frozen nodes come back as the very arrays given. The error is that on all data: below
    about 1e-6 (0.03 in single precision) measured entry by entry, above from differences of
    squared norms, to rounding.
    """
    begun = time.perf_counter()
    structure = start.structure
    swept = _checked(structure, options.nodes)
    program = local_program(structure, swept)
    if options.max_flops is not None and program.flops > options.max_flops:
        raise PlanError(
            f"one sweep over {len(swept)} nodes would take {program.flops:.2g} operations, "
            f"{options.max_flops:.2g} are allowed; nothing was allocated."
        )
    formed = [p for p in program.parts if p.block is not None]
    sizes = (
        4 * math.prod(p.block.final[1]) + math.prod(structure.shape) for p in formed if p.block
    )
    item = ITEMSIZE.get(str(start.dtype), 16)
    check_memory(target, program.structure, options.memory, copies=item * max(sizes, default=0))
    problem, arrays = _problem(target, program, start.arrays, swept)
    cores = problem.cores(Network(program.structure, arrays))
    first = Run(cores, problem.progress(cores, problem.measure(cores)))
    done = race(problem, [first], options, rng, 1)
    found = problem.arrays(done.winner.cores)
    new = {n: found[n] for n in swept}
    new[swept[0]] = new[swept[0]] * target.scale
    net = Network(structure, {**start.arrays, **new})
    error = problem.measure(done.winner.cores)
    if error < problem.floor:
        error = relative_error(net, target.x)
    return Fit(
        network=Network(structure, net.arrays, certificate=problem.certificate(error)),
        error=error,
        outcome=done.winner.outcome,
        trace=tuple(p.error for p in done.winner.trace),
        sweeps=done.sweeps,
        restarts=done.restarts,
        seconds=time.perf_counter() - begun,
    )


def _checked(structure: Structure, nodes: tuple[str, ...] | None) -> tuple[str, ...]:
    wanted = set(nodes or ())
    unknown = sorted(wanted - set(structure.legs))
    if unknown or not wanted:
        raise InputError(
            f"`nodes` names what is swept, got {nodes!r}; the structure has the nodes "
            f"{list(structure.node_names[:8])}."
        )
    return tuple(n for n in structure.node_names if n in wanted)


def _problem(
    target: Target, program: LocalProgram, arrays: Mapping[str, Array], swept: Sequence[str]
) -> tuple[LocalProblem, dict[str, Array]]:
    """Return the small problem, and the arrays of its network."""
    Y: Any = target.matrix(program.axes, 1).reshape(program.shape)
    kernel = kernels(Y)
    held: dict[str, Any] = {n: arrays[n] for n in swept}
    held[swept[0]] = held[swept[0]] * (1.0 / target.scale)
    axis = len(program.shape) - sum(
        1 if part.block is not None else len(part.modes) for part in program.parts if part.modes
    )
    squared_norm = (target.norm / target.scale) ** 2
    for part in program.parts:
        if part.block is None:
            held.update((n, arrays[n]) for n in part.nodes)
            axis += len(part.modes)
            continue
        block = part.block.run([arrays[n] for n in part.nodes])
        if part.project:
            Q, block = kernel.qr(block)
            Y = multiplied(Y, kernel.conj(Q).T, axis)
        held[part.name] = block.reshape(part.shape)
        axis += bool(part.modes)
    xp: Any = namespace(Y)
    projected = any(part.project for part in program.parts)
    left = float(xp.linalg.vector_norm(Y)) ** 2 if projected else squared_norm
    inner = dense_problem(Target(Y), program.structure)
    inner = dataclasses.replace(
        inner,
        program=dataclasses.replace(inner.program, visits=program.visits, flops=program.flops),
        squared_norm=left,
    )
    return LocalProblem(inner, squared_norm, max(squared_norm - left, 0.0)), held
