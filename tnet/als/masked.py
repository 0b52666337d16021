"""Fits to observed entries: ridge-regularised normal equations, row by row of each node.

The objective is

    sum over entries |value - network|^2 + ridge * sum over nodes ||node||^2,

with the values scaled to mean square one. Each node is solved exactly: for every index i of its
own modes, the rows phi of its environment at the entries with that index give the Gram matrix
sum phi^H phi. Nothing of the size of the full tensor is ever formed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array, namespace
from tnet.als.entries import Entries, beside
from tnet.als.entry_program import EntryProgram, EntryVisit, compile_entry_program
from tnet.als.grid_program import GridVisit
from tnet.als.kernels import DOUBLE, PROXIMAL
from tnet.als.layout import Layout
from tnet.als.options import ALS
from tnet.als.race import UNKNOWN, Progress, Run
from tnet.als.rows import LARGE, RowPlan, cholesky, row_plan, segment_sums, solve_rows
from tnet.certificate import Certificate, ErrorKind
from tnet.network import Network, random_network
from tnet.structure import Structure

CHUNK = 1 << 21  # numbers held at once beside the environments
Held = tuple[Array, Any]  # an environment, and the key of its rows (None: one row per entry)


@dataclass(frozen=True, eq=False)
class Grid:
    """The observed entries as full tensors, one axis per node with modes."""

    weights: Array  # how often each entry was observed
    sums: Array  # of its values


@dataclass(frozen=True, eq=False)
class MaskedProblem:
    """One structure on one set of observed entries, as the race of starts wants it."""

    entries: Entries
    scale: float
    ridge: float
    program: EntryProgram
    values: Array  # scaled to mean square one, in double precision
    keys: dict[tuple[int, ...], Array]
    plans: tuple[RowPlan, ...]
    grid: Grid | None
    squared_norm: float
    floor: float

    @property
    def structure(self) -> Structure:
        """The structure that is fitted."""
        return self.program.layout.structure

    @property
    def like(self) -> Array:
        """An array of the namespace, device and dtype of the fit."""
        return self.entries.values

    @property
    def flops(self) -> float:
        """About the floating-point operations of one sweep."""
        return self.program.flops

    def random(self, rng: np.random.Generator) -> list[Array]:
        """Return the cores of a Gaussian network."""
        net = random_network(self.structure, rng=rng, like=self.values)
        return self.program.layout.cores(net.arrays)

    def start(self, rng: np.random.Generator, options: ALS, number: int, rival: float) -> Run:
        """Return a Gaussian network."""
        return Run(self.random(rng), UNKNOWN)

    def cores(self, net: Network) -> list[Array]:
        """Return the cores of a network on the same structure."""
        raised = net.to(dtype=arrays_.dtype_name(self.values))
        return self.program.layout.cores(raised.arrays)

    def arrays(self, cores: list[Array]) -> dict[str, Array]:
        """Return node arrays, for the scaled values."""
        kind = arrays_.dtype_name(self.entries.values)
        found = self.program.layout.arrays(cores)
        return {node: arrays_.to(x, dtype=kind) for node, x in found.items()}

    def sweep(self, cores: list[Array]) -> tuple[list[Array], Progress]:
        """Solve for every node once, then balance the sizes of the slices along all ranks.

        Both steps lower the objective or leave it.
        """
        cores = list(cores)
        stack: list[Held] = [(self.values, None)] * (len(cores) + 1)
        squared = math.inf
        for k, visit in enumerate(self.program.visits):
            last = k == len(self.program.visits) - 1
            core = cores[visit.node]
            if visit.grid is not None:
                W, squared = self.solve_on_grid(visit, visit.grid, cores, last)
                cores[visit.node] = W.reshape(core.shape)
                continue
            operands = _operands(visit, cores, self.keys)
            if visit.depth:
                operands.append(stack[visit.depth])
            if visit.node < 0:
                stack[visit.depth + 1] = self.environment(visit, operands)
                continue
            old = core.reshape((self.plans[visit.node].rows, -1))
            W, squared = self.solve(visit, operands, old, last)
            cores[visit.node] = W.reshape(core.shape)
        cores = balanced_slices(self.program, cores)
        error = math.sqrt(max(squared, 0.0) / self.squared_norm)
        if not error >= self.floor:
            error = self.measure(cores)
        return cores, self.progress(cores, error)

    def progress(self, cores: Sequence[Array], error: float) -> Progress:
        """Return the objective (relative to the data, as a root) beside the error."""
        penalty = sum(_squared(core) for core in cores) * self.ridge / self.squared_norm
        return Progress(math.sqrt(error**2 + penalty), error)

    def certificate(self, error: float) -> Certificate:
        """Return what an error over some entries proves: an estimate."""
        return Certificate(error=error, kind=ErrorKind.ESTIMATE)

    def measure(self, cores: Sequence[Array]) -> float:
        """Return the relative error over the observed entries, entry by entry."""
        xp = namespace(self.values)
        found = predict(self.program, self.keys, len(self.values), cores)  # type: ignore[arg-type]
        return float(xp.linalg.vector_norm(self.values - found)) / math.sqrt(self.squared_norm)

    def environment(self, visit: EntryVisit, operands: list[Held]) -> Held:
        """Return the environment of an inner vertex, one row per entry or a table of them."""
        if visit.block is None:
            return operands[0]
        xp = namespace(self.values)
        count, step = self.entries.count, max(1, CHUNK // visit.width)
        parts = [
            visit.block.run([_rows(held, slice(k, k + step)) for held in operands])
            for k in range(0, count, step)
        ]
        joined: Array = parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)
        return joined.reshape((count, *visit.shape)), None

    def solve(
        self, visit: EntryVisit, operands: list[Held], old: Array, measure: bool
    ) -> tuple[Array, float]:
        """Solve for all rows of one node; if asked, also return the squared residual."""
        xp = namespace(self.values)
        plan, columns = self.plans[visit.node], visit.columns
        squared = self.squared_norm
        solved = []
        for rows, blocks in plan.portions(columns, visit.width, CHUNK):
            height = rows.stop - rows.start
            G: Any = xp.zeros(
                (height, columns, columns), dtype=old.dtype, device=arrays_.device(old)
            )
            rhs: Any = xp.zeros((height, columns), dtype=old.dtype, device=arrays_.device(old))
            for portion in blocks:
                phi, values = self.design(visit, operands, plan, portion)
                conjugate = xp.conj(phi) if arrays_.is_complex(phi) else phi
                ids = plan.row_of_block[portion] - rows.start
                gram: Any = xp.matrix_transpose(phi) @ conjugate
                G = segment_sums(G, ids, gram)
                rhs = segment_sums(rhs, ids, (values[:, None, :] @ conjugate)[:, 0, :])
            before = old[rows.start : rows.stop]
            W = solve_rows(G, rhs, before, self.ridge, PROXIMAL[arrays_.dtype_name(old)])
            solved.append(W)
            if measure:
                squared -= explained(W, G, rhs)
        W = solved[0] if len(solved) == 1 else xp.concat(solved, axis=0)
        return W, squared

    def solve_on_grid(
        self, visit: EntryVisit, grid: GridVisit, cores: Sequence[Array], measure: bool
    ) -> tuple[Array, float]:
        """Do what `solve` does with the normal equations of the whole grid."""
        assert self.grid is not None
        rows = self.plans[visit.node].rows
        old = cores[visit.node].reshape((rows, visit.columns))
        G, rhs = grid.run(self.grid.weights, self.grid.sums, cores, rows, visit.columns)
        W = solve_rows(G, rhs, old, self.ridge, PROXIMAL[arrays_.dtype_name(old)])
        return W, self.squared_norm - (explained(W, G, rhs) if measure else 0.0)

    def design(
        self, visit: EntryVisit, operands: list[Held], plan: RowPlan, portion: slice
    ) -> tuple[Array, Array]:
        """Return the design rows and values of some blocks: (blocks, length, columns)."""
        xp = namespace(self.values)
        entries = plan.entries[portion]
        shape = tuple(entries.shape)
        flat = entries.reshape((-1,))
        values: Any = xp.take(self.values, flat, axis=0).reshape(shape)
        if visit.block is None:
            phi: Any = xp.ones_like(values)[:, :, None]
        else:
            phi = visit.block.run([_rows(held, flat) for held in operands])
            phi = phi.reshape((*shape, visit.columns))
        if plan.valid is not None:
            phi = phi * plan.valid[portion][:, :, None]
        return phi, values


def explained(W: Any, G: Any, rhs: Any) -> float:
    """Return by how much rows W lower the sum of squares: Re W^H (2 rhs - W G), summed."""
    xp = namespace(W)
    return float(xp.sum(xp.real(xp.conj(W) * (2.0 * rhs - (W[:, None, :] @ G)[:, 0, :]))))


def grid_of(layout: Layout, entries: Entries, values: Array) -> Grid:
    """Return the observed entries as full tensors."""
    key = np.zeros(entries.count, dtype=np.int64)
    for name in layout.names:
        key = key * layout.span((name,)) + node_key(layout.own[name], layout.structure, entries)
    shape = tuple(layout.sizes[x] for x in layout.groups(layout.names))
    host, size = arrays_.to_numpy(values), math.prod(shape)
    weights = np.bincount(key, minlength=size).astype(host.dtype)
    sums = np.bincount(key, host.real, size).astype(host.dtype)
    if arrays_.is_complex(values):
        sums += 1j * np.bincount(key, host.imag, size)
    return Grid(beside(weights.reshape(shape), values), beside(sums.reshape(shape), values))


def masked_problem(entries: Entries, structure: Structure, ridge: float) -> MaskedProblem:
    """Return the problem of fitting `structure` to `entries`; the compiled part is cached."""
    program = compile_entry_program(structure, entries.count)
    # normal equations square the condition, which single precision cannot afford
    kind = arrays_.dtype_name(entries.values)
    values: Any = arrays_.to(entries.values, dtype=DOUBLE.get(kind, kind))
    xp = namespace(values)
    scale = float(xp.linalg.vector_norm(values)) / math.sqrt(entries.count)
    values = values / scale
    if (
        max(visit.columns for visit in program.visits) >= LARGE
        and arrays_.namespace_name(values) == "numpy"
    ):
        cholesky(arrays_.dtype_name(values))  # loaded before the sweeps, which limit its threads
    layout = program.layout
    nodes = [node_key(layout.own[n], structure, entries) for n in layout.names]
    return MaskedProblem(
        entries,
        scale,
        ridge,
        program,
        values,
        keys_of(program, entries, values),
        tuple(
            row_plan(key, layout.span((name,)), values)
            for name, key in zip(layout.names, nodes, strict=True)
        ),
        grid_of(layout, entries, values) if any(v.grid for v in program.visits) else None,
        float(xp.linalg.vector_norm(values)) ** 2,
        100.0 * math.sqrt(arrays_.eps(values)),
    )


def node_key(modes: tuple[str, ...], structure: Structure, entries: Entries) -> Any:
    """Return, per entry, its index along the merged `modes` (zeros if there is none)."""
    key = np.zeros(entries.count, dtype=np.int64)
    for mode in modes:
        key = key * structure.size[mode] + entries.indices[:, structure.modes.index(mode)]
    return key


def keys_of(program: EntryProgram, entries: Entries, like: Array) -> dict[tuple[int, ...], Array]:
    """Return, per group of nodes that some visit gathers, the row of each entry."""
    layout = program.layout
    found: dict[tuple[int, ...], Array] = {}
    for visit in (*program.visits, program.whole):
        for source in visit.sources:
            if source.keyed and source.nodes not in found:
                modes = tuple(m for k in source.nodes for m in layout.own[layout.names[k]])
                key = node_key(modes, layout.structure, entries)
                found[source.nodes] = beside(key, like)
    return found


def predict(
    program: EntryProgram, keys: dict[tuple[int, ...], Array], count: int, cores: Sequence[Array]
) -> Array:
    """Return the values of the network at the entries that `keys` were made for."""
    visit = program.whole
    assert visit.block is not None
    operands = _operands(visit, cores, keys)
    xp = namespace(cores[0])
    step = max(1, CHUNK // visit.width)
    parts = [
        visit.block.run([_rows(held, slice(k, k + step)) for held in operands])
        for k in range(0, count, step)
    ]
    joined: Array = parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)
    return joined.reshape((-1,))


def balanced_slices(program: EntryProgram, cores: Sequence[Array]) -> list[Array]:
    """Give the slices of all holders of a leg the same norm, leg by leg.

    The network stays what it is and the sum of squares falls (arithmetic and geometric mean).
    """
    layout = program.layout
    structure = layout.structure
    cores = list(cores)
    for leg in (*structure.bonds, *structure.hyperbonds):
        holders = structure.holders[leg]
        places = [layout.place[n] for n in holders]
        axes = [layout.core_labels(n).index(leg) for n in holders]
        norms = [_slice_norms(cores[k], axis) for k, axis in zip(places, axes, strict=True)]
        xp = namespace(norms[0])
        logs = [xp.log(n) for n in norms]
        mean = sum(logs[1:], start=logs[0]) / len(logs)
        usable = xp.isfinite(mean)
        for k, axis, log in zip(places, axes, logs, strict=True):
            change = xp.where(usable, xp.exp(mean - log), xp.ones_like(log))
            shape = [1] * cores[k].ndim
            shape[axis] = -1
            cores[k] = cores[k] * change.reshape(tuple(shape))
    return cores


def _slice_norms(x: Any, axis: int) -> Any:
    xp = namespace(x)
    others = tuple(k for k in range(x.ndim) if k != axis)
    tiny = float(np.finfo(np.dtype("float32")).tiny)
    squares = xp.sum(xp.real(x * xp.conj(x)), axis=others)
    return xp.sqrt(xp.where(squares > tiny, squares, xp.full_like(squares, math.nan)))


def _squared(x: Any) -> float:
    return float(namespace(x).linalg.vector_norm(x)) ** 2


def _operands(
    visit: EntryVisit, cores: Sequence[Array], keys: dict[tuple[int, ...], Array]
) -> list[Held]:
    """Return the sources of a visit as arrays, each with the key by which it is gathered."""
    found: list[Held] = []
    for source in visit.sources:
        held = [cores[k] for k in source.nodes]
        x = held[0] if source.table is None else source.table.run(held)
        key = keys[source.nodes] if source.keyed else _AS_IT_IS
        found.append((x.reshape(source.shape), key))
    return found


_AS_IT_IS = "as it is"


def _rows(held: Held, chosen: Any) -> Array:
    """Return the rows of an operand for the chosen entries (a slice or an index array)."""
    x, key = held
    if key is _AS_IT_IS:
        return x
    if key is None and isinstance(chosen, slice):
        part: Array = x[chosen]
        return part
    xp = namespace(x)
    rows = chosen if key is None else key[chosen]
    part = xp.take(x, rows, axis=0)
    return part
