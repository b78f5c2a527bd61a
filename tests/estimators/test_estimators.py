"""What estimators refuse, outliers and odd weights, and texts."""

import pickle

import numpy as np
import pytest
from estimating import TEXTS, run_python
from sklearn import neighbors as reference
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from ragknn import HashingEmbedder
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


# ---- texts -----------------------------------------------------------------------------------------------------


def test_texts_are_classified_in_a_pipeline_and_a_grid_search(own_children):
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


def test_texts_that_can_be_read_only_once_are_embedded(embedder):
    vectors = TextEmbedder(embedder).fit_transform(text for text in ["a pear", "a plum"])
    assert vectors.tolist() == embedder.embed_documents(["a pear", "a plum"]).tolist()
    model = make_pipeline(TextEmbedder(embedder), KNeighborsClassifier(1)).fit(iter(["a pear", "a plum"]), [0, 1])
    assert model.predict(iter(["the plum", "the pear"])).tolist() == [1, 0]
