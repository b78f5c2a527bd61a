"""For tests with Haystack: a way to call async methods like the others, filters, and components that embed."""

import asyncio

from haystack import Document, component

from ragknn import HashingEmbedder

EMBEDDER = HashingEmbedder(32)


class Awaited:
    """Calls the async twin of each method on a loop of its own, to its end."""

    def __init__(self, store, loop: asyncio.AbstractEventLoop) -> None:
        self.store, self._loop = store, loop

    def __getattr__(self, name):
        method = getattr(self.store, f"{name}_async")
        return lambda *args, **kwargs: self._loop.run_until_complete(method(*args, **kwargs))


@component
class EmbedText:
    """Stands in for a component that embeds a question with a model."""

    @component.output_types(embedding=list[float])
    def run(self, text: str):
        return {"embedding": EMBEDDER.embed_queries([text])[0].tolist()}


@component
class EmbedDocuments:
    """Stands in for a component that embeds documents with a model."""

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]):
        vectors = EMBEDDER.embed_documents([one.content for one in documents]).tolist()
        pairs = zip(documents, vectors, strict=True)
        return {"documents": [Document(one.id, one.content, meta=one.meta, embedding=vector) for one, vector in pairs]}


def where(field, operator, value):
    return {"field": field, "operator": operator, "value": value}


def both(*conditions):
    return {"operator": "AND", "conditions": list(conditions)}


def ids(documents):
    return [one.id for one in documents]
