"""Spec: what it accepts, what it refuses and with which words, and its canonical form."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contraction import Spec, TnetError
from contraction.errors import PlanError, ShapeError


def test_a_spec_is_a_value() -> None:
    a = Spec([("a", "b"), ("b", "c")], ("a", "c"), {"a": 2, "b": 3, "c": 4, "unused": 9})
    b = Spec((["a", "b"], ["b", "c"]), ["a", "c"], {"c": 4, "b": 3, "a": 2})
    assert a == b
    assert hash(a) == hash(b)
    assert a != Spec(a.inputs, a.output, {"a": 2, "b": 5, "c": 4})
    assert a.shape == (2, 4)
    assert a.shapes == ((2, 3), (3, 4))
    assert dict(a.sizes) == {"a": 2, "b": 3, "c": 4}
    again = pickle.loads(pickle.dumps(a))
    assert again == a
    assert hash(again) == hash(a)
    with pytest.raises(TypeError):
        a.sizes["a"] = 7  # type: ignore[index]


def test_labels_may_be_anything_hashable() -> None:
    spec = Spec([(1, "a"), ("a", (2, None)), ((2, None),)], (1,), {1: 2, "a": 3, (2, None): 4})
    assert spec.canonical == (((0, 1), (1, 2), (2,)), (0,), (2, 3, 4))


@given(st.permutations("abcdef"), st.integers(0, 5))
def test_canonical_form_forgets_names(names, turn) -> None:
    inputs, sizes = ["abc", "cd", "deaf", "b"], dict(zip("abcdef", (2, 3, 4, 5, 6, 7), strict=True))
    to = dict(zip("abcdef", names, strict=True))
    spec = Spec(inputs, "fa", sizes)
    renamed = Spec(
        [[to[x] for x in t] for t in inputs],
        [to[x] for x in "fa"],
        {to[x]: n for x, n in sizes.items()},
    )
    assert spec.canonical == renamed.canonical
    resized = Spec(inputs, "fa", {**sizes, "abcdef"[turn]: 9})
    assert resized.canonical != spec.canonical


def test_mismatched_sizes_name_label_tensors_and_sizes() -> None:
    with pytest.raises(ShapeError) as caught:
        Spec.from_shapes(["ab", "cd", "bc"], "ad", [(2, 3), (4, 5), (7, 4)])
    text = str(caught.value)
    for word in ("'b'", "size 3", "input 0", "(2, 3)", "size 7", "input 2", "(7, 4)"):
        assert word in text
    with pytest.raises(ShapeError, match="'a'"):
        Spec.from_shapes(["aa"], "", [(2, 3)])


@pytest.mark.parametrize(
    ("inputs", "output", "shapes", "error", "words"),
    [
        ([], "", [], PlanError, "at least one input"),
        (["ab"], "ac", [(2, 3)], PlanError, "'c'"),
        (["ab"], "aa", [(2, 3)], PlanError, "'a' twice"),
        (["ab", "b"], "a", [(2, 3)], ShapeError, "2 inputs, but 1 arrays"),
        (["ab", "b"], "a", [(2, 3), (3, 1)], ShapeError, "input 1 has 1 labels"),
        (["ab"], "a", [(2,)], ShapeError, "1 axes"),
    ],
)
def test_refusals(inputs, output, shapes, error, words) -> None:
    with pytest.raises(error, match=words) as caught:
        Spec.from_shapes(inputs, output, shapes)
    assert isinstance(caught.value, TnetError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("size", [-1, 2.5, "3", None, True, float("nan"), float("inf")])
def test_sizes_are_whole_numbers(size) -> None:
    with pytest.raises(ShapeError, match="'a'"):
        Spec(["a"], "a", {"a": size})


def test_numpy_sizes_and_zero_are_sizes() -> None:
    spec = Spec(["ab"], "a", {"a": np.int64(4), "b": 0})
    assert spec.shapes == ((4, 0),)
    assert type(spec.sizes["a"]) is int


def test_missing_size_and_unhashable_labels() -> None:
    with pytest.raises(PlanError, match="'b' has no size"):
        Spec(["ab"], "a", {"a": 2})
    with pytest.raises(PlanError, match="hashable"):
        Spec([[["x"]]], [], {})
