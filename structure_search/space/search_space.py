"""SearchSpace: variables, their neighbourhoods, and the structures that they stand for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import NamedTuple, TypeAlias, final

import numpy as np

from contraction.errors import InputError
from contraction.truncation import check_rank
from structure_search.space.limits import Limits
from structure_search.space.templates import Template, completed, template_graph
from tnet.structure import Structure

Value: TypeAlias = "int | tuple[str, ...]"
DRAWS = 100  # of one sample that keeps to the limits


class Arrangement(Enum):
    """Whether the modes may change places on the graph."""

    FIXED = "every mode stays at its node"
    FREE = "the modes may be put at the places of the graph in any order"


class State(NamedTuple):
    """A point of a space: the rank of every bond, and the mode at every place of the graph."""

    ranks: tuple[int, ...]
    modes: tuple[str, ...]


@final
@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Structures on one graph: a rank for every bond, and an order of the modes on its places.

    The variables are numbered: bond k of `bonds` is variable k, and the arrangement of the
    modes, where it is free, is the last one. A bond of rank one is absent, so the fully
    connected graph has every graph over its nodes in its space.

    Parameters
    ----------
    graph
        The structure whose graph it is; its ranks play no part.
    highest, lowest
        Of every rank.
    arrangement
        Whether modes may change places.
    limits
        What the structures must keep to.

    Raises
    ------
    InputError
        `highest` is below `lowest`.

    Examples
    --------
    >>> import tnet
    >>> space = SearchSpace(graph=tnet.tensor_train((4, 5, 6)), highest=3)
    >>> state = space.state_of(tnet.tensor_train((4, 5, 6), 2))
    >>> [s.ranks for s in space.neighbourhood(state, 0, 1)]
    [(1, 2), (2, 2), (3, 2)]
    """

    graph: Structure
    highest: int
    lowest: int = 1
    arrangement: Arrangement = Arrangement.FIXED
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        check_rank(self.lowest, "lowest")
        check_rank(self.highest, "highest")
        if self.highest < self.lowest:
            raise InputError(f"ranks from {self.lowest} to {self.highest} are none at all.")

    @cached_property
    def bonds(self) -> tuple[str, ...]:
        """The bonds, in the order of the variables."""
        return tuple(self.graph.ranks)

    @cached_property
    def places(self) -> tuple[str, ...]:
        """The modes of the graph itself, node after node: the names of the places."""
        return tuple(leg for _, legs in self.graph.nodes for leg in legs if leg in self._sizes)

    @cached_property
    def _sizes(self) -> Mapping[str, int]:
        return {mode: self.graph.size[mode] for mode in self.graph.modes}

    @cached_property
    def _exchanges(self) -> tuple[tuple[int, int], ...]:
        """Pairs of places at different nodes."""
        node = [self.graph.holders[place][0] for place in self.places]
        pairs = itertools.combinations(range(len(node)), 2)
        return tuple((i, j) for i, j in pairs if node[i] != node[j])

    @property
    def variables(self) -> range:
        """The numbers of the variables."""
        free = self.arrangement is Arrangement.FREE and bool(self._exchanges)
        return range(len(self.bonds) + free)

    def is_rank(self, variable: int) -> bool:
        """Tell whether a variable is a rank; otherwise it is the arrangement."""
        return variable < len(self.bonds)

    def structure(self, state: State) -> Structure:
        """Return the structure that a state stands for; its modes are in the data's order."""
        graph = self.graph
        put = dict(zip(self.places, state.modes, strict=True))
        nodes = [(node, tuple(put.get(leg, leg) for leg in legs)) for node, legs in graph.nodes]
        ranks = dict(zip(self.bonds, state.ranks, strict=True))
        return Structure(nodes, {**self._sizes, **ranks}, graph.modes)

    def state_of(self, structure: Structure) -> State:
        """Return the state of a structure on this very graph, each mode at its own place.

        Raises
        ------
        InputError
            Another graph, or ranks outside the range.
        """
        if not structure.same_graph(self.graph):
            raise InputError("the structure has another graph than the space.")
        ranks = tuple(structure.size[bond] for bond in self.bonds)
        if any(not self.lowest <= rank <= self.highest for rank in ranks):
            raise InputError(
                f"the ranks {ranks} do not lie in {self.lowest}..{self.highest}, the range of "
                "the space."
            )
        return State(ranks, self.places)

    def allows(self, state: State) -> bool:
        """Tell whether the structure of a state keeps to the limits."""
        return self.limits.allows(self.structure(state))

    def value(self, state: State, variable: int) -> Value:
        """Return the value of one variable."""
        return state.ranks[variable] if self.is_rank(variable) else state.modes

    def changed(self, state: State, variable: int, value: Value) -> State:
        """Return the state with another value of one variable."""
        if isinstance(value, tuple):
            return state._replace(modes=value)
        ranks = state.ranks
        return state._replace(ranks=(*ranks[:variable], value, *ranks[variable + 1 :]))

    def values(self, state: State, variable: int, radius: int) -> tuple[Value, ...]:
        """Return the values near the one that a variable has in `state`.

        For a rank, the 2 radius + 1 whole numbers around it, ascending; at the bounds the window
        is shifted, not cut, and only a range that is smaller makes it smaller. For the
        arrangement, the present one and then all that exchange two modes at different nodes.
        """
        if not self.is_rank(variable):
            return tuple(self._arrangements(state.modes))
        width = min(2 * radius, self.highest - self.lowest)
        low = min(max(state.ranks[variable] - radius, self.lowest), self.highest - width)
        return tuple(range(low, low + width + 1))

    def neighbourhood(self, state: State, variable: int, radius: int) -> tuple[State, ...]:
        """Return the states with one variable at each of its near values (see `values`)."""
        near = self.values(state, variable, radius)
        return tuple(self.changed(state, variable, value) for value in near)

    def sample(self, rng: np.random.Generator, *, absent: float = 0.0) -> State:
        """Draw a state within the limits.

        With probability `absent` a rank is the lowest one, otherwise it is uniform: over the
        whole range, or, if `absent` is above zero, over the rest of it. Ranks of a draw
        that breaks the limits are lowered one by one, the largest first; where even the lowest
        ones break them, another is drawn.

        Raises
        ------
        InputError
            None of many draws keeps to the limits.
        """
        for _ in range(DRAWS):
            state = self._lowered(self._drawn(rng, absent))
            if state is not None:
                return state
        raise InputError(
            f"no ranks from {self.lowest} on were found that keep to {self.limits}; widen the "
            "limits."
        )

    def _drawn(self, rng: np.random.Generator, absent: float) -> State:
        low = min(self.lowest + (absent > 0.0), self.highest)
        ranks = [
            self.lowest if absent > 0.0 and rng.random() < absent else self._rank(rng, low)
            for _ in self.bonds
        ]
        modes = self.places
        if len(self.variables) > len(self.bonds):
            modes = tuple(modes[k] for k in rng.permutation(len(modes)))
        return State(tuple(ranks), modes)

    def _lowered(self, state: State) -> State | None:
        """Return the state with ranks lowered, the largest first, until it keeps to the limits."""
        while not self.allows(state):
            ranks = state.ranks
            if not ranks or max(ranks) == self.lowest:
                return None
            widest = ranks.index(max(ranks))
            state = self.changed(state, widest, ranks[widest] - 1)
        return state

    def _rank(self, rng: np.random.Generator, low: int) -> int:
        return int(rng.integers(low, self.highest + 1))

    def _arrangements(self, modes: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield modes
        for i, j in self._exchanges:
            swapped = list(modes)
            swapped[i], swapped[j] = swapped[j], swapped[i]
            yield tuple(swapped)


def space_of(
    modes: Mapping[str, int],
    template: Template,
    start: Structure | None,
    *,
    highest: int,
    arrangement: Arrangement = Arrangement.FIXED,
    limits: Limits | None = None,
) -> tuple[SearchSpace, State | None]:
    """Return the space of a template over `modes`, and the state of `start` in it.

    A start brings its own graph, with ranks up to `highest` or its own, whichever is more;
    with `Template.FULL` all pairs of its nodes get a bond. Over all pairs an arrangement of
    the modes changes nothing that ranks cannot, so it is fixed there.

    Raises
    ------
    InputError
        A start that does not go with `Template.FULL`, or that breaks the limits.

    Examples
    --------
    >>> space, _ = space_of({"x": 4, "y": 5, "z": 6}, Template.FULL, None, highest=4)
    >>> space.bonds
    ('v0-v1', 'v0-v2', 'v1-v2')
    """
    graph = template_graph(template, modes) if start is None else start
    if template is Template.FULL:
        graph, arrangement = completed(graph), Arrangement.FIXED
    most = highest if start is None else max([highest, *start.ranks.values()])
    space = SearchSpace(
        graph=graph, highest=most, arrangement=arrangement, limits=limits or Limits()
    )
    if start is None:
        return space, None
    state = space.state_of(graph)
    if not space.allows(state):
        raise InputError(f"the start ({start.num_params} parameters) breaks {space.limits}.")
    return space, state
