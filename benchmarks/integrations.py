"""Frameworks: many questions at the same time on one retriever, and the first result of a new process.

python -m benchmarks.integrations [--part PART] [--size N] [--tasks N] [--runs N] [--save FOLDER]

In a race of many questions, all stores hold the same documents on the same server, each as its library makes it by
default, and are asked through the framework's own methods (`ainvoke`, `aretrieve`). Ready vectors stand for the model.
"without ..." is ragknn's own `AsyncRetriever`. A first result is that of a whole process, from its start to its end: it
imports the framework and the store, makes an index of three texts on a server that runs already, and asks once; with
made vectors, and with the default model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from importlib import import_module
from typing import Any

import ragknn
from benchmarks.measuring.data import Source, nearest, recall
from benchmarks.measuring.processes import process
from benchmarks.measuring.program import run
from benchmarks.measuring.racing import OURS, Contender, Facts, Kind, Race, race
from benchmarks.measuring.results import LeftOut
from benchmarks.stores import as_frameworks
from benchmarks.stores.as_frameworks import Ask, Asking, lookup
from benchmarks.stores.choosing import server
from benchmarks.stores.first_results import FIRST, KINDS, NEEDS, WITH_MODEL, command

K = 4
CALLS = 10  # of which the median counts
NOT_INSTALLED = "not installed ({error}): pip install -r benchmarks/peers.txt"

Filled = Callable[..., AbstractContextManager[Any]]


def langchain(size: int, tasks: int, runs: int) -> Iterator[Race | LeftOut]:
    """Yield the race of as many `ainvoke` at once."""
    yield from _at_once(
        f"{tasks} ainvoke at once of a LangChain retriever",
        "LangChain",
        as_frameworks.langchain,
        {"langchain-redis": as_frameworks.langchain_redis},
        ask=lambda retriever: retriever.ainvoke,
        own=lambda retriever: retriever.vectorstore.async_index,
        text=lambda found: found.page_content,
        sizes=(size, tasks, runs),
    )


def llama_index(size: int, tasks: int, runs: int) -> Iterator[Race | LeftOut]:
    """Yield the race of as many `aretrieve` at once."""
    yield from _at_once(
        f"{tasks} aretrieve at once of a LlamaIndex retriever",
        "LlamaIndex",
        as_frameworks.llama_index,
        {"llama-index-vector-stores-redis": as_frameworks.llama_index_redis},
        ask=lambda retriever: retriever.aretrieve,
        own=lambda retriever: ragknn.AsyncIndex.like(retriever._vector_store.index),
        text=lambda found: found.node.text,
        sizes=(size, tasks, runs),
    )


def _at_once(
    name: str,
    framework: str,
    ours: Filled,
    peers: Mapping[str, Filled],
    *,
    ask: Callable[[Any], Ask],
    own: Callable[[Any], ragknn.AsyncIndex],
    text: Callable[[Any], str],
    sizes: tuple[int, int, int],
) -> Iterator[Race | LeftOut]:
    size, tasks, runs = sizes
    source = Source()
    documents, questions, vectors = source.documents(size), source.questions(tasks), source.vectors(tasks)
    truth, ready = nearest(documents.vectors, vectors, K), lookup(documents, questions, vectors)
    with ExitStack() as stack:
        url, asking = stack.enter_context(server()), stack.enter_context(Asking(questions))

        def contender(name: str, kind: Kind, one: Ask) -> Contender:
            def share_found() -> Facts:
                texts = [[text(each) for each in found] for found in asking.all_by(one)]
                return {"recall": round(recall(texts, truth, documents.texts), 4)}

            return Contender(name, lambda _: asking.all_by(one), kind=kind, facts=share_found)

        retriever = stack.enter_context(ours(url, documents, ready, K))
        bare = ragknn.AsyncRetriever(own(retriever))

        async def without(question: str) -> Any:
            return await bare.retrieve(question, K, vector=ready[question])

        contenders = [
            contender(OURS, "ours", ask(retriever)),
            Contender(f"without {framework}", lambda _: asking.all_by(without), kind="floor"),
        ]
        for peer, filled in peers.items():
            try:
                theirs = stack.enter_context(filled(url, documents, ready, K))
                contenders.append(contender(peer, "peer", ask(theirs)))
            except ImportError as error:
                yield LeftOut(peer, NOT_INSTALLED.format(error=error))
        yield race(name, contenders, runs=runs, calls=CALLS, work=tasks, unit="questions")


def first(framework: str, size: int, tasks: int, runs: int) -> Iterator[Race | LeftOut]:
    """Yield the race to a first result by a framework: with made vectors, and with the default model."""
    contenders = []
    with server() as url:
        for name, program in FIRST[framework].items():
            try:
                import_module(NEEDS.get(name, "ragknn"))
            except ImportError as error:
                yield LeftOut(name, NOT_INSTALLED.format(error=error))
            else:
                contenders.append(Contender(name, _asking_first(program, url), kind=KINDS.get(name, "peer")))
        yield race(f"first result: {framework}", contenders, runs=runs)
        if framework in WITH_MODEL:
            own = Contender(OURS, _asking_first(WITH_MODEL[framework], url), kind="ours")
            yield race(f"first result: {framework}, with the default model", [own], runs=runs)


def _asking_first(program: str, url: str) -> Callable[[int], None]:
    return lambda _: process(command(program, url))


PARTS = {
    "langchain": langchain,
    "llama-index": llama_index,
    "first-alone": partial(first, "ragknn alone"),
    "first-langchain": partial(first, "LangChain"),
    "first-llama-index": partial(first, "LlamaIndex"),
    "first-haystack": partial(first, "Haystack"),
    "first-mcp": partial(first, "MCP over stdio, client and server"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    run("integrations", __doc__, PARTS, arguments, size=2_000, tasks=50)


if __name__ == "__main__":
    main()
