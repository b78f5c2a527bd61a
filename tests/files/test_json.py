import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_files import PLACE, failure, filled, notes, outcomes, texts, write

from ragknn.files.limits import Limits
from ragknn.files.reader import read_documents
from ragknn.records import Document
from ragknn.reports import Failure, Note

OTHER_TEXT = "correct it, or name another field with text_field"
OTHER_ID = "correct it, or name another field with id_field"
OTHER_LABEL = "correct it, or name another field with label_field"
ID = "a string, not empty, or an integer"
LABEL = "a string, number or boolean"
HALF = "; write or remove the whole character"
NO_VALUE = "expected JSON, got Expecting value"
PROPERTY = "Expecting property name enclosed in double quotes"
NUL = "binary content? convert or remove it"

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | filled,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(filled, inner, max_size=3),
    max_leaves=5,
)
roles = {"id", "_id", "text", "content", "body", "title", "label", "target", "metadata", *PLACE}
metadata = st.dictionaries(filled.filter(lambda key: key not in roles), values.filter(lambda value: value is not None))
documents = st.builds(
    Document, filled, texts, st.none() | filled | st.integers(-(2**60), 2**60) | st.booleans(), metadata
)


def test_json_lines_are_a_document_each(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "text": "One", "label": "x", "year": 2024, "metadata": {"source": "web", "year": 1}},
        {"_id": 7, "title": "Two", "text": "2", "label": 1.5, "score": None},
        {"content": "Three", "target": True, "tags": ["a", {"b": None}]},
    ]
    path = write(tmp_path, "c.jsonl", "\ufeff" + json.dumps(rows[0]) + "\n\n" + "\r\n".join(map(json.dumps, rows[1:])))
    assert outcomes(path) == [
        Document("a", "One", "x", {"source": "web", "year": 2024}),
        Document("7", "Two\n\n2", 1.5, {"title": "Two"}),
        Document("c.jsonl#4", "Three", True, {"tags": ["a", {"b": None}]}),
    ]
    labels = [document.label for document in read_documents(path)]
    assert [type(label) for label in labels] == [str, float, bool]


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        ([{"text": "x"}, {"text": "y", "id": "b"}], ["a.json#1", "b"]),
        ({"version": 1, "data": [{"text": "x"}, {"text": "y"}]}, ["a.json#1", "a.json#2"]),
        ({"content": [{"text": "x"}]}, ["a.json#1"]),
        ({"text": "x", "tags": ["p", "q"]}, ["a.json"]),
    ],
)
def test_json_is_a_list_an_object_around_one_or_one_object(tmp_path: Path, content: Any, ids: list[str]) -> None:
    documents = list(read_documents(write(tmp_path, "a.json", json.dumps(content))))
    assert [document.id for document in documents] == ids
    assert documents[0].text == "x"


@settings(deadline=None, max_examples=50)
@given(rows=st.lists(documents, min_size=1, max_size=5))
def test_documents_written_as_json_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Document]
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    objects = [{"id": row.id, "text": row.text, "label": row.label, **row.metadata} for row in rows]
    lines = "\n".join(json.dumps(row, ensure_ascii=i % 2 == 0) for i, row in enumerate(objects))
    assert outcomes(write(folder, "a.jsonl", lines)) == rows
    assert outcomes(write(folder, "a.json", json.dumps(objects))) == rows
    assert outcomes(write(folder, "b.json", json.dumps({"rows": objects}, indent=1))) == rows


