"""Path search: a portfolio of ways to find a contraction tree, and the choice among them.

All trees of up to four inputs are tried; opt_einsum's dynamic programme serves up to ten
(Pfeifer, Haegeman and Verstraete, Phys. Rev. E 90, 033315 (2014)); larger networks get our own
greedy search, and where the work is worth the search also random trials and cotengra's subtree
reconfiguration (Gray and Kourtis, Quantum 5, 410 (2021)). Candidates are compared after lowering.
"""

from __future__ import annotations

import enum
import itertools
import math
import time
from collections.abc import Iterator, Sequence

from contraction.cost import CostModel
from contraction.errors import PlanError
from contraction.greedy import greedy_pairs, smallest_first
from contraction.program import Program, compile_program
from contraction.spec import Canonical
from contraction.tree import Pairs, build_tree, leaf_labels, order_for_memory, reorder

Leaves = Sequence[tuple[int, ...]]
ALL_TREES = 4  # inputs up to which every tree is tried
EXACT = 10  # inputs up to which dynamic programming is cheap
RECONFIGURED = 1000  # inputs up to which a tree is refined without being asked to
REFINING = 1e-3  # seconds an input that cotengra takes to refine a tree
ROTATED = 5e-5  # seconds of estimated run time from which small changes of a tree are tried
WORTH = 5e-4  # seconds of estimated run time from which a long search pays
TRIALS = 16


class Objective(enum.Enum):
    """What the planner makes small. Ties go to the smaller estimated time.

    TIME is the estimated time of the lowered program, FLOPS the number of floating-point
    operations, SIZE the most entries alive at once, WRITE the entries written, COMBO the
    multiply-adds plus 64 for each entry written.
    """

    TIME = "time"
    FLOPS = "flops"
    SIZE = "size"
    WRITE = "write"
    COMBO = "combo"


def read_objective(objective: Objective | str) -> Objective:
    """Return the objective of this exact value.

    Raises
    ------
    PlanError
        There is none of that name.

    Examples
    --------
    >>> read_objective("flops")
    <Objective.FLOPS: 'flops'>
    """
    try:
        return Objective(objective)
    except ValueError as error:
        names = ", ".join(o.value for o in Objective)
        raise PlanError(f"`objective` is one of {names}; got {objective!r}.") from error


def search_pairs(
    canonical: Canonical,
    objective: Objective,
    model: CostModel,
    *,
    seconds: float | None = None,
    max_size: float = math.inf,
) -> Pairs:
    """Return the best tree found for a contraction.

    Parameters
    ----------
    canonical
        What to contract.
    objective
        What to make small.
    model
        Rates for the estimated time.
    seconds
        Time for the search on networks too large for an exact one, shared out over the parts
        that have no label in common; by default a fixed number of trials, so that the same
        contraction always gets the same plan.
    max_size
        Entries that may be alive at once; trees within it go before all others.

    Cost: near-linear in the number of labels above some thousand inputs.
    """
    leaves, _ = leaf_labels(canonical)
    parts = components(leaves)
    if len(parts) == 1 or len(leaves) <= ALL_TREES:
        return _search_connected(canonical, objective, model, seconds, max_size)
    pairs: list[tuple[int, int]] = []
    rest = []
    for part in parts:
        root = part[0]
        if len(part) > 1:
            inner = _restricted(canonical, leaves, part)
            names = list(part)
            share = None if seconds is None else seconds * len(part) / len(leaves)
            for i, j in _search_connected(inner, objective, model, share, max_size):
                pairs.append((names[i], names[j]))
                names.append(len(leaves) + len(pairs) - 1)
            root = names[-1]
        labels = {x for value in part for x in leaves[value]}
        volume = math.prod(canonical.sizes[x] for x in canonical.output if x in labels)
        rest.append((volume, root))
    return (*pairs, *smallest_first(rest, len(leaves) + len(pairs)))


def components(leaves: Leaves) -> list[list[int]]:
    """Return the parts of a network that share no label, each a list of inputs.

    Examples
    --------
    >>> components([(0, 1), (2,), (1,), ()])
    [[0, 2], [1], [3]]
    """
    holders: dict[int, list[int]] = {}
    for value, labels in enumerate(leaves):
        for label in labels:
            holders.setdefault(label, []).append(value)
    seen = [False] * len(leaves)
    parts: list[list[int]] = []
    for start in range(len(leaves)):
        if seen[start]:
            continue
        seen[start] = True
        found = [start]
        for value in found:  # grows while it is walked
            for label in leaves[value]:
                for other in holders.pop(label, ()):
                    if not seen[other]:
                        seen[other] = True
                        found.append(other)
        parts.append(sorted(found))
    return parts


