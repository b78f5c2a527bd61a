"""Text as people write it: cutting it into passages, and finding the words in it.

Here are the splitter and the rules by which text becomes words. Nothing here knows of models, vectors or Redis.
"""

from ragknn.text.splitting import Splitter, TokenSpans, sentence_starts

__all__ = [
    "Splitter",
    "TokenSpans",
    "sentence_starts",
]
