"""Tracking: whether PyTorch wants a derivative, told without importing it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any


def is_tracked(arrays: Sequence[Any]) -> bool:
    """Tell whether PyTorch records operations on any of `arrays` now."""
    torch = sys.modules.get("torch")
    if torch is None or len(arrays) == 0 or not isinstance(arrays[0], torch.Tensor):
        return False
    if not torch.is_grad_enabled():
        return False
    return any(getattr(x, "requires_grad", False) for x in arrays)
