import numpy as np
import pandas as pd
import pytest

from ragknn import documents_from_pandas
from ragknn.errors import ReadError
from ragknn.files.frames import documents_from_pandas as same
from ragknn.records import Document
from ragknn.reports import DocumentSource, Failure, Note


def test_rows_become_documents_with_their_types() -> None:
    frame = pd.DataFrame(
        {
            "id": np.array([3, 4]),
            "text": ["Nine", "Ten"],
            "label": pd.Categorical(["a", None]),
            "year": [2024.0, np.nan],
            "share": [0.5, 1.25],
            "day": pd.to_datetime(["2024-05-01", None]),
            "new": pd.array([True, pd.NA], dtype="boolean"),
            "tags": [["x", "y"], []],
            5: ["five", None],
        }
    )
    source = documents_from_pandas(frame)
    assert isinstance(source, DocumentSource)
    first = {"year": 2024, "share": 0.5, "day": "2024-05-01T00:00:00", "new": True, "tags": ["x", "y"], "5": "five"}
    expected = [Document("3", "Nine", "a", first), Document("4", "Ten", None, {"share": 1.25, "tags": []})]
    assert list(source) == list(source) == expected


def test_without_ids_the_index_gives_them() -> None:
    frame = pd.DataFrame({"content": ["a", "b", "c"]}, index=["x", "y", "z"])
    assert [one.id for one in documents_from_pandas(frame)] == ["x", "y", "z"]
    assert [one.id for one in documents_from_pandas(frame.reset_index(drop=True)[1:])] == ["1", "2"]


def test_columns_can_be_named() -> None:
    frame = pd.DataFrame({"key": [1.0, 2.0], "review": ["Fine", "Bad"], "stars": [5, 1], "text": ["no", "no"]})
    source = documents_from_pandas(frame, text_field="review", id_field="key", label_field="stars")
    assert list(source) == [Document("1", "Fine", 5, {"text": "no"}), Document("2", "Bad", 1, {"text": "no"})]


def test_a_row_without_text_costs_itself() -> None:
    frame = pd.DataFrame({"text": ["a", None, "c"]})
    first, empty, last = documents_from_pandas(frame).outcomes()
    assert (first.text, type(empty), empty.source, last.text) == ("a", Note, "1", "c")
    assert [document.text for document in documents_from_pandas(frame)] == ["a", "c"]


@pytest.mark.parametrize("bad", [7, b"bytes"])
def test_a_row_whose_text_is_none_costs_itself(bad: object) -> None:
    frame = pd.DataFrame({"text": ["a", bad, "c"]})
    first, bad, last = documents_from_pandas(frame).outcomes()
    assert (first.text, type(bad), bad.source, last.text) == ("a", Failure, "1", "c")
    with pytest.raises(ReadError, match="expected 'text' as a string"):
        list(documents_from_pandas(frame))


def test_what_is_no_frame_or_lacks_a_column_is_refused() -> None:
    with pytest.raises(TypeError, match="expected a DataFrame of pandas, got list"):
        documents_from_pandas([{"text": "x"}])
    with pytest.raises(ReadError, match="expected a column 'text', got 'a'"):
        documents_from_pandas(pd.DataFrame({"a": ["x"]}))
    with pytest.raises(ReadError, match=r"expected a column 'b', got 'text'; correct id_field"):
        same(pd.DataFrame({"text": ["x"]}), id_field="b")
    with pytest.raises(ReadError, match="a name of its own"):
        documents_from_pandas(pd.DataFrame([["a", "b"]], columns=["text", "text"]))