def _restricted(canonical: Canonical, leaves: Leaves, part: Sequence[int]) -> Canonical:
    number: dict[int, int] = {}
    inputs = tuple(
        tuple(number.setdefault(x, len(number)) for x in leaves[value]) for value in part
    )
    output = tuple(number[x] for x in canonical.output if x in number)
    return Canonical(inputs, output, tuple(canonical.sizes[x] for x in number))


def _search_connected(
    canonical: Canonical,
    objective: Objective,
    model: CostModel,
    seconds: float | None,
    max_size: float,
) -> Pairs:
    count = len(canonical.inputs)
    if count <= 2:
        return ((0, 1),) * (count - 1)
    score = _Score(canonical, objective, model, max_size)
    if count <= ALL_TREES:
        return score.best(_all_trees(count))
    leaves, _ = leaf_labels(canonical)
    sizes = [max(n, 1) for n in canonical.sizes]
    greedy = greedy_pairs(leaves, canonical.output, sizes)
    if count > RECONFIGURED and seconds is None:
        return order_for_memory(build_tree(canonical, greedy))
    best = score.best([greedy])
    if count <= EXACT:
        best = score.best([best, _exact(leaves, canonical.output, sizes, objective)])
        if not score.fits(best):
            small = _exact(leaves, canonical.output, sizes, Objective.SIZE)
            return _rotate(score.best([best, small]), count, score)
        return _rotate(best, count, score) if score.program(best).seconds > ROTATED else best
    if seconds is None and score.program(best).seconds < WORTH and score.fits(best):
        return best
    trials = sorted(
        dict.fromkeys(_trials(best, leaves, canonical.output, sizes, seconds)),
        key=lambda pairs: _estimate(canonical, pairs),
    )
    best = score.best([best, *trials[:2]])
    if seconds is None or REFINING * count < seconds:
        better = _reconfigured(best, leaves, canonical.output, sizes, objective)
        best = score.best([best, better])
    if not score.fits(best):
        small = _reconfigured(best, leaves, canonical.output, sizes, Objective.SIZE)
        best = score.best([best, small])
    return best


