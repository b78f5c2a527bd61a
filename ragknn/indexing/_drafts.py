"""Drafts: what will be stored of a document, before it is split or embedded."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ragknn._checks import check_unicode
from ragknn._ids import passage_id
from ragknn._protocol.encoding import encode_tag
from ragknn._protocol.hashing import Hashing, text_hash, vector_hash
from ragknn._protocol.layout import Details, Dumped, details_hash, details_of, dump_details, find_gaps
from ragknn._protocol.schema import OnBadField, Schema
from ragknn.records import Document, Passage
from ragknn.text._folding import FOLDING, fold
from ragknn.text.splitting import Splitter


@dataclass(slots=True)
class Draft(ABC):
    """A document on its way into the index.

    Attributes:
        id: the document's id.
        text_hash: digest of what decides its passages and vectors; equal ones are not stored again.
        details_hash: digest of labels and metadata.
        dumped: labels and metadata as they are stored, once for all passages or one for each.
        schema: the index's schema.
        on_bad_field: whether a value that does not fit its field is an error, or left out.
        embeds: whether passages without a vector are embedded, or stored without one.
        page_starts: offset of each page's first character in the text.
    """

    id: str
    text_hash: str
    details_hash: str
    dumped: Sequence[Dumped]
    schema: Schema
    on_bad_field: OnBadField
    embeds: bool
    page_starts: tuple[int, ...]
    _details: tuple[Sequence[Details], Sequence[str]] | None = field(default=None, init=False, repr=False)

    @property
    @abstractmethod
    def owners(self) -> Sequence[Document | Passage]:
        """What labels and metadata are of, in the order of `dumped`."""

    @abstractmethod
    def cut(self) -> Sequence[Passage]:
        """Make its passages; called only if they are to be stored. Those with a vector keep it.

        Raises:
            ValueError: they cannot be made.
        """

    def details(self) -> tuple[Sequence[Details], Sequence[str]]:
        """Return labels, metadata and fields as they are stored, and which fields were left out and why.

        Called only if they are to be stored; made once.

        Raises:
            ValueError: they cannot be.
        """
        if self._details is None:
            pairs = [
                details_of(self.schema, dumped, owner.metadata, self.on_bad_field)
                for dumped, owner in zip(self.dumped, self.owners, strict=True)
            ]
            left_out = tuple({reason: None for _, some in pairs for reason in some})
            self._details = [details for details, _ in pairs], left_out
        return self._details

    def gaps(self, passages: Sequence[Passage]) -> str:
        """Return what of the text is in none of the passages."""
        return ""

    def embedded_text(self, passage: Passage) -> str:
        """Return what is embedded for a passage."""
        return passage.text

    def earlier_hash(self) -> str:
        """Return the text hash that an earlier release gave it, which counts as equal too; empty for none."""
        return ""

    def hash_before(self) -> str:
        """Return the text hash that it would have with the splitter that the index had before; empty for none."""
        return ""

    def as_stored(self, text_hash: str) -> Draft:
        """Return the draft with the text hash that is stored, if that is the one of an earlier release."""
        if text_hash and text_hash != self.text_hash and text_hash == self.earlier_hash():
            self.text_hash = text_hash
        return self


Cut: TypeAlias = Callable[[Document], Sequence[Passage]]
"""Makes the passages of a document."""

Drafting: TypeAlias = Callable[[Any, OnBadField], Draft]
"""Makes a draft of an item, such as a document; raises ValueError where it cannot be stored."""

Drafted: TypeAlias = Callable[[Any], Draft | str]
"""Gives the draft of an item, or the reason why it cannot be stored."""


def drafted_by(draft: Drafting, on_bad_field: OnBadField) -> Drafted:
    """Return what makes drafts in this way, and gives the reason where it fails."""

    def drafted(item: Any) -> Draft | str:
        try:
            return draft(item, on_bad_field)
        except (ValueError, RecursionError) as error:
            return reason_of(error)

    return drafted


def reason_of(error: ValueError | RecursionError) -> str:
    """Return why a document cannot be stored."""
    if isinstance(error, RecursionError):
        return "expected plain metadata, got it nested too deeply; flatten it"
    return str(error)


@dataclass(frozen=True, slots=True)
class _Cutting:
    """How documents are cut, and what of their passages is embedded."""

    splitter: Splitter
    cut: Cut
    embedded_text: Callable[[Passage], str]
    before: Splitter | None


@dataclass(slots=True)
class _ToCut(Draft):
    """Of a document that is cut and embedded."""

    document: Document
    cutting: _Cutting

    @property
    def owners(self) -> Sequence[Document]:
        return [self.document]

    def cut(self) -> Sequence[Passage]:
        return self.cutting.cut(self.document)

    def gaps(self, passages: Sequence[Passage]) -> str:
        return find_gaps(self.document.text, passages)

    def embedded_text(self, passage: Passage) -> str:
        return self.cutting.embedded_text(passage)

    def earlier_hash(self) -> str:
        document = self.document
        if _newer_parts(document):
            return ""
        return text_hash("document", document.id, document.text, self.cutting.splitter.earlier_fingerprint)

    def hash_before(self) -> str:
        document, before = self.document, self.cutting.before
        if before is None:
            return ""
        return text_hash("document", document.id, document.text, before.fingerprint, *_newer_parts(document))


def drafting_documents(
    schema: Schema,
    splitter: Splitter,
    cut: Cut,
    embedded_text: Callable[[Passage], str] = lambda passage: passage.text,
    before: Splitter | None = None,
) -> Drafting:
    """Draft documents that are cut and embedded.

    Args:
        schema: the index's schema.
        splitter: whose fingerprint is part of the hash: if it differs, documents are cut and embedded again.
        cut: makes the passages of a document.
        embedded_text: makes what is embedded for a passage.
        before: the splitter that the index had before, if that was another.
    """
    fingerprint = splitter.fingerprint
    usual = Hashing(["document"], [fingerprint])  # the same, for documents without newer parts
    cutting = _Cutting(splitter, cut, embedded_text, before)

    def draft(document: Document, on_bad_field: OnBadField) -> Draft:
        document_id, text = document.id, document.text
        encode_tag(document_id, "the id")  # refuses one that is too long
        check_unicode(text, "the text")
        newer = _newer_parts(document)
        hashed = text_hash("document", document_id, text, fingerprint, *newer) if newer else usual(document_id, text)
        dumped = [dump_details(document.label, document.metadata)]
        details, pages = details_hash(dumped), document.page_starts
        return _ToCut(document_id, hashed, details, dumped, schema, on_bad_field, True, pages, document, cutting)

    return draft


def _newer_parts(document: Document) -> list[str]:
    """Return what an earlier release did not put into the digest of a document."""
    pages = [json.dumps(document.page_starts)] if document.page_starts else []
    return pages if fold(document.text) is document.text else [*pages, FOLDING]


@dataclass(slots=True)
class _WithVector(Draft):
    """Of a document of one passage with a ready vector, or none."""

    document: Document
    row: NDArray[Any] | None

    @property
    def owners(self) -> Sequence[Document]:
        return [self.document]

    def cut(self) -> Sequence[Passage]:
        text = self.document.text
        return [Passage(passage_id(self.id, 0), self.id, text, 0, len(text), vector=self.row)]


def drafting_vectors(schema: Schema, row_of: Callable[[str], NDArray[Any] | None]) -> Drafting:
    """Draft documents of one passage each with a ready vector of shape (dim,), or None for none.

    Args:
        schema: the index's schema.
        row_of: returns the vector of a document of an id.
    """

    def draft(document: Document, on_bad_field: OnBadField) -> Draft:
        encode_tag(document.id, "the id")
        check_unicode(document.text, "the text")
        row = row_of(document.id)
        if row is None and not document.text:
            raise ValueError("expected a text or a vector, got neither")
        hashed = vector_hash(document.id, document.text, blob_of(row))
        dumped = [dump_details(document.label, document.metadata)]
        return _WithVector(
            document.id, hashed, details_hash(dumped), dumped, schema, on_bad_field, False, (), document, row
        )

    return draft


def folding_of(texts: Sequence[str]) -> list[str]:
    """Return what goes into the digest of texts that are folded before they are embedded, and of no others."""
    return [FOLDING] if any(fold(text) is not text for text in texts) else []


def blob_of(row: NDArray[Any] | None) -> bytes:
    return b"" if row is None else np.ascontiguousarray(row).tobytes()
