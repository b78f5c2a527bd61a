"""Frameworks: many questions at the same time on one retriever of LangChain, beside that of langchain-redis.

python -m benchmarks.integrations [--part PART] [--size N] [--tasks N] [--runs N] [--save FOLDER]

Both stores hold the same documents on the same server, each as its library makes it by default, and are asked through
LangChain's own `ainvoke`. Ready vectors stand for the model. "without LangChain" is ragknn's own `AsyncRetriever`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import ragknn
from benchmarks.measuring.data import Source, nearest, recall
from benchmarks.measuring.program import run
from benchmarks.measuring.racing import OURS, Contender, Facts, Kind, Race, race
from benchmarks.measuring.results import LeftOut
from benchmarks.stores.as_frameworks import Asking, langchain_redis, lookup, ours
from benchmarks.stores.choosing import server

K = 4
CALLS = 10  # of which the median counts


def langchain(size: int, tasks: int, runs: int) -> Iterator[Race | LeftOut]:
    """Yield the race of as many `ainvoke` at once."""
    source = Source()
    documents, questions, vectors = source.documents(size), source.questions(tasks), source.vectors(tasks)
    truth = nearest(documents.vectors, vectors, K)
    embeddings = lookup(documents, questions, vectors)
    with ExitStack() as stack:
        url, asking = stack.enter_context(server()), stack.enter_context(Asking(questions))

        def contender(name: str, kind: Kind, retriever: Any) -> Contender:
            def share_found() -> Facts:
                return {"recall": round(recall(asking.texts(retriever), truth, documents.texts), 4)}

            return Contender(name, lambda _: asking.all_by(retriever.ainvoke), kind=kind, facts=share_found)

        retriever = stack.enter_context(ours(url, documents, embeddings, K))
        bare = ragknn.AsyncRetriever(retriever.vectorstore.async_index)
        contenders = [
            contender(OURS, "ours", retriever),
            Contender("without LangChain", lambda _: asking.all_by(partial(bare.retrieve, k=K)), kind="floor"),
        ]
        try:
            theirs = stack.enter_context(langchain_redis(url, documents, embeddings, K))
            contenders.append(contender("langchain-redis", "peer", theirs))
        except ImportError as error:
            yield LeftOut("langchain-redis", f"not installed ({error}): pip install -r benchmarks/peers.txt")
        name = f"{tasks} ainvoke at once of a LangChain retriever"
        yield race(name, contenders, runs=runs, calls=CALLS, work=tasks, unit="questions")


PARTS = {"langchain": langchain}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    run("integrations", __doc__, PARTS, arguments, size=2_000, tasks=50)


if __name__ == "__main__":
    main()
