"""What a numeric field takes, and as which number: the same in documents, filters and updates; all else is refused."""

import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from filtering import compile_filter
from hypothesis import given
from hypothesis import strategies as st

from ragknn import Document, HashingEmbedder
from ragknn._protocol.encoding import dump_metadata
from ragknn._protocol.numeric import as_number
from ragknn._protocol.schema import Schema

SCHEMA = Schema("e", 2, fields={"n": "numeric"})
NOON = datetime(2024, 2, 29, 12, 30, 15)
SECONDS = 1_709_209_815.0  # of noon; `date -u -d '2024-02-29 12:30:15' +%s`
MIDNIGHT = 1_709_164_800.0

MOMENTS = {
    "naive datetime": (NOON, SECONDS),
    "datetime in UTC": (NOON.replace(tzinfo=UTC), SECONDS),
    "datetime elsewhere": (NOON.replace(tzinfo=timezone(timedelta(hours=2))), SECONDS - 7_200),
    "date": (date(2024, 2, 29), MIDNIGHT),
    "text": ("2024-02-29T12:30:15", SECONDS),
    "Timestamp": (pd.Timestamp(NOON), SECONDS),
    "Timestamp elsewhere": (pd.Timestamp(NOON, tz="Europe/Berlin"), SECONDS - 3_600),
    "Timestamp with nanoseconds": (pd.Timestamp("2024-02-29T12:30:15.000000999"), SECONDS),
    "datetime64 of years": (np.datetime64("2024", "Y"), 1_704_067_200.0),
    "datetime64 of months": (np.datetime64("2024-02", "M"), 1_706_745_600.0),
    "datetime64 of weeks": (np.datetime64("2024-02-29", "W"), MIDNIGHT),
    "datetime64 of days": (np.datetime64("2024-02-29", "D"), MIDNIGHT),
    "datetime64 of hours": (np.datetime64("2024-02-29T12", "h"), MIDNIGHT + 43_200),
    "datetime64 of minutes": (np.datetime64("2024-02-29T12:30", "m"), SECONDS - 15),
    **{f"datetime64[{unit}]": (np.datetime64(NOON, unit), SECONDS) for unit in ("s", "ms", "us", "ns")},
    "datetime64 of 25 seconds": (np.datetime64(NOON, "25s"), SECONDS - 15),
    "datetime64 of picoseconds": (np.datetime64("1970-01-02", "ps"), 86_400.0),
    "datetime64 of attoseconds": (np.datetime64("1970-01-01T00:00:01", "as"), 1.0),
}
NUMBERS = {
    "int": (3, 3.0),
    "bool": (True, 1.0),
    "bool of NumPy": (np.True_, 1.0),
    "int of NumPy": (np.int64(-7), -7.0),
    "float32": (np.float32(0.1), float(np.float32(0.1))),
    "Decimal": (Decimal("0.1"), 0.1),
    "2**53": (2**53, 2.0**53),
    "another whole number that a float holds": (10**22, 1e22),
    "large float": (1e300, 1e300),
}
TAKEN = {**MOMENTS, **NUMBERS}
each_taken = pytest.mark.parametrize(("value", "number"), TAKEN.values(), ids=TAKEN)


@each_taken
def test_what_is_taken_is_the_same_number_in_documents_and_filters(value, number):
    assert as_number(value) == number
    assert SCHEMA.field_values({"n": value})[0] == {"f:n": repr(number)}
    assert compile_filter({"n": value}, SCHEMA).params == {"w0": repr(number)}


@pytest.mark.parametrize(("value", "number"), MOMENTS.values(), ids=MOMENTS)
def test_a_moment_is_the_same_number_when_it_is_read_back(value, number):
    assert as_number(json.loads(dump_metadata({"n": value}))["n"]) == number


def test_a_fraction_is_taken_in_filters_and_has_no_place_in_metadata():
    assert compile_filter({"n": Fraction(1, 2)}, SCHEMA).params == {"w0": "0.5"}


@given(st.datetimes(timezones=st.timezones() | st.none()))
def test_pandas_and_numpy_mean_the_same_moment_as_python(moment):
    plain = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    number = as_number(moment)
    assert number == (plain - datetime(1970, 1, 1)) / timedelta(seconds=1)
    assert as_number(np.datetime64(plain)) == number


