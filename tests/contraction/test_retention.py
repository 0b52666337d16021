"""Keep or make again: exact against all choices, and the peak that was promised."""

import itertools
import random
import tracemalloc

import numpy as np
import pytest

from contraction import Spec, environments, plan, value_and_gradients
from contraction.cost import CPU
from contraction.errors import MemoryBudgetError
from contraction.reuse.messages import build_messages
from contraction.reuse.retention import Budget, within_memory
from contraction.reuse.schedules import (
    always_kept,
    full_schedule,
    needed_values,
    schedule_keeping,
)
from contractions import random_arrays


def random_network(seed, count=0):
    """A connected network of 3..11 inputs (10 values at most are made going up)."""
    rng = random.Random(seed)
    count = count or rng.randint(3, 11)
    inputs, sizes = [[] for _ in range(count)], {}
    for i in range(1, count + rng.randint(0, 3)):
        ends = (i, rng.randrange(i)) if i < count else rng.sample(range(count), 2)
        for end in ends:
            inputs[end].append(i)
        sizes[i] = rng.choice([2, 3, 5, 9])
    for i in range(count, count + rng.randint(0, 2)):
        inputs[rng.randrange(count)].append(("open", i))
        sizes["open", i] = rng.choice([2, 4])
    output = [x for x in sizes if isinstance(x, tuple)]
    return Spec(inputs, output, sizes)


def messages_of(spec, rng, leaves=None):
    alive, pairs = list(range(len(spec.inputs))), []
    while len(alive) > 1:  # any tree: the balanced ones are the hard ones
        i, j = rng.sample(alive, 2)
        alive = [v for v in alive if v not in (i, j)] + [len(spec.inputs) + len(pairs)]
        pairs.append((i, j))
    return build_messages(spec.canonical, pairs, CPU, None, leaves)


def chain(count, rng, rank=None):
    """Matrices in a row applied to a wide one, as in a deep linear network."""
    inputs = [[i, i + 1] for i in range(count)]
    sizes = {i: rank or rng.choice([2, 3, 4]) for i in range(count + 1)}
    sizes[0] = 30
    pairs = [(0, 1), *((count + k, k + 2) for k in range(count - 2))]
    return build_messages(Spec(inputs, [0, count], sizes).canonical, pairs, CPU)


def all_choices(messages, results):
    """Peak and flops of every set of values to keep."""
    needed = needed_values(messages, results)
    ups = [v for v in needed if messages.inputs < v < 2 * messages.inputs]
    free = sorted(set(ups) - always_kept(messages, results, needed))
    for flags in itertools.product([True, False], repeat=len(free)):
        kept = {v for v, flag in zip(free, flags, strict=True) if flag}
        made = schedule_keeping(messages, results, kept)
        yield made.peak_size, made.flops


@pytest.mark.parametrize("seed", range(60))
def test_no_choice_is_better(seed) -> None:
    rng = random.Random(seed)
    if seed % 2:
        messages = chain(rng.randint(5, 10), rng)
    else:
        spec = random_network(seed, count=rng.randint(3, 10))
        some = rng.sample(range(len(spec.inputs)), rng.randint(1, len(spec.inputs)))
        messages = messages_of(spec, rng, some)
    results = {messages.derivatives[i] for i in messages.finishes}
    if rng.random() < 0.5:
        results.add(messages.root)
    choices = sorted(all_choices(messages, results))
    full = full_schedule(messages, results)
    limits = sorted({peak for peak, _ in choices if peak < full.peak_size})
    for limit in rng.sample(limits, min(4, len(limits))):
        made = within_memory(messages, results, Budget(limit))
        assert made.peak_size <= limit
        assert made.flops == min(flops for peak, flops in choices if peak <= limit)
    if choices[0][0] < full.peak_size:
        with pytest.raises(MemoryBudgetError, match=f"{choices[0][0]:,} entries"):
            within_memory(messages, results, Budget(choices[0][0] - 1))


def test_a_long_chain_needs_a_fraction() -> None:
    messages = chain(100, random.Random(0), rank=2)
    results = {messages.derivatives[i] for i in messages.finishes}
    full = full_schedule(messages, results)
    made = within_memory(messages, results, Budget(int(0.35 * full.peak_size)))
    assert made.peak_size <= 0.35 * full.peak_size
    assert made.flops <= 1.34 * full.flops  # everything up is done twice at most


@pytest.mark.parametrize("seed", range(12))
def test_the_run_stays_within_what_was_promised(seed) -> None:
    rng = random.Random(seed)
    count = rng.randint(8, 20)
    sizes = {i: rng.choice([10, 20, 30]) for i in range(count + 1)} | {0: 2000}
    spec = Spec([[i, i + 1] for i in range(count)], [0, count], sizes)
    p = plan(spec, path=[(0, 1), *((count + k, k + 2) for k in range(count - 2))])
    xs, cotangent = random_arrays(spec, seed)
    every = environments(p, xs, cotangent=cotangent)
    full = _peak(lambda: environments(p, xs, cotangent=cotangent))
    limit = int(rng.uniform(0.6, 0.95) * full)
    found = environments(p, xs, cotangent=cotangent, memory=limit)
    for made, want in zip(found, every, strict=True):
        np.testing.assert_allclose(made, want, rtol=1e-9, atol=1e-9 * np.abs(want).max())
    peak = _peak(lambda: environments(p, xs, cotangent=cotangent, memory=limit))
    assert peak <= limit + 20_000  # beside the arrays some objects of Python
    assert peak < 0.96 * full


def _peak(call):
    call()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_slices_and_memory_together() -> None:
    count = 10
    sizes = dict.fromkeys(range(count + 1), 8) | {0: 600}
    inputs = [[i, i + 1] for i in range(count)] + [[count, 0]]
    path = [(0, 1), *((count + 1 + k, k + 2) for k in range(count - 1))]
    p = plan(Spec(inputs, [], sizes), path=path, slices=[3])
    xs, _ = random_arrays(p.spec, 0)
    every = environments(p, xs)
    full = _peak(lambda: environments(p, xs))
    limit = int(0.8 * full)
    for made, want in zip(environments(p, xs, memory=limit), every, strict=True):
        np.testing.assert_allclose(made, want, rtol=1e-9, atol=1e-9 * np.abs(want).max())
    assert _peak(lambda: environments(p, xs, memory=limit)) <= limit + 20_000


def test_too_little_is_refused() -> None:
    spec = Spec(["ab", "bc", "cd"], "", dict.fromkeys("abcd", 50))
    xs, _ = random_arrays(spec, 0)
    with pytest.raises(MemoryBudgetError, match="nothing was allocated"):
        environments(plan(spec), xs, memory=1000)
    with pytest.raises(MemoryBudgetError, match="nothing was allocated"):
        value_and_gradients(plan(spec, slices="b"), xs, memory=1000)
