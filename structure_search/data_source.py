"""Where the data of a run came from: written to run.json, read again to resume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contraction.errors import CheckpointError, TnetError


def reopen_source(about: Mapping[str, Any]) -> Any:
    """Return the array that `about` (the `input` of run.json) describes.

    Raises
    ------
    CheckpointError
        The file is gone, or cannot be read as it was.
    """
    from tnet.inputs import Missing, open_array

    try:
        coords = about.get("coords")
        data = open_array(
            about["source"],
            key=about.get("key"),
            missing=Missing(about["missing"]) if about.get("missing") else Missing.NAN,
            coords=tuple(coords) if coords else None,
            value=about.get("value"),
        )
        if about.get("reshape"):
            data = data.reshaped(tuple(about["reshape"]), order=about.get("order", "C"))
    except (TnetError, OSError, ValueError) as error:
        raise CheckpointError(
            f"the data of this run cannot be read again from {about['source']}: {error} "
            "Put the file back, or resume from Python with the array as `x`."
        ) from error
    return data.array
