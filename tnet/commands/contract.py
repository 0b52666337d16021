"""`tnet contract`: a network contracted to a tensor or a number, by one worker or by many."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contraction.errors import InputError, MemoryBudgetError, WorkerError
from tnet.console import Console, ExitCode, format_bytes, format_seconds
from tnet.options import (
    UsageError,
    add_command,
    output_path,
    parse_count,
    parse_devices,
    parse_memory,
    parse_seconds,
)
from tnet.searching import plan_line, searched_plan

if TYPE_CHECKING:
    from contraction import Plan
    from contraction.workers.schedulers import Scheduler
    from tnet.contraction_source import Contraction

SUFFIXES = (".npy", ".npz")
SECONDS_TO_ANSWER = 5.0  # of a scheduler
LEAST_SLICES = 2
ON_A_CLUSTER = 1000  # workers that one may have


def register(subparsers: Any) -> None:
    """Add `tnet contract`."""
    parser = add_command(
        subparsers,
        "contract",
        run,
        help="contract a network to a tensor or a number, with many workers",
        description="Contract SOURCE: a .tnet network; or a .json plan, or an equation such as "
        "'ab,bc->ac', followed by a file for each array. A number is printed, a tensor written "
        "to --out. With --run every finished part is kept, and the same command, or --resume, "
        "goes on after whatever stopped it. The plan is said before the work begins; one that "
        "would take more than a year is refused.",
    )
    parser.add_argument(
        "source", metavar="SOURCE", nargs="?", help="a network, a plan or an equation, see above"
    )
    parser.add_argument(
        "arrays", metavar="ARRAY", nargs="*", help="a file for each array of a plan or equation"
    )
    parser.add_argument("--out", metavar="FILE", help="file for the result: .npy or .npz")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    parser.add_argument(
        "--memory", type=parse_memory, metavar="4GiB",
        help="most that each worker may allocate beside the inputs; also a share of what is "
        "free for each: 80%%",
    )  # fmt: skip
    parser.add_argument(
        "--budget", type=parse_seconds, metavar="10s", help="time to search for a better plan"
    )
    workers = parser.add_mutually_exclusive_group()
    workers.add_argument(
        "--workers", type=parse_count, metavar="N", help="processes of this machine"
    )
    workers.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="a Dask cluster")
    workers.add_argument(
        "--devices", type=parse_devices, metavar="cuda:0,cuda:1",
        help="GPUs that share out the work, by PyTorch; one that is named twice has two streams",
    )  # fmt: skip
    folder = parser.add_mutually_exclusive_group()
    folder.add_argument("--run", metavar="DIR", help="folder that keeps what is done")
    folder.add_argument("--resume", metavar="DIR", help="go on in a folder of --run")


def run(args: argparse.Namespace, console: Console) -> int:
    """Check everything, plan, contract, and write or print the result."""
    out = _output(args)
    if args.resume is not None:
        return _resume(args, out, console)
    if args.source is None:
        raise UsageError("name a network, a plan or an equation, or give --resume DIR.")
    if args.scheduler is not None:
        _check_cluster(args)
    from tnet.contraction_checks import check_finite, check_result, check_time

    if args.devices is not None:
        _check_devices(args)
    found, files = _read(args.source, args.arrays)
    dtype = found.dtype or _common_dtype(files)
    check_result(found.spec, dtype, out, kept=args.run is not None)
    arrays = [data.array for data in files] if files else _network_arrays(args.source)
    sources = [repr(data.source) for data in files]
    check_finite(arrays, sources or [f"array {i} of {args.source!r}" for i in range(len(arrays))])
    if args.devices is not None:
        arrays = _tensors(arrays)
    plan, begun = _plan(args, found, arrays, dtype, console)
    console.note(plan_line(plan, plan.peak_bytes(arrays)))
    if not begun:
        workers = len(args.devices or ()) or args.workers or args.threads or 1
        workers = ON_A_CLUSTER if args.scheduler else workers
        check_time(plan.seconds, workers, console, kept=args.run is not None)
    from contraction import contract_with
    from contraction.arrays import to_numpy

    start = time.perf_counter()
    with _working(args.run, console) as progress:
        result = contract_with(
            plan,
            arrays,
            scheduler=_scheduler(args, plan),
            folder=args.run,
            progress=progress,
        )
    facts = {
        "source": args.source,
        "flops": plan.flops,
        "slices": plan.num_slices,
        "peak_bytes": plan.peak_bytes(arrays),
        "predicted": plan.seconds,
    }
    seconds = time.perf_counter() - start
    return _answer(to_numpy(result), facts, seconds, out, args.run, console)


def _resume(args: argparse.Namespace, out: Path | None, console: Console) -> int:
    given = {"--memory": args.memory, "--budget": args.budget, "a network": args.source}
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"--resume goes on with what was begun; leave out {name}.")
    if args.scheduler is not None:
        _check_cluster(args)
    if args.devices is not None:
        raise UsageError("what devices have done is not kept; leave out --devices.")
    from contraction import resume_contraction
    from contraction.workers.running import plan_of_run

    plan = plan_of_run(args.resume)
    if plan is None:
        raise InputError(f"no contraction was begun in {args.resume!r}; begin with --run.")
    start = time.perf_counter()
    with _working(args.resume, console) as progress:
        result = resume_contraction(
            args.resume, scheduler=_scheduler(args, plan), progress=progress
        )
    facts = {
        "source": args.resume,
        "flops": plan.flops,
        "slices": plan.num_slices,
        "predicted": plan.seconds,
    }
    return _answer(result, facts, time.perf_counter() - start, out, args.resume, console)


def _output(args: argparse.Namespace) -> Path | None:
    if args.out is None:
        return None
    out = output_path(args.out, suffixes=SUFFIXES)
    if out.exists() and not args.overwrite:
        raise UsageError(f"{args.out!r} exists.", hint="--overwrite replaces it")
    return out


def _check_cluster(args: argparse.Namespace) -> None:
    from contraction.workers.cluster import check_cluster

    check_cluster(args.scheduler, SECONDS_TO_ANSWER)


def _check_devices(args: argparse.Namespace) -> None:
    if args.run is not None:
        raise UsageError("what devices have done is not kept; leave out --run.")
    from contraction.arrays import namespace_by_name, require_device

    namespace_by_name("torch")
    for name in args.devices:
        require_device("torch", name)


def _tensors(arrays: Sequence[Any]) -> list[Any]:
    """Return arrays as tensors of the host, for a plan of PyTorch's kernels."""
    import numpy as np

    from contraction.arrays import as_array
    from contraction.torch_lapack import shared

    return [shared(np.asarray(as_array(x))) for x in arrays]


