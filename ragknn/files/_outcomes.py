"""What comes of reading, for those who want documents alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ragknn.errors import ReadError
from ragknn.records import Document
from ragknn.reports import Failure, Note


def documents_among(outcomes: Iterable[Document | Failure | Note]) -> Iterator[Document]:
    """Iterate over the documents.

    Raises:
        ReadError: at the first failure.
    """
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            raise ReadError(str(outcome))
        if isinstance(outcome, Document):
            yield outcome
