"""Loss: a network in place of a dense weight, fitted to any differentiable function of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

import numpy as np

import contraction
import tnet
from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.errors import BackendError, DTypeError, InputError, NonFiniteError, ShapeError
from structure_search.bounds import CutSpectra
from structure_search.fitting import Fitted
from structure_search.results import Source, dense_flops
from structure_search.tasks.base import AbstractTask, ErrorOf, FitJob, no_spectra
from tnet.network import Network, random_network
from tnet.structure import Structure

STEPS = 10  # of Adam for each sweep that was asked for; half as many of L-BFGS follow
RATE = 0.03  # of Adam, in units of the root mean square of a core's entries
STALL = 1e-6  # L-BFGS stops when its gain falls below this fraction


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Loss:
    """A differentiable loss of a dense weight, such as the loss of a model over its data.

    Give it to `search` in place of the data. Its value takes the place of the relative error in
    everything: `RelativeError(tol=0.1)` looks for the smallest network with a loss of at most
    0.1. So the loss must not be negative; scale it to lie about or below one.

    Parameters
    ----------
    function
        Dense weight (a torch tensor of shape `shape`) -> the loss, a real torch scalar >= 0.
        Deterministic: no random batches or dropout.
    shape
        Shape of the weight.
    weight
        A weight with a good loss, for instance that of the trained layer; the first start of
        every structure is then fitted to it.
    dtype, device
        Of the cores.

    Raises
    ------
    ShapeError
        A shape without modes or entries, or a `weight` of another shape.
    DTypeError
        A dtype that is not of real or complex floating-point numbers.
    InputError
        The function cannot be called.
    NonFiniteError
        The `weight` has NaN or infinite entries.

    Examples
    --------
    >>> Loss(function=lambda w: (w - 1.0).square().mean(), shape=(4, 4, 4)).dtype
    'float64'
    """

    function: Callable[[Any], Any] = field(repr=False)
    shape: Sequence[int]
    weight: Array | None = field(default=None, repr=False)
    dtype: str = "float64"
    device: str = "cpu"

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if not callable(self.function):
            raise InputError(f"`function` is a function of the weight, got {self.function!r}.")
        if not shape or min(shape) < 1:
            raise ShapeError(f"a weight needs at least one entry and one mode, got {shape}.")
        if self.weight is not None and tuple(self.weight.shape) != shape:
            raise ShapeError(f"`weight` has shape {tuple(self.weight.shape)}, not {shape}.")
        if self.dtype not in arrays_.DTYPES:
            raise DTypeError(f"`dtype` is one of {', '.join(arrays_.DTYPES)}, got {self.dtype!r}.")
        if self.weight is not None:
            arrays_.require_finite(self.weight, what="the weight")
        object.__setattr__(self, "shape", shape)


@final
class LossTask(AbstractTask):
    """The least value of a loss.

    Parameters
    ----------
    loss
        The loss.
    modes
        Mode name -> size.
    """

    def __init__(self, loss: Loss, modes: Mapping[str, int]) -> None:
        self._loss, self._modes = loss, dict(modes)

    @cached_property
    def x(self) -> Array:
        """Zeros: there are no data."""
        return self._beside(np.zeros(tuple(self._loss.shape)))

    @property
    def modes(self) -> Mapping[str, int]:
        """Mode name -> size."""
        return self._modes

    @property
    def norm(self) -> float:
        """Zero."""
        return 0.0

    @cached_property
    def like(self) -> Array:
        """One torch number of the dtype and device of the loss."""
        return self._beside(np.zeros(1))

    @property
    def complete(self) -> bool:
        """Never: there are no data."""
        return False

    @property
    def observed(self) -> Array | None:
        """None: every entry of the weight counts."""
        return None

    @property
    def error_of(self) -> ErrorOf:
        """The loss."""
        return ErrorOf.LOSS

    def require_complete(self, who: str) -> None:
        """Raise.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError(
            f"{who} works on the entries of a tensor, and a loss has none; take a method that "
            "works by fits alone (Greedy, RandomSearch)."
        )

    def spectra(self) -> CutSpectra:
        """Return spectra that bound nothing."""
        return no_spectra(self.like, tuple(self._modes))

    def planned_flops(self, structure: Structure) -> float:
        """Return the operations for the dense weight and its derivatives, without the loss's."""
        return 3.0 * STEPS * float(min(dense_flops(structure), 1 << 1000))

    def fit(self, job: FitJob) -> Fitted:
        """Minimise the loss over the cores: Adam, then L-BFGS; the best of all starts.

        Never worse than the start. Each sweep asked for is ten steps of Adam and at most five
        of L-BFGS, each of which forms the dense weight and its gradient.
        """
        rng = job.generator()
        best, error, done = None, math.inf, 0
        for start in self._starts(job, rng):
            net, found, steps = self._descended(start, job.sweeps, job.enough)
            done += steps
            if best is None or found < error:
                best, error = net, found
            if error <= job.enough:
                break
        assert best is not None
        if not math.isfinite(error):
            raise NonFiniteError("the loss is NaN or infinite at every start; check the function.")
        return Fitted(network=best, error=error, sweeps=-(-done // STEPS), source=Source.FIT)

    def error(self, net: Network) -> float:
        """Return the loss of a network."""
        return float(self._value(tnet.contract(net, list(self._modes))).detach())

    def residual(self, net: Network) -> Array:
        """Return minus the gradient of the loss by the dense weight."""
        import torch

        dense: Any = tnet.contract(net, list(self._modes))
        dense = dense.detach().clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(self._value(dense), dense)
        found: Array = -slope
        return found

    def fingerprint(self) -> str:
        """Raise: see `to_dict`."""
        raise self._unrecorded()

    def to_dict(self) -> dict[str, Any]:
        """Raise.

        Raises
        ------
        InputError
            Always: a function cannot be written to run.json.
        """
        raise self._unrecorded()

    def _unrecorded(self) -> InputError:
        return InputError(
            "a loss is a function, which a run folder cannot record; search without `run`."
        )

    def require_differentiable(self) -> None:
        """Raise unless the loss has a derivative by the weight; one evaluation.

        Raises
        ------
        BackendError
            The device is not there.
        ShapeError
            The function returns no real scalar.
        InputError
            It is negative, or does not depend on the weight as far as torch can see.
        """
        import torch

        rng = np.random.Generator(np.random.Philox(key=0))
        host = self._loss.weight
        if host is None:
            host = rng.standard_normal(tuple(self._loss.shape))
        try:
            beside: Any = self._beside(arrays_.to_numpy(host))
        except RuntimeError as error:
            raise BackendError(f"there is no device {self._loss.device!r}: {error}") from error
        dense = beside.detach().clone().requires_grad_(True)
        value = self._value(dense)
        found = (None,)
        if value.requires_grad:
            found = torch.autograd.grad(value, [dense], allow_unused=True)
        if found[0] is None:
            raise InputError(
                "the loss does not depend on the weight in a way that torch can differentiate: "
                "compute it from the weight by torch operations, without detach(), item() or NumPy."
            )

    # ---- fits -------------------------------------------------------------------------------

    def _starts(self, job: FitJob, rng: np.random.Generator) -> list[Network]:
        starts = [] if job.start is None else [job.start]
        if not starts and self._loss.weight is not None:
            weight = self._beside(arrays_.to_numpy(self._loss.weight))
            options = tnet.ALS(restarts=1, polish=0)
            starts.append(tnet.fit(weight, job.structure, rng=rng, options=options).network)
        more = job.restarts if starts else max(1, job.restarts)
        return starts + [
            random_network(job.structure, rng=rng, like=self.like) for _ in range(more)
        ]

    def _descended(self, start: Network, sweeps: int, enough: float) -> tuple[Network, float, int]:
        """Return the best network on the way, its loss, and the steps made."""
        import torch

        structure = start.structure
        cores = [
            torch.as_tensor(start[n]).detach().clone().requires_grad_(True)
            for n in structure.node_names
        ]
        descent = _Descent(self, structure, cores)
        descent.loss()
        groups = [{"params": [core], "lr": _rate(core)} for core in cores]
        adam = torch.optim.Adam(groups)
        for _ in range(STEPS * sweeps):
            if descent.least <= enough or not descent.going:
                break
            adam.step(descent.closure)
        descent.back_to_best()
        if descent.least > enough and descent.going and sweeps:
            newton = torch.optim.LBFGS(
                cores,
                max_iter=STEPS * sweeps // 2,
                tolerance_grad=1e-12,
                tolerance_change=STALL * max(descent.least, 1e-300),
                line_search_fn="strong_wolfe",
            )
            newton.step(descent.closure)
            descent.loss()
        arrays = dict(zip(structure.node_names, descent.best, strict=True))
        return Network(structure, arrays), descent.least, descent.steps

    def _value(self, dense: Any) -> Any:
        value = self._loss.function(dense)
        import torch

        if not isinstance(value, torch.Tensor) or value.ndim or value.is_complex():
            what = type(value).__name__
            if isinstance(value, torch.Tensor):
                what += f" of {value.dtype} and shape {tuple(value.shape)}"
            raise ShapeError(f"the loss must return a real torch scalar, got {what}.")
        if float(value.detach()) < 0.0:
            raise InputError(f"the loss is {float(value.detach()):g}; add a constant: it is >= 0.")
        return value

    def _beside(self, host: np.ndarray[Any, Any]) -> Array:
        found = arrays_.to(
            host.astype(self._loss.dtype), namespace="torch", device=self._loss.device
        )
        return found


def _rate(core: Any) -> float:
    size = float(core.detach().abs().square().mean())
    return RATE * max(1e-3, math.sqrt(size))


class _Descent:
    """The cores on their way, and the best of them so far."""

    def __init__(self, task: LossTask, structure: Structure, cores: list[Any]) -> None:
        self._task, self._cores = task, cores
        self._plan = contraction.plan(structure.spec(list(task.modes)))
        self.least, self.steps, self.going = math.inf, 0, True
        self.best = [core.detach().clone() for core in cores]

    def loss(self) -> Any:
        """Return the loss of the cores as they are, and keep them if it is the least so far."""
        value = self._task._value(self._plan.run(self._cores))
        now = float(value.detach())
        self.going = math.isfinite(now)
        if now < self.least:
            self.least, self.best = now, [core.detach().clone() for core in self._cores]
        return value

    def closure(self) -> Any:
        """Return the loss with fresh gradients."""
        for core in self._cores:
            core.grad = None
        value = self.loss()
        value.backward()
        self.steps += 1
        return value

    def back_to_best(self) -> None:
        """Put the cores back to where the loss was least."""
        import torch

        with torch.no_grad():
            for core, best in zip(self._cores, self.best, strict=True):
                core.copy_(best)
