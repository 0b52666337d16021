"""Completion: some entries are known; those put aside say how well the others are predicted."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, final

import numpy as np

import tnet
from contraction import arrays as arrays_
from contraction.arrays import Array, namespace
from contraction.errors import InputError, NonFiniteError, ShapeError
from structure_search.bounds import CutSpectra
from structure_search.fitting import NEAR, Fitted
from structure_search.results import Source
from structure_search.tasks.base import AbstractTask, ErrorOf, FitJob, no_spectra, scale_for
from tnet.als.entries import Entries, beside, checked_mask, observed
from tnet.als.entry_program import compile_entry_program
from tnet.als.masked import keys_of, predict
from tnet.certificate import Certificate, ErrorKind
from tnet.network import Network
from tnet.structure import Structure

FURTHER = 0.25  # of the error that is enough: the fitted entries are fitted further than that


@final
class Completion(AbstractTask):
    """Some entries of an array; the error is over those held out, or over all observed ones.

    Parameters
    ----------
    train
        The entries that are fitted.
    test
        The entries held out, or None: then the error is the one over `train`, which a larger
        network can always lower without predicting anything better.
    modes
        Mode name -> size.
    ridge
        See `tnet.ALS`; None chooses one for each fit.
    about
        What run.json says of how entries are held out.
    scale
        What the values that were given were divided by.

    Examples
    --------
    >>> x = np.outer([1.0, 2.0, 3.0], [1.0, 1.0, 2.0])
    >>> x[0, 0] = np.nan
    >>> task = completion(x, {"a": 3, "b": 3})
    >>> task.error_of.name, float(task.x[0, 0]), float(task.x[2, 2])
    ('OBSERVED', 0.0, 6.0)
    """

    def __init__(
        self,
        train: Entries,
        test: Entries | None,
        modes: Mapping[str, int],
        *,
        ridge: float | None = None,
        about: Mapping[str, Any] | None = None,
        scale: float = 1.0,
    ) -> None:
        self._train, self._test, self._modes = train, test, dict(modes)
        self._ridge, self._about, self._scale = ridge, dict(about or {}), scale

    def __getstate__(self) -> dict[str, Any]:
        gone = {"x", "observed"}  # made again where they are needed
        return {name: value for name, value in self.__dict__.items() if name not in gone}

    @property
    def train(self) -> Entries:
        """The entries that are fitted."""
        return self._train

    @property
    def ridge(self) -> float | None:
        """The ridge of every fit; None where each is free to choose."""
        return self._ridge

    @property
    def test(self) -> Entries | None:
        """The entries held out."""
        return self._test

    @cached_property
    def x(self) -> Array:
        """The fitted entries as a dense array, zero elsewhere."""
        return self._scattered(self._train.values)

    @property
    def modes(self) -> Mapping[str, int]:
        """Mode name -> size."""
        return self._modes

    @cached_property
    def norm(self) -> float:
        """The Frobenius norm of the fitted entries."""
        return self._train.norm

    @property
    def scale(self) -> float:
        """What the values that were given were divided by."""
        return self._scale

    @property
    def like(self) -> Array:
        """The values of the fitted entries."""
        return self._train.values

    @property
    def complete(self) -> bool:
        """Never."""
        return False

    @cached_property
    def observed(self) -> Array | None:
        """One at the fitted entries, zero elsewhere."""
        return self._scattered(namespace(self.like).ones_like(self.like))

    @property
    def error_of(self) -> ErrorOf:
        """Held-out entries if there are any."""
        return ErrorOf.OBSERVED if self._test is None else ErrorOf.HELD_OUT

    def require_complete(self, who: str) -> None:
        """Raise.

        Raises
        ------
        NonFiniteError
            Always; the message names the first entry that is missing.
        """
        missing = math.prod(self._modes.values()) - self._train.count
        raise NonFiniteError(
            f"{who} needs every entry, and {missing:,} are missing or held out, the first of them "
            f"at {_first_missing(self._train)}; take a method that completes (Greedy, "
            "RandomSearch), or fill them in."
        )

    def spectra(self) -> CutSpectra:
        """Return spectra that bound nothing: unfoldings with holes have none."""
        return no_spectra(self.like, tuple(self._modes))

    def planned_flops(self, structure: Structure) -> float:
        """Return the operations for the normal equations of all nodes."""
        shape, open_legs = structure.size, set(structure.modes)
        total = 0.0
        for _, legs in structure.nodes:
            columns = float(math.prod(shape[leg] for leg in legs if leg not in open_legs))
            rows = math.prod(shape[leg] for leg in legs if leg in open_legs)
            total += self._train.count * columns**2 + rows * columns**3 / 3.0
        return total

    def fit(self, job: FitJob) -> Fitted:
        """Fit the observed entries by regularised alternating least squares.

        From the start, if there is one; and from random ones where it is missing, or ends far
        from the error that is enough and `restarts` asks for more. The best by the error of the
        task, which is never worse than that of the start.
        """
        found = self._fitted(job)
        if job.start is None or not job.restarts or found.error <= NEAR * job.enough:
            return found
        other = self._fitted(replace(job, start=None))
        best = other if other.error < found.error else found
        return replace(best, sweeps=found.sweeps + other.sweeps)

    def _fitted(self, job: FitJob) -> Fitted:
        tol = job.enough if self._test is None else FURTHER * job.enough
        options = tnet.ALS(
            tol=min(max(tol, 0.0), 0.999),
            restarts=max(1, job.restarts),
            probe=max(1, job.sweeps),
            polish=0,
            ridge=self._ridge if job.ridge is None else job.ridge,
        )
        found = tnet.fit(
            self._train,
            job.structure,
            held_out=self._test,
            start=job.start,
            rng=job.generator(),
            options=options,
        )
        error = found.error if found.held_out_error is None else found.held_out_error
        net = found.network
        if job.start is not None and (before := self.error(job.start)) <= error:
            net, error = job.start, before
        certificate = Certificate(error=error, kind=ErrorKind.ESTIMATE)
        return Fitted(
            network=replace(net, certificate=certificate),
            error=error,
            sweeps=found.sweeps,
            source=Source.FIT,
        )

    def error(self, net: Network) -> float:
        """Return the relative error over the held-out entries, or over the observed ones."""
        entries = self._train if self._test is None else self._test
        return _relative(self._missed(net, entries), entries.norm)

    def residual(self, net: Network) -> Array:
        """Return the fitted entries less the network, zero elsewhere."""
        return self._scattered(self._missed(net, self._train))

    def fingerprint(self) -> str:
        """Return the digest of indices and values, of what is fitted and what is held out."""
        about = repr(sorted(self._modes.items()))
        about += "" if self._scale == 1.0 else self._scale.hex()
        digest = hashlib.sha256(about.encode())
        for entries in (self._train, self._test):
            if entries is not None:
                digest.update(arrays_.dtype_name(entries.values).encode())
                digest.update(np.ascontiguousarray(entries.indices).tobytes())
                digest.update(np.ascontiguousarray(arrays_.to_numpy(entries.values)).tobytes())
        return digest.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the ridge, the number of entries and how some are held out."""
        return {
            "name": "completion",
            "ridge": self._ridge,
            "fitted": self._train.count,
            "tested": self._test.count if self._test else 0,
            "error_of": self.error_of.name.lower(),
            **self._about,
        }

    def _missed(self, net: Network, entries: Entries) -> Array:
        s, values = net.structure, entries.values
        if set(s.modes) != set(self._modes):
            raise ShapeError(f"the network has modes {s.modes}, not {list(self._modes)}.")
        indices = entries.indices[:, [list(self._modes).index(mode) for mode in s.modes]]
        if s.is_tree:
            found: Array = tnet.evaluate(net, indices)
        else:  # what the fit compiled; a plan for these entries alone takes longer than the sweeps
            program = compile_entry_program(s, self._train.count)
            moved = Entries(indices, values, tuple(s.size[mode] for mode in s.modes))
            keys = keys_of(program, moved, values)
            found = predict(program, keys, moved.count, program.layout.cores(net.arrays))
        return values - found

    def _scattered(self, values: Array) -> Array:
        """Return the values as a dense array, the mean of those in one place."""
        given = arrays_.to_numpy(values)
        place = _places(self._train)
        host = np.zeros(math.prod(self._train.shape), dtype=given.dtype)
        host[place] = given
        where, which, times = np.unique(place, return_inverse=True, return_counts=True)
        if len(where) < len(place):
            host[where] = 0.0
            np.add.at(host, place, given / times[which].astype(given.real.dtype))
        dense: Array = beside(host.reshape(self._train.shape), values)
        return dense


