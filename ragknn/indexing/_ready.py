"""Drafts of documents whose passages were cut elsewhere, or were stored before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import index as as_integer
from typing import Any

from numpy.typing import NDArray

from ragknn._checks import check_unicode, described, shown
from ragknn._plain import plain_label
from ragknn._protocol.encoding import encode_tag
from ragknn._protocol.hashing import text_hash
from ragknn._protocol.layout import Dumped, details_hash, dump_details, whole_text
from ragknn._protocol.schema import OnBadField, Schema
from ragknn._protocol.vectors import as_vectors
from ragknn.errors import InvalidVectors
from ragknn.indexing._drafts import Cut, Draft, Drafting, blob_of, drafting_documents, folding_of
from ragknn.records import Document, Passage
from ragknn.text.splitting import Splitter

# Between two passages that come without offsets.
_APART = 2  # characters


@dataclass(frozen=True, slots=True)
class ReadyDocument:
    """A document whose passages were cut elsewhere."""

    id: str
    passages: tuple[Passage, ...]
    source: str = ""


@dataclass(slots=True)
class _Ready(Draft):
    """Of ready passages."""

    passages: Sequence[Passage]

    @property
    def owners(self) -> Sequence[Passage]:
        return self.passages

    def cut(self) -> Sequence[Passage]:
        return self.passages


def drafting_ready(schema: Schema, embeds: bool) -> Drafting:
    """Draft documents of ready passages; `embeds` says whether those without a vector get one."""

    def draft(document: ReadyDocument, on_bad_field: OnBadField) -> Draft:
        passages = _fit(document.id, document.passages, schema.dim)
        parts: list[str | bytes] = ["passages", document.id, str(embeds)]
        for one in passages:
            if not one.text and one.vector is None:
                raise ValueError(f"passage {one.id!r}: expected a text or a vector, got neither")
            parts += [one.id, one.text, str(one.start), str(one.end), blob_of(one.vector)]
        if any(one.page is not None or one.headings for one in passages):
            parts.append(json.dumps([(one.page, one.headings) for one in passages], ensure_ascii=False))
        if embeds:
            parts += folding_of([one.text for one in passages if one.vector is None])
        dumped = [dump_details(one.label, one.metadata) for one in passages]
        hashed = text_hash(*parts)
        return _Ready(document.id, hashed, details_hash(dumped), dumped, schema, on_bad_field, embeds, (), passages)

    return draft


def drafting_as_cut(
    schema: Schema, splitter: Splitter, cut: Cut, embedded_text: Callable[[Passage], str], otherwise: Drafting
) -> Drafting:
    """Draft documents of ready passages with vectors that would be cut and embedded in the same way.

    They are stored as such documents are, so that a document of the same text is the same from then on.

    Args:
        schema: the index's schema.
        splitter: as for `drafting_documents`.
        cut: as for `drafting_documents`.
        embedded_text: as for `drafting_documents`.
        otherwise: drafts those that would be cut in another way.
    """

    def draft(ready: ReadyDocument, on_bad_field: OnBadField) -> Draft:
        passages = _placed(ready.passages, schema.dim)
        first, *others = passages
        if any((one.label, one.metadata) != (first.label, first.metadata) for one in others):
            return otherwise(ready, on_bad_field)
        document = Document(ready.id, whole_text(passages, ""), first.label, first.metadata)
        own = cut(document)
        alike = [(one.id, one.start, one.end, embedded_text(one)) for one in own]
        if alike != [(one.id, one.start, one.end, one.text) for one in passages if one.vector is not None]:
            return otherwise(ready, on_bad_field)
        known = [replace(one, vector=given.vector) for one, given in zip(own, passages, strict=True)]
        return drafting_documents(schema, splitter, lambda _: known, embedded_text)(document, on_bad_field)

    return draft


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as an index had it stored.

    Attributes:
        id: the document's id.
        text_hash: its digest of what decides its passages and vectors.
        gaps: what of its text is in none of its passages.
        page_starts: offset of each page's first character in its text.
        passages: in their order, with their vectors.
        dumped: label and metadata of each passage, as they were stored.
    """

    id: str
    text_hash: str
    gaps: str
    page_starts: tuple[int, ...]
    passages: Sequence[Passage]
    dumped: Sequence[Dumped]
    source: str = ""


@dataclass(slots=True)
class _AsStored(_Ready):
    """Of a document as an index had it stored."""

    document: StoredDocument

    def gaps(self, passages: Sequence[Passage]) -> str:
        return self.document.gaps


