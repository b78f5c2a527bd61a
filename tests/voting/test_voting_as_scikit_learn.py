import numpy as np
import pandas as pd
import pytest
from points import ids
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from ragknn import Document, HashingEmbedder, Index, Indexer, InvalidVectors

TOPICS = ["bank", "loan", "card", "rate", "cash"]


def sentences(count, seed):
    """Texts of random words, half of them of their topic, and the topic of each; no two are equally far."""
    generator = np.random.default_rng(seed)
    topics = generator.integers(0, len(TOPICS), count)
    return [
        " ".join(
            f"{TOPICS[topic]}{generator.integers(9)}" if generator.random() < 0.3 else f"word{generator.integers(60)}"
            for _ in range(generator.integers(8, 20))
        )
        for topic in topics
    ], [TOPICS[topic] for topic in topics]


TRAIN, TRUTH = sentences(300, 1)
TEST, _ = sentences(80, 2)
EMBEDDER = HashingEmbedder(128)
TRAIN_VECTORS, TEST_VECTORS = EMBEDDER.embed_documents(TRAIN), EMBEDDER.embed_queries(TEST)
VALUES = np.random.default_rng(3).normal(size=300).round(3)
# The server reckons in float32. A neighbor that is nearer than the next one by more than this is so in both.
APART = 1e-6


@pytest.fixture(scope="module")
def stored(redis_url):
    """Name of an index of the 300 labelled texts, which no test changes."""
    with Index("test-as-scikit-learn", url=redis_url, embedder=EMBEDDER) as index:
        Indexer(index).add([Document(str(n), text, TRUTH[n]) for n, text in enumerate(TRAIN)])
        yield index.name
        index.drop()


@pytest.fixture
def filled(faces, redis_url, stored):
    """The index, for voters that vote as scikit-learn does."""
    with faces.index(stored, url=redis_url, embedder=EMBEDDER) as index:
        yield index


def determined(model, count):
    """Tell for which of the first test texts the k nearest are the same whatever the rounding; it is nearly all."""
    if model.n_neighbors == len(TRAIN):
        return np.full(count, True)
    distances, _ = model.kneighbors(TEST_VECTORS[:count], n_neighbors=model.n_neighbors + 1)
    found = distances[:, -1] - distances[:, -2] > APART
    assert found.mean() > 0.9
    return found


@pytest.mark.parametrize(("k", "count"), [(1, 80), (2, 80), (5, 80), (20, 20), (300, 5)])
@pytest.mark.parametrize(
    "weights", ["uniform", "distance", lambda d: np.exp(-4 * d)], ids=["uniform", "distance", "exp"]
)
def test_classes_are_predicted_as_scikit_learn_predicts_them(faces, filled, weights, k, count):
    model = KNeighborsClassifier(k, weights=weights, metric="cosine", algorithm="brute").fit(TRAIN_VECTORS, TRUTH)
    voter = faces.voter(faces.retriever(filled), k, weights=weights, count_duplicates=True)
    shares, expected = voter.predict_proba(TEST[:count]), model.predict_proba(TEST_VECTORS[:count])
    same = determined(model, count)
    assert voter.classes_.tolist() == model.classes_.tolist()
    np.testing.assert_allclose(shares[same], expected[same], rtol=0, atol=1e-5)
    # With equal weights every tie counts; else two shares closer than the roundings have no order.
    upper = np.sort(expected, axis=1)[:, ::-1]
    clear = same if weights == "uniform" else same & (upper[:, 0] - upper[:, 1] > 1e-5)
    assert clear.mean() > 0.9
    assert voter.predict(TEST[:count])[clear].tolist() == model.predict(TEST_VECTORS[:count])[clear].tolist()


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_numbers_are_averaged_as_scikit_learn_averages_them(faces, redis_url, index_name, weights):
    with faces.index(index_name, url=redis_url, embedder=EMBEDDER) as index:
        faces.indexer(index).add([Document(str(n), text, float(VALUES[n])) for n, text in enumerate(TRAIN)])
        for k, count in ((1, 80), (7, 80), (300, 5)):
            model = KNeighborsRegressor(k, weights=weights, metric="cosine", algorithm="brute")
            model.fit(TRAIN_VECTORS, VALUES)
            voter = faces.voter(faces.retriever(index), k, weights=weights, count_duplicates=True)
            found, expected = voter.predict(TEST[:count]), model.predict(TEST_VECTORS[:count])
            same = determined(model, count)
            assert (found.dtype, found.shape) == (np.float64, (count,))
            np.testing.assert_allclose(found[same], expected[same], rtol=0, atol=1e-5)


def test_leaving_each_text_out_of_its_own_vote_is_what_kneighbors_without_x_does(filled, faces):
    model = KNeighborsClassifier(5, metric="cosine", algorithm="brute").fit(TRAIN_VECTORS, TRUTH)
    distances, rows = model.kneighbors()
    apart = np.diff(model.kneighbors(n_neighbors=6)[0], axis=1).min(axis=1) > APART
    voter = faces.voter(faces.retriever(filled), 5, count_duplicates=True)
    assert apart[:40].mean() > 0.9
    for n in np.flatnonzero(apart[:40]):
        vote = voter.vote(TRAIN[n], exclude=[str(n)])
        assert [int(name) for name in ids(vote)] == rows[n].tolist()
        assert [neighbor.distance for neighbor in vote.neighbors] == pytest.approx(distances[n], abs=1e-5)


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_vectors_are_taken_in_the_place_of_texts(faces, filled, weights):
    voter = faces.voter(faces.retriever(filled), 5, weights=weights, count_duplicates=True)
    texts, vectors = TEST[:20], TEST_VECTORS[:20]
    expected = voter.predict(texts).tolist()
    rows = [vectors, vectors.tolist(), list(vectors), pd.DataFrame(vectors)]
    for asked in (*(lambda one=one: voter.predict(one) for one in rows), lambda: voter.predict(vectors=vectors)):
        assert asked().tolist() == expected
    assert voter.predict_proba(vectors).tolist() == voter.predict_proba(texts).tolist()
    assert [vote.label for vote in voter.vote_many(vectors)] == expected
    assert voter.vote(vectors[0]).label == voter.vote(vector=vectors[0]).label == expected[0]
    assert voter.predict(np.empty((0, vectors.shape[1]))).tolist() == []


def test_vectors_without_texts_have_no_words(faces, filled):
    voter = faces.voter(faces.retriever(filled), 5)
    vectors = TEST_VECTORS[:1]
    for options in ({"mode": "text"}, {"mode": "hybrid"}, {"rerank": lambda query, passages: [1.0] * len(passages)}):
        with pytest.raises(ValueError, match="expected neither mode nor rerank with vectors alone"):
            voter.predict(vectors, **options)
    with pytest.raises(TypeError, match="expected a sequence of texts, or of vectors in their place, got None"):
        voter.predict()
    with pytest.raises(InvalidVectors, match=r"expected vectors of shape \(n, "):
        voter.predict(np.ones((2, 3)))
    with pytest.raises(InvalidVectors, match="NaN or infinite"):
        voter.predict(vectors * np.nan)
