import json
import pickle
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from ragknn import Document, EmbeddingError, ModelNotFound, SchemaMismatch, SentenceEmbedder
from ragknn.embedding import _models as models
from ragknn.embedding._loading import DEFAULT_MODEL, find_weights
from ragknn.embedding._naming import default_embedder, embedder_named

FOLDER = str(find_weights(DEFAULT_MODEL).resolve())
PLAIN = {"query_prompt": "", "document_prompt": ""}
TEXTS = ["How do I reset my password?", "The cat sat on the mat.", ""]


@pytest.fixture(scope="module")
def model():
    """The default model, loaded by sentence-transformers."""
    return SentenceTransformer(FOLDER, device="cpu")


@pytest.fixture
def fresh(model):
    """A model that shares the weights of the loaded one, and may be changed."""
    copy = SentenceTransformer(modules=list(model), device="cpu")
    copy.module_kwargs, copy.prompts = model.module_kwargs, dict(model.prompts)
    return copy


@pytest.fixture
def loads(monkeypatch, model):
    """What the models were loaded with; every name gives the default model."""
    loads = []

    def load(source, **options):
        loads.append((source, {key: value for key, value in options.items() if value}))
        return SentenceTransformer(FOLDER, device="cpu", truncate_dim=options["truncate_dim"])

    monkeypatch.setenv("RAGKNN_BACKEND", "torch")
    monkeypatch.setattr(models, "loading_model", lambda *args: nullcontext())  # which asks the hub
    monkeypatch.setattr("sentence_transformers.SentenceTransformer", load)
    return loads


# ---- a loaded model --------------------------------------------------------------------------------------------


def test_a_loaded_model_embeds_as_the_model_of_its_folder(model):
    loaded, named = SentenceEmbedder(model), SentenceEmbedder(FOLDER, device="cpu")
    assert (loaded.name, loaded.dim, loaded.max_tokens, loaded.identity) == (FOLDER, 384, 254, PLAIN)
    assert (named.name, named.identity) == (loaded.name, loaded.identity)
    np.testing.assert_array_equal(loaded.embed_queries(TEXTS), named.embed_queries(TEXTS))
    np.testing.assert_allclose(loaded.embed_documents(TEXTS), model.encode(TEXTS), atol=1e-6)
    assert repr(loaded) == f"SentenceEmbedder({FOLDER!r})"
    assert loaded.token_spans("a cat") == [(0, 1), (2, 5)]


def test_a_loaded_model_may_have_a_name_prompts_and_a_batch_size_of_your_own(model):
    embedder = SentenceEmbedder(model, name="mine/3", query_prompt="query: ", batch_size=2)
    assert (embedder.name, embedder.identity) == ("mine/3", {"query_prompt": "query: ", "document_prompt": ""})
    np.testing.assert_allclose(embedder.embed_queries(["cat"]), model.encode(["query: cat"]), atol=1e-6)


