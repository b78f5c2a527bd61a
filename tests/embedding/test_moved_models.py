"""A model in a folder is known by what is in its files: moved, mounted elsewhere or linked to, it is the same one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer

from ragknn import Document, ModelNotFound, SchemaMismatch, SentenceEmbedder
from ragknn.embedding import _content as content
from ragknn.embedding._content import content_of
from ragknn.embedding._loading import DEFAULT_MODEL, find_weights

WEIGHTS = "model.safetensors"
DOCUMENT = Document("a", "A cat sat.")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small model in a folder."""
    folder = tmp_path_factory.mktemp("models") / "small"
    tokenizer = Tokenizer.from_file(str(find_weights(DEFAULT_MODEL) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    weights = np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), 8)).astype(np.float32)
    module = StaticEmbedding(tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[module], device="cpu").save(str(folder))
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "first" / "small")


def weights_of(folder):
    [path] = folder.rglob(WEIGHTS)
    return path


def change_a_weight(folder):
    path = weights_of(folder)
    tensors = load_file(path)
    name = max(tensors, key=lambda name: tensors[name].size)
    tensors[name][1000, 3] += 1
    save_file(tensors, path)


def change_the_settings(folder):
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "similarity_fn_name": "dot"}))


def change_the_tokenizer(folder):
    [path] = folder.rglob("tokenizer.json")
    path.write_text(path.read_text().replace('"lowercase": true', '"lowercase": false'))


def elsewhere(folder, monkeypatch):
    """Return by name each way to lead to a model that is not where it was."""
    moved = folder.parent.parent / "second" / "renamed"
    moved.parent.mkdir()
    shutil.move(folder, moved)
    link = moved.parent / "link"
    link.symlink_to(moved)
    monkeypatch.chdir(moved.parent)
    monkeypatch.setenv("HOME", str(moved.parent))
    return {"moved": moved, "as str": str(moved), "link": link, "relative": "./renamed", "of the user": "~/renamed"}


def test_an_index_opens_with_its_model_wherever_that_lies(faces, redis_url, index_name, folder, monkeypatch):
    with faces.index(index_name, url=redis_url, embedder=SentenceEmbedder(folder)) as index:
        faces.indexer(index).add([DOCUMENT])
    for way, model in elsewhere(folder, monkeypatch).items():
        with faces.index(index_name, url=redis_url, embedder=SentenceEmbedder(model)) as index:
            found = faces.retriever(index).retrieve(DOCUMENT.text, 1)
            assert found.distances[0] == pytest.approx(0, abs=1e-5), way
            assert faces.indexer(index).add([DOCUMENT]).unchanged == 1


