"""From nodes to passages, and back.

A node is a passage of the document that it was cut from: its `ref_doc_id`, or for a node without one itself. Its
metadata are those of the passage, so that they can be filtered on. What else a node has is kept in one more entry, in
a list, in which an index looks for nothing to filter on; text, offsets and metadata are not kept twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    MetadataMode,
    Node,
    NodeRelationship,
    ObjectType,
    RelatedNodeInfo,
    TextNode,
)

from ragknn import Label, Passage

# The entry of a passage's metadata with what a node has beyond text, offsets and metadata.
CONTENT = "_node"

_CLASSES: Mapping[str, type[BaseNode]] = {
    each.class_name(): each for each in (Node, TextNode, ImageNode, IndexNode, Document, ImageDocument)
}
_ELSEWHERE = {"id_", "embedding", "metadata", "text"}  # in the passage itself
_KEYS = "metadata_keys"  # their order, which the hash of a node depends on


def passages_of(nodes: Iterable[BaseNode], label_key: str | None) -> list[Passage]:
    """Return the nodes as passages, those of one document together.

    Raises:
        TypeError: something else than nodes.
        ValueError: a node without an embedding, embeddings of several sizes, an id twice, metadata with the entry that
            is used here, or a label that is none.
    """
    nodes = list(nodes)
    for node in nodes:
        if not isinstance(node, BaseNode):
            raise TypeError(f"expected nodes, got {node!r} of type {type(node).__name__}")
    if repeated := [one for one, count in Counter(node.node_id for node in nodes).items() if count > 1]:
        raise ValueError(f"expected each node id once in a call, got {repeated[0]!r} several times; nothing was stored")
    documents: dict[str, list[Passage]] = {}
    for node in nodes:
        passage = _passage_of(node, label_key)
        documents.setdefault(passage.document_id, []).append(passage)
    passages = [passage for several in documents.values() for passage in several]
    if len(sizes := {len(passage.vector) for passage in passages if passage.vector is not None}) > 1:
        raise ValueError(f"expected embeddings of one size, got some of {sorted(sizes)} values; nothing was stored")
    return passages


def _passage_of(node: BaseNode, label_key: str | None) -> Passage:
    if CONTENT in node.metadata:
        raise ValueError(
            f"node {node.node_id!r}: expected metadata without {CONTENT!r}, in which ragknn keeps the rest of a node"
        )
    if node.embedding is None:
        raise ValueError(
            f"node {node.node_id!r}: expected an embedding, got none: a VectorStoreIndex makes them, and so does an "
            "embedding model in an IngestionPipeline"
        )
    text = node.get_content(metadata_mode=MetadataMode.NONE)
    start, end = _offsets(node, text)
    return Passage(
        node.node_id,
        node.ref_doc_id or node.node_id,
        text,
        start,
        end,
        _label(node, label_key),
        {**node.metadata, CONTENT: [_content(node)]},
        vector=np.asarray(node.embedding, dtype=np.float64),
    )


def _offsets(node: BaseNode, text: str) -> tuple[int, int]:
    """Return where the text stands in its document; (0, 0) where that is not known, or not of this text."""
    start, end = getattr(node, "start_char_idx", None), getattr(node, "end_char_idx", None)
    if start is None or end is None or start < 0 or end - start != len(text):
        return 0, 0
    return start, end


def _label(node: BaseNode, label_key: str | None) -> Label | None:
    label = None if label_key is None else node.metadata.get(label_key)
    if label is not None and not isinstance(label, str | int | float):
        raise ValueError(
            f"node {node.node_id!r}: expected a label of type str, int or float in metadata[{label_key!r}], got "
            f"{label!r}: name another entry with label_key=, or None for no labels"
        )
    return label


def _content(node: BaseNode) -> dict[str, Any]:
    content = node.model_dump(mode="json", exclude=_ELSEWHERE, exclude_defaults=True)
    for related in _all_related(content):
        if related.get("metadata") and related["metadata"] == node.metadata:
            related["metadata"] = None  # of its document, or of its neighbors: mostly the same
    if resource := content.get("text_resource"):
        resource.pop("text", None)
    if list(node.metadata) != sorted(node.metadata):
        content[_KEYS] = list(node.metadata)
    return content


def _all_related(content: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for related in content.get("relationships", {}).values():
        yield from related if isinstance(related, list) else [related]


def is_of_text(passage: Passage) -> bool:
    """Tell whether a passage is a node of text, which LlamaIndex keeps in the vector store alone."""
    content = _content_of(passage) or {}
    return not issubclass(_CLASSES.get(content.get("class_name", ""), TextNode), ImageNode | IndexNode)


def _content_of(passage: Passage) -> Mapping[str, Any] | None:
    match passage.metadata.get(CONTENT):
        case [dict(content)]:
            return content
        case _:
            return None


def node_of(passage: Passage) -> BaseNode:
    """Return the node that a passage was made of; of a passage that was not, a text node of its document."""
    content = _content_of(passage)
    node = _foreign(passage) if content is None else _restored(passage, content)
    if passage.vector is not None:
        node.embedding = passage.vector.tolist()
    return node


def _restored(passage: Passage, content: Mapping[str, Any]) -> BaseNode:
    metadata = {key: value for key, value in passage.metadata.items() if key != CONTENT}
    values = dict(content)
    order = [key for key in values.pop(_KEYS, ()) if key in metadata]
    metadata = {**{key: metadata[key] for key in order}, **metadata}
    values["relationships"] = {
        kind: [_whole(one, metadata) for one in related] if isinstance(related, list) else _whole(related, metadata)
        for kind, related in values.get("relationships", {}).items()
    }
    made_of = _CLASSES.get(values.pop("class_name", ""), TextNode)
    if issubclass(made_of, Node):
        if "text_resource" in values or passage.text:
            values["text_resource"] = {**values.get("text_resource", {}), "text": passage.text}
    else:
        values["text"] = passage.text
    return made_of.from_dict({**values, "id_": passage.id, "metadata": metadata})


def _whole(related: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {**related, "metadata": dict(metadata)} if related.get("metadata", {}) is None else dict(related)


def _foreign(passage: Passage) -> TextNode:
    placed = {"label": passage.label, "page": passage.page, "headings": list(passage.headings) or None}
    return TextNode(
        id_=passage.id,
        text=passage.text,
        metadata={**{key: value for key, value in placed.items() if value is not None}, **passage.metadata},
        start_char_idx=passage.start,
        end_char_idx=passage.end,
        relationships={
            NodeRelationship.SOURCE: RelatedNodeInfo(node_id=passage.document_id, node_type=ObjectType.DOCUMENT)
        },
    )


def in_dtype(passages: Sequence[Passage], dtype: str) -> list[Passage]:
    """Return the passages with vectors as an index of this dtype keeps them, if it is one that NumPy has."""
    kept = np.dtype(dtype if dtype in ("float16", "float64") else "float32")
    with np.errstate(over="ignore"):  # a value that is too large becomes infinite, and the index refuses it
        return [replace(one, vector=None if one.vector is None else one.vector.astype(kept)) for one in passages]
