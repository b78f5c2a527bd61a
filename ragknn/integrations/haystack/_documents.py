"""Documents of Haystack as passages of ragknn, and back: each is a document of one passage, both with its id."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

import numpy as np
from haystack import Document
from haystack.dataclasses import ByteStream, SparseEmbedding

from ragknn import Label, Passage
from ragknn.integrations.haystack._names import REST, shown_name, stored_name

# What stands for the text of a document that has neither text nor embedding: ragknn stores nothing that is empty.
_BLANK = " "


def as_passage(document: Document) -> Passage:
    """Return the passage that a document is stored as; its score is not.

    The entry `label` of the metadata is the passage's label, if it is a string or a number, so that neighbors can vote.

    Raises:
        ValueError: the metadata have an entry of a name that is not free.
    """
    if REST in document.meta:
        raise ValueError(f"document {document.id!r}: expected no entry {REST!r} in its meta: that name is not free")
    metadata, label = stored_meta(document.meta)
    if rest := _rest(document):
        metadata[REST] = json.dumps(rest, default=str)
    vector = None if document.embedding is None else np.asarray(document.embedding, dtype=np.float64)
    text = document.content or ("" if document.embedding is not None else _BLANK)
    return Passage(document.id, document.id, text, 0, 0, label, metadata, vector=vector)


def stored_meta(meta: Mapping[str, Any]) -> tuple[dict[str, Any], Label | None]:
    """Return the metadata as they are stored, and what of them is the label, or None."""
    metadata = {stored_name(name): value for name, value in meta.items()}
    label = metadata.get("label")
    return metadata, metadata.pop("label") if isinstance(label, str | int | float) else None


def meta_of(passage: Passage) -> dict[str, Any]:
    """Return the metadata of a passage's document.

    Those of a passage that ragknn has cut name what Haystack's own splitter would: the document and the page.
    """
    meta = {shown_name(name): value for name, value in passage.metadata.items() if name != REST}
    if passage.label is not None:
        meta.setdefault("label", passage.label)
    if passage.id != passage.document_id:
        meta.setdefault("source_id", passage.document_id)
    if passage.page is not None:
        meta.setdefault("page_number", passage.page)
    return meta


def as_document(passage: Passage, score: float | None = None) -> Document:
    """Return the document that a passage was made from, with its embedding if the passage was read with it."""
    rest = json.loads(passage.metadata[REST]) if REST in passage.metadata else {}
    blob, sparse = rest.get("blob"), rest.get("sparse_embedding")
    return Document(
        id=passage.id,
        content=rest.get("content", passage.text),
        blob=None if blob is None else ByteStream(**{**blob, "data": b64decode(blob["data"])}),
        meta=meta_of(passage),
        score=score,
        embedding=None if passage.vector is None else passage.vector.astype(np.float64).tolist(),
        sparse_embedding=None if sparse is None else SparseEmbedding.from_dict(sparse),
    )


def _rest(document: Document) -> dict[str, Any]:
    rest: dict[str, Any] = {}
    if not document.content:
        rest["content"] = document.content
    if (blob := document.blob) is not None:
        data = b64encode(blob.data).decode("ascii")
        rest["blob"] = {"data": data, "meta": blob.meta, "mime_type": blob.mime_type}
    if document.sparse_embedding is not None:
        rest["sparse_embedding"] = document.sparse_embedding.to_dict()
    return rest
