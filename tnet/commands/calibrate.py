"""`tnet calibrate`: measure this machine once, so that plans are chosen by its own rates."""

from __future__ import annotations

import argparse
import importlib.util
from typing import Any

from tnet.console import Console, ExitCode, format_seconds
from tnet.options import add_command, parse_seconds

LIBRARIES = ("numpy", "torch", "cupy")
DTYPES = ("float32", "float64", "complex64", "complex128")
PARTS = 100  # of the progress bar


def register(subparsers: Any) -> None:
    """Add `tnet calibrate`."""
    parser = add_command(
        subparsers,
        "calibrate",
        run,
        help="measure this machine, so that contractions are planned by its own rates",
        description="Time the kernels that contractions are made of, fit the planner's rates to "
        "them and keep these in the cache folder (TNET_CACHE). Compiled searches are prepared "
        "too, where numba is installed. Run it once on a machine, and again after an upgrade.",
    )
    parser.add_argument("--library", choices=LIBRARIES, default="numpy", help="array library")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="cuda for cupy, else cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="float64", help="of the arrays")
    parser.add_argument(
        "--budget", type=parse_seconds, default=20.0, metavar="20s", help="time to measure"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Measure, store, and show the rates and how well they predict."""
    from contraction.calibration import measure_profile
    from contraction.cost import shipped_model
    from contraction.machine import describe_rates

    with console.progress(PARTS, "measuring") as shown:
        profile = measure_profile(
            args.library,
            device=args.device,
            dtype=args.dtype,
            threads=args.threads,
            budget=args.budget,
            progress=lambda share: shown.update(int(PARTS * share)),
            seed=args.seed,
        )
    key = profile.key
    shipped = shipped_model(
        key.library, device=key.device, dtype=key.dtype, threads=key.threads
    ).to_dict()
    found = describe_rates(key.library, device=key.device, dtype=key.dtype, threads=key.threads)
    document = {"profile": found, "shipped": shipped, "compiled_seconds": _compile(console)}
    _show(document, console)
    console.result(document)
    return ExitCode.DONE


def _compile(console: Console) -> float | None:
    """Prepare the compiled searches and return the seconds it took; None without numba."""
    if importlib.util.find_spec("numba") is None:
        return None
    from contraction.search.compiled import compile_kernels

    console.note("preparing the compiled searches ...")
    return compile_kernels()


def _show(document: dict[str, Any], console: Console) -> None:
    found, shipped = document["profile"], document["shipped"]
    key, quality, qr = found["key"], found["quality"], found["tall_qr"]
    console.out(
        f"{key['library']} {key['version']} ({key['blas']}), {key['dtype']}, "
        f"{key['threads']} threads, {key['machine']}\n"
    )
    console.table(
        ["rate", "seconds", "shipped"],
        [[name, f"{rate:.3g}", f"{shipped[name]:.3g}"] for name, rate in found["model"].items()],
    )
    console.out(
        f"\npredicted within a factor {quality['median']:.2f} for half of the steps held out and "
        f"{quality['ninth']:.2f} for nine in ten, rank correlation "
        f"{quality['rank_correlation']:.3f}, {quality['steps']} steps"
    )
    if qr is not None:
        console.out(
            f"tall matrices: {qr['library']} is faster; SciPy takes {qr['qr_ratio']:.2f} times as "
            f"long as PyTorch for QR, {qr['svd_ratio']:.2f} for SVD"
        )
    console.out(f"{found['source']}")
    if document["compiled_seconds"] is None:
        console.out("compiled searches: numba is not installed (pip install 'tnet[fast]')")
    else:
        console.out(f"compiled searches: ready, {format_seconds(document['compiled_seconds'])}")
