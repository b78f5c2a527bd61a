"""How text becomes the words that the server indexes, and how words are asked for. Pure.

The server's own tokenizer joins the words on both sides of a line break, keeps quotation marks and dashes outside of
ASCII as part of a word, cannot find a word of more than 128 bytes, and never splits Japanese or Thai. So the words are
made here, the same for passages and for questions, and the server gets them with spaces between; what is left to it
are stop words, stems and scores.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import pairwise
from unicodedata import category, normalize

# The server finds no longer ones; the rest of a word is left out, in passages and questions alike.
LONGEST_WORD = 128  # bytes

# Those for which the oldest supported server has stems, by its own names.
LANGUAGES = (
    *("arabic", "armenian", "basque", "catalan", "chinese", "danish", "dutch", "english", "finnish", "french"),
    *("german", "greek", "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali"),
    *("norwegian", "portuguese", "romanian", "russian", "serbian", "spanish", "swedish", "tamil", "turkish"),
    "yiddish",
)

# The server's own list; it would take it for every language.
_ENGLISH_STOP_WORDS = (
    *("a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not"),
    *("of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was"),
    *("will", "with"),
)

# Thai, Lao, Burmese, Khmer, kana, Chinese characters: written without spaces between words.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3007\u3040-\u30ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
)
_PIECES = re.compile(f"[{_UNSPACED}]+|[^ {_UNSPACED}]+")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_ASCII_WORD = re.compile("[a-z0-9_]+")
_ZERO_WIDTH_SPACE = 0x200B
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)


class _Spread(dict[int, str]):
    """For `str.translate`: leaves of each character what belongs to a word, and spaces around words.

    A pictograph is a word by itself. What shows nothing and separates nothing, such as soft hyphens and joiners, goes.
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


_spread = _Spread()  # grows with the characters met: at most all of Unicode


def words(text: str) -> list[str]:
    """Return the words of a text, in order, as they are indexed and asked for.

    Letters, marks, digits and underscores make words, in compatibility form (NFKC) and without case. Where a script
    has no spaces between words, each character and each pair of characters is one.
    """
    if text.isascii():
        found = _ASCII_WORD.findall(text.lower())  # the same, ten times as fast
    else:
        folded = normalize("NFKC", normalize("NFKC", text).casefold())
        spread = normalize("NFC", folded.translate(_spread))
        found = [word for piece in _PIECES.findall(spread) for word in _words_of_piece(piece)]
    return [word if len(word) <= LONGEST_WORD // 4 else _shortened(word) for word in found]


def _words_of_piece(piece: str) -> Iterator[str]:
    if _IS_UNSPACED.match(piece):
        yield from piece
        yield from map("".join, pairwise(piece))
    else:
        yield piece


def _shortened(word: str) -> str:
    return word.encode()[:LONGEST_WORD].decode(errors="ignore")


def searchable(text: str) -> str:
    """Return the text as the server is to index it: its words with spaces between."""
    return " ".join(words(text))


def default_stop_words(language: str) -> tuple[str, ...]:
    """Return the words that are not indexed unless the user says otherwise: the server's for English, else none."""
    return _ENGLISH_STOP_WORDS if language == "english" else ()


def fold_stop_words(stop_words: Collection[str]) -> tuple[str, ...]:
    """Return the stop words as they are compared with the words of a text: sorted, each once.

    Raises:
        TypeError: they are a single str.
        ValueError: one of them is not one word.
    """
    if isinstance(stop_words, str):
        raise TypeError(f"expected stop_words to be several words, got the str {stop_words!r}; put it into a list")
    for word in stop_words:
        if not isinstance(word, str) or len(words(word)) != 1:
            raise ValueError(f"expected each of stop_words to be one word, got {word!r}")
    return tuple(sorted({words(word)[0] for word in stop_words}))
