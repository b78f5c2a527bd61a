"""The index, and writing to it: open, create, read, count, map, add, sync, update, delete.

Here documents become stored passages, and are read back. Searching is in `ragknn.retrieval`.
"""

from ragknn._protocol.schema import Algorithm, FieldType, Schema
from ragknn._protocol.server import ServerInfo
from ragknn._protocol.vectors import DType
from ragknn.indexing._policy import IngestOptions
from ragknn.indexing.async_index import AsyncIndex
from ragknn.indexing.index import Index
from ragknn.indexing.indexer import AsyncIndexer, Indexer
from ragknn.indexing.listing import alist_indexes, list_indexes
from ragknn.indexing.mapping import IndexMap

__all__ = [
    "Algorithm",
    "AsyncIndex",
    "AsyncIndexer",
    "DType",
    "FieldType",
    "Index",
    "IndexMap",
    "Indexer",
    "IngestOptions",
    "Schema",
    "ServerInfo",
    "alist_indexes",
    "list_indexes",
]
