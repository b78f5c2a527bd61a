import datetime
import json
import math
import os
import re
from fractions import Fraction

import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from ragknn import SchemaMismatch
from ragknn._ids import passage_id, split_id
from ragknn._protocol.encoding import TAG_SEPARATOR, as_number, decode_tag, dump_metadata, encode_tag
from ragknn._protocol.keys import FIRST, Keys, index_names
from ragknn._protocol.opening import create_command
from ragknn._protocol.schema import READY_VECTORS, Schema
from ragknn.text._terms import LANGUAGES

UNICODE = st.text(st.characters(exclude_categories=["Cs"]))  # all but lone surrogates, which UTF-8 cannot hold
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
LABELS = st.one_of(UNICODE, st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans())


# ---- names and keys --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "doc2", "0", "My_Handbook-2.1", "x" * 200])
def test_a_name_of_letters_digits_and_separators_is_accepted(name):
    assert Keys(name).alias == f"ragknn:{name}"


@pytest.mark.parametrize(
    "name", ["", " a", "a b", "_a", "-a", ".a", "a:b", "a{b}", "a*", "ä", "a\n", "a/b", None, 3, b"a"]
)
def test_any_other_name_is_refused(name):
    with pytest.raises(ValueError, match="expected an index name of letters, digits") as refused:
        Keys(name)
    assert str(refused.value).endswith(f"got {name!r}")


def test_the_keys_are_laid_out_as_documented():
    keys = Keys("handbook")
    assert keys.manifest == "ragknn:handbook:manifest"
    assert keys.alias == "ragknn:handbook"
    assert (keys.search_index(), keys.search_index(2)) == ("ragknn:handbook:v1", "ragknn:handbook:v2")
    assert keys.record("a/b.md") == "ragknn:handbook:p:{a/b.md}:0"
    assert keys.passages("a/b.md") == "ragknn:handbook:p:{a/b.md}:"
    assert keys.record("50% {x}\n") == "ragknn:handbook:p:{50%25 %7Bx%7D%0A}:0"
    assert keys.earlier_record("50% {x}\n") == "ragknn:handbook:d:{50%25 %7Bx%7D%0A}"


@given(IDS)
def test_a_key_of_a_record_gives_its_document_back(document_id):
    keys = Keys("doc")
    assert keys.earlier_id(keys.earlier_record(document_id)) == document_id
    assert keys.split_passage(keys.record(document_id)) == (document_id, 0)


@given(IDS, st.integers(1, 10**6))
def test_only_the_key_of_a_record_ends_as_one(document_id, number):
    keys = Keys("doc")
    assert keys.record(document_id).endswith(FIRST)
    assert not keys.passage(document_id, number).endswith(FIRST)


@given(IDS, st.integers(0, 10**6))
def test_a_passage_key_gives_document_and_number_back(document_id, number):
    keys = Keys("doc")
    assert keys.split_passage(keys.passage(document_id, number)) == (document_id, number)


@given(IDS, st.integers(0, 10**6))
def test_a_passage_id_gives_document_and_number_back(document_id, number):
    assert split_id(passage_id(document_id, number)) == (document_id, number)


@given(st.lists(IDS, min_size=2, max_size=2, unique=True))
def test_different_documents_have_different_keys(ids):
    one, other = ids
    keys = Keys("doc")
    assert keys.record(one) != keys.record(other)
    assert keys.earlier_record(one) != keys.earlier_record(other)
    # Nor does the prefix of one document's passages take in another's.
    assert not keys.passages(other).startswith(keys.passages(one))


@given(st.text("%{}:27BD5\n", min_size=1), st.text("%{}:27BD5\n", min_size=1))
def test_ids_made_of_what_is_encoded_and_of_its_codes_have_different_keys(one, other):
    keys = Keys("doc")
    assert (keys.record(one) == keys.record(other)) == (one == other)
    assert keys.split_passage(keys.record(one)) == (one, 0)
    assert keys.earlier_id(keys.earlier_record(one)) == one


@given(IDS)
def test_the_braces_of_a_key_hold_the_whole_id_and_nothing_else_does(document_id):
    key = Keys("doc").earlier_record(document_id)
    assert re.fullmatch(r"ragknn:doc:d:\{[^{}\x00-\x1f\x7f]+\}", key)


@given(IDS, st.integers(0, 10**6))
def test_all_keys_of_a_document_live_in_one_cluster_slot(document_id, number):
    keys = Keys("doc")
    tag = keys.earlier_record(document_id).removeprefix("ragknn:doc:d:{").removesuffix("}")
    slots = {
        key_slot(key.encode())
        for key in (
            tag,
            keys.earlier_record(document_id),
            keys.record(document_id),
            keys.passages(document_id),
            f"{keys.passages(document_id)}{number}",
        )
    }
    assert len(slots) == 1


