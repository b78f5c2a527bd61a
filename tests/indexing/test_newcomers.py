"""Ready vectors that are stored as new ones: the same comes of it as where each document is looked up first."""

import numpy as np
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from ragknn import Index, Indexer
from ragknn.indexing._line import WRITES_AHEAD

NAN = np.array([np.nan, 1.0], dtype=np.float32)
ROWS = [np.array(row, dtype=np.float32) for row in ([1, 0], [0.5, 0.25], [-3, 1e-3], [0, 0], [1e30, 2])]


def whole(client, name):
    """Return all that is stored of an index, without the prefix of its keys."""
    prefix = f"ragknn:{name}:p:".encode()
    keys = client.scan_iter(f"ragknn:{name}:p:*", 1_000)
    return {key.removeprefix(prefix): client.hgetall(key) for key in keys}


def looked_up(indexer, ids, rows, columns, **options):
    """Add the same by the other way: the vectors are no array where one of them is missing."""
    more = {name: [*column, {"texts": "x", "metadata": {}}.get(name)] for name, column in columns.items()}
    more.setdefault("texts", [*[""] * len(ids), "x"])
    return indexer.add_vectors([*ids, "without a vector"], [*rows, None], **more, **options)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("given_as", [np.float32, np.float64, ">f4"])
def test_each_hash_is_what_it_would_be(faces, redis_url, index_name, client, dtype, given_as):
    ids = ["plain", "an id {of} 100%", "é", "with \\ and \x01"]
    rows = np.array([[1, 0.1], [0.5, -0.25], [3, 1e-3], [7, 8]]).astype(given_as)
    columns = {
        "texts": ["Some words, and más.", "", "two\nlines", "x" * 5_000],
        "labels": [None, "x", np.int64(3), 0.5],
        "metadata": [{}, {"n": 3, "t": ["a", "b"]}, {"t": "é", "deep": {"er": [1, None]}}, {"n": 2**40}],
    }
    options = {"url": redis_url, "dim": 2, "dtype": dtype, "fields": {"n": "numeric", "t": "tag"}, "any_field": True}
    with faces.index(index_name, **options) as index, faces.index(f"{index_name}-2", **options) as other:
        assert faces.indexer(index).add_vectors(ids, rows, **columns).added == 4
        looked_up(faces.indexer(other), ids, rows, columns)
        expected = whole(client, other.name)
        del expected[b"{without a vector}:0"]
        assert whole(client, index.name) == expected
        assert faces.indexer(index).add_vectors(ids, rows, **columns).unchanged == 4
        other.drop()


DOCUMENT = st.tuples(
    st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "half of a character: \ud800"]),
    st.sampled_from([*ROWS, NAN]),
    st.sampled_from(["", "some text", "half of a character: \ud800"]),
    st.sampled_from([{}, {"n": 1}, {"n": "none"}, {"x": object()}]),
)
DOCUMENTS = st.lists(DOCUMENT, max_size=12, unique_by=lambda one: one[0]) | st.lists(DOCUMENT, max_size=12)
OPTIONS = st.fixed_dictionaries(
    {
        "on_repeated": st.sampled_from(["first", "last"]),
        "on_existing": st.sampled_from(["replace", "skip", "fail"]),
        "on_bad_field": st.sampled_from(["fail", "leave_out"]),
        "batch_size": st.integers(1, 5),
        "dry_run": st.booleans(),
    }
)


@pytest.fixture(scope="module")
def both(redis_url):
    """Two indexes of one kind, and a client that sees what is in them."""
    options = {"url": redis_url, "dim": 2, "fields": {"n": "numeric"}, "text_search": False}
    with (
        redis.Redis.from_url(redis_url) as client,
        Index("newcomers", **options) as one,
        Index("newcomers-2", **options) as other,
    ):
        yield Indexer(one), Indexer(other), client
        one.drop()
        other.drop()


@settings(max_examples=200, deadline=None)
@given(before=DOCUMENTS, documents=DOCUMENTS, options=OPTIONS)
def test_whatever_comes_the_same_is_stored_and_reported(both, before, documents, options):
    one, other, client = both
    one.clear()
    other.clear()
    for some, how in ((before, {}), (documents, options)):
        ids = [document_id for document_id, *_ in some]
        columns = {"texts": [text for _, _, text, _ in some], "metadata": [metadata for *_, metadata in some]}
        rows = np.array([row for _, row, *_ in some], dtype=np.float32).reshape(-1, 2)
        found = one.add_vectors(ids, rows, **columns, **how)
        expected = looked_up(other, ids, rows, columns, **how)
        for outcome in ("added", "updated"):
            wanted = [name for name in expected.ids[outcome] if name != "without a vector"]
            assert list(found.ids[outcome]) == wanted
        assert (found.unchanged, found.skipped) == (expected.unchanged, expected.skipped)
        assert [str(each) for each in found.left_out] == [str(each) for each in expected.left_out]
        assert sorted(map(str, found.failed)) == sorted(map(str, expected.failed))
        stored = whole(client, other.index.name)
        stored.pop(b"{without a vector}:0", None)
        assert whole(client, one.index.name) == stored
        other.delete(["without a vector"])


def test_what_is_there_is_looked_up_from_the_first_one_on(faces, redis_url, index_name, client):
    ids, rows = [str(number) for number in range(1_000)], np.ones((1_000, 2))
    with faces.index(index_name, url=redis_url, dim=2) as index:
        indexer = faces.indexer(index)
        indexer.add_vectors(ids, rows)
        client.config_resetstat()
        assert indexer.add_vectors(ids, rows, batch_size=50).unchanged == 1_000
        assert client.info("commandstats")["cmdstat_hsetex"]["calls"] <= 50 * (WRITES_AHEAD + 1)


def test_what_came_before_an_error_is_stored_and_nothing_behind_it(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, dim=2) as index:
        indexer = faces.indexer(index)
        with pytest.raises(TypeError, match="expected the text of document 'c' as str, got int"):
            indexer.add_vectors(["a", "b", "c", "d"], np.ones((4, 2)), texts=["x", "y", 3, "z"])
        assert index.count() == 2