@pytest.mark.parametrize(
    ("line", "reason", "document_id"),
    [
        ("{broken", f"expected a JSON object, got '{{broken' ({PROPERTY} at column 2); correct the line", None),
        ("[1, 2]", "expected a JSON object, got [1, 2]; correct it", None),
        ('{"id": "a"}', f"expected 'text' as a string, got only the fields ['id']; {OTHER_TEXT}", "a"),
        (
            '{"text": "x", "n": ' + "9" * 5000 + "}",
            "(a number of 5000 digits as 'n'); correct the line",
            None,
        ),
        ('{"body": ["x"]}', f"expected 'body' as a string, got ['x']; {OTHER_TEXT}", "a.jsonl#2"),
        ('{"id": 1.5, "text": "x"}', f"expected 'id' as {ID}, got 1.5; {OTHER_ID}", None),
        ('{"_id": true, "text": "x"}', f"expected '_id' as {ID}, got True; {OTHER_ID}", None),
        ('{"id": "", "text": "x"}', f"expected 'id' as {ID}, got ''; {OTHER_ID}", None),
        ('{"text": "x", "label": ["a"]}', f"expected 'label' as {LABEL}, got ['a']; {OTHER_LABEL}", "a.jsonl#2"),
        ('{"text": "x", "title": ["a"]}', "expected 'title' as a string, got ['a']; correct it", "a.jsonl#2"),
        (
            '{"text": "x", "n": NaN}',
            'expected a JSON object, got \'{"text": "x", "n": NaN}\' '
            "(NaN as 'n', which is not a finite number); correct the line",
            None,
        ),
        ('{"text": "x", "n": -Infinity}', "(-Infinity as 'n', which is not a finite number); correct the line", None),
        ('{"text": "x", "n": 1e999}', "(1e999 as 'n', which is not a finite number); correct the line", None),
        ('{"id": "a", "text": "\\ud800"}', f"expected Unicode text, got half a character, \\ud800{HALF}", "a"),
        (
            '{"id": "a", "text": "x", "m": {"\\udc01": 1}}',
            f"expected Unicode text, got half a character, \\udc01{HALF}",
            "a",
        ),
        ('{"id": "\\ud800", "text": "x"}', f"expected Unicode text, got half a character, \\ud800{HALF}", None),
        (
            b'{"text": "caf\xe9"}',
            "expected UTF-8, found byte 0xE9 at offset 13 of the line; convert it to UTF-8, or name its encoding",
            None,
        ),
        (b'{"text": "\0"}', f"expected text, found a NUL byte at offset 10 of the line: {NUL}", None),
    ],
)
def test_a_bad_json_line_is_reported_and_the_next_is_read(
    tmp_path: Path, line: str | bytes, reason: str, document_id: str | None
) -> None:
    content = b'{"text": "one"}\n%b\n{"text": "three"}\n' % (line if isinstance(line, bytes) else line.encode())
    one, bad, three = outcomes(write(tmp_path, "a.jsonl", content))
    assert (one, three) == (Document("a.jsonl#1", "one"), Document("a.jsonl#3", "three"))
    assert isinstance(bad, Failure)
    assert (bad.source, bad.document_id) == ("a.jsonl:2", document_id)
    assert bad.reason.endswith(reason)
    assert "\n" not in bad.reason


@pytest.mark.parametrize("depth", [100_000, sys.getrecursionlimit(), *range(800, 1000, 10)])
def test_json_nested_too_deeply_is_reported(tmp_path: Path, depth: int) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "x", "m": ' + "[" * depth + "]" * depth + '}\n{"text": "y"}')
    deep, plain = outcomes(path)
    # Where the limit lies is up to the interpreter and how deep the caller stands; beyond it there is no crash.
    assert isinstance(deep, Failure) or depth < 1000
    assert plain == Document("a.jsonl#2", "y")


def test_a_row_without_a_field_that_was_named_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"id": 1, "text": "x"}')
    assert failure(path, id_field="key") == Failure(
        "a.jsonl:1", f"expected 'key' as {ID}, got only the fields ['id', 'text']; {OTHER_ID}"
    )
    assert "expected 'review' as a string, got only the fields" in failure(path, text_field="review").reason
    assert outcomes(path, label_field="stars") == [Document("1", "x")]


