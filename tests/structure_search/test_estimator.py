"""The estimator keeps scikit-learn's promises and its own: projections, gaps, components."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import tnet
from contraction.errors import InputError, ShapeError
from structure_search import CoreShape, Greedy, RelativeError, StructureSearch

# Checks of scikit-learn that do not apply, with the reason; none at present.
NOT_APPLICABLE: dict[str, str] = {}


@parametrize_with_checks(
    [StructureSearch(method=Greedy(), max_evaluations=40)],
    expected_failed_checks=lambda _: NOT_APPLICABLE,
)
def test_scikit_learns_checks(estimator, check) -> None:
    check(estimator)


def samples(count: int = 40, seed: int = 0) -> np.ndarray:
    """Samples that lie in a subspace of three dimensions, of rank-one pictures 4 x 5."""
    rng = np.random.default_rng(0)
    basis = np.stack([np.outer(rng.standard_normal(4), rng.standard_normal(5)) for _ in range(3)])
    weights = np.random.default_rng(seed).standard_normal((count, 3))
    return np.tensordot(weights, basis, 1)


def fitted(X: np.ndarray, **options) -> StructureSearch:
    options = {"method": Greedy(), "tol": 1e-6, "random_state": 0, **options}
    return StructureSearch(**options).fit(X)


def test_the_subspace_of_the_samples_is_found_and_holds_new_ones() -> None:
    found = fitted(samples())
    assert found.network_.structure.modes == ("samples", "x0", "x1")
    assert found.components_.shape == (3, 20)
    np.testing.assert_allclose(found.components_ @ found.components_.T, np.eye(3), atol=1e-12)
    assert np.all(np.diff(found.singular_values_) <= 0)
    new = samples(7, seed=5)
    Z = found.transform(new)
    assert Z.shape == (7, 3)
    assert found.inverse_transform(Z).shape == new.shape
    np.testing.assert_allclose(found.inverse_transform(Z), new, atol=1e-5)
    assert found.score(new) > 1 - 1e-9


def test_singular_values_are_those_of_the_fitted_samples() -> None:
    found = fitted(samples())
    rows = np.moveaxis(tnet.contract(found.network_), 0, 0).reshape(40, -1)
    exact = np.linalg.svd(rows, compute_uv=False)[:3]
    np.testing.assert_allclose(found.singular_values_, exact, rtol=1e-9)


def test_the_projection_is_no_worse_than_the_network() -> None:
    X = samples() + 0.05 * np.random.default_rng(1).standard_normal((40, 4, 5))
    found = fitted(X, tol=0.2)
    assert found.error_ <= 0.2
    assert found.score(X) >= 1 - found.error_**2 - 1e-12


def test_missing_entries_are_filled_by_least_squares() -> None:
    found = fitted(samples())
    whole = samples(6, seed=3)
    gaps = np.where(np.random.default_rng(2).random(whole.shape) < 0.4, np.nan, whole)
    np.testing.assert_allclose(found.transform(gaps), found.transform(whole), atol=1e-4)
    assert found.score(gaps) > 1 - 1e-9


def test_fit_takes_missing_entries() -> None:
    X = samples(60)
    gaps = np.where(np.random.default_rng(2).random(X.shape) < 0.2, np.nan, X)
    found = fitted(gaps, tol=1e-4, max_evaluations=60)
    filled = found.inverse_transform(found.transform(gaps))
    assert np.linalg.norm(filled - X) <= 1e-2 * np.linalg.norm(X)


def test_a_sample_with_nothing_known_is_zero() -> None:
    found = fitted(samples())
    assert not np.any(found.transform(np.full((1, 4, 5), np.nan)))


def test_flat_features_are_arranged_by_shape_and_come_back_flat() -> None:
    X = samples().reshape(40, 20)
    found = fitted(X, shape=(4, 5))
    assert found.structure_.shape == (40, 4, 5)
    assert found.inverse_transform(found.transform(X)).shape == (40, 20)
    with pytest.raises(ShapeError, match=r"\(4, 4\) has 16 features, the samples have 20"):
        fitted(X, shape=(4, 4))


def test_it_works_in_a_pipeline_and_a_grid_search() -> None:
    X = samples().reshape(40, 20) + 0.01 * np.random.default_rng(1).standard_normal((40, 20))
    model = StructureSearch(method=Greedy(), shape=(4, 5), max_evaluations=30, random_state=0)
    pipe = make_pipeline(StandardScaler(), model)
    grid = GridSearchCV(pipe, {"structuresearch__tol": [0.7, 0.1]}, cv=2).fit(X)
    assert grid.best_params_ == {"structuresearch__tol": 0.1}
    names = grid.best_estimator_[-1].get_feature_names_out()
    assert names[0] == "structuresearch0"


def test_goals_other_than_a_tolerance() -> None:
    X = samples() + 0.05 * np.random.default_rng(1).standard_normal((40, 4, 5))
    small = fitted(X, method=CoreShape(max_params=200), max_params=200)
    assert small.result_.best.num_params <= 200
    assert fitted(X, objective=RelativeError(tol=0.5)).error_ <= 0.5


def test_wrong_input_says_what_was_wrong() -> None:
    with pytest.raises(InputError, match="n_jobs"):
        fitted(samples(), n_jobs=0)
    with pytest.raises(ShapeError, match=r"\(samples, 3\)"):
        fitted(samples()).inverse_transform(np.zeros((2, 4)))
    with pytest.raises(ShapeError, match=r"have shape \(4, 5\), got \(4, 6\)"):
        fitted(samples()).transform(np.zeros((2, 4, 6)))
