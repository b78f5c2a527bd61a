"""HTML: the text of a page without what stands around it on every page, one line for each row of a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

from ragknn.files._bytes import File, known_encoding, read_text
from ragknn.files._rows import Reading, Row, Rows, folded

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_DECLARED = re.compile(
    rb"""<meta\b[^>]*?\bcharset\s*=\s*["']?\s*([\w.:-]+)|^\s*<\?xml\b[^>]*?encoding=["']([\w.:-]+)""", re.I
)
_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
_HEAD = 4096  # bytes in which a page must declare its encoding; browsers look at the first 1,024
# What browsers take a name for: the larger set that Windows made of it.
_MEANT = {
    **dict.fromkeys(("iso-8859-1", "iso8859-1", "latin1", "latin-1", "ascii", "us-ascii"), "windows-1252"),
    **dict.fromkeys(("gb2312", "gbk", "x-gbk", "gb_2312-80"), "gb18030"),
    **dict.fromkeys(("shift_jis", "shift-jis", "sjis", "x-sjis"), "cp932"),
    **dict.fromkeys(("euc-kr", "ks_c_5601-1987"), "cp949"),
    **dict.fromkeys(("iso-8859-9", "latin5"), "windows-1254"),
    **dict.fromkeys(("iso-8859-11", "tis-620"), "cp874"),
    # A page whose declaration can be read byte by byte is not in UTF-16.
    **dict.fromkeys(("utf-16", "utf-16le", "utf-16be", "unicode"), "utf-8"),
}

_BLOCKS = frozenset(
    "address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption "
    "figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav ol optgroup p pre search "
    "section summary table tbody td tfoot th thead tr ul".split()
)
# Never part of what a page says.
_DROPPED = frozenset(
    "annotation annotation-xml applet audio button canvas datalist embed frame frameset head iframe input noembed "
    "noframes noscript object "
    "script select style svg template textarea title video".split()
)
_CHROME = frozenset(("nav", "search"))
_CHROME_ROLES = frozenset("alertdialog dialog menu menubar navigation search toolbar tooltip".split())
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
# Names that pages without the elements for it give to the same parts.
_CHROME_NAMES = re.compile(
    r"(?:^|\s)(?:(?:site|page|main|global|top)[-_]?(?:header|footer|nav|navigation|menu|sidebar)|header|footer|nav|"
    r"navbar|navigation|sidebar|cookies?|breadcrumbs?|skip-?(?:link|nav|to-content))(?:\s|$)",
    re.I,
)
_COOKIES = re.compile(
    r"(?:cookies?|consent|gdpr|ccpa|privacy)[-_]?(?:[a-z]+[-_])?(?:alert|banner|bar|box|compliance|consent|container|"
    r"dialog|info|message|modal|notice|notification|overlay|panel|popup|prompt|toast|wall|window|wrapper)\b|onetrust|"
    r"cookiebot|usercentrics|didomi|truste[-_]|cky-consent|qc-cmp|\bcc-(?:banner|window)\b",
    re.I,
)
# The short form of an element that only XML has; HTML takes it for an element that goes on.
_CLOSED = re.compile(r"<(title|script|style|textarea|iframe|a|b|div|em|i|p|span|td|th)((?:\s[^<>]*)?)/>", re.I)

Attributes: TypeAlias = Mapping[str, str | None]

_LONGEST_NAMES = 500  # characters of a part's id and classes that are looked at
_MOST_IN_CELL = 8  # blocks; a cell with more lays out the page
_LONGEST_CELL = 2000  # characters; likewise


def read(file: File, reading: Reading) -> Rows:
    """Read a page: its text, and its title."""
    source, remark = read_text(file, reading, _declared, guess=True)
    if remark is not None:
        yield remark
    title, text = text_of_page(source)
    yield Row({"title": title or None}, text)


def _declared(data: bytes) -> str | None:
    found = _DECLARED.search(_COMMENT.sub(b"", data[:_HEAD]))
    if found is None:
        return None
    name = (found[1] or found[2]).decode("ascii").lower()
    return known_encoding(_MEANT.get(name, name))


def text_of_page(source: str) -> tuple[str, str]:
    """Return the title and the text of a page in HTML."""
    from selectolax.lexbor import LexborHTMLParser  # most folders have no HTML

    if source.lstrip().startswith("<?xml"):
        source = _CLOSED.sub(r"<\1\2></\1>", source)
    page = LexborHTMLParser(source)
    body = page.body or page.root
    if body is None:
        return "", ""
    # A page that is chrome to the last word is read with it.
    text = _Text(page, chrome=False).of(body) or _Text(page, chrome=True).of(body)
    return _title(page), text


def _title(page: LexborHTMLParser) -> str:
    """Return the title of the page, and not that of a picture in it."""
    titles = (node for node in page.css("title") if node.parent is not None and node.parent.tag in ("head", "body"))
    return next(filter(None, (folded(node.text(deep=True)) for node in titles)), "")


