"""What cards and tables are made of: elements of HTML with styles of their own."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from typing import Final

# On light and on dark ground alike: lines and grounds are shades of gray or blue that let the ground through, and text
# has the color that the notebook gives it.
MUTED: Final = "opacity:.65"
LINE: Final = "rgba(128,128,128,.35)"
GROUND: Final = "rgba(128,128,128,.18)"
TINT: Final = "rgba(0,114,178,.18)"
ACCENT: Final = "#3d8fc6"
MARK: Final = "background:rgba(240,185,11,.38);color:inherit;border-radius:.2em;padding:0 .08em"

# Characters that no HTML may hold, or that no notebook can store: controls and halves of surrogate pairs.
_UNSHOWABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_NUMBER = re.compile(r"[-+]?[\d.]")


class Html(str):
    """Text that is HTML already, and is not escaped again."""

    __slots__ = ()


def escaped(value: object) -> str:
    """Return a value as HTML: None and NaN as nothing, a float with four digits, text escaped."""
    if isinstance(value, Html):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4f}" if isinstance(value, float) else html.escape(_UNSHOWABLE.sub("\ufffd", str(value)))


def element(name: str, *contents: object, style: str = "", title: str = "") -> Html:
    """Return an element; what of its contents is not `Html` is escaped.

    Marks that turn the direction of writing do not reach out of it.
    """
    title = f' title="{escaped(title)}"' if title else ""
    style = f' style="{style}"' if style else ""
    return Html(f"<{name}{title}{style}>{''.join(map(escaped, contents))}</{name}>")


def span(*contents: object, style: str = "", title: str = "") -> Html:
    """Return words within a line."""
    return element("span", *contents, style=f"{style};unicode-bidi:isolate".lstrip(";"), title=title)


def chip(text: str) -> Html:
    """Return a short text on a colored ground, such as a label."""
    return span(text, style=f"background:{TINT};border-radius:1em;padding:.05em .6em;overflow-wrap:anywhere")


def bar(share: float, title: str = "") -> Html:
    """Return a small horizontal bar that is filled up to a share from 0 to 1."""
    shape = "height:100%;border-radius:.25em"
    filled = element("span", style=f"display:block;width:{share:.0%};{shape};background:{ACCENT}")
    ground = f"display:inline-block;width:5em;height:.5em;border-radius:.25em;background:{GROUND}"
    return element("span", filled, style=ground, title=title)


def row(*parts: object, style: str = "") -> Html:
    """Return parts side by side; where there is no room, further lines are begun. Empty parts are left out."""
    flow = "display:flex;flex-wrap:wrap;align-items:baseline;gap:.15em .7em"
    return element("div", *filter(None, parts), style=f"{flow};{style}".rstrip(";"))


def card(*contents: object) -> Html:
    """Return contents in a frame with round corners."""
    frame = f"border:1px solid {LINE};border-radius:.5em;padding:.5em .8em;margin:.4em 0;text-align:left"
    return element("div", *contents, style=frame)


def sheet(*contents: object) -> Html:
    """Return what a notebook shows: contents as wide as they can be read well."""
    return element("div", *contents, style="max-width:60em;line-height:1.45")


def folded(summary: object, *contents: object) -> Html:
    """Return contents that are shown when one clicks on the summary."""
    head = element("summary", summary, style=f"cursor:pointer;{MUTED}")
    return element("details", head, *contents, style="margin-top:.25em")


def notes(texts: Iterable[str], kind: str = "note") -> Html:
    """Return a paragraph for each note."""
    return Html("".join(element("p", element("b", f"{kind}:"), " ", text) for text in texts))


def table(caption: str | None, heads: Sequence[object], rows: Iterable[Sequence[object]]) -> Html:
    """Return a table below its caption. Columns of numbers stand to the right, with their heads; others to the left."""
    cells = [[escaped(each) for each in line] for line in rows]
    columns = list(zip(*cells, strict=True)) or [()] * len(heads)
    of_numbers = [any(column) and all(map(_is_number, column)) for column in columns]
    sides = ["text-align:right;white-space:nowrap" if numbers else "text-align:left" for numbers in of_numbers]
    head = _line("th", [escaped(each) for each in heads], sides, f"border-bottom:1px solid {LINE}")
    body = Html("".join(_line("td", line, sides, "") for line in cells))
    whole = element(
        "table",
        *([element("thead", head)] if any(heads) else []),
        element("tbody", body),
        style="border-collapse:collapse;margin:.5em 0",
    )
    # Not a caption, which would be broken to the width of the table.
    return whole if caption is None else Html(element("div", caption, style="font-weight:600;margin-top:.5em") + whole)


def _is_number(cell: str) -> bool:
    return not cell or _NUMBER.match(re.sub("<[^<>]*>", "", cell)) is not None


def _line(name: str, cells: Sequence[str], sides: Sequence[str], line: str) -> Html:
    styles = (f"{side};padding:.2em .8em .2em 0;vertical-align:baseline;{line}".rstrip(";") for side in sides)
    return element("tr", *(element(name, Html(cell), style=style) for cell, style in zip(cells, styles, strict=True)))
