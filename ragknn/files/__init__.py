"""From files to documents: folders are walked, formats parsed, and rows checked.

Nothing here knows of vectors or Redis; an indexer takes what is read here.
"""

from ragknn.files.reader import DocumentReader, read_documents

__all__ = [
    "DocumentReader",
    "read_documents",
]
