import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragknn import Neighbor, Passage
from ragknn._protocol.hashing import digest
from ragknn.retrieval._diversity import (
    at_most_per_document,
    maximal_marginal_relevance,
    text_identity,
    without_duplicates,
)


def neighbor(document_id, number=0, text="text", digest="", distance=0.5):
    return Neighbor(Passage(f"{document_id}#{number}", document_id, text, 0, len(text), digest=digest), distance)


# ---- maximal marginal relevance --------------------------------------------------------------------------------


def cosine(one, other):
    lengths = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / lengths) if lengths else 0.0


def naive_gain(row, relevance, vectors, diversity, chosen):
    """Return the criterion as the paper has it; there is no similarity before the first is chosen."""
    if not chosen:
        return relevance[row]
    return (1 - diversity) * relevance[row] - diversity * max(cosine(vectors[row], vectors[one]) for one in chosen)


@st.composite
def candidates(draw):
    """Relevance and vectors in which equal rows and vectors of zeros are frequent."""
    n, dim = draw(st.integers(0, 8)), draw(st.integers(1, 4))
    values = st.integers(-2, 2).map(float)
    relevance = draw(st.lists(values, min_size=n, max_size=n))
    vectors = draw(st.lists(st.lists(values, min_size=dim, max_size=dim), min_size=n, max_size=n))
    return np.array(relevance), np.array(vectors).reshape(n, dim)


@given(candidates(), st.floats(0, 1), st.integers(1, 10))
def test_each_choice_is_the_best_of_those_left(given_rows, diversity, k):
    relevance, vectors = given_rows
    order = maximal_marginal_relevance(relevance, vectors, diversity, k)
    assert (order.shape, order.dtype) == ((min(k, len(relevance)),), np.intp)
    assert len(set(order.tolist())) == len(order)
    chosen = []
    for row in order.tolist():
        left = [other for other in range(len(relevance)) if other not in chosen]
        gains = {other: naive_gain(other, relevance, vectors, diversity, chosen) for other in left}
        assert gains[row] >= max(gains.values()) - 1e-9
        chosen.append(row)


@pytest.mark.parametrize("diversity", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_order_is_that_of_the_naive_algorithm(diversity):
    generator = np.random.default_rng(5)
    relevance, vectors = generator.uniform(size=40), generator.normal(size=(40, 6))
    expected = []
    while len(expected) < 15:
        left = [row for row in range(40) if row not in expected]
        expected.append(max(left, key=lambda row: naive_gain(row, relevance, vectors, diversity, expected)))
    assert maximal_marginal_relevance(relevance, vectors, diversity, 15).tolist() == expected


@given(candidates())
def test_without_diversity_the_order_is_that_of_relevance_and_equal_rows_keep_theirs(given_rows):
    relevance, vectors = given_rows
    order = maximal_marginal_relevance(relevance, vectors, 0).tolist()
    assert order == sorted(range(len(relevance)), key=lambda row: -relevance[row])


def test_a_copy_comes_after_what_is_new():
    vectors = [[1, 0], [2, 0], [1, 1], [0, 1]]
    relevance = [0.9, 0.89, 0.8, 0.1]
    assert maximal_marginal_relevance(relevance, vectors, 0.0).tolist() == [0, 1, 2, 3]
    assert maximal_marginal_relevance(relevance, vectors, 0.5).tolist() == [0, 3, 2, 1]
    assert maximal_marginal_relevance(relevance, vectors, 0.4).tolist() == [0, 2, 1, 3]
    assert maximal_marginal_relevance(relevance, vectors, 1.0, k=2).tolist() == [0, 3]


def test_with_full_diversity_the_most_relevant_still_comes_first():
    assert maximal_marginal_relevance([0.1, 0.9], [[1, 0], [0, 1]], 1.0).tolist() == [1, 0]


def test_only_the_directions_of_vectors_matter():
    generator = np.random.default_rng(6)
    relevance, vectors = generator.uniform(size=20), generator.normal(size=(20, 5))
    expected = maximal_marginal_relevance(relevance, vectors, 0.5).tolist()
    for scale in (1e-200, 1e200):
        assert maximal_marginal_relevance(relevance, vectors * scale, 0.5).tolist() == expected


def test_short_floats_are_enough():
    vectors = np.array([[6e4, 0], [6e4, 1], [0, 6e4]], dtype=np.float16)
    assert maximal_marginal_relevance(np.float16([0.9, 0.8, 0.7]), vectors, 0.5).tolist() == [0, 2, 1]


@pytest.mark.parametrize("diversity", [-0.1, 1.1, np.nan])
def test_a_diversity_that_cannot_be_is_refused(diversity):
    with pytest.raises(ValueError, match=r"expected diversity between 0 .* and 1 .*, got"):
        maximal_marginal_relevance([1.0], [[1.0]], diversity)


@pytest.mark.parametrize(("relevance", "vectors"), [([1.0], [[1.0], [2.0]]), ([[1.0]], [[1.0]]), ([1.0], [1.0])])
def test_shapes_that_do_not_fit_are_refused(relevance, vectors):
    with pytest.raises(ValueError, match=r"expected relevance of shape \(n,\) and vectors \(n, dim\), got"):
        maximal_marginal_relevance(relevance, vectors, 0.5)


@pytest.mark.parametrize(("relevance", "vectors"), [([np.nan], [[1.0]]), ([1.0], [[np.inf]])])
def test_values_that_are_not_finite_are_refused(relevance, vectors):
    with pytest.raises(ValueError, match="expected finite relevance and vectors"):
        maximal_marginal_relevance(relevance, vectors, 0.5)


def test_a_k_below_1_is_refused():
    with pytest.raises(ValueError, match="expected k >= 1, got 0"):
        maximal_marginal_relevance([1.0], [[1.0]], 0.5, 0)


# ---- per document, per text ------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from("abc"), max_size=12), st.integers(1, 4))
def test_the_first_n_passages_of_each_document_are_kept(documents, n):
    found = [neighbor(document, number) for number, document in enumerate(documents)]
    expected = [one for row, one in enumerate(found) if documents[:row].count(documents[row]) < n]
    assert at_most_per_document(found, n) == expected


@pytest.mark.parametrize("n", [0, -1])
def test_less_than_one_passage_per_document_is_refused(n):
    with pytest.raises(ValueError, match=f"expected at least 1 passage per document, got {n}"):
        at_most_per_document([], n)


@given(st.lists(st.sampled_from(["one", "two", "three"]), max_size=10), st.booleans())
def test_the_first_of_each_text_is_kept(texts, stored):
    found = [neighbor(str(row), text=text, digest="!" * stored + text) for row, text in enumerate(texts)]
    expected = [one for row, one in enumerate(found) if texts[row] not in texts[:row]]
    assert without_duplicates(found) == expected


def test_a_passage_without_a_digest_is_a_duplicate_of_the_same_text_stored():
    stored = neighbor("a", text="same", digest=digest("same", b"vector"))
    made = neighbor("b", text="same")
    assert without_duplicates([stored, made]) == [stored]
    assert without_duplicates([made, stored]) == [made]


def test_ready_vectors_without_text_are_duplicates_only_by_their_digest():
    bare = [neighbor("a", text=""), neighbor("b", text="")]
    assert without_duplicates(bare) == bare
    assert text_identity(bare[0].passage) == "a#0"
    twins = [neighbor("a", text="", digest="1"), neighbor("b", text="", digest="1")]
    assert without_duplicates(twins) == twins[:1]
