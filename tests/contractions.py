"""Random contractions of every kind, their arrays, and what they come to by numpy.einsum."""

import numpy as np
from hypothesis import strategies as st

from contraction import Spec


@st.composite
def specs(draw, max_inputs=6, sizes=(1, 2, 3), max_labels=3):
    """Any contraction: diagonals, traces, sums of one input, hyperedges, parts, size one."""
    pool = "abcdefg"[: draw(st.integers(1, 7))]
    count = draw(st.integers(1, max_inputs))
    inputs = [draw(st.lists(st.sampled_from(pool), max_size=max_labels)) for _ in range(count)]
    held = sorted({x for labels in inputs for x in labels})
    output = draw(st.lists(st.sampled_from(held), unique=True, max_size=3)) if held else []
    return Spec(inputs, output, {x: draw(st.sampled_from(sizes)) for x in pool})


def random_arrays(spec, seed, dtype="float64", namespace="numpy"):
    rng = np.random.default_rng(seed)
    made = []
    for shape in (*spec.shapes, spec.shape):
        x = rng.standard_normal(shape)
        if dtype == "complex128":
            x = x + 1j * rng.standard_normal(shape)
        made.append(np.asarray(x))
    if namespace == "torch":
        import torch

        made = [torch.from_numpy(x) for x in made]
    return made[:-1], made[-1]


def full(spec, arrays):
    """The whole contraction by numpy.einsum, with whole numbers for labels."""
    number = {x: i for i, x in enumerate(spec.sizes)}
    operands = []
    for x, labels in zip(arrays, spec.inputs, strict=True):
        operands += [np.asarray(x), [number[label] for label in labels]]
    return np.einsum(*operands, [number[label] for label in spec.output])


def by_units(spec, arrays, cotangent, leaf):
    """The derivative by one input, entry by entry."""
    made = np.zeros(spec.shapes[leaf], np.result_type(*map(np.asarray, (*arrays, cotangent))))
    for place in np.ndindex(made.shape):
        unit = np.zeros(made.shape)
        unit[place] = 1.0
        others = [unit if i == leaf else x for i, x in enumerate(arrays)]
        made[place] = np.sum(full(spec, others) * np.asarray(cotangent))
    return made
