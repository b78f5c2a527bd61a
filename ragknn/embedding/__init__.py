"""From texts to vectors: the protocol of an embedder, and the embedders that come with ragknn.

Here models are found, loaded and asked for vectors. What is done with the vectors is not here.
"""

from ragknn.embedding._long_texts import LongTexts
from ragknn.embedding.function import EmbedFunction, FunctionEmbedder
from ragknn.embedding.hashing import HashingEmbedder
from ragknn.embedding.protocols import Embedder, Identified, Tokenizing
from ragknn.embedding.sentence import SentenceEmbedder

__all__ = [
    "EmbedFunction",
    "Embedder",
    "FunctionEmbedder",
    "HashingEmbedder",
    "Identified",
    "LongTexts",
    "SentenceEmbedder",
    "Tokenizing",
]
