"""HTML as a reader sees it, for tests of what notebooks show."""

import re
from html.parser import HTMLParser

# What has an end of its own, and what may stand in what is shown.
ELEMENTS = {
    *("div", "span", "b", "p", "mark", "details", "summary", "progress"),
    *("table", "thead", "tbody", "tr", "th", "td", "svg", "circle", "title"),
}
ATTRIBUTES = {"style", "title", "dir", "value", "max", "viewbox", "width", "height", "cx", "cy", "r", "fill", "role"}


class _Reader(HTMLParser):
    """Collects the texts, and refuses what no result may contain."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.marked, self._open = [], [], []

    def handle_starttag(self, tag, attrs):
        assert tag in ELEMENTS, tag
        for name, value in attrs:
            assert name in ATTRIBUTES, name
            assert name != "style" or not re.search(r"url|import|expression|[<>&]", value), value
        self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if "mark" in self._open:
            self.marked.append(data)

    def refuse(self, what):
        raise AssertionError(what)

    handle_comment = handle_decl = handle_pi = unknown_decl = refuse


def read(html):
    """Return the reader of a page, after it has read it.

    Raises:
        AssertionError: there is more in it than the elements and attributes above, or one is not closed.
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader._open == []
    html.encode()  # no half of a surrogate pair, which no notebook can store
    return reader


def words_of(html):
    """Return the texts of the page, without white space around them, in order."""
    return [word.strip() for word in read(html).words if word.strip()]


def without_styles(html):
    """Return the page without its styles."""
    return re.sub(r' style="[^"]*"', "", html)