def test_a_model_that_is_used_after_a_change_of_folders_is_the_one_that_was_meant(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(folder.parent)
    embedder = SentenceEmbedder("small")
    monkeypatch.chdir(tmp_path)
    assert (embedder.name, embedder.dim) == (str(folder), 8)


def test_an_index_finds_its_moved_model_by_the_settings(faces, redis_url, index_name, folder, monkeypatch):
    with faces.index(index_name, url=redis_url, embedder=SentenceEmbedder(folder)) as index:
        faces.indexer(index).add([DOCUMENT])
    moved = elsewhere(folder, monkeypatch)["as str"]
    with (
        faces.index(index_name, url=redis_url) as index,
        pytest.raises(ModelNotFound, match=rf"in {folder}, got no such folder: pass the folder .* RAGKNN_MODEL"),
    ):
        faces.retriever(index).retrieve("cat")
    monkeypatch.setenv("RAGKNN_MODEL", moved)
    with faces.index(index_name, url=redis_url) as index:
        assert faces.retriever(index).retrieve(DOCUMENT.text, 1).distances[0] == pytest.approx(0, abs=1e-5)
    change_a_weight(Path(moved))
    with (
        faces.index(index_name, url=redis_url) as index,
        pytest.raises(ModelNotFound, match="got no such folder: pass the folder"),
    ):
        faces.retriever(index).retrieve("cat")


@pytest.mark.parametrize("change", [change_a_weight, change_the_settings, change_the_tokenizer])
def test_another_model_in_the_folder_is_refused(faces, redis_url, index_name, folder, change):
    with faces.index(index_name, url=redis_url, embedder=SentenceEmbedder(folder)) as index:
        faces.indexer(index).add([DOCUMENT])
    change(folder)
    with pytest.raises(SchemaMismatch, match=f"The files of the model in {folder} are not those that made") as refused:
        faces.index(index_name, url=redis_url, embedder=SentenceEmbedder(folder)).open()
    assert list(refused.value.differences) == ["content"]
    with (
        faces.index(index_name, url=redis_url) as index,
        pytest.raises(ModelNotFound, match=f"expected the model of this index in {folder}, got another one there"),
    ):
        faces.retriever(index).retrieve("cat")


def test_an_index_that_knows_only_the_path_of_its_model_still_opens(
    faces, redis_url, index_name, client, folder, monkeypatch
):
    key = f"ragknn:{index_name}:manifest"
    with faces.index(index_name, url=redis_url, embedder=SentenceEmbedder(folder)) as index:
        faces.indexer(index).add([DOCUMENT])
    manifest = json.loads(client.hget(key, "schema"))
    assert manifest.pop("content")
    assert manifest["identity"] == {"query_prompt": "", "document_prompt": ""}
    client.hset(key, "schema", json.dumps(manifest))
    for embedder in (SentenceEmbedder(folder), None):
        with faces.index(index_name, url=redis_url, embedder=embedder) as index:
            assert len(faces.retriever(index).retrieve("cat")) == 1
    moved = elsewhere(folder, monkeypatch)["as str"]
    way = rf"SentenceEmbedder\('{moved}', name='{folder}'\)"
    with pytest.raises(SchemaMismatch, match=f"If that one was only moved, name it as the index does: {way}"):
        faces.index(index_name, url=redis_url, embedder=SentenceEmbedder(moved)).open()
    with (
        faces.index(index_name, url=redis_url) as index,
        pytest.raises(ModelNotFound, match=rf"SentenceEmbedder\(FOLDER, name='{folder}'\)\)$"),
    ):
        faces.retriever(index).retrieve("cat")
    with faces.index(index_name, url=redis_url, embedder=SentenceEmbedder(moved, name=str(folder))) as index:
        assert faces.retriever(index).retrieve(DOCUMENT.text, 1).distances[0] == pytest.approx(0, abs=1e-5)


def test_the_default_model_is_known_by_its_name_alone(sentence_embedder, faces, redis_url, index_name, client):
    assert (sentence_embedder.name, sentence_embedder.content) == (DEFAULT_MODEL, None)
    with faces.index(index_name, url=redis_url, embedder=sentence_embedder):
        manifest = json.loads(client.hget(f"ragknn:{index_name}:manifest", "schema"))
    assert (manifest["embedder"], manifest["content"]) == (DEFAULT_MODEL, None)
    assert manifest["identity"] == {"query_prompt": "", "document_prompt": ""}


def test_a_copy_of_a_model_of_the_hub_opens_its_index_by_name(faces, redis_url, index_name, sentence_embedder):
    folder = str(find_weights(DEFAULT_MODEL))
    with faces.index(index_name, url=redis_url, embedder=sentence_embedder) as index:
        faces.indexer(index).add([DOCUMENT])
    with pytest.raises(SchemaMismatch, match=f"name it as the index does: .*, name='{DEFAULT_MODEL}'"):
        faces.index(index_name, url=redis_url, embedder=SentenceEmbedder(folder)).open()
    copy = SentenceEmbedder(folder, name=DEFAULT_MODEL, device="cpu")  # as the one that it is a copy of
    with faces.index(index_name, url=redis_url, embedder=copy) as index:
        assert faces.retriever(index).retrieve(DOCUMENT.text, 1).distances[0] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("path", ["/nowhere/model", "./model", "../model", "~/model", "~nobody-of-this-name/model"])
def test_a_path_without_a_folder_is_not_looked_for_on_the_hub(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ModelNotFound, match=f"named '{path}' in a folder or on the hub, got: there is no such folder"):
        SentenceEmbedder(path).embed_queries(["cat"])


def test_a_loaded_model_has_the_content_of_its_folder(folder):
    model = SentenceTransformer(str(folder), device="cpu")
    assert SentenceEmbedder(folder).content == content_of(folder)
    assert SentenceEmbedder(model, name="mine").content is None


def test_what_is_not_loaded_does_not_count(folder):
    before = content_of(folder)
    (folder / "README.md").write_text("changed")
    (folder / ".cache.json").mkdir()
    (folder / "eval_results.json").write_text("{}")
    (folder / "trainer_state.json").write_text("{}")
    (folder / "checkpoint-500").mkdir()
    (folder / "checkpoint-500" / WEIGHTS).write_bytes(b"x")
    (folder / "pytorch_model.bin").write_bytes(b"x")  # the loader prefers the other format
    assert content_of(folder) == before
    (folder / "config.json").write_text("{}")
    assert content_of(folder) != before


@pytest.mark.parametrize("modules", ["", "{}", "[1]", '[{"path": 3}]'])
def test_a_folder_without_a_list_of_modules_has_a_content_too(tmp_path, modules):
    (tmp_path / "modules.json").write_text(modules)
    before = content_of(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    assert content_of(tmp_path) != before


@pytest.mark.parametrize("place", [0, 1, 2])
def test_of_large_weights_each_tensor_counts_and_few_bytes_are_read(tmp_path, monkeypatch, place):
    monkeypatch.setattr(content, "_WHOLE", 1 << 20)
    sizes = {"a": 40, "b": 4_000_000, "c": 30}
    tensors = {name: np.zeros(size, dtype=np.float32) for name, size in sizes.items()}
    path = tmp_path / WEIGHTS
    save_file(tensors, path)
    before = content_of(tmp_path)
    assert content_of(tmp_path) == before
    name = "abc"[place]
    tensors[name][sizes[name] // 2 + 1] = 1
    save_file(tensors, path)
    assert content_of(tmp_path) != before
    with path.open("rb") as file:
        read = len(set(content._places(file, path.stat().st_size))) * 4096
    assert read < 4 << 20


def test_large_weights_of_another_format_have_a_content_too(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "_WHOLE", 1 << 10)
    for number, junk in enumerate(
        (b"PK\x03\x04", (1 << 40).to_bytes(8, "little"), (4).to_bytes(8, "little") + b"null")
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / WEIGHTS).write_bytes(junk + bytes(100_000))
        before = content_of(folder)
        (folder / WEIGHTS).write_bytes(junk + bytes(50_000) + b"x" + bytes(49_999))
        assert content_of(folder) != before


def test_weights_that_cannot_be_read_are_named(folder, monkeypatch):
    def refuse(path, remembered):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("ragknn.embedding.sentence.content_of", refuse)
    with pytest.raises(ModelNotFound, match=r"got a file that cannot be read: .*Permission denied"):
        _ = SentenceEmbedder(folder).content
