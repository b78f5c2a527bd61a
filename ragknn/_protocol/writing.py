"""Which commands replacing and removing documents sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragknn._protocol.encoding import digest, encode_tag
from ragknn._protocol.fetching import KEYS_PER_ROUND
from ragknn._protocol.flows import Command, Flow
from ragknn._protocol.keys import Keys
from ragknn._protocol.query import TEXT_WORDS
from ragknn._protocol.replies import as_text, checked
from ragknn.errors import CommandRefused
from ragknn.records import Passage
from ragknn.text._words import searchable

# Removes the passages of a document, however many it has now. A script, since the number must be read and used
# in one step: another writer may be replacing the same document.
_DROP_PASSAGES = (
    "local n = redis.call('HGET', KEYS[1], 'passages') "
    "for i = 0, (tonumber(n) or 0) - 1 do redis.call('UNLINK', ARGV[1] .. i) end "
    "return redis.call('UNLINK', KEYS[1])"
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document as it is to be stored.

    Attributes:
        id: the document's id.
        content_hash: digest of all that decides what is stored.
        passages: at least one.
        vectors: one blob a passage.
        fields: the declared fields, as the server indexes them.
        metadata: JSON text.
        text_search: whether the words of the passages are stored for the server to index.
    """

    id: str
    content_hash: str
    passages: Sequence[Passage]
    vectors: Sequence[bytes]
    fields: Mapping[str, str]
    metadata: str
    text_search: bool = True


def content_hashes(keys: Keys, document_ids: Sequence[str]) -> Flow[list[str | None]]:
    """Return for each document the content hash of what is stored, or None if it is not."""
    replies = yield [("HGET", keys.document(document_id), "hash") for document_id in document_ids]
    return [None if checked(reply) is None else as_text(reply) for reply in replies]


def replace_documents(keys: Keys, documents: Sequence[Prepared]) -> Flow[list[str | None]]:
    """Store the documents, each in one transaction that first removes what was stored of it.

    Returns:
        For each document None, or why the server refused it; it then stays as it was.
    """
    transactions = [_replace_commands(keys, document) for document in documents]
    replies = yield [command for transaction in transactions for command in transaction]
    outcomes: list[str | None] = []
    position = 0
    for transaction in transactions:
        position += len(transaction)
        outcomes.append(_refusal(replies[position - len(transaction) : position]))
    return outcomes


def _replace_commands(keys: Keys, document: Prepared) -> list[Command]:
    prefix = keys.passages(document.id)
    key = keys.document(document.id)
    shared: list[str | bytes] = ["document_id", encode_tag(document.id), "metadata", document.metadata]
    if (label := document.passages[0].label) is not None:
        shared += ["label", encode_tag(label)]
    for name, value in document.fields.items():
        shared += [name, value]
    return [
        ("MULTI",),
        ("EVAL", _DROP_PASSAGES, 1, key, prefix),
        *(
            (
                *("HSET", f"{prefix}{number}", "text", passage.text, "start", passage.start, "end", passage.end),
                *("digest", digest(passage.text, blob), "vector", blob, *shared),
                *_words(document, passage),
            )
            for number, (passage, blob) in enumerate(zip(document.passages, document.vectors, strict=True))
        ),
        ("HSET", key, "hash", document.content_hash, "passages", len(document.passages)),
        ("EXEC",),
    ]


def _words(document: Prepared, passage: Passage) -> Command:
    found = searchable(passage.text) if document.text_search else ""
    return (TEXT_WORDS, found) if found else ()


def _refusal(replies: Sequence[Any]) -> str | None:
    executed = replies[-1]
    within = executed if isinstance(executed, list) else []
    # The first error says what was wrong; EXEC itself then only says that it did nothing.
    for reply in (*replies[:-1], *within, executed):
        if isinstance(reply, Exception):
            try:
                checked(reply)
            except CommandRefused as refused:
                return str(refused)
    return None


def delete_documents(keys: Keys, document_ids: Sequence[str]) -> Flow[int]:
    """Remove the documents with all their passages; return how many there were."""
    removed = 0
    for start in range(0, len(document_ids), KEYS_PER_ROUND):
        replies = yield [
            ("EVAL", _DROP_PASSAGES, 1, keys.document(document_id), keys.passages(document_id))
            for document_id in document_ids[start : start + KEYS_PER_ROUND]
        ]
        removed += sum(int(checked(reply)) for reply in replies)
    return removed
