"""Checks of what users say of their files."""

from __future__ import annotations

from collections.abc import Sequence

from ragknn._checks import check_several, check_type, check_unicode, shown
from ragknn.files._bytes import known_encoding


def checked_patterns(option: str, patterns: str | Sequence[str]) -> tuple[str, ...]:
    """Return patterns as a tuple; one may be given without a list around it.

    Raises:
        TypeError: something else than strings.
        ValueError: not a pattern as in .gitignore.
    """
    given = (patterns,) if isinstance(patterns, str) else tuple(check_several(option, patterns, '["*.md"]'))
    for one in given:
        if not isinstance(one, str):
            raise TypeError(f"expected {option} as patterns of type str, got {shown(one)} of type {type(one).__name__}")
        check_unicode(one, option)
    if given:
        from pathspec import GitIgnoreSpec  # slow to import, and most folders are read whole

        try:
            GitIgnoreSpec.from_lines(given)
        except ValueError as error:
            raise ValueError(
                f"expected {option} as patterns such as '*.md' or 'drafts/', got {shown(str(error))}"
            ) from error
    return given


def checked_encoding(encoding: str | None) -> str | None:
    """Return the name of an encoding of text.

    Raises:
        ValueError: Python does not know it.
    """
    if encoding is None:
        return None
    check_type("encoding", encoding, str)
    if (known := known_encoding(encoding)) is None:
        raise ValueError(f"expected an encoding such as 'utf-8' or 'cp1252', got {shown(encoding)}")
    return known


def checked_delimiter(delimiter: str | None) -> str | None:
    r"""Return a delimiter of cells; "\t", as it is written on a command line, is a tab.

    Raises:
        ValueError: it is not one character, or one that tables use otherwise.
    """
    if delimiter is not None:
        check_type("delimiter", delimiter, str)
    if delimiter == "\\t":
        return "\t"
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n\0'):
        raise ValueError(f"expected a delimiter of one character, such as ';', got {shown(delimiter)}")
    return delimiter