def drafting_stored(schema: Schema) -> Drafting:
    """Draft documents as they were stored; where they came from says the same of them as it did before."""

    def draft(document: StoredDocument, on_bad_field: OnBadField) -> Draft:
        passages = _fit(document.id, document.passages, schema.dim)
        hashed = details_hash(document.dumped)
        return _AsStored(
            *(document.id, document.text_hash, hashed, document.dumped, schema, on_bad_field, False),
            document.page_starts,
            passages,
            document,
        )

    return draft


def by_document(passages: Iterable[Passage]) -> Iterator[ReadyDocument]:
    """Put together the passages of each document, which must come one after the other.

    Raises:
        TypeError: something else than a passage.
    """
    if isinstance(passages, str | bytes | Mapping | type) or not hasattr(passages, "__iter__"):
        raise TypeError(f"expected passages, got {described(passages)}: pass a list of Passage")
    for document_id, own in groupby(map(_checked, passages), key=lambda passage: passage.document_id):
        yield ReadyDocument(document_id, tuple(own))


def _checked(passage: Any) -> Passage:
    if not isinstance(passage, Passage):
        raise TypeError(f"expected passages, got {shown(passage)} of type {type(passage).__name__}")
    for what in ("document_id", "id"):
        if not isinstance(value := getattr(passage, what), str) or not value:
            raise TypeError(f"expected a passage with {what} as a str that is not empty, got {shown(value)}")
    owner = f"passage {passage.id!r}"
    if not isinstance(passage.text, str):
        raise TypeError(f"expected the text of {owner} as str, got {type(passage.text).__name__}")
    if not isinstance(passage.metadata, Mapping):
        raise TypeError(f"expected the metadata of {owner} as a mapping, got {type(passage.metadata).__name__}")
    page, headings = passage.page, passage.headings
    if page is not None and not hasattr(page, "__index__"):
        raise TypeError(f"expected the page of {owner} as an integer or None, got {shown(page)}")
    if not isinstance(headings, list | tuple) or not all(isinstance(heading, str) for heading in headings):
        raise TypeError(f"expected the headings of {owner} as a tuple of str, got {shown(headings)}")
    label = plain_label(passage.label, owner)
    numbers = (passage.start, passage.end) if page is None else (passage.start, passage.end, page)
    if label is passage.label and type(headings) is tuple and all(type(number) is int for number in numbers):
        return passage  # as nearly all are
    return replace(
        passage,
        label=label,
        start=as_integer(passage.start),
        end=as_integer(passage.end),
        page=None if page is None else as_integer(page),
        headings=tuple(headings),
    )


def _fit(document_id: str, passages: Sequence[Passage], dim: int) -> list[Passage]:
    """Return the passages of a document as they can be stored: numbered, and with their vectors as arrays.

    Raises:
        InvalidVectors: a vector of another shape.
        ValueError: an id or a text that cannot be stored, or as `_placed` says.
    """
    encode_tag(document_id, "the id")
    fit = _placed(passages, dim)
    for one in fit:
        encode_tag(one.id, f"the id of passage {one.number}")
        check_unicode(one.text, f"the text of passage {one.id!r}")
    return fit


def _row_of(passage: Passage, dim: int) -> NDArray[Any] | None:
    """Return the vector of a passage, where it has one, as an array of shape (dim,).

    Raises:
        InvalidVectors: another shape.
    """
    if passage.vector is None:
        return None
    rows: NDArray[Any] = as_vectors(passage.vector, dim)
    if len(rows) != 1:
        raise InvalidVectors(f"passage {passage.id!r}: expected a vector of shape ({dim},), got {len(rows)} rows")
    own: NDArray[Any] = rows[0]
    return own


def _placed(passages: Sequence[Passage], dim: int) -> list[Passage]:
    """Return the passages numbered, with arrays as vectors; those without offsets (0, 0) stand one after the other.

    Raises:
        InvalidVectors: a vector of another shape.
        ValueError: two passages of one id, a page below 1, or offsets that are not those of the text.
    """
    placed: list[Passage] = []
    reached = -_APART
    for number, passage in enumerate(passages):
        start, end = passage.start, passage.end
        if passage.page is not None and passage.page < 1:
            raise ValueError(f"passage {passage.id!r}: expected a page of 1 or more, or None, got {passage.page}")
        if start == end == 0:
            start = reached + _APART
            end = start + len(passage.text)
        if passage.text and end - start != len(passage.text):
            raise ValueError(
                f"passage {passage.id!r}: expected end - start to be the length of the text, {len(passage.text)}, got "
                f"{end} - {start}; leave both 0 if they are not known"
            )
        reached = max(reached, end)
        placed.append(replace(passage, start=start, end=end, number=number, vector=_row_of(passage, dim)))
    ids = [passage.id for passage in placed]
    if len(set(ids)) < len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise ValueError(f"expected each passage id once, got {twice!r} twice")
    return placed