def test_a_name_of_your_own_is_kept_though_a_folder_has_it(model, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert SentenceEmbedder(model, name="mine").name == "mine"


def test_a_loaded_model_travels_to_another_process_by_its_folder(model):
    pickled = pickle.dumps(SentenceEmbedder(model, query_prompt="query: "))
    assert len(pickled) < 10_000
    copy = pickle.loads(pickled)
    assert (copy.name, copy._running) == (FOLDER, None)
    expected = SentenceEmbedder(model, query_prompt="query: ").embed_queries(["cat"])
    np.testing.assert_allclose(copy.embed_queries(["cat"]), expected, atol=1e-6)


def test_a_model_with_a_name_of_your_own_cannot_travel(model):
    with pytest.raises(TypeError, match="cannot pickle the embedder 'mine', whose model was passed"):
        pickle.dumps(SentenceEmbedder(model, name="mine"))


def test_a_model_that_is_not_what_it_was_loaded_from_needs_a_name(fresh):
    assert SentenceEmbedder(fresh).name == FOLDER
    fresh.model_card_data.add_tags("generated_from_trainer")  # as its trainer does
    with pytest.raises(ValueError, match=r"expected a name for this model, .*SentenceEmbedder\(model, name=...\)"):
        SentenceEmbedder(fresh)
    assert SentenceEmbedder(fresh, name="trained/1").name == "trained/1"


def test_a_model_put_together_from_modules_needs_a_name(model):
    with pytest.raises(ValueError, match="expected a name for this model"):
        SentenceEmbedder(SentenceTransformer(modules=list(model), device="cpu"))


def test_a_model_with_an_adapter_needs_a_name(fresh, monkeypatch):
    monkeypatch.setattr(fresh.transformers_model, "_hf_peft_config_loaded", True)
    with pytest.raises(ValueError, match="expected a name for this model"):
        SentenceEmbedder(fresh)


def test_a_model_of_the_hub_has_the_hubs_name_if_it_is_the_main_branch(fresh, monkeypatch):
    config = fresh.transformers_model.config
    monkeypatch.setattr(config, "_name_or_path", "some/model")
    assert SentenceEmbedder(fresh).name == "some/model"
    monkeypatch.setattr(config, "_commit_hash", "abc", raising=False)
    assert SentenceEmbedder(fresh).name == "some/model"  # the cache knows nothing of it
    for main, accepted in (("abc", True), ("def", False)):
        path = f"/cache/models--some--model/snapshots/{main}/config.json"
        monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *args, path=path: path)
        if accepted:
            assert SentenceEmbedder(fresh).name == "some/model"
        else:
            with pytest.raises(ValueError, match="expected a name for this model"):
                SentenceEmbedder(fresh)
    assert SentenceEmbedder(fresh, revision="v1").identity == {**PLAIN, "revision": "v1"}


def test_the_folder_of_an_older_model_is_the_one_around_its_transformer(tmp_path, fresh, monkeypatch):
    inner = tmp_path / "0_Transformer"
    inner.mkdir()
    monkeypatch.setattr(fresh.transformers_model.config, "_name_or_path", str(inner))
    with pytest.raises(ValueError, match="expected a name for this model"):
        SentenceEmbedder(fresh)
    (tmp_path / "modules.json").write_text("[]")
    assert SentenceEmbedder(fresh).name == str(tmp_path)


def test_what_is_decided_when_a_model_is_loaded_is_not_asked_of_a_loaded_one(model):
    for option in ({"device": "cpu"}, {"truncate_dim": 8}, {"trust_remote_code": True}, {"model_kwargs": {"a": 1}}):
        with pytest.raises(ValueError, match="only with a model that is not yet loaded"):
            SentenceEmbedder(model, **option)
    with pytest.raises(ValueError, match="expected a name, got ' '"):
        SentenceEmbedder(model, name=" ")
    with pytest.raises(ValueError, match="expected a name for a loaded model only, got 'mine' for 'some/model'"):
        SentenceEmbedder("some/model", name="mine")


def test_a_model_without_a_transformer_needs_a_name_and_may_read_without_limit(model):
    static = SentenceTransformer(modules=[StaticEmbedding(model.tokenizer, embedding_dim=8)], device="cpu")
    with pytest.raises(ValueError, match="expected a name for this model"):
        SentenceEmbedder(static)
    embedder = SentenceEmbedder(static, name="static/1")
    assert (embedder.dim, embedder.max_tokens) == (8, None)
    np.testing.assert_allclose(embedder.embed_queries(["cat " * 999]), static.encode(["cat " * 999]), atol=1e-6)


@pytest.mark.parametrize("wrong", [object(), None, 7, ["some/model"], SentenceTransformer, b"some/model"])
def test_what_is_no_model_is_refused_at_once(wrong):
    with pytest.raises(TypeError, match=r"expected a model as a name, a folder or a loaded sentence_transformers\."):
        SentenceEmbedder(wrong)


# ---- fewer values ----------------------------------------------------------------------------------------------


