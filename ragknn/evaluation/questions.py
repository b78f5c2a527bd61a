"""Judged questions, read from a folder in BEIR's layout.

corpus.jsonl or other files    the documents; `read_documents` reads them
queries.jsonl                  {"_id": "q1", "text": "..."}, one per line
qrels/test.tsv                 query-id, corpus-id and score, separated by tabs, below a header with these names

N. Thakur et al.: BEIR: A heterogeneous benchmark for zero-shot evaluation of information retrieval models.
    NeurIPS Datasets and Benchmarks 2021.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ragknn.errors import ReadError
from ragknn.evaluation._metrics import Grades

_HEADER = ("query-id", "corpus-id", "score")


@dataclass(frozen=True, slots=True)
class Questions:
    """Queries and the documents that answer them.

    Attributes:
        queries: text of each judged query by its id, in the order of the file.
        grades: grades of the judged documents of each query; 1 or more is relevant.

    Raises:
        ValueError: a query without grades, or grades without a query.
    """

    queries: Mapping[str, str]
    grades: Mapping[str, Grades]

    def __post_init__(self) -> None:
        if odd := sorted(self.queries.keys() ^ self.grades.keys()):
            raise ValueError(f"expected text and grades of the same queries, got only one of them for {odd[0]!r}")

    def __len__(self) -> int:
        return len(self.queries)

    def __repr__(self) -> str:
        return f"Questions({len(self)} queries, {sum(map(len, self.grades.values()))} judgements)"


def read_questions(folder: str | Path, split: str = "test") -> Questions:
    """Read the queries and judgements of a folder in BEIR's layout.

    Queries without judgements in this split are left out.

    Args:
        folder: folder with `queries.jsonl` and the folder `qrels`.
        split: name of a file of judgements in `qrels`, without `.tsv`.

    Raises:
        ReadError: a file is missing or invalid; the message names file and line.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ReadError(f"{folder}: expected a folder with queries.jsonl and qrels/{split}.tsv, got no folder")
    queries_path, grades_path = root / "queries.jsonl", root / "qrels" / f"{split}.tsv"
    if not queries_path.is_file():
        raise ReadError(f'{queries_path}: expected a file with a line {{"_id": ..., "text": ...}} per query, got none')
    if not grades_path.is_file():
        splits = sorted(path.stem for path in grades_path.parent.glob("*.tsv"))
        there = f"there are {', '.join(splits)}; choose one of these" if splits else "there is none; add it"
        raise ReadError(f"{grades_path}: expected judgements of the split {split!r}, {there}")
    try:
        queries = dict(_queries(queries_path))
        grades = _grades(grades_path, queries)
    except UnicodeDecodeError as error:
        raise ReadError(f"{root}: expected queries and judgements in UTF-8, got {error}; convert them") from error
    except OSError as error:
        raise ReadError(f"{error.filename}: expected a readable file, got {error.strerror}; check it") from error
    judged = {query: text for query, text in queries.items() if query in grades}
    return Questions(judged, {query: grades[query] for query in judged})


def _queries(path: Path) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            place = f"{path}:{number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ReadError(f"{place}: expected a JSON object per line, got {_short(line)}: {error}") from error
            query, text = (row.get("_id"), row.get("text")) if isinstance(row, dict) else (None, None)
            # An integer id becomes a string, as in documents; the ids in judgements are strings.
            if type(query) not in (str, int) or not str(query) or not isinstance(text, str):
                raise ReadError(f'{place}: expected {{"_id": "...", "text": "..."}}, got {_short(line)}')
            if not text.strip():
                raise ReadError(f"{place}: expected words in the text of query {query!r}, got none; remove the line")
            if str(query) in seen:
                raise ReadError(f"{place}: expected each query id once, got {query!r} again; give it another")
            seen.add(str(query))
            yield str(query), text


def _grades(path: Path, queries: Mapping[str, str]) -> dict[str, dict[str, int]]:
    grades: dict[str, dict[str, int]] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter="\t")
        try:
            header = next(rows, [])
            if tuple(header) != _HEADER:
                got = _short("\t".join(header)) if header else "an empty file"
                raise ReadError(f"{path}:1: expected the header {' '.join(_HEADER)}, separated by tabs, got {got}")
            for row in rows:
                if row:
                    query, document, grade = _judgement(row, f"{path}:{rows.line_num}", queries)
                    known = grades.setdefault(query, {}).setdefault(document, grade)
                    if known != grade:
                        raise ReadError(
                            f"{path}:{rows.line_num}: expected one grade of {document!r} for query {query!r}, "
                            f"got {known} and {grade}; remove one"
                        )
        except csv.Error as error:
            raise ReadError(f"{path}:{rows.line_num}: expected columns separated by tabs, got: {error}") from error
    if not grades:
        raise ReadError(f"{path}: expected judgements below the header, got none")
    return grades


def _judgement(row: list[str], place: str, queries: Mapping[str, str]) -> tuple[str, str, int]:
    if len(row) != len(_HEADER):
        raise ReadError(f"{place}: expected {', '.join(_HEADER)} separated by tabs, got {_short(' '.join(row))}")
    query, document, score = row
    try:
        grade = int(score)
    except ValueError as error:
        raise ReadError(f"{place}: expected a whole number as score, got {score!r}") from error
    if query not in queries:
        raise ReadError(f"{place}: expected a query of queries.jsonl, got {query!r}; add it there, or remove the line")
    if not document:
        raise ReadError(f"{place}: expected a document id, got an empty one; remove the line")
    return query, document, grade


def _short(line: str) -> str:
    text = line.strip()
    return repr(text if len(text) <= 60 else text[:59] + "…")
