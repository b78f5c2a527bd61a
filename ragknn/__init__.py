"""Retrieval and nearest-neighbour voting on Redis: one KNN search, two uses."""

from ragknn.embedding import Embedder, HashingEmbedder, SentenceEmbedder
from ragknn.errors import (
    CommandRefused,
    ConfigurationError,
    ConnectionFailed,
    EmbeddingError,
    IncompleteRetrieval,
    IndexNotFound,
    IndexNotOpen,
    InvalidVectors,
    MissingDependency,
    ModelNotFound,
    RagKNNError,
    ReadError,
    SchemaMismatch,
    ServerError,
    ServerNotFound,
    ServerStartError,
    TextTooLong,
    UnsupportedServer,
)
from ragknn.index import AsyncIndex, Index, alist_indexes, list_indexes
from ragknn.indexer import AsyncIndexer, Indexer
from ragknn.reading import read_documents
from ragknn.records import Document, Failure, IndexInfo, IngestReport, Label, Neighbor, Passage, Retrieval, Vote
from ragknn.retriever import AsyncRetriever, Retriever
from ragknn.splitting import Splitter
from ragknn.version import __version__
from ragknn.voter import AsyncLabelVoter, LabelVoter

__all__ = [
    "AsyncIndex",
    "AsyncIndexer",
    "AsyncLabelVoter",
    "AsyncRetriever",
    "CommandRefused",
    "ConfigurationError",
    "ConnectionFailed",
    "Document",
    "Embedder",
    "EmbeddingError",
    "Failure",
    "HashingEmbedder",
    "IncompleteRetrieval",
    "Index",
    "IndexInfo",
    "IndexNotFound",
    "IndexNotOpen",
    "Indexer",
    "IngestReport",
    "InvalidVectors",
    "Label",
    "LabelVoter",
    "MissingDependency",
    "ModelNotFound",
    "Neighbor",
    "Passage",
    "RagKNNError",
    "ReadError",
    "Retrieval",
    "Retriever",
    "SchemaMismatch",
    "SentenceEmbedder",
    "ServerError",
    "ServerNotFound",
    "ServerStartError",
    "Splitter",
    "TextTooLong",
    "UnsupportedServer",
    "Vote",
    "__version__",
    "alist_indexes",
    "list_indexes",
    "read_documents",
]
