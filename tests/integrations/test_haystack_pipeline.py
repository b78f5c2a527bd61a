"""Whole pipelines of Haystack over the store: written down, loaded again, and run in both worlds; and in trouble."""

import asyncio
import subprocess
import sys

import pytest
from haystack import Document, Pipeline
from haystack.components.builders import PromptBuilder
from haystack.components.converters import TextFileToDocument
from haystack.components.preprocessors import DocumentSplitter
from haystack.components.retrievers import SentenceWindowRetriever
from haystack.components.writers import DocumentWriter
from haystack.document_stores.errors import DocumentStoreError
from haystack.document_stores.types import DuplicatePolicy
from haystack.utils import Secret
from haystack_stores import EmbedDocuments, EmbedText, ids, where
from servers import private_server

from haystack_integrations.components.retrievers.ragknn import RagKNNHybridRetriever
from haystack_integrations.document_stores.ragknn import RagKNNDocumentStore

TEXTS = {
    "rent.txt": "The rent is due on the third day. The deposit is two months of rent. It is paid back at the end.",
    "fern.txt": "The fern wants water twice a week. It does not like the sun. In winter it rests in the hall.",
}
PROMPT = """Answer from this:
{% for one in documents %}- {{ one.content }}
{% endfor %}Question: {{ question }}"""


@pytest.fixture
def files(tmp_path):
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return [str(tmp_path / name) for name in TEXTS]


def storing(store):
    pipeline = Pipeline()
    pipeline.add_component("read", TextFileToDocument())
    pipeline.add_component("split", DocumentSplitter(split_by="period", split_length=1))
    pipeline.add_component("embed", EmbedDocuments())
    pipeline.add_component("write", DocumentWriter(store, policy=DuplicatePolicy.OVERWRITE))
    for one, other in (("read", "split"), ("split", "embed"), ("embed", "write")):
        pipeline.connect(f"{one}.documents", f"{other}.documents")
    return pipeline


def asking(store):
    pipeline = Pipeline()
    pipeline.add_component("embed", EmbedText())
    pipeline.add_component("find", RagKNNHybridRetriever(store, top_k=2))
    pipeline.add_component("prompt", PromptBuilder(PROMPT, required_variables="*"))
    pipeline.connect("embed.embedding", "find.query_embedding")
    pipeline.connect("find.documents", "prompt.documents")
    return pipeline


def inputs(question):
    return {"embed": {"text": question}, "find": {"query": question}, "prompt": {"question": question}}


def test_pipelines_store_and_find_the_same_after_they_were_written_down(files, redis_url, index_name, monkeypatch):
    monkeypatch.setenv("THE_URL", redis_url)
    store = RagKNNDocumentStore(index_name, url=Secret.from_env_var("THE_URL"), fields={"meta.split_id": "numeric"})
    written = [pipeline(store).dumps() for pipeline in (storing, asking)]
    assert all(index_name in one and redis_url not in one for one in written)
    store_again, ask_again = (Pipeline.loads(one, allowed_modules=["haystack_stores"]) for one in written)
    for pipeline, again in ((storing, store_again), (asking, ask_again)):
        assert again.to_dict()["components"] == pipeline(store).to_dict()["components"]
    for _ in range(2):  # the ids come from what is in the documents, so that nothing is stored twice
        assert store_again.run({"read": {"sources": files}}) == {"write": {"documents_written": 6}}
        assert store.count_documents() == 6
    question = "when is the rent due?"
    prompt = ask_again.run(inputs(question))["prompt"]["prompt"]
    assert prompt.startswith("Answer from this:\n- The rent is due on the third day.\n")
    assert asking(store).run(inputs(question))["prompt"]["prompt"] == prompt

    async def ask():
        found = await asking(store).run_async(inputs(question))
        await store.close_async()
        return found["prompt"]["prompt"]

    assert asyncio.run(ask()) == asyncio.run(ask()) == prompt
    # What Haystack's own components ask of a store.
    [best] = store.bm25_retrieval("deposit", top_k=1)
    around = SentenceWindowRetriever(store, window_size=1).run(retrieved_documents=[best])
    assert around["context_windows"] == [TEXTS["rent.txt"]]
    for one in (store_again.get_component("write"), ask_again.get_component("find")):
        one.document_store.close()
    store.close()


