"""Turning the rows of a file into documents, checked by pydantic."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ragknn.files._rows import TEXT_FIELDS, Fields, Row, find_field
from ragknn.records import Document
from ragknn.reports import Failure, Note

# The default fields for the id and the label of a row; the first one present is used.
_IDS = ("id", "_id")
_LABELS = ("label", "target")

REASON_FIELD = "ragknn_failure"
"""Field of a row in which a dead letter says why it could not be stored; it becomes no metadata."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class _Checked(BaseModel):
    """Types of the fields that are not metadata; the descriptions are for messages."""

    model_config = ConfigDict(strict=True, defer_build=True)  # building takes longer than importing the rest

    id: Annotated[str, Field(min_length=1)] | int = Field(description="a string, not empty, or an integer")
    text: str = Field(description="a string")
    title: str | int | float | None = Field(None, description="a string")
    label: str | int | float | bool | None = Field(None, description="a string, number or boolean")


def to_document(row: Row, name: str, where: Mapping[str, str], fields: Fields) -> Document | Failure | Note:
    """Return the document in a row of a file, or the reason why there is none; a note, where the row has no text.

    Args:
        row: the row.
        name: name of the file, for ids and messages.
        where: metadata that tells where it was found, unless the row has such fields itself; empty ones are left out.
        fields: which fields of the row hold text, id and label.
    """
    source = name + row.place
    if not isinstance(row.values, dict):
        return Failure(source, f"expected a JSON object, got {reprlib.repr(row.values)}; correct it")
    keys = {
        "id": find_field(row.values, fields.id, _IDS),
        "text": find_field(row.values, fields.text, TEXT_FIELDS) if row.body is None else None,
        "title": find_field(row.values, None, ("title",)),
        "label": find_field(row.values, fields.label, _LABELS),
    }
    values = {role: row.values[key] for role, key in keys.items() if key is not None}
    if row.body is not None:
        values["text"] = row.body
    elif keys["text"] is None and any(key in row.values for key in _wanted(fields)):
        values["text"] = ""  # an empty cell, or null: there is a text, and nothing in it
    if row.body is not None or fields.id is None:
        values.setdefault("id", name + row.place.replace(":", "#"))
    document_id = str(values["id"]) if type(values.get("id")) in (str, int) else None
    try:
        whole = json.dumps([row.values, row.body], ensure_ascii=False, default=repr)
    except RecursionError:  # the levels that can be read and written differ between Python versions
        return Failure(source, "expected plain metadata, got it nested too deeply; flatten it", document_id)
    if half := _SURROGATE.search(whole):
        known = None if document_id is None or _SURROGATE.search(document_id) else document_id
        got = f"half a character, \\u{ord(half[0]):04x}"
        return Failure(source, f"expected Unicode text, got {got}; write or remove the whole character", known)
    try:
        checked = _Checked.model_validate(values)
    except ValidationError as error:
        return Failure(source, _explain(error, row.values, keys, fields), document_id or None)

    inner = row.values.get("metadata")
    metadata = dict(inner) if isinstance(inner, dict) else {}
    taken = {keys["id"], keys["text"], keys["label"], "metadata" if isinstance(inner, dict) else None, REASON_FIELD}
    metadata.update((key, value) for key, value in row.values.items() if value is not None and key not in taken)
    metadata.update((key, value) for key, value in where.items() if value and key not in metadata)
    text = _titled(checked.title, checked.text)
    if not text.strip():
        return Note("empty", source, "there is no text in it", str(checked.id))
    shift = len(text) - len(checked.text)
    starts = tuple(start + shift for start in row.page_starts)
    return Document(str(checked.id), text, checked.label, metadata, page_starts=starts, source=source)


def _wanted(fields: Fields) -> tuple[str, ...]:
    return TEXT_FIELDS if fields.text is None else (fields.text,)


def _explain(error: ValidationError, row: Mapping[str, Any], keys: Mapping[str, str | None], fields: Fields) -> str:
    role = str(error.errors(include_url=False)[0]["loc"][0])
    key = keys[role]
    wanted = key or getattr(fields, role) or role
    missing = "none in this row" if wanted in row else f"only the fields {reprlib.repr(list(row))}"
    got = missing if key is None else reprlib.repr(row[key])
    other = "" if role == "title" else f", or name another field with {role}_field"
    return f"expected {wanted!r} as {_Checked.model_fields[role].description}, got {got}; correct it{other}"


def _titled(title: str | float | None, text: str) -> str:
    head = "" if title is None else str(title).strip()
    begin = text.lstrip("# \t\n")
    begins_with_it = begin[: len(head)].casefold() == head.casefold() and not begin[len(head) : len(head) + 1].isalnum()
    if not head or begins_with_it:
        return text
    return f"{head}\n\n{text}" if text.strip() else head
