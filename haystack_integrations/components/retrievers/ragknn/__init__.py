"""The retrievers of ragknn, where Haystack looks for them; `ragknn.integrations.haystack` has them too."""

from ragknn.integrations.haystack import RagKNNBM25Retriever, RagKNNEmbeddingRetriever, RagKNNHybridRetriever

__all__ = ["RagKNNBM25Retriever", "RagKNNEmbeddingRetriever", "RagKNNHybridRetriever"]
