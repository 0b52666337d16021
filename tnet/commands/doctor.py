"""`tnet doctor`: what this installation has, what it lacks, and whether it computes correctly."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
import tempfile
import time
from importlib import metadata
from typing import Any

from tnet.console import Console, ExitCode, format_bytes
from tnet.options import add_command

CORE = (
    *("numpy", "scipy", "opt_einsum", "cotengra", "array-api-compat", "tensorly"),
    *("safetensors", "rich", "threadpoolctl", "filelock", "loky"),
)
OPTIONAL = {  # distribution -> (module, what installs it, what for)
    "torch": ("torch", "tnet[torch]", "PyTorch arrays, layers"),
    "cupy": ("cupy", "tnet[gpu]", "GPU arrays"),
    "numba": ("numba", "tnet[fast]", "compiled kernels"),
    "dask": ("dask", "tnet[distributed]", "several machines"),
    "matplotlib": ("matplotlib", "tnet[plots]", "figures"),
    "h5py": ("h5py", "tnet[io]", "HDF5 and MATLAB 7.3 files"),
    "pillow": ("PIL", "tnet[io]", "pictures"),
    "zarr": ("zarr", "tnet[io]", "Zarr stores"),
    "scikit-image": ("skimage", "scikit-image", "its pictures as data"),
}


def register(subparsers: Any) -> None:
    """Add `tnet doctor`."""
    add_command(
        subparsers,
        "doctor",
        run,
        help="versions, BLAS, GPUs, memory, optional packages, self-test",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Show every section, then run the self-test; code 1 if it fails."""
    document: dict[str, Any] = {
        "system": _system(),
        "core": {name: _version(name) for name in CORE},
        "optional": {name: _optional(name) for name in OPTIONAL},
        "blas": _blas(),
        "gpus": _gpus(),
        "folders": _folders(),
    }
    document["self_test"] = tests = self_test(args.seed)
    ok = all(test["ok"] for test in tests) and None not in document["core"].values()
    _show(document, console)
    console.result(document, ok=ok)
    if not ok:
        console.note("tnet: something is wrong with this installation; see the lines marked NO.")
    return ExitCode.DONE if ok else ExitCode.INTERNAL


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _optional(name: str) -> dict[str, Any]:
    module, install, purpose = OPTIONAL[name]
    there = importlib.util.find_spec(module) is not None
    return {
        "installed": there,
        "version": (_version(name) or "unknown") if there else None,
        "for": purpose,
        "install": None if there else f"pip install '{install}'",
    }


def _system() -> dict[str, Any]:
    from tnet.readers.common import available_memory

    return {
        "tnet": _version("tnet"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory_available": available_memory(),
    }


def _blas() -> list[dict[str, Any]]:
    import numpy  # noqa: F401  # only loaded libraries are seen
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info

    names = ("user_api", "internal_api", "version", "num_threads", "architecture")
    return [{name: pool.get(name) for name in names} for pool in threadpool_info()]


def _gpus() -> list[dict[str, Any]]:
    from contraction.arrays import gpu_available

    found = []
    for name in ("torch", "cupy"):
        if importlib.util.find_spec(name) is None or not gpu_available(name):
            continue
        cuda = importlib.import_module(name).cuda
        count = cuda.device_count() if name == "torch" else cuda.runtime.getDeviceCount()
        found.append({"library": name, "devices": int(count)})
    return found


def _folders() -> dict[str, dict[str, Any]]:
    found = {}
    for name, path in (("here", os.getcwd()), ("temporary", tempfile.gettempdir())):
        found[name] = {
            "path": path,
            "writable": os.access(path, os.W_OK),
            "free": shutil.disk_usage(path).free,
        }
    return found


def self_test(seed: int = 0) -> list[dict[str, Any]]:
    """Decompose a small tensor of known rank in every namespace and compare with the truth."""
    import numpy as np

    import tnet
    from contraction.arrays import to
    from contraction.errors import NonFiniteError

    structure = tnet.balanced_tree((5, 4, 3, 6), 2)
    exact: Any = tnet.contract(tnet.random_network(structure, rng=np.random.default_rng(seed)))
    names = ["numpy"] + (["torch"] if importlib.util.find_spec("torch") else [])
    tests = []
    for name in names:
        start = time.perf_counter()
        net = tnet.decompose(to(exact, namespace=name), tnet.balanced_tree, tol=1e-10)
        error = float(np.linalg.norm(net.to(namespace="numpy").to_dense() - exact))
        error /= float(np.linalg.norm(exact))
        tests.append(
            {
                "test": f"a tree of ranks 2 is found again ({name})",
                "ok": error < 1e-9 and max(net.ranks.values()) <= 2,
                "error": error,
                "seconds": time.perf_counter() - start,
            }
        )
    spoiled = exact.copy()
    spoiled[0, 0, 0, 0] = np.inf
    try:
        tnet.decompose(spoiled, tnet.tensor_train, tol=1e-3)
        refused = False
    except NonFiniteError:
        refused = True
    return [*tests, {"test": "an infinite entry is refused", "ok": refused}]


def _show(document: dict[str, Any], console: Console) -> None:
    system = document["system"]
    console.out(
        f"tnet {system['tnet']}, Python {system['python']}, {system['system']}\n"
        f"{system['cores']} cores, {format_bytes(system['memory_available'])} of memory available"
    )
    for pool in document["blas"]:
        console.out(
            f"{pool['user_api']}: {pool['internal_api']} {pool['version'] or ''}, "
            f"{pool['num_threads']} threads ({pool['architecture'] or 'any processor'})"
        )
    gpus = [f"{gpu['devices']} through {gpu['library']}" for gpu in document["gpus"]]
    console.out(f"GPUs: {', '.join(gpus) or 'none'}\n")
    console.table(
        ["package", "version", "for", "to install"],
        [[name, version or "NO", "core", ""] for name, version in document["core"].items()]
        + [
            [name, found["version"] or "-", found["for"], found["install"] or ""]
            for name, found in document["optional"].items()
        ],
    )
    console.out()
    for name, folder in document["folders"].items():
        state = "writable" if folder["writable"] else "NO, not writable"
        console.out(f"{name}: {folder['path']}, {state}, {format_bytes(folder['free'])} free")
    console.out()
    for test in document["self_test"]:
        detail = f", error {test['error']:.1e}" if "error" in test else ""
        console.out(f"{'ok' if test['ok'] else 'NO'}: {test['test']}{detail}")
