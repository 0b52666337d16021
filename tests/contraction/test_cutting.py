"""Which labels are sliced for the budgets of derivatives, and how many sets are worked out."""

import itertools
import math
import random
import re
from unittest import mock

import pytest

from contraction import Spec, plan
from contraction.errors import MemoryBudgetError
from contraction.reuse import derivation
from contraction.reuse.cutting import CALL, MOST_WORK, cuts
from contraction.reuse.derivation import derivation_of
from contraction.reuse.nesting import Question
from contraction.reuse.retention import Budget
from contraction.tree import build_tree


def network(seed: int, count: int) -> Spec:
    rng = random.Random(seed)
    inputs: list[list[int]] = [[] for _ in range(count)]
    sizes = {}
    for i in range(1, count + count // 2):
        near = rng.randrange(max(0, i - 4), i) if i < count else 0
        for end in (i, near) if i < count else rng.sample(range(count), 2):
            inputs[end].append(i)
        sizes[i] = rng.choice([2, 3, 4, 6, 8])
    return Spec(inputs, [], sizes)


def question(spec: Spec) -> Question:
    pairs = plan(spec, objective="flops").pairs
    every = tuple(range(len(spec.inputs)))
    return Question(spec.canonical, pairs, (), "numpy", None, every, False, True)


def work(asked: Question, slices, *, shared: bool) -> int:
    """Multiply-adds of all slices, turn by turn; the same turn of the same step is done once."""
    tree = build_tree(asked.canonical, asked.pairs)
    below = [set(held) for held in asked.canonical.inputs]
    total = 0
    for k, pair in enumerate(tree.pairs):
        below.append(below[pair.left] | below[pair.right])
        labels = {*pair.batch, *pair.summed, *pair.left_only, *pair.right_only}
        once = math.prod(tree.sizes[x] for x in labels.difference(slices))
        moving = [x for x in slices if x in below[len(tree.leaves) + k]] if shared else slices
        total += sum(
            once + CALL for _ in itertools.product(*(range(tree.sizes[x]) for x in moving))
        )
    return total


@pytest.mark.parametrize("seed", range(5))
def test_each_label_is_the_cheapest_of_the_largest_step(seed) -> None:
    asked = question(network(seed, 9))
    found = cuts(asked.canonical, asked.pairs, (), asked.leaves)
    assert found[0].labels == ()
    assert len(found) > 1
    for before, after in itertools.pairwise(found):
        *old, new = after.labels
        assert tuple(old) == before.labels
        assert after.size <= before.size
        least = work(asked, after.labels, shared=True)
        assert work(asked, after.labels, shared=False) <= MOST_WORK * work(asked, (), shared=False)
        assert least <= MOST_WORK * work(asked, (), shared=False)
        step = largest_step(asked, before.labels)
        rest = [x for x in step if x != new and x not in before.labels]
        for other in rest:
            if work(asked, (*old, other), shared=False) <= MOST_WORK * work(
                asked, (), shared=False
            ):
                assert least <= work(asked, (*old, other), shared=True)
        assert new in step


def largest_step(asked: Question, slices) -> list[int]:
    """The labels of the step that takes the most beside the inputs, up or down."""
    tree = build_tree(asked.canonical, asked.pairs)
    first = len(tree.leaves)

    def size(value: int) -> int:
        return math.prod(tree.sizes[x] for x in tree.legs[value] if x not in slices)

    needs = []
    for k, pair in enumerate(tree.pairs):
        inner = sum(size(v) for v in (pair.left, pair.right) if v >= first)
        down = size(pair.left) + size(pair.right)
        root = k + 1 == len(tree.pairs)
        needs.append(max(size(first + k) + inner, down + (0 if root else size(first + k))))
    pair = tree.pairs[needs.index(max(needs))]
    return [*pair.batch, *pair.summed, *pair.left_only, *pair.right_only]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("count", [12, 20])
def test_a_refusal_tells_what_will_do_after_few_tries(count, seed) -> None:
    asked = question(network(seed, count))
    free = derivation_of(asked, None)[0].peak_size
    for share in (0.5, 0.02):
        with mock.patch.object(derivation, "_one", wraps=derivation._one) as tried:
            try:
                made, _ = derivation_of(asked, Budget(int(share * free)))
                assert made.peak_size <= share * free
            except MemoryBudgetError as error:
                told = int(re.search(r"at least ([\d,]+) entries", str(error))[1].replace(",", ""))
                assert told > share * free
                assert derivation_of(asked, Budget(told))[0].peak_size <= told
        assert tried.call_count <= 20  # of both


def test_many_labels_are_sliced_where_one_is_not_enough() -> None:
    asked = question(network(1, 60))
    free = derivation_of(asked, None)[0].peak_size
    made, _ = derivation_of(asked, Budget(free // 500))
    assert made.peak_size <= free // 500
