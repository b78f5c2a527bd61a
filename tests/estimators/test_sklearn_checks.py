"""scikit-learn's own checks of every estimator, all of them."""

import warnings

import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import SkipTestWarning
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from ragknn import HashingEmbedder
from ragknn.estimators import (
    KNeighborsClassifier,
    KNeighborsRegressor,
    KNeighborsTransformer,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
    TextEmbedder,
)

ESTIMATORS = [
    KNeighborsClassifier(),
    KNeighborsClassifier(n_neighbors=2, weights="distance", metric="cosine"),
    KNeighborsRegressor(),
    KNeighborsRegressor(n_neighbors=2, weights="distance"),
    RadiusNeighborsClassifier(),
    RadiusNeighborsClassifier(radius=2.0, weights="distance", outlier_label="most_frequent"),
    RadiusNeighborsRegressor(),
    RadiusNeighborsRegressor(radius=2.0, weights="distance"),
    KNeighborsTransformer(),
    KNeighborsTransformer(mode="connectivity", n_neighbors=2),
]


def expected_failures(estimator: BaseEstimator) -> dict[str, str]:
    """Return why a check fails, by its name. No estimator fails one as it is built without arguments."""
    if estimator.metric == "cosine":
        return {"check_estimators_dtypes": "its data have a row of zeros, which metric='cosine' refuses"}
    return {}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures, xfail_strict=True)
def test_neighbors_are_estimators_of_scikit_learn(estimator, check):
    check(estimator)


def text_checks():
    with warnings.catch_warnings():
        # The checks of numbers are left out for what takes texts, as for scikit-learn's own vectorizers.
        warnings.simplefilter("ignore", SkipTestWarning)
        return [check for _, check in estimator_checks_generator(TextEmbedder(HashingEmbedder(8)))]


@pytest.mark.parametrize("check", text_checks(), ids=lambda check: check.func.__name__)
def test_the_text_embedder_is_a_transformer_of_scikit_learn(check):
    check(TextEmbedder(HashingEmbedder(8)))
