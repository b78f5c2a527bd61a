"""ragknn in Haystack: a document store, retrievers by vector, by words and by both, and embedders.

    from haystack import Document
    from ragknn.integrations.haystack import RagKNNDocumentStore, RagKNNEmbeddingRetriever

    store = RagKNNDocumentStore("handbook")    # without a Redis URL an embedded server is started
    store.write_documents([Document(content="Rent is due on the third.", embedding=[0.1, 0.9])])
    RagKNNEmbeddingRetriever(store).run(query_embedding=[0.2, 0.8])

The same names are in `haystack_integrations.document_stores.ragknn` and in `ragknn` of its `components.retrievers` and
`components.embedders`, where Haystack finds them when it loads a pipeline. Haystack is optional:
`pip install 'ragknn[haystack]'`.
"""

try:
    import haystack  # noqa: F401  # before the imports below, whose error would be less helpful
except ModuleNotFoundError as error:
    from ragknn import MissingDependency

    raise MissingDependency("haystack-ai", "ragknn.integrations.haystack", "haystack") from error

from ragknn.integrations.haystack.document_store import RagKNNDocumentStore
from ragknn.integrations.haystack.embedders import RagKNNDocumentEmbedder, RagKNNTextEmbedder
from ragknn.integrations.haystack.retrievers import (
    RagKNNBM25Retriever,
    RagKNNEmbeddingRetriever,
    RagKNNHybridRetriever,
)

__all__ = [
    "RagKNNBM25Retriever",
    "RagKNNDocumentEmbedder",
    "RagKNNDocumentStore",
    "RagKNNEmbeddingRetriever",
    "RagKNNHybridRetriever",
    "RagKNNTextEmbedder",
]
