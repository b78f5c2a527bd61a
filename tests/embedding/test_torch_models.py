"""Models that torch runs: called with tokens where they read nothing else; for a GPU, tokenized on all cores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from small_models import small_model
from transformers import AutoTokenizer

from ragknn.embedding._inputs import Padding
from ragknn.embedding._models import copy_tokenizer
from ragknn.embedding._tokens import Tokens
from ragknn.embedding._torch import TorchModel

TEXTS = ["cat", "", "How do I reset my password?", "a longer text " * 4, "cat", "Straße, 名前 and x² 🏷️"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small model of its own, loaded."""
    return SentenceTransformer(str(small_model(tmp_path_factory.mktemp("small"))), device="cpu")


def calls_of(model, monkeypatch):
    """Let the texts of calls of `encode` be remembered."""
    texts, encode = [], model.encode
    monkeypatch.setattr(model, "encode", lambda given, **options: texts.extend(given) or encode(given, **options))
    return texts


@pytest.mark.parametrize("prompt", ["", "query: "])
@pytest.mark.parametrize("texts_per_call", [None, 1, 4])
@pytest.mark.parametrize("training", [False, True])
def test_tokens_give_the_vectors_of_texts(model, monkeypatch, prompt, texts_per_call, training):
    expected = model.encode(TEXTS, prompt=prompt)
    runner = TorchModel(model, "small", texts_per_call)
    texts = calls_of(model, monkeypatch)
    model.train(training)  # which drops values at random, until it is told to embed
    found = runner.embed([(prompt, text) for text in TEXTS])
    assert (found.shape, found.dtype, texts) == ((6, 32), np.float32, [])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_model_that_fills_up_before_the_text_is_called_so(model, monkeypatch):
    monkeypatch.setattr(model.tokenizer, "padding_side", "left")
    expected = model.encode(TEXTS)
    np.testing.assert_allclose(TorchModel(model, "small").embed([("", text) for text in TEXTS]), expected, atol=1e-5)


def test_a_model_that_changes_texts_before_it_reads_them_is_given_texts(model, monkeypatch):
    own = model.preprocess

    def shouting(texts, **options):
        return own([f"{text}!" for text in texts], **options)

    monkeypatch.setattr(model, "preprocess", shouting)
    expected = model.encode(TEXTS)
    runner = TorchModel(model, "small")
    texts = calls_of(model, monkeypatch)
    np.testing.assert_allclose(runner.embed([("", text) for text in TEXTS]), expected, atol=1e-5)
    assert sorted(texts) == sorted(TEXTS)


@given(
    st.lists(st.text("ab cé名\U0001f3f7", max_size=60), max_size=40).map(lambda texts: texts * 2), st.integers(3, 20)
)
@settings(max_examples=60, deadline=None)
def test_texts_tokenized_on_all_cores_have_the_tokens_that_each_has_alone(tokenizer, texts, limit):
    alone, together = Tokens(tokenizer, limit), Tokens(tokenizer, limit, on_all_cores=True)
    together.prepare(texts)
    for text in texts:
        assert together.ids(text).tolist() == alone.ids(text).tolist()
        assert together.count(text) == alone.count(text) == len(alone.spans(text))
        assert together.spans(text) == alone.spans(text)


@pytest.fixture(scope="module")
def tokenizer(model):
    """The tokenizer of the small model."""
    return copy_tokenizer(model, "small")


def test_a_text_is_tokenized_once_while_it_is_on_its_way(tokenizer):
    texts = [f"text {number}" for number in range(3000)]
    counting = CountingTokenizer(tokenizer)
    tokens = Tokens(counting, 30, on_all_cores=True)
    tokens.prepare(texts)
    tokens.prepare(texts)
    assert [tokens.count(text) for text in texts] == [len(tokens.ids(text)) - 2 for text in texts]
    assert counting.texts == ["", *texts]
    tokens.prepare(["another"])  # what was remembered for the last call is forgotten
    assert len(tokens._remembered) == 512


class CountingTokenizer:
    """A tokenizer that remembers what it was asked for."""

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer
        self.texts = []

    def encode(self, text, **options):
        """Tokenize one text."""
        self.texts.append(text)
        return self._tokenizer.encode(text, **options)

    def encode_batch_fast(self, texts, **options):
        """Tokenize many."""
        self.texts += texts
        return self._tokenizer.encode_batch_fast(texts, **options)


@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_are_filled_up_as_transformers_does_it(model, side):
    tokenizer = AutoTokenizer.from_pretrained(model.tokenizer.name_or_path, padding_side=side)
    expected = tokenizer(TEXTS, padding=True, return_tensors="np")
    filled = Padding(tokenizer.pad_token_id, side == "left").fill(
        [np.array(tokenizer(text)["input_ids"]) for text in TEXTS]
    )
    assert set(filled) == set(expected)
    for name, array in filled.items():
        np.testing.assert_array_equal(array, expected[name])
