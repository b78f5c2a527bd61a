import csv
import io
from pathlib import Path

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_files import failure, filled, notes, only, outcomes, texts, write

from ragknn.files.reader import read_documents
from ragknn.records import Document
from ragknn.reports import Failure

OTHER_TEXT = "correct it, or name another field with text_field"
ONE_NAME = "expected a header with a name for each column"
string_columns = {"label": filled, "year": filled, "author name": filled}
NUL = "binary content? convert or remove it"


def test_csv_values_are_strings_and_empty_cells_absent(tmp_path: Path) -> None:
    path = write(tmp_path, "c.csv", 'id,text,label,year\n7,"One, ""two""\nthree",1,\n\n,Four,,2024\n')
    assert outcomes(path) == [
        Document("7", 'One, "two"\nthree', "1"),
        Document("c.csv#5", "Four", None, {"year": "2024"}),
    ]


def test_tsv_is_split_at_tabs(tmp_path: Path) -> None:
    path = write(tmp_path, "c.tsv", 'text\ttarget\nHe said "no", twice\tx\n')
    assert outcomes(path) == [Document("c.tsv#2", 'He said "no", twice', "x")]


@pytest.mark.parametrize(("name", "dialect"), [("a.csv", "excel"), ("a.tsv", "excel-tab")])
@settings(deadline=None, max_examples=50)
@given(
    rows=st.lists(st.fixed_dictionaries({"id": filled, "text": texts}, optional=string_columns), min_size=1, max_size=5)
)
def test_rows_written_as_csv_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, name: str, dialect: str, rows: list[dict[str, str]]
) -> None:
    file = io.StringIO(newline="")
    table = csv.DictWriter(file, ["id", "text", *string_columns], dialect=dialect)
    table.writeheader()
    table.writerows(rows)
    path = write(tmp_path_factory.mktemp("rows"), name, file.getvalue())
    assert outcomes(path) == [
        Document(row.pop("id"), row.pop("text"), row.pop("label", None), row) for row in map(dict, rows)
    ]


def test_a_cell_may_be_long_and_the_limit_of_the_csv_module_stays(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    text = "word " * 100_000
    assert outcomes(write(tmp_path, "a.csv", f"text\n{text}\n")) == [Document("a.csv#2", text)]
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("id,text\n1,x,y\n", "a.csv:2: expected 2 cells as in the header, got 3; quote cells with delimiters"),
        ("id,text\n1\n", "a.csv:2: expected 2 cells as in the header, got 1; quote cells with delimiters"),
        ('text\n"a"b\n', "a.csv:2: expected a row of 1 cells, got ',' expected after '\"'; correct its quotes"),
        ('text\n"a\nb', "a.csv:2: expected a row of 1 cells, got unexpected end of data; correct its quotes"),
        (
            "id,text\n1,ü".encode() + b"caf\xe9\n",
            "a.csv:2: expected UTF-8, found byte 0xE9 at offset 5 of column 'text'; convert it to UTF-8, or name its "
            "encoding",
        ),
        (b"id,text\n1,\0\n", f"a.csv:2: expected text, found a NUL byte at offset 0 of column 'text': {NUL}"),
        (
            "1,Bring it\n",
            "a.csv: expected a header with a column 'text', got '1', 'Bring it'; add one or name it with text_field, "
            "or name the delimiter",
        ),
        ("text,text\na,b\n", f"a.csv: {ONE_NAME}, got 'text', 'text'; name each column once"),
        ('"text"x\na\n', "a.csv: expected a header, got ',' expected after '\"'; correct its quotes"),
        (
            b"caf\x81,text\na,b\n",
            "a.csv: expected UTF-8, found byte 0x81 at offset 3 of the header; convert it to UTF-8, or name its "
            "encoding",
        ),
    ],
)
def test_a_bad_table_is_reported(tmp_path: Path, content: str | bytes, expected: str) -> None:
    assert str(failure(write(tmp_path, "a.csv", content))) == expected


