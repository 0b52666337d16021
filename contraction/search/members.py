"""Members: path finders of other libraries that long searches may start from.

opt_einsum and cotengra come with this package. cotengrust and kahypar are used where the user has
installed them; nothing here imports them, or looks for more than whether they are there.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from contraction.search.problem import Found, Problem
from contraction.tree import Pairs

LARGEST = 1000  # leaves up to which they are asked
LONG = 5.0  # seconds of search from which they are asked

Member = Callable[[Problem, int, float], Pairs]


def member_trees(problem: Problem, *, seed: int, deadline: float) -> Iterator[Found]:
    """Yield a tree from each member there is, the quick ones first, until the deadline.

    Parameters
    ----------
    problem
        A connected network.
    seed
        Of those that draw random numbers.
    deadline
        Value of `time.perf_counter` after which no other member is asked. A member that is
        asked may overrun it, by less than a second for `LARGEST` leaves.
    """
    for member in _members():
        left = deadline - time.perf_counter()
        if left <= 0:
            return
        pairs = member(problem, seed, left)
        yield Found(tuple((int(i), int(j)) for i, j in pairs))


def _members() -> tuple[Member, ...]:
    if _installed("kahypar"):
        return _opt_einsum_greedy, _random_greedy, _partition("kahypar")
    if _installed("cotengrust"):
        return _opt_einsum_greedy, _random_greedy, _partition("labels")
    return _opt_einsum_greedy, _partition("labels")


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _opt_einsum_greedy(problem: Problem, seed: int, seconds: float) -> Pairs:
    from opt_einsum.paths import ssa_greedy_optimize

    leaves = [frozenset(held) for held in problem.leaves]
    sizes = dict(enumerate(max(size, 1) for size in problem.sizes))
    return tuple(ssa_greedy_optimize(leaves, frozenset(problem.output), sizes))


def _random_greedy(problem: Problem, seed: int, seconds: float) -> Pairs:
    """Greedy trials of cotengra, which takes cotengrust for them where that is installed."""
    import cotengra

    optimizer = cotengra.RandomGreedyOptimizer(max_repeats=32, seed=seed, parallel=False)
    return tuple(optimizer.ssa_path(*_named(problem)))


def _partition(method: str) -> Member:
    """Return a member that cuts the network into parts, and those again."""

    def member(problem: Problem, seed: int, seconds: float) -> Pairs:
        import cotengra

        optimizer = cotengra.HyperOptimizer(
            methods=[method],
            minimize="flops",
            max_repeats=8,
            max_time=seconds / 2,
            parallel=False,
            optlib="random",
            optlib_opts={"seed": seed},
            reconf_opts=None,
            progbar=False,
        )
        return tuple(optimizer.search(*_named(problem)).get_ssa_path())

    return member


def _named(problem: Problem) -> tuple[Sequence[Any], Any, dict[str, int]]:
    """Return the inputs, the output and the sizes with the symbols that cotengra expects."""
    from cotengra import get_symbol

    names = [get_symbol(label) for label in range(len(problem.sizes))]
    return (
        [tuple(names[x] for x in held) for held in problem.leaves],
        tuple(names[x] for x in problem.output),
        {name: max(size, 1) for name, size in zip(names, problem.sizes, strict=True)},
    )
