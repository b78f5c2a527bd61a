"""The embedders of ragknn, where Haystack looks for them; `ragknn.integrations.haystack` has them too."""

from ragknn.integrations.haystack import RagKNNDocumentEmbedder, RagKNNTextEmbedder

__all__ = ["RagKNNDocumentEmbedder", "RagKNNTextEmbedder"]