@given(st.integers(-(2**62), 2**62), st.sampled_from(["ms", "us", "ns", "ps", "fs", "as"]))
def test_a_datetime64_is_its_count_in_whole_microseconds(count, unit):
    per_second = 1_000 ** ("ms", "us", "ns", "ps", "fs", "as").index(unit) * 1_000
    micros = count * 1_000_000 // per_second
    inside = -62_135_596_800_000_000 <= micros <= 253_402_300_799_999_999
    moment = np.datetime64(count, unit)
    if inside:
        assert as_number(moment) == micros / 1_000_000
    else:
        with pytest.raises(ValueError, match="dates go from 0001 to 9999"):
            as_number(moment)


BEYOND = [2**53 + 1, -(2**53) - 1, 10**17 + 1, 2**63 + 1, np.int64(2**53 + 1), np.uint64(2**64 - 1)]
BEYOND += [Decimal(2**53 + 1), Decimal("9007199254740993.5"), Decimal("1e400")]
EXACTLY = "field 'n': expected a number that a float holds exactly, .*: declare the field as tag, which keeps all its"
REFUSED = {
    **{f"{type(value).__name__} {str(value)[:20]}": (value, ValueError, EXACTLY) for value in BEYOND},
    "fraction beyond": (Fraction(2**54 + 1, 2), ValueError, EXACTLY),
    "NaN": (math.nan, ValueError, "got NaN"),
    "NaN of NumPy": (np.float32("nan"), ValueError, "got NaN"),
    "Decimal NaN": (Decimal("nan"), ValueError, "got NaN"),
    "signaling NaN": (Decimal("sNaN"), ValueError, r"got Decimal\('sNaN'\)"),
    "too large": (10**400, ValueError, "expected a number, .*got 1000"),
    "too large to be written": (10**5_000, ValueError, "expected a number, .*got an int of 16610 bits"),
    "NaT": (np.datetime64("NaT"), ValueError, "got NaT"),
    "NaT of pandas": (pd.NaT, ValueError, "got NaT"),
    "far year": (np.datetime64(9_000_000_000, "Y"), ValueError, "got the year 9000001970"),
    "timedelta": (timedelta(1), TypeError, "of type timedelta"),
    "timedelta64": (np.timedelta64(1, "s"), TypeError, "of type timedelta"),
    "timedelta64[ns]": (np.timedelta64(1, "ns"), TypeError, "of type timedelta64"),
    "Timedelta": (pd.Timedelta(1, "s"), TypeError, "of type Timedelta"),
    "Period": (pd.Period("2024-02"), TypeError, "of type Period"),
    "NA": (pd.NA, TypeError, "of type NAType"),
    "complex": (1j, TypeError, "of type complex"),
    "complex of NumPy": (np.complex64(1), TypeError, "of type complex"),
    "bytes": (b"1", TypeError, "."),
    "object": (object(), TypeError, "of type object"),
    "text": ("1", ValueError, "got '1'"),
    "long text": ("1" * 10_000, ValueError, "got '1111"),
}
each_refused = pytest.mark.parametrize(("value", "error", "message"), REFUSED.values(), ids=REFUSED)


@each_refused
def test_what_is_no_number_is_refused_by_name_in_filters(value, error, message):
    with pytest.raises(error, match=message) as refused:
        compile_filter({"n": {"$gte": value}}, SCHEMA)
    assert len(str(refused.value)) < 400


@each_refused
def test_what_is_no_number_is_refused_by_name_in_documents(value, error, message):
    with pytest.raises(ValueError, match=message):
        SCHEMA.field_values({"n": value})


@pytest.mark.parametrize("value", [np.array([1.0]), pd.Series([1.0]), [1.0]])
def test_several_numbers_are_none(value):
    with pytest.raises(TypeError, match="expected a number"):
        as_number(value)


# ---- in an index -----------------------------------------------------------------------------------------------


@pytest.fixture
def index(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16), fields={"n": "numeric"}) as index:
        yield index


def test_a_number_beyond_is_no_other_one(faces, index):
    indexer = faces.indexer(index)
    numbers = [2**53 + 1, 2**53 + 3, 2**53, 7]
    documents = [Document(f"d{number}", "text", None, {"n": number}) for number in numbers]
    report = indexer.add(documents)
    assert [failure.document_id for failure in report.failed] == [f"d{number}" for number in numbers[:2]]
    assert all("declare the field as tag" in failure.reason for failure in report.failed)
    assert indexer.sync([*documents, Document("e", "text", None, {"n": 10**17 + 1})]).unchanged == 2
    for refused in (
        lambda: index.count({"n": 2**53 + 1}),
        lambda: indexer.delete_where({"n": 2**53 + 1}),
        lambda: indexer.delete_where({"n": {"$in": [7, 2**53 + 1]}}),
        lambda: faces.retriever(index).retrieve("text", where={"n": {"$lte": 2**53 + 1}}),
    ):
        with pytest.raises(ValueError, match="declare the field as tag"):
            refused()
    assert index.count() == 2
    changed = indexer.update(["d7"], metadata={"n": 2**53 + 1})
    assert [failure.document_id for failure in changed.failed] == ["d7"]
    assert index.values("n") == {2.0**53: 1, 7.0: 1}
    assert index.count({"n": 2**53}) == 1