def completion(
    x: Array | Entries,
    modes: Mapping[str, int],
    *,
    mask: Array | None = None,
    held_out: float | Array | Entries | None = None,
    ridge: float | None = None,
    seed: int = 0,
) -> Completion:
    """Return the task of predicting missing entries.

    Parameters
    ----------
    x
        An array with NaN where an entry is missing, or the observed `Entries`.
    modes
        Mode name -> size.
    mask
        True where an entry is known; elsewhere `x` is not read.
    held_out
        What is not fitted but predicted: a fraction of the observed entries, drawn from `seed`,
        or a mask, or `Entries`.
    ridge
        See `tnet.ALS`.
    seed
        For the entries that are held out.

    Raises
    ------
    InputError
        A fraction outside (0, 1), or one that leaves nothing to fit or to hold out.
    NonFiniteError
        An observed entry is infinite.
    ShapeError
        Shapes that do not fit.
    """
    entries, aside = _read(x, mask, held_out)
    if entries.shape != tuple(modes.values()):
        raise ShapeError(f"the entries are of shape {entries.shape}, the modes {dict(modes)}.")
    about: dict[str, Any] = {"held_out": None if held_out is None else "given"}
    if isinstance(held_out, float):
        entries, aside = _drawn(entries, held_out, seed)
        about["held_out"] = held_out
    largest = float(namespace(entries.values).linalg.vector_norm(entries.values, ord=math.inf))
    scale = scale_for(largest, arrays_.dtype_name(entries.values))
    if scale != 1.0:
        entries, aside = _divided(entries, scale), None if aside is None else _divided(aside, scale)
    return Completion(entries, aside, modes, ridge=ridge, about=about, scale=scale)


