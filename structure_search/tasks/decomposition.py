"""Decomposition: every entry is known, and the error is over all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

import tnet
from contraction.arrays import Array, namespace
from structure_search.bounds import CutSpectra
from structure_search.fitting import Fitted, Fitter
from structure_search.run_folder import fingerprint
from structure_search.tasks.base import AbstractTask, ErrorOf, FitJob
from tnet.network import Network


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Decomposition(AbstractTask):
    """All entries of one array.

    Parameters
    ----------
    x
        The data; finite.
    modes
        Mode name -> size.

    Examples
    --------
    >>> import numpy as np
    >>> Decomposition(x=np.eye(2), modes={"a": 2, "b": 2}).norm
    1.4142135623730951
    """

    x: Array = field(repr=False)
    modes: Mapping[str, int]
    norm: float = field(init=False)

    def __post_init__(self) -> None:
        norm = float(namespace(self.x).linalg.vector_norm(self.x))
        object.__setattr__(self, "norm", norm)

    def __getstate__(self) -> dict[str, Any]:
        # what is prepared for fits is prepared again
        return {"x": self.x, "modes": dict(self.modes), "norm": self.norm}

    @property
    def complete(self) -> bool:
        """Always."""
        return True

    @property
    def error_of(self) -> ErrorOf:
        """All entries."""
        return ErrorOf.ALL

    @property
    def observed(self) -> Array | None:
        """None: all entries."""
        return None

    def require_complete(self, who: str) -> None:
        """Do nothing: it is."""

    @cached_property
    def fitter(self) -> Fitter:
        """What fits to these data share."""
        return Fitter(self.x)

    def spectra(self) -> CutSpectra:
        """Return the singular values of the unfoldings of the data."""
        return CutSpectra(self.x, tuple(self.modes), self.norm)

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
        return float(tnet.relative_error(net, self.x))

    def residual(self, net: Network) -> Array:
        """Return the data less the network."""
        x: Any = self.x
        found: Array = x - tnet.contract(net, list(self.modes))
        return found

    def fingerprint(self) -> str:
        """Return the digest of the data."""
        return fingerprint(self.x)

    def to_dict(self) -> dict[str, Any]:
        """Return the name alone."""
        return {"name": "decomposition"}
