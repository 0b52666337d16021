"""Pictures: one file, the pages of one file, or a folder of equally large ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from contraction.errors import FileFormatError, InputError, ShapeError
from tnet.readers.common import (
    MOST_MEMBERS,
    HostArray,
    Loaded,
    Request,
    check_budget,
    file_size,
    need,
    reading,
)

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
MOST_PIXELS = 89_478_485  # Pillow's own threshold of suspicion, here an error
AXES = ("row", "column", "channel")
BYTES = {"1": 1, "L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "I;16": 2, "I;16B": 2, "I": 4, "F": 4}


def read_image(path: Path, request: Request) -> Loaded:
    """Read a picture as (row, column[, channel]); several pages as (image, row, ...)."""
    file_size(path)
    pillow = need("PIL.Image", "tnet[io]")
    with reading(path):
        pages = _pages(pillow, path, request, 1)
    if len(pages) == 1:
        return Loaded(array=pages[0], names=AXES[: pages[0].ndim])
    return _stack(pages, [f"page {i}" for i in range(len(pages))], path)


def read_folder(path: Path, request: Request) -> Loaded:
    """Read every picture of a folder, by name, as (image, row, column[, channel])."""
    try:
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    if not files:
        raise InputError(f"the folder {str(path)!r} holds no picture ({', '.join(SUFFIXES)}).")
    if len(files) > MOST_MEMBERS:
        raise InputError(f"the folder {str(path)!r} holds {len(files)} pictures, too many.")
    pillow = need("PIL.Image", "tnet[io]")
    pages = []
    for file in files:
        file_size(file)
        with reading(file):
            found = _pages(pillow, file, request, len(files))
        if len(found) > 1:
            raise FileFormatError(f"{str(file)!r} has {len(found)} pages; one per file, please.")
        pages += found
    return _stack(pages, [file.name for file in files], path)


def _pages(pillow: Any, path: Path, request: Request, copies: int) -> list[HostArray]:
    with pillow.open(path, formats=FORMATS) as picture:  # the header only; pixels come later
        count = int(getattr(picture, "n_frames", 1))
        width, height = picture.size
        if width * height > MOST_PIXELS:
            raise FileFormatError(
                f"{str(path)!r} declares {width} x {height} pixels; at most {MOST_PIXELS} are read."
            )
        depth = BYTES.get(picture.mode, 4)
        check_budget(width * height * depth * count * copies, request, path)
        found = []
        for page in range(count):
            picture.seek(page)
            if picture.size != (width, height):
                raise ShapeError(f"the pages of {str(path)!r} differ in size.")
            plain = picture if picture.mode in BYTES else picture.convert(_target(picture))
            found.append(np.array(plain))
        return found


def _target(picture: Any) -> str:
    """Return the mode that palettes and print colours are converted to."""
    return "RGBA" if "transparency" in picture.info or picture.mode in ("PA", "RGBa") else "RGB"


def _stack(pages: list[HostArray], names: list[str], path: Path) -> Loaded:
    for page, name in zip(pages, names, strict=True):
        if page.shape != pages[0].shape or page.dtype != pages[0].dtype:
            raise ShapeError(
                f"the pictures of {str(path)!r} differ: {names[0]} is {pages[0].shape} of "
                f"{pages[0].dtype}, {name} is {page.shape} of {page.dtype}."
            )
    array = np.stack(pages)
    return Loaded(array=array, names=("image", *AXES)[: array.ndim])
