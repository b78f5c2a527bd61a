"""Estimators against scikit-learn's brute force on the same vectors, and what they alone have: an index in Redis."""

import copy
import gc
import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn import neighbors as reference
from sklearn.base import clone
from sklearn.cluster import DBSCAN
from sklearn.datasets import make_blobs
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ragknn import Document, HashingEmbedder, Index, Indexer, LabelVoter, Retriever, list_indexes
from ragknn.errors import IndexNotFound, SchemaMismatch
from ragknn.estimators import (
    KNeighborsClassifier,
    KNeighborsRegressor,
    KNeighborsTransformer,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
    TextEmbedder,
)

ALL = [
    KNeighborsClassifier,
    KNeighborsRegressor,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
    KNeighborsTransformer,
]


@pytest.fixture(autouse=True)
def one_server(monkeypatch, redis_url, clean_environ):
    """Let every estimator that names no Redis use the session's."""
    monkeypatch.setenv("RAGKNN_URL", redis_url)


def own_indexes():
    """Return the names of the indexes that estimators have made for themselves."""
    gc.collect()
    return {name for name in list_indexes() if name.startswith("sklearn-")}


@pytest.fixture(scope="module")
def blobs():
    X, y = make_blobs(n_samples=120, centers=4, n_features=6, cluster_std=6.0, random_state=0)
    return X.astype(np.float32), y


# ---- against scikit-learn --------------------------------------------------------------------------------------
#
# Two things make the answer of brute force itself depend on the order of storage, or on how a sum is rounded, and
# then there is nothing to compare but what is determined all the same:
# - the k-th and the next neighbor are equally far, and differ in their targets: either may be taken;
# - two classes have equal shares that are not made of whole numbers: the last bit decides.
# Coordinates that are small integers make squared distances exact on both sides, so that real ties are frequent
# and everything else is determined. Other coordinates make ties of rounding only.

NEAR = 1e-5  # relative; closer distances or shares count as tied by rounding


def inverse_square(distances):
    return 1 / (1 + distances**2)


WEIGHTS = ["uniform", "distance", inverse_square]

integers = st.integers(-3, 3).map(float)
decimals = st.floats(-10, 10, width=32).map(lambda value: round(value, 3))


@st.composite
def problems(draw, metric, leave_one_out=False):
    """Draw rows and queries, float32, targets and k: with duplicates, queries among the rows, and all that is small."""
    n_features = draw(st.integers(1, 4))
    values = draw(st.sampled_from([integers, decimals]))
    row = st.lists(values, min_size=n_features, max_size=n_features)
    if metric == "cosine":  # a row of zeros has no cosine distance
        row = row.map(lambda drawn: drawn if any(drawn) else [1.0] * n_features)
    different = draw(st.lists(row, min_size=1 + leave_one_out, max_size=12))
    X = different + draw(st.lists(st.sampled_from(different), max_size=6))
    queries = draw(st.lists(st.one_of(st.sampled_from(X), row), min_size=1, max_size=4))
    y = draw(st.lists(st.integers(0, draw(st.integers(0, 3))), min_size=len(X), max_size=len(X)))
    most = len(X) - leave_one_out
    k = draw(st.one_of(st.integers(1, most), st.just(most)))
    return np.array(X, dtype=np.float32), np.array(queries, dtype=np.float32), np.array(y), k


def differential(test):
    """Run a test with many problems, which it draws for its metric, on the session's server."""
    quick = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    return quick(given(data=st.data())(test))


def true_distances(queries, X, metric):
    """Return the distances in float64, shape (n_queries, n_samples), those of the same direction exactly 0."""
    queries, X = queries.astype(np.float64), X.astype(np.float64)
    if metric == "euclidean":
        return np.sqrt(((queries[:, np.newaxis] - X) ** 2).sum(axis=2))
    cosines = (queries @ X.T) / np.linalg.norm(queries, axis=1)[:, np.newaxis] / np.linalg.norm(X, axis=1)
    distances = 1 - np.clip(cosines, -1, 1)
    return np.where(distances < 1e-12, 0.0, distances)


def is_tied(distances, targets, k):
    """Tell whether it is open which neighbors are the nearest k, so that their targets may differ."""
    order = np.argsort(distances, kind="stable")
    if k == len(order):
        return False
    edge = distances[order[k - 1]]
    at_edge = np.isclose(distances, edge, rtol=NEAR, atol=1e-6)
    return at_edge[order[k]] and len(set(targets[at_edge].tolist())) > 1


def is_rounded_zero(distances, metric):
    """Tell whether scikit-learn's own distance may be 0 or not by rounding only, which 1/d then magnifies.

    Its euclidean distances of float32 are those of float64, by |x|^2 - 2xy + |y|^2, its cosine ones of float32.
    """
    return ((distances < 1e-3) & ((distances > 0) | (metric == "cosine"))).any()


def brute_force(kind, metric, **params):
    return getattr(reference, kind)(algorithm="brute", metric=metric, **params)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@differential
def test_the_neighbors_are_those_of_scikit_learn(metric, data):
    X, queries, y, k = data.draw(problems(metric), label="problem")
    ours = KNeighborsClassifier(k, metric=metric).fit(X, y)
    distances, rows = ours.kneighbors(queries)
    expected, _ = brute_force("KNeighborsClassifier", metric, n_neighbors=k).fit(X, y).kneighbors(queries)
    np.testing.assert_allclose(distances, expected, rtol=1e-5, atol=2e-6)  # determined, whatever is tied
    true = true_distances(queries, X, metric)
    np.testing.assert_allclose(distances, np.take_along_axis(true, rows, axis=1), rtol=1e-5, atol=1e-6)
    for row in rows:
        assert len(set(row)) == k
    if metric == "euclidean" and (X == X.round()).all() and (queries == queries.round()).all():
        # Here distances are exact, and of equally near rows ours are always the first.
        np.testing.assert_array_equal(rows, np.argsort(true, axis=1, kind="stable")[:, :k])


