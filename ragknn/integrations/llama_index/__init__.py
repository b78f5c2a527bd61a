"""ragknn in LlamaIndex: a vector store, a retriever, and embeddings in both directions.

    from llama_index.core import StorageContext, VectorStoreIndex
    from ragknn.integrations.llama_index import RagKNNEmbedding, RagKNNVectorStore

    storage = StorageContext.from_defaults(vector_store=RagKNNVectorStore("handbook"))
    index = VectorStoreIndex.from_documents(documents, storage_context=storage, embed_model=RagKNNEmbedding())
    nodes = index.as_retriever(similarity_top_k=3).retrieve("How do I reset my password?")

LlamaIndex is optional: `pip install 'ragknn[llama-index]'`.
"""

try:
    import llama_index.core  # noqa: F401  # before the imports below, whose error would be less helpful
except ModuleNotFoundError as error:
    from ragknn import MissingDependency

    raise MissingDependency("llama-index-core", "ragknn.integrations.llama_index", "llama-index") from error

from ragknn.integrations.llama_index.embedding import RagKNNEmbedding, embedder_from
from ragknn.integrations.llama_index.retriever import RagKNNRetriever
from ragknn.integrations.llama_index.store import RagKNNVectorStore

__all__ = [
    "RagKNNEmbedding",
    "RagKNNRetriever",
    "RagKNNVectorStore",
    "embedder_from",
]