def test_rows_behind_a_bad_one_are_read_under_their_own_lines(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text,n\n"two\nlines",1\n"a"b,2\n\nx,3\n')
    places = [outcome.id if isinstance(outcome, Document) else outcome.source for outcome in outcomes(path)]
    assert places == ["a.csv#2", "a.csv:4", "a.csv#6"]


def test_a_column_that_was_named_must_be_there(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "id,text\n1,x\n")
    for option in ("text_field", "id_field", "label_field"):
        reason = f"expected a column 'stars', got 'id', 'text'; correct {option}, or the delimiter"
        assert failure(path, **{option: "stars"}) == Failure("a.csv", reason)


# Tables as other programs write them


# Python's writer does not quote a carriage return if lines end in another way.
cell = filled.map(lambda text: text.replace("\r", "\n"))
quotable = st.fixed_dictionaries(
    {"id": cell, "text": cell.filter(str.strip)}, optional=dict.fromkeys(string_columns, cell)
)


@settings(deadline=None, max_examples=50)
@given(
    rows=st.lists(quotable, min_size=1, max_size=5),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    hint=st.booleans(),
)
def test_the_delimiter_is_found(tmp_path_factory, rows, delimiter, quoting, encoding, line_end, hint) -> None:
    file = io.StringIO(newline="")
    file.write(f"sep={delimiter}{line_end}" * hint)
    table = csv.DictWriter(
        file, ["id", "text", *string_columns], delimiter=delimiter, quoting=quoting, lineterminator=line_end
    )
    table.writeheader()
    table.writerows(rows)
    path = write(tmp_path_factory.mktemp("rows"), "a.csv", file.getvalue().encode(encoding))
    expected = [(row["id"], row["text"], row.get("label")) for row in rows]
    for options in ({}, {"delimiter": delimiter}):
        assert [(one.id, one.text, one.label) for one in outcomes(path, **options)] == expected


western = st.text(st.characters(codec="cp1252", exclude_characters="\0"), min_size=1).filter(str.strip)


@settings(deadline=None, max_examples=50)
@given(texts=st.lists(western, min_size=1, max_size=5))
def test_what_excel_writes_in_western_europe_is_read(tmp_path_factory, texts: list[str]) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=";").writerows([["id", "text"], *([number, text] for number, text in enumerate(texts))])
    path = write(tmp_path_factory.mktemp("rows"), "a.csv", file.getvalue().encode("cp1252"))
    assert [one.text for one in outcomes(path, encoding="cp1252")] == texts


def test_a_table_that_is_not_utf_8_is_taken_for_windows_1252_and_that_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "id,text\n1,Café öffnet – €5\n2,plain\n".encode("cp1252"))
    assert [one.text for one in outcomes(path)] == ["Café öffnet – €5", "plain"]
    assert notes(path) == [("assumed", "a.csv")]


def test_one_bad_byte_in_utf_8_costs_one_row(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "id,text\n1,Café\n".encode() + b"2,caf\xe9\n" + "3,thé\n".encode())
    first, bad, last = outcomes(path)
    assert (first.text, bad.source, last.text) == ("Café", "a.csv:3", "thé")


