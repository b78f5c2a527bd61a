"""The formats that can be read, and which parser reads each.

| files | parser |
| --- | --- |
| .txt .text .log, source code, settings and other markup | `_text` |
| .md .markdown | `_markdown`; its fields above the text: `_front_matter` |
| .html .htm .xhtml | `_html` |
| .csv .tsv | `_tables` |
| .json .jsonl .ndjson | `_json` |
| .pdf | `_pdf`; its broken words: `_lines` |
| .docx .xlsx | `_office` |
| .epub | `_epub` |
| .ipynb | `_notebooks` |
| .rst | `_rst` |

A new one is a module with a function from a `File` and a `Reading` to `Rows`, and a line in `FORMATS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from ragknn.errors import MissingDependency
from ragknn.files import _epub, _html, _json, _markdown, _notebooks, _office, _pdf, _rst, _tables, _text
from ragknn.files._isolation import Parser

_LARGE = 8 * 2**20  # bytes
EXTRA = "files"  # the extra that brings the optional libraries

# Text that is read as it stands.
_SOURCE = (
    ".asm .bash .bat .c .cc .clj .cmake .cpp .cs .css .cxx .d .dart .erl .ex .exs .f90 .fs .go .gradle .groovy "
    ".h .hh .hpp .hs .hxx .java .jl .js .jsx .kt .kts .lisp .lua .m .mjs .ml .mm .nim .php .pl .pm .proto .ps1 .py "
    ".pyi .pyx .r .rb .rs .scala .scm .scss .sh .sol .sql .swift .tcl .tf .ts .tsx .v .vb .vhd .vue .zig .zsh"
)
_SETTINGS = ".cfg .conf .ini .properties .toml .yaml .yml"
_MARKUP = ".adoc .asciidoc .org .tex .textile .wiki"


@dataclass(frozen=True, slots=True)
class Format:
    """A format of files.

    Attributes:
        name: how a user names it.
        suffixes: of its files, in lower case.
        parse: reads one file.
        of_rows: whether a file has several documents.
        foreign: whether a foreign library parses it, and so a process of its own.
        grows: whether its values may take many times the memory of the file, so that a large one is parsed likewise.
        needs: the module of an optional library that it needs, and the name of its package.
    """

    name: str
    suffixes: tuple[str, ...]
    parse: Parser
    of_rows: bool = False
    foreign: bool = False
    grows: bool = False
    needs: tuple[str, str] | None = None

    def is_isolated(self, size: int, packed: bool) -> bool:
        """Whether a file of so many bytes, packed or not, is parsed in a process of its own."""
        return self.foreign or (self.grows and (packed or size > _LARGE))

    @property
    def missing(self) -> str | None:
        """The package that it needs and that is not installed."""
        return None if self.needs is None or find_spec(self.needs[0]) else self.needs[1]

    def check(self) -> None:
        """Do nothing if it can be read.

        Raises:
            MissingDependency: a package is not installed.
        """
        if package := self.missing:
            raise MissingDependency(package, f"reading {self.suffixes[0]} files", EXTRA)


FORMATS = (
    Format("text", (".txt", ".text", ".log", *_SOURCE.split(), *_SETTINGS.split(), *_MARKUP.split()), _text.read),
    Format("markdown", (".md", ".markdown", ".mdx"), _markdown.read),
    Format("html", (".html", ".htm", ".xhtml"), _html.read, foreign=True),
    Format("csv", (".csv",), _tables.read, of_rows=True),
    Format("tsv", (".tsv", ".tab"), _tables.read, of_rows=True),
    Format("json", (".json",), _json.read, of_rows=True, grows=True),
    Format("jsonl", (".jsonl", ".ndjson"), _json.read_lines, of_rows=True, grows=True),
    Format("pdf", (".pdf",), _pdf.read, foreign=True),
    Format("docx", (".docx",), _office.read_docx, foreign=True, needs=("docx", "python-docx")),
    Format("xlsx", (".xlsx",), _office.read_xlsx, of_rows=True, foreign=True, needs=("openpyxl", "openpyxl")),
    Format("epub", (".epub",), _epub.read, foreign=True),
    Format("ipynb", (".ipynb",), _notebooks.read, foreign=True, needs=("nbformat", "nbformat")),
    Format("rst", (".rst", ".rest"), _rst.read, foreign=True, needs=("docutils", "docutils")),
)
BY_NAME = {one.name: one for one in FORMATS}
BY_SUFFIX = {suffix: one for one in FORMATS for suffix in one.suffixes}
