"""`tnet plan`: how a network or an equation is contracted, and what that costs."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contraction.errors import MemoryBudgetError
from tnet.console import Console, format_bytes, format_seconds
from tnet.failures import UsageError
from tnet.options import (
    add_command,
    output_path,
    parse_count,
    parse_memory,
    parse_seconds,
    parse_shape,
)
from tnet.searching import searched_plan

if TYPE_CHECKING:
    from contraction import Plan
    from contraction.explanation import Explanation
    from tnet.contraction_source import Contraction

OBJECTIVES = ("time", "flops", "size", "write", "combo")
DTYPES = ("float32", "float64", "complex64", "complex128")
LIBRARIES = ("numpy", "torch", "cupy")
ROWS = 40


def register(subparsers: Any) -> None:
    """Add `tnet plan`."""
    parser = add_command(
        subparsers,
        "plan",
        run,
        help="how a network or an equation is contracted, and what it costs",
        description="Plan a contraction without running it, and say what a run would cost. SOURCE "
        "is a .tnet network, a .json file (a saved plan, or inputs, output and sizes), or an "
        "equation such as 'ab,bc->ac' with --shapes, or with --sizes or --size.",
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="a network, a plan or an equation, see above"
    )
    parser.add_argument(
        "--shapes",
        type=parse_shapes,
        metavar="8x9,9x10",
        help="shapes of the arrays of an equation",
    )
    parser.add_argument("--sizes", type=parse_sizes, metavar="a=8,b=9", help="sizes of its labels")
    parser.add_argument("--size", type=parse_count, metavar="8", help="size of all other labels")
    parser.add_argument(
        "--memory", type=parse_memory, metavar="4GiB",
        help="most that a run may allocate beside its inputs; also a share of what is free: 80%%",
    )  # fmt: skip
    parser.add_argument(
        "--budget", type=parse_seconds, metavar="10s", help="time to search for a better plan"
    )
    parser.add_argument(
        "--objective", choices=OBJECTIVES, help="what the plan is to make small (time)"
    )
    parser.add_argument("--dtype", choices=DTYPES, help="of the arrays (float64)")
    parser.add_argument(
        "--library", choices=LIBRARIES, default="numpy", help="whose arrays (numpy)"
    )
    parser.add_argument("--explain", action="store_true", help="show every step")
    parser.add_argument(
        "--measure",
        action="store_true",
        help="run it on random arrays, timing and showing every step",
    )
    parser.add_argument("--svg", metavar="FILE", help="draw the tree to FILE")
    parser.add_argument(
        "--out", metavar="FILE", help="write the plan to FILE (.json), for tnet contract"
    )


def parse_shapes(text: str) -> tuple[tuple[int, ...], ...]:
    """Read shapes: ``"8x9,9x10"``; a scalar is an empty word.

    Examples
    --------
    >>> parse_shapes("8x9,9x10")
    ((8, 9), (9, 10))
    """
    words = [word.strip() for word in text.split(",")]
    return tuple(parse_shape(word) if word else () for word in words)


def parse_sizes(text: str) -> dict[str, int]:
    """Read the sizes of labels: ``"a=8,b=9"``.

    Examples
    --------
    >>> parse_sizes("a=8,b=9")
    {'a': 8, 'b': 9}
    """
    found: dict[str, int] = {}
    for part in text.split(","):
        name, equals, size = part.partition("=")
        if not equals or not name.strip():
            raise argparse.ArgumentTypeError(f"{part!r} is not a size; write a=8,b=9")
        name = name.strip()
        if found.get(name, parse_count(size)) != parse_count(size):
            raise argparse.ArgumentTypeError(f"{name!r} is given two sizes in {text!r}")
        found[name] = parse_count(size)
    return found


def run(args: argparse.Namespace, console: Console) -> int:
    """Plan, say what was found, and write what was asked for."""
    targets = {
        name: output_path(path, suffixes=suffixes)
        for name, path, suffixes in (("svg", args.svg, (".svg",)), ("out", args.out, (".json",)))
        if path is not None
    }
    if any(str(path) == str(Path(args.source)) for path in targets.values()):
        raise UsageError(f"{args.source!r} is what is to be planned; name another file.")
    from contraction import explain
    from contraction.atomic import write_text
    from tnet.contraction_source import read_contraction

    found = read_contraction(args.source, shapes=args.shapes, sizes=args.sizes, size=args.size)
    dtype = args.dtype or found.dtype or "float64"
    made = _planned(args, found, dtype, console)
    explanation = explain(made, library=args.library, dtype=dtype)
    if args.measure:
        explanation = _measured(made, args, dtype)
    _show(args, console, explanation)
    document: dict[str, Any] = {"source": found.source, "plan": explanation.to_dict()}
    if "svg" in targets:
        from tnet.plan_drawing import plan_svg

        write_text(targets["svg"], plan_svg(explanation))
        document["svg"] = str(targets["svg"])
        console.note(f"the tree is drawn in {targets['svg']}")
    if "out" in targets:
        from tnet.console import to_json

        write_text(targets["out"], to_json(made.to_dict(), indent=None) + "\n")
        document["out"] = str(targets["out"])
        console.note(f"the plan is in {targets['out']}")
    console.result(document)
    return 0


def _planned(args: argparse.Namespace, found: Contraction, dtype: str, console: Console) -> Plan:
    """Return the plan that was saved, unless something else is asked for: then a new search."""
    kept = found.plan
    if kept is not None and args.budget is args.memory is args.objective is None:
        return kept
    objective = args.objective or (kept.objective if kept is not None else "time")
    options: dict[str, Any] = {} if args.budget is None else {"budget": args.budget}
    return searched_plan(
        found.spec, console, memory=args.memory, objective=objective, dtype=dtype,
        library=args.library, seed=args.seed, **options,
    )  # fmt: skip


def _measured(made: Plan, args: argparse.Namespace, dtype: str) -> Explanation:
    import numpy as np

    from contraction import explain
    from contraction.explanation import itemsize_of
    from contraction.step_times import random_arrays
    from tnet.memory import available_memory

    entries = made.peak_size + sum(math.prod(shape) for shape in made.spec.shapes)
    needed, free = entries * itemsize_of(dtype), available_memory()
    if args.library != "cupy" and needed > free:
        raise MemoryBudgetError(
            f"running this plan takes {format_bytes(needed)}, and {format_bytes(free)} are free; "
            "give --memory to plan within a limit, or leave out --measure."
        )
    rng = np.random.default_rng(args.seed)
    return explain(made, random_arrays(made.spec, rng, library=args.library, dtype=dtype))


def _show(args: argparse.Namespace, console: Console, explanation: Explanation) -> None:
    for name, value in _facts(explanation).items():
        console.out(f"{name:<10}  {value}")
    if args.explain or args.measure:
        console.out()
        console.out(str(explanation))


def _facts(explanation: Explanation) -> Mapping[str, str]:
    count = len(explanation.input_labels)
    facts = {
        "inputs": f"{count}, {len(explanation.steps)} steps",
        "flops": f"10^{math.log10(explanation.flops):.2f}" if explanation.flops else "none",
        "memory": f"{format_bytes(explanation.peak_bytes)} beside the inputs",
        "predicted": f"{format_seconds(explanation.predicted)} on one core",
    }
    if explanation.measured is not None:
        facts["measured"] = format_seconds(explanation.measured)
    if explanation.slices:
        from contraction.explanation import printable
        from contraction.report import amount

        names = ", ".join(f"{printable(name)} {size}" for name, size in explanation.slices[:8])
        more = len(explanation.slices) - 8
        names += f" and {more} more" if more > 0 else ""
        facts["slices"] = f"{amount(explanation.num_slices)} over {names}"
    return facts
