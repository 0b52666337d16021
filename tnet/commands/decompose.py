"""`tnet decompose`: one array, one or several formats, a table, a drawing and a file."""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contraction.errors import DeviceError, InputError
from tnet.console import Console, ExitCode, format_seconds
from tnet.options import (
    MissingChoice,
    UsageError,
    add_command,
    add_data_options,
    open_data,
    output_path,
    parse_count,
    parse_ranks,
    parse_ratio,
    parse_tolerance,
)

if TYPE_CHECKING:
    from tnet.inputs import Data
    from tnet.network import Network
    from tnet.structure import Structure

FORMATS = {  # on the command line -> the function of `tnet` that returns the structure
    "tt": "tensor_train",
    "tucker": "tucker",
    "tree": "balanced_tree",
    "ht": "balanced_tree",
    "ring": "tensor_ring",
    "cp": "cp",
    "grid": "grid",
    "full": "fully_connected",
}
MOST_NODES_DRAWN = 64


def register(subparsers: Any) -> None:
    """Add `tnet decompose`."""
    parser = add_command(
        subparsers,
        "decompose",
        run,
        help="write an array as a tensor network of a fixed format",
        description="Decompose an array to a tolerance, to given ranks or into a parameter "
        "budget, in one format or in several to compare. Trees (tt, tucker, tree) are computed "
        "by one sweep with a guaranteed error, the others by alternating least squares, which "
        "needs --rank.",
    )
    add_data_options(parser)
    parser.add_argument(
        "--format",
        type=parse_formats,
        default=("tt",),
        metavar="F[,F...]",
        help=f"one or more of {', '.join(FORMATS)}, or NET.tnet for the structure and the largest "
        "ranks of that network (tt)",
    )
    parser.add_argument("--tol", type=parse_tolerance, metavar="T", help="relative error allowed")
    parser.add_argument("--rank", type=parse_ranks, metavar="R[,R...]", help="rank(s) of the bonds")
    parser.add_argument("--max-params", type=parse_count, metavar="N", help="largest size")
    parser.add_argument("--ratio", type=parse_ratio, metavar="R", help="smallest compression")
    parser.add_argument("--device", metavar="cpu|cuda:0", default="cpu", help="where to compute")
    parser.add_argument("--out", metavar="NET.tnet", help="file for the network")


def parse_formats(text: str) -> tuple[str, ...]:
    """Read a list of formats.

    Examples
    --------
    >>> parse_formats("tt,cp")
    ('tt', 'cp')
    """
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in FORMATS and not name.endswith(".tnet"):
            raise argparse.ArgumentTypeError(
                f"{name!r} is no format; known: {', '.join(FORMATS)}, NET.tnet"
            )
    return names


def run(args: argparse.Namespace, console: Console) -> int:
    """Decompose, show and save; code 5 if a tolerance was not reached."""
    goals = (args.tol, args.rank, args.max_params, args.ratio)
    if all(goal is None for goal in goals) and not all(f.endswith(".tnet") for f in args.format):
        raise UsageError("say how far to go: --tol, --rank, --max-params or --ratio.")
    if args.out is not None and len(args.format) > 1:
        raise UsageError("--out takes one network; give one --format.")
    out = None if args.out is None else output_path(args.out, suffixes=[".tnet"])
    data = open_data(args)
    x = on_device(data, args.device)
    results = []
    net = None
    for name in args.format:
        start = time.perf_counter()
        net = _network(x, data, name, args)
        results.append(_document(name, net, data, time.perf_counter() - start))
    assert net is not None
    reached = args.tol is None or all(found["error"] <= args.tol * (1 + 1e-9) for found in results)
    _show(data, results, net, console)
    if out is not None:
        _save(out, net, args, results[0], console)
    if not reached:
        console.note(f"tnet: the tolerance {args.tol:g} was not reached within the ranks allowed")
    document = {"source": data.source, "shape": data.shape, "dtype": data.dtype}
    console.result(document | {"results": results}, ok=reached)
    return ExitCode.DONE if reached else ExitCode.TARGET_NOT_REACHED


