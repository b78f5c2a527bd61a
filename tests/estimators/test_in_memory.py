"""Estimators whose neighbors are found in memory: the same answers as the server's and scikit-learn's, pulled once."""

import pickle

import numpy as np
import pytest
from sklearn import neighbors

from ragknn import Index, Indexer
from ragknn.errors import SchemaMismatch
from ragknn.estimators import KNeighborsClassifier, KNeighborsRegressor, KNeighborsTransformer

RNG = np.random.default_rng(8)
X, NEW = RNG.normal(size=(400, 12)), RNG.normal(size=(60, 12))
GRID = RNG.integers(0, 3, size=(400, 3)).astype(float)  # rows that are equally near, and equal ones
Y = RNG.integers(0, 4, size=400)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("weights", ["uniform", "distance", lambda distances: 1 / (0.1 + distances)])
def test_answers_are_those_of_scikit_learn_and_of_the_server(redis_url, dtype, metric, weights):
    rows, new = X.astype(dtype), NEW.astype(dtype)
    options = {"n_neighbors": 6, "metric": metric, "weights": weights}
    theirs = neighbors.KNeighborsClassifier(**options, algorithm="brute").fit(rows, Y)
    always, never = (
        KNeighborsClassifier(**options, url=redis_url, bulk=bulk).fit(rows, Y) for bulk in ("always", "never")
    )
    for asked in (new, None):
        expected, found = theirs.kneighbors(asked), always.kneighbors(asked)
        assert found[0] == pytest.approx(expected[0], abs=2e-6)
        assert found[1].tolist() == expected[1].tolist() == never.kneighbors(asked)[1].tolist()
    assert always.predict(new).tolist() == theirs.predict(new).tolist() == never.predict(new).tolist()
    assert always.predict_proba(new) == pytest.approx(theirs.predict_proba(new), abs=1e-5)
    assert always._rows.index._kept.pulled is not None
    assert never._rows.index._kept.pulled is None


def test_equally_near_rows_are_in_the_order_of_x(redis_url):
    model = KNeighborsTransformer(n_neighbors=20, url=redis_url, bulk="always").fit(GRID)
    distances, rows = model.kneighbors(GRID[:50])
    exact = ((GRID[:50, np.newaxis] - GRID) ** 2).sum(axis=2)
    assert rows.tolist() == np.argsort(exact, axis=1, kind="stable")[:, :20].tolist()
    assert distances == pytest.approx(np.sqrt(np.take_along_axis(exact, rows, axis=1)))


def test_averages_are_the_same(redis_url):
    targets = X[:, 0] * 3
    theirs = neighbors.KNeighborsRegressor(4, weights="distance", algorithm="brute").fit(X, targets)
    ours = KNeighborsRegressor(4, weights="distance", url=redis_url, bulk="always").fit(X, targets)
    assert ours.predict(NEW) == pytest.approx(theirs.predict(NEW))


def test_rows_are_pulled_once_by_each_copy_and_again_after_a_fit(redis_url, index_name, commands):
    model = KNeighborsClassifier(url=redis_url, index=index_name, bulk="always").fit(X, Y)

    def pulled(ask):
        with commands as sent:
            ask()
        assert all(words[0] != "FT.AGGREGATE" for words in sent)  # their keys are known
        return sum(words[0] == "HGET" and words[2:] == ["vector"] for words in sent)

    copy = pickle.loads(pickle.dumps(model))
    asks = [lambda: model.predict(NEW), lambda: model.predict_proba(NEW), lambda: copy.predict(NEW)]
    assert [pulled(ask) for ask in (*asks, *asks)] == [400, 0, 400, 0, 0, 0]
    model.fit(X[:300], Y[:300])
    assert [pulled(ask) for ask in asks[:2]] == [300, 0]
    theirs = neighbors.KNeighborsClassifier(algorithm="brute").fit(X[:300], Y[:300])
    assert model.predict(NEW).tolist() == theirs.predict(NEW).tolist()


def test_rows_that_are_not_all_of_the_index_are_no_answer(redis_url, index_name):
    model = KNeighborsClassifier(url=redis_url, index=index_name, bulk="always").fit(X, Y)
    with Index(index_name, url=redis_url, create=False) as index:
        Indexer(index).delete(["7"])
        Indexer(index).add_vectors(["another"], X[:1])  # as many as there were
    with pytest.raises(SchemaMismatch, match="another"):
        model.kneighbors(X[:20])


def test_labelled_passages_of_an_index_are_found_in_memory(redis_url, index_name):
    with Index(index_name, url=redis_url, dim=12, metric="l2", text_search=False) as index:
        labels = [None if row % 4 == 0 else int(Y[row]) for row in range(400)]
        Indexer(index).add_vectors([f"row {row}" for row in range(400)], X, labels=labels)
    always, never = (
        KNeighborsClassifier.from_index(index_name, url=redis_url, bulk=bulk) for bulk in ("always", "never")
    )
    found, asked = always.kneighbors(NEW), never.kneighbors(NEW)
    assert found[0] == pytest.approx(asked[0], abs=2e-6)
    assert found[1].tolist() == asked[1].tolist()
    assert always._rows.index._kept.pulled is not None


def test_another_choice_is_refused():
    with pytest.raises(ValueError, match="'bulk' parameter of KNeighborsClassifier must be a str among"):
        KNeighborsClassifier(bulk="sometimes").fit(X, Y)