@given(IDS)
def test_no_prefix_of_an_index_takes_in_the_keys_of_another(document_id):
    keys, other = Keys("doc"), Keys("doc2")
    for prefix in (keys.passage_prefix, keys.earlier_prefix, keys.manifest):
        for key in (other.earlier_record(document_id), other.record(document_id), other.manifest):
            assert not key.startswith(prefix)
            assert not key.startswith(keys.passage_prefix + "{" + document_id)


def test_an_index_named_like_a_part_of_the_keys_has_keys_of_its_own():
    names = ["doc", "doc2", "d", "p", "v1", "doc.v1", "manifest", "doc-p"]
    keys = [
        key
        for made in map(Keys, names)
        for key in (made.manifest, made.alias, made.search_index(), made.record("x"), made.passages("x"))
    ]
    assert len(set(keys)) == len(keys)


def test_only_the_names_of_ragknn_indexes_are_listed_and_each_once():
    listed = ["ragknn:b:v1", "ragknn:a.b-c:v12", "ragknn:b:v2", "ragknn:x", "other:v1", "ragknn:v1", "ragknn:c:v1x"]
    assert index_names(listed) == ["a.b-c", "b"]


# ---- the schema ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["year", "_x", "Year_2", "a" * 100, "labels"])
def test_a_field_name_of_letters_digits_and_underscores_is_accepted(name):
    assert Schema(embedder="e", dim=2, fields={name: "tag"}).fields == {name: "tag"}


@pytest.mark.parametrize("name", ["", "$a", "document_id", "label", 3, None])
def test_names_that_a_filter_could_not_tell_apart_are_refused(name):
    with pytest.raises(ValueError, match=r"expected a field name that does not begin with \$ and is none of label"):
        Schema(embedder="e", dim=2, fields={name: "tag"})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"metric": "dot"}, "expected metric to be one of cosine, ip, l2, got 'dot'"),
        ({"algorithm": "FLAT"}, "expected algorithm to be one of flat, hnsw, got 'FLAT'"),
        ({"dtype": "int8"}, "expected dtype to be one of float32, float16, bfloat16, float64, got 'int8'"),
        ({"fields": {"x": "geo"}}, "expected the type of field 'x' to be one of tag, numeric, text, got 'geo'"),
        ({"dim": 0}, "expected dim >= 1, got 0"),
        ({"dim": 2.0}, "expected dim >= 1, got 2.0"),
        ({"dim": "2"}, "expected dim >= 1, got '2'"),
        ({"m": 0}, "expected m >= 1, got 0"),
        ({"ef_construction": -1}, "expected ef_construction >= 1, got -1"),
        ({"stop_words": ["to be"]}, "expected each of stop_words to be one word, got 'to be'"),
    ],
)
def test_a_choice_that_cannot_be_is_refused_with_what_can(wrong, message):
    with pytest.raises(ValueError, match="expected") as refused:
        Schema(**{"embedder": "e", "dim": 2, **wrong})
    assert str(refused.value) == message


@pytest.mark.parametrize("language", ["klingon", "English", "de", "", None])
def test_a_language_without_stems_on_the_server_is_refused_with_those_that_have(language):
    with pytest.raises(ValueError, match=r"expected language to be one of arabic, armenian, basque, .*, yiddish, got "):
        Schema(embedder="e", dim=2, language=language)


def test_stop_words_are_the_servers_for_english_none_elsewhere_and_otherwise_as_said():
    assert Schema(embedder="e", dim=2).stop_words[:4] == ("a", "am", "an", "and")
    assert Schema(embedder="e", dim=2, language="german").stop_words == ()
    assert Schema(embedder="e", dim=2, stop_words=()).stop_words == ()
    assert Schema(embedder="e", dim=2, stop_words=["The", "über", "the"]).stop_words == ("the", "über")


def test_the_manifest_tells_the_stop_words_that_were_not_named():
    assert json.loads(Schema(embedder="e", dim=2).dumps())["stop_words"][-2:] == ["you", "your"]