def test_truncated_vectors_are_the_first_values_brought_back_to_length_1(model):
    embedder = SentenceEmbedder(FOLDER, device="cpu", truncate_dim=64)
    assert (embedder.dim, embedder.identity) == (64, {**PLAIN, "truncate_dim": 64})
    expected = model.encode(TEXTS)[:, :64]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = embedder.embed_documents(TEXTS)
    assert (found.shape, found.dtype) == ((3, 64), np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert embedder.embed_queries([]).shape == (0, 64)


def test_a_loaded_model_that_truncates_says_so(fresh):
    fresh.truncate_dim = 32
    embedder = SentenceEmbedder(fresh)
    assert (embedder.dim, embedder.identity["truncate_dim"]) == (32, 32)
    np.testing.assert_allclose(np.linalg.norm(embedder.embed_queries(TEXTS), axis=1), 1, atol=1e-6)


def test_a_model_that_does_not_normalize_is_only_truncated(model):
    bare = SentenceTransformer(modules=list(model)[:-1], device="cpu", truncate_dim=16)
    vectors = SentenceEmbedder(bare, name="bare").embed_documents(TEXTS)
    np.testing.assert_allclose(vectors, bare.encode(TEXTS), atol=1e-6)
    assert not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=0.01)


def test_more_values_than_the_model_has_are_refused():
    with pytest.raises(ValueError, match=r"expected truncate_dim <= 384, the dim of .*, got 385"):
        SentenceEmbedder(FOLDER, device="cpu", truncate_dim=385).dim  # noqa: B018
    with pytest.raises(ValueError, match="expected truncate_dim >= 1, got 0"):
        SentenceEmbedder(truncate_dim=0)


# ---- how a model is loaded -------------------------------------------------------------------------------------


def test_options_reach_sentence_transformers_and_the_identity(loads):
    plain = SentenceEmbedder("some/model")
    assert plain.identity == PLAIN  # as in the manifests of indexes that know of no options
    unusual = {"revision": "v1", "truncate_dim": 8, "trust_remote_code": True, "model_kwargs": {"attn": "eager"}}
    assert SentenceEmbedder("some/model", **unusual).identity == {**PLAIN, **unusual}
    assert loads == [("some/model", {}), ("some/model", unusual)]


def test_a_revision_of_the_default_model_does_not_come_from_the_package(loads):
    assert SentenceEmbedder(revision="v1").dim == SentenceEmbedder().dim == 384
    assert loads == [(DEFAULT_MODEL, {"revision": "v1"}), (str(find_weights(DEFAULT_MODEL)), {})]


def test_a_revision_is_looked_for_on_the_hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFound, match=f"expected a sentence-transformers model named '{DEFAULT_MODEL}'"):
        SentenceEmbedder(revision="no-such-revision", device="cpu").dim  # noqa: B018
    with pytest.raises(ValueError, match="expected a revision for a model on the hub only, got 'v1' for"):
        SentenceEmbedder(FOLDER, revision="v1")


def test_dtypes_stand_in_the_identity_by_their_names(loads):
    kwargs = {"dtype": torch.bfloat16, "config": SimpleNamespace(to_dict=lambda: {"bits": 4, "in": torch.float16})}
    embedder = SentenceEmbedder("some/model", model_kwargs=kwargs)
    plain = {"dtype": "bfloat16", "config": {"bits": 4, "in": "float16"}}
    assert embedder.identity["model_kwargs"] == plain == json.loads(json.dumps(plain))
    assert loads == [("some/model", {"model_kwargs": kwargs})]
    with pytest.raises(TypeError, match=r"expected model_kwargs\['hook'\] to be a JSON value or a dtype"):
        SentenceEmbedder("some/model", model_kwargs={"hook": object()})


def test_a_model_is_loaded_in_the_dtype_that_is_asked_for(model):
    embedder = SentenceEmbedder(FOLDER, device="cpu", model_kwargs={"dtype": torch.float16})
    again = embedder_named(embedder.name, json.loads(json.dumps(embedder.identity)), "cpu")
    assert again.identity == embedder.identity == {**PLAIN, "model_kwargs": {"dtype": "float16"}}
    found = again.embed_documents(TEXTS)
    assert (found.dtype, again._load().model.dtype) == (np.float32, torch.float16)
    np.testing.assert_allclose(found, model.encode(TEXTS), atol=5e-3)


