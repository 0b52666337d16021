"""Tracking: whether PyTorch wants a derivative, told without importing it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any


def is_tracked(arrays: Sequence[Any]) -> bool:
    """Tell whether PyTorch records operations on any of `arrays` now, or transforms them."""
    torch = sys.modules.get("torch")
    if torch is None or len(arrays) == 0 or not isinstance(arrays[0], torch.Tensor):
        return False
    if is_transformed():
        return True
    if not torch.is_grad_enabled():
        return False
    return any(getattr(x, "requires_grad", False) for x in arrays)


def is_transformed() -> bool:
    """Tell whether a transform of `torch.func` or a forward-mode derivative is going on.

    PyTorch has no public way to ask, and takes no function without a rule for each of them.
    """
    torch: Any = sys.modules["torch"]
    active = getattr(torch._C, "_are_functorch_transforms_active", None)
    if active is not None and active():
        return True
    return int(getattr(torch.autograd.forward_ad, "_current_level", -1)) >= 0
