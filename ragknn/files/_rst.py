"""reStructuredText, by docutils; what Sphinx adds to it and docutils does not know is kept as it is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ragknn.files._bytes import File, read_text
from ragknn.files._rows import Reading, Row, Rows, folded


def read(file: File, reading: Reading) -> Rows:
    """Read a file that is one text."""
    import docutils.core  # optional
    import docutils.utils

    text, _ = read_text(file, reading)
    settings = {
        "report_level": docutils.utils.Reporter.SEVERE_LEVEL + 1,
        "halt_level": docutils.utils.Reporter.SEVERE_LEVEL + 1,
        "file_insertion_enabled": False,  # no other file becomes part of this one
        "raw_enabled": False,
        "_disable_config": True,
        "line_length_limit": reading.limits.text_bytes,
        "doctitle_xform": False,
    }
    document = docutils.core.publish_doctree(text, settings_overrides=settings)
    yield Row({}, "\n\n".join(filter(None, _blocks(document, 0))))


def _blocks(node: Any, level: int) -> Iterator[str]:
    from docutils import nodes

    for child in node.children:
        match child:
            case nodes.section():
                yield from _blocks(child, level + 1)
            case nodes.title():
                yield f"{'#' * min(level, 6)} {folded(child.astext())}".strip()
            case nodes.system_message():
                # A directive that is not known: what was written stands in it as a literal block.
                yield from (literal.astext() for literal in child.findall(nodes.literal_block))
            case nodes.literal_block() | nodes.doctest_block():
                yield f"```\n{child.astext()}\n```"
            case nodes.row():
                yield " ".join(folded(cell.astext()) for cell in child.children)
            case nodes.comment() | nodes.substitution_definition() | nodes.target() | nodes.Invisible():
                pass
            case nodes.TextElement():
                yield child.astext().strip()
            case _:
                yield from _blocks(child, level)