def on_device(data: Data, device: str) -> Any:
    """Return the array where it is to be computed with: NumPy on the host, else torch or CuPy."""
    from contraction.arrays import as_array, gpu_available, to

    if device == "cpu":
        return data.array
    for name in ("torch", "cupy"):
        if gpu_available(name):
            return to(as_array(data.array), namespace=name, device=device)
    raise DeviceError(f"neither torch nor cupy sees {device!r}; `tnet doctor` shows what is there.")


def _network(x: Any, data: Data, name: str, args: argparse.Namespace) -> Network:
    import numpy as np

    import tnet
    from tnet.formats import ranks_of

    rng = np.random.default_rng(args.seed)
    structure = _structure(name, data)
    if args.missing is MissingChoice.MASK and data.missing:
        if args.tol or args.max_params or args.ratio:
            raise UsageError(
                f"{data.missing} entries are missing, and a fit around them takes its ranks from "
                "--rank; leave --tol, --max-params and --ratio out."
            )
        ranks = ranks_of(args.rank, list(structure.ranks))
        return tnet.fit(x, structure.resized(ranks), rng=rng).network
    budgets = [args.max_params] if args.max_params else []
    if args.ratio:
        budgets.append(int(data.array.size / args.ratio))
    return tnet.decompose(
        x,
        structure if name.endswith(".tnet") else lambda _: structure,
        tol=args.tol,
        ranks=args.rank,
        max_params=min(budgets) if budgets else None,
        rng=rng,
    )


def _structure(name: str, data: Data) -> Structure:
    """Return the structure called `name` on the modes of the data, or that of a file."""
    import tnet

    if name.endswith(".tnet"):
        return tnet.file_info(name).structure
    found: Structure = getattr(tnet, FORMATS[name])(data.modes)
    return found


def _document(name: str, net: Network, data: Data, seconds: float) -> dict[str, Any]:
    certificate = net.certificate
    if certificate is None:
        raise InputError(f"the {name} network came without its error.")
    return {
        "format": name,
        "num_params": net.num_params,
        "compression": data.array.size / net.num_params,
        "error": certificate.error,
        "error_kind": certificate.kind.value,
        "error_bound": certificate.bound,
        "seconds": seconds,
        "ranks": dict(net.ranks),
        "structure": net.structure.to_dict(),
    }


def _show(data: Data, results: list[dict[str, Any]], net: Network, console: Console) -> None:
    import tnet

    modes = ", ".join(f"{name} {size}" for name, size in data.modes.items())
    console.out(f"{data.source}: {modes}; {data.array.size} entries of {data.dtype}\n")
    rows = [
        [
            found["format"],
            str(found["num_params"]),
            f"{found['compression']:.1f}x",
            f"{found['error']:.3e}",
            found["error_kind"],
            format_seconds(found["seconds"]),
            _ranks(list(found["ranks"].values())),
        ]
        for found in results
    ]
    heads = ["format", "params", "compression", "error", "kind", "seconds", "ranks"]
    console.table(heads, rows)
    if len(results) == 1 and len(net.structure.nodes) <= MOST_NODES_DRAWN and not console.json:
        console.out(f"\n{tnet.draw(net.structure)}")


def _ranks(ranks: list[int]) -> str:
    text = " ".join(map(str, ranks))
    return text if len(text) <= 32 else f"{text[:29].rpartition(' ')[0]} ..."


def _save(
    path: Path, net: Network, args: argparse.Namespace, found: dict[str, Any], console: Console
) -> None:
    import tnet

    goals = {"--tol": args.tol, "--rank": args.rank, "--max-params": args.max_params}
    words = [f"{flag} {goal}" for flag, goal in goals.items() if goal is not None]
    line = " ".join(["decompose", shlex.quote(args.data), "--format", found["format"], *words])
    tnet.save(path, net.to(namespace="numpy"), history=[line])
    found["network"] = str(path)
    console.out(f"\nnetwork: {path}")
    console.out(f'in Python: net = tnet.load("{path}"); net.to_dense()')
