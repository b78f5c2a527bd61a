"""Retrievals and votes are spans where the program wants them, and cost nothing where it does not."""

import asyncio
import json
import os
import sys

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from scripts import run_python
from servers import private_server

from ragknn import (
    AsyncIndex,
    AsyncRetriever,
    ConnectionFailed,
    Document,
    HashingEmbedder,
    Index,
    Indexer,
    Retriever,
    TextTooLong,
)
from ragknn.retrieval import _asking, _spans

DOCUMENTS = [Document(f"d{n}", f"letter {n} on pears, which is a secret", "ab"[n % 2]) for n in range(12)]
MODEL = "ragknn/hashing-64"


@pytest.fixture(scope="module")
def url(redis_url):
    with Index("traced", url=redis_url, embedder=HashingEmbedder(64)) as index:
        Indexer(index).add(DOCUMENTS)
        yield redis_url
        index.drop()


def ended(recorder, name="retrieval traced"):
    return [one for one in recorder.ended if one.name == name]


# Of each call: how it is made, then the number of questions, of neighbors, and of embeddings.
CALLS = {
    "retrieve": (lambda retriever, _: retriever.retrieve("letter 3", 3), 1, 3, 1),
    "retrieve_many": (lambda retriever, _: retriever.retrieve_many(["letter 3", "letter 4"], 3), 2, 6, 1),
    "retrieve_any": (lambda retriever, _: retriever.retrieve_any(["letter 3", "letter 4"], 3), 2, 3, 1),
    "retrieve_like": (lambda retriever, _: retriever.retrieve_like("letter 3", ["on pears"], 3), 1, 3, 1),
    "kneighbors": (lambda retriever, _: retriever.kneighbors(np.ones((2, 64)), np.int64(3)), None, 6, 0),
    "vote": (lambda _, voter: voter.vote("letter 3"), 1, 3, 1),
    "predict": (lambda _, voter: voter.predict(["letter 3", "letter 4"]), 2, 6, 1),
    "predict_proba": (lambda _, voter: voter.predict_proba(vectors=np.ones((2, 64))), None, 6, 0),
}


@pytest.mark.parametrize("name", CALLS)
def test_each_call_is_a_span_with_one_for_the_model_within(faces, url, recorder, name):
    call, queries, neighbors, embeddings = CALLS[name]
    with faces.index("traced", url=url) as index:
        retriever = faces.retriever(index)
        call(retriever, faces.voter(retriever, k=3))
    [*embedding, span] = recorder.ended
    assert (span.name, span.kind, span.status.status_code) == ("retrieval traced", SpanKind.CLIENT, StatusCode.UNSET)
    told = dict(span.attributes)
    assert told.pop("server.address")
    told.pop("server.port", None)
    assert told.pop("ragknn.queries", None) == queries
    assert told == {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": "traced",
        "gen_ai.request.model": MODEL,
        "gen_ai.request.top_k": 3,
        "gen_ai.retrieval.top_k": 3,
        "db.system.name": "redis",
        "ragknn.operation": "vote" if name in ("vote", "predict", "predict_proba") else "retrieve",
        "ragknn.mode": "vector",
        "ragknn.complete": True,
        "ragknn.neighbors": neighbors,
    }
    assert [(one.name, one.parent) for one in embedding] == [(f"embeddings {MODEL}", span)] * embeddings
    assert all(
        one.attributes == {"gen_ai.operation.name": "embeddings", "gen_ai.request.model": MODEL} for one in embedding
    )


@pytest.mark.parametrize("mode", ["text", "hybrid"])
def test_a_span_tells_the_mode_and_a_search_for_words_has_none_for_the_model(faces, url, recorder, mode):
    with faces.index("traced", url=url) as index:
        faces.retriever(index).retrieve("letter 3", 1, mode=mode)
    assert [one.attributes["ragknn.mode"] for one in ended(recorder)] == [mode]
    assert len(recorder.ended) == (1 if mode == "text" else 2)


def test_texts_and_ids_are_in_spans_only_when_they_are_wanted(faces, url, recorder, monkeypatch):
    with faces.index("traced", url=url) as index:
        faces.retriever(index).retrieve("letter 3", 1, where={"document_id": "d3"})
    assert not any(word in str(recorder.ended) for word in ("letter", "d3"))
    monkeypatch.setenv("RAGKNN_TRACE_CONTENT", "1")
    with faces.index("traced", url=url) as index:
        faces.retriever(index).retrieve("letter 3", 1)
        faces.retriever(index).retrieve("letter 3", 1, mode="text")
    by_vector, by_words = ended(recorder)[-2:]
    assert by_vector.attributes["gen_ai.retrieval.query.text"] == "letter 3"
    [found] = json.loads(by_vector.attributes["gen_ai.retrieval.documents"])
    assert found["id"] == "d3#0"
    assert 0 < found["score"] <= 1
    assert json.loads(by_words.attributes["gen_ai.retrieval.documents"])[0]["score"] > 0


