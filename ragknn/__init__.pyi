from ._protocol.schema import (
    Algorithm as Algorithm,
    FieldType as FieldType,
    Schema as Schema,
)
from ._protocol.vectors import DType as DType
from .embedding.caching import CachedEmbedder as CachedEmbedder, VectorCache as VectorCache
from .embedding.function import FunctionEmbedder as FunctionEmbedder
from .embedding.hashing import HashingEmbedder as HashingEmbedder
from .embedding.openai import OpenAIEmbedder as OpenAIEmbedder
from .embedding.protocols import Embedder as Embedder
from .embedding.sentence import SentenceEmbedder as SentenceEmbedder
from .errors import (
    CommandRefused as CommandRefused,
    ConfigurationError as ConfigurationError,
    ConnectionFailed as ConnectionFailed,
    DeletionRefused as DeletionRefused,
    EmbeddingError as EmbeddingError,
    IncompleteRetrieval as IncompleteRetrieval,
    IndexNotFound as IndexNotFound,
    IndexNotOpen as IndexNotOpen,
    IndexRebuilt as IndexRebuilt,
    IngestFailed as IngestFailed,
    InvalidVectors as InvalidVectors,
    ManifestMissing as ManifestMissing,
    MissingDependency as MissingDependency,
    ModelNotFound as ModelNotFound,
    RagKNNError as RagKNNError,
    ReadError as ReadError,
    RebuildFailed as RebuildFailed,
    SchemaMismatch as SchemaMismatch,
    ServerError as ServerError,
    ServerNotFound as ServerNotFound,
    ServerStartError as ServerStartError,
    TextTooLong as TextTooLong,
    UnsupportedServer as UnsupportedServer,
)
from .files.frames import documents_from_pandas as documents_from_pandas
from .files.limits import Limits as Limits
from .files.reader import read_documents as read_documents
from .filters import Where as Where
from .transfer.importer import aimport_index as aimport_index, import_index as import_index
from .transfer.layout import Layout as Layout
from .transfer.parquet import (
    aexport_parquet as aexport_parquet,
    aimport_parquet as aimport_parquet,
    export_parquet as export_parquet,
    import_parquet as import_parquet,
)
from .indexing._policy import IngestOptions as IngestOptions
from .indexing.async_index import AsyncIndex as AsyncIndex
from .indexing.index import Index as Index
from .indexing.indexer import AsyncIndexer as AsyncIndexer, Indexer as Indexer
from .indexing.listing import alist_indexes as alist_indexes, list_indexes as list_indexes
from .indexing.mapping import IndexMap as IndexMap
from .records import (
    Document as Document,
    Label as Label,
    Metric as Metric,
    Neighbor as Neighbor,
    Passage as Passage,
    Retrieval as Retrieval,
    Vote as Vote,
)
from .reports import (
    CheckReport as CheckReport,
    DocumentSource as DocumentSource,
    ExportReport as ExportReport,
    Failure as Failure,
    ImportReport as ImportReport,
    IndexInfo as IndexInfo,
    IngestReport as IngestReport,
    Loss as Loss,
    Note as Note,
    NoteKind as NoteKind,
    RebuildReport as RebuildReport,
    Verification as Verification,
)
from .retrieval._excerpts import Source as Source
from .retrieval.context import (
    Context as Context,
    abuild_context as abuild_context,
    build_context as build_context,
)
from .retrieval.fusion import (
    Fusion as Fusion,
    ReciprocalRank as ReciprocalRank,
    WeightedScores as WeightedScores,
)
from .retrieval.options import (
    Mode as Mode,
    Options as Options,
    SearchOptions as SearchOptions,
)
from .retrieval.reranking import (
    CrossEncoderReranker as CrossEncoderReranker,
    EmbeddingReranker as EmbeddingReranker,
    Reranker as Reranker,
)
from .retrieval.retriever import AsyncRetriever as AsyncRetriever, Retriever as Retriever
from .server.embedded import RedisServer as RedisServer
from .settings import Settings as Settings, load_settings as load_settings
from .text.splitting import Splitter as Splitter
from .version import __version__ as __version__
from .voting._arithmetic import Weights as Weights
from .voting.rules import Rules as Rules
from .voting.scoring import Scores as Scores, score_votes as score_votes
from .voting.tuning import (
    Setting as Setting,
    Tuning as Tuning,
    atune as atune,
    tune as tune,
)
from .voting.voter import AsyncLabelVoter as AsyncLabelVoter, LabelVoter as LabelVoter
