"""What entries of the metadata are called in the index."""

from __future__ import annotations

# Entries of the metadata that ragknn has under this name for something else, and what they are stored as.
_RENAMED = {"document_id": "_haystack_document_id"}
_BACK = {stored: name for name, stored in _RENAMED.items()}

REST = "_haystack"  # what of a document has no place of its own, as JSON


def stored_name(name: str) -> str:
    """Return what an entry of the metadata is stored as."""
    return _RENAMED.get(name, name)


def shown_name(name: str) -> str:
    """Return what a stored entry is called in the metadata."""
    return _BACK.get(name, name)
