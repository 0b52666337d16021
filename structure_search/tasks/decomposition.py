"""Decomposition: every entry is known, and the error is over all of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, final

import tnet
from contraction.arrays import Array, namespace
from structure_search.bounds import CutSpectra
from structure_search.fitting import Fitted, Fitter
from structure_search.run_folder import fingerprint
from structure_search.tasks.base import AbstractTask, ErrorOf, FitJob
from tnet.network import Network
from tnet.structure import Structure


@final
class Decomposition(AbstractTask):
    """All entries of one array.

    Parameters
    ----------
    x
        The data; finite.
    modes
        Mode name -> size.
    scale
        What the data that were given were divided by.

    Examples
    --------
    >>> import numpy as np
    >>> task = Decomposition(np.eye(2), {"a": 2, "b": 2})
    >>> task.norm, task.complete
    (1.4142135623730951, True)
    """

    def __init__(self, x: Array, modes: Mapping[str, int], *, scale: float = 1.0) -> None:
        self._x, self._modes, self._scale = x, dict(modes), scale

    def __getstate__(self) -> dict[str, Any]:
        # what is prepared for fits is prepared again where they are made
        return {"_x": self._x, "_modes": self._modes, "_scale": self._scale}

    @property
    def x(self) -> Array:
        """The data."""
        return self._x

    @property
    def modes(self) -> Mapping[str, int]:
        """Mode name -> size."""
        return self._modes

    @cached_property
    def norm(self) -> float:
        """The Frobenius norm of the data."""
        return float(namespace(self._x).linalg.vector_norm(self._x))

    @property
    def scale(self) -> float:
        """What the data that were given were divided by."""
        return self._scale

    @property
    def like(self) -> Array:
        """The data."""
        return self._x

    @property
    def complete(self) -> bool:
        """Always."""
        return True

    @property
    def observed(self) -> Array | None:
        """None: all entries."""
        return None

    @property
    def error_of(self) -> ErrorOf:
        """All entries."""
        return ErrorOf.ALL

    def require_complete(self, who: str) -> None:
        """Do nothing: it is."""

    @cached_property
    def fitter(self) -> Fitter:
        """What fits to these data share."""
        return Fitter(self._x)

    def spectra(self) -> CutSpectra:
        """Return the singular values of the unfoldings of the data."""
        return CutSpectra(self._x, tuple(self._modes), self.norm)

    def planned_flops(self, structure: Structure) -> float:
        """Return the operations of one sweep; a tree can always be factorised directly."""
        return 0.0 if structure.is_tree else tnet.planned_flops(structure)

    def fit(self, job: FitJob) -> Fitted:
        """Fit all entries by alternating least squares, or factorise a tree directly."""
        return self.fitter.fit(
            job.structure,
            start=job.start,
            sweeps=job.sweeps,
            restarts=job.restarts,
            enough=job.enough,
            rng=job.generator(),
        )

    def error(self, net: Network) -> float:
        """Return the relative error over all entries."""
        return float(tnet.relative_error(net, self._x))

    def residual(self, net: Network) -> Array:
        """Return the data less the network."""
        x: Any = self._x
        found: Array = x - tnet.contract(net, list(self._modes))
        return found

    def fingerprint(self) -> str:
        """Return the digest of the data, and of their scale if it is not one."""
        digest = fingerprint(self._x)
        return digest if self._scale == 1.0 else f"{digest}*{self._scale.hex()}"

    def to_dict(self) -> dict[str, Any]:
        """Return the name alone."""
        return {"name": "decomposition"}
