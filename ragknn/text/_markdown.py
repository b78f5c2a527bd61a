"""What Markdown says of the parts of a text: its headings."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

_HEADING = re.compile(r"^[^\S\n]{0,3}(?P<marks>\#{1,6})[^\S\n]+(?P<title>[^\n]*)(?=(\s*))", re.MULTILINE)
_CLOSING_MARKS = re.compile(r"(?:^|\s)\#+\s*\Z")


def heading_paths(text: str, starts: Sequence[int]) -> list[tuple[str, ...]]:
    """Return for each offset the headings that its first words stand under, outermost first, without their marks.

    The first words of an offset at a heading are those below it, and where another heading follows at once, those
    below that one.
    """
    headings = list(_HEADING.finditer(text))
    paths: list[tuple[str, ...]] = []
    above: list[tuple[int, str]] = []
    for heading in headings:
        level, title = len(heading["marks"]), _CLOSING_MARKS.sub("", heading["title"]).strip()
        above = [(outer, name) for outer, name in above if outer < level] + [(level, title)]
        paths.append(tuple(name for _, name in above if name))
    from_heading = paths[-1:]
    for heading, following, path in zip(headings[-2::-1], headings[:0:-1], paths[-2::-1], strict=True):
        from_heading.append(from_heading[-1] if heading.end(3) >= following.start() else path)
    from_heading.reverse()

    found = []
    places = [heading.start() for heading in headings]
    for start in starts:
        last = bisect_right(places, start) - 1
        inside = last >= 0 and start < headings[last].end()
        found.append(() if last < 0 else from_heading[last] if inside else paths[last])
    return found
