"""Texts come in lists, and as often in arrays, columns of tables and generators."""

import numpy as np
import pandas
import pytest

from ragknn import (
    Document,
    FunctionEmbedder,
    HashingEmbedder,
)
from ragknn.embedding._long_texts import embed_queries
from ragknn.errors import InvalidVectors
from ragknn.estimators import TextEmbedder
from ragknn.evaluation import ascan_recall, scan_recall

TEXTS = ["pear and apple", "trains run late", "the cat sat"]

KINDS = {
    "list": list,
    "tuple": tuple,
    "generator": lambda texts: (text for text in texts),
    "iterator": iter,
    "dict's keys": lambda texts: dict.fromkeys(texts).keys(),
    "array of str": np.array,
    "array of objects": lambda texts: np.array(texts, dtype=object),
    "Series": pandas.Series,
    "Series with an index of its own": lambda texts: pandas.Series(texts, index=[7, 1, 0]),
    "Series of categories": lambda texts: pandas.Series(texts, dtype="category"),
    "Series of objects": lambda texts: pandas.Series(texts, dtype=object),
    "Index": pandas.Index,
    "column of a frame": lambda texts: pandas.DataFrame({"text": texts})["text"],
}
WRONG = {
    "a str": ("pear", "expected a sequence of .*, got the str 'pear'"),
    "bytes": (b"pear", "expected a sequence of .*, got a bytes"),
    "a dict": ({"a": "pear"}, "expected a sequence of .*, got a dict"),
    "a set": ({"pear"}, "expected a sequence of .*, got a set; put one into a list|, got a set; use retrieve"),
    "None": (None, "expected a sequence of .*, got None"),
    "a number": (3, "expected a sequence of .*, got the int 3"),
    "an array without dimensions": (np.array("pear"), "expected a sequence of .*, got a ndarray"),
    "a frame of two columns": (
        pandas.DataFrame({"a": TEXTS, "b": TEXTS}),
        "expected a sequence of .*, got a DataFrame; choose one of its columns",
    ),
    "a frame of one column": (pandas.DataFrame({"a": TEXTS}), "got a DataFrame; choose one of its columns"),
    "an array of two dimensions": (np.array([TEXTS]), "expected a .* of type str, got a ndarray at place 0"),
    "a missing value": (pandas.Series(["pear", None]), "expected a .* of type str, got .* at place 1"),
    "numbers": (np.arange(3), "expected a .* of type str, got .* at place 0"),
    "lists in a list": ([["pear"], ["apple"]], "expected a .* of type str, got a list at place 0"),
    "bytes in a list": (["pear", b"apple"], "expected a .* of type str, got a bytes at place 1"),
}


@pytest.fixture
def filled(faces, redis_url, index_name, embedder):
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        documents = [Document(str(number), text, "ab"[number % 2]) for number, text in enumerate(TEXTS)]
        faces.indexer(index).add(documents)
        yield index


def calls(faces, index):
    """Return by name everything that takes several texts and asks an index."""
    retriever = faces.retriever(index)
    voter = faces.voter(retriever, 1)
    return {
        "retrieve_many": lambda texts: [one.passages[0].text for one in retriever.retrieve_many(texts, 1)],
        "retrieve_any": lambda texts: sorted(retriever.retrieve_any(texts, 3).distances),
        "retrieve_like": lambda texts: retriever.retrieve_like("pear", texts, 3).distances,
        "vote_many": lambda texts: [vote.label for vote in voter.vote_many(texts)],
        "predict": lambda texts: voter.predict(texts).tolist(),
        "predict_proba": lambda texts: voter.predict_proba(texts).tolist(),
        "scan_recall": lambda texts: faces.call(scan_recall, ascan_recall, retriever, texts, 1, efs=[10]).queries,
    }


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_texts_of_any_kind_are_answered_as_a_list_is(faces, filled, kind):
    for name, call in calls(faces, filled).items():
        assert call(kind(TEXTS)) == call(TEXTS), name


@pytest.mark.parametrize(("texts", "expected"), WRONG.values(), ids=WRONG)
def test_what_is_no_sequence_of_texts_is_named(faces, filled, texts, expected):
    for name, call in calls(faces, filled).items():
        takes_vectors = name in ("vote_many", "predict", "predict_proba")
        if takes_vectors and texts is WRONG["numbers"][0]:
            with pytest.raises(InvalidVectors, match=r"expected vectors of shape \(n, 64\), got \(1, 3\)"):
                call(texts)
        else:
            with pytest.raises(TypeError, match=expected):
                call(texts)


