"""Text as it is meant: letters in other shapes become the letters, and what cannot be seen is taken out.

Files bring ligatures, full-width forms, presentation forms, mathematical letters and soft hyphens, which most models
have never seen. They are folded before a text is embedded, and only then: what is stored and shown stays as it came.

This is less than Unicode's NFKC. What says something of its own stays: superscripts (m² is not m2), fractions (1½ is
not 11/2), signs that models know (№, ™, …, µ), full-width punctuation beside CJK letters, joiners in emoji and in
scripts that are written with them. Canonically equivalent sequences, which mean the same by definition, get their NFC
form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING
from unicodedata import category, combining, decomposition, is_normalized, normalize

from ragknn._checks import check_unicode

if TYPE_CHECKING:
    from ragknn.text._measures import TokenSpans

FOLDING = "folded 1"  # counts up when texts are folded differently; part of the digest of texts that are folded

# Letters, digits and marks that Unicode defines as another shape of others.
_SHAPES = (
    "\u0132\u0133\u013f\u0140\u0149\u017f\u01c4-\u01cc\u01f1-\u01f3\u03d0-\u03d6\u03f0-\u03f9\u1e9a\u1e9b"
    "\u2100-\u2115\u2117-\u2138\u213a-\u214f\u2160-\u217f"  # letterlike but № and the emoji ℹ, Roman numerals
    "\u2460-\u24ff\u3200-\u33ff\U0001f100-\U0001f16f"  # enclosed and squared
    "\u2e9f\u2ef3\u2f00-\u2fd5"  # radicals
    "\ufb00-\ufdff\ufe70-\ufefc"  # Latin, Armenian, Hebrew and Arabic presentation forms
    "\uff61-\uffdc"  # half-width
    "\U0001d400-\U0001d7ff\U0001ee00-\U0001eeff\U0001fbf0-\U0001fbf9"  # mathematical, digits of displays
)
_MEANS_MORE = frozenset({"<super>", "<sub>", "<fraction>"})
_SPACED = " \u0640"  # what carries an Arabic mark that has a shape of its own: a space or a tatweel

_KINDS = {
    "wide": "[\uff01-\uff5e\uffe0-\uffe6]+",
    "shape": f"[{_SHAPES}]",
    # BERT's tokenizer takes the controls out, and so joins the words on both sides.
    "space": "[\x0b\x0c\x1c-\x1f\x85\xa0\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]",
    "hyphen": "[\u2010\u2011]",
    "unseen": (
        r"\u00ad+(?:[ \t]*\r?\n[ \t]*(?=\w))?"  # soft hyphens; behind one, a word goes on in the next line
        "|[\u034f\u061c\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]"
    ),
    "break": "\u200b",
    "joiner": "[\u200c\u200d]",
    "variant": "[\ufe00-\ufe0f\U000e0100-\U000e01ef]",
    "tag": "[\U000e0000-\U000e007f]",
}
_FOLDABLE = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _KINDS.items()))
_WITHOUT_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")  # Thai, Lao, Burmese, Khmer
_FLAG = re.compile("[\U0001f3f4\U000e0000-\U000e007f]")
_NEEDS_JOINERS = "\u0590"  # from here on: scripts that are written with joiners, and emoji
_LONGEST_CLUSTER = 64  # characters; Unicode's own bound for marks in a row is 30, and Python takes quadratic time
_CONTROLS = "\x0b\x0c\x1c\x1d\x1e\x1f"
# All characters that a rule begins with, and surrogates: one class is quicker to search for than the rules.
_SUSPECT = re.compile(
    f"[{_SHAPES}\uff01-\uff5e\uffe0-\uffe6{_CONTROLS}\x85\xa0\xad\u034f\u061c\u2000-\u2011\u2028-\u202f"
    "\u205f-\u206f\u3000\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef\ud800-\udfff]"
)
_SHAPE = re.compile(f"[{_SHAPES}]")

Edit = tuple[int, int, str]
"""Start and end in a text, and what stands there instead."""


def fold(text: str) -> str:
    """Return the text as a model should read it; the same object if nothing is to be folded.

    Raises:
        ValueError: a lone surrogate, which no tokenizer takes.
    """
    if _is_plain(text):
        return text
    folded = _Folded.of(text).text
    return text if folded == text else folded


def folding(token_spans: TokenSpans) -> TokenSpans:
    """Return a function that gives (start, end) in the text of each token of the folded text, in order."""

    def spans(text: str) -> Sequence[tuple[int, int]]:
        if _is_plain(text):
            return token_spans(text)
        folded = _Folded.of(text)
        return [folded.origin(*span) for span in token_spans(folded.text)]

    return spans


def _is_plain(text: str) -> bool:
    if text.isascii():
        # The controls, one by one: far quicker than one search for all of them, or a loop.
        return not (
            ("\x0b" in text or "\x0c" in text or "\x1c" in text) or ("\x1d" in text or "\x1e" in text or "\x1f" in text)
        )
    if _SUSPECT.search(text):
        check_unicode(text, "the text")
        return False
    return is_normalized("NFC", text)


@dataclass(frozen=True, slots=True)
class _Folded:
    """A text with something else in some places.

    Attributes:
        text: as it is now.
        starts: of each character, where in the first text that begins from which it came.
        ends: where that ends.
    """

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    @classmethod
    def of(cls, text: str) -> _Folded:
        folded = cls(text, range(len(text)), range(1, len(text) + 1)).edited(_shaped(text))
        return folded if is_normalized("NFC", folded.text) else folded.edited(_composed(folded.text))

    def edited(self, edits: Iterable[Edit]) -> _Folded:
        parts: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        reached = 0
        for start, end, new in chain(edits, [(len(self.text), len(self.text), "")]):
            parts += self.text[reached:start], new
            starts += self.starts[reached:start]
            ends += self.ends[reached:start]
            if new:
                starts += [self.starts[start]] * len(new)
                ends += [self.ends[end - 1]] * len(new)
            reached = end
        return _Folded("".join(parts), starts, ends)

    def origin(self, start: int, end: int) -> tuple[int, int]:
        if start < end:
            return self.starts[start], self.ends[end - 1]
        place = self.starts[start] if start < len(self.starts) else max(self.ends, default=0)
        return place, place


def _shaped(text: str) -> Iterator[Edit]:
    reached, kept = 0, ""  # end of what was looked at, and the last character that is left of it
    for found in _FOLDABLE.finditer(text):
        start, old = found.start(), found[0]
        before = text[start - 1] if start > reached else kept
        new = _folded(found.lastgroup or "", old, before, text[found.end() : found.end() + 1])
        reached, kept = found.end(), new[-1:] or before
        if new == old:
            continue
        # Full-width characters are replaced one by one, so that each keeps its place.
        for one, other in zip(old, new, strict=True) if found.lastgroup == "wide" else [(old, new)]:
            yield start, start + len(one), other
            start += len(one)


def _folded(kind: str, old: str, before: str, behind: str) -> str:
    """Return what stands for characters of a kind, between the characters that are left before and come behind."""
    match kind:
        case "wide":
            return "".join(map(_meant, old)) if any(map(str.isalnum, old)) else old
        case "shape":
            return _meant(old)
        case "space":
            return " "
        case "hyphen":
            return "-"
        case "break":
            stays = bool(_WITHOUT_SPACES.match(before) or _WITHOUT_SPACES.match(behind))
        case "joiner":
            stays = before >= _NEEDS_JOINERS
        case "variant":  # of a letter it says only how to draw it, of a sign whether it is an emoji
            stays = not (before.isalpha() or (before and combining(before)))
        case "tag":
            stays = bool(_FLAG.match(before))
        case _:
            stays = False
    return old if stays else ""


@lru_cache(maxsize=4096)
def _meant(shape: str) -> str:
    """Return what a character is another shape of; itself if it is none."""
    tag, _, codes = decomposition(shape).rpartition("> ")
    tag += ">" * bool(tag)
    if not codes or tag in _MEANS_MORE:
        return shape
    parts = [chr(int(code, 16)) for code in codes.split()]
    meant = "".join(_meant(part) if _SHAPE.match(part) else part for part in parts)
    if "\ufb50" <= shape <= "\ufefc" and len(meant) > 1 and combining(meant[-1]):
        meant = meant.lstrip(_SPACED)
    if meant.startswith(" "):
        return shape
    # ①② are not 12.
    return f" {meant} " if tag == "<circle>" and meant.isdigit() else meant


def _composed(text: str) -> Iterator[Edit]:
    start = 0
    for end in range(1, len(text) + 1):
        if end < len(text) and _continues(text[end]):
            continue
        if end - start <= _LONGEST_CLUSTER and (new := normalize("NFC", old := text[start:end])) != old:
            yield start, end, new
        start = end


def _continues(character: str) -> bool:
    """Whether a character can be composed with the one before it: marks, and vowels and finals of Hangul."""
    if character.isascii():
        return False
    return bool(combining(character)) or category(character)[0] == "M" or "\u1160" <= character <= "\u11ff"