def _read(source: str, names: Sequence[str]) -> tuple[Contraction, list[Any]]:
    """Return what is to be contracted, and the opened files of its arrays."""
    from tnet.contraction_source import is_equation, read_contraction
    from tnet.inputs import open_array

    files = [open_array(name) for name in names]
    if is_equation(source):
        return read_contraction(source, shapes=[data.shape for data in files]), files
    found = read_contraction(source)
    is_network = not source.endswith(".json")
    if is_network and files:
        raise UsageError(f"{source!r} holds its own arrays; leave out {names[0]!r}.")
    if not is_network and len(files) != len(found.spec.inputs):
        raise UsageError(
            f"{source!r} has {len(found.spec.inputs)} inputs, and {len(files)} files were given.",
            hint="name one file for each input, in order",
        )
    for i, (data, shape) in enumerate(zip(files, found.spec.shapes, strict=not is_network)):
        if data.shape != shape:
            raise InputError(f"{names[i]!r} has shape {data.shape}, input {i} needs {shape}.")
    return found, files


def _common_dtype(files: Sequence[Any]) -> str:
    import numpy as np

    from contraction.arrays import DTYPES

    kinds = [data.dtype if data.dtype in DTYPES else "float64" for data in files]
    return str(np.result_type(*kinds)) if kinds else "float64"


def _network_arrays(source: str) -> list[Any]:
    import tnet
    from tnet.memory import available_memory

    net = tnet.load(source, memory=available_memory())
    return [net.arrays[node] for node in net.structure.node_names]


def _limit(args: argparse.Namespace, arrays: Sequence[Any]) -> int | None:
    """Return the bytes that --memory stands for, for each worker."""
    from contraction.units import parse_bytes, parse_share

    if args.memory is None:
        return None
    share = parse_share(args.memory)
    return parse_bytes(args.memory) if share is None else int(share * _free(args, arrays))


def _free(args: argparse.Namespace, arrays: Sequence[Any]) -> int:
    """Return the bytes that are free for each worker; on a device beside the inputs."""
    from contraction.memory import free_memory
    from tnet.memory import available_memory

    if args.devices is None:
        return available_memory() // (args.workers or 1)
    held = sum(int(x.nbytes) for x in arrays)
    shares: list[int] = [
        free_memory("torch", name) // args.devices.count(name) for name in args.devices
    ]
    return max(min(shares) - held, 1)