SCHEMAS = st.builds(
    Schema,
    embedder=UNICODE,
    dim=st.integers(1, 4096),
    identity=st.dictionaries(UNICODE, st.one_of(st.none(), UNICODE)),
    metric=st.sampled_from(["cosine", "ip", "l2"]),
    algorithm=st.sampled_from(["flat", "hnsw"]),
    dtype=st.sampled_from(["float32", "float16", "bfloat16", "float64"]),
    m=st.integers(2, 512),
    ef_construction=st.integers(1, 512),
    fields=st.dictionaries(st.from_regex(r"f_[a-z]{1,5}", fullmatch=True), st.sampled_from(["tag", "numeric", "text"])),
    text_search=st.booleans(),
    language=st.sampled_from(LANGUAGES),
    fold_accents=st.booleans(),
    stop_words=st.none() | st.lists(st.from_regex(r"[a-z]{1,5}", fullmatch=True)).map(tuple),
)


@given(SCHEMAS)
def test_a_schema_comes_back_from_its_manifest(schema):
    assert Schema.loads("doc", schema.dumps()) == schema


def test_a_manifest_of_another_format_is_refused():
    text = json.dumps({**json.loads(Schema(embedder="e", dim=2).dumps()), "format": 6, "news": True})
    with pytest.raises(SchemaMismatch) as refused:
        Schema.loads("doc", text)
    assert refused.value.differences == {"format": (4, 6)}
    with pytest.raises(SchemaMismatch) as refused:
        Schema.loads("doc", "{}")
    assert refused.value.differences == {"format": (4, None)}


def test_each_property_that_differs_is_named_with_what_was_expected_and_found():
    schema = Schema(embedder="e", dim=2, fields={"year": "numeric"})
    schema.check("doc", {})
    schema.check("doc", {"metric": "cosine", "dim": 2, "fields": {"year": "numeric"}})
    with pytest.raises(SchemaMismatch) as refused:
        schema.check("doc", {"metric": "l2", "dim": 3, "embedder": "e", "fields": {"day": "tag"}})
    assert refused.value.differences == {
        "metric": ("l2", "cosine"),
        "dim": (3, 2),
        "fields": ({"day": "tag"}, {"year": "numeric"}),
    }
    assert str(refused.value) == (
        "index 'doc' was built with different settings: metric: expected 'l2', found 'cosine'; "
        "dim: expected 3, found 2; fields: expected {'day': 'tag'}, found {'year': 'numeric'}. "
        "Open it with the settings found, choose another name, or drop the index and build it again."
    )


def test_an_index_of_ready_vectors_takes_any_embedder_of_its_dimension():
    schema = Schema(embedder=READY_VECTORS, dim=2)
    schema.check("doc", {"embedder": "e", "identity": {"query_prompt": "q"}, "dim": 2})
    with pytest.raises(SchemaMismatch) as refused:
        schema.check("doc", {"embedder": "e", "dim": 3})
    assert refused.value.differences == {"dim": (3, 2)}


# ---- tags ------------------------------------------------------------------------------------------------------


@given(LABELS)
def test_a_tag_gives_its_value_and_type_back(value):
    found = decode_tag(encode_tag(value))
    assert found == value
    assert type(found) is type(value)
    assert math.copysign(1, found) == math.copysign(1, value) if isinstance(value, float) else True


@given(LABELS, LABELS)
def test_different_values_have_different_tags(one, other):
    same = type(one) is type(other) and repr(one) == repr(other)
    assert (encode_tag(one) == encode_tag(other)) == same


@given(st.text('%5C2\\"/n ', min_size=1), st.text('%5C2\\"/n ', min_size=1))
def test_values_made_of_what_is_encoded_and_of_its_codes_have_different_tags(one, other):
    assert (encode_tag(one) == encode_tag(other)) == (one == other)
    assert decode_tag(encode_tag(one)) == one


@given(LABELS)
def test_a_tag_holds_neither_the_separator_nor_a_backslash_nor_spaces_at_its_ends(value):
    tag = encode_tag(value)
    assert TAG_SEPARATOR not in tag
    assert "\\" not in tag
    assert tag == tag.strip()
    assert tag


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_no_json_holds_is_no_tag(value):
    with pytest.raises(ValueError, match=r"expected a finite number as a label or tag, got -?(nan|inf)"):
        encode_tag(value)


@pytest.mark.parametrize("value", ["x" * 4_095, "日" * 1_365, "%" * 1_365, "\\" * 700, 10**4_096])
def test_a_tag_longer_than_the_server_indexes_is_refused(value):
    with pytest.raises(ValueError, match=r"expected a document id, label or tag of at most 4096 bytes, got 4\d{3}:"):
        encode_tag(value)


# ---- content ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metadata", [{"x": math.nan}, {"x": math.inf}, {"x": object()}, {"x": b"y"}, {"x": Fraction(1, 2)}]
)
def test_metadata_that_json_cannot_hold_is_refused(metadata):
    with pytest.raises(ValueError, match=r"expected metadata that JSON can hold, got .* in \['x'\]$"):
        dump_metadata(metadata)


