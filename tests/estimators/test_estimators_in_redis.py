"""What the estimators alone have: an index in Redis."""

import copy
import gc
import pickle

import numpy as np
import pytest
from estimating import TEXTS, own_indexes, run_python
from sklearn import neighbors as reference
from sklearn.base import clone
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ragknn import Document, Index, Indexer, LabelVoter, Retriever
from ragknn.errors import IndexNotFound, SchemaMismatch
from ragknn.estimators import (
    KNeighborsClassifier,
    KNeighborsRegressor,
    KNeighborsTransformer,
    RadiusNeighborsClassifier,
)

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
    assert len(sorted(client.scan_iter("ragknn:sklearn-*"))) == len(before) + len(blobs[0]) + 1
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
    with pytest.raises(SchemaMismatch, match=f"{index_name}' was built with different settings: dim: expected 6"):
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
def test_a_grid_search_chooses_as_with_scikit_learn(blobs, own_children, n_jobs):
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


@pytest.fixture
def labelled(index_name, embedder):
    with Index(index_name, embedder=embedder) as index:
        documents = [Document(f"doc {row}", text, label) for row, (label, text) in enumerate(TEXTS)]
        Indexer(index).add([*documents, Document("none", "card card transfer")])
        yield index


def test_attaching_takes_no_parameter_that_the_index_has(labelled):
    with pytest.raises(TypeError, match="expected no algorithm and no metric, which the index has itself: leave out"):
        KNeighborsClassifier.from_index(labelled.name, metric="cosine", algorithm="hnsw")


@pytest.mark.parametrize("unit", ["D", "us", "ns"])
def test_days_as_classes_are_no_counts_in_the_index(index_name, unit):
    days = np.array(["2024-01-01", "2024-01-02"], dtype=f"datetime64[{unit}]")
    model = KNeighborsClassifier(1, index=index_name).fit(np.eye(2), days)
    assert model.predict(np.eye(2)).tolist() == days.tolist()
    with Index(index_name, create=False) as index:
        assert [document.label for document in index.documents()] == [None, None]


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
    with pytest.raises(TypeError, match="expected no metric, which the index has itself"):
        KNeighborsClassifier.from_index(labelled.name, metric="cosine")
    Indexer(labelled).add([Document("number", "seven", 7)])
    with pytest.raises(ValueError, match="all strings or all numbers"):
        KNeighborsClassifier.from_index(labelled.name)
    Indexer(labelled).delete([*(f"doc {row}" for row in range(6)), "number"])
    with pytest.raises(ValueError, match=r"Expected labelled passages in index .* but none has a label"):
        KNeighborsClassifier.from_index(labelled.name)