@pytest.mark.parametrize("weights", WEIGHTS, ids=["uniform", "distance", "callable"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@differential
def test_classes_and_shares_are_those_of_scikit_learn(metric, weights, data):
    X, queries, y, k = data.draw(problems(metric), label="problem")
    ours = KNeighborsClassifier(k, metric=metric, weights=weights).fit(X, y)
    theirs = brute_force("KNeighborsClassifier", metric, n_neighbors=k, weights=weights).fit(X, y)
    shares, expected_shares = ours.predict_proba(queries), theirs.predict_proba(queries)
    classes, expected_classes = ours.predict(queries), theirs.predict(queries)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    for query, distances in enumerate(true_distances(queries, X, metric)):
        if is_tied(distances, y, k) or (weights == "distance" and is_rounded_zero(distances, metric)):
            continue
        np.testing.assert_allclose(shares[query], expected_shares[query], atol=1e-5)
        best = np.flatnonzero(expected_shares[query] > expected_shares[query].max() - NEAR)
        if weights == "uniform" or len(best) == 1:
            assert classes[query] == expected_classes[query]
        else:
            assert classes[query] in ours.classes_[best]


@pytest.mark.parametrize("weights", WEIGHTS, ids=["uniform", "distance", "callable"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@differential
def test_averages_are_those_of_scikit_learn(metric, weights, data):
    X, queries, y, k = data.draw(problems(metric), label="problem")
    targets = y * 0.75 - 1
    ours = KNeighborsRegressor(k, metric=metric, weights=weights).fit(X, targets)
    theirs = brute_force("KNeighborsRegressor", metric, n_neighbors=k, weights=weights).fit(X, targets)
    averages, expected = ours.predict(queries), theirs.predict(queries)
    for query, distances in enumerate(true_distances(queries, X, metric)):
        if not is_tied(distances, y, k) and not (weights == "distance" and is_rounded_zero(distances, metric)):
            assert averages[query] == pytest.approx(expected[query], abs=1e-5)


@pytest.mark.parametrize("weights", WEIGHTS, ids=["uniform", "distance", "callable"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@differential
def test_radius_estimators_are_those_of_scikit_learn(metric, weights, data):
    X, queries, y, _ = data.draw(problems(metric), label="problem")
    radius = 2.0 if metric == "euclidean" else 0.5
    true = true_distances(queries, X, metric)
    params = {"radius": radius, "metric": metric, "weights": weights}
    brute = {"algorithm": "brute", **params}
    ours = RadiusNeighborsClassifier(**params, outlier_label=-1)
    theirs = reference.RadiusNeighborsClassifier(**brute, outlier_label=-1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # outliers, tested below
        shares, expected_shares = (model.fit(X, y).predict_proba(queries) for model in (ours, theirs))
        classes, expected_classes = ours.predict(queries), theirs.predict(queries)
        averages = RadiusNeighborsRegressor(**params).fit(X, y / 2).predict(queries)
        expected_averages = reference.RadiusNeighborsRegressor(**brute).fit(X, y / 2).predict(queries)
    rows = ours.radius_neighbors(queries, return_distance=False)
    for query, distances in enumerate(true):
        on_edge = np.isclose(distances, radius, rtol=NEAR)
        exact = metric == "euclidean" and (X == X.round()).all() and (queries[query] == queries[query].round()).all()
        if on_edge.any() and not exact:
            continue  # rounding decides who is within
        assert set(rows[query]) == set(np.flatnonzero(distances <= radius))
        if weights == "distance" and is_rounded_zero(distances, metric):
            continue
        np.testing.assert_allclose(shares[query], expected_shares[query], atol=1e-5)
        best = np.flatnonzero(expected_shares[query] > expected_shares[query].max() - NEAR)
        if weights == "uniform" or len(best) == 1 or not len(rows[query]):
            assert classes[query] == expected_classes[query]
        assert averages[query] == pytest.approx(expected_averages[query], abs=1e-5, nan_ok=True)


@differential
def test_leave_one_out_takes_every_row_but_itself(data):
    X, _, y, k = data.draw(problems("euclidean", leave_one_out=True), label="problem")
    distances, rows = KNeighborsClassifier(k).fit(X, y).kneighbors()
    true = true_distances(X, X, "euclidean")
    np.fill_diagonal(true, np.inf)
    expected, _ = brute_force("KNeighborsClassifier", "euclidean", n_neighbors=k).fit(X, y).kneighbors()
    np.testing.assert_allclose(distances, np.sort(true, axis=1)[:, :k], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(distances, expected, rtol=1e-5, atol=1e-6)
    assert not (rows == np.arange(len(X))[:, np.newaxis]).any()
    if (X == X.round()).all():
        np.testing.assert_array_equal(rows, np.argsort(true, axis=1, kind="stable")[:, :k])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_larger_data_give_the_same_graphs(blobs, metric, dtype):
    X, y = blobs[0].astype(dtype), blobs[1]
    ours = KNeighborsClassifier(7, metric=metric).fit(X, y)
    theirs = brute_force("KNeighborsClassifier", metric, n_neighbors=7).fit(X, y)
    for queries in (None, X[:10] + 1):
        for mode in ("connectivity", "distance"):
            graph, expected = (model.kneighbors_graph(queries, mode=mode) for model in (ours, theirs))
            assert (graph.format, graph.shape, graph.dtype) == (expected.format, expected.shape, np.float64)
            if dtype != np.int64:  # integers have ties
                np.testing.assert_allclose(graph.toarray(), expected.toarray(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("queries", [None, slice(0, 10)], ids=["leave one out", "queries"])
def test_radius_graphs_are_equal(blobs, queries):
    X, y = blobs
    ours = RadiusNeighborsClassifier(9.0).fit(X, y)
    theirs = brute_force("RadiusNeighborsClassifier", "euclidean", radius=9.0).fit(X, y)
    asked = None if queries is None else X[queries]
    for mode in ("connectivity", "distance"):
        graph, expected = (model.radius_neighbors_graph(asked, mode=mode) for model in (ours, theirs))
        # float32 takes the distance of a row to itself for 0, float64 may not: leave out what is no neighbor
        np.testing.assert_allclose(graph.toarray(), expected.toarray(), rtol=1e-5, atol=1e-3)
    for near, row in zip(*ours.radius_neighbors(asked, sort_results=True), strict=True):
        assert (np.diff(near) >= 0).all()
        assert near.dtype == np.float64
        assert row.dtype == np.intp


def test_more_neighbors_within_a_radius_than_come_at_once(monkeypatch):
    monkeypatch.setattr("ragknn.retrieval._answers.RADIUS_PORTION", 10)
    X = np.arange(100, dtype=float)[:, np.newaxis]
    model = RadiusNeighborsRegressor(30.0).fit(X, X.ravel())
    distances, rows = model.radius_neighbors([[50.0], [0.0], [1000.0]])
    assert [sorted(row) for row in rows] == [list(range(20, 81)), list(range(31)), []]
    assert distances[1].tolist() == list(range(31))


def test_an_infinite_radius_takes_every_row():
    model = RadiusNeighborsRegressor(np.inf).fit([[0.0], [1e9]], [0.0, 1.0])
    assert model.predict([[5.0], [-1e12]]).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("kind", ["KNeighbors", "RadiusNeighbors"])
def test_several_outputs(blobs, kind):
    X, y = blobs
    params = {"weights": "distance"} | ({"radius": 30.0} if kind == "RadiusNeighbors" else {})
    classes = np.stack([y, y % 2], axis=1)
    numbers = np.stack([y * 0.5, -y, y**2], axis=1)
    made = {"KNeighbors": (KNeighborsClassifier, KNeighborsRegressor)}.get(
        kind, (RadiusNeighborsClassifier, RadiusNeighborsRegressor)
    )
    ours = made[0](**params).fit(X[:100], classes[:100])
    theirs = getattr(reference, f"{kind}Classifier")(**params).fit(X[:100], classes[:100])
    assert ours.outputs_2d_
    assert [each.tolist() for each in ours.classes_] == [each.tolist() for each in theirs.classes_]
    np.testing.assert_array_equal(ours.predict(X[100:]), theirs.predict(X[100:]))
    for shares, expected in zip(ours.predict_proba(X[100:]), theirs.predict_proba(X[100:]), strict=True):
        np.testing.assert_allclose(shares, expected, atol=1e-5)
    averages = made[1](**params).fit(X[:100], numbers[:100]).predict(X[100:])
    expected = getattr(reference, f"{kind}Regressor")(**params).fit(X[:100], numbers[:100]).predict(X[100:])
    np.testing.assert_allclose(averages, expected, atol=1e-5)


@pytest.mark.parametrize(
    "names",
    [["ham", "spam", "straße", ""], [-7, 0, 3, 12], [False, True, False, True], [0.0, 1.0, 2.0, 3.0]],
    ids=["str", "int", "bool", "float"],
)
@pytest.mark.parametrize("as_objects", [False, True])
def test_classes_of_every_kind(blobs, names, as_objects):
    X, y = blobs
    classes = np.array(names, dtype=object if as_objects and isinstance(names[0], str) else None)[y]
    ours, theirs = KNeighborsClassifier().fit(X, classes), reference.KNeighborsClassifier().fit(X, classes)
    assert ours.classes_.dtype == theirs.classes_.dtype
    assert ours.predict(X).tolist() == theirs.predict(X).tolist()
    assert ours.score(X, classes) == theirs.score(X, classes)
    assert ours.score(None, classes) == theirs.score(None, classes)


def test_regression_scores_leave_one_out(blobs):
    X, y = blobs
    ours, theirs = KNeighborsRegressor().fit(X, y), reference.KNeighborsRegressor().fit(X, y)
    assert ours.score(None, y) == pytest.approx(theirs.score(None, y))
    column = KNeighborsRegressor().fit(X, y[:, np.newaxis]).predict(X)
    np.testing.assert_allclose(column, reference.KNeighborsRegressor().fit(X, y[:, np.newaxis]).predict(X))


def test_a_column_of_classes_is_taken_as_one_output(blobs):
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        model = KNeighborsClassifier().fit(blobs[0], blobs[1][:, np.newaxis])
    assert not model.outputs_2d_


def test_the_graph_serves_as_a_precomputed_metric(blobs):
    X, y = blobs
    graph = KNeighborsTransformer(n_neighbors=10).fit_transform(X)
    assert graph.getnnz(axis=1).tolist() == [11] * len(X)
    data = graph.data.reshape(len(X), 11)
    assert (np.diff(data, axis=1) >= 0).all()
    assert (data[:, 0] == 0).all()
    precomputed = reference.KNeighborsClassifier(5, metric="precomputed").fit(graph, y)
    assert precomputed.predict(graph).tolist() == reference.KNeighborsClassifier(5).fit(X, y).predict(X).tolist()
    sparse = KNeighborsTransformer(n_neighbors=len(X) - 1).fit_transform(X)
    found = DBSCAN(eps=9.0, metric="precomputed").fit_predict(sparse)
    assert found.tolist() == DBSCAN(eps=9.0).fit_predict(X).tolist()
    pipeline = make_pipeline(KNeighborsTransformer(n_neighbors=6), reference.KNeighborsClassifier(metric="precomputed"))
    assert pipeline.fit(X[:90], y[:90]).predict(X[90:]).shape == (30,)


def test_the_transformer_names_its_columns(blobs):
    model = KNeighborsTransformer(mode="connectivity").fit(blobs[0][:7])
    assert model.get_feature_names_out().tolist() == [f"kneighborstransformer{row}" for row in range(7)]
    assert model.transform(blobs[0][:3]).toarray().sum() == 15


def test_hnsw_finds_what_brute_force_finds(blobs):
    X, y = blobs
    model = KNeighborsClassifier(algorithm="hnsw", ef_runtime=120).fit(X, y)
    assert model.__sklearn_tags__().non_deterministic
    assert model.predict(X).tolist() == KNeighborsClassifier().fit(X, y).predict(X).tolist()


def test_vectors_are_stored_in_their_dtype(blobs):
    X, y = blobs
    for dtype, stored in ((np.float32, "float32"), (np.float64, "float64"), (np.int32, "float64")):
        model = KNeighborsClassifier().fit(X.astype(dtype), y)
        assert model._rows.index.schema.dtype == stored
        np.testing.assert_array_equal(model._rows.vectors(), X.astype(dtype))


# ---- outliers and odd weights ----------------------------------------------------------------------------------


def test_a_query_without_neighbors_is_refused_unless_it_has_a_label():
    X, y = [[0.0], [1.0], [2.0]], ["a", "b", "b"]
    with pytest.raises(
        ValueError, match=r"No neighbors found for test samples array\(\[1\]\), you can try using larger"
    ):
        RadiusNeighborsClassifier().fit(X, y).predict([[0.0], [9.0]])
    for label in ("a", "most_frequent", ["b"]):
        ours, theirs = (
            module.fit(X, y)
            for module in (
                RadiusNeighborsClassifier(outlier_label=label),
                reference.RadiusNeighborsClassifier(outlier_label=label),
            )
        )
        assert list(ours.outlier_label_) == list(theirs.outlier_label_)
        assert ours.predict([[0.0], [9.0]]).tolist() == theirs.predict([[0.0], [9.0]]).tolist()
        np.testing.assert_array_equal(ours.predict_proba([[0.0], [9.0]]), theirs.predict_proba([[0.0], [9.0]]))


def test_a_label_for_outliers_that_is_no_class_has_no_share():
    model = RadiusNeighborsClassifier(outlier_label=7).fit([[0.0], [1.0]], [1, 2])
    with pytest.warns(UserWarning, match="Outlier label 7 is not in training classes. All class probabilities"):
        assert model.predict_proba([[9.0]]).tolist() == [[0.0, 0.0]]
    with pytest.warns(UserWarning, match="Outlier label 7"):
        assert model.predict([[9.0], [0.0]]).tolist() == [7, 1]


@pytest.mark.parametrize(
    ("label", "error", "message"),
    [
        ([1, 2], ValueError, r"The length of outlier_label: \[1, 2\] is inconsistent with the output length: 1"),
        ([[1, 2]], TypeError, "supposed to be a scalar"),
        (0.5, ValueError, "The 'outlier_label' parameter of RadiusNeighborsClassifier must be"),
        ("a", TypeError, "The dtype of outlier_label a is inconsistent with classes"),
    ],
)
def test_a_label_for_outliers_that_cannot_be(label, error, message):
    with pytest.raises(error, match=message):
        RadiusNeighborsClassifier(outlier_label=label).fit([[0.0], [1.0]], [1, 2])


def test_regression_of_a_query_without_neighbors_is_nan():
    model = RadiusNeighborsRegressor(weights="distance").fit([[0.0], [1.0]], [1, 2])
    with pytest.warns(
        UserWarning, match="One or more samples have no neighbors within specified radius; predicting NaN"
    ):
        np.testing.assert_array_equal(model.predict([[0.0], [9.0]]), [1.0, np.nan])


def test_votes_that_all_weigh_nothing_are_refused():
    X, y = [[0.0], [1.0]], [1, 2]
    for model in (KNeighborsClassifier(2, weights=np.zeros_like), RadiusNeighborsClassifier(weights=np.zeros_like)):
        with pytest.raises(ValueError, match="All neighbors of some sample is getting zero weights"):
            model.fit(X, y).predict([[0.0]])
    for regressor in (KNeighborsRegressor(2, weights=np.zeros_like), RadiusNeighborsRegressor(weights=np.zeros_like)):
        assert np.isnan(regressor.fit(X, y).predict([[0.0]])).all()


def test_a_callable_sees_only_the_neighbors_that_are_there():
    seen = []

    def weigh(distances):
        seen.append(distances.tolist())
        return np.exp(-distances)

    model = RadiusNeighborsRegressor(1.0, weights=weigh).fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0])
    model.predict([[0.0], [1.0]])
    assert seen == [[[0.0, 1.0]], [[0.0, 1.0, 1.0]]]


def test_duplicates_of_the_query_have_cosine_distance_zero():
    X = np.random.default_rng(1).normal(size=(20, 384)).astype(np.float32)
    model = KNeighborsClassifier(3, metric="cosine", weights="distance").fit(
        np.concatenate([X, X * 3, -X]), [0] * 20 + [1] * 20 + [2] * 20
    )
    assert (model.kneighbors(X)[0][:, :2] == 0).all()
    np.testing.assert_array_equal(model.predict_proba(X), [[0.5, 0.5, 0.0]] * 20)


# ---- wrong input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_asking_before_fitting(kind):
    model = kind()
    ask = model.transform if hasattr(model, "transform") else model.predict
    with pytest.raises(NotFittedError, match=f"This {kind.__name__} instance is not fitted yet"):
        ask([[0.0]])


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(kind, value):
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        kind().fit([[0.0], [value]], [0, 1])
    model = kind().fit([[float(row)] for row in range(6)], [0, 1] * 3)
    ask = model.transform if hasattr(model, "transform") else model.predict
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        ask([[value]])


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "params",
    [
        {"metric": "manhattan"},
        {"metric": None},
        {"algorithm": "kd_tree"},
        {"index": 5},
        {"url": 5},
        {"weights": "nearest"},
        {"n_neighbors": 0},
        {"n_neighbors": 1.5},
        {"radius": -1.0},
        {"ef_runtime": 0},
        {"mode": "graph"},
    ],
    ids=str,
)
def test_parameters_that_cannot_be(kind, params):
    (name, value), model = *params.items(), kind()
    if name not in model.get_params():
        with pytest.raises(ValueError, match=f"Invalid parameter '{name}' for estimator"):
            model.set_params(**params)
        return
    with pytest.raises(ValueError, match=f"The '{name}' parameter of {kind.__name__} must be .* Got {value!r} instead"):
        model.set_params(**params).fit([[0.0], [1.0]], [0, 1])


def test_more_neighbors_than_rows():
    model = KNeighborsClassifier(7).fit([[0.0]] * 5, [0] * 5)
    with pytest.raises(
        ValueError, match="Expected n_neighbors <= n_samples_fit, but n_neighbors = 7, n_samples_fit = 5, n_samples = 1"
    ):
        model.predict([[0.0]])
    with pytest.raises(
        ValueError, match="Expected n_neighbors < n_samples_fit, but n_neighbors = 5, n_samples_fit = 5, n_samples = 5"
    ):
        model.kneighbors(n_neighbors=5)
    with pytest.raises(ValueError, match=r"Expected n_neighbors > 0. Got 0"):
        model.kneighbors(n_neighbors=0)
    with pytest.raises(TypeError, match="n_neighbors does not take <class 'float'> value, enter integer value"):
        model.kneighbors(n_neighbors=2.0)
    with pytest.raises(ValueError, match="Unsupported mode"):
        model.kneighbors_graph(mode="graph")


def test_sorting_distances_that_are_not_asked_for():
    model = RadiusNeighborsClassifier().fit([[0.0]], [0])
    with pytest.raises(ValueError, match="return_distance must be True if sort_results is True"):
        model.radius_neighbors([[0.0]], return_distance=False, sort_results=True)
    with pytest.raises(ValueError, match="Unsupported mode"):
        model.radius_neighbors_graph(mode="graph")


def test_other_features_than_fitted():
    model = KNeighborsClassifier(1).fit([[0.0, 1.0]], [0])
    with pytest.raises(ValueError, match="X has 1 features, but KNeighborsClassifier is expecting 2 features as input"):
        model.predict([[0.0]])


def test_targets_that_fit_no_estimator():
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        KNeighborsClassifier().fit([[0.0], [1.0]], [0.5, 1.5])
    with pytest.raises(ValueError, match="could not convert string to float"):
        KNeighborsRegressor().fit([[0.0], [1.0]], ["a", "b"])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        KNeighborsClassifier().fit([[0.0], [1.0]], [0])


def test_a_row_of_zeros_has_no_cosine_distance():
    with pytest.raises(ValueError, match="without a distance for metric='cosine': row 1 has only zeros"):
        KNeighborsClassifier(metric="cosine").fit([[1.0], [0.0]], [0, 1])
    model = KNeighborsClassifier(1, metric="cosine").fit([[1.0]], [0])
    with pytest.raises(ValueError, match="row 0 has only zeros"):
        model.predict([[0.0]])


def test_queries_too_large_for_the_stored_dtype():
    model = KNeighborsClassifier(1).fit(np.array([[1.0]], dtype=np.float32), [0])
    with pytest.raises(ValueError, match="a value of 1e\\+39 does not fit float32"):
        model.predict([[1e39]])


def test_ef_runtime_without_a_graph():
    with pytest.raises(ValueError, match="Expected ef_runtime with algorithm='hnsw' only, but ef_runtime = 50"):
        KNeighborsClassifier(ef_runtime=50).fit([[0.0]], [0])


# ---- the index in Redis ----------------------------------------------------------------------------------------


def test_an_index_of_its_own_goes_with_the_estimator(blobs):
    before = own_indexes()
    model = KNeighborsClassifier().fit(*blobs)
    assert len(own_indexes() - before) == 1
    del model
    assert own_indexes() == before


def test_nothing_of_it_stays_on_the_server(blobs, client):
    before = sorted(client.scan_iter("ragknn:sklearn-*"))
    model = KNeighborsRegressor().fit(*blobs)
    assert len(sorted(client.scan_iter("ragknn:sklearn-*"))) == len(before) + 2 * len(blobs[0]) + 1
    del model
    gc.collect()
    assert sorted(client.scan_iter("ragknn:sklearn-*")) == before


def test_fitting_again_replaces_the_rows(blobs):
    before = own_indexes()
    model = KNeighborsClassifier(1).fit(*blobs)
    model.fit([[0.0, 0.0], [1.0, 1.0]], ["a", "b"])
    assert len(own_indexes() - before) == 1
    assert (model.n_samples_fit_, model.n_features_in_) == (2, 2)
    assert model.predict([[0.9, 0.9]]).tolist() == ["b"]


def test_a_fit_that_fails_leaves_nothing_behind(blobs, monkeypatch):
    before = own_indexes()

    def broken(*arguments):
        yield [("PING",)]
        raise RuntimeError("broken")

    monkeypatch.setattr("ragknn.estimators._neighbors.store_rows", broken)
    with pytest.raises(RuntimeError, match="broken"):
        KNeighborsClassifier().fit(*blobs)
    assert own_indexes() == before


EXIT = """
import numpy as np
from ragknn.estimators import KNeighborsClassifier, RadiusNeighborsClassifier
kept = [KNeighborsClassifier(1).fit([[0.0], [1.0]], [0, 1])]
kept.append(kept)  # a cycle, which only the end of the process breaks
print(kept[0].predict([[0.9]]), kept[0]._rows.name)
{more}
"""

FORK = """
import os
child = os.fork()
if not child:
    raise SystemExit(int(kept[0].predict([[0.1]])[0]))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), kept[0].predict([[0.9]]))
import multiprocessing
def work():
    own = KNeighborsClassifier(1).fit([[0.0], [1.0]], [0, 1])
    kept.append(own)
    print(own.predict([[0.9]]), flush=True)
worker = multiprocessing.get_context("fork").Process(target=work)
worker.start(); worker.join()
print(worker.exitcode, kept[0].predict([[0.9]]))
"""


def run_python(code, *warnings, **environ):
    done = subprocess.run(
        [sys.executable, "-W", "error", *warnings, "-c", code],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_an_index_of_its_own_goes_at_the_end_of_the_process():
    before = own_indexes()
    out = run_python(EXIT.format(more=""))
    assert out.startswith("[1] sklearn-")
    assert own_indexes() == before


def test_a_forked_child_uses_the_index_and_leaves_it_to_its_parent():
    before = own_indexes()
    # A child that was forked drops the sockets of its parent's redis-py client when it ends, without closing them.
    out = run_python(EXIT.format(more=FORK), "-W", "ignore:unclosed <socket:ResourceWarning").splitlines()
    assert out[1:] == ["0 [1]", "[1]", "0 [1]"]
    assert own_indexes() == before


def test_an_embedded_server_keeps_nothing_of_it(tmp_path):
    """The index must go before the server is let go at the end of the process."""
    environ = {"RAGKNN_URL": "", "RAGKNN_DATA": str(tmp_path / "data")}
    run_python(EXIT.format(more=""), **environ)
    assert run_python("import ragknn; print(ragknn.list_indexes())", **environ) == "[]\n"


def test_a_named_index_stays_and_can_be_filled_again(blobs, index_name, client):
    X, y = blobs
    names = np.array(["a", "b", "c", "d"])[y]
    model = KNeighborsClassifier(3, index=index_name).fit(X, names)
    expected = model.predict(X).tolist()
    del model
    gc.collect()
    attached = KNeighborsClassifier.from_index(index_name, n_neighbors=3)
    assert attached.predict(X).tolist() == expected
    again = KNeighborsClassifier(1, index=index_name).fit(X[:50], y[:50])  # by another estimator
    assert (again.n_samples_fit_, Index(index_name).open().count()) == (50, 50)
    again.fit(X[:20, :2], y[:20])  # by the same one, in another shape
    assert again.predict(X[:20, :2]).tolist() == y[:20].tolist()
    with pytest.raises(SchemaMismatch, match=f"index '{index_name}' was built otherwise: dim: expected 6, found 2"):
        KNeighborsClassifier(index=index_name).fit(X, y)
    with pytest.raises(SchemaMismatch, match="dtype: expected 'float64', found 'float32'"):
        KNeighborsClassifier(index=index_name).fit(X[:, :2].astype(float), y)


def test_a_named_index_serves_search_and_votes_too(blobs, index_name):
    X, y = blobs
    KNeighborsClassifier(index=index_name).fit(X, np.array(["a", "b", "c", "d"])[y])
    with Index(index_name) as index:
        [found] = Retriever(index).kneighbors(X[7], k=1)
        assert (found[0].passage.document_id, found[0].passage.label) == ("7", "abcd"[y[7]])
        report = Indexer(index).add_vectors(
            [str(row) for row in range(120)], X, labels=[("a", "b", "c", "d")[code] for code in y]
        )
        assert (report.unchanged, report.added) == (120, 0)
        assert Indexer(index).delete(["7"]) == 1
        assert index.describe().documents == 119


def test_documents_are_never_dropped_by_fitting(index_name, embedder):
    with Index(index_name, embedder=embedder, text_search=False, metric="l2", dtype="float64") as index:
        Indexer(index).add([Document("a", "first", "x"), Document("b", "second", "y")])
        X = np.eye(2, embedder.dim)
        with pytest.raises(SchemaMismatch, match="embedder: expected 'ready vectors', found"):
            KNeighborsClassifier(index=index_name).fit(X, [0, 1])
        attached = KNeighborsClassifier.from_index(index_name, n_neighbors=1)
        with pytest.raises(SchemaMismatch, match="embedder: expected 'ready vectors', found"):
            attached.fit(X, [0, 1])
        assert index.count() == 2


def test_ready_vectors_of_somebody_else_are_never_dropped_by_fitting(index_name):
    with Index(index_name, dim=2, text_search=False, metric="l2", dtype="float64") as index:
        Indexer(index).add_vectors(["mine"], [[1.0, 2.0]])
        with pytest.raises(SchemaMismatch, match="document ids: expected '0 to n - 1, as fit stores them'"):
            KNeighborsClassifier(index=index_name).fit([[0.0, 1.0]], [0])
        assert index.count() == 1


def test_rows_that_are_gone_are_noticed(index_name, blobs):
    model = KNeighborsClassifier(120, index=index_name).fit(*blobs)
    with Index(index_name) as index:
        Indexer(index).delete(["3"])
        with pytest.raises(SchemaMismatch, match="rows: expected 120, found 119"):
            model.predict(blobs[0][:1])
        with pytest.raises(SchemaMismatch, match="passage 3#0"):
            model.kneighbors(n_neighbors=2)
        Indexer(index).add_vectors(["other"], blobs[0][:1])
        with pytest.raises(SchemaMismatch, match="found 'passage other#0'"):
            model.kneighbors(blobs[0][:1], n_neighbors=3)


# ---- copies ----------------------------------------------------------------------------------------------------


def test_a_pickled_copy_uses_the_index_and_does_not_own_it(blobs):
    X, y = blobs
    before = own_indexes()
    model = KNeighborsClassifier(3).fit(X, y)
    copies = [pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)]
    for each in copies:
        assert each.predict(X).tolist() == model.predict(X).tolist()
        assert each.kneighbors(n_neighbors=1)[1].tolist() == model.kneighbors(n_neighbors=1)[1].tolist()
    first = copies[0]
    del copies[:2], each
    assert len(own_indexes() - before) == 1
    late = pickle.loads(pickle.dumps(model))
    del model, copies
    assert own_indexes() == before
    with pytest.raises(IndexNotFound, match="removed with the estimator that was fitted"):
        late.predict(X)
    assert first.n_samples_fit_ == len(X)


def test_a_copy_of_an_attached_estimator(index_name, blobs):
    KNeighborsClassifier(index=index_name).fit(*blobs)
    attached = KNeighborsClassifier.from_index(index_name)
    twin = pickle.loads(pickle.dumps(attached))
    assert twin.predict(blobs[0]).tolist() == attached.predict(blobs[0]).tolist()


def test_a_client_is_shared_by_clones_and_rebuilt_in_copies(blobs, client):
    X, y = blobs
    model = KNeighborsClassifier(client=client).set_params(n_neighbors=3).fit(X, y)
    assert clone(model).client is client
    assert clone(make_pipeline(model))[0].client is client
    twin = pickle.loads(pickle.dumps(model))
    assert twin.client is not client
    assert twin.predict(X).tolist() == model.predict(X).tolist()
    assert clone(twin).fit(X, y).predict(X).tolist() == model.predict(X).tolist()
    transformer = KNeighborsTransformer(client=client).set_output(transform="default")
    assert clone(transformer)._sklearn_output_config == transformer._sklearn_output_config


def test_parameters_travel(blobs):
    model = KNeighborsClassifier(3, weights="distance", metric="cosine", url="redis://localhost:1")
    assert clone(model).get_params() == model.get_params()
    assert repr(model) == (
        "KNeighborsClassifier(metric='cosine', n_neighbors=3, url='redis://localhost:1',\n"
        "                     weights='distance')"
    )
    assert "KNeighborsClassifier" in model._repr_html_()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_grid_search_chooses_as_with_scikit_learn(blobs, n_jobs):
    X, y = blobs
    before = own_indexes()
    grid = {"kneighborsclassifier__n_neighbors": [1, 5, 15], "kneighborsclassifier__weights": ["uniform", "distance"]}
    ours, theirs = (
        GridSearchCV(make_pipeline(StandardScaler(), kind()), grid, cv=3, n_jobs=n_jobs).fit(X, y)
        for kind in (KNeighborsClassifier, reference.KNeighborsClassifier)
    )
    assert ours.best_params_ == theirs.best_params_
    np.testing.assert_allclose(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])
    assert ours.predict(X).tolist() == theirs.predict(X).tolist()
    assert len(own_indexes() - before) == 1
    del ours
    assert own_indexes() == before


def test_cross_validation_of_a_regressor(blobs):
    X, y = blobs
    ours = cross_val_score(KNeighborsRegressor(weights="distance"), X, y, cv=3)
    np.testing.assert_allclose(ours, cross_val_score(reference.KNeighborsRegressor(weights="distance"), X, y, cv=3))


# ---- an index that is there already ----------------------------------------------------------------------------

TEXTS = [
    ("card", "my card was charged twice"),
    ("card", "the card payment was declined"),
    ("card", "a new card has not arrived"),
    ("transfer", "the transfer to my bank is pending"),
    ("transfer", "a transfer went to the wrong account"),
    ("transfer", "how long does a bank transfer take"),
]


@pytest.fixture
def labelled(index_name, embedder):
    with Index(index_name, embedder=embedder) as index:
        documents = [Document(f"doc {row}", text, label) for row, (label, text) in enumerate(TEXTS)]
        Indexer(index).add([*documents, Document("none", "card card transfer")])
        yield index


def test_attaching_to_an_index_takes_its_labelled_passages(labelled, embedder):
    model = KNeighborsClassifier.from_index(labelled.name, n_neighbors=3, weights="distance")
    assert model.ids_.tolist() == [f"doc {row}#0" for row in range(6)]
    assert (model.n_samples_fit_, model.n_features_in_) == (6, embedder.dim)
    assert (model.effective_metric_, model.metric, model.algorithm) == ("cosine", "cosine", "flat")
    assert model.classes_.tolist() == ["card", "transfer"]
    queries = embedder.embed_queries(["card card transfer", "bank transfer"])
    distances, _ = model.kneighbors(queries, 6)
    vectors = embedder.embed_documents([text for _, text in TEXTS])
    true = pairwise_distances(queries, vectors, metric="cosine")
    np.testing.assert_allclose(distances, np.sort(true, axis=1), atol=1e-6)
    theirs = reference.KNeighborsClassifier(3, weights="distance", metric="cosine", algorithm="brute")
    theirs.fit(vectors, [label for label, _ in TEXTS])
    np.testing.assert_allclose(model.predict_proba(queries), theirs.predict_proba(queries), atol=1e-5)
    assert model.kneighbors(n_neighbors=1)[1].shape == (6, 1)
    assert RadiusNeighborsClassifier.from_index(labelled.name, radius=2.0).predict(queries).tolist() == ["card"] * 2
    votes = LabelVoter(Retriever(labelled), k=3, weights="distance")
    assert model.predict(queries).tolist() == [
        votes.vote(text).label for text in ("card card transfer", "bank transfer")
    ]


def test_attaching_a_regressor(index_name):
    for metric, effective in (("l2", "euclidean"), ("ip", "ip")):
        with Index(f"{index_name}-{metric}", dim=2, metric=metric) as index:
            Indexer(index).add_vectors(["a", "b", "c"], [[1, 0], [0, 1], [5, 5]], labels=[1.0, 2, None])
            model = KNeighborsRegressor.from_index(index.name, n_neighbors=2)
            assert model.predict([[5.0, 5.0]]).tolist() == [1.5]
            assert model.effective_metric_ == effective
            index.drop()


def test_attaching_to_what_cannot_be_learned(index_name, labelled):
    with pytest.raises(IndexNotFound, match="expected an index named 'nowhere', the server has"):
        KNeighborsClassifier.from_index("nowhere")
    with pytest.raises(ValueError, match=r"Expected numbers as labels in index .* but got 'card': use a classifier"):
        KNeighborsRegressor.from_index(labelled.name)
    with pytest.raises(ValueError, match="The 'weights' parameter of KNeighborsClassifier must be"):
        KNeighborsClassifier.from_index(labelled.name, weights="nearest")
    with pytest.raises(TypeError, match="multiple values for keyword argument 'metric'"):
        KNeighborsClassifier.from_index(labelled.name, metric="cosine")
    Indexer(labelled).add([Document("number", "seven", 7)])
    with pytest.raises(ValueError, match="all strings or all numbers"):
        KNeighborsClassifier.from_index(labelled.name)
    Indexer(labelled).delete([*(f"doc {row}" for row in range(6)), "number"])
    with pytest.raises(ValueError, match=r"Expected labelled passages in index .* but none has a label"):
        KNeighborsClassifier.from_index(labelled.name)


# ---- texts -----------------------------------------------------------------------------------------------------


def test_texts_are_classified_in_a_pipeline_and_a_grid_search():
    labels, texts = zip(*TEXTS, strict=True)
    pipeline = make_pipeline(TextEmbedder(HashingEmbedder(64)), KNeighborsClassifier(metric="cosine"))
    grid = {
        "kneighborsclassifier__n_neighbors": [1, 3],
        "textembedder__embedder": [HashingEmbedder(8), HashingEmbedder(64)],
    }
    search = GridSearchCV(pipeline, grid, cv=3, n_jobs=2).fit(texts, labels)
    assert search.predict(["card card", "bank transfer"]).tolist() == ["card", "transfer"]
    twin = pickle.loads(pickle.dumps(search.best_estimator_))
    assert twin.predict(texts).tolist() == search.predict(texts).tolist()


def test_the_text_embedder_returns_vectors_of_its_embedder():
    embedder = HashingEmbedder(16)
    transformer = TextEmbedder(embedder)
    texts = [text for _, text in TEXTS]
    for given_texts in (texts, tuple(texts), np.array(texts), np.array(texts, dtype=object), iter(texts)):
        vectors = transformer.transform(given_texts)
        assert (vectors.dtype, vectors.shape) == (np.float32, (6, 16))
        np.testing.assert_array_equal(vectors, embedder.embed_documents(texts))
    assert clone(transformer).embedder is embedder
    assert len(transformer.get_feature_names_out()) == 16
    tags = transformer.__sklearn_tags__()
    assert (tags.input_tags.string, tags.input_tags.two_d_array, tags.requires_fit) == (True, False, False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("one text", "Iterable over raw text documents expected, string object received"),
        (["a", 5], "Iterable over raw text documents expected, got int in row 1"),
        (np.array([["a"], ["b"]]), "Iterable over raw text documents expected, got ndarray in row 0"),
    ],
    ids=["str", "number", "column"],
)
def test_the_text_embedder_refuses_what_is_no_text(wrong, message):
    for method in (TextEmbedder(HashingEmbedder(8)).fit, TextEmbedder(HashingEmbedder(8)).transform):
        with pytest.raises(ValueError, match=message):
            method(wrong)


def test_the_default_text_embedder_is_loaded_once():
    first, second = TextEmbedder(), clone(TextEmbedder())
    assert first._embedder is second._embedder
    assert first._embedder.model == "sentence-transformers/all-MiniLM-L6-v2"


def test_a_missing_scikit_learn_is_named():
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import ragknn\n"
        "try:\n    import ragknn.estimators\n"
        "except ragknn.errors.MissingDependency as error:\n    print(error)"
    )
    assert run_python(code) == (
        "ragknn.estimators needs the package scikit-learn: expected it installed; pip install 'ragknn[sklearn]'\n"
    )
