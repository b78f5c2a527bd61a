"""Digests: what tells whether two documents, or two passages, are the same."""

from __future__ import annotations

import struct
from collections.abc import Sequence
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
    """Makes digests of rows of parts: of two rows the same only if all their parts are.

    Args:
        first: parts that all rows begin with.
        last: parts that all rows end with.
    """

    __slots__ = ("_begun", "_end")

    def __init__(self, first: Sequence[str] = (), last: Sequence[str] = ()) -> None:
        self._begun = blake2b(b"".join(map(_framed, first)), digest_size=16)
        self._end = b"".join(map(_framed, last))

    def __call__(self, *parts: str | bytes) -> str:
        """Return the digest of a row with these parts between its first and its last ones.

        Raises:
            ValueError: a part holds what UTF-8 cannot.
        """
        hashed = self._begun.copy()
        try:
            for part in parts:
                blob = part.encode() if isinstance(part, str) else part
                hashed.update(_length(len(blob)) + blob)
        except UnicodeEncodeError:
            for part in parts:
                check_unicode(part if isinstance(part, str) else "", "the document")
            raise
        hashed.update(self._end)
        return hashed.hexdigest()


_length = struct.Struct(">Q").pack


def _framed(part: str) -> bytes:
    """Return a part behind its length, so that no two different rows of parts look alike."""
    return _length(len(part.encode())) + part.encode()


# Of everything that decides which passages and vectors are stored of a document.
text_hash = Hashing()
_hash_of_vector = Hashing(["vector"])


def vector_hash(document_id: str, text: str, vector: bytes) -> str:
    """Return the `text_hash` of a document of one ready vector; empty bytes stand for none."""
    return _hash_of_vector(document_id, text, vector)
