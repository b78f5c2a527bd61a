"""Embedding texts as vectors: the protocol of an embedder, and the embedders of ragknn.

This package finds and loads models and computes vectors. It does not store or search them.
"""

from ragknn.embedding._long_texts import LongTexts, embed_documents, embed_queries
from ragknn.embedding.caching import CachedEmbedder, VectorCache
from ragknn.embedding.engines import Backend, Engine
from ragknn.embedding.function import EmbedFunction, FunctionEmbedder
from ragknn.embedding.hashing import HashingEmbedder
from ragknn.embedding.openai import OpenAIEmbedder
from ragknn.embedding.protocols import Embedder, Identified, Located, Tokenizing
from ragknn.embedding.sentence import SentenceEmbedder

__all__ = [
    "Backend",
    "CachedEmbedder",
    "EmbedFunction",
    "Embedder",
    "Engine",
    "FunctionEmbedder",
    "HashingEmbedder",
    "Identified",
    "Located",
    "LongTexts",
    "OpenAIEmbedder",
    "SentenceEmbedder",
    "Tokenizing",
    "VectorCache",
    "embed_documents",
    "embed_queries",
]
