"""From the words of a text to the terms that the server indexes: stop words left out, accents folded, stems. Pure.

The server could do this too, but then it scores a word and its stem as two words, and differently from release to
release. So it gets terms that are ready, and only counts and scores them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from unicodedata import normalize

import Stemmer

from ragknn.text._words import SURELY_SHORT, shortened, whole_words

# Stems of these languages are made by the rules of Snowball; Chinese has none.
LANGUAGES = (
    *("arabic", "armenian", "basque", "catalan", "chinese", "czech", "danish", "dutch", "english", "esperanto"),
    *("estonian", "finnish", "french", "german", "greek", "hindi", "hungarian", "indonesian", "irish", "italian"),
    *("lithuanian", "nepali", "norwegian", "persian", "polish", "portuguese", "romanian", "russian", "serbian"),
    *("sesotho", "spanish", "swedish", "tamil", "turkish", "yiddish"),
)
_WITHOUT_STEMS = ("chinese",)

MOST_KNOWN = 50_000  # words whose terms are kept: some megabytes

# Marks that Latin and Greek letters bear; those of other scripts are vowels, or make other letters.
_ACCENTS = dict.fromkeys(range(0x300, 0x370))
# Latin letters with a stroke or a dot, which Unicode does not take apart, and joined ones.
_PLAIN_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "ƶ": "z", "ɨ": "i", "ı": "i", "æ": "ae", "œ": "oe", "ð": "d"}
    | {"þ": "th"}
)


@dataclass(frozen=True, slots=True)
class Analyzer:
    """How texts become terms, the same for passages and queries.

    Attributes:
        language: one of `LANGUAGES`, by whose rules stems are made.
        stop_words: words that are left out, as `words` gives them.
        fold_accents: whether Latin and Greek letters lose their accents, so that "cafe" finds "café".
    """

    language: str
    stop_words: frozenset[str]
    fold_accents: bool

    def terms(self, text: str) -> list[str]:
        """Return the terms of a text in their order, repeated ones too."""
        return list(filter(None, map(known_terms(self).__getitem__, whole_words(text))))

    def term(self, word: str) -> str:
        """Return the term of a word as `whole_words` gives it; empty for a stop word."""
        word = shortened(word)
        if word in self.stop_words:
            return ""
        if self.fold_accents and not word.isascii():
            word = fold_accents(word)
        if self.language in _WITHOUT_STEMS:
            return word
        # Threads must not share a stemmer; one without a memory is made in a microsecond.
        return str(Stemmer.Stemmer(self.language, 0).stemWord(word))


class _KnownTerms(dict[str, str]):
    """The terms of words that came before: a stem takes ten times as long to make as to look up."""

    def __init__(self, analyzer: Analyzer) -> None:
        super().__init__()
        self._analyzer = analyzer

    def __missing__(self, word: str) -> str:
        term = self._analyzer.term(word)
        if len(word) <= SURELY_SHORT:
            if len(self) >= MOST_KNOWN:
                self.clear()
            self[word] = term
        return term


@cache
def known_terms(analyzer: Analyzer) -> _KnownTerms:
    """Return what an analyzer remembers."""
    return _KnownTerms(analyzer)


@cache
def analyzer(language: str, stop_words: tuple[str, ...], fold_accents: bool) -> Analyzer:
    """Return the analyzer of these properties, made once."""
    return Analyzer(language, frozenset(stop_words), fold_accents)


def fold_accents(word: str) -> str:
    """Return a word of `words` with its Latin and Greek letters without accents."""
    folded: list[str] = []
    base = ""
    for character in normalize("NFD", word):
        if ord(character) not in _ACCENTS:
            base = character
        elif base and _bears_accents(base):
            continue
        folded.append(character)
    return normalize("NFC", "".join(folded)).translate(_PLAIN_LETTERS)


def _bears_accents(character: str) -> bool:
    code = ord(character)
    return character.isalpha() and (code < 0x250 or 0x370 <= code < 0x400 or 0x1E00 <= code < 0x2000)
