import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline

from ragknn import (
    Document,
    EmbeddingReranker,
    FunctionEmbedder,
    HashingEmbedder,
    InvalidVectors,
    Passage,
    SentenceEmbedder,
    TextTooLong,
)
from ragknn.embedding._long_texts import embed_documents, embed_queries
from ragknn.embedding._pieces import cut_evenly, cut_off
from ragknn.estimators import KNeighborsClassifier, TextEmbedder
from ragknn.evaluation import Questions, aevaluate, ascan_recall, evaluate, scan_recall

LIMIT = 8


class Short:
    """Reads eight words of a text, and refuses longer ones; two texts are near if they share words."""

    name, dim, max_tokens = "short", 64, LIMIT

    def __init__(self, dim=64):
        self.hashing = HashingEmbedder(dim)
        self.calls = []

    def token_spans(self, text):
        return self.hashing.token_spans(text)

    def embed_documents(self, texts):
        self.calls.append(texts)
        for text in texts:
            if len(self.token_spans(text)) > LIMIT:
                raise TextTooLong(f"{text!r} is too long")
        return self.hashing.embed_documents(texts)

    def embed_queries(self, texts):
        return -self.embed_documents(texts) * 2  # neither those of documents nor of length 1


LONG = "red cars are fast on the road and red cars are loud in town"  # 14 words
LONG_NOTE = (
    f"14 tokens are more than the 8 that short reads: the mean of the vectors of 2 pieces represents the text that "
    f"begins {LONG[:40]!r}"
)
CUT_NOTE = (
    f"14 tokens are more than the 8 that short reads: it read only the first 8 of the text that begins {LONG[:40]!r}"
)


# ---- the vectors -----------------------------------------------------------------------------------------------


def mean_of(embed, pieces, weights):
    """The mean of the unit vectors, as long as the vectors are on average: written out."""
    vectors = [np.array(row, dtype=np.float64) for row in embed(pieces)]
    total, length = np.zeros(len(vectors[0])), 0.0
    for vector, weight in zip(vectors, weights, strict=True):
        total += weight / sum(weights) * vector / np.sqrt((vector**2).sum())
        length += weight / sum(weights) * np.sqrt((vector**2).sum())
    return total / np.sqrt((total**2).sum()) * length


def test_the_vector_of_a_long_text_is_the_mean_of_its_pieces():
    text = "One two three. Four five six seven eight. Nine ten eleven twelve thirteen, fourteen"
    embedder = Short()
    pieces = cut_evenly(text, embedder.token_spans, LIMIT)
    assert [len(embedder.token_spans(piece)) for piece in pieces] == [8, 6]
    for embed, whole, length in (
        (embed_queries, embedder.embed_queries, 2),
        (embed_documents, Short().embed_documents, 1),
    ):
        [vector], [notes] = embed(embedder, [text])
        np.testing.assert_allclose(vector, mean_of(whole, pieces, [8, 6]), atol=1e-6)
        assert np.linalg.norm(vector) == pytest.approx(length)
        assert len(notes) == 1


@given(st.lists(st.integers(0, 30), max_size=6))
def test_short_texts_beside_long_ones_have_their_own_vectors_in_order(lengths):
    texts = [" ".join(f"w{row}{n}" for n in range(length)) for row, length in enumerate(lengths)]
    embedder = Short()
    vectors, notes = embed_queries(embedder, texts)
    assert vectors.shape == (len(texts), 64)
    assert len(embedder.calls) == 1  # all pieces in the same batch
    for text, length, vector, told in zip(texts, lengths, vectors, notes, strict=True):
        assert len(told) == (length > LIMIT)
        pieces = cut_evenly(text, embedder.token_spans, LIMIT)
        expected = Short().embed_queries([text])[0] if length <= LIMIT else None
        if expected is None:
            expected = mean_of(Short().embed_queries, pieces, [len(embedder.token_spans(piece)) for piece in pieces])
        np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_the_beginning_alone_stands_for_a_long_text_that_is_cut():
    embedder = Short()
    vectors, notes = embed_queries(embedder, ["blue", LONG], "cut")
    beginning = cut_off(LONG, embedder.token_spans, LIMIT)
    assert beginning == "red cars are fast on the road and "
    np.testing.assert_array_equal(vectors, Short().embed_queries(["blue", beginning]))
    assert notes == [(), (CUT_NOTE,)]


