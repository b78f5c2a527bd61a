"""The components that embed: the same vectors as ragknn's own embedder, in both worlds, written down and loaded."""

import asyncio
import json

import pytest
from haystack import Document, Pipeline
from small_models import small_model

from haystack_integrations.components.embedders.ragknn import RagKNNDocumentEmbedder, RagKNNTextEmbedder
from ragknn import SentenceEmbedder
from ragknn.embedding import embed_documents, embed_queries


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(small_model(tmp_path_factory.mktemp("model"), prompts={"query": "ask: ", "document": ""}))


LONG = "rent and water " * 30  # more than the model reads
DOCUMENTS = [
    Document(id="1", content="the rent", meta={"title": "Letter", "year": 2024}),
    Document(id="2", content=LONG, embedding=[1.0]),
    Document(id="3", content=None, meta={"title": "A picture"}),
    Document(id="4", content=""),
]


def test_vectors_are_those_of_ragknn_however_long_the_text(model):
    plain = SentenceEmbedder(model, backend="torch")
    embedder = RagKNNDocumentEmbedder(model, backend="torch")
    embedder.warm_up()
    found = embedder.run(DOCUMENTS)["documents"]
    assert asyncio.run(embedder.run_async(DOCUMENTS))["documents"] == found
    assert [one.embedding is None for one in found] == [False, False, True, True]
    vectors, _ = embed_documents(plain, ["the rent", LONG])
    assert [found[0].embedding, found[1].embedding] == vectors.tolist()
    assert [(one.id, one.content, one.meta) for one in found] == [(one.id, one.content, one.meta) for one in DOCUMENTS]
    assert (DOCUMENTS[0].embedding, DOCUMENTS[1].embedding) == (None, [1.0])
    asker = RagKNNTextEmbedder(model, backend="torch")
    [[vector], _] = embed_queries(plain, [LONG])
    assert asker.run(LONG) == asyncio.run(asker.run_async(LONG)) == {"embedding": vector.tolist()}
    assert embedder.run([])["documents"] == []
    assert asker.embedder is embedder.embedder  # loaded once


def test_entries_of_the_metadata_are_embedded_before_the_text(model):
    embedder = RagKNNDocumentEmbedder(
        model, backend="torch", meta_fields_to_embed=["title", "year", "nobody"], embedding_separator=" / "
    )
    found = embedder.run(DOCUMENTS)["documents"]
    vectors, _ = embed_documents(embedder.embedder, ["Letter / 2024 / the rent", LONG, "A picture"])
    assert [one.embedding for one in found] == [*vectors.tolist(), None]


def test_they_are_the_same_after_they_were_written_down(model):
    pipeline = Pipeline()
    pipeline.add_component("ask", RagKNNTextEmbedder(model, "torch", "cpu"))
    pipeline.add_component("tell", RagKNNDocumentEmbedder(meta_fields_to_embed=["title"], truncate_dim=64))
    again = Pipeline.loads(pipeline.dumps())
    assert again.to_dict()["components"] == pipeline.to_dict()["components"]
    written = json.dumps(again.to_dict())
    assert '"haystack_integrations.components.embedders.ragknn.RagKNNTextEmbedder"' in written
    assert again.get_component("ask").run("rent") == pipeline.get_component("ask").run("rent")


def test_what_is_no_text_is_refused_with_the_component_that_takes_it(model):
    for wrong, message in (
        (lambda: RagKNNTextEmbedder(model).run(DOCUMENTS), "documents are for RagKNNDocumentEmbedder"),
        (lambda: RagKNNDocumentEmbedder(model).run("rent"), "a question is for RagKNNTextEmbedder"),
        (lambda: RagKNNDocumentEmbedder(model).run(["rent"]), "expected a list of haystack"),
    ):
        with pytest.raises(TypeError, match=message):
            wrong()
    with pytest.raises(ValueError, match="expected backend"):
        RagKNNTextEmbedder(model, backend="abacus")