def test_an_embedder_with_options_travels_to_another_process(loads):
    embedder = SentenceEmbedder("some/model", revision="v1", truncate_dim=8, model_kwargs={"dtype": torch.float16})
    copy = pickle.loads(pickle.dumps(embedder))
    assert copy.identity == embedder.identity
    assert loads[0] == loads[1]


# ---- from a name and an identity -------------------------------------------------------------------------------


def test_an_embedder_with_options_comes_back_from_its_name_and_identity(loads):
    options = {"revision": "v1", "truncate_dim": 8, "model_kwargs": {"dtype": "float16"}}
    identity = json.loads(json.dumps(SentenceEmbedder("some/model", query_prompt="q: ", **options).identity))
    again = embedder_named("some/model", identity)
    assert again.identity == identity == {"query_prompt": "q: ", "document_prompt": "", **options}
    assert loads == [("some/model", options)] * 2


@pytest.mark.parametrize(
    ("identity", "what"),
    [
        ({"trust_remote_code": True}, "trust_remote_code"),
        ({"model_kwargs": {"trust_remote_code": True}}, "trust_remote_code"),
        ({"model_kwargs": {"dtype": "float16", "weights_only": False}}, "weights_only"),
        ({"trust_remote_code": True, "model_kwargs": {"b": 1, "a": 2}}, "trust_remote_code, a, b"),
    ],
)
def test_an_index_cannot_have_code_run(loads, identity, what):
    with pytest.raises(EmbeddingError, match=f"since it is loaded with {what}, which may run code") as refused:
        embedder_named("some/model", {**PLAIN, **identity})
    assert "Index(..., embedder=SentenceEmbedder('some/model', ...))" in str(refused.value)
    assert loads == []


def test_the_default_embedder_is_the_named_model_or_all_minilm():
    assert (default_embedder().name, default_embedder().device) == (DEFAULT_MODEL, None)
    assert (default_embedder("some/model", "cpu").name, default_embedder("some/model", "cpu").device) == (
        "some/model",
        "cpu",
    )
    assert default_embedder("ragknn/hashing-8").dim == 8


# ---- with an index ---------------------------------------------------------------------------------------------


def test_an_index_built_with_a_loaded_model_is_opened_by_its_name(faces, redis_url, index_name, model):
    with faces.index(index_name, url=redis_url, embedder=SentenceEmbedder(model)) as index:
        faces.indexer(index).add([Document("password", "Choose a new password."), Document("cat", "A cat sat.")])
    with faces.index(index_name, url=redis_url) as index:
        [found] = faces.retriever(index).retrieve("I cannot log in", k=1)
        assert (found.passage.document_id, index.embedder.name) == ("password", FOLDER)


def test_an_index_is_opened_as_it_was_built(faces, redis_url, index_name, model, fresh):
    fresh.truncate_dim = 64
    with faces.index(index_name, url=redis_url, embedder=SentenceEmbedder(fresh)) as index:
        faces.indexer(index).add([Document("a", "A cat sat.")])
    with faces.index(index_name, url=redis_url) as index:
        assert (index.embedder.dim, index.embedder.identity) == (64, index.schema.identity)
        assert len(faces.retriever(index).retrieve("cat", k=1)) == 1
    with pytest.raises(SchemaMismatch) as refused:
        faces.index(index_name, url=redis_url, embedder=SentenceEmbedder(model)).open()
    assert refused.value.differences == {"dim": (384, 64), "identity": (PLAIN, {**PLAIN, "truncate_dim": 64})}


def test_a_model_of_the_settings_may_be_the_hashing_embedder(faces, redis_url, index_name, monkeypatch):
    monkeypatch.setenv("RAGKNN_MODEL", "ragknn/hashing-16")
    with faces.index(index_name, url=redis_url) as index:
        assert (index.schema.embedder, index.schema.dim) == ("ragknn/hashing-16", 16)
