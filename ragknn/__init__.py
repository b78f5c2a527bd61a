"""Retrieval and nearest-neighbour voting on Redis: one KNN search, two uses."""

from ragknn.embedding.function import FunctionEmbedder
from ragknn.embedding.hashing import HashingEmbedder
from ragknn.embedding.protocols import Embedder
from ragknn.embedding.sentence import SentenceEmbedder
from ragknn.errors import (
    CommandRefused,
    ConfigurationError,
    ConnectionFailed,
    EmbeddingError,
    IncompleteRetrieval,
    IndexNotFound,
    IndexNotOpen,
    IngestFailed,
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
from ragknn.files.reader import read_documents
from ragknn.indexing.index import AsyncIndex, Index, alist_indexes, list_indexes
from ragknn.indexing.indexer import AsyncIndexer, Indexer
from ragknn.records import Document, Failure, IndexInfo, IngestReport, Label, Neighbor, Passage, Retrieval, Vote
from ragknn.retrieval._excerpts import Source
from ragknn.retrieval.context import Context, abuild_context, build_context
from ragknn.retrieval.fusion import ReciprocalRank, WeightedScores
from ragknn.retrieval.reranking import CrossEncoderReranker, EmbeddingReranker
from ragknn.retrieval.retriever import AsyncRetriever, Retriever
from ragknn.text.splitting import Splitter
from ragknn.version import __version__
from ragknn.voting.voter import AsyncLabelVoter, LabelVoter

__all__ = [
    "AsyncIndex",
    "AsyncIndexer",
    "AsyncLabelVoter",
    "AsyncRetriever",
    "CommandRefused",
    "ConfigurationError",
    "ConnectionFailed",
    "Context",
    "CrossEncoderReranker",
    "Document",
    "Embedder",
    "EmbeddingError",
    "EmbeddingReranker",
    "Failure",
    "FunctionEmbedder",
    "HashingEmbedder",
    "IncompleteRetrieval",
    "Index",
    "IndexInfo",
    "IndexNotFound",
    "IndexNotOpen",
    "Indexer",
    "IngestFailed",
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
    "ReciprocalRank",
    "Retrieval",
    "Retriever",
    "SchemaMismatch",
    "SentenceEmbedder",
    "ServerError",
    "ServerNotFound",
    "ServerStartError",
    "Source",
    "Splitter",
    "TextTooLong",
    "UnsupportedServer",
    "Vote",
    "WeightedScores",
    "__version__",
    "abuild_context",
    "alist_indexes",
    "build_context",
    "list_indexes",
    "read_documents",
]
