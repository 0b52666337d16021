"""Real data by name: the arrays of TensorLy's wheel, and scikit-image's pictures.

TensorLy's arrays are read from its folder without importing it, which would take a second.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contraction.errors import DeviceError
from tnet.readers.common import Loaded, Request, need
from tnet.readers.numpy_files import read_npy


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A real array that comes with an installation.

    Attributes
    ----------
    file
        Its name in TensorLy's data folder.
    modes
        Names of its axes.
    about
        One line on what it is.
    """

    file: str
    modes: tuple[str, ...]
    about: str


DATA_SETS = {
    "kinetic": DataSet(
        file="Kinetic.npy",
        modes=("measurement", "emission", "excitation", "time"),
        about="kinetic fluorescence of catecholamines (Nikolajsen et al. 2003)",
    ),
    "indian-pines": DataSet(
        file="Indian_pines_corrected.npy",
        modes=("row", "column", "band"),
        about="hyperspectral image of farmland, AVIRIS 1992",
    ),
    "il2": DataSet(
        file="IL2_Response_Tensor.npy",
        modes=("ligand", "time", "dose", "cell"),
        about="responses to IL-2 muteins, 192 of them missing (Orcutt-Jahns et al. 2021)",
    ),
    "covid19": DataSet(
        file="COVID19_data.npy",
        modes=("sample", "antigen", "receptor"),
        about="COVID-19 systems serology (Zohar et al. 2020)",
    ),
}
# the pictures that are inside scikit-image's wheel; the others would be downloaded
PICTURES = (
    *("astronaut", "brick", "camera", "cat", "cell", "checkerboard", "chelsea", "clock"),
    *("coffee", "coins", "colorwheel", "grass", "gravel", "horse", "hubble_deep_field"),
    *("immunohistochemistry", "lfw_subset", "logo", "microaneurysms", "moon", "page"),
    *("retina", "rocket", "shepp_logan_phantom", "stereo_motorcycle", "text"),
)


def read_data_set(name: str, request: Request) -> Loaded:
    """Read one of `DATA_SETS`, as float64."""
    known = DATA_SETS[name]
    spec = importlib.util.find_spec("tensorly")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    path = folder / "datasets" / "data" / known.file
    if not path.is_file():
        raise DeviceError(f"{name!r} comes with TensorLy, which is not installed whole: {path}.")
    array = read_npy(path, request).array
    if array.dtype != np.float64:
        array = array.astype(np.float64)
    return Loaded(array=array, names=known.modes, notes=(known.about,))


def read_picture(name: str, request: Request) -> Loaded:
    """Read one of `PICTURES`; of a stereo pair the left one."""
    if importlib.util.find_spec("skimage") is None:
        raise DeviceError(
            f"the picture {name!r} comes with scikit-image, which is not installed; "
            "`pip install scikit-image` brings it."
        )
    found = getattr(need("skimage.data", "scikit-image"), name)()
    array = np.asarray(found[0] if isinstance(found, tuple) else found)
    axes = ("image", "row", "column") if name == "lfw_subset" else ("row", "column", "channel")
    return Loaded(array=array, names=axes[: array.ndim], notes=(f"scikit-image's {name}",))
