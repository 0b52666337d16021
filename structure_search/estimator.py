"""StructureSearch: a search as a scikit-learn transformer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import tnet
from contraction import Processes, Serial
from contraction.arrays import to_numpy
from contraction.errors import InputError, ShapeError
from structure_search.methods.base import AbstractMethod
from structure_search.objectives import AbstractObjective, MaxParams, RelativeError
from structure_search.running import search
from tnet.network import Network

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        "StructureSearch is a scikit-learn estimator; install scikit-learn (pip install "
        "'tnet[learn]'), or call structure_search.search."
    ) from error

Float = np.ndarray[Any, np.dtype[np.floating[Any]]]
SAMPLES = "samples"  # the name of the first mode
CHUNK = 2**24  # entries of the largest stack of normal matrices formed at once


class StructureSearch(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Learn a subspace of features from a searched tensor network, and project samples on it.

    The samples and the modes of their features form one tensor, ``samples x modes``. `fit`
    searches a network for it; what that network spans over its features, whatever the node of
    the samples holds, is the learned subspace. `transform` returns the coordinates of samples
    in an orthonormal basis of it, also of samples that were not seen before and of samples with
    missing entries; `inverse_transform` goes back.

    Parameters
    ----------
    method
        How to search; by default the default of `structure_search.search`.
    tol
        Relative error allowed, ||X - Y|| / ||X||.
    max_params
        If given, the goal is the least error within this number of parameters (which the node
        of the samples counts in), and `tol` is not used.
    objective
        Any other goal; then `tol` and `max_params` are not used.
    shape
        How the features of one sample are arranged: (8, 8) for 64 features. By default that of
        `X` at `fit`, so (samples, 8, 8) needs none.
    max_evaluations, max_seconds
        Limits of the search.
    n_jobs
        Worker processes; None or 1 for none.
    random_state
        Seed of the search.

    Attributes
    ----------
    result_
        The `Result` of the search: trace, front, counts, outcome.
    network_, structure_
        The network that was fitted, and its structure; its first mode is the samples.
    error_
        Relative error of the network over the samples of `fit`.
    components_
        (components, features) orthonormal rows, the largest share of the samples first.
    singular_values_
        (components,) of the fitted samples along them.
    n_features_in_
        Features of a sample.

    Notes
    -----
    Nothing is centred; put a `StandardScaler` before it where the mean should not count. NaN
    marks a missing entry, in `fit` and in `transform`. Cost of `transform`: 2 n features
    components flops, and components^2 times more where entries are missing.

    Examples
    --------
    >>> from structure_search import Greedy
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((30, 2)) @ rng.standard_normal((2, 12))
    >>> model = StructureSearch(method=Greedy(), tol=1e-6, shape=(3, 4), random_state=0)
    >>> found = model.fit(X)
    >>> found.transform(X).shape, bool(found.score(X) > 0.999999)
    ((30, 2), True)
    """

    def __init__(
        self,
        *,
        method: AbstractMethod | None = None,
        tol: float = 0.05,
        max_params: int | None = None,
        objective: AbstractObjective | None = None,
        shape: Sequence[int] | None = None,
        max_evaluations: int | None = None,
        max_seconds: float | None = None,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.method = method
        self.tol = tol
        self.max_params = max_params
        self.objective = objective
        self.shape = shape
        self.max_evaluations = max_evaluations
        self.max_seconds = max_seconds
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> StructureSearch:
        """Search a network for `X`.

        Parameters
        ----------
        X
            (samples, features) or (samples, mode, mode, ...); real; NaN where missing.
        y
            Not used.

        Raises
        ------
        ValueError
            `X` is complex, infinite, empty or of fewer than two axes.
        ShapeError
            `shape` does not multiply to the number of features.
        """
        X = self._read(X, reset=True)
        self._sample_shape = X.shape[1:]
        x = X.reshape((len(X), *self._arranged(X.shape[1:])))
        modes = (SAMPLES, *(f"x{k}" for k in range(x.ndim - 1)))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        chosen: Mapping[str, Any] = {} if self.method is None else {"method": self.method}
        self.result_ = search(
            x,
            objective=self._objective(),
            max_evaluations=self.max_evaluations,
            max_seconds=self.max_seconds,
            rng=np.random.default_rng(seed),
            modes=modes,
            workers=self._workers(),
            **chosen,
        )
        self.network_ = self.result_.network
        self.structure_ = self.network_.structure
        self.error_ = self.result_.best.error
        self.singular_values_, self.components_ = _subspace(self.network_, X.dtype)
        self._n_features_out = len(self.components_)
        return self

    def transform(self, X: Any) -> Float:
        """Return the coordinates (samples, components) of `X`; least squares where entries miss."""
        check_is_fitted(self)
        return self._coordinates(self._flat(X))

    def inverse_transform(self, X: Any) -> Float:
        """Return the samples, arranged as in `fit`, that coordinates (samples, components) mean."""
        check_is_fitted(self)
        Z = np.asarray(X)
        if Z.ndim != 2 or Z.shape[1] != len(self.components_):
            raise ShapeError(
                f"coordinates are of shape (samples, {len(self.components_)}), got {Z.shape}."
            )
        found: Float = (Z @ self.components_).reshape(len(Z), *self._sample_shape)
        return found

    def score(self, X: Any, y: Any = None) -> float:
        """Return 1 - ||X - P(X)||^2 / ||X||^2, P the projection, over the observed entries."""
        check_is_fitted(self)
        flat = self._flat(X)
        known = ~np.isnan(flat)
        rest = np.where(known, flat - self._coordinates(flat) @ self.components_, 0.0)
        total = float(np.sum(np.square(flat[known], dtype=np.float64)))
        left = float(np.sum(np.square(rest, dtype=np.float64)))
        return 1.0 - left / total if total else 1.0

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn wants to know: missing values are allowed."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _read(self, X: Any, *, reset: bool) -> Float:
        found: Float = validate_data(
            self,
            X,
            reset=reset,
            dtype=[np.float64, np.float32],
            ensure_all_finite="allow-nan",
            allow_nd=True,
        )
        return found

    def _flat(self, X: Any) -> Float:
        X = self._read(X, reset=False)
        if X.shape[1:] != self._sample_shape:
            raise ShapeError(
                f"the samples of `fit` have shape {self._sample_shape}, got {X.shape[1:]}."
            )
        flat: Float = X.reshape(len(X), -1)
        return flat

    def _arranged(self, given: tuple[int, ...]) -> tuple[int, ...]:
        shape = given if self.shape is None else tuple(int(n) for n in self.shape)
        if math.prod(shape) != math.prod(given) or min(shape, default=1) < 1:
            raise ShapeError(
                f"`shape` {shape} has {math.prod(shape)} features, the samples have "
                f"{math.prod(given)}."
            )
        return shape

    def _objective(self) -> AbstractObjective:
        if self.objective is not None:
            return self.objective
        if self.max_params is not None:
            return MaxParams(params=self.max_params)
        return RelativeError(tol=self.tol)

    def _workers(self) -> Any:
        if self.n_jobs is None or self.n_jobs == 1:
            return Serial()
        if self.n_jobs < 1:
            raise InputError(f"`n_jobs` is a positive number or None, got {self.n_jobs!r}.")
        return Processes(workers=self.n_jobs)

    def _coordinates(self, flat: Float) -> Float:
        known = ~np.isnan(flat)
        rhs: Float = np.where(known, flat, 0.0).astype(flat.dtype) @ self.components_.T
        gaps = np.flatnonzero(~known.all(axis=1))
        if len(gaps):
            rhs[gaps] = _with_gaps(known[gaps], rhs[gaps], self.components_)
        return rhs


def _subspace(net: Network, dtype: Any) -> tuple[Float, Float]:
    """Return the singular values of the unfolding at the samples, and an orthonormal row basis.

    The node of the samples is replaced by the identity over its other legs, which gives all that
    the rest of the network can make; then by its singular vectors, the largest value first.
    """
    structure = net.structure
    (node,) = structure.holders[SAMPLES]
    legs = structure.legs[node]
    inner = [structure.size[leg] for leg in legs if leg != SAMPLES]
    wide = math.prod(inner)
    axis = legs.index(SAMPLES)
    eye = np.moveaxis(np.eye(wide).reshape(wide, *inner), 0, axis)
    arrays = {name: to_numpy(x).astype(np.float64) for name, x in net.arrays.items()}
    mine = np.moveaxis(arrays[node], axis, 0).reshape(-1, wide)
    arrays[node] = eye
    whole = tnet.contract(Network(structure.resized({SAMPLES: wide}), arrays))
    places = structure.modes.index(SAMPLES)
    basis = np.moveaxis(np.asarray(whole), places, 0).reshape(wide, -1)
    Q, R = np.linalg.qr(basis.T)
    _, values, V = np.linalg.svd(mine @ R.T, full_matrices=False)
    least = values[0] * max(mine.shape) * np.finfo(np.float64).eps
    kept = max(1, int(np.count_nonzero(values > least)))
    components = V[:kept] @ Q.T
    largest = np.argmax(np.abs(components), axis=1)
    signs = np.where(components[np.arange(kept), largest] < 0.0, -1.0, 1.0)
    return values[:kept].astype(dtype), (components * signs[:, None]).astype(dtype)


def _with_gaps(known: Any, rhs: Float, components: Float) -> Float:
    """Solve each row's least squares over its known entries, stacks of rows at a time."""
    wide, features = components.shape
    out = np.empty_like(rhs)
    step = max(1, CHUNK // max(1, wide * wide))
    pairs = (components[:, None, :] * components[None, :, :]).reshape(wide * wide, features)
    for start in range(0, len(rhs), step):
        rows = slice(start, start + step)
        gram = (known[rows].astype(rhs.dtype) @ pairs.T).reshape(-1, wide, wide)
        # a row with fewer known entries than components has many solutions: the shortest
        inverse = np.linalg.pinv(gram, hermitian=True, rcond=64 * wide * np.finfo(rhs.dtype).eps)
        out[rows] = np.squeeze(inverse @ rhs[rows][..., None], -1)
    return out
