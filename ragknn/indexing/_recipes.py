"""How texts become passages and vectors: by a splitter and an embedder; and what an index keeps of the latter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from ragknn._protocol.schema import Schema
from ragknn.embedding.protocols import Embedder, Identified, Located, Tokenizing
from ragknn.indexing._drafts import Cut, Drafting, drafting_documents
from ragknn.indexing._line import Embedding
from ragknn.records import Passage
from ragknn.text._folding import fold, folding
from ragknn.text._measures import TokenSpans
from ragknn.text.splitting import Splitter

Reads: TypeAlias = tuple[TokenSpans | None, int | None]
"""What finds the tokens of a text, None for words; and how many of them a model reads."""


def reads_of(embedder: Embedder) -> Reads:
    """Return how an embedder counts a text, and how much of one it reads."""
    return folding(embedder.token_spans) if isinstance(embedder, Tokenizing) else None, embedder.max_tokens


def cutting(splitter: Splitter, reads: Reads) -> tuple[Cut, Callable[[Passage], str]]:
    """Return what cuts a document, and what makes the text that is embedded for a passage."""
    return (
        lambda document: splitter.split(document, *reads),
        lambda passage: splitter.embedded_text(passage, *reads),
    )


def recipe(
    schema: Schema, splitter: Splitter, embedder: Embedder, before: Splitter | None = None
) -> tuple[Drafting, Embedding]:
    """Return what makes drafts of documents, and what embeds the texts of their passages.

    Args:
        schema: of the index that they are for.
        splitter: how they are cut.
        embedder: what embeds them.
        before: by which they were cut before, if that is known to be another one.
    """
    made = cutting(splitter, reads_of(embedder))
    return drafting_documents(schema, splitter, *made, before=before), embedding_by(embedder)


def embedding_by(embedder: Embedder) -> Embedding:
    """Return what embeds the texts of passages, folded."""
    return lambda texts: embedder.embed_documents([fold(text) for text in texts])


def embedder_properties(embedder: Embedder) -> dict[str, Any]:
    """Return what an index keeps of its embedder."""
    identity = dict(embedder.identity) if isinstance(embedder, Identified) else {}
    content = embedder.content if isinstance(embedder, Located) else None
    properties = {"embedder": embedder.name, "dim": embedder.dim, "identity": identity}
    return {**properties, "content": content} if content else properties
