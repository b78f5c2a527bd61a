"""The ids of passages: made of the id of their document and their place in it."""

from __future__ import annotations

import re

# Numbers of passages, as they stand in ids: a longer one is no number of a passage.
_NUMBER = re.compile("0|[1-9][0-9]{0,17}")


def passage_id(document_id: str, number: int) -> str:
    """Return the id that a passage has unless the user gave it another: the document's id, `#`, and its number."""
    return f"{document_id}#{number}"


def split_id(passage: str) -> tuple[str, int] | None:
    """Return the document's id and the number from the id that `passage_id` made; None if it is of another form."""
    document_id, _, number = passage.rpartition("#")
    return (document_id, int(number)) if document_id and _NUMBER.fullmatch(number) else None