def _read(
    x: Array | Entries, mask: Array | None, held_out: float | Array | Entries | None
) -> tuple[Entries, Entries | None]:
    """Return the entries to fit, and those held out where they are given one by one."""
    if isinstance(x, Entries):
        if mask is not None or not (held_out is None or isinstance(held_out, (float, Entries))):
            raise InputError(
                "`Entries` take no `mask`, and `held_out` as a fraction or `Entries` as well."
            )
        if isinstance(held_out, Entries):
            _check_apart(x, held_out)
            return x, held_out
        return x, None
    if isinstance(held_out, Entries):
        raise InputError("`held_out` is a fraction or a mask unless x is `Entries`.")
    known: Any = ~namespace(x).isnan(x)
    if mask is not None:
        known = known & checked_mask(mask, x)
    aside: Entries | None = None
    if held_out is not None and not isinstance(held_out, float):
        chosen = checked_mask(held_out, x)
        counts = [int(arrays_.to_numpy(part).sum()) for part in (known & chosen, known & ~chosen)]
        if not all(counts):
            raise InputError(
                f"`held_out` puts {counts[0]} observed entries aside and leaves {counts[1]} to "
                "fit; both need one at least."
            )
        aside, known = observed(x, known & chosen, always=True), known & ~chosen
    entries = observed(x, known, always=True)
    assert entries is not None
    return entries, aside


def _divided(entries: Entries, scale: float) -> Entries:
    values: Any = entries.values
    return replace(entries, values=values / scale)


def _check_apart(entries: Entries, aside: Entries) -> None:
    if aside.shape != entries.shape:
        raise ShapeError(f"`held_out` has shape {aside.shape}, x has {entries.shape}.")
    both = np.intersect1d(_places(entries), _places(aside))
    if len(both):
        first = tuple(int(k) for k in np.unravel_index(int(both[0]), entries.shape))
        raise InputError(
            f"{len(both):,} of the entries held out are also to be fitted, the first at {first}; "
            "leave them out of x."
        )


def _places(entries: Entries) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the place of each entry in C order."""
    places: np.ndarray[Any, np.dtype[np.int64]]
    places = np.ravel_multi_index(tuple(entries.indices.T), entries.shape)
    return places


def _drawn(entries: Entries, fraction: float, seed: int) -> tuple[Entries, Entries]:
    """Put a fraction of the places aside, at least one of them, leaving at least one."""
    if not 0.0 < fraction < 1.0:
        raise InputError(
            f"`held_out` as a fraction of the observed entries lies in (0, 1), got {fraction}."
        )
    places, which = np.unique(_places(entries), return_inverse=True)
    if len(places) < 2:
        raise InputError("a single observed entry leaves nothing to hold out.")
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, 1], dtype=np.uint64)))
    count = min(max(1, round(fraction * len(places))), len(places) - 1)
    aside = np.zeros(len(places), dtype=bool)
    aside[rng.permutation(len(places))[:count]] = True
    out = aside[which]
    return entries.take(np.flatnonzero(~out)), entries.take(np.flatnonzero(out))


def _relative(missed: Array, norm: float) -> float:
    error = float(namespace(missed).linalg.vector_norm(missed))
    return error / norm if norm else error


def _first_missing(entries: Entries) -> tuple[int, ...]:
    """Return the first place, in C order, that no entry has."""
    flat = np.unique(_places(entries))
    gaps = np.flatnonzero(flat != np.arange(len(flat)))
    place = int(gaps[0]) if len(gaps) else len(flat)
    place %= math.prod(entries.shape)  # zero where every entry is there, in coordinate form
    return tuple(int(k) for k in np.unravel_index(place, entries.shape))