@pytest.mark.usefixtures("no_pauses")
def test_what_goes_wrong_ends_the_spans_with_its_kind_and_nothing_of_its_words(faces, tmp_path, recorder):
    class Strict(HashingEmbedder):
        def embed_queries(self, texts):
            raise TextTooLong(f"expected less than {texts}")

    with private_server(tmp_path) as url:
        index = faces.index("traced", url=url, embedder=Strict(64))
        index.open()
        retriever = faces.retriever(index)
        with pytest.raises(ValueError, match="got 'secret'"):
            retriever.retrieve("letter", where={"secret": 1})
        with pytest.raises(TextTooLong, match="letter"):
            retriever.retrieve("letter")
    with pytest.raises(ConnectionFailed):
        retriever.kneighbors(np.ones((1, 64)))
    index.close()
    assert [one.attributes["error.type"] for one in ended(recorder)] == [
        "ValueError",
        "TextTooLong",
        "ConnectionFailed",
    ]
    [embedding] = ended(recorder, f"embeddings {MODEL}")
    assert embedding.attributes["error.type"] == "TextTooLong"
    assert all(one.status.status_code == StatusCode.ERROR for one in recorder.ended)
    assert not any(one.events or one.status.description for one in recorder.ended)
    assert not any(word in str(recorder.ended) for word in ("letter", "secret"))


def test_a_task_that_is_cancelled_ends_its_span(url, recorder):
    async def cancelling():
        async with AsyncIndex("traced", url=url) as index:
            task = asyncio.create_task(AsyncRetriever(index).retrieve("letter"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancelling())
    [span] = ended(recorder)
    assert span.attributes["error.type"] == "CancelledError"


class Traced(HashingEmbedder):
    """An embedder with a span of its own."""

    tracer = None

    def embed_queries(self, texts):
        with self.tracer.start_as_current_span("own"):
            return super().embed_queries(texts)


def test_spans_of_the_caller_are_around_and_those_of_the_embedder_within(url, recorder):
    embedder = Traced(64)
    embedder.tracer = recorder
    with Index("traced", url=url, embedder=embedder) as index, recorder.start_as_current_span("caller") as caller:
        Retriever(index).retrieve("letter")
        assert trace.get_current_span() is caller
    spans = {one.name: one for one in recorder.ended}
    assert spans["own"].parent is spans[f"embeddings {MODEL}"]
    assert spans[f"embeddings {MODEL}"].parent is spans["retrieval traced"]
    assert spans["retrieval traced"].parent is caller


def test_each_of_many_tasks_has_its_spans_within_its_own(url, recorder):
    embedder = Traced(64)
    embedder.tracer = recorder

    async def ask(retriever, number):
        with recorder.start_as_current_span(f"caller {number}") as caller:
            await retriever.retrieve(f"letter {number}", 1)
            assert trace.get_current_span() is caller
            await retriever.retrieve(f"letter {number}", 1)

    async def asking():
        async with AsyncIndex("traced", url=url, embedder=embedder) as index:
            retriever = AsyncRetriever(index)
            await asyncio.gather(*(ask(retriever, number) for number in range(8)))

    asyncio.run(asking())
    around = [one.parent.parent.parent.name for one in ended(recorder, "own")]
    assert sorted(around) == sorted(f"caller {number}" for number in range(8) for _ in range(2))
    assert recorder.begun == len(recorder.ended) == 8 * (1 + 2 * 3)


def test_without_a_provider_a_flow_is_run_as_it_is(faces, url, recorder, monkeypatch):
    with faces.index("traced", url=url) as index:
        retriever = faces.retriever(index)

        def name_of_the_flow():
            return _asking.asking(faces.bare(retriever), ["letter"], 3, {}).steps.gi_code.co_name

        assert name_of_the_flow() == "_tracing"
        for silent in (trace.NoOpTracerProvider(), trace.ProxyTracerProvider()):
            monkeypatch.setattr(trace, "get_tracer_provider", lambda silent=silent: silent)
            monkeypatch.setattr(_spans, "RetrievalSpan", None)  # nor is any made
            assert name_of_the_flow() == "asking"
            retriever.retrieve("letter")
    assert recorder.begun == 0


def test_a_provider_that_a_program_sets_is_found_and_nothing_of_opentelemetry_is_imported_before(url):
    script = f"""
import sys
imported = []

class Asked:
    def find_spec(self, name, *rest):
        if name.startswith("opentelemetry"):
            caller = sys._getframe(1)
            while "importlib" in caller.f_code.co_filename:
                caller = caller.f_back
            imported.append(caller.f_globals["__name__"])

sys.meta_path.insert(0, Asked())
from ragknn import Index, Retriever
with Index("traced", url={url!r}) as index:
    Retriever(index, timed=True).retrieve("letter")
    print([name for name in imported if name.startswith("ragknn")])
    print("opentelemetry.trace" in sys.modules)
    from opentelemetry import trace
    from recording import Recorder
    recorder = Recorder()
    trace.set_tracer_provider(recorder)
    Retriever(index).retrieve("letter")
    print(len(recorder.ended))
"""
    assert run_python(script, PYTHONPATH=os.pathsep.join(filter(None, sys.path))).split() == ["[]", "False", "2"]
