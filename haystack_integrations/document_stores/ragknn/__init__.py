"""The document store of ragknn, where Haystack looks for it; `ragknn.integrations.haystack` has it too."""

from ragknn.integrations.haystack import RagKNNDocumentStore

__all__ = ["RagKNNDocumentStore"]