def test_metadata_that_refers_to_itself_is_refused():
    metadata = {}
    metadata["x"] = metadata
    with pytest.raises(ValueError, match="expected metadata that JSON can hold, got Circular reference"):
        dump_metadata(metadata)


def test_metadata_keys_of_mixed_types_are_refused():
    with pytest.raises(ValueError, match="expected metadata that JSON can hold"):
        dump_metadata({1: "a", "b": 2})


def test_dates_and_numpy_scalars_are_stored_as_json():
    metadata = {
        "day": datetime.date(2024, 2, 29),
        "time": datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.UTC),
        "n": np.int32(7),
        "x": np.float64(0.5),
        "flag": np.bool_(True),
        "name": np.str_("ä"),
        "none": None,
    }
    assert json.loads(dump_metadata(metadata)) == {
        "day": "2024-02-29",
        "time": "2024-02-29T12:30:00+00:00",
        "n": 7,
        "x": 0.5,
        "flag": True,
        "name": "ä",
        "none": None,
    }


# ---- declared fields -------------------------------------------------------------------------------------------

DECLARED = Schema(embedder="e", dim=2, fields={"year": "numeric", "topic": "tag", "title": "text"})


def test_declared_fields_are_encoded_by_their_type_and_others_are_left_out():
    metadata = {"year": 2020, "topic": ["a b", 1, 1.5, True], "title": "The “title”!", "other": "x"}
    assert DECLARED.field_values(metadata)[0] == {
        "f:year": "2020.0",
        "f:topic": '"a b"\x1f1\x1f1.5\x1ftrue',
        "f:title": "the title",
    }


def test_fields_that_are_missing_or_none_are_not_stored():
    assert DECLARED.field_values({"year": None, "topic": None})[0] == {}


@pytest.mark.parametrize(
    ("value", "stored"),
    [(0, "0.0"), (-1.5, "-1.5"), (np.float32(0.5), "0.5"), (True, "1.0"), (math.inf, "inf"), (-math.inf, "-inf")],
)
def test_a_numeric_field_takes_any_real_number(value, stored):
    assert DECLARED.field_values({"year": value})[0] == {"f:year": stored}


NO_NUMBER = r"field 'year': expected a number, a date or an ISO 8601 string such as '2024-02-29', got "


@pytest.mark.parametrize("value", ["2020", math.nan, [2020], object(), {"a": 1}, 1j, b"1"])
def test_a_numeric_field_refuses_what_is_no_number(value):
    with pytest.raises(ValueError, match=NO_NUMBER):
        DECLARED.field_values({"year": value})


@pytest.mark.parametrize("text", ["", "20240229", "2024", "2024-02", "2024-02-30", "2024-02-29T25:00", "2024-02-29 x"])
def test_a_numeric_field_refuses_text_that_is_no_date(text):
    with pytest.raises(ValueError, match=NO_NUMBER):
        DECLARED.field_values({"year": text})


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (datetime.date(1970, 1, 2), 86_400.0),
        (datetime.datetime(1970, 1, 1, 0, 0, 1, 500_000), 1.5),
        (datetime.datetime(1970, 1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))), 0.0),
        (datetime.date(1969, 12, 31), -86_400.0),
        (datetime.date(1, 1, 1), -62_135_596_800.0),
        (datetime.datetime.max, 253_402_300_799.999999),
        ("1970-01-02", 86_400.0),
        ("1970-W01-5", 86_400.0),
        ("1970-01-01T00:00:01.5Z", 1.5),
        ("1970-01-01 01:00:00+01:00", 0.0),
    ],
)
def test_a_date_is_the_seconds_since_1970_and_utc_where_it_does_not_say(value, seconds):
    assert as_number(value) == seconds
    assert DECLARED.field_values({"year": value})[0] == {"f:year": repr(seconds)}


@given(st.datetimes(timezones=st.timezones() | st.none()))
def test_a_date_and_its_iso_text_are_the_same_number(moment):
    assert as_number(moment) == as_number(moment.isoformat())


def test_dates_are_the_same_number_before_and_after_the_metadata_was_stored_as_json():
    metadata = {"year": datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.UTC)}
    stored = json.loads(dump_metadata(metadata))
    assert DECLARED.field_values(stored)[0] == DECLARED.field_values(metadata)[0]


@pytest.mark.parametrize("value", [[None], [["a"]], {"a": 1}, object(), b"x"])
def test_a_tag_field_refuses_what_is_no_tag(value):
    with pytest.raises(ValueError, match="field 'topic': expected a str, a number, a bool or a list of them"):
        DECLARED.field_values({"topic": value})


