import math
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import CrossEncoder
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from ragknn import EmbeddingError, HashingEmbedder, ModelNotFound, Neighbor, Passage, TextTooLong
from ragknn.embedding._loading import DEFAULT_MODEL, find_weights
from ragknn.retrieval._scores import checked_scores, rerank
from ragknn.retrieval.reranking import CrossEncoderReranker, EmbeddingReranker

WORDS = ["the", "cat", "dog", "sat", "on", "mat", "red", "a", "two", "and", ",", "##s"]  # of the tiny model
QUERY = "the red cat"
TEXTS = [
    "the cat sat on the mat",
    "the dog sat",
    "red cats",
    "a dog, two dogs and the mat",
    "cat " * 60,  # more than the tiny model reads
    "the red cat",
    "🏷️ 名前",
]


def passages_of(texts):
    return [Passage(f"{number}#0", str(number), text, 0, len(text)) for number, text in enumerate(texts)]


def neighbors_of(count):
    return [Neighbor(passage, 0.1 * number) for number, passage in enumerate(passages_of(["text"] * count))]


def save_tiny_cross_encoder(folder, num_labels=1):
    """Write a cross-encoder of a few hundred random weights, as one from the model hub would be kept."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        num_labels=num_labels,
        initializer_range=0.5,  # so that the scores lie well apart
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizerFast(vocab={word: row for row, word in enumerate(words)}, model_max_length=32).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_cross_encoder(tmp_path_factory.mktemp("cross-encoder"))


@pytest.fixture(scope="module")
def expected(folder):
    """The scores of the texts as sentence-transformers itself has them, one pair at a time."""
    model = CrossEncoder(str(folder), device="cpu")
    return np.array([model.predict([(QUERY, text)])[0] for text in TEXTS], dtype=np.float64)


# ---- the cross-encoder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_a_cross_encoder_gives_the_scores_of_sentence_transformers(folder, expected, batch_size):
    scores = CrossEncoderReranker(folder, device="cpu", batch_size=batch_size)(QUERY, passages_of(TEXTS))
    assert (scores.shape, scores.dtype) == ((len(TEXTS),), np.float64)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert len(np.unique(expected.round(3))) >= 5


def test_a_score_does_not_depend_on_the_passages_beside_it(folder, expected):
    scores = CrossEncoderReranker(folder, device="cpu")(QUERY, passages_of(TEXTS[::-1]))
    np.testing.assert_allclose(scores, expected[::-1], atol=1e-5)


def test_nothing_to_score_loads_no_model():
    reranker = CrossEncoderReranker("nobody/no-such-model")
    assert reranker(QUERY, []).shape == (0,)
    assert reranker._loaded is None


def test_one_reranker_serves_many_threads_and_loads_once(folder, expected, monkeypatch):
    loads = []
    load = CrossEncoder.__init__
    monkeypatch.setattr(CrossEncoder, "__init__", lambda *args, **kwargs: loads.append(args) or load(*args, **kwargs))
    reranker = CrossEncoderReranker(folder, device="cpu")
    found = {}

    def score(number):
        found[number] = reranker(QUERY, passages_of(TEXTS))

    threads = [threading.Thread(target=score, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len(found) == 6
    for scores in found.values():
        np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_a_reranker_travels_without_its_model(folder, expected):
    reranker = CrossEncoderReranker(folder, device="cpu", batch_size=2)
    reranker(QUERY, passages_of(TEXTS[:1]))
    copy = pickle.loads(pickle.dumps(reranker))
    assert (copy._loaded, copy.model, copy.device, copy.batch_size) == (None, str(folder), "cpu", 2)
    np.testing.assert_allclose(copy(QUERY, passages_of(TEXTS)), expected, atol=1e-5)


def test_a_failing_device_is_told(folder, monkeypatch):
    reranker = CrossEncoderReranker(folder, device="cpu")
    reranker(QUERY, passages_of(TEXTS[:1]))

    def fail(*args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(reranker._loaded, "predict", fail)
    with pytest.raises(EmbeddingError, match="failed on cpu: out of memory; try a smaller batch_size or device='cpu'"):
        reranker(QUERY, passages_of(TEXTS))


def test_a_folder_that_holds_no_model_is_told(tmp_path):
    with pytest.raises(ModelNotFound, match=r"expected a cross-encoder named .* in a folder or on the hub, got"):
        CrossEncoderReranker(tmp_path)(QUERY, passages_of(TEXTS))


def test_an_embedding_model_is_no_cross_encoder():
    # sentence-transformers would load it with a last layer of random numbers.
    with pytest.raises(ModelNotFound, match=r"got: a BertModel, which was not trained to score pairs. Check the name"):
        CrossEncoderReranker(find_weights(DEFAULT_MODEL), device="cpu")(QUERY, passages_of(TEXTS))


def test_a_cross_encoder_with_several_scores_is_refused(tmp_path):
    folder = save_tiny_cross_encoder(tmp_path, num_labels=3)
    with pytest.raises(ModelNotFound, match="expected a cross-encoder that gives one score to a pair, got 3 from"):
        CrossEncoderReranker(folder, device="cpu")(QUERY, passages_of(TEXTS))


def test_making_a_reranker_loads_nothing():
    script = (
        "import sys; from ragknn.retrieval.reranking import CrossEncoderReranker; "
        "CrossEncoderReranker('nobody/no-such-model'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_an_unknown_model_is_told_without_the_hub():
    with pytest.raises(ModelNotFound) as refused:
        CrossEncoderReranker("nobody/no-such-model")("query", [Passage("a#0", "a", "text", 0, 4)])
    message = str(refused.value)
    assert message.startswith("expected a cross-encoder named 'nobody/no-such-model' in a folder or on the hub, got: ")
    assert message.endswith(
        "Check the name and the network, or name a folder with a cross-encoder, or rerank with EmbeddingReranker or "
        "a callable of your own"
    )


def test_a_reranker_shows_its_model():
    assert repr(CrossEncoderReranker()) == "CrossEncoderReranker('cross-encoder/ms-marco-MiniLM-L6-v2')"
    assert repr(EmbeddingReranker(HashingEmbedder(8))) == "EmbeddingReranker(HashingEmbedder(8))"
    with pytest.raises(ValueError, match="expected batch_size >= 1, got 0"):
        CrossEncoderReranker(batch_size=0)


# ---- another embedder ------------------------------------------------------------------------------------------


def test_an_embedding_reranker_gives_the_cosines_of_its_embedder():
    embedder = HashingEmbedder(128)
    scores = EmbeddingReranker(embedder)(QUERY, passages_of(TEXTS))
    [wanted] = embedder.embed_queries([QUERY]).astype(float)
    for score, vector in zip(scores, embedder.embed_documents(TEXTS).astype(float), strict=True):
        assert score == pytest.approx(sum(wanted * vector) / math.sqrt(sum(wanted**2) * sum(vector**2)), abs=1e-9)
    assert scores.argmax() == TEXTS.index(QUERY)
    assert EmbeddingReranker(embedder)(QUERY, []).shape == (0,)


def test_an_embedding_reranker_sorts_by_meaning(sentence_embedder):
    texts = ["Fast cars drive on the road.", "Choose a new password in the settings.", "Apple trees need sun."]
    reranker = EmbeddingReranker(sentence_embedder)
    scores = reranker("I cannot log in any more", passages_of(texts))
    assert scores.argmax() == 1
    with pytest.raises(TextTooLong, match="expected at most 254 tokens"):
        reranker("cat", passages_of(["cat " * 300]))


def test_vectors_without_a_length_score_0():
    class Counting:
        """Embeds a text as its length and its spaces, so that the empty direction is easily had."""

        def embed_documents(self, texts):
            return np.array([[text.count("a"), text.count("b")] for text in texts], dtype=np.float32)

        embed_queries = embed_documents

    assert EmbeddingReranker(Counting())("a", passages_of(["aa", "b", "c"])).tolist() == [1.0, 0.0, 0.0]
    assert EmbeddingReranker(Counting())("c", passages_of(["aa", "b", "c"])).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("reranker", [CrossEncoderReranker(), EmbeddingReranker(HashingEmbedder(8))])
def test_passages_without_text_cannot_be_reranked(reranker):
    with pytest.raises(ValueError, match="expected passages with text to rerank, got '1#0' without"):
        reranker(QUERY, passages_of(["text", ""]))


# ---- any callable ----------------------------------------------------------------------------------------------


def by_length(query, passages):
    return [len(passage.text) for passage in passages]


@pytest.mark.parametrize("scores", [[3, 1], (3.0, 1.0), np.array([3, 1], dtype=np.int8), torch.tensor([3.0, 1.0])])
def test_scores_of_any_kind_become_an_array(scores):
    array = checked_scores(scores, 2, by_length)
    assert (array.dtype, array.tolist()) == (np.float64, [3.0, 1.0])
    assert checked_scores([], 0, by_length).shape == (0,)


@pytest.mark.parametrize("scores", [[1.0], [[1.0, 2.0]], [[1.0], [2.0]], 1.0, [1.0, 2.0, 3.0]])
def test_scores_of_another_shape_are_refused(scores):
    with pytest.raises(ValueError, match=r"expected scores of shape \(2,\), one for each passage, from .*by_length"):
        checked_scores(scores, 2, by_length)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_refused(score):
    with pytest.raises(ValueError, match=r"expected finite scores from .*by_length.*, got .* for passage 1 of 2"):
        checked_scores([1.0, score], 2, by_length)


@pytest.mark.parametrize("scores", [["one", "two"], [[1.0], [1.0, 2.0]], [object(), 1]])
def test_scores_that_are_no_numbers_are_refused(scores):
    with pytest.raises(ValueError, match=r"expected 2 numbers, larger is better, from .*by_length.*, got: "):
        checked_scores(scores, 2, by_length)


# ---- sorting ---------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-3, 3).map(float), max_size=10))
def test_reranking_sorts_by_score_and_keeps_the_order_of_equal_ones(scores):
    found = neighbors_of(len(scores))
    ranked = rerank(found, scores)
    order = sorted(range(len(scores)), key=lambda row: -scores[row])
    assert ranked == [Neighbor(found[row].passage, found[row].distance, scores[row]) for row in order]
    assert [neighbor.score for neighbor in found] == [None] * len(found)
