"""Models that OpenVINO runs: the same vectors, kept for later processes, and a way back to torch."""

import os
import pickle
import shutil

import numpy as np
import pytest
from scripts import run_python
from small_models import small_model
from test_moved_models import saved  # noqa: F401  # a small model of another kind

from ragknn import EmbeddingError, MissingDependency, SentenceEmbedder
from ragknn.embedding import _graph_cache as cache
from ragknn.embedding._loading import DEFAULT_MODEL, find_weights
from ragknn.embedding._openvino import is_installed
from ragknn.embedding._probe import AGREEMENT, PROBE, agreement

# Looked for and not imported, since its makers would be told of an import that is not ours.
pytestmark = pytest.mark.skipif(not is_installed(), reason="OpenVINO is not installed")

FOLDER = find_weights(DEFAULT_MODEL)
TEXTS = [*PROBE, *(f"text {number} " * (number % 50) for number in range(120)), "", "password"]

ASKING = """
import sys
import numpy as np
from ragknn import SentenceEmbedder
embedder = SentenceEmbedder(*sys.argv[1:])
about = embedder.name, embedder.content, embedder.dim, embedder.max_tokens, dict(embedder.identity)
assert "openvino" not in sys.modules
vectors = embedder.embed_queries(["How do I reset my password?"])
print(sorted({"torch", "transformers", "sentence_transformers", "openvino_telemetry"} & set(sys.modules)))
print(about, embedder.engine.backend, embedder.token_spans("a cat"), float(vectors[0, 0]))
"""


def asked(*arguments, **environ):
    """Return what a process of its own says of an embedder: a line of imports, a line of answers."""
    return run_python(ASKING, *arguments, **environ).splitlines()