def test_a_long_text_that_is_not_wanted_says_how_to_have_it_embedded():
    for embed, option in ((embed_queries, "long_queries"), (embed_documents, "long_texts")):
        embedder = Short()
        with pytest.raises(TextTooLong) as refused:
            embed(embedder, ["blue", LONG], "fail")
        assert str(refused.value) == (
            f"14 tokens are more than the 8 that short reads: shorten the text that begins {LONG[:40]!r}, or embed it "
            f"in pieces with {option}='mean'"
        )
        assert embedder.calls == []


def test_embedders_without_tokens_or_limit_get_the_texts_as_they_are():
    hashing = HashingEmbedder(8)
    function = FunctionEmbedder("f", hashing.embed_documents, max_tokens=3)
    for embedder in (hashing, function):
        vectors, notes = embed_queries(embedder, [LONG, "blue"], "fail")
        np.testing.assert_array_equal(vectors, hashing.embed_queries([LONG, "blue"]))
        assert notes == [(), ()]


def test_functions_that_show_their_tokens_have_long_texts_cut_too():
    hashing = HashingEmbedder(8)
    function = FunctionEmbedder("f", hashing.embed_documents, max_tokens=LIMIT, token_spans=hashing.token_spans)
    [vector], [[note]] = embed_queries(function, [LONG])
    pieces = cut_evenly(LONG, hashing.token_spans, LIMIT)
    np.testing.assert_allclose(vector, mean_of(hashing.embed_queries, pieces, [7, 7]), atol=1e-6)
    assert note.startswith("14 tokens are more than the 8 that f reads: the mean")


def test_vectors_without_direction_have_a_mean_all_the_same():
    zeros = FunctionEmbedder(
        "z", lambda texts: np.zeros((len(texts), 3)), max_tokens=2, token_spans=Short().token_spans
    )
    vectors, _ = embed_queries(zeros, ["one two three"])
    assert vectors.tolist() == [[0, 0, 0]]


def test_an_embedder_that_loses_pieces_is_told():
    class Losing(Short):
        def embed_queries(self, texts):
            return super().embed_queries(texts)[:1]

    with pytest.raises(InvalidVectors, match="expected one vector for each of 3 texts, got 1"):
        embed_queries(Losing(), ["blue", LONG])


# ---- retrieving ------------------------------------------------------------------------------------------------

DOCUMENTS = [
    Document("cars", "red cars are fast on the road", label="cars"),
    Document("town", "it is loud in the town", label="town"),
    Document("boats", "blue boats on the sea", label="boats"),
]


class Same(Short):
    """As `Short`, but queries have the vectors of documents."""

    def embed_queries(self, texts):
        return self.embed_documents(texts)


@pytest.fixture
def index(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=Same()) as index:
        faces.indexer(index).add(DOCUMENTS)
        yield index


def test_a_long_query_is_answered_with_a_warning_and_complete(faces, index):
    found = faces.retriever(index).retrieve(LONG, k=2)
    pieces = cut_evenly(LONG, Same().token_spans, LIMIT)
    vector = mean_of(Same().embed_queries, pieces, [7, 7])
    [expected] = faces.retriever(index).kneighbors([vector], k=2)
    assert found.passages == expected.passages
    assert found.distances == pytest.approx(expected.distances, abs=1e-6)
    assert (found.query, found.complete, found.warnings) == (LONG, True, (LONG_NOTE,))
    assert "<p><b>note:</b> 14 tokens are more than" in found._repr_html_()


def test_only_the_long_query_of_many_has_a_warning(faces, index):
    retriever = faces.retriever(index)
    queries = ["red cars", LONG, "the sea", LONG]
    found = retriever.retrieve_many(queries, k=2)
    assert [retrieval.warnings for retrieval in found] == [(), (LONG_NOTE,), (), (LONG_NOTE,)]
    assert found == [retriever.retrieve(query, k=2) for query in queries]


