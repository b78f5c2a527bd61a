"""Reading documents from files: walking folders, parsing formats, and checking rows.

This package does not know vectors or Redis; an indexer stores the documents.
"""

from ragknn.files.reader import DocumentReader, read_documents

__all__ = [
    "DocumentReader",
    "read_documents",
]
