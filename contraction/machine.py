"""What was measured on this machine: a profile for each library, device, dtype and threads.

Profiles are small JSON files in the cache folder. One that is damaged, of another version, or of
another machine is not an error: the shipped rates serve, and `describe_rates` says why.
"""

from __future__ import annotations

import enum
import hashlib
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from contraction import atomic
from contraction.cache_folder import cache_folder, wanted_folder
from contraction.cost import SCALES, CostModel, forget_models, shipped_model
from contraction.errors import InputError

FORMAT = 1
LARGEST = 1 << 16  # bytes of a file that is read
DISTRIBUTIONS = {"cupy": ("cupy", "cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x")}
THREAD_VARIABLES = {
    "numpy": ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"),
    "torch": ("OMP_NUM_THREADS", "MKL_NUM_THREADS"),
}


class QrLibrary(enum.Enum):
    """Whose LAPACK factorises tall matrices fastest here."""

    SCIPY = "scipy"
    TORCH = "torch"


@dataclass(frozen=True, kw_only=True)
class Key:
    """What a profile was measured for; another key means that it says nothing here.

    Parameters
    ----------
    machine
        The processor, or the GPU.
    library, version, blas
        "numpy", "torch" or "cupy", its version, and the library it multiplies by.
    device, dtype, threads
        "cpu" or "cuda"; "float64" and so on; threads of the library.
    """

    machine: str
    library: str
    version: str
    blas: str
    device: str
    dtype: str
    threads: int


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How well a model predicts steps that it was not fitted to.

    Parameters
    ----------
    median, ninth
        exp(|log(predicted / measured)|): its median and its 90 % quantile.
    rank_correlation
        Spearman's, between predicted and measured.
    steps
        Steps measured in all; a quarter of them was held out.
    """

    median: float
    ninth: float
    rank_correlation: float
    steps: int


@dataclass(frozen=True, kw_only=True)
class TallQr:
    """The faster library for the QR and SVD of tall matrices, and by how much.

    Parameters
    ----------
    library
        Which is faster.
    qr_ratio, svd_ratio
        Seconds of SciPy over seconds of PyTorch; geometric means over some shapes.
    """

    library: QrLibrary
    qr_ratio: float
    svd_ratio: float


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Measured rates with what they were measured for and how good they are."""

    key: Key
    model: CostModel
    quality: Quality
    tall_qr: TallQr | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the profile as plain data for JSON."""
        qr = self.tall_qr
        return {
            "format": FORMAT,
            "key": asdict(self.key),
            "model": self.model.to_dict(),
            "quality": asdict(self.quality),
            "tall_qr": None if qr is None else asdict(qr) | {"library": qr.library.value},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Profile:
        """Return the profile that `to_dict` wrote.

        Raises
        ------
        InputError
            An entry is missing, of the wrong kind, or of a wrong value.
        """
        try:
            if data["format"] != FORMAT:
                raise InputError(f"the format of a profile is {FORMAT}, got {data['format']!r}.")
            qr = data["tall_qr"]
            return cls(
                key=Key(**data["key"]),
                model=CostModel.from_dict(data["model"]),
                quality=Quality(**_numbers(data["quality"])),
                tall_qr=None if qr is None else _tall_qr(qr),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"not a profile: reading failed at {error!r}.") from error


def _numbers(data: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in data.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InputError(f"`{name}` is a number, got {value!r}.")
        if not abs(value) <= sys.float_info.max:
            raise InputError(f"`{name}` is finite and no more than {sys.float_info.max:g}.")
    return dict(data)


def _tall_qr(data: Mapping[str, Any]) -> TallQr:
    ratios = _numbers({name: value for name, value in data.items() if name != "library"})
    return TallQr(library=QrLibrary(data["library"]), **ratios)


def key_for(library: str, device: str, dtype: str, threads: int) -> Key:
    """Return the key of this machine; the library need not be loaded for a CPU.

    Examples
    --------
    >>> key_for("numpy", "cpu", "float64", 1).dtype
    'float64'
    """
    return Key(
        machine=processor() if device == "cpu" else gpu_name(library),
        library=library,
        version=library_version(library) or "none",
        blas=_blas() if library == "numpy" else "own",
        device=device,
        dtype=dtype,
        threads=threads,
    )


@lru_cache(maxsize=1)
def processor() -> str:
    """Return the name of the processor.

    Examples
    --------
    >>> bool(processor())
    True
    """
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            pairs = (line.partition(":") for line in lines)
            found = {name.strip(): value.strip() for name, _, value in pairs}
        parts = [found.get(x, "") for x in ("model name", "cpu family", "model")]
    except OSError:
        parts = [platform.processor()]
    name = " ".join(part for part in (platform.machine(), *parts) if part)
    return name or "unknown"


def gpu_name(library: str) -> str:
    """Return the name of the first GPU as a loaded library sees it; "none" without one."""
    module = sys.modules.get(library)
    try:
        if module is None:
            return "none"
        if library == "torch":
            return str(module.cuda.get_device_name(0))
        return str(module.cuda.runtime.getDeviceProperties(0)["name"])
    except Exception:  # drivers raise what they like, and without a name there is no profile
        return "none"


@lru_cache(maxsize=8)
def library_version(library: str) -> str | None:
    """Return the installed version of a library, without loading it; None if there is none."""
    if library in sys.modules:
        return str(sys.modules[library].__version__)
    from importlib import metadata  # takes longer to load than all else here

    for name in DISTRIBUTIONS.get(library, (library,)):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


@lru_cache(maxsize=1)
def _blas() -> str:
    import numpy as np

    found: Any = np.show_config(mode="dicts")
    blas = found.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()


def threads_of(library: str) -> int:
    """Return how many threads a library uses unless told otherwise.

    PyTorch is asked if it is loaded; else the environment counts, and then the cores allowed.
    """
    torch = sys.modules.get("torch")
    if library == "torch" and torch is not None:
        return int(torch.get_num_threads())
    for name in THREAD_VARIABLES.get(library, ()):
        value = os.environ.get(name, "")
        if value.isdecimal() and int(value) > 0:
            return int(value)
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def profile_path(key: Key, folder: Path) -> Path:
    """Return the file of a profile in the cache folder."""
    digest = hashlib.sha256(json.dumps(asdict(key), sort_keys=True).encode()).hexdigest()[:16]
    name = f"{key.library}-{key.device}-{key.dtype}-{key.threads}-{digest}.json"
    return folder / "profiles" / name


def store_profile(profile: Profile) -> Path:
    """Write a profile into the cache folder, whole or not at all, and return its path.

    Plans made from now on in this process use it.

    Raises
    ------
    OSError
        The disk is full.
    """
    path = profile_path(profile.key, cache_folder())
    path.parent.mkdir(mode=0o700, exist_ok=True)
    atomic.write_text(path, json.dumps(profile.to_dict(), indent=1, allow_nan=False) + "\n")
    forget_models()
    _tall_qr_of.cache_clear()
    return path


def stored_profile(key: Key) -> tuple[Profile | None, str]:
    """Return the stored profile of a key, or None, and a sentence that says which or why not.

    Examples
    --------
    >>> stored_profile(key_for("numpy", "cpu", "float64", 999))
    (None, 'not measured on this machine; `tnet calibrate` does it')
    """
    path = profile_path(key, wanted_folder())
    try:
        with open(path, "rb") as stream:
            content = stream.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise InputError(f"it has more than {LARGEST} bytes.")
        profile = Profile.from_dict(json.loads(content))
        if profile.key != key:
            raise InputError(f"it was measured for {profile.key}.")
    except (FileNotFoundError, NotADirectoryError):
        return None, "not measured on this machine; `tnet calibrate` does it"
    except (OSError, ValueError, RecursionError) as error:
        return None, f"the profile {path} was ignored: {error}"
    return profile, f"measured; {path}"


def resolved_key(library: str, *, device: str, dtype: str, threads: int | None) -> Key:
    """Return the key that `model_for` looks for, with what was left open filled in."""
    place = "cuda" if library == "cupy" or device.startswith("cuda") else "cpu"
    count = 1 if place == "cuda" else threads or threads_of(library)
    return key_for(library, place, dtype if dtype in SCALES else "float64", count)


def measured_faster_qr(dtype: str = "float64", *, threads: int | None = None) -> QrLibrary | None:
    """Return whose QR of tall matrices was measured to be faster; None if it was not measured.

    Examples
    --------
    >>> measured_faster_qr(threads=999) is None
    True
    """
    found = measured_tall_qr(dtype, threads=threads)
    return None if found is None else found.library


def measured_tall_qr(dtype: str = "float64", *, threads: int | None = None) -> TallQr | None:
    """Return what was measured about the QR and SVD of tall matrices here; None if nothing was.

    Cost: about 1 microsecond after the first call.

    Examples
    --------
    >>> measured_tall_qr(threads=999) is None
    True
    """
    return _tall_qr_of(dtype, threads, os.environ.get("TNET_CACHE"))


@lru_cache(maxsize=32)
def _tall_qr_of(dtype: str, threads: int | None, folder: str | None) -> TallQr | None:
    """Look it up; `folder` is a key."""
    key = resolved_key("numpy", device="cpu", dtype=dtype, threads=threads)
    profile, _ = stored_profile(key)
    return None if profile is None else profile.tall_qr


def describe_rates(
    library: str = "numpy",
    *,
    device: str = "cpu",
    dtype: str = "float64",
    threads: int | None = None,
) -> dict[str, Any]:
    """Return what `model_for` uses and where it comes from, as plain data for JSON.

    Examples
    --------
    >>> found = describe_rates(threads=999)
    >>> found["measured"], found["source"]
    (False, 'not measured on this machine; `tnet calibrate` does it')
    """
    key = resolved_key(library, device=device, dtype=dtype, threads=threads)
    profile, source = stored_profile(key)
    if profile is not None:
        return {"measured": True, "source": source} | profile.to_dict()
    model = shipped_model(library, device=key.device, dtype=key.dtype, threads=key.threads)
    shipped = {"key": asdict(key), "model": model.to_dict(), "quality": None, "tall_qr": None}
    return {"measured": False, "source": source} | shipped
