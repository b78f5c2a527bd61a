"""Text: cutting it into passages, and finding its words.

This package has the splitter and the rules for words. It does not know models, vectors or Redis.
"""

from ragknn.text._measures import TokenSpans
from ragknn.text.splitting import Splitter, sentence_starts

__all__ = [
    "Splitter",
    "TokenSpans",
    "sentence_starts",
]