@pytest.fixture(scope="module")
def quick():
    """The default model, run by OpenVINO."""
    return SentenceEmbedder(backend="openvino")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The folder of a small model."""
    return small_model(tmp_path_factory.mktemp("small"))


@pytest.fixture
def kept(quick):
    """The folder in which the default model is kept."""
    assert quick.dim == 384
    return quick._wish().place()


def test_vectors_are_those_of_torch(quick, sentence_embedder):
    for embed, expect in (
        (quick.embed_documents, sentence_embedder.embed_documents),
        (quick.embed_queries, sentence_embedder.embed_queries),
    ):
        found, expected = embed(TEXTS), expect(TEXTS)
        assert (found.shape, found.dtype) == (expected.shape, np.float32)
        assert agreement(found, expected) >= AGREEMENT
        assert np.einsum("nd,nd->n", found, expected).min() > 0.999
        np.testing.assert_allclose(found[[0]], embed(TEXTS[:1]), atol=5e-3)  # alone
        np.testing.assert_array_equal(found[0], found[-1])  # a text that stands twice


def test_it_says_what_runs_the_model_and_keeps_its_identity(quick, sentence_embedder):
    assert (quick.engine.backend, quick.engine.device) == ("openvino", "cpu")
    assert (sentence_embedder.engine.backend, sentence_embedder.engine.precision) == ("torch", "float32")
    assert "device is 'cpu'" in str(sentence_embedder.engine)
    for same in ("name", "content", "identity", "dim", "max_tokens"):
        assert getattr(quick, same) == getattr(sentence_embedder, same)
    text = "Resetting über-passwords\n🏷️ 名前 [SEP] ﬁne!"
    assert quick.token_spans(text) == sentence_embedder.token_spans(text)


def test_a_later_process_answers_without_torch(kept, quick):
    imports, answers = asked()
    assert imports == "[]"
    about = (DEFAULT_MODEL, None, 384, 254, {"query_prompt": "", "document_prompt": ""})
    value = float(quick.embed_queries(["How do I reset my password?"])[0, 0])
    assert answers == f"{about} openvino [(0, 1), (2, 5)] {value}"


@pytest.mark.parametrize("name", ["kept.json", "model.xml", "model.bin", "tokenizer.json", "compiled"])
@pytest.mark.parametrize("how", ["cut", "changed", "gone"])
def test_what_is_kept_is_used_only_as_it_was_written(kept, tmp_path, name, how):
    assert cache.read(kept) is not None
    copy = shutil.copytree(kept, tmp_path / "copy", copy_function=shutil.copy)  # with other times
    assert cache.read(copy) is not None
    path = next((copy / name).iterdir()) if name == "compiled" else copy / name
    path.chmod(0o644)
    before = path.read_bytes()
    path.unlink()
    if how != "gone":
        path.write_bytes(before[: len(before) // 2] + (b"" if how == "cut" else b"x" + before[len(before) // 2 + 1 :]))
    assert cache.read(copy) is None


def test_a_broken_cache_is_made_again(small, monkeypatch, tmp_path):
    sound = SentenceEmbedder(small)
    before = sound.embed_queries(["cat"])
    place = tmp_path / "models" / sound._wish().place().name
    shutil.copytree(sound._wish().place(), place)
    monkeypatch.setenv("RAGKNN_CACHE", str(tmp_path))
    assert SentenceEmbedder(small)._wish().place() == place
    os.truncate(place / "model.bin", 1000)
    np.testing.assert_allclose(SentenceEmbedder(small).embed_queries(["cat"]), before, atol=1e-6)
    assert cache.read(place) is not None
    assert list((tmp_path / "models").iterdir()) == [place]  # nothing is left of what was written


def test_without_a_place_to_keep_it_the_model_runs_all_the_same(small, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    expected = SentenceEmbedder(small).embed_queries(["cat"])
    monkeypatch.setenv("RAGKNN_CACHE", str(tmp_path / "file"))
    embedder = SentenceEmbedder(small)
    assert embedder.engine.backend == "openvino"
    np.testing.assert_allclose(embedder.embed_queries(["cat"]), expected, atol=1e-6)


def test_a_model_of_other_modules_is_run_by_torch(saved, monkeypatch):  # noqa: F811
    embedder = SentenceEmbedder(saved)
    assert embedder.dim == 8
    assert "openvino does not run the model: a module of the model is none" in str(embedder.engine).lower()
    assert "StaticEmbedding" in str(embedder.engine)
    assert "StaticEmbedding" in SentenceEmbedder(saved).foresee()  # remembered
    with pytest.raises(EmbeddingError, match="expected a model that OpenVINO can run for backend='openvino'"):
        SentenceEmbedder(saved, backend="openvino").embed_queries(["cat"])


@pytest.mark.parametrize("mode", ["cls", ("max", "mean")])
def test_models_of_other_poolings_prompts_and_lengths_are_converted_as_well(tmp_path, mode):
    folder = small_model(tmp_path, mode, {"query": "query: "})
    quick, plain = SentenceEmbedder(folder), SentenceEmbedder(folder, backend="torch")
    texts = ["cat", "the cat sat on the mat " * 3, "Straße"]
    assert (quick.engine.backend, plain.engine.backend) == ("openvino", "torch")
    assert quick.max_tokens == plain.max_tokens == 28
    assert quick.identity == plain.identity == {"query_prompt": "query: ", "document_prompt": ""}
    assert agreement(quick.embed_queries(texts), plain.embed_queries(texts)) >= AGREEMENT
    assert agreement(quick.embed_documents(texts), plain.embed_documents(texts)) >= AGREEMENT


def test_fewer_values_are_brought_back_to_length_1(quick):
    short = SentenceEmbedder(backend="openvino", truncate_dim=64)
    assert (short.dim, short.identity["truncate_dim"]) == (64, 64)
    expected = quick.embed_queries(TEXTS[:4])[:, :64]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(short.embed_queries(TEXTS[:4]), expected, atol=1e-6)


def test_what_only_torch_can_do_is_done_by_torch():
    for options, reason in (
        ({"device": "cpu"}, "device is 'cpu'"),
        ({"model_kwargs": {"dtype": "float32"}}, "model_kwargs are given"),
        ({"trust_remote_code": True}, "code of the model's own is trusted"),
        ({"backend": "torch"}, "backend is 'torch'"),
    ):
        assert SentenceEmbedder(**options).foresee() == f"torch: {reason}"


def test_a_backend_may_be_named_by_the_settings(monkeypatch):
    monkeypatch.setenv("RAGKNN_BACKEND", "torch")
    assert SentenceEmbedder().foresee() == "torch: backend is 'torch'"
    assert "openvino on cpu" in SentenceEmbedder(backend="openvino").foresee()
    with pytest.raises(ValueError, match="expected backend"):
        SentenceEmbedder(backend="onnx")


def test_openvino_that_is_missing_is_told_only_where_it_is_asked_for(monkeypatch):
    monkeypatch.setattr("ragknn.embedding._choosing.is_installed", lambda: False)
    assert SentenceEmbedder().foresee() == "torch: openvino is not installed"
    with pytest.raises(MissingDependency, match=r"ragknn\[fast\]"):
        SentenceEmbedder(backend="openvino").embed_queries(["cat"])


def test_it_travels_to_another_process_without_its_graph(quick):
    copy = pickle.loads(pickle.dumps(quick))
    assert (copy._running, copy.backend) == (None, "openvino")
    np.testing.assert_array_equal(copy.embed_queries(["cat"]), quick.embed_queries(["cat"]))