@dataclass(slots=True)
class _Frame:
    """An open table, row or cell: which of the blocks is its first, and whether it holds lines only."""

    start: int
    simple: bool


class _Text:
    """Collects the blocks of text of a page, in one walk over its nodes, each of which is seen once."""

    def __init__(self, page: LexborHTMLParser, *, chrome: bool) -> None:
        self._chrome = chrome
        self._one_heading = len(page.css("h1")) == 1
        self._has_article = page.css_first("article") is not None
        self._blocks: list[str] = []
        self._pieces: list[str] = []  # of the block under way; NUL is a line break
        self._open: Counter[str] = Counter()
        self._frames: list[_Frame] = []

    def of(self, body: LexborNode) -> str:
        """Return the text."""
        node, depth = body, 0
        while True:
            if self._enter(node):
                if (child := node.child) is not None:
                    node, depth = child, depth + 1
                    continue
                self._leave(node)
            following = node.next if depth else None
            while depth and following is None:
                node, depth = cast("LexborNode", node.parent), depth - 1
                self._leave(node)
                following = node.next if depth else None
            if following is None:
                return "\n\n".join(self._blocks)
            node = following

    def _enter(self, node: LexborNode) -> bool:
        """Take what a node says; return whether to go into it, and to leave it later."""
        tag = node.tag or ""
        if tag == "-text":
            self._pieces.append(node.text_content or "")
            return False
        if tag.startswith("-") or tag in _DROPPED:
            return False
        attributes = node.attributes
        if _is_hidden(tag, attributes):
            return False
        if not self._chrome and self._is_chrome(node, tag, attributes):
            self._keep_heading(node)
            return False
        if tag == "br":
            self._pieces.append("\0")
        if tag in _BLOCKS:
            self._end_block()
            self._open_frame(tag, attributes)
        self._open[tag] += 1
        return True

    def _leave(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag in _BLOCKS:
            self._end_block()
            self._close_frame(tag)
        self._open[tag] -= 1

    def _end_block(self) -> None:
        lines = "".join(self._pieces).split("\0")
        self._pieces.clear()
        text = "\n".join(lines).strip("\n") if self._open["pre"] else "\n".join(map(folded, lines)).strip()
        if text.strip():
            self._blocks.append(text)

    def _open_frame(self, tag: str, attributes: Attributes) -> None:
        frames = self._frames
        if frames and (tag == "table" or tag in _HEADINGS or tag == "pre"):
            frames[-1].simple = False
        if tag == "table":
            frames.append(_Frame(len(self._blocks), attributes.get("role") not in ("presentation", "none")))
        elif tag in ("tr", "td", "th") and frames:
            frames.append(_Frame(len(self._blocks), frames[-1].simple))

    def _close_frame(self, tag: str) -> None:
        if tag not in ("table", "tr", "td", "th") or not self._frames:
            return
        frame = self._frames.pop()
        inside = self._blocks[frame.start :] if frame.simple else []
        if tag in ("td", "th"):
            frame.simple = frame.simple and len(inside) <= _MOST_IN_CELL and sum(map(len, inside)) <= _LONGEST_CELL
            inside = [folded(" ".join(inside))] if inside else []
        if frame.simple and inside:
            self._blocks[frame.start :] = ["\n".join(inside) if tag == "table" else " ".join(inside)]
        if not frame.simple and tag != "table" and self._frames:
            self._frames[-1].simple = False

    def _is_chrome(self, node: LexborNode, tag: str, attributes: Attributes) -> bool:
        """Whether a part stands around what the page says: navigation, its header and footer, asides, cookie bars."""
        role = (attributes.get("role") or "").lower()
        inner = self._open["article"] or self._open["main"] or self._open["section"] or self._open["blockquote"]
        if tag in _CHROME or role in _CHROME_ROLES or (tag == "a" and "headerlink" in (attributes.get("class") or "")):
            return True
        if tag in ("header", "footer") or role in ("banner", "contentinfo"):
            return not inner
        if tag == "aside" or role == "complementary":
            return not (self._open["article"] or (self._open["main"] and not self._has_article))
        names = f"{attributes.get('id') or ''} {attributes.get('class') or ''}" if attributes else " "
        if names == " " or tag in ("main", "article"):
            return False
        names = names[:_LONGEST_NAMES]
        named = _COOKIES.search(names) or (not inner and _CHROME_NAMES.search(names))
        return bool(named) and node.css_first("main, article, h2") is None

    def _keep_heading(self, chrome: LexborNode) -> None:
        """Keep the heading of the page where it stands in its header."""
        if self._one_heading and (heading := chrome.css_first("h1")) is not None:
            self._end_block()
            if text := folded(heading.text(deep=True)):
                self._blocks.append(text)


def _is_hidden(tag: str, attributes: Attributes) -> bool:
    return (
        attributes.get("hidden", "until-found") != "until-found"
        or attributes.get("aria-hidden") == "true"
        or (tag == "dialog" and "open" not in attributes)
        or bool(_HIDDEN.search(attributes.get("style") or ""))
    )