def test_a_lone_surrogate_is_named_with_its_place_wherever_texts_are_taken(faces, filled):
    for call in calls(faces, filled).values():
        with pytest.raises(
            ValueError, match=r"got a lone surrogate, U\+D83D, which is half of a character, in .* at character 5"
        ):
            call(["pear", "pear \ud83d"])
    with pytest.raises(
        ValueError, match=r"got a lone surrogate, U\+D83D, which is half of a character, in .* at character 0"
    ):
        faces.voter(faces.retriever(filled), 1).vote("\ud83d")


def hashing():
    return HashingEmbedder(16)


def functional():
    return FunctionEmbedder("tests/f", HashingEmbedder(16).embed_documents, dim=16)


@pytest.mark.parametrize("make", [hashing, functional])
@pytest.mark.parametrize("method", ["embed_documents", "embed_queries"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_embedders_take_texts_of_any_kind(make, method, kind):
    embed = getattr(make(), method)
    assert embed(kind(TEXTS)).tobytes() == embed(TEXTS).tobytes()
    assert embed(kind(TEXTS)).shape == (3, 16)


@pytest.mark.parametrize("make", [hashing, functional])
@pytest.mark.parametrize(("texts", "expected"), WRONG.values(), ids=WRONG)
def test_embedders_name_what_is_no_sequence_of_texts(make, texts, expected):
    for method in ("embed_documents", "embed_queries"):
        with pytest.raises(TypeError, match=expected):
            getattr(make(), method)(texts)


def test_the_sentence_embedder_takes_a_column_and_names_what_is_none(sentence_embedder):
    vectors = sentence_embedder.embed_queries(TEXTS)
    np.testing.assert_array_equal(sentence_embedder.embed_queries(pandas.Series(TEXTS, index=[2, 1, 0])), vectors)
    np.testing.assert_array_equal(sentence_embedder.embed_queries(text for text in TEXTS), vectors)
    assert sentence_embedder.embed_documents(pandas.Series([], dtype=object)).shape == (0, 384)
    with pytest.raises(TypeError, match="expected a sequence of texts, got the str 'pear'; put one into a list"):
        sentence_embedder.embed_documents("pear")
    with pytest.raises(
        ValueError, match=r"got a lone surrogate, U\+D83D, which is half of a character, in .* at character 0"
    ):
        sentence_embedder.embed_documents(["\ud83d"])


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_transformer_takes_texts_of_any_kind(kind):
    transformer = TextEmbedder(HashingEmbedder(16))
    expected = transformer.fit_transform(TEXTS)
    assert transformer.fit(kind(TEXTS)).transform(kind(TEXTS)).tobytes() == expected.tobytes()


@pytest.mark.parametrize(("texts", "expected"), WRONG.values(), ids=WRONG)
def test_the_transformer_names_what_is_no_sequence_of_texts(texts, expected):
    for method in ("fit", "transform"):
        with pytest.raises((TypeError, ValueError), match=f"{expected}|Iterable over raw text documents expected"):
            getattr(TextEmbedder(HashingEmbedder(16)), method)(texts)


def test_long_queries_of_any_kind_are_embedded_in_pieces():
    embedder = HashingEmbedder(16)
    embedder.max_tokens = 2
    vectors, notes = embed_queries(embedder, pandas.Series(TEXTS, index=[7, 1, 0]))
    expected, _ = embed_queries(embedder, TEXTS)
    np.testing.assert_array_equal(vectors, expected)
    assert [len(each) for each in notes] == [1, 1, 1]


def test_columns_are_added_row_by_row_whatever_their_index_says(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, dim=3) as index:
        backwards = [2, 1, 0]
        report = faces.indexer(index).add_vectors(
            pandas.Series(["a", "b", "c"], index=backwards),
            pandas.DataFrame(np.eye(3)),
            texts=pandas.Series(TEXTS, index=backwards),
            labels=pandas.Series(["x", "y", "z"], index=backwards),
            metadata=pandas.Series([{"n": 0}, {"n": 1}, {"n": 2}], index=backwards),
        )
        assert report.added == 3
        stored = {one.id: (one.text, one.label, one.metadata["n"]) for one in index.documents()}
    assert stored == {"a": (TEXTS[0], "x", 0), "b": (TEXTS[1], "y", 1), "c": (TEXTS[2], "z", 2)}