def test_a_retriever_cuts_or_refuses_where_it_is_told_to(faces, index):
    found = faces.retriever(index, long_queries="cut").retrieve(LONG, k=1)
    beginning = faces.retriever(index).retrieve("red cars are fast on the road and", k=1)
    assert (found.neighbors, found.complete, found.warnings) == (beginning.neighbors, True, (CUT_NOTE,))
    refusing = faces.retriever(index, long_queries="fail")
    with pytest.raises(TextTooLong, match="embed it in pieces with long_queries='mean'"):
        refusing.retrieve(LONG)
    with pytest.raises(TextTooLong, match="embed it in pieces with long_queries='mean'"):
        refusing.retrieve_like("red", [LONG])
    with pytest.raises(ValueError, match="expected long_queries to be 'mean', 'cut' or 'fail', got 'split'"):
        faces.retriever(index, long_queries="split")


def test_words_alone_need_no_vector_and_have_no_warning(faces, index):
    retriever = faces.retriever(index, long_queries="fail")
    assert retriever.retrieve(LONG, k=2, mode="text").warnings == ()
    assert faces.retriever(index).retrieve(LONG, k=2, mode="hybrid").warnings == (LONG_NOTE,)


def test_long_phrasings_and_answers_are_told_of(faces, index):
    retriever = faces.retriever(index)
    other = "it is loud in the town and nobody can sleep there at night"
    found = retriever.retrieve_any(["red cars", LONG, other], k=3)
    assert found.complete
    assert [re.search("begins '(.+)'", warning)[1] for warning in found.warnings] == [LONG[:40], other[:40]]
    alike = retriever.retrieve_like("loud", [LONG, "red", other], k=1)
    assert (alike.complete, alike.warnings) == (True, found.warnings)
    vectors = [*embed_queries(Same(), ["loud"])[0], *embed_documents(Same(), [LONG, "red", other])[0]]
    [expected] = retriever.kneighbors([np.mean(vectors, axis=0)], k=1)
    assert alike.distances == pytest.approx(expected.distances, abs=1e-6)


def test_a_reranker_reads_long_queries_in_pieces():
    passages = [Passage(f"{n}#0", str(n), text, 0, len(text)) for n, text in enumerate(["blue boats", "red cars"])]
    scores = EmbeddingReranker(Same())(LONG, passages)
    assert scores.argmax() == 1
    with pytest.raises(TextTooLong):
        EmbeddingReranker(Same())("red", [Passage("0#0", "0", LONG, 0, len(LONG))])


# ---- voting ----------------------------------------------------------------------------------------------------


def test_a_vote_on_a_long_text_has_the_warning(faces, index):
    voter = faces.voter(faces.retriever(index), k=1)
    vote = voter.vote(LONG)
    assert (vote.label, vote.complete, vote.warnings) == ("cars", True, (LONG_NOTE,))
    assert "<p><b>note:</b> 14 tokens are more than" in vote._repr_html_()
    assert [vote.warnings for vote in voter.vote_many(["blue sea", LONG])] == [(), (LONG_NOTE,)]
    assert voter.predict(["blue sea", LONG]).tolist() == ["boats", "cars"]
    assert voter.predict_proba([LONG]).tolist() == [[0.0, 1.0, 0.0]]
    assert voter.vote_on(faces.retriever(index).retrieve(LONG, k=1)) == vote


def test_a_voter_does_as_its_retriever(faces, index):
    with pytest.raises(TextTooLong, match="long_queries='mean'"):
        faces.voter(faces.retriever(index, long_queries="fail"), k=1).predict(["blue", LONG])
    assert faces.voter(faces.retriever(index, long_queries="cut"), k=1).vote(LONG).warnings == (CUT_NOTE,)


# ---- evaluating ------------------------------------------------------------------------------------------------

QUESTIONS = Questions(
    {"q1": "blue boats", "q2": LONG, "q3": LONG.upper()}, {"q1": {"boats": 1}, "q2": {"cars": 1}, "q3": {"cars": 1}}
)


def in_both_worlds(faces, sync, twin, index, retriever, *args, **kwargs):
    if faces.kind == "sync":
        return sync(retriever, *args, **kwargs)
    return index._loop.run_until_complete(twin(retriever._wrapped, *args, **kwargs))


