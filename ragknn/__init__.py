"""Retrieval and nearest-neighbour voting on Redis: one KNN search, two uses."""

from typing import TYPE_CHECKING

from ragknn._protocol.schema import Algorithm, FieldType, Schema
from ragknn._protocol.vectors import DType
from ragknn.embedding.function import FunctionEmbedder
from ragknn.embedding.hashing import HashingEmbedder
from ragknn.embedding.openai import OpenAIEmbedder
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
from ragknn.files.frames import documents_from_pandas
from ragknn.files.limits import Limits
from ragknn.files.reader import read_documents
from ragknn.filters import Where
from ragknn.indexing._ingestion import IngestOptions
from ragknn.indexing.index import AsyncIndex, Index, alist_indexes, list_indexes
from ragknn.indexing.indexer import AsyncIndexer, Indexer
from ragknn.indexing.mapping import IndexMap
from ragknn.records import Document, Label, Metric, Neighbor, Passage, Retrieval, Vote
from ragknn.reports import DocumentSource, Failure, IndexInfo, IngestReport, Note, NoteKind
from ragknn.retrieval._excerpts import Source
from ragknn.retrieval.context import Context, abuild_context, build_context
from ragknn.retrieval.fusion import Fusion, ReciprocalRank, WeightedScores
from ragknn.retrieval.options import Mode, Options, SearchOptions
from ragknn.retrieval.reranking import CrossEncoderReranker, EmbeddingReranker, Reranker
from ragknn.retrieval.retriever import AsyncRetriever, Retriever
from ragknn.text.splitting import Splitter
from ragknn.version import __version__
from ragknn.voting._arithmetic import Weights
from ragknn.voting.rules import Rules
from ragknn.voting.scoring import Scores, score_votes
from ragknn.voting.tuning import Setting, Tuning, atune, tune
from ragknn.voting.voter import AsyncLabelVoter, LabelVoter

if TYPE_CHECKING:
    from ragknn.server.embedded import RedisServer
    from ragknn.settings import Settings, load_settings

__all__ = [
    "Algorithm",
    "AsyncIndex",
    "AsyncIndexer",
    "AsyncLabelVoter",
    "AsyncRetriever",
    "CommandRefused",
    "ConfigurationError",
    "ConnectionFailed",
    "Context",
    "CrossEncoderReranker",
    "DType",
    "Document",
    "DocumentSource",
    "Embedder",
    "EmbeddingError",
    "EmbeddingReranker",
    "Failure",
    "FieldType",
    "FunctionEmbedder",
    "Fusion",
    "HashingEmbedder",
    "IncompleteRetrieval",
    "Index",
    "IndexInfo",
    "IndexMap",
    "IndexNotFound",
    "IndexNotOpen",
    "Indexer",
    "IngestFailed",
    "IngestOptions",
    "IngestReport",
    "InvalidVectors",
    "Label",
    "LabelVoter",
    "Limits",
    "Metric",
    "MissingDependency",
    "Mode",
    "ModelNotFound",
    "Neighbor",
    "Note",
    "NoteKind",
    "OpenAIEmbedder",
    "Options",
    "Passage",
    "RagKNNError",
    "ReadError",
    "ReciprocalRank",
    "RedisServer",
    "Reranker",
    "Retrieval",
    "Retriever",
    "Rules",
    "Schema",
    "SchemaMismatch",
    "Scores",
    "SearchOptions",
    "SentenceEmbedder",
    "ServerError",
    "ServerNotFound",
    "ServerStartError",
    "Setting",
    "Settings",
    "Source",
    "Splitter",
    "TextTooLong",
    "Tuning",
    "UnsupportedServer",
    "Vote",
    "WeightedScores",
    "Weights",
    "Where",
    "__version__",
    "abuild_context",
    "alist_indexes",
    "atune",
    "build_context",
    "documents_from_pandas",
    "list_indexes",
    "load_settings",
    "read_documents",
    "score_votes",
    "tune",
]


def __getattr__(name: str) -> object:
    # Late, because they take longer to import than all the rest, and few need them.
    if name == "RedisServer":
        from ragknn.server.embedded import RedisServer

        return RedisServer
    if name in ("Settings", "load_settings"):
        from ragknn import settings

        return getattr(settings, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
