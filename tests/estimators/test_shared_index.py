"""Estimators of one index: each answers from the rows of its own fit, whatever is fitted between and where."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
from estimating import own_indexes
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from sklearn import neighbors as reference
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier, BaggingRegressor, StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ragknn import Index, Indexer
from ragknn._protocol.flows import Work
from ragknn._protocol.keys import Keys
from ragknn.errors import IndexNotFound, SchemaMismatch
from ragknn.estimators import (
    KNeighborsClassifier,
    KNeighborsRegressor,
    KNeighborsTransformer,
    RadiusNeighborsClassifier,
)
from ragknn.estimators._rows import store_rows

KINDS = {
    "classifier": (KNeighborsClassifier, {"n_neighbors": 3}),
    "by distance": (KNeighborsClassifier, {"n_neighbors": 5, "weights": "distance"}),
    "cosine": (KNeighborsClassifier, {"n_neighbors": 3, "metric": "cosine"}),
    "regressor": (KNeighborsRegressor, {"n_neighbors": 3}),
    "radius": (RadiusNeighborsClassifier, {"radius": 12.0, "outlier_label": 0}),
}
each_kind = pytest.mark.parametrize(("kind", "params"), KINDS.values(), ids=KINDS)


@pytest.fixture
def nothing_left(index_name, client):
    """Look that nothing is on the server in the end but what the name stands for, which goes with `drop`."""
    before = own_indexes()
    yield
    get_reusable_executor().shutdown(wait=True)  # the processes of n_jobs=2 keep the last index that they made
    assert own_indexes() == before
    Index(index_name, client=client, create=False).open().drop()
    assert list(client.scan_iter(f"ragknn:{index_name}:*")) == []


def twin(kind):
    return getattr(reference, kind.__name__)


def halves(blobs):
    X, y = blobs
    return (X[:70], y[:70]), (X[60:], y[60:]), X


# ---- one process -----------------------------------------------------------------------------------------------


@each_kind
def test_a_fit_that_another_one_follows_still_answers_as_scikit_learn(blobs, index_name, nothing_left, kind, params):
    first, second, X = halves(blobs)
    ours = [kind(**params, index=index_name).fit(*half) for half in (first, second, first)]
    theirs = [twin(kind)(**params).fit(*half) for half in (first, second, first)]
    for mine, its in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.predict(X), its.predict(X), rtol=1e-6)
    assert Index(index_name).open().count() == 70  # of the last fit
    copies = [pickle.loads(pickle.dumps(mine)) for mine in ours] + [copy.deepcopy(mine) for mine in ours]
    del ours, mine
    for mine, its in zip(copies, theirs * 2, strict=True):
        np.testing.assert_allclose(mine.predict(X), its.predict(X), rtol=1e-6)
        assert (
            clone(mine).fit(*second).predict(X[:5]).tolist()
            == twin(kind)(**params).fit(*second).predict(X[:5]).tolist()
        )
    del copies, mine


def test_the_graph_and_the_rows_themselves_are_those_of_the_own_fit(blobs, index_name, nothing_left):
    first, second, X = halves(blobs)
    ours = KNeighborsTransformer(n_neighbors=4, index=index_name).fit(first[0])
    KNeighborsTransformer(n_neighbors=4, index=index_name).fit(second[0])
    theirs = reference.KNeighborsTransformer(n_neighbors=4).fit(first[0])
    np.testing.assert_allclose(ours.transform(X).toarray(), theirs.transform(X).toarray(), rtol=1e-5)
    assert ours.kneighbors(n_neighbors=3)[1].tolist() == theirs.kneighbors(n_neighbors=3)[1].tolist()
    del ours


def test_fitting_again_leaves_earlier_copies_what_they_learned(blobs, index_name, nothing_left):
    first, second, X = halves(blobs)
    model = KNeighborsClassifier(3, index=index_name).fit(*first)
    before = pickle.loads(pickle.dumps(model))
    model.fit(*second)
    for mine, half in ((before, first), (model, second)):
        assert mine.predict(X).tolist() == reference.KNeighborsClassifier(3).fit(*half).predict(X).tolist()
    del before, mine


def test_what_is_changed_in_the_array_later_changes_nothing(blobs, index_name, nothing_left):
    first, second, X = halves(blobs)
    mutable = first[0].copy()
    model = KNeighborsClassifier(3, index=index_name).fit(mutable, first[1])
    mutable[:] = 0
    KNeighborsClassifier(3, index=index_name).fit(*second)
    assert model.predict(X).tolist() == reference.KNeighborsClassifier(3).fit(*first).predict(X).tolist()
    del model


def test_what_is_attached_to_rows_that_another_fit_replaces_says_so(blobs, index_name, nothing_left):
    first, second, X = halves(blobs)
    KNeighborsClassifier(index=index_name).fit(*first)
    attached = KNeighborsClassifier.from_index(index_name, n_neighbors=3)
    copied = pickle.loads(pickle.dumps(attached))
    assert attached.predict(X).tolist() == copied.predict(X).tolist()
    KNeighborsClassifier(index=index_name).fit(*second)
    for mine in (attached, copied, pickle.loads(pickle.dumps(copied))):
        for ask in (lambda mine=mine: mine.predict(X), lambda mine=mine: mine.kneighbors(n_neighbors=1)):
            with pytest.raises(SchemaMismatch, match="rows: expected 'those that were there', found 'those of a later"):
                ask()
    again = KNeighborsClassifier.from_index(index_name, n_neighbors=3)
    assert again.predict(X).tolist() == reference.KNeighborsClassifier(3).fit(*second).predict(X).tolist()


def test_fitted_rows_beside_documents_of_others_are_not_replaced(blobs, index_name, nothing_left):
    first, second, _ = halves(blobs)
    KNeighborsClassifier(index=index_name).fit(*first)
    with Index(index_name) as index:
        Indexer(index).add_vectors(["mine"], first[0][:1])
        with pytest.raises(SchemaMismatch, match="document ids: expected '0 to n - 1, as fit stores them'"):
            KNeighborsClassifier(index=index_name).fit(*second)
        assert index.count() == 71


def test_fewer_rows_leave_none_of_those_before(blobs, index_name, client, nothing_left):
    X, y = blobs
    model = KNeighborsClassifier(1, index=index_name).fit(X, y)
    KNeighborsClassifier(1, index=index_name).fit(X[:7], y[:7])
    assert len(list(client.scan_iter(f"ragknn:{index_name}:*"))) == 7 + 1
    model.fit(X[:5], y[:5])
    assert len(list(client.scan_iter(f"ragknn:{index_name}:*"))) == 5 + 1
    del model


# ---- fits at the same time -------------------------------------------------------------------------------------


def driven(index, flow, steps):
    """Run some steps of a flow; return what must be sent to go on, or None at the end."""
    sent = None
    for _ in range(steps):
        try:
            step = flow.send(sent)
        except StopIteration:
            return None
        sent = step.call() if isinstance(step, Work) else index.client.pipeline(transaction=False)
        for command in step:
            sent.execute_command(*command)
        sent = sent.execute(raise_on_error=False)
    return sent


@pytest.mark.parametrize("steps", range(1, 12))
def test_of_fits_at_once_the_last_to_begin_has_the_index_to_itself(index_name, client, monkeypatch, steps):
    monkeypatch.setattr("ragknn.estimators._rows.ROWS_PER_COMMAND", 2)
    with Index(index_name, dim=1, metric="l2", dtype="float64", text_search=False) as index:
        keys, schema = Keys(index_name), index.schema
        slow = store_rows(keys, schema, np.full((9, 1), 1.0), None, "slow", replacing=True)
        sent = driven(index, slow, steps)
        index._run(store_rows(keys, schema, np.full((3, 1), 2.0), None, "quick", replacing=True))
        while sent is not None:  # where the slow one had not claimed the index, it does so now
            try:
                step = slow.send(sent)
            except StopIteration:
                break
            pipeline = index.client.pipeline(transaction=False)
            for command in step:
                pipeline.execute_command(*command)
            sent = pipeline.execute(raise_on_error=False)
        mark = client.hget(f"ragknn:{index_name}:manifest", "fit").decode()
        vectors = {document.vectors[0, 0] for document in index.documents(vectors=True)}
        assert (mark, vectors, index.count()) == (("slow", {1.0}, 9) if steps == 1 else ("quick", {2.0}, 3))
        index.drop()


def fit_again_and_again(name, seed):
    generator = np.random.default_rng(seed)
    wrong = 0
    for _ in range(6):
        X = generator.normal(size=(generator.integers(20, 400), 6)).astype(np.float32)  # as the rows of the others
        y, queries = X[:, 0] > 0, generator.normal(size=(30, 6)).astype(np.float32)
        mine = KNeighborsClassifier(3, index=name).fit(X, y).predict(queries)
        wrong += int((mine != reference.KNeighborsClassifier(3).fit(X, y).predict(queries)).sum())
    return wrong


# ---- scikit-learn's own meta-estimators ------------------------------------------------------------------------


def bag(kind, n_jobs, X, y):
    bagged = BaggingClassifier(kind(3), n_estimators=4, max_samples=0.7, random_state=0, n_jobs=n_jobs).fit(X, y)
    return bagged.predict_proba(X).tolist()


def bag_regressors(kind, n_jobs, X, y):
    kind = partial(KNeighborsRegressor, **kind.keywords) if isinstance(kind, partial) else reference.KNeighborsRegressor
    bagged = BaggingRegressor(kind(3), n_estimators=4, max_samples=0.6, random_state=0, n_jobs=n_jobs).fit(X, y)
    return bagged.predict(X).tolist()


def stack(kind, n_jobs, X, y):
    both = [("near", kind(1)), ("wide", make_pipeline(StandardScaler(), kind(9)))]
    stacked = StackingClassifier(both, final_estimator=LogisticRegression(), cv=3, n_jobs=n_jobs).fit(X, y)
    return [*stacked.predict(X), *VotingClassifier(both, n_jobs=n_jobs).fit(X, y).predict(X)]


def validate(kind, n_jobs, X, y):
    found = cross_validate(kind(3), X, y, cv=3, n_jobs=n_jobs, return_estimator=True, return_train_score=True)
    later = [model.predict(X).tolist() for model in found["estimator"]]
    out_of_fold = cross_val_predict(kind(3), X, y, cv=3, n_jobs=n_jobs).tolist()
    return [found["test_score"].tolist(), found["train_score"].tolist(), later, out_of_fold]


def search_grid(kind, n_jobs, X, y):
    grid = {"n_neighbors": [1, 5, 15], "weights": ["uniform", "distance"]}
    search = GridSearchCV(kind(), grid, cv=3, n_jobs=n_jobs).fit(X, y)
    return [search.best_params_, search.cv_results_["mean_test_score"].tolist(), search.predict(X).tolist()]


META = [bag, bag_regressors, stack, validate, search_grid]


@pytest.mark.parametrize("ask", META)
def test_estimators_of_estimators_are_those_of_scikit_learn(blobs, index_name, nothing_left, ask):
    ours, theirs = partial(KNeighborsClassifier, index=index_name), reference.KNeighborsClassifier
    assert ask(ours, None, *blobs) == ask(theirs, None, *blobs)


@pytest.mark.long
def test_they_are_in_two_processes_too_and_fits_at_the_same_time_do_not_mix(blobs, index_name, nothing_left):
    for ask in META:
        expected = ask(reference.KNeighborsClassifier, 2, *blobs)  # which adds in the same order
        assert ask(partial(KNeighborsClassifier, index=index_name), 2, *blobs) == expected
        assert ask(partial(KNeighborsClassifier, index=None), 2, *blobs) == expected
    assert Parallel(n_jobs=2)(delayed(fit_again_and_again)(index_name, seed) for seed in range(4)) == [0] * 4


def test_an_index_that_was_dropped_is_missed_and_not_stored_anew(blobs, index_name):
    model = KNeighborsClassifier(index=index_name).fit(*blobs)
    Index(index_name, create=False).open().drop()
    for mine in (model, pickle.loads(pickle.dumps(model))):
        with pytest.raises(IndexNotFound, match=f"'{index_name}'"):
            mine.predict(blobs[0])
