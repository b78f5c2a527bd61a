"""Judged questions, read from a folder in BEIR's layout.

corpus.jsonl or other files    the documents; `read_documents` reads them
queries.jsonl                  {"_id": "q1", "text": "..."}, one per line; or queries.tsv, an id and a text per line
qrels/test.tsv                 query-id, corpus-id and score, separated by tabs, below a header with these names; or
                               as TREC has it, without a header: query, 0, document and grade

N. Thakur et al.: BEIR: A heterogeneous benchmark for zero-shot evaluation of information retrieval models.
    NeurIPS Datasets and Benchmarks 2021.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragknn._checks import check_mapping, check_number, check_type, described, shown
from ragknn.errors import ReadError
from ragknn.evaluation._metrics import Grades
from ragknn.evaluation._qrels import column_of, read_grades, shortened

_QUERIES = ("queries.jsonl", "queries.tsv")
_JUDGEMENTS = (".tsv", ".txt", ".qrels", ".qrel", ".trec", ".csv", "")  # suffixes in the order in which they are tried

# As the headers of queries name them, in small letters and without what is between words.
_IDS = {"id", "queryid", "qid", "query", "topic", "topicid", "questionid"}
_TEXTS = {"text", "query", "querytext", "question", "title"}


@dataclass(frozen=True, slots=True)
class Questions:
    """Queries and the documents that answer them.

    Attributes:
        queries: text of each judged query by its id, in the order of the file.
        grades: grades of the judged documents of each query; 1 or more is relevant.

    Raises:
        TypeError: ids or texts that are no str, or grades that are no numbers.
        ValueError: a query without grades, grades without a query, or a grade that is no whole number.
    """

    queries: Mapping[str, str]
    grades: Mapping[str, Grades]

    def __post_init__(self) -> None:
        check_mapping("queries", self.queries, '{"q1": "text"}')
        check_mapping("grades", self.grades, '{"q1": {"document": 1}}')
        for query in [*self.queries, *self.grades]:
            check_type("each query id", query, str)
        for query, text in self.queries.items():
            check_type(f"the text of query {shown(query)}", text, str)
        for query, grades in self.grades.items():
            check_mapping(f"the grades of query {shown(query)}", grades, '{"document": 1}')
            for document, grade in grades.items():
                check_type(f"each document id for query {shown(query)}", document, str)
                what = f"the grade of {shown(document)} for query {shown(query)}"
                if not check_number(what, grade).is_integer():
                    raise ValueError(f"expected {what} as a whole number, got {shown(grade)}")
        if odd := sorted(self.queries.keys() ^ self.grades.keys()):
            raise ValueError(f"expected text and grades of the same queries, got only one of them for {shown(odd[0])}")

    def __len__(self) -> int:
        return len(self.queries)

    def __repr__(self) -> str:
        return f"Questions({len(self)} queries, {sum(map(len, self.grades.values()))} judgements)"


def read_questions(folder: str | Path, split: str = "test") -> Questions:
    """Read the queries and judgements of a folder in BEIR's layout, or with files as TREC writes them.

    Queries without judgements in this split are left out.

    Args:
        folder: folder with `queries.jsonl` or `queries.tsv`, and the folder `qrels`. In `queries.tsv` each line has an
            id and a text, separated by a tab; a header may name them.
        split: name of a file of judgements in `qrels`, without its suffix (.tsv, .txt, .qrels, .qrel, .trec, .csv or
            none). It has a header with columns for query, document and grade, by their usual names; or it has none,
            and in each line query, 0, document and grade, separated by spaces or tabs. Grades are whole numbers.

    Raises:
        ReadError: a file is missing or invalid; the message names file and line.
    """
    check_type("split", split, str)
    if not isinstance(folder, str | Path):
        raise TypeError(f"expected folder as a path, got {described(folder)}")
    root = Path(folder)
    if not _is_folder(root):
        raise ReadError(
            f"{str(folder)[:200]}: expected a folder with queries.jsonl and qrels/{split[:80]}.tsv, got no folder"
        )
    queries_path = next((path for name in _QUERIES if (path := root / name).is_file()), None)
    if queries_path is None:
        raise ReadError(
            f'{root / _QUERIES[0]}: expected a file with a line {{"_id": ..., "text": ...}} per query, got none'
        )
    grades_path = _judgements(root / "qrels", split)
    try:
        queries = dict(_queries(queries_path))
        grades = read_grades(grades_path, queries, queries_path.name)
    except UnicodeDecodeError as error:
        raise ReadError(f"{root}: expected queries and judgements in UTF-8, got {error}; convert them") from error
    except OSError as error:
        raise ReadError(f"{error.filename}: expected a readable file, got {error.strerror}; check it") from error
    judged = {query: text for query, text in queries.items() if query in grades}
    return Questions(judged, {query: grades[query] for query in judged})


def _is_folder(path: Path) -> bool:
    with suppress(OSError, ValueError):  # a name that is too long, or that no file can have
        return path.is_dir()
    return False


def _judgements(folder: Path, split: str) -> Path:
    for suffix in _JUDGEMENTS:
        if (path := folder / f"{split}{suffix}").is_file():
            return path
    splits = sorted({path.stem for path in folder.glob("*") if path.suffix in _JUDGEMENTS and path.is_file()})
    there = f"there are {', '.join(splits)}; choose one of these" if splits else "there is none; add it"
    raise ReadError(f"{folder / split}.tsv: expected judgements of the split {split!r}, {there}")


def _queries(path: Path) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for place, query, text in (_rows if path.suffix == ".jsonl" else _lines)(path):
        if not text.strip():
            raise ReadError(f"{place}: expected words in the text of query {query!r}, got none; remove the line")
        if query in seen:
            raise ReadError(f"{place}: expected each query id once, got {query!r} again; give it another")
        seen.add(query)
        yield query, text


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Return place, id and text of each query in a file of JSON lines."""
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            place = f"{path}:{number}"
            try:
                row: Any = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ReadError(f"{place}: expected a JSON object per line, got {shortened(line)}: {error}") from error
            query, text = (row.get("_id"), row.get("text")) if isinstance(row, dict) else (None, None)
            # An integer id becomes a string, as in documents; the ids in judgements are strings.
            if type(query) not in (str, int) or not str(query) or not isinstance(text, str):
                raise ReadError(f'{place}: expected {{"_id": "...", "text": "..."}}, got {shortened(line)}')
            yield place, str(query), text


def _lines(path: Path) -> Iterator[tuple[str, str, str]]:
    """Return place, id and text of each query in a file with tabs; quotation marks are part of the text."""
    columns: tuple[int, int] | None = None
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            cells = line.rstrip("\n").split("\t")
            if not line.strip():
                continue
            if columns is None:
                query, text = column_of(cells, _IDS), column_of(cells, _TEXTS)
                if query is not None and text is not None and query != text:
                    columns = query, text
                    continue
                columns = 0, 1
            if len(cells) <= max(columns) or not cells[columns[0]].strip():
                raise ReadError(f"{path}:{number}: expected an id, a tab and a text, got {shortened(line)}")
            yield f"{path}:{number}", cells[columns[0]].strip(), cells[columns[1]]
