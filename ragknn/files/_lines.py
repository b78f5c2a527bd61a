"""Words that were broken at the ends of lines, put together again."""

from __future__ import annotations

import re
from collections.abc import Sequence

_BROKEN = re.compile(
    r"(?P<before>-?)(?<![^\W\d_])(?P<first>[^\W\d_]+)(?P<hyphen>[-\u2010\u00ad])[ \t]*\n[ \t]*(?P<second>\w+)"
)
_WORD = re.compile(r"[^\W\d_]+(?:[-\u2010][^\W\d_]+)*")

# English words that often stand before a hyphen of their own, and seldom are the beginning of a longer word that is
# broken behind them: long-term, high-level.
_FIRST_HALVES = frozenset(
    "all bottom broad case client closed cost cross data day decision deep double early eight end evidence far fast "
    "fine first five four free front full general half hard heavy high hour ill large late left long low mid middle "
    "minute month multi narrow near nine non old one open paid post quick rapid real right risk rule second self "
    "short single six slow small soft special state ten third three time top triple two user week well "
    "wide wind world year".split()
)
# What makes a longer word of these words all the same: long-er, hard-ware.
_SECOND_HALVES = frozenset(
    "able age ally ary ation base book cast come down ed en ening ens er erly ers est ever fall ful ground hood "
    "ible iest ily ing ings ion ish ism ity ization ize ized less lier light lights line lines ling ly man men "
    "ment ments ness piece some table tables th ty ware way ways where wise work works".split()
)
# Words of their own behind a hyphen that another one follows: state-of-the-art, day-to-day.
_LINKS = frozenset("a and as at by d en for in of off on or out s the to up".split())
# Behind a hyphen that stands for the rest of a word: Haus- und Gartenarbeit, pre- and postwar.
_CONJUNCTIONS = frozenset("and bzw oder or sowie und".split())


def with_words_joined(pages: Sequence[str]) -> list[str]:
    r"""Return the pages with the words that are broken at the end of a line in one piece.

    A hyphen goes where the word was broken ("infor-\nmation"), and stays where it is the word's own ("long-\nterm",
    "Baden-\nWürttemberg", "Haus-\nund Gartenarbeit"). Which it is, the same word elsewhere in the pages says, or else
    what is usual in English.
    """
    if not any(map(_BROKEN.search, pages)):
        return [page.replace("\u00ad", "") for page in pages]
    known = {word.casefold() for page in pages for word in _WORD.findall(page)}

    def mended(broken: re.Match[str]) -> str:
        before, first, hyphen, second = broken.group("before", "first", "hyphen", "second")
        if hyphen != "\u00ad" and second in _CONJUNCTIONS and f"{first}{second}".casefold() not in known:
            return f"{before}{first}- {second}"
        linked = second in _LINKS and broken.string[broken.end() : broken.end() + 1] in ("-", "\u2010")
        own = hyphen != "\u00ad" and (bool(before) or linked or _is_own(first, second, known))
        return f"{before}{first}{'-' * own}{second}"

    return [_BROKEN.sub(mended, page).replace("\u00ad", "") for page in pages]


def _is_own(first: str, second: str, known: set[str]) -> bool:
    """Whether the hyphen between two parts of a word is part of it."""
    if not second[0].islower() and not (first.isupper() and len(first) > 1 and second.isupper()):
        return True
    head, tail = first.casefold(), second.casefold()
    if f"{head}-{tail}" in known:
        return True
    if f"{head}{tail}" in known:
        return False
    return head in _FIRST_HALVES and tail not in _SECOND_HALVES and len(tail) > 2