def test_a_long_query_does_not_stop_an_evaluation_which_tells_of_it(faces, index):
    settings = {"vector": {}, "hybrid": {"mode": "hybrid"}, "text": {"mode": "text"}}
    found = in_both_worlds(
        *(faces, evaluate, aevaluate, index, faces.retriever(index), QUESTIONS, settings), k=1, efs=(), latency_sample=2
    )
    assert found["vector"].scores["nDCG@1"] == (1.0, 1.0, 1.0)
    assert found.warnings == {"q2": (LONG_NOTE,), "q3": (LONG_NOTE.replace(LONG[:40], LONG[:40].upper()),)}
    assert found.notes[0] == f"queries with a warning: 2, the first is 'q2': {LONG_NOTE}"
    assert found.to_dict()["warnings"]["q2"] == [LONG_NOTE]
    assert found.recall.queries == 3
    refusing = faces.retriever(index, long_queries="fail")
    with pytest.raises(TextTooLong):
        in_both_worlds(faces, evaluate, aevaluate, index, refusing, QUESTIONS, k=1)


def test_the_recall_is_scanned_with_long_queries(faces, index):
    found = in_both_worlds(faces, scan_recall, ascan_recall, index, faces.retriever(index), [LONG, "blue"], k=2)
    assert [point.recall for point in found.points] == [1.0]
    refusing = faces.retriever(index, long_queries="fail")
    with pytest.raises(TextTooLong):
        in_both_worlds(faces, scan_recall, ascan_recall, index, refusing, [LONG, "blue"], k=2)


# ---- scikit-learn ----------------------------------------------------------------------------------------------


def test_a_pipeline_fits_and_predicts_long_texts_with_one_warning_a_call(redis_url):
    pipeline = make_pipeline(TextEmbedder(Same()), KNeighborsClassifier(1, metric="cosine", url=redis_url))
    with pytest.warns(UserWarning, match="^2 of 3 texts are too long for the model; 14 tokens are more") as told:
        pipeline.fit([LONG, "blue boats", LONG[::-1]], ["cars", "boats", "backwards"])
    assert len(told) == 1
    with pytest.warns(UserWarning, match="^1 of 2 texts are too long"):
        assert pipeline.predict(["boats", LONG]).tolist() == ["boats", "cars"]
    assert pipeline.predict(["boats"]).tolist() == ["boats"]  # no warning, which would be an error here


def test_a_transformer_cuts_or_refuses_where_it_is_told_to():
    with pytest.warns(UserWarning, match=re.escape(f"1 of 1 texts are too long for the model; {CUT_NOTE}")):
        vectors = TextEmbedder(Same(), long_texts="cut").fit_transform([LONG])
    np.testing.assert_array_equal(vectors, Same().embed_documents(["red cars are fast on the road and "]))
    with pytest.raises(TextTooLong, match="embed it in pieces with long_texts='mean'"):
        TextEmbedder(Same(), long_texts="fail").transform([LONG])
    wrong = TextEmbedder(Same(), long_texts="split")
    assert wrong.get_params() == {"embedder": wrong.embedder, "long_texts": "split", "cache": True}
    for method in (wrong.fit, wrong.transform):
        with pytest.raises(ValueError, match="expected long_texts to be 'mean', 'cut' or 'fail', got 'split'"):
            method(["blue"])


# ---- the real model --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sentences():
    return SentenceEmbedder(device="cpu")


def test_the_mean_of_a_real_model_has_length_1_and_says_what_the_text_says(sentences):
    about = "My card was charged twice for the same month, and the invoice shows only one payment. "
    [long], _ = embed_queries(sentences, [about * 20])
    near, far = sentences.embed_queries([about * 12, "The cat sat on the mat."])
    assert np.linalg.norm(long) == pytest.approx(1, abs=1e-5)
    assert long @ near > 0.98
    assert long @ far < 0.2
    pieces = cut_evenly(about * 20, sentences.token_spans, 254)
    weights = [len(sentences.token_spans(piece)) for piece in pieces]
    assert max(weights) <= 254
    np.testing.assert_allclose(long, mean_of(sentences.embed_queries, pieces, weights), atol=1e-6)


def test_short_texts_of_few_characters_can_be_too_long_as_well(sentences):
    text = "名前" * 130  # 260 characters, and as many tokens
    with pytest.raises(TextTooLong, match="got 260"):
        sentences.embed_queries([text])
    [[note]] = embed_queries(sentences, [text])[1]
    assert note.startswith("260 tokens are more than the 254")


def test_a_prompt_leaves_less_room_for_the_pieces(sentences):
    prompted = SentenceEmbedder(sentences._load().model, query_prompt="query: ")
    [[note]] = embed_queries(prompted, ["cat " * 253])[1]
    assert note.startswith("253 tokens are more than the 252 ")
