"""Files for the tests of reading, and what comes of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from ragknn.files.limits import Limits
from ragknn.files.reader import read_documents
from ragknn.records import Document
from ragknn.reports import Failure, Note

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
filled = st.text(characters, min_size=1)
texts = filled.filter(lambda text: bool(text.strip()))

# Metadata that every document of a file has.
PLACE = {"path", "folder", "suffix"}


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def bare(outcome: Document | Failure | Note) -> Document | Failure | Note:
    """Return a document without the metadata that tells its place."""
    if not isinstance(outcome, Document):
        return outcome
    return replace(outcome, metadata={key: value for key, value in outcome.metadata.items() if key not in PLACE})


def everything(path: Any, **options: Any) -> list[Document | Failure | Note]:
    """Read a path in this process, which is quicker than in one of its own."""
    options.setdefault("limits", Limits(seconds=None))
    return [bare(outcome) for outcome in read_documents(path, **options).outcomes()]


def outcomes(path: Any, **options: Any) -> list[Document | Failure]:
    return [one for one in everything(path, **options) if not isinstance(one, Note)]


def notes(path: Any, **options: Any) -> list[tuple[str, str]]:
    """Return the kind and the source of each note."""
    return [(one.kind, one.source) for one in everything(path, **options) if isinstance(one, Note)]


def only(path: Any, **options: Any) -> Document:
    [outcome] = outcomes(path, **options)
    assert isinstance(outcome, Document), outcome
    return outcome


def failure(path: Any, **options: Any) -> Failure:
    [outcome] = outcomes(path, **options)
    assert isinstance(outcome, Failure), outcome
    assert "\n" not in str(outcome)
    return outcome


def pdf(
    *pages: str, title: str | None = None, streams: dict[int, bytes] | None = None, filtered: str = "", shown: int = 1
) -> bytes:
    """Write a PDF by hand.

    Each page has the lines of a text, or a content stream of its own, by number; `filtered` says how all streams are
    packed, and `shown` how many times the pages are.
    """
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages))) + " "
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids * shown}] /Count {shown * len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, page in enumerate(pages):
        lines = "".join(f"({line}) Tj 0 -14 Td " for line in page.split("\n"))
        stream = (streams or {}).get(i + 1) or (f"BT /F1 12 Tf 72 720 Td {lines}ET" if page else "").encode()
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * i} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< {filtered} /Length {len(stream)} >>\nstream\n".encode() + stream + b"\nendstream")
    objects.append(f"<< /Title ({title}) >>" if title else "<< >>")
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n".encode() + (body if isinstance(body, bytes) else body.encode()) + b"\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = f"trailer\n<< /Size {size} /Root 1 0 R /Info {size - 1} 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    return out + f"xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}".encode()
