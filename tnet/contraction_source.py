"""What the shell is asked to contract: a network file, a JSON file, or an equation.

Only shapes are read here, never arrays.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contraction import Plan, Spec
from contraction.errors import FileFormatError, InputError, TnetError
from contraction.expressions import equation_spec, read_equation
from tnet.failures import UsageError

SUFFIXES = (".tnet", ".json")
LARGEST_JSON = 256 * 1024**2


@dataclass(frozen=True, kw_only=True)
class Contraction:
    """What to contract: the spec, and the plan if the source was one.

    Attributes
    ----------
    source
        The file, or the equation.
    spec
        Labels and sizes.
    plan
        A plan that was saved before.
    dtype
        Of the arrays, where the source says so.
    """

    source: str
    spec: Spec
    plan: Plan | None = None
    dtype: str | None = None


def read_contraction(
    source: str,
    *,
    shapes: Sequence[Sequence[int]] | None = None,
    sizes: Mapping[str, int] | None = None,
    size: int | None = None,
) -> Contraction:
    """Return what `source` says is to be contracted.

    Parameters
    ----------
    source
        A `.tnet` network; a `.json` file with a saved plan (`Plan.to_dict`), or with `inputs`,
        `output` and `sizes` (or `size_dict`); or an equation such as ``"ab,bc->ac"``.
    shapes, sizes, size
        For an equation: the shapes of the arrays, the sizes by label, or one size for all the
        labels that `sizes` does not name.

    Raises
    ------
    UsageError
        An equation without shapes or sizes.
    FileFormatError
        A file that is damaged or holds something else.
    PlanError, ShapeError
        Labels and shapes that do not fit one another.

    Examples
    --------
    >>> dict(read_contraction("ab,bc->ac", sizes={"b": 3}, size=2).spec.sizes)
    {'a': 2, 'b': 3, 'c': 2}
    """
    path = Path(source)
    if is_equation(source):
        return Contraction(source=source, spec=_equation(source, shapes, sizes or {}, size))
    if shapes is not None or sizes or size is not None:
        raise UsageError(
            f"{source!r} says its own shapes; --shapes, --sizes and --size are for equations."
        )
    if path.suffix not in SUFFIXES and os.sep not in source:
        raise UsageError(
            f"{source!r} is no .tnet or .json file, and no equation.",
            hint="an equation names the labels of each array, and those of the result: 'ab,bc->ac'",
        )
    if path.suffix == ".json":
        return _json_file(path)
    from tnet.storage import file_info

    found = file_info(path)
    return Contraction(source=source, spec=found.structure.spec(), dtype=found.dtype)


def is_equation(source: str) -> bool:
    """Tell whether a source is an equation, not the name of a file.

    Examples
    --------
    >>> is_equation("ab,bc->ac"), is_equation("ab,bc"), is_equation("net.tnet")
    (True, True, False)
    """
    named = Path(source).suffix in SUFFIXES or os.sep in source
    return "->" in source or ("," in source and not named)


def _equation(
    equation: str,
    shapes: Sequence[Sequence[int]] | None,
    sizes: Mapping[str, int],
    size: int | None,
) -> Spec:
    terms, output = read_equation(equation)
    if shapes is not None:
        if sizes or size is not None:
            raise UsageError("--shapes says all sizes; leave out --sizes and --size.")
        return equation_spec(terms, output, tuple(map(tuple, shapes)))
    labels = list(dict.fromkeys(label for term in terms for label in term))
    if any(not isinstance(label, str) for label in labels):
        raise UsageError("an equation with '...' needs --shapes.")
    unknown = [name for name in sizes if name not in labels]
    if unknown:
        raise UsageError(f"--sizes names {unknown[0]!r}, which {equation!r} does not hold.")
    missing = [label for label in labels if label not in sizes]
    if missing and size is None:
        raise UsageError(
            f"label {str(missing[0])!r} of {equation!r} has no size.",
            hint="give --shapes 8x9,9x10, --sizes a=8,b=9 or --size 8",
        )
    known = {label: sizes.get(str(label), size) for label in labels}
    given = [tuple(known[label] or 0 for label in term) for term in terms]
    return equation_spec(terms, output, tuple(given))


def _json_file(path: Path) -> Contraction:
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"larger than {LARGEST_JSON} bytes")
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{str(path)!r} is no JSON file: {error}.") from error
    if not isinstance(found, dict):
        raise FileFormatError(f"{str(path)!r} holds no JSON object.")
    try:
        if "pairs" in found:
            plan = Plan.from_dict(found)
            return Contraction(source=str(path), spec=plan.spec, plan=plan)
        return Contraction(source=str(path), spec=_spec(found))
    except TnetError as error:
        raise FileFormatError(f"{str(path)!r} holds no contraction: {error}") from error


def _spec(found: Mapping[str, Any]) -> Spec:
    sizes = found.get("sizes", found.get("size_dict"))
    if isinstance(sizes, list):
        try:
            sizes = dict(sizes)
        except (TypeError, ValueError) as error:
            raise InputError(f"`sizes` is no mapping of labels to sizes: {error}.") from error
    inputs, output = found.get("inputs"), found.get("output")
    if not isinstance(inputs, list) or not isinstance(output, list | str):
        raise InputError("it needs `inputs`, a list of lists of labels, and `output`, a list.")
    if not all(isinstance(labels, list | str) for labels in inputs):
        raise InputError("each of `inputs` is a list of labels.")
    if not isinstance(sizes, dict):
        raise InputError("it needs `sizes` (or `size_dict`), an object of label: size.")
    flat = [label for labels in (*inputs, output) for label in labels]
    if not all(isinstance(label, str | int) for label in flat):
        raise InputError("labels are text or whole numbers.")
    by_label: dict[Any, Any] = {x: sizes.get(x, sizes.get(str(x))) for x in flat}
    missing = next((label for label, n in by_label.items() if not isinstance(n, int)), None)
    if missing is not None:
        raise InputError(f"label {missing!r} has no size.")
    return Spec(inputs, output, by_label)
