"""`tnet search`: find a structure for data, or for several, in run folders that survive."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from structure_search.commands.config_file import config_text, make_configurable, settle
from structure_search.commands.finishing import Finished, Work, finish
from structure_search.commands.goal import (
    add_goal_options,
    add_limit_options,
    add_worker_options,
    goal_words,
    make_objective,
    make_workers,
    parse_share,
    require_goal,
    task_options,
)
from structure_search.commands.method_choice import (
    METHOD_LINES,
    add_method_options,
    default_method,
    make_method,
    method_class,
    method_options,
    show_methods,
    split_settings,
)
from tnet.console import Console, ExitCode, format_bytes, format_seconds
from tnet.options import (
    UsageError,
    add_command,
    add_data_options,
    open_data,
    output_path,
    parse_count,
)

if TYPE_CHECKING:
    from structure_search.objectives import AbstractObjective
    from structure_search.results import Result
    from tnet.inputs import Data
    from tnet.structure import Structure

TEMPLATES = {  # --template -> function of tnet
    "train": "tensor_train",
    "ring": "tensor_ring",
    "tree": "balanced_tree",
    "tucker": "tucker",
    "grid": "grid",
    "full": "fully_connected",
}


def register(subparsers: Any) -> None:
    """Add `tnet search`."""
    parser = add_command(
        subparsers,
        "search",
        run_search,
        help="search the network structure that fits an array",
        description="Find the smallest network within a relative error (--tol), or the best "
        "one within a budget (--max-params, --max-bytes, --max-flops), or the best weighted sum "
        "(--weight). With --run every evaluation is journalled, and tnet resume goes on after "
        "any kind of stop. Several DATA are searched one after the other.",
    )
    add_data_options(parser, nargs="*", help="files, FILE:KEY, or bundled names")
    group = add_method_options(parser)
    add_goal_options(group)
    group.add_argument(
        "--held-out", type=parse_share, metavar="0.1",
        help="with --missing mask: judge by this share of the observed entries, not fitted",
    )  # fmt: skip
    group.add_argument("--max-rank", type=parse_count, metavar="R", help="largest rank of a bond")
    group.add_argument("--max-degree", type=parse_count, metavar="D", help="most bonds at a node")
    group.add_argument("--no-inner-nodes", action="store_true", help="only nodes with a mode")
    group.add_argument(
        "--template", metavar="NAME",
        help=f"graph to begin from or to keep: {', '.join(TEMPLATES)}, or NET.tnet",
    )  # fmt: skip
    group.add_argument("--reuse", metavar="RUN", help="begin with what an earlier run has found")
    group.add_argument("--only-reuse", action="store_true", help="with --reuse: search no further")
    add_limit_options(group)
    add_worker_options(parser)
    kept = parser.add_argument_group("what is kept")
    kept.add_argument("--run", metavar="DIR", help="run folder; of several DATA, one in it each")
    kept.add_argument("--out", metavar="NET.tnet", help="file for the best network")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
    parser.add_argument(
        "--list-methods", action="store_true", help="show the methods and their options, and stop"
    )
    make_configurable(parser)


def run_search(args: argparse.Namespace, console: Console) -> int:
    """Run `tnet search`."""
    settle(args)
    chosen = args.method
    args.method = default_method() if chosen is None else chosen
    if args.list_methods:
        return show_methods(chosen, console)
    if args.print_config:
        console.out(config_text(args).rstrip("\n"))
        console.result({"config": config_text(args)})
        return ExitCode.DONE
    if not args.data:
        raise UsageError("name the data to search for.", hint="e.g. tnet search kinetic --tol 0.05")
    if args.out:
        output_path(args.out, suffixes=(".tnet",))
    objective, method, workers = _checked(args)
    if len(args.data) > 1:
        from structure_search.commands.several import search_several

        return search_several(
            args, console, lambda one: search_one(one, objective, method, workers, console)
        )
    args.data = args.data[0]
    done = search_one(args, objective, method, workers, console)
    if done.document:
        console.result(done.document, ok=done.code == ExitCode.DONE)
    return done.code


def _checked(args: argparse.Namespace) -> tuple[AbstractObjective, Any, dict[str, Any]]:
    """Return what the options say, after all checks that need no data."""
    line = METHOD_LINES.get(args.method)
    objective = make_objective(args)  # also checks that one goal at most is named
    settings = split_settings(args.settings)
    if args.template and "template" in method_options(method_class(args.method)):
        if not args.template.endswith(".tnet"):
            settings.setdefault("template", args.template)
    method = make_method(
        args.method,
        settings,
        flags={
            "max_rank": args.max_rank,
            "max_degree": args.max_degree,
            "max_params": args.max_params,
            "inner_nodes": False if args.no_inner_nodes else None,
        },
        unlimited=bool(args.budget or args.time or args.patience),
    )
    require_goal(args, line.needs if line else "")
    assert objective is not None
    if args.only_reuse and not args.reuse:
        raise UsageError("--only-reuse fits what --reuse RUN has found; name the run.")
    if args.reuse:
        from structure_search.methods.reuse import reuse_of

        method = reuse_of(args.reuse, then=None if args.only_reuse else method)
    workers: Mapping[str, Any] = make_workers(args)
    more = {} if args.patience is None else {"patience": args.patience}
    return objective, method, {**workers, **more}


def search_one(
    args: argparse.Namespace,
    objective: AbstractObjective,
    method: Any,
    more: Mapping[str, Any],
    console: Console,
) -> Finished:
    """Search for one array, `args.data`."""
    data = open_data(args)
    task = task_options(args, data)
    start = None
    if args.template and not _takes_template(args):
        start = template(args, data)
    if args.dry_run:
        return Finished(_dry_run(args, data, objective, method, console), {}, None)
    import numpy as np

    from structure_search import resume, search

    def begin(**options: Any) -> Result:
        limits = {"max_evaluations": args.budget, "max_seconds": args.time}
        if getattr(args, "going_on", False):
            return resume(args.run, np.asarray(data.array), **limits, **more, **options)
        return search(
            np.asarray(data.array),
            method=method,
            objective=objective,
            rng=np.random.default_rng(args.seed),
            modes=data.names,
            start=start,
            run=args.run,
            source=source_of(args, data),
            **limits,
            **more,
            **task,
            **options,
        )

    work = Work(
        run=args.run,
        out=args.out,
        total=args.budget,
        seconds=args.time,
        objective=objective,
        method=args.method,
    )
    done = finish(begin, work, console)
    if args.reuse and done.result is not None:
        from structure_search.commands.reusing import show_reuse

        done.document["reused"] = show_reuse(done.result, np.asarray(data.array), args, console)
    return done


def _takes_template(args: argparse.Namespace) -> bool:
    """Tell whether the method makes the graph of --template itself."""
    named = not args.template.endswith(".tnet")
    return named and "template" in method_options(method_class(args.method))


def template(args: argparse.Namespace, data: Data) -> Structure:
    """Return the structure that --template names, on the modes of the data.

    Raises
    ------
    UsageError
        There is no such template, or the network of the file has other modes.
    """
    import tnet
    from structure_search.commands.method_choice import nearest

    name = args.template
    if name.endswith(".tnet"):
        found = tnet.file_info(name).structure
        if found.shape != tuple(data.modes.values()):
            raise UsageError(
                f"--template {name} has shape {found.shape}, the data {tuple(data.shape)}."
            )
        return found.renamed(legs=dict(zip(found.modes, data.modes, strict=True)))
    if name not in TEMPLATES:
        raise UsageError(f"--template {name!r} is not known.", hint=nearest(name, TEMPLATES))
    made: Structure = getattr(tnet, TEMPLATES[name])(data.modes, args.max_rank or 2)
    return made


def source_of(args: argparse.Namespace, data: Data) -> dict[str, Any]:
    """Return what run.json needs to read the data again, from any folder."""
    source = args.data
    if data.path is not None and source.startswith(str(data.path)):
        source = str(data.path.resolve()) + source.removeprefix(str(data.path))
    return {
        "source": source,
        "path": None if data.path is None else str(data.path.resolve()),
        "key": args.key,
        "reshape": args.reshape,
        "order": args.order,
        "missing": args.missing.value if args.missing.value == "zero" else None,
        "coords": args.coords.split(",") if args.coords else None,
        "value": args.value,
    }


def _dry_run(
    args: argparse.Namespace,
    data: Data,
    objective: AbstractObjective,
    method: Any,
    console: Console,
) -> int:
    # the data in double precision, two permuted copies for the sweeps, and the residual
    estimate = 4 * 8 * data.array.size * max(1, args.workers or 1)
    plan = {
        "data": data.source,
        "modes": data.modes,
        "method": repr(method),
        "goal": goal_words(objective),
        "budget": args.budget,
        "seconds": args.time,
        "seed": args.seed,
        "run": args.run,
        "memory": estimate,
    }
    if not isinstance(args.data, list):
        console.result(plan)
    shape = " x ".join(f"{name} {size}" for name, size in data.modes.items())
    limits = [f"{args.budget:,} evaluations"] if args.budget else []
    limits += [format_seconds(args.time)] if args.time else []
    limits += [f"{args.patience:,} evaluations without a better one"] if args.patience else []
    console.out(f"data    {data.source}: {shape} = {data.array.size:,} entries")
    console.out(f"goal    {goal_words(objective)}")
    console.out(f"method  {method!r}")
    console.out(f"limits  {', '.join(limits) or 'none: until the method ends, or Ctrl-C'}")
    console.out(f"memory  about {format_bytes(estimate)}")
    console.out(f"run     {args.run or 'not kept (give --run DIR)'}")
    return ExitCode.DONE