def test_a_bad_entry_of_a_json_list_is_reported_by_position(tmp_path: Path) -> None:
    assert outcomes(write(tmp_path, "a.json", '[{"text": "x"}, 3]')) == [
        Document("a.json#1", "x"),
        Failure("a.json#2", "expected a JSON object, got 3; correct it"),
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[{]", f"a.json:1: expected JSON, got {PROPERTY} at column 3; correct it; what follows was not read"),
        (
            '[\n{"text": }]',
            f"a.json:2: {NO_VALUE} at column 10; correct it; what follows was not read",
        ),
        (
            "[\nNaN]",
            "a.json#1: expected a JSON object, got one with NaN, which is not a finite number (line 2); correct it",
        ),
        ("3", "a.json: expected a JSON object, got 3; correct it"),
        ('{"x": 1}', f"a.json: expected 'text' as a string, got only the fields ['x']; {OTHER_TEXT}"),
    ],
)
def test_bad_json_is_reported(tmp_path: Path, content: str, expected: str) -> None:
    assert str(failure(write(tmp_path, "a.json", content))) == expected


def test_a_bad_row_costs_itself_and_not_the_file(tmp_path: Path) -> None:
    good = [{"id": str(number), "text": f"text {number}"} for number in range(6)]
    lines = [json.dumps(row) for row in good]
    lines[1] = '{"id": "1", "text": "a", "text": "b"}'
    lines[2] = '{"id": "2", "text": "x", "n": {"deep": [NaN]}}'
    lines[3] = '{"id": "3", "text": "x",}'
    lines[4] = '{"id": "4" "text": "x", "inner": [{"text": "no row"}]}'
    places = ["0", "a.json#2", "a.json#3", "a.json:5", "a.json:6", "5"]
    for name, content in {"a.json": "[\n" + ",\n".join(lines) + "\n]", "b.jsonl": "\n".join(lines)}.items():
        found = outcomes(write(tmp_path, name, content))
        told = [one.id if isinstance(one, Document) else one.source for one in found]
        assert told == (places if name == "a.json" else ["0", "b.jsonl:2", "b.jsonl:3", "b.jsonl:4", "b.jsonl:5", "5"])
        reasons = [one.reason for one in found if isinstance(one, Failure)]
        assert "the key 'text' twice" in reasons[0]
        assert "NaN" in reasons[1]
    assert "'a' twice" not in str(outcomes(tmp_path))


def test_a_bad_row_in_an_object_around_them_costs_itself_too(tmp_path: Path) -> None:
    rows = '\n {"text": "one"},\n {"text": "two",},\n {"text": "three"}\n'
    path = write(tmp_path, "a.json", f'{{"version": 1, "meta": {{"x": "[{{"}}, "data": [{rows}], "more": 2}}')
    one, bad, three = outcomes(path)
    assert (one, bad.source, three) == (Document("a.json#1", "one"), "a.json:3", Document("a.json#3", "three"))
    nested = write(tmp_path, "b.json", '{"meta": {"authors": [{"name": "x"}]}, "data": }')
    assert failure(nested).source == "b.json:1"


def test_what_cannot_be_found_again_behind_a_bad_row_is_told(tmp_path: Path) -> None:
    one, bad = outcomes(write(tmp_path, "a.json", '[{"text": "x"}, {"text": }, {"text": "lost"}]'))
    assert one == Document("a.json#1", "x")
    assert str(bad).endswith("what follows was not read")


@pytest.mark.parametrize(
    "content",
    ['{"id": "a", "id": "b", "text": "x"}', '{"text": "x", "m": {"k": 1, "k": 1}}', '[{"text": "x", "text": ""}]'],
)
def test_a_key_that_stands_twice_is_named(tmp_path: Path, content: str) -> None:
    assert "twice" in failure(write(tmp_path, "a.json", content)).reason
    assert "twice" in failure(write(tmp_path, "a.jsonl", content.strip("[]"))).reason


def test_comments_are_named_with_their_line(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", '{"id": "a",\n // hours\n "text": "x"}')
    assert str(failure(path)) == (
        "a.json:2: expected JSON, got a comment (//), which JSON does not have, at column 2; correct it"
    )


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        ({"doc1": {"text": "one"}, "doc2": {"id": "own", "text": "two"}}, ["doc1", "own"]),
        ({"doc1": {"text": "one"}}, ["doc1"]),
        ({"data": {"documents": [{"id": "a", "text": "t"}]}}, ["a"]),
        ({"documents": [{"id": "a", "text": "t"}], "tags": ["x"]}, ["a"]),
        ({"id": "a", "text": "t", "more": {"text": "inner"}}, ["a"]),
    ],
)
def test_rows_are_found_by_id_and_in_objects_around_them(tmp_path: Path, content: Any, ids: list[str]) -> None:
    assert [document.id for document in outcomes(write(tmp_path, "a.json", json.dumps(content)))] == ids


