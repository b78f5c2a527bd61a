"""Weights from a callable: checked, and as "distance" where they are 1/d; wherever votes are weighed."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from points import FIVE, HERE
from sklearn import neighbors as reference

from ragknn import atune, tune
from ragknn.estimators import (
    KNeighborsClassifier,
    KNeighborsRegressor,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
)
from ragknn.voting._arithmetic import class_shares, neighbor_weights, weighted_average

DISTANCES = st.one_of(st.sampled_from([0.0, -0.0, 0.5, 1.0, 2.0, 5e-324, 1e-310, 1e300]), st.floats(0.0, 4.0))
WEIGHTS = st.one_of(st.sampled_from([0.0, -0.0, 1.0, 1e308, 1.7976931348623157e308, 5e-324]), st.floats(0.0))
NO_WEIGHTS = st.one_of(st.just(np.nan), st.floats(max_value=-5e-324))
CODES = np.array([[0, 1, 2, 0, 1], [2, 2, 1, 0, 0]])


def everyone(array):
    return np.ones(np.shape(array), dtype=bool)


def inverse(distances):
    return 1 / distances


# ---- what a callable may return --------------------------------------------------------------------------------


@given(arrays(np.float64, (2, 5), elements=DISTANCES))
def test_a_callable_that_returns_the_inverse_is_distance(distances):
    ours, expected = (neighbor_weights(distances, everyone(distances), one) for one in (inverse, "distance"))
    assert ours.tolist() == expected.tolist()


@given(arrays(np.float64, (2, 5), elements=WEIGHTS))
def test_any_weights_give_shares_that_sum_to_one_or_weigh_nothing(given_weights):
    each = neighbor_weights(np.ones((2, 5)), everyone(CODES), lambda d: given_weights)
    sums = class_shares(CODES, each, 3).sum(axis=1)
    np.testing.assert_allclose(sums, given_weights.any(axis=1).astype(float), rtol=0, atol=1e-12)
    averages = weighted_average(CODES.astype(float), each)
    assert (np.isnan(averages) == (sums == 0)).all()


@given(arrays(np.float64, (2, 5), elements=WEIGHTS), NO_WEIGHTS, st.integers(0, 9))
def test_one_weight_that_is_none_is_refused_among_any_others(weights, wrong, place):
    weights.flat[place] = wrong
    with pytest.raises(ValueError, match=r"expected weights >= 0, got (nan|-).* at distance 1.0 from <function"):
        neighbor_weights(np.ones((2, 5)), everyone(CODES), lambda d: weights)


def test_infinite_weights_outvote_all_others_each_with_as_much():
    weights = neighbor_weights(np.ones((1, 4)), everyone([[0] * 4]), lambda d: [[np.inf, 1e308, np.inf, 0]])
    assert weights.tolist() == [[1.0, 0.0, 1.0, 0.0]]


WRONG = {
    "NaN": (lambda d: d * np.nan, "expected weights >= 0, got nan"),
    "0/0": (lambda d: (d - d) / (d - d), "expected weights >= 0, got nan"),
    "negative": (lambda d: -1 - d, "expected weights >= 0, got -"),
    "complex": (lambda d: d * 1j, "expected weights as an array of numbers, got "),
    "text": (lambda d: d.astype(str), "expected weights as an array of numbers, got "),
    "array of None": (lambda d: np.full(d.shape, None), "expected weights as an array of numbers, got "),
    "objects": (lambda d: d.astype(object), "expected weights as an array of numbers, got "),
    "dates": (lambda d: np.full(d.shape, np.datetime64("2024-02-29")), "expected weights as an array of numbers, got "),
    "None": (lambda d: None, "expected weights as an array of numbers, got None"),
    "name": (lambda d: "uniform", "expected weights as an array of numbers, got 'uniform'"),
    "number": (lambda d: 1.0, "expected weights of shape ("),
    "other shape": (lambda d: d[:, :1].T, "expected weights of shape ("),
    "nothing": (lambda d: [], "expected weights of shape ("),
    "ragged": (lambda d: [[1.0], [1.0, 2.0]], "expected weights of shape ("),
}
each_wrong = pytest.mark.parametrize(("wrong", "message"), WRONG.values(), ids=WRONG)


@each_wrong
def test_what_is_no_weight_is_refused(wrong, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        neighbor_weights(np.ones((2, 3)), np.ones((2, 3), dtype=bool), wrong)


def test_a_callable_cannot_change_the_distances():
    distances = np.array([[1.0, 2.0]])
    neighbor_weights(distances, everyone(distances), lambda d: np.multiply(d, 0, out=d))
    assert distances.tolist() == [[1.0, 2.0]]


def test_an_error_of_the_callable_itself_is_its_own():
    def broken(distances):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        neighbor_weights(np.ones((1, 1)), np.ones((1, 1), dtype=bool), broken)


# ---- wherever votes are weighed --------------------------------------------------------------------------------


@each_wrong
def test_no_vote_is_held_with_what_is_no_weight(faces, plane, fill, voter, wrong, message):
    fill(FIVE)
    asked = voter(k=3, weights=wrong)
    for ask in (
        lambda: asked.vote(HERE),
        lambda: asked.predict([HERE, "9 9"]),
        lambda: asked.predict_proba([HERE]),
        lambda: asked.vote_on(faces.retriever(plane).retrieve(HERE)),
        lambda: faces.call(tune, atune, plane, [2], [wrong]),
        lambda: asked.tune([2], ["uniform", wrong]),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            ask()


def test_votes_by_the_inverse_are_votes_by_distance(fill, voter, faces, plane):
    fill({**FIVE, "here": (HERE, "z"), "too": (f"{HERE} again", "y")})
    texts = [HERE, "1 0", "0 1", "3 3"]
    for priors in (None, "balanced"):
        ours, expected = (voter(k=4, weights=one, priors=priors) for one in (inverse, "distance"))
        assert ours.vote_many(texts) == expected.vote_many(texts)
        assert ours.vote(HERE).shares == ({"y": 0.5, "z": 0.5} if priors is None else ours.vote(HERE).shares)
    tuned = faces.call(tune, atune, plane, [1, 2, 4], [inverse, "distance"]).settings
    assert [one.score for one in tuned[:3]] == [one.score for one in tuned[3:]]


@pytest.fixture
def one_server(monkeypatch, redis_url, clean_environ):
    monkeypatch.setenv("RAGKNN_URL", redis_url)


X = np.array([[0.0], [0.0], [1.0], [2.0], [4.0]])
ESTIMATORS = {
    "classifier": (KNeighborsClassifier, {"n_neighbors": 3}, [0, 1, 1, 1, 0]),
    "radius classifier": (RadiusNeighborsClassifier, {"radius": 2.5}, [0, 1, 1, 1, 0]),
    "regressor": (KNeighborsRegressor, {"n_neighbors": 3}, [0.0, 2.0, 8.0, 1.0, 3.0]),
    "radius regressor": (RadiusNeighborsRegressor, {"radius": 2.5}, [0.0, 2.0, 8.0, 1.0, 3.0]),
}
each_estimator = pytest.mark.parametrize(("kind", "params", "y"), ESTIMATORS.values(), ids=ESTIMATORS)


@each_estimator
@each_wrong
def test_no_estimator_predicts_with_what_is_no_weight(one_server, kind, params, y, wrong, message):
    model = kind(**params, weights=wrong).fit(X, y)
    with pytest.raises(ValueError, match=re.escape(message)):
        model.predict([[0.5], [1.5]])


@each_estimator
def test_estimators_take_the_inverse_for_scikit_learns_distance(one_server, kind, params, y):
    ours = kind(**params, weights=inverse).fit(X, y)
    theirs = getattr(reference, kind.__name__)(**params, weights="distance").fit(X, y)
    queries = [[0.0], [1.0], [0.3], [2.0]]
    np.testing.assert_allclose(ours.predict(queries), theirs.predict(queries))
    if hasattr(ours, "predict_proba"):
        np.testing.assert_allclose(ours.predict_proba(queries), theirs.predict_proba(queries))
