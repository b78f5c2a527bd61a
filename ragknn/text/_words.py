"""The words of a text, as the server indexes and searches them. Pure.

The server's own tokenizer joins the words on both sides of a line break, keeps non-ASCII quotation marks and dashes
as part of a word, cannot find a word of more than 128 bytes, and never splits Japanese or Thai. So this module finds
the words, in the same way for passages and queries; `_terms` makes of them what the server gets.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import pairwise
from unicodedata import category, normalize

from ragknn._checks import check_several, described, shown

# The server cannot find longer words; the rest of a word is cut off, in passages and queries alike.
LONGEST_WORD = 128  # bytes
SURELY_SHORT = LONGEST_WORD // 4  # characters

# The list that the server has from Lucene, and the words of which questions are made and that mean nothing else. The
# latter add .004 to .047 to the nDCG@10 of text mode on six sets of questions.
_ENGLISH_STOP_WORDS = (
    *("a", "am", "an", "and", "are", "as", "at", "be", "but", "by", "could", "did", "do", "does", "for", "had"),
    *("has", "have", "he", "her", "his", "how", "i", "if", "in", "into", "is", "it", "its", "me", "my", "no", "not"),
    *("of", "on", "or", "our", "she", "should", "so", "such", "than", "that", "the", "their", "them", "then"),
    *("there", "these", "they", "this", "those", "to", "was", "we", "were", "what", "when", "where", "which", "who"),
    *("whom", "whose", "why", "will", "with", "would", "you", "your"),
)

# Thai, Lao, Burmese, Khmer, kana and Chinese characters: scripts without spaces between words.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3007\u3040-\u30ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
)
_PIECES = re.compile(f"[{_UNSPACED}]+|[^ {_UNSPACED}]+")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
# For `bytes.translate`: letters without case, digits and underscores stay, and all else separates words.
_ASCII_WORDS = bytes(
    ord(character.lower()) if re.match(r"\w", character, re.ASCII) else 32 for character in map(chr, range(256))
)
_ZERO_WIDTH_SPACE = 0x200B
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)


class _Spread(dict[int, str]):
    """Table for `str.translate` that keeps the characters of words and puts spaces around words.

    A pictograph is a word of its own. Invisible characters that separate nothing, such as soft hyphens and joiners,
    are removed.
    """

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kind = category(character)
        if code in _VARIATION_SELECTORS or (kind == "Cf" and code != _ZERO_WIDTH_SPACE):
            self[code] = ""
        elif kind[0] in "LMN" or kind == "Pc":
            self[code] = character
        else:
            self[code] = f" {character} " if kind == "So" else " "
        return self[code]


_spread = _Spread()  # grows with each new character: at most all of Unicode


def words(text: str) -> list[str]:
    """Return the words of a text, in order, as they are indexed and searched.

    Words consist of letters, marks, digits and underscores, in compatibility form (NFKC) and without case. In scripts
    without spaces between words, each character and each pair of characters is a word.
    """
    return [word if len(word) <= SURELY_SHORT else shortened(word) for word in whole_words(text)]


def whole_words(text: str) -> list[str]:
    """Return the same, those that are too long as well."""
    if text.isascii():
        return text.encode().translate(_ASCII_WORDS).decode().split()  # same result, thirty times as fast
    folded = normalize("NFKC", normalize("NFKC", text).casefold())
    spread = normalize("NFC", folded.translate(_spread))
    return [word for piece in _PIECES.findall(spread) for word in _words_of_piece(piece)]


def _words_of_piece(piece: str) -> Iterator[str]:
    if _IS_UNSPACED.match(piece):
        yield from piece
        yield from map("".join, pairwise(piece))
    else:
        yield piece


def shortened(word: str) -> str:
    """Return as much of a word as the server can find."""
    return word.encode()[:LONGEST_WORD].decode(errors="ignore")


def searchable(text: str) -> str:
    """Return the words separated by spaces, as the server takes those of a field of text."""
    return " ".join(words(text))


def default_stop_words(language: str) -> tuple[str, ...]:
    """Return the words that are not indexed by default: a short list for English, else none."""
    return _ENGLISH_STOP_WORDS if language == "english" else ()


def fold_stop_words(stop_words: Collection[str]) -> tuple[str, ...]:
    """Return the stop words in the form of `words`: sorted, each once.

    Raises:
        TypeError: a single str instead of several words.
        ValueError: one of them is not one word.
    """
    if isinstance(stop_words, str):
        raise TypeError(f"expected stop_words to be several words, got {described(stop_words)}; put it into a list")
    stop_words = check_several("stop_words", stop_words, '["the", "a"]')
    for word in stop_words:
        if not isinstance(word, str) or len(words(word)) != 1:
            raise ValueError(f"expected each of stop_words to be one word, got {shown(word)}")
    return tuple(sorted({words(word)[0] for word in stop_words}))
