"""Plan: a contraction worked out once, to be run on arrays any number of times."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from contraction.arrays import Array
from contraction.cost import CPU, MODELS
from contraction.errors import DTypeError, MemoryBudgetError, PlanError, TnetError
from contraction.execute import Runner, bind, is_plain, memory_orders, prepare
from contraction.expressions import equation_spec, read_equation
from contraction.paths import Objective, read_objective, search_pairs
from contraction.program import Layouts, Program, compile_program
from contraction.report import plan_table
from contraction.spec import Canonical, Labels, Spec
from contraction.tree import Pairs, check_pairs
from contraction.units import parse_bytes, parse_seconds


class Compiled:
    """A tree and its program, and the runners made from it so far."""

    def __init__(self, canonical: Canonical, pairs: Pairs) -> None:
        self.canonical, self.pairs = canonical, pairs
        self.program = compile_program(canonical, pairs, CPU)
        self._runners: dict[tuple[str, Layouts | None], tuple[Runner, int]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Compiled, (self.canonical, self.pairs)  # bound programs do not travel

    def runner(self, name: str, layouts: Layouts | None) -> tuple[Runner, int]:
        """Return the program bound to a library for inputs in these orders, and its peak."""
        found = self._runners.get((name, layouts))
        if found is None:
            program = self.program
            if layouts is not None or MODELS[name] is not CPU:
                program = compile_program(self.canonical, self.pairs, MODELS[name], layouts)
            found = self._runners[name, layouts] = bind(program, name), program.peak_size
        return found


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """A contraction with its tree, its kernels and their counts; made by `plan`.

    Parameters
    ----------
    spec
        What is contracted.
    pairs
        The tree: the inputs are values 0 .. n-1, and the k-th pair makes value n+k.
    objective
        What the search made small.
    memory
        Bytes that a run may allocate; None for no limit.
    slices
        Labels that are fixed and summed outside; none so far.
    compiled
        The steps; shared by all plans of the same work.

    Examples
    --------
    >>> p = plan("ab,bc,cd->ad", [(2, 30), (30, 40), (40, 5)])
    >>> p.pairs, p.flops, p.slices
    (((0, 1), (2, 3)), 5600, ())
    >>> p.run([np.ones((2, 30)), np.ones((30, 40)), np.ones((40, 5))])[0, 0]
    np.float64(1200.0)
    """

    spec: Spec
    pairs: Pairs
    objective: Objective
    memory: int | None
    slices: Labels
    compiled: Compiled

    @property
    def program(self) -> Program:
        """The steps, as plain data."""
        return self.compiled.program

    @property
    def flops(self) -> int:
        """Floating-point operations of one run on real arrays: two for each multiply-add.

        Every product of two values counts as a multiply-add. A complex multiply-add is four
        real ones: take four times as many.
        """
        return self.program.flops

    @property
    def peak_size(self) -> int:
        """Most entries allocated at once: results and copies, without the caller's inputs."""
        return self.program.peak_size

    @property
    def write_size(self) -> int:
        """Entries written in all: the result of every step and the copies that prepare it."""
        return self.program.write_size

    @property
    def seconds(self) -> float:
        """Rough estimate of the time of one run on one core; it ranks plans, it is no clock."""
        return self.program.seconds

    def run(self, arrays: Sequence[Array]) -> Array:
        """Contract `arrays`, one for each input, and return the result.

        The result has the common dtype of the arrays (integers become float64) and shares no
        memory with them unless it merely views one; its axes may lie in any order in memory.
        Arrays that are transposed views are taken as they are.

        Raises
        ------
        ShapeError
            Another number of arrays, or other shapes, than the plan was made for.
        BackendError
            Arrays of several libraries or devices, or sparse tensors.
        DTypeError
            Entries that are no numbers.
        MemoryBudgetError
            The run would allocate more than `memory`; nothing was allocated.
        """
        values, layouts, name = list(arrays), None, "numpy"
        if not is_plain(values, self.spec.shape_list):
            name = prepare(values, self.spec)
            layouts = memory_orders(values, name)
        runner, peak_size = self.compiled.runner(name, layouts)
        if self.memory is not None:
            itemsize = int(values[0].dtype.itemsize)
            _check_memory(peak_size * itemsize, self.memory, peak_size)
        result: Array = runner(values)
        return result

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain data for JSON; labels must be text or numbers.

        Examples
        --------
        >>> p = plan("ab,bc->ac", [(2, 3), (3, 4)])
        >>> Plan.from_dict(p.to_dict()).pairs
        ((0, 1),)
        """
        for label in self.spec.sizes:
            if not isinstance(label, (str, int)):
                raise PlanError(f"only text and whole-number labels can be written, got {label!r}.")
        return {
            "inputs": [list(labels) for labels in self.spec.inputs],
            "output": list(self.spec.output),
            "sizes": list(self.spec.sizes.items()),
            "pairs": [list(pair) for pair in self.pairs],
            "objective": self.objective.value,
            "memory": self.memory,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        """Return the plan that `to_dict` wrote; the kernels are chosen anew.

        Raises
        ------
        PlanError, ShapeError, InputError
            An entry is missing, of the wrong kind, or of a wrong value.
        """
        try:
            sizes = dict(data["sizes"])
            spec = Spec(data["inputs"], data["output"], sizes)
            pairs = [(int(i), int(j)) for i, j in data["pairs"]]
            objective, memory = data["objective"], data["memory"]
        except TnetError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PlanError(
                "a plan needs `inputs`, `output`, `sizes`, `pairs`, `objective` and `memory`; "
                f"reading failed at {error!r}."
            ) from error
        return plan(spec, path=pairs, objective=objective, memory=memory)

    def __str__(self) -> str:
        return plan_table(self.spec, self.pairs, self.program, self.objective.value)

    def __repr__(self) -> str:
        flops, peak = (min(n, 1 << 1000) for n in (self.flops, self.peak_size))  # as floats
        return (
            f"Plan({len(self.spec.inputs)} inputs, {flops:.3g} flops, "
            f"peak {peak:.3g} entries, by {self.objective.value})"
        )


def plan(
    spec_or_equation: Spec | str,
    shapes: Sequence[Sequence[int]] | None = None,
    *,
    objective: Objective | str = Objective.TIME,
    memory: int | str | None = None,
    budget: float | str | None = None,
    path: Sequence[tuple[int, int]] | None = None,
    dtype: str = "float64",
) -> Plan:
    """Work out how to contract: the tree, the kernels, and what they cost.

    Plans are remembered by the canonical form of the contraction (labels by order of
    appearance, and sizes), so that asking again for the same work is cheap.

    Parameters
    ----------
    spec_or_equation
        A `Spec`, or an einsum equation, for which `shapes` is needed.
    shapes
        The shapes of the arrays; for a `Spec` they may be left out.
    objective
        What to make small: an `Objective` or its value ("time", "flops", "size", "write",
        "combo").
    memory
        Bytes that a run may allocate beside its inputs: a number, or text such as "2GiB".
        Inputs that must be copied first, for their dtype or for gaps in memory, come on top.
    budget
        Seconds for the search on networks too large for an exact one: a number, or text such
        as "10s". By default the search has a fixed length and is repeatable.
    path
        The tree, if it is known, as pairs of values (`Plan.pairs`): inputs are 0 .. n-1, the
        k-th pair makes value n+k.
    dtype
        Of the arrays to come; it matters for `memory` only.

    Raises
    ------
    PlanError
        A malformed equation, objective or path.
    ShapeError
        Shapes that do not fit the labels or one another.
    DTypeError
        `dtype` is none.
    MemoryBudgetError
        The best plan found needs more than `memory`.

    Examples
    --------
    >>> p = plan("abc,br,cr->ar", [(8, 9, 10), (9, 4), (10, 4)])
    >>> p.flops, len(p.pairs), p.spec.shape
    (6336, 2, (8, 4))
    """
    spec = _read_spec(spec_or_equation, shapes)
    wanted = read_objective(objective)
    limit = None if memory is None else parse_bytes(memory)
    seconds = None if budget is None else parse_seconds(budget)
    try:
        itemsize = np.dtype(dtype).itemsize
    except TypeError as error:
        raise DTypeError(f"`dtype` is the name of a dtype, got {dtype!r}.") from error
    try:
        tree = None if path is None else tuple(tuple(map(int, pair)) for pair in path)
    except (TypeError, ValueError) as error:
        raise PlanError(f"`path` is a list of pairs of values, got {path!r}.") from error
    find = _search if len(spec.inputs) <= MANY else _search_many
    compiled = find(
        spec.canonical, wanted, None if limit is None else limit // itemsize, seconds, tree
    )
    made = Plan(spec, compiled.pairs, wanted, limit, (), compiled)
    if limit is not None:
        _check_memory(made.peak_size * itemsize, limit, made.peak_size)
    return made


MANY = 2000  # inputs above which only a few plans are remembered, for they are large


@lru_cache(maxsize=512)
def _search(
    canonical: Canonical,
    objective: Objective,
    max_size: int | None,
    seconds: float | None,
    path: Pairs | None,
) -> Compiled:
    if path is None:
        path = search_pairs(
            canonical,
            objective,
            CPU,
            seconds=seconds,
            max_size=math.inf if max_size is None else max_size,
        )
    else:
        check_pairs(path, len(canonical.inputs))
    return Compiled(canonical, path)


_search_many = lru_cache(maxsize=4)(_search.__wrapped__)


def _read_spec(given: Spec | str, shapes: Sequence[Sequence[int]] | None) -> Spec:
    found = None if shapes is None else tuple(map(tuple, shapes))
    if isinstance(given, str):
        if found is None:
            raise PlanError(f"plan needs the shapes of the arrays of {given!r}.")
        return equation_spec(*read_equation(given), found)
    if not isinstance(given, Spec):
        raise PlanError(f"plan takes a Spec or an equation, got {type(given).__name__}.")
    if found is not None and found != given.shapes:
        return Spec.from_shapes(given.inputs, given.output, found)
    return given


def _check_memory(needed: int, limit: int, entries: int) -> None:
    if needed > limit:
        raise MemoryBudgetError(
            f"the contraction would allocate {needed:,} bytes at once ({entries:,} entries), "
            f"but `memory` allows {limit:,}; nothing was allocated. Allow more, keep fewer "
            "labels in the output, or use a smaller dtype."
        )
