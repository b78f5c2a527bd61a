"""Which library made an index, as far as it shows, and what it stores where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ragknn.transfer._source import Source
from ragknn.transfer.layout import Layout

# What the libraries store, in their releases of 2026.
LANGCHAIN = Layout(
    vector="embedding", text="text", metadata="_metadata_json", left_out=("_index_name", "_metadata_json")
)
LLAMA_INDEX = Layout(
    vector="vector",
    text="text",
    id="id",
    document="ref_doc_id",
    metadata="_node_content.metadata",
    start="_node_content.start_char_idx",
    end="_node_content.end_char_idx",
    left_out=("doc_id", "document_id", "_node_type"),
)

# How a text is called where an index has several fields of words, the likeliest first.
_TEXTS = ("text", "content", "page_content", "chunk", "body", "passage", "document")


def recognized(source: Source, sample: Mapping[str, Any]) -> tuple[str, Layout]:
    """Return which library made an index, as far as it shows, and where everything is.

    Args:
        source: the index.
        sample: what it has under one of its keys; empty where it has none.

    Raises:
        ValueError: it has several vectors or texts, and their names do not tell which of them is meant.
    """
    names = {one.name for one in source.attributes} | {*sample}
    if "_node_content" in names:
        return "llama-index", LLAMA_INDEX
    if "_metadata_json" in names:
        return "langchain-redis", LANGCHAIN
    vector = _only("vector", [one.field for one in source.attributes if one.kind == "vector" and one.field])
    words = [one.field for one in source.attributes if one.kind == "text" and one.field]
    likely = [name for name in _TEXTS if name in words] or [name for name in _TEXTS if name in sample]
    if likely:
        return "", Layout(vector, likely[0])
    return "", Layout(vector, _only("text", words) if words else None)


def _only(what: str, names: list[str]) -> str:
    if len(names) != 1:
        got = f"several, {', '.join(names)}" if names else "none"
        raise ValueError(
            f"expected one field that is the {what}, got {got}: say where everything is, as in "
            f'layout=Layout(vector="...", text="..."); in the command, --{what} FIELD'
        )
    return names[0]


def entry(stored: Mapping[str, Any], name: str | None) -> Any:
    """Return what is stored under a dotted name; None where nothing is. Text within the way is read as JSON."""
    found: Any = stored
    for number, part in enumerate(name.split(".") if name else ()):
        if number and isinstance(found, str):
            try:
                found = json.loads(found)
            except ValueError:
                return None
        found = found.get(part) if isinstance(found, Mapping) else None
    return found if name else None