LOAD = """
import sys
from haystack import Pipeline
pipeline = Pipeline.loads(sys.stdin.read())
print(pipeline.run({"find": {"query": "rent", "query_embedding": [1.0, 0.0]}})["find"]["documents"][0].id)
"""


def test_another_process_loads_a_pipeline_by_its_names_alone(redis_url, index_name):
    store = RagKNNDocumentStore(index_name, url=redis_url)
    store.write_documents([Document(id="a", content="the rent", embedding=[1.0, 0.5])])
    store.close()
    pipeline = Pipeline()
    pipeline.add_component("find", RagKNNHybridRetriever(store))
    done = subprocess.run([sys.executable, "-c", LOAD], input=pipeline.dumps(), capture_output=True, text=True)
    assert done.stdout == "a\n", done.stderr


def test_without_haystack_the_error_says_what_to_install():
    script = "import sys; sys.modules['haystack'] = None; import ragknn; import ragknn.integrations.haystack"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "MissingDependency: ragknn.integrations.haystack needs the package haystack-ai" in done.stderr
    assert "pip install 'ragknn[haystack]'" in done.stderr


# ---- in trouble -------------------------------------------------------------------------------------------------


def documents(n, text="text"):
    return [Document(id=f"d{one:04}", content=f"{text} {one}", embedding=[1.0, float(one)]) for one in range(n)]


@pytest.mark.usefixtures("no_pauses")
def test_after_the_server_died_the_next_call_works(tmp_path):
    with asyncio.Runner() as runner:
        with private_server(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as url:
            store = RagKNNDocumentStore("kept", url=url)
            store.write_documents(documents(3))
            assert runner.run(store.count_documents_async()) == 3
        for call in (
            lambda: store.write_documents(documents(4), DuplicatePolicy.SKIP),
            lambda: runner.run(store.bm25_retrieval_async("text")),
        ):
            with pytest.raises(DocumentStoreError, match="expected Redis at"):
                call()
        with private_server(tmp_path, "--appendonly", "yes"):
            assert store.count_documents() == runner.run(store.count_documents_async()) == 3
            assert store.write_documents(documents(4), DuplicatePolicy.SKIP) == 1
            assert ids(runner.run(store.filter_documents_async())) == ids(documents(4))
            runner.run(store.close_async())
        store.close()


def test_a_cancelled_write_leaves_whole_documents_and_the_next_one_works(redis_url, index_name):
    before, after = documents(300, "before"), documents(300, "after")
    store = RagKNNDocumentStore(index_name, url=redis_url, dtype="float64")

    async def cancel():
        await store.write_documents_async(before)
        writing = asyncio.create_task(store.write_documents_async(after, DuplicatePolicy.OVERWRITE))
        while not await store.bm25_retrieval_async("after", top_k=1):
            pass
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        found = await store.filter_documents_async()
        assert await store.write_documents_async(after, DuplicatePolicy.OVERWRITE) == 300
        then = await store.filter_documents_async()
        await store.close_async()
        return found, then

    found, then = asyncio.run(cancel())
    assert all(one in (old, new) for one, old, new in zip(found, before, after, strict=True))
    assert then == after


def test_many_tasks_and_event_loops_share_a_store_that_none_has_opened(redis_url, index_name):
    RagKNNDocumentStore(index_name, url=redis_url).write_documents(documents(50))
    store = RagKNNDocumentStore(index_name, url=redis_url)

    async def ask_all():
        asked = [store.embedding_retrieval_async([1.0, 1.0], where("id", "==", f"d{n:04}")) for n in range(50)]
        found = await asyncio.gather(*asked)
        await store.close_async()
        return [one.id for [one] in found]

    assert asyncio.run(ask_all()) == asyncio.run(ask_all()) == ids(documents(50))