@pytest.mark.parametrize("encoding", ["cp1251", "shift_jis", "utf-16-le", "iso-8859-2", "mac-roman"])
@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.md", "a.jsonl", "a.json"])
def test_an_encoding_can_be_named(tmp_path: Path, encoding: str, name: str) -> None:
    text = {"cp1251": "Кафе открыто", "shift_jis": "図書館", "iso-8859-2": "Żółw", "mac-roman": "Café"}.get(
        encoding, "Ü€"
    )
    content = {"a.csv": f"id;text\n1;{text}\n", "a.jsonl": f'{{"text": "{text}"}}', "a.json": f'[{{"text": "{text}"}}]'}
    path = write(tmp_path, name, content.get(name, text).encode(encoding))
    assert only(path, encoding=encoding).text == text
    assert notes(path, encoding=encoding) == []


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "base64", "hex", ""])
def test_an_encoding_that_python_does_not_know_is_refused(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(ValueError, match="expected an encoding such as"):
        read_documents(write(tmp_path, "a.csv", "text\nx\n"), encoding=encoding)


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n", "\0"])
def test_a_delimiter_is_one_character(tmp_path: Path, delimiter: str) -> None:
    with pytest.raises(ValueError, match="expected a delimiter of one character"):
        read_documents(write(tmp_path, "a.csv", "text\nx\n"), delimiter=delimiter)


def test_any_delimiter_can_be_named(tmp_path: Path) -> None:
    assert only(write(tmp_path, "a.csv", "id:text\n1:Opens, at nine\n"), delimiter=":").text == "Opens, at nine"
    assert only(write(tmp_path, "b.csv", "id\ttext\n1\tx;y\n"), delimiter="\\t").text == "x;y"


def test_the_delimiter_is_found_by_the_column_that_was_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "Jahr;Umsatztext;Kosten\n2024;gut, sehr gut;-11,08\n")
    assert only(path, text_field="Umsatztext").text == "gut, sehr gut"
    assert "name the delimiter" in failure(path).reason


def test_the_index_column_of_pandas_is_passed_over(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"text": ["Opens, at nine.", "Closed."], "label": ["a", "b"]})
    path = tmp_path / "a.csv"
    for options in ({}, {"sep": ";"}, {"encoding": "utf-16"}, {"index": False}):
        frame.to_csv(path, **options)
        assert [(one.text, one.label, one.metadata) for one in outcomes(path)] == [
            ("Opens, at nine.", "a", {}),
            ("Closed.", "b", {}),
        ]


def test_other_columns_without_a_name_keep_what_they_hold(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,,year,\nx,more,2024,\ny,,,\n")
    assert [one.metadata for one in outcomes(path)] == [{"column 2": "more", "year": "2024"}, {}]


def test_what_spreadsheets_leave_around_a_table_is_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "\n\nid;text\n1;x;;\n;\n;;;\n2;y\n")
    assert outcomes(path) == [Document("1", "x"), Document("2", "y")]


@pytest.mark.parametrize("content", ["id,text\n", "\n\n", "sep=;\n", "\ufeff"])
def test_a_table_without_rows_is_no_failure(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, "a.csv", content)
    assert (outcomes(path), notes(path)) == ([], [("empty", "a.csv")])


def test_lines_are_counted_below_a_hint(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "sep=;\nid;text\n1;x\n2\n")
    assert [one.source for one in outcomes(path) if isinstance(one, Failure)] == ["a.csv:4"]
    assert [one.source for one in read_documents(path).outcomes() if isinstance(one, Document)] == ["a.csv:3"]


def test_an_empty_cell_of_text_is_no_failure(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "id,text,year\n1,,2024\n2,words,2024\n3,  ,2024\n")
    assert [one.id for one in outcomes(path)] == ["2"]
    assert notes(path) == [("empty", "a.csv:2"), ("empty", "a.csv:4")]


def test_labels_of_rows_that_are_no_numbers_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", ",text\n0,a\nfoo,b\n,c\n")
    assert [one.metadata for one in outcomes(path)] == [{}, {"column 1": "foo"}, {}]


def test_an_empty_cell_of_an_id_is_told_as_such(tmp_path: Path) -> None:
    reason = failure(write(tmp_path, "a.csv", "key,text\n,a\n"), id_field="key").reason
    assert "got none in this row; correct it, or name another field with id_field" in reason


def test_a_space_before_quotes_is_no_part_of_the_cell(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'id, "text", "label"\n1, "Yes, you", a\n')
    assert outcomes(path) == [Document("1", "Yes, you", "a")]