def test_the_same_seconds_wherever_a_moment_comes_in(faces, index):
    indexer = faces.indexer(index)
    moments = {f"d{number}": value for number, (value, _) in enumerate(MOMENTS.values())}
    seconds = {name: number for name, (_, number) in zip(moments, MOMENTS.values(), strict=True)}
    entries = [Document(name, "text", None, {"n": value, "late": value}) for name, value in moments.items()]
    assert indexer.add([*entries, Document("updated", "text")]).failed == ()
    assert index.add_fields({"late": "numeric"}).left_out == ()
    counts = {number: list(seconds.values()).count(number) for number in seconds.values()}
    assert index.values("n") == index.values("late") == counts
    assert index.value_range("n") == index.value_range("late") == (min(counts), max(counts))
    for name, value in moments.items():
        assert index.count({"n": value, "late": value}) == counts[seconds[name]]
        assert indexer.update(["updated"], metadata={"n": value}).updated == 1
        assert index.count({"n": value, "document_id": "updated"}) == 1


def test_a_decimal_that_is_updated_is_a_number_as_one_that_is_added(faces, index):
    faces.indexer(index).add([Document("a", "text", None, {"n": Decimal("9.5")}), Document("b", "text")])
    assert faces.indexer(index).update(["b"], metadata={"n": Decimal("9.5")}).updated == 1
    assert index.values("n") == {9.5: 2}


def test_a_field_that_is_too_large_can_be_left_out(faces, index):
    report = faces.indexer(index).add([Document("a", "text", None, {"n": 2**53 + 1})], on_bad_field="leave_out")
    assert (report.added, len(report.left_out)) == (1, 1)
    assert [document.metadata for document in index.documents()] == [{"n": 2**53 + 1}]


# ---- where a value is kept as it is ----------------------------------------------------------------------------

SPANS = [np.timedelta64(5, "ns"), np.timedelta64(5, "s"), np.timedelta64(5, "D")]
AS_IS = {
    "wide number": (np.longdouble(0.5), 0.5),
    "wide numbers": (np.array([0.5, 3], dtype=np.longdouble), [0.5, 3.0]),
    "moments": (np.array(["2024-02-29"], dtype="datetime64[ns]"), ["2024-02-29T00:00:00.000000000"]),
    "numbers": (np.array([[1, 2]], dtype=np.int8), [[1, 2]]),
}


@pytest.mark.parametrize(("value", "kept"), AS_IS.values(), ids=AS_IS)
def test_what_metadata_keep_of_numpy_is_what_it_means(value, kept):
    assert json.loads(dump_metadata({"n": value})) == {"n": kept}
    assert Document("a", "text", None, {"n": value}).to_dict()["metadata"] == {"n": kept}


@pytest.mark.parametrize("value", [*SPANS, np.array(SPANS), np.longdouble(2) ** 60 + 1, np.longdouble("nan")], ids=str)
def test_what_no_float_and_no_text_says_is_refused_by_name(value):
    with pytest.raises(ValueError, match=f"JSON can hold, got (?s:.*) of type {type(value).__name__} in"):
        dump_metadata({"n": value})


MOMENT = np.datetime64("1970-01-01T00:00:00.000000005", "ns")


@pytest.mark.parametrize("value", [*SPANS, MOMENT, np.longdouble(2) ** 60 + 1], ids=str)
def test_a_tag_is_no_count_of_nanoseconds(value):
    for schema in (Schema("e", 2, fields={"n": "tag"}), Schema("e", 2, any_field=True)):
        with pytest.raises(TypeError, match=f"expected a str, a number or a bool, got .*type {type(value).__name__}"):
            compile_filter({"n": value}, schema)
    with pytest.raises(TypeError, match=f"expected the label of document 'a' as str.*got {type(value).__name__}"):
        Document("a", "text", value)
