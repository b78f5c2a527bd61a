"""LangChain's own indexing, which adds what is new and deletes what is gone, in all its ways of cleaning up."""

import asyncio

import pytest
from embedders import CountingEmbedder
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, aindex, index

from ragknn.integrations.langchain import RagKNNVectorStore


def chunks(**of_sources):
    return [
        Document(page_content=text, metadata={"source": source})
        for source, texts in of_sources.items()
        for text in texts.split()
    ]


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def run(request, redis_url, index_name):
    embedder = CountingEmbedder()

    def build(document_key):
        store = RagKNNVectorStore(index_name, embedder, url=redis_url, document_key=document_key)
        records = InMemoryRecordManager("tests")
        records.create_schema()

        def indexed(documents, cleanup):
            size = 3 if cleanup == "incremental" else 2  # which does sources in several batches over and over
            options = {"source_id_key": "source", "cleanup": cleanup, "key_encoder": "sha256", "batch_size": size}
            before = len(embedder.texts)

            if request.param:
                counts = asyncio.run(aindex(documents, records, store, **options))
            else:
                counts = index(documents, records, store, **options)
            told = tuple(counts[f"num_{what}"] for what in ("added", "updated", "skipped", "deleted"))
            there = sorted((one.metadata["source"], one.text) for one in store.index.passages())
            return told, there, len(embedder.texts) - before

        return store, indexed

    return build


def held(**of_sources):
    return sorted((source, text) for source, texts in of_sources.items() for text in texts.split())


@pytest.mark.parametrize("document_key", [None, "source"])
@pytest.mark.parametrize(
    ("cleanup", "left"),
    [
        (None, held(one="a b c d", two="x y")),
        ("incremental", held(one="b c d", two="x y")),
        ("scoped_full", held(one="b c d", two="x y")),
        ("full", held(one="b c d")),
    ],
)
def test_the_index_ends_as_it_should(run, document_key, cleanup, left):
    store, indexed = run(document_key)
    told, there, embedded = indexed(chunks(one="a b c", two="x y"), cleanup)
    assert (told, there, embedded) == ((5, 0, 0, 0), held(one="a b c", two="x y"), 5)
    assert indexed(chunks(one="a b c", two="x y"), cleanup)[::2] == ((0, 0, 5, 0), 0)
    told, there, embedded = indexed(chunks(one="b c d"), cleanup)
    assert (told[:3], there, embedded) == ((1, 0, 2), left, 1)
    assert told[3] == 6 - len(left)
    assert store.index.count_documents() == (len({source for source, _ in left}) if document_key else len(left))
    assert store.index.check().is_sound
    asyncio.run(store.aclose())
