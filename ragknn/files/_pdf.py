"""PDF: the text of its pages, and which pages have none."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from ragknn.errors import ReadError
from ragknn.files._bytes import File
from ragknn.files._lines import with_words_joined
from ragknn.files._rows import Reading, Remark, Row, Rows, Step, folded

if TYPE_CHECKING:
    from pypdf import PageObject, PdfReader

_HEAD = 1024  # bytes in which readers look for the mark of a PDF
_LIGATURES = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}  # a letter each, to some fonts
)
# What programs write where their users named nothing.
_JUNK_TITLE = re.compile(
    r"microsoft (?:word|powerpoint|excel)\b.*|(?:un|no) ?title[d]?\W*\d*|\(?anonymous\)?|(?:document|dokument|slide|"
    r"layout|book|presentation|powerpoint presentation|powerpoint-präsentation|title|print|scan\w*)\W*\d*|"
    r"\S*[\\/].*|.*\.(?:docx?|odt|rtf|pdf|dvi|tex|ps|indd|qxd|pptx?|xlsx?|pub|pages|html?|tiff?|jpe?g|png)|\W*",
    re.IGNORECASE | re.DOTALL,
)


def read(file: File, reading: Reading) -> Rows:
    """Read a file: its pages as one text, with the title among its properties."""
    import pypdf  # slow to import, and most folders have no PDF

    pages: list[str] = []
    blank: list[int] = []
    damaged: dict[int, str] = {}
    with file.seekable(reading.limits.file_bytes, "file_bytes") as stream, _problems() as problems:
        if b"%PDF-" not in stream.read(_HEAD):
            raise ReadError("expected a PDF, got a file that does not begin as one (%PDF-); look at what it is")
        try:
            document = pypdf.PdfReader(stream)
            count = len(document.pages)
            announced = _resolved(cast(Any, document.trailer["/Root"])["/Pages"]).get("/Count")
            title = _text_in(document.metadata.title if document.metadata else None)
        except Exception as error:
            raise _refusal(error) from error
        for number in range(count):
            text, problem = _page(document, number, problems)
            pages.append(text)
            if problem:
                damaged[number + 1] = problem
            elif not text:
                blank.append(number + 1)
            yield Step()
    lost = announced - count if isinstance(announced, int) else 0
    missing = _missing(blank, damaged, count, lost)
    if not any(pages):
        raise ReadError(missing or "expected pages with text, got none; export the file again")
    if missing:
        yield Remark("partial", missing)
    text, starts = _joined(with_words_joined(pages))
    named = title and not _JUNK_TITLE.fullmatch(title)
    yield Row({"pages": count, "title": title if named else None}, text, page_starts=starts)


def _page(document: PdfReader, number: int, problems: list[str]) -> tuple[str, str]:
    """Return the text of a page, and what is wrong with a page that should have one.

    Raises:
        ReadError: no page can be read.
    """
    import pypdf

    problems.clear()
    try:
        text = _text_of(document.pages[number])
    except (OSError, MemoryError, pypdf.errors.DependencyError) as error:
        raise _refusal(error) from error
    except Exception as error:  # pypdf may raise any error for a damaged page
        return "", folded(f"{type(error).__name__}: {error}")
    # An image that cannot be decoded is told too, and it is none of the text.
    return text, "" if text else next((one for one in problems if "XObject" not in one), "")


def _refusal(error: Exception) -> ReadError | OSError | MemoryError:
    import pypdf

    if isinstance(error, OSError | MemoryError):
        return error
    if isinstance(error, pypdf.errors.FileNotDecryptedError):
        return ReadError("expected a PDF without a password, got an encrypted one; save it without")
    if isinstance(error, pypdf.errors.DependencyError):
        return ReadError("expected a PDF without AES encryption; save it without, or pip install cryptography")
    return ReadError(f"expected a PDF, got {folded(f'{type(error).__name__}: {error}')}; repair or export it again")


def _missing(blank: Sequence[int], damaged: dict[int, str], count: int, lost: int) -> str:
    """Say which pages are missing from the text; empty if none is."""
    told = []
    if blank:
        told.append(f"no text on {_pages(blank)} of {count} (scanned?); run OCR first, e.g. ocrmypdf")
    if damaged:
        reason = damaged[min(damaged)]
        told.append(f"{_pages(list(damaged))} of {count} cannot be read ({reason}); repair or export the file again")
    if lost > 0:
        told.append(f"{lost} of {lost + count} pages cannot be found in the file; repair or export it again")
    return "; ".join(told)


def _pages(numbers: Sequence[int]) -> str:
    """Write numbers of pages as people do: pages 2-9, 11."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    told = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"page{'s' * (len(numbers) > 1)} {told}"


def _joined(pages: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    """Join pages by blank lines; return the offset of each one's first character too."""
    text, starts = "", []
    parts = []
    reached = 0
    for page in pages:
        starts.append(reached)
        if page:
            parts.append(page)
            reached += len(page) + 2
    text = "\n\n".join(parts)
    return text, tuple(min(start, len(text)) for start in starts)


def _text_of(page: PageObject) -> str:
    text = _mended(page.extract_text()).translate(_LIGATURES).strip()
    values = [f"{name}: {value}" for name, value in _form_values(page) if value not in text]
    return "\n".join([text, *values]).strip()


def _form_values(page: PageObject) -> Iterator[tuple[str, str]]:
    """Yield the fields of a form that are filled in, which are no part of the page's text, and their values."""
    for reference in _resolved(page.get("/Annots")) or ():
        field = _resolved(reference)
        if not hasattr(field, "get") or field.get("/Subtype") != "/Widget":
            continue
        parent = _resolved(field.get("/Parent"))
        owners = [field] if not hasattr(parent, "get") else [field, parent]
        found = {key: next((_resolved(o[key]) for o in owners if key in o), None) for key in ("/TU", "/T", "/V")}
        name, value = (_text_in(found["/TU"]) or _text_in(found["/T"])), found["/V"]
        values = [_text_in(one).removeprefix("/") for one in (value if isinstance(value, list) else [value])]
        told = ", ".join(one for one in values if one and one != "Off")
        if name and told:
            yield name, told


def _resolved(value: Any) -> Any:
    return value.get_object() if hasattr(value, "get_object") else value


def _text_in(value: Any) -> str:
    return _mended(str(value)).translate(_LIGATURES).strip() if isinstance(value, str) else ""


def _mended(text: str) -> str:
    # pypdf leaves NUL, and splits characters beyond U+FFFF into two halves, if a font's table has them so.
    return text.replace("\0", "").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@contextmanager
def _problems() -> Iterator[list[str]]:
    """Collect what pypdf logs and warns of, instead of letting it go to stderr."""
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(folded(record.getMessage()))  # type: ignore[method-assign]
    logger = logging.getLogger("pypdf")
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield found
    finally:
        logger.removeHandler(handler)
