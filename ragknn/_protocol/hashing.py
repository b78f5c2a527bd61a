"""Digests: what tells whether two documents, or two passages, are the same."""

from __future__ import annotations

import struct
from hashlib import blake2b

from ragknn._checks import check_unicode
from ragknn.records import Passage


def digest(text: str, vector: bytes) -> str:
    """Return what exact duplicates among passages have in common: a digest of the text, or of a ready vector."""
    return blake2b(text.encode() or vector, digest_size=8).hexdigest()


def text_identity(passage: Passage) -> str:
    """Return a string that is equal for passages of the same text.

    A retrieval made elsewhere may lack the digest; two ready vectors without a text are no duplicates.
    """
    return passage.digest or (digest(passage.text, b"") if passage.text else passage.id)


class Hashing:
    """Makes digests of rows of parts that all begin with the same ones: of all rows a different one.

    Args:
        first: the parts that all rows begin with.
    """

    __slots__ = ("_begun",)

    def __init__(self, *first: str | bytes) -> None:
        self._begun = blake2b(digest_size=16)
        self._begun = self._with(first)

    def __call__(self, *parts: str | bytes) -> str:
        """Return the digest of the first parts and these.

        Raises:
            ValueError: a part holds what UTF-8 cannot.
        """
        return self._with(parts).hexdigest()

    def _with(self, parts: tuple[str | bytes, ...]) -> blake2b:
        hashed = self._begun.copy()
        for part in parts:
            try:
                blob = part if isinstance(part, bytes) else part.encode()
            except UnicodeEncodeError:
                check_unicode(str(part), "the document")
                raise
            hashed.update(_framed_length(len(blob)) + blob)  # so that no two different rows of parts look alike
        return hashed


_framed_length = struct.Struct(">Q").pack

# Of everything that decides which passages and vectors are stored of a document.
text_hash = Hashing()
_hash_of_vector = Hashing("vector")


def vector_hash(document_id: str, text: str, vector: bytes) -> str:
    """Return the `text_hash` of a document of one ready vector; empty bytes stand for none."""
    return _hash_of_vector(document_id, text, vector)