class _Score:
    """Compares trees of one contraction by what their programs do."""

    def __init__(
        self, canonical: Canonical, objective: Objective, model: CostModel, max_size: float
    ) -> None:
        self.canonical, self.objective = canonical, objective
        self.model, self.max_size = model, max_size
        self._known: dict[Pairs, Program] = {}

    def program(self, pairs: Pairs) -> Program:
        """Return the program of a tree, compiled once."""
        known = self._known.get(pairs)
        if known is None:
            known = self._known[pairs] = compile_program(self.canonical, pairs, self.model)
        return known

    def fits(self, pairs: Pairs) -> bool:
        """Tell whether a tree stays within the entries allowed."""
        return self.program(pairs).peak_size <= self.max_size

    def best(self, trees: Iterator[Pairs] | Sequence[Pairs]) -> Pairs:
        """Return the best of `trees`, each with its steps in the order of least memory."""
        built = (build_tree(self.canonical, pairs) for pairs in trees)
        steps = {order_for_memory(tree): sum(map(tree.step_size, tree.pairs)) for tree in built}
        most: float = math.inf
        limited = self.max_size < math.inf  # then a tree of many flops may be all that fits
        if self.objective in (Objective.TIME, Objective.FLOPS) and not limited:
            most = _a_quarter_more(min(steps.values()))  # no need to lower the others
        programs = {pairs: self.program(pairs) for pairs, n in steps.items() if n <= most}
        ceiling = _a_quarter_more(min(program.flops for program in programs.values()))

        def key(pairs: Pairs) -> tuple[float, ...]:
            program = programs[pairs]
            over = 0.0 if self.fits(pairs) else program.peak_size - self.max_size
            return (over, *self._goal(program, ceiling), program.seconds)

        return min(programs, key=key)

    def _goal(self, program: Program, ceiling: float) -> tuple[float, ...]:
        match self.objective:
            case Objective.TIME:  # an estimate may not buy its time with many more flops
                return (max(ceiling, program.flops), program.seconds)
            case Objective.FLOPS:
                return (program.flops,)
            case Objective.SIZE:
                return (program.peak_size, program.flops)
            case Objective.WRITE:
                return (program.write_size,)
            case Objective.COMBO:
                return (program.flops // 2 + 64 * program.write_size,)


def _a_quarter_more(flops: int) -> int:
    """Return the flops that a shorter estimated time may cost; whole, for they may be huge."""
    return flops + flops // 4


def _all_trees(count: int) -> Iterator[Pairs]:
    def grow(alive: tuple[int, ...], fresh: int) -> Iterator[Pairs]:
        if len(alive) == 1:
            yield ()
        for i, j in itertools.combinations(alive, 2):
            rest = tuple(v for v in alive if v not in (i, j))
            for tail in grow((*rest, fresh), fresh + 1):
                yield ((i, j), *tail)

    return grow(tuple(range(count)), count)


def _rotate(pairs: Pairs, count: int, score: _Score) -> Pairs:
    """Improve a tree by regrouping ((x, y), z) into (x, (y, z)) or (y, (x, z)) while it helps."""
    for _ in range(count):
        better = score.best([pairs, *_neighbours(pairs, count)])
        if better == pairs:
            break
        pairs = better
    return pairs


def _neighbours(pairs: Pairs, count: int) -> Iterator[Pairs]:
    for top, (left, right) in enumerate(pairs):
        for inner, other in ((left, right), (right, left)):
            if inner < count:
                continue
            x, y = pairs[inner - count]
            for stays, goes in ((x, y), (y, x)):
                changed = list(pairs)
                changed[inner - count] = (goes, other)
                changed[top] = (stays, inner)
                yield reorder(changed, count)


def _minimized(objective: Objective) -> str:
    """Return the nearest objective that opt_einsum and cotengra know."""
    return {Objective.TIME: "combo-64", Objective.COMBO: "combo-64"}.get(objective, objective.value)


def _exact(
    leaves: Leaves, output: Sequence[int], sizes: Sequence[int], objective: Objective
) -> Pairs:
    from opt_einsum.paths import DynamicProgramming, linear_to_ssa

    held = {x for labels in leaves for x in labels}
    path = DynamicProgramming(minimize=_minimized(objective))(
        [frozenset(labels) for labels in leaves],
        frozenset(x for x in output if x in held),
        {x: sizes[x] for x in held},
    )
    return tuple((int(i), int(j)) for i, j in linear_to_ssa(path))


def _trials(
    start: Pairs,
    leaves: Leaves,
    output: Sequence[int],
    sizes: Sequence[int],
    seconds: float | None,
) -> Iterator[Pairs]:
    """Yield `start` and trees of greedy searches with noise."""
    yield start
    begin, seed = time.monotonic(), 0
    while seed < TRIALS if seconds is None else time.monotonic() - begin < seconds:
        seed += 1
        alpha = (1.0, 0.5, 2.0, 0.1)[seed % 4]
        temperature = 0.01 * 3.0 ** (seed % 5)
        yield greedy_pairs(leaves, output, sizes, alpha=alpha, temperature=temperature, seed=seed)


def _estimate(canonical: Canonical, pairs: Pairs) -> int:
    """Return the multiply-adds and 64 for each entry written: a quick measure of a tree."""
    tree = build_tree(canonical, pairs)
    count = len(tree.leaves)
    return sum(tree.step_size(p) + 64 * tree.size(count + k) for k, p in enumerate(tree.pairs))


def _reconfigured(
    pairs: Pairs,
    leaves: Leaves,
    output: Sequence[int],
    sizes: Sequence[int],
    objective: Objective,
) -> Pairs:
    """Return the tree with its subtrees of up to eight leaves solved again."""
    import cotengra

    held = {x for labels in leaves for x in labels}
    names = {x: cotengra.get_symbol(x) for x in sorted(held)}
    tree = cotengra.ContractionTree.from_path(
        [tuple(names[x] for x in labels) for labels in leaves],
        tuple(names[x] for x in output if x in held),
        {names[x]: sizes[x] for x in held},
        ssa_path=pairs,
    )
    tree = tree.subtree_reconfigure(
        subtree_size=8, minimize=_minimized(objective), maxiter=20, seed=0
    )
    return tuple((int(i), int(j)) for i, j in tree.get_ssa_path())
