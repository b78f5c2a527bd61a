"""Reading judgements: as BEIR writes them, under a header, and as TREC does, without one.

query-id  corpus-id  score       BEIR: separated by tabs; other usual names, commas, and further columns are read too
q1 0 doc7 2                      TREC: query, an iteration that nobody uses, document and grade, by spaces or tabs
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TextIO

from ragknn.errors import ReadError

_COLUMNS = {  # as headers name them, in small letters and without what is between words
    "query": {"queryid", "qid", "query", "topic", "topicid", "topicno", "questionid", "question"},
    "document": {"corpusid", "docid", "documentid", "docno", "did", "pid", "passageid", "doc", "document", "passage"},
    "grade": {"score", "relevance", "rel", "relevancy", "label", "grade", "judgment", "judgement", "qrel"},
}
_USUAL = "query-id corpus-id score"
_TREC = 4  # columns
_RUN = 6  # columns of a ranking as TREC writes it: query, Q0, document, rank, score, name


def read_grades(path: Path, queries: Mapping[str, str], source: str) -> dict[str, dict[str, int]]:
    """Return the grade of each judged document by query and document.

    Args:
        path: file of judgements.
        queries: texts of all queries by their ids.
        source: name of the file that has them.

    Raises:
        ReadError: what it holds is no judgement; the message names file and line.
        OSError: it cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    grades: dict[str, dict[str, int]] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, query, document, score in _rows(file, path):
            place = f"{path}:{number}"
            grade = _grade(score, place)
            if query not in queries:
                raise ReadError(
                    f"{place}: expected a query of {source}, got {query!r}; add it there, or remove the line"
                )
            if not document:
                raise ReadError(f"{place}: expected a document id, got an empty one; remove the line")
            known = grades.setdefault(query, {}).setdefault(document, grade)
            if known != grade:
                raise ReadError(
                    f"{place}: expected one grade of {document!r} for query {query!r}, got {known} and {grade}; "
                    "remove one"
                )
    if not grades:
        raise ReadError(f"{path}: expected judgements below the header, got none")
    return grades


def shortened(line: str) -> str:
    """Return the beginning of a line, for a message."""
    text = line.strip()
    return repr(text if len(text) <= 60 else text[:59] + "…")


def column_of(names: Sequence[str], usual: set[str]) -> int | None:
    """Return the number of the first column with one of the usual names, however spelled; None if there is none."""
    plain = [re.sub(r"[\W_]+", "", name.lower()) for name in names]
    return next((number for number, name in enumerate(plain) if name in usual), None)


def _rows(file: TextIO, path: Path) -> Iterator[tuple[int, str, str, str]]:
    """Return line, query, document and grade of each judgement."""
    lines = enumerate(file, start=1)
    number, first = next(((number, line) for number, line in lines if line.strip()), (1, ""))
    for delimiter in ("\t", ",", None):
        names = first.strip().split(delimiter)
        columns = [column_of(names, usual) for usual in _COLUMNS.values()]
        if None not in columns:
            for place, row in _below_header(file, path, number, delimiter, names):
                query, document, grade = (row[column] for column in columns if column is not None)
                yield place, query, document, grade
            return
    if len(row := _trec(first)) != _TREC or not _is_number(row[-1]):
        run = ", which looks like a ranking of a system" if len(first.split()) == _RUN else ""
        raise ReadError(
            f"{path}:{number}: expected the header {_USUAL}, separated by tabs, got "
            f"{shortened(first) if first else 'an empty file'}{run}; or, as TREC has it, no header and the columns "
            "query, 0, document and grade"
        )
    for place, line in chain([(number, first)], lines):
        if line.strip():
            if len(row := _trec(line)) != _TREC:
                raise ReadError(f"{path}:{place}: expected query, 0, document and grade, got {shortened(line)}")
            yield place, row[0], row[2], row[3]


def _below_header(
    file: TextIO, path: Path, header: int, delimiter: str | None, names: Sequence[str]
) -> Iterator[tuple[int, list[str]]]:
    separator = {"\t": "tabs", ",": "commas", None: "spaces"}[delimiter]
    number = header
    try:
        rows = csv.reader(file, delimiter=delimiter) if delimiter else map(str.split, file)
        for place, row in enumerate(rows, start=1):
            number = header + (getattr(rows, "line_num", place))  # a quoted cell may hold line ends
            if row and len(row) != len(names):
                got = shortened(" ".join(row))
                raise ReadError(f"{path}:{number}: expected {', '.join(names)} separated by {separator}, got {got}")
            if row:
                yield number, row
    except csv.Error as error:
        raise ReadError(f"{path}:{number}: expected columns separated by {separator}, got: {error}") from error


def _trec(line: str) -> list[str]:
    return line.strip().split("\t") if line.strip().count("\t") == _TREC - 1 else line.split()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _grade(score: str, place: str) -> int:
    try:
        number = float(score)
        if number.is_integer():
            return int(number)
    except ValueError:
        pass
    raise ReadError(f"{place}: expected a whole number as score, got {score!r}")
