"""Embedding texts as vectors: the protocol of an embedder, and the embedders of ragknn.

This package finds and loads models and computes vectors. It does not store or search them.
"""

from ragknn.embedding.function import FunctionEmbedder
from ragknn.embedding.hashing import HashingEmbedder
from ragknn.embedding.protocols import Embedder, Identified, Tokenizing
from ragknn.embedding.sentence import SentenceEmbedder

__all__ = ["Embedder", "FunctionEmbedder", "HashingEmbedder", "Identified", "SentenceEmbedder", "Tokenizing"]
