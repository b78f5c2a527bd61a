"""Documents of LangChain and passages of ragknn, each made of the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from langchain_core.documents import Document
from numpy.typing import ArrayLike

from ragknn import Neighbor, Passage, Retrieval


def as_documents(texts: Iterable[str], metadatas: Sequence[Mapping[str, Any]] | None) -> list[Document]:
    """Return documents of texts.

    Raises:
        TypeError: a str in place of several texts.
        ValueError: the numbers differ.
    """
    if isinstance(texts, str):
        raise TypeError("expected several texts, got a str: put one text into a list")
    several = list(texts)
    if metadatas is not None and len(metadatas) != len(several):
        raise ValueError(f"expected as many metadatas as texts, {len(several)}, got {len(metadatas)}")
    return [
        Document(page_content=text, metadata=dict(metadata or {}))
        for text, metadata in zip(several, metadatas or [{}] * len(several), strict=True)
    ]


def passages_of(
    documents: Sequence[Document],
    ids: Sequence[str | None] | None,
    vectors: Sequence[ArrayLike] | None,
    document_key: str | None,
    label_key: str | None,
) -> tuple[list[Passage], set[str]]:
    """Return the documents as passages, in their order, and which of their ids were given.

    Raises:
        ValueError: another number of ids or vectors, an id twice, or a document without text and vector.
    """
    for what, several in (("ids", ids), ("vectors", vectors)):
        if several is not None and len(several) != len(documents):
            raise ValueError(f"expected as many {what} as documents, {len(documents)}, got {len(several)}")
    named = [one.id for one in documents] if ids is None else list(ids)
    given = [one for one in named if one]
    if len(set(given)) < len(given):
        twice = next(one for one in given if given.count(one) > 1)
        raise ValueError(f"expected each id once, got {twice!r} more than once: nothing was stored")
    passages = []
    for number, (document, name) in enumerate(zip(documents, named, strict=True)):
        own = name or str(uuid4())
        text, metadata = document.page_content, document.metadata
        vector = None if vectors is None else vectors[number]
        if not text and vector is None:
            raise ValueError(f"expected text in each document, got none in number {number}: nothing was stored")
        source = metadata.get(document_key) if document_key else None
        belongs = source is not None and source != ""
        start = _start(metadata) if belongs else 0
        passages.append(
            Passage(
                own,
                str(source) if belongs else own,
                text,
                start or 0,
                0 if start is None else start + len(text),
                metadata.get(label_key) if label_key else None,
                metadata,
                vector=vector,  # type: ignore[arg-type]  # anything like an array is taken
            )
        )
    return passages, set(given)


def _start(metadata: Mapping[str, Any]) -> int | None:
    """Return where a passage begins in its document, as LangChain's splitters tell it; that of a page does not."""
    start = metadata.get("start_index")
    return start if type(start) is int and start >= 0 and "page" not in metadata else None


def by_document(passages: Iterable[Passage]) -> list[Passage]:
    """Return the passages with those of one document one after the other."""
    groups: dict[str, list[Passage]] = {}
    for passage in passages:
        groups.setdefault(passage.document_id, []).append(passage)
    return [passage for group in groups.values() for passage in group]


def document_of(passage: Passage) -> Document:
    """Return a passage as a document with the metadata that it came with."""
    return Document(id=passage.id, page_content=passage.text, metadata=dict(passage.metadata))


def documents_of(retrieval: Retrieval) -> list[Document]:
    """Return the passages of a retrieval as documents."""
    return [document_of(neighbor.passage) for neighbor in retrieval]


def told_of(neighbor: Neighbor, *, complete: bool) -> Document:
    """Return a passage as a document whose metadata also tell how it was found and where it is from."""
    passage = neighbor.passage
    place = {
        "document_id": passage.document_id,
        "label": passage.label,
        "page": passage.page,
        "headings": list(passage.headings) or None,
        "start": passage.start,
        "end": passage.end,
    }
    found = {"distance": neighbor.distance, "similarity": neighbor.similarity, "complete": complete}
    if neighbor.score is not None:
        found["score"] = neighbor.score
    told = {name: value for name, value in place.items() if value is not None}
    return Document(id=passage.id, page_content=passage.text, metadata={**told, **passage.metadata, **found})