def test_a_row_without_text_is_a_note_with_its_id(tmp_path: Path) -> None:
    rows = [{"id": 3, "text": " \n"}, {"id": "b", "text": "words"}, {"text": ""}, {"text": None}]
    for name, places in (
        ("a.jsonl", [f"a.jsonl:{n}" for n in (1, 3, 4)]),
        ("a.json", [f"a.json#{n}" for n in (1, 3, 4)]),
    ):
        path = write(tmp_path, name, "\n".join(map(json.dumps, rows)) if name == "a.jsonl" else json.dumps(rows))
        found = list(read_documents(path).outcomes())
        assert [one.id for one in found if isinstance(one, Document)] == ["b"]
        told = [(one.kind, one.source) for one in found if isinstance(one, Note)]
        assert told == [("empty", place) for place in places]
        assert [one.document_id for one in found if isinstance(one, Note)] == [
            "3",
            *(place.replace(":", "#") for place in places[1:]),
        ]


@pytest.mark.parametrize("content", ["[]", '{"data": []}', " [ ]\n"])
def test_an_empty_list_is_no_failure(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, "a.json", content)
    assert (outcomes(path), notes(path)) == ([], [("empty", "a.json")])


def test_depth_is_bounded(tmp_path: Path) -> None:
    def nested(depth: int) -> str:
        return '{"text": "x", "m": ' + "[" * depth + "]" * depth + "}"

    path = write(tmp_path, "a.json", f"[{nested(98)},\n{nested(101)},\n{nested(3)}]")
    first, deep, last = outcomes(path)
    assert [type(one) for one in (first, deep, last)] == [Document, Failure, Document]
    assert "nested more than 100 levels" in str(deep)
    assert failure(write(tmp_path, "b.jsonl", nested(9)), limits=Limits(depth=5)).source == "b.jsonl:1"


def test_json_lines_under_the_suffix_of_json_are_read(tmp_path: Path) -> None:
    path = write(
        tmp_path, "a.json", '{"id": "a", "text": "one"}\n{"id": "b", "text": }\n{"id": "c", "text": "three"}\n'
    )
    one, bad, three = outcomes(path)
    assert (one, bad.source, three) == (Document("a", "one"), "a.json:2", Document("c", "three"))
    assert "Extra data" in failure(write(tmp_path, "b.json", '{"text":\n"one"}\n{"text": "two"}')).reason


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_a_file_of_which_nearly_nothing_can_be_read_is_left(tmp_path: Path, name: str) -> None:
    content = {"a.json": "[" + ",".join(["{}"] * 50) + "]", "a.csv": "text\n" + "a,b\n" * 50}.get(name, "{}\n" * 50)
    found = outcomes(write(tmp_path, name, content), limits=Limits(seconds=None, failures=10))
    assert (len(found), found[-1].source) == (12, name)
    assert "raise failures of Limits" in found[-1].reason


@pytest.mark.parametrize(
    "content", [{"name": "x", "scripts": {"a": "b"}}, {"name": "x", "tags": ["a", "b"]}, {"a": {"b": ["c"]}}]
)
def test_an_object_without_rows_is_one_that_lacks_a_text(tmp_path: Path, content: Any) -> None:
    reason = failure(write(tmp_path, "a.json", json.dumps(content))).reason
    assert reason.startswith(f"expected 'text' as a string, got only the fields {list(content)}")


def test_an_object_around_one_row_is_read(tmp_path: Path) -> None:
    content = {"version": 2, "document": {"id": "a", "text": "words"}}
    assert outcomes(write(tmp_path, "a.json", json.dumps(content))) == [Document("a", "words")]
