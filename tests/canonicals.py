"""Hypothesis strategies: random contractions in whole-number labels, and problems of the search."""

from hypothesis import strategies as st

from contraction.search.problem import problem_of
from contraction.spec import Canonical


@st.composite
def canonicals(draw: st.DrawFn, max_inputs: int = 7, max_labels: int = 8, sizes=(0, 1, 2, 3, 5)):
    """Any contraction: hyperedges, repeated and lonely labels, scalars, sizes of zero and one."""
    count = draw(st.integers(0, max_labels))
    size = st.sampled_from([n for n in sizes if n] * 4 + [0] * (0 in sizes))
    number: dict[int, int] = {}
    inputs = []
    for _ in range(draw(st.integers(1, max_inputs))):
        held = draw(st.lists(st.integers(0, count - 1), max_size=4)) if count else []
        inputs.append(tuple(number.setdefault(x, len(number)) for x in held))
    used = sorted(number.values())
    output = draw(st.lists(st.sampled_from(used), unique=True, max_size=3)) if used else []
    return Canonical(tuple(inputs), tuple(output), tuple(draw(size) for _ in used))


def problems(max_inputs: int = 7, max_labels: int = 8, sizes=(0, 1, 2, 3, 5)):
    """The problem of any contraction."""
    drawn = canonicals(max_inputs, max_labels, sizes)
    return drawn.map(lambda canonical: problem_of(canonical)[0])


@st.composite
def trees_over(draw: st.DrawFn, count: int):
    """Any tree over `count` leaves, as pairs."""
    alive = list(range(count))
    pairs = []
    while len(alive) > 1:
        i = alive.pop(draw(st.integers(0, len(alive) - 1)))
        j = alive.pop(draw(st.integers(0, len(alive) - 1)))
        pairs.append((i, j))
        alive.append(count + len(pairs) - 1)
    return tuple(pairs)
