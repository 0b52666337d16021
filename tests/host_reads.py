"""What makes the host wait for a device, counted for PyTorch; needs PyTorch to be installed."""

from __future__ import annotations

from torch.overrides import TorchFunctionMode


class ExplicitReads(TorchFunctionMode):
    """Collects the calls that bring numbers of a tensor to the host."""

    NUMBERS = ("__float__", "__bool__", "__int__", "__complex__", "__index__", "__array__")
    WAITING = (*NUMBERS, "item", "tolist", "numpy")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name in self.WAITING:
            self.found.append(name)
        return func(*args, **(kwargs or {}))