def _plan(
    args: argparse.Namespace,
    found: Contraction,
    arrays: Sequence[Any],
    dtype: str,
    console: Console,
) -> tuple[Plan, bool]:
    """Return the plan of the run folder, that of the source, or the best one found.

    Also whether it is that of the folder.
    """
    from contraction.workers.running import plan_of_run
    from tnet.memory import SHARE

    given = _limit(args, arrays)
    if args.run is not None:
        begun = plan_of_run(args.run)
        if begun is not None:
            if begun.spec.canonical != found.spec.canonical:
                raise InputError(
                    f"{args.run!r} holds another contraction than {args.source!r}; name a new one."
                )
            if given is not None and begun.peak_bytes(arrays) > given:
                raise UsageError(
                    f"{args.run!r} was begun with more memory than --memory {args.memory}.",
                    hint="leave --memory out to go on, or name a new folder",
                )
            return begun, True
    plan = found.plan
    limit = given or max(int(SHARE * _free(args, arrays)), 1)
    options: dict[str, Any] = {"dtype": dtype, "seed": args.seed}
    if args.devices is not None:
        options |= {"library": "torch", "device": args.devices[0]}
    options |= {} if args.budget is None else {"budget": args.budget}
    if plan is None and given is None:
        plan = searched_plan(found.spec, console, **options)
    if plan is None or plan.peak_bytes(arrays) > limit:
        plan = searched_plan(found.spec, console, memory=limit, **options)
    peak, free = plan.peak_bytes(arrays), _free(args, arrays)
    if peak > free:
        workers = len(args.devices or ()) or args.workers or 1
        raise MemoryBudgetError(
            f"each of {workers} workers needs {format_bytes(peak)}, and "
            f"{format_bytes(free)} of memory are free for each; use fewer workers or a smaller "
            "--memory."
        )
    return plan, False


def _scheduler(args: argparse.Namespace, plan: Plan) -> Scheduler:
    import numpy as np

    from contraction import Dask, Devices, Processes, Serial, Threads
    from tnet.memory import available_memory

    if args.scheduler is not None:
        return Dask(address=args.scheduler, timeout=SECONDS_TO_ANSWER)
    if args.devices is not None:
        return Devices(names=args.devices)
    if args.workers is not None:
        return Processes(workers=args.workers)
    if args.threads is not None and plan.num_slices >= LEAST_SLICES:
        peak = plan.peak_size * np.dtype(plan.compiled.dtype).itemsize
        fitting = max(1, available_memory() // max(peak, 1))
        return Threads(workers=min(args.threads, fitting))
    return Serial(blas_threads=args.threads)


@contextmanager
def _working(folder: str | None, console: Console) -> Iterator[Any]:
    """Show progress, and say after an interrupt, or on a full disk, how to go on."""
    try:
        with console.progress(100, "contract, %") as bar:
            yield lambda done, total: bar.update(100 * done // total, f"{done} of {total} tasks")
    except (KeyboardInterrupt, SystemExit, OSError, MemoryError, WorkerError):
        if folder is not None and Path(folder, "manifest.json").exists():
            name = shlex.quote(folder)
            console.note(f"what is done is kept; tnet contract --resume {name} goes on with it")
        raise


def _answer(
    result: Any,
    facts: dict[str, Any],
    seconds: float,
    out: Path | None,
    folder: str | None,
    console: Console,
) -> int:
    """Write the result, and say what it is."""
    import numpy as np

    from contraction.atomic import write_with
    from contraction.workers.folder import save_array
    from tnet.contraction_checks import result_norm

    norm = result_norm(result, console)
    if out is not None and out.suffix == ".npy":
        save_array(out, result)
    elif out is not None:
        write_with(out, lambda stream: np.savez(stream, result=result))
    where = out if out is not None else None if folder is None else Path(folder) / "result.npy"
    document: dict[str, Any] = {**facts, "shape": result.shape, "dtype": str(result.dtype)}
    if result.size == 1:
        document["value"] = result.reshape(-1)[0].item()
        console.out(str(document["value"]))
    else:
        sizes = " x ".join(map(str, result.shape))
        console.out(f"{sizes}, {result.dtype}, norm {norm:.6g}")
    console.note(f"contracted in {format_seconds(seconds)}" + (f": {where}" if where else ""))
    document |= {"norm": norm, "seconds": seconds, "out": None if where is None else str(where)}
    console.result(document)
    return ExitCode.DONE
