"""Where sentences end, in all scripts that mark it."""

from __future__ import annotations

from collections.abc import Iterator

import regex  # re does not know the properties of characters

from ragknn.text._measures import HAN

_SPACE = r"[\s\x1c-\x1f]"  # as Python has it

# Marks behind which a space follows where the sentence ends: they have other uses too, and Greek asks with a semicolon.
_SPACED = r"[.!?…‼⁇⁈⁉‽] | (?<=\p{Greek}\p{M}*)[;\u037e]"

# Marks that have no other use, so that the sentence ends with or without a space: the danda of Hindi and its relatives,
# those of Arabic, Urdu, Burmese, Khmer, Armenian, Ethiopic, Chinese and all others of which Unicode says that they end
# a sentence, but for two that are commas; and some that it does not count: the Tibetan shad, the ends of a Hebrew verse
# and of a Sinhala text, and two Ethiopic word marks together, which are an older full stop.
_ALONE = rf"""
    [\p{{Sentence_Terminal}}--[.!?…‼⁇⁈⁉‽．\u104a\ua9c8]] | [\u0f0d-\u0f11\u0f14\u05c3\u0df4] | \u1361\u1361
    | (?<!\p{{Nd}})．(?!\p{{Nd}}) | (?<=[\w\p{{M}}])[!?](?=[{HAN}])  # Chinese is also written with narrow marks
"""

# What belongs to the sentence behind its mark: quotes, brackets, Markdown's emphasis, the number of a note. In French
# the closing quote stands apart.
_CLOSING = r"""(?:["'\p{Pe}\p{Pf}“«*_`] | \[\^?\d{1,3}\] | [¹²³\u2070-\u2079] | [ \u00a0\u202f]»(?=[\s\p{Po}]|\Z))"""

# The look-behind and the possessive quantifiers prevent a new attempt at each dot in a run of dots.
_SENTENCE_END = regex.compile(
    rf"""
      (?<![.!?…])(?P<stop>(?:{_SPACED})++){_CLOSING}*+{_SPACE}++
    | (?:(?:{_ALONE})++[\p{{Pe}}\p{{Pf}}]*+(?:["'“«]++(?={_SPACE}))?+{_SPACE}*+)++
    | \n[^\S\n]*(?=(?:[-*+•|]|\d{{1,3}}[.)])[^\S\n])      # the next entry of a list or row of a table
    """,
    regex.VERBOSE | regex.VERSION1,
)

# Text before a full stop that does not end a sentence: the number of a list item, an abbreviation, initials.
_ABBREVIATION = regex.compile(
    r"""
      ^[^\S\n]*\d{1,3}\Z
    | (?<![\w\p{M}'’])(?:
        Dr|Mr|Mrs|Ms|Prof|St|Sr|Jr|vs|etc|cf|ca|al|approx|No|Nos|Nr|Vol|Fig|Eq|Sec|Ch|pp?|ed|eds|Inc|Ltd|Co|Corp
        |Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|bzw|usw|vgl|Abs|Art|Abb
        |(?:\p{L}\p{M}*\.)*\p{L}\p{M}*
      )\Z
    """,
    regex.VERBOSE | regex.MULTILINE,
)
_LONGEST_ABBREVIATION = 12


def sentence_ends(text: str) -> Iterator[int]:
    """Iterate over the offsets where what follows a sentence, an entry of a list or a row of a table begins."""
    for end in _SENTENCE_END.finditer(text):
        if _ends_sentence(text, end):
            yield end.end()


def _ends_sentence(text: str, end: regex.Match[str]) -> bool:
    if end["stop"] is None:
        return True
    if end.end() < len(text) and text[end.end()].islower():
        return False
    stop = end.start()
    return end["stop"] != "." or not _ABBREVIATION.search(text, max(0, stop - _LONGEST_ABBREVIATION), stop)