@pytest.mark.parametrize("value", [1, ["a"], b"x"])
def test_a_text_field_refuses_what_is_no_text(value):
    with pytest.raises(ValueError, match="field 'title': expected a str"):
        DECLARED.field_values({"title": value})


def test_a_number_too_large_for_the_server_is_refused():
    with pytest.raises(ValueError, match="field 'year': expected"):
        DECLARED.field_values({"year": 10**400})


def test_arrays_of_numpy_are_no_number():
    with pytest.raises(ValueError, match=NO_NUMBER):
        DECLARED.field_values({"year": np.array([1.0, 2.0])})


def test_numpy_scalars_are_tags_like_the_values_they_hold():
    assert DECLARED.field_values({"topic": [np.int64(3), np.float64(0.5), np.str_("a")]})[0] == {
        "f:topic": '3\x1f0.5\x1f"a"'
    }
    assert DECLARED.field_values({"topic": np.float32(0.5)})[0] == {"f:topic": "0.5"}


# ---- tags on the server ----------------------------------------------------------------------------------------

TRICKY = [
    "", " ", "  a  ", "a b", "a,b", "a|b", "{a}", "a}", "a*", "*",
    "%", "%%a%%", "%25", "\\", "\\\\", "a\\", "\\,", "%5C",
    "\x00", "a\x00b", "\x1f", "a\x1fb", "\n", "\t", "\x7f", "\u00a0", "\u2028", "\ufeff", "\"", "'", "$x", "@label:{a}",
    "A", "a", "Ä", "ä", "ß", "SS", "İ", "é", "e\u0301", "名前", "🏷️",
    "true", "null", "None", "1", "-1", "[1 2]", "(a)", "~a",
    "x" * 127, "x" * 128, "x" * 129, "x" * 4_094, "日" * 1_364,
    1, 1.0, True, False, 0, -1, 1.5, 1e300, -0.0, 2**70,
]  # fmt: skip


@pytest.fixture(scope="module")
def tags(redis_url):
    """Store values as labels and find them again, as an index does it."""
    name = f"tags-{os.getpid()}"
    keys = Keys(name)
    with redis.Redis.from_url(redis_url, protocol=3) as client:
        client.execute_command(*create_command(keys, Schema(embedder="e", dim=2, fields={"topic": "tag"})))

        def found(stored, wanted):
            """Return for each wanted value the numbers of the stored documents with it as label, and as topic."""
            for number, value in enumerate(stored):
                mapping = {"label": encode_tag(value), "f:topic": f'"other"{TAG_SEPARATOR}{encode_tag(value)}'}
                client.hset(f"{keys.passage_prefix}{number}", mapping={**mapping, "vector": bytes(8)})
            try:
                return [tuple(ask(f"@{field}:{{$x}}", value) for field in ("label", "topic")) for value in wanted]
            finally:
                client.delete(*(f"{keys.passage_prefix}{number}" for number in range(len(stored))))

        def ask(query, value):
            options = ("PARAMS", 2, "x", encode_tag(value), "RETURN", 0, "LIMIT", 0, 1000, "DIALECT", 2)
            reply = client.execute_command("FT.SEARCH", keys.search_index(), query, *options)
            prefix = len(keys.passage_prefix)
            return sorted(int(row[b"id"][prefix:]) for row in reply[b"results"])

        yield found
        client.execute_command("FT.DROPINDEX", keys.search_index())


def same(one, other):
    return type(one) is type(other) and repr(one) == repr(other)


def test_a_search_for_a_tag_finds_its_documents_and_no_others(tags):
    expected = [[number for number, other in enumerate(TRICKY) if same(value, other)] for value in TRICKY]
    found = tags(TRICKY, TRICKY)
    wrong = [(v, e, f) for v, e, f in zip(TRICKY, expected, found, strict=True) if f != (e, e)]
    assert wrong == []


@given(st.lists(LABELS, min_size=1, max_size=8), st.data())
def test_a_search_for_any_tag_finds_its_documents_and_no_others(tags, values, data):
    wanted = data.draw(st.one_of(st.sampled_from(values), LABELS), label="wanted")
    numbers = [number for number, value in enumerate(values) if same(value, wanted)]
    assert tags(values, [wanted]) == [(numbers, numbers)]


def test_so_many_edges_that_the_server_would_end_are_refused():
    assert Schema("e", 3, m=2_048).m == 2_048
    with pytest.raises(ValueError, match="expected m <= 2048, got 65535"):
        Schema("e", 3, m=65_535)
