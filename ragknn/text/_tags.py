"""The tags of HTML that people write into Markdown."""

from __future__ import annotations

import re

# Only elements of HTML: <your-name> is a gap to fill in, and Vec<T> a name.
_TAGS = re.compile(
    r"<!--(?:(?!<!--).)*?-->|</?(?:a|abbr|b|blockquote|center|code|dd|del|details|div|dl|dt|em|figcaption|figure|font|h[1-6]|i|img"
    r"|ins|kbd|li|mark|ol|p|picture|pre|q|s|small|source|span|strong|sub|summary|sup|table|tbody|td|th|thead|tr|tt|u|ul"
    r"|var)(?:\s[^<>]*)?/?>",
    re.IGNORECASE | re.DOTALL,
)
_BREAK = re.compile(r"<br\s*/?>|(?<!\n)</(?:dd|div|dt|h[1-6]|li|p|summary|tr)\s*>(?!\s*\n)", re.IGNORECASE)
_CELL = re.compile(r"</(?:td|th)\s*>(?=\s*<t[dh])", re.IGNORECASE)


def without_tags(html: str) -> str:
    """Return the words between the tags of HTML, those of each row or item on a line."""
    return _TAGS.sub("", _CELL.sub(" ", _BREAK.sub("\n", html)))
