"""Estimators against scikit-learn's brute force on the same vectors."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn import neighbors as reference
from sklearn.cluster import DBSCAN
from sklearn.exceptions import DataConversionWarning
from sklearn.pipeline import make_pipeline

from ragknn.estimators import (
    KNeighborsClassifier,
    KNeighborsRegressor,
    KNeighborsTransformer,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
)

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


def with_each_weights(*fitted):
    """Set each kind of weights in turn on estimators that are fitted, which need no other fit for it."""
    for weights in WEIGHTS:
        for estimator in fitted:
            estimator.set_params(weights=weights)
        yield weights


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


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@differential
def test_classes_and_shares_are_those_of_scikit_learn(metric, data):
    X, queries, y, k = data.draw(problems(metric), label="problem")
    ours = KNeighborsClassifier(k, metric=metric).fit(X, y)
    theirs = brute_force("KNeighborsClassifier", metric, n_neighbors=k).fit(X, y)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    true = true_distances(queries, X, metric)
    for weights in with_each_weights(ours, theirs):
        shares, expected_shares = ours.predict_proba(queries), theirs.predict_proba(queries)
        classes, expected_classes = ours.predict(queries), theirs.predict(queries)
        np.testing.assert_allclose(shares.sum(axis=1), 1)
        for query, distances in enumerate(true):
            if is_tied(distances, y, k) or (weights == "distance" and is_rounded_zero(distances, metric)):
                continue
            np.testing.assert_allclose(shares[query], expected_shares[query], atol=1e-5)
            best = np.flatnonzero(expected_shares[query] > expected_shares[query].max() - NEAR)
            if weights == "uniform" or len(best) == 1:
                assert classes[query] == expected_classes[query]
            else:
                assert classes[query] in ours.classes_[best]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@differential
def test_averages_are_those_of_scikit_learn(metric, data):
    X, queries, y, k = data.draw(problems(metric), label="problem")
    targets = y * 0.75 - 1
    ours = KNeighborsRegressor(k, metric=metric).fit(X, targets)
    theirs = brute_force("KNeighborsRegressor", metric, n_neighbors=k).fit(X, targets)
    true = true_distances(queries, X, metric)
    for weights in with_each_weights(ours, theirs):
        averages, expected = ours.predict(queries), theirs.predict(queries)
        for query, distances in enumerate(true):
            if not is_tied(distances, y, k) and not (weights == "distance" and is_rounded_zero(distances, metric)):
                assert averages[query] == pytest.approx(expected[query], abs=1e-5)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@differential
def test_radius_estimators_are_those_of_scikit_learn(metric, data):
    X, queries, y, _ = data.draw(problems(metric), label="problem")
    radius = 2.0 if metric == "euclidean" else 0.5
    true = true_distances(queries, X, metric)
    params = {"radius": radius, "metric": metric}
    brute = {"algorithm": "brute", **params}
    ours = RadiusNeighborsClassifier(**params, outlier_label=-1).fit(X, y)
    theirs = reference.RadiusNeighborsClassifier(**brute, outlier_label=-1).fit(X, y)
    regressor, their_regressor = RadiusNeighborsRegressor(**params), reference.RadiusNeighborsRegressor(**brute)
    regressor.fit(X, y / 2)
    their_regressor.fit(X, y / 2)
    rows = ours.radius_neighbors(queries, return_distance=False)
    for weights in with_each_weights(ours, theirs, regressor, their_regressor):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # outliers, tested below
            shares, expected_shares = ours.predict_proba(queries), theirs.predict_proba(queries)
            classes, expected_classes = ours.predict(queries), theirs.predict(queries)
            averages, expected_averages = regressor.predict(queries), their_regressor.predict(queries)
        for query, distances in enumerate(true):
            on_edge = np.isclose(distances, radius, rtol=NEAR)
            whole = (X == X.round()).all() and (queries[query] == queries[query].round()).all()
            if on_edge.any() and not (metric == "euclidean" and whole):
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
    monkeypatch.setattr("ragknn.retrieval._pipeline.RADIUS_PORTION", 10)
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
