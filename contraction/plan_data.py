"""Plan data: a plan as plain data for JSON, and back, with every entry checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from contraction.errors import PlanError, TnetError
from contraction.spec import Spec
from contraction.tuned import read_tuned, tuned_to_dict

if TYPE_CHECKING:
    from contraction.plans import Plan

VERSION = 2  # the first had no slices


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain data; labels must be text or whole numbers."""
    for label in plan.spec.sizes:
        if isinstance(label, bool) or not isinstance(label, (str, int)):
            raise PlanError(f"only text and whole-number labels can be written, got {label!r}.")
    tuned = plan.compiled.tuned
    return {
        "version": VERSION,
        "inputs": [list(labels) for labels in plan.spec.inputs],
        "output": list(plan.spec.output),
        "sizes": list(plan.spec.sizes.items()),
        "pairs": [list(pair) for pair in plan.pairs],
        "slices": list(plan.slices),
        "objective": plan.objective.value,
        "memory": plan.memory,
        "library": plan.compiled.library,
        "device": plan.compiled.device,
        "dtype": plan.compiled.dtype,
        **({} if tuned is None else {"tuned": tuned_to_dict(tuned)}),
    }


def plan_from_dict(data: Mapping[str, Any]) -> Plan:
    """Return the plan of `plan_to_dict`; its tree and slices are taken, not searched for."""
    from contraction.planner import plan

    try:
        version = data.get("version", 1)
        if not 1 <= _whole(version) <= VERSION:
            raise PlanError(
                f"the plan has version {version}, this program reads up to {VERSION}; a newer "
                "tnet wrote it."
            )
        inputs = [_labels(labels) for labels in _list(data["inputs"])]
        sizes = {_label(label): size for label, size in _list(data["sizes"])}
        spec = Spec(inputs, _labels(data["output"]), sizes)
        pairs = [(_whole(i), _whole(j)) for i, j in _list(data["pairs"])]
        slices = _labels(data.get("slices", []))
        objective = _text(data["objective"])
        memory = None if data["memory"] is None else _whole(data["memory"])
        library = _text(data.get("library", "numpy"))
        device = _text(data.get("device", "cuda:0" if library == "cupy" else "cpu"))
        dtype = _text(data.get("dtype", "float64"))
    except TnetError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise PlanError(
            "a plan needs `inputs`, `output`, `sizes`, `pairs`, `objective` and `memory`; "
            f"reading failed at {error!r}."
        ) from error
    made = plan(
        spec, path=pairs, slices=slices, objective=objective, memory=memory,
        library=library, device=device, dtype=dtype,
    )  # fmt: skip
    if data.get("tuned") is None:
        return made
    tuned = read_tuned(data["tuned"], len(pairs))
    return replace(made, compiled=made.compiled.with_tuned(made.pairs, tuned))


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{str(value)[:40]!r} is no whole number")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError(f"{str(value)[:40]!r} is no text")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{str(value)[:40]!r} is no list")
    return list(value)


def _label(value: Any) -> str | int:
    if type(value) not in (str, int):
        raise ValueError(f"{str(value)[:40]!r} is no label: text or a whole number")
    return value  # type: ignore[no-any-return]


def _labels(value: Any) -> tuple[str | int, ...]:
    return tuple(_label(label) for label in _list(value))
