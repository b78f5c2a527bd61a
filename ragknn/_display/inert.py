"""Texts without what a terminal would obey: a visible character stands in its place."""

from __future__ import annotations

# C0 has pictures of its own in Unicode; C1, marks of direction and halves of surrogate pairs have not.
_PICTURES = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: "\u2421"}
UNSEEN = (
    *range(0x80, 0xA0),
    *(0x061C, 0x200E, 0x200F, 0x2028, 0x2029),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x2070),
    *range(0xD800, 0xE000),
)
_VISIBLE = _PICTURES | dict.fromkeys(UNSEEN, "\ufffd")


def visible(text: str) -> str:
    """Return the text with a visible character in place of each that a terminal would obey."""
    return text.replace("\r\n", "\n").translate(_VISIBLE)
