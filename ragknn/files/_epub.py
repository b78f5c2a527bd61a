"""EPUB: the chapters of a book, which are pages of HTML in an archive, in their order."""

from __future__ import annotations

import posixpath
import zipfile
from urllib.parse import unquote
from xml.etree import ElementTree

from ragknn.errors import ReadError
from ragknn.files._bytes import File
from ragknn.files._html import text_of_page
from ragknn.files._packed import archive
from ragknn.files._rows import Reading, Row, Rows, Step, folded

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"


def read(file: File, reading: Reading) -> Rows:
    """Read a book."""
    chapters = []
    with archive(file, reading) as (opened, _):
        try:
            title, names = _package(opened)
            if locked := _locked(opened).intersection(names):
                raise ReadError(
                    f"expected a book without copy protection, got {min(locked)!r} encrypted; get it without"
                )
            for name in names:
                chapters.append(text_of_page(_decoded(opened.read(name)))[1])
                yield Step()
        except (KeyError, zipfile.BadZipFile, ElementTree.ParseError) as error:
            raise ReadError(f"expected a book as EPUB, got {folded(str(error))}; repair or export it again") from error
    yield Row({"title": title or None}, "\n\n".join(filter(None, chapters)))


def _package(opened: zipfile.ZipFile) -> tuple[str, list[str]]:
    """Return the title of the book, and the names of its chapters in the archive, in order, without its contents."""
    where = next((node.get("full-path") for node in _tree(opened, _CONTAINER).iterfind(".//{*}rootfile")), None)
    if not where:
        raise KeyError(f"no rootfile in {_CONTAINER}")
    package = _tree(opened, where)
    titles = [folded("".join(node.itertext())) for node in package.iterfind(".//{*}title")]
    items = [item for item in package.iterfind(".//{*}item") if "nav" not in (item.get("properties") or "").split()]
    targets = {item.get("id"): item.get("href") for item in items}
    order = [targets.get(node.get("idref")) for node in package.iterfind(".//{*}itemref")]
    folder = posixpath.dirname(where)
    paths = [posixpath.normpath(posixpath.join(folder, unquote(href))) for href in order if href]
    return next(iter(titles), ""), [path for path in paths if path in opened.NameToInfo]


def _locked(opened: zipfile.ZipFile) -> set[str]:
    """Return the names of what is encrypted; of a book that may be read by all, fonts at most."""
    if _ENCRYPTION not in opened.NameToInfo:
        return set()
    return {unquote(node.get("URI") or "") for node in _tree(opened, _ENCRYPTION).iterfind(".//{*}CipherReference")}


def _tree(opened: zipfile.ZipFile, name: str) -> ElementTree.Element:
    return ElementTree.fromstring(opened.read(name))  # expat itself stops entities that grow without end


def _decoded(data: bytes) -> str:
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace")
