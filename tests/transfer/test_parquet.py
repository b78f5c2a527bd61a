"""Whole indexes in Parquet files: what comes back is what was written."""

import contextlib
import json
from itertools import count

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from embedders import CountingEmbedder
from hypothesis import given, settings
from hypothesis import strategies as st

from ragknn import (
    Document,
    Index,
    Indexer,
    Passage,
    ReadError,
    Retriever,
    SchemaMismatch,
    Splitter,
    aexport_parquet,
    aimport_parquet,
    export_parquet,
    import_parquet,
)

_numbers = count()


@pytest.fixture
def other(index_name):
    return f"{index_name}-other"


@pytest.fixture(autouse=True)
def swept(client, other):
    yield
    for search_index in client.execute_command("FT._LIST"):
        if search_index.decode().startswith(f"ragknn:{other}"):
            client.execute_command("FT.DROPINDEX", search_index)
    for key in client.scan_iter(f"ragknn:{other}*", count=1000):
        client.delete(key)


def stored(client, name):
    """Return every hash of an index, by what stands behind its name in the key; without what tells it from others."""
    found = {}
    for key in client.scan_iter(f"ragknn:{name}:*", count=1000):
        if client.type(key) == b"hash" and not key.endswith(b":manifest"):
            fields = client.hgetall(key)
            if b"any" in fields:  # tags, in no order
                fields[b"any"] = sorted(fields[b"any"].split(b"\x1f"))
            found[key.decode().removeprefix(f"ragknn:{name}:")] = fields
    return found


def manifest(client, name):
    told = json.loads(client.hget(f"ragknn:{name}:manifest", "schema"))
    del told["version"]  # which is another for each index
    return told


DOCUMENTS = [
    Document(
        "a", "# Trees\n\nOaks grow slowly. " + "Elms grow. " * 40, "plants", {"n": 1, "deep": {"x": [1, 2.5, None]}}
    ),
    Document("b/ü {x}", "Two pages.\fOf text.", 7, {"tenant": "x", "flag": True}, page_starts=(0, 11)),
    Document("c", "Nothing else.", 2.5, {"when": "2024-05-01"}),
    Document("d", "  \n A text with room around it.\n\n", None, {}),
]
FIELDS = {"n": "numeric", "tenant": "tag", "deep.x": "numeric"}


def made(index):
    indexer = Indexer(index, Splitter(8, 2, unit="words"))
    indexer.add(DOCUMENTS, on_bad_field="leave_out")
    indexer.add_passages(
        [
            Passage(
                "own-1", "e", "cut elsewhere", 0, 0, label="plants", metadata={"n": 3}, headings=("A", "B"), page=2
            ),
            Passage("own-2", "e", "and without a vector", 0, 0, metadata={"n": 4}),
        ],
        embed=False,
    )
    indexer.add_vectors(["f"], [np.arange(16) / 7], labels=["x"])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_a_round_trip_is_the_identity(dtype, client, redis_url, index_name, other, tmp_path):
    file = tmp_path / "whole.parquet"
    embedder = CountingEmbedder()
    with Index(index_name, url=redis_url, embedder=embedder, dtype=dtype, fields=FIELDS, any_field=True) as index:
        made(index)
        report = export_parquet(index, file)
        assert (report.documents, report.passages) == (6, index.count())
        assert report.size_bytes == file.stat().st_size
    embedder.texts.clear()
    back = import_parquet(file, other, url=redis_url, embedder=embedder)
    assert (back.passages, back.written.added, back.written.failed) == (report.passages, 6, ())
    assert stored(client, other) == stored(client, index_name)
    assert manifest(client, other) == manifest(client, index_name)
    with Index(other, url=redis_url, embedder=embedder, create=False) as again:
        assert Indexer(again).sync(DOCUMENTS, where={"document_id": {"$in": ["a", "b/ü {x}", "c", "d"]}}).unchanged == 4
        assert embedder.texts == []
        second = tmp_path / "second.parquet"
        export_parquet(again, second)
    assert pq.read_table(second).equals(pq.read_table(file))


def test_an_index_can_become_one_of_another_algorithm_and_dtype(client, redis_url, index_name, other, tmp_path):
    rows = np.random.default_rng(0).normal(size=(300, 16))
    with Index(index_name, url=redis_url, dim=16) as index:
        Indexer(index).add_vectors([f"v{n}" for n in range(300)], rows, texts=[f"text {n}" for n in range(300)])
        export_parquet(index, tmp_path / "v.parquet")
        before = Retriever(index).kneighbors(rows[:5], k=5)
    report = import_parquet(tmp_path / "v.parquet", other, url=redis_url, algorithm="hnsw", dtype="float16")
    assert (report.settings["algorithm"], report.settings["dtype"]) == ("hnsw", "float16")
    with Index(other, url=redis_url, create=False) as index:
        after = Retriever(index).kneighbors(rows[:5], k=5)
        for ours, theirs in zip(after, before, strict=True):
            assert [one.passage.id for one in ours] == [one.passage.id for one in theirs]
            np.testing.assert_allclose(ours.distances, theirs.distances, atol=2e-3)


def test_the_async_twins_do_the_same(redis_url, index_name, other, tmp_path, faces, client):
    file, told = tmp_path / "whole.parquet", []
    with faces.index(index_name, url=redis_url, embedder=CountingEmbedder(), fields=FIELDS) as index:
        made(faces.bare(index)) if faces.kind == "sync" else faces.indexer(index).add(DOCUMENTS)
        report = faces.call(export_parquet, aexport_parquet, index, str(file), progress=lambda *far: told.append(far))
    assert told[-1] == (report.documents, report.documents)
    options = {"url": redis_url, "embedder": CountingEmbedder()}
    dry = faces.call(import_parquet, aimport_parquet, file, other, dry_run=True, **options)
    assert (dry.passages, dry.dry_run, client.exists(f"ragknn:{other}:manifest")) == (report.passages, True, 0)
    faces.call(import_parquet, aimport_parquet, file, other, **options)
    assert stored(client, other) == stored(client, index_name)
    again = faces.call(import_parquet, aimport_parquet, file, other, **options)
    assert (again.written.unchanged, again.written.added) == (report.documents, 0)


def test_pandas_reads_a_file_and_writes_one(redis_url, index_name, other, tmp_path, client):
    file = tmp_path / "whole.parquet"
    with Index(index_name, url=redis_url, embedder=CountingEmbedder(), fields=FIELDS) as index:
        made(index)
        export_parquet(index, file, where={"label": {"$in": ["plants", 7]}})
    frame = pd.read_parquet(file)
    assert set(frame["document_id"]) == {"a", "b/ü {x}", "e"}
    assert json.loads(frame["metadata"][0])["n"] == 1
    assert len(frame["vector"][0]) == 16
    plain = pd.DataFrame(
        {"document_id": ["p", "p", "q"], "text": ["one", "two", "three"], "vector": [[1.0, 0], [0, 1], None]}
    )
    plain.to_parquet(tmp_path / "plain.parquet")
    report = import_parquet(tmp_path / "plain.parquet", other, url=redis_url)
    assert (report.written.added, report.settings["dim"]) == (2, 2)
    with Index(other, url=redis_url, create=False) as made_of:
        assert [one.id for one in made_of.passages()] == ["p#0", "p#1", "q#0"]
        assert [one.passage.id for one in Retriever(made_of).kneighbors([[0, 1]], k=9)[0]] == ["p#1", "p#0"]


def test_a_tenant_exports_its_own_alone(redis_url, index_name, tmp_path):
    options = {
        "url": redis_url,
        "embedder": CountingEmbedder(),
        "fields": {"tenant": "tag"},
        "required_filter": "tenant",
    }
    with Index(index_name, **options) as index:
        Indexer(index).add(
            [Document("a", "one", metadata={"tenant": "x"}), Document("b", "two", metadata={"tenant": "y"})]
        )
        with pytest.raises(ValueError, match="tenant"):
            export_parquet(index, tmp_path / "all.parquet")
        export_parquet(index, tmp_path / "x.parquet", where={"tenant": "x"})
    assert pq.read_table(tmp_path / "x.parquet").column("document_id").to_pylist() == ["a"]
    assert [one.name for one in tmp_path.iterdir()] == ["x.parquet"]


def test_what_the_server_has_lost_is_told_and_not_written(client, redis_url, index_name, tmp_path):
    with Index(index_name, url=redis_url, embedder=CountingEmbedder(), fields=FIELDS) as index:
        made(index)
        [key] = client.scan_iter(f"ragknn:{index_name}:p:*a}}:1")
        client.delete(key)
        report = export_parquet(index, tmp_path / "some.parquet")
        assert (report.documents, report.damaged) == (5, ("a",))
        assert "1 documents of which the server has lost something, such as a" in str(report)


floats = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(2**53), 2**53)
entries = st.recursive(
    st.none() | st.booleans() | integers | floats | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
documents = st.lists(
    st.builds(
        Document,
        st.text(min_size=1, max_size=5),
        st.text(min_size=1, max_size=60),
        st.none() | st.text(min_size=1, max_size=5) | integers | floats,
        st.dictionaries(st.text(min_size=1, max_size=5), entries, max_size=3),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda document: document.id,
)


@settings(max_examples=25)
@given(documents=documents)
def test_any_documents_come_back_as_they_were(documents, redis_url, tmp_path_factory, request):
    name, file = f"parquet-{next(_numbers)}-{id(request)}", tmp_path_factory.getbasetemp() / "any.parquet"
    with Index(name, url=redis_url, embedder=CountingEmbedder()) as index:
        Indexer(index, Splitter(4, 1, unit="words")).add(documents)
        export_parquet(index, file)
        import_parquet(file, f"{name}-other", url=redis_url, embedder=CountingEmbedder())
        with Index(f"{name}-other", url=redis_url, embedder=CountingEmbedder(), create=False) as other:
            assert list(other.passages(vectors=True)) == list(index.passages(vectors=True))
            assert list(other.documents()) == list(index.documents())
            assert stored(index.client, name) == stored(index.client, f"{name}-other")
            other.drop()
        index.drop()


# ---- what cannot be --------------------------------------------------------------------------------------------


def test_what_is_no_such_file_is_an_error_that_says_so(redis_url, other, tmp_path, client):
    file = tmp_path / "file.parquet"
    with pytest.raises(ReadError, match="expected a Parquet file, got none that can be read: No such file"):
        import_parquet(file, other, url=redis_url)
    file.write_bytes(b"no parquet")
    with pytest.raises(ReadError, match="expected a Parquet file, got another one"):
        import_parquet(file, other, url=redis_url)
    pq.write_table(pa.table({"id": ["a"], "words": ["b"]}), file)
    with pytest.raises(ReadError, match="expected the columns document_id, and text or vector, got id, words"):
        import_parquet(file, other, url=redis_url)
    pq.write_table(pa.table({"document_id": ["a"], "text": ["b"]}), file)
    with pytest.raises(ReadError, match="expected a vector in the column vector, got none: name the embedder"):
        import_parquet(file, other, url=redis_url)
    with pytest.raises(TypeError, match="expected a path as a str or a Path, got the int 3"):
        import_parquet(3, other, url=redis_url)
    assert client.exists(f"ragknn:{other}:manifest") == 0


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("metadata", "{"),
        ("metadata", "[1]"),
        ("document_id", ""),
        ("document_id", 3),
        ("vector", "text"),
        ("vector", [1.0, 2.0, 3.0]),
        ("headings", 3),
        ("start", "x"),
        ("page", -1),
        ("label", {"a": 1}),
        ("text", 3.5),
    ],
)
def test_a_bad_value_is_told_with_its_document_and_nothing_is_half_written(column, value, redis_url, other, tmp_path):
    rows = {"document_id": "a", "text": "one", "vector": [1.0, 2.0], "metadata": "{}", "start": None, "end": None}
    rows |= {"page": None, "headings": None, "label": None, column: value}
    good = {"document_id": "z", "vector": [1.0, 2.0]}
    try:
        table = pa.table({name: [good.get(name), one] for name, one in rows.items()})
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # no column can hold both
        table = pa.table({name: [one] for name, one in rows.items()})
    pq.write_table(table, tmp_path / "bad.parquet")
    with contextlib.suppress(ReadError):  # of the file, or of a row
        written = import_parquet(tmp_path / "bad.parquet", other, url=redis_url).written
        assert (len(written.failed), written.added) == (1, 1)
    with Index(other, url=redis_url, dim=2) as index:
        assert index.count() == index.count_documents() <= 1
        assert index.check().is_sound


def test_an_index_that_is_made_of_something_else_is_refused(client, redis_url, index_name, other, tmp_path):
    with Index(index_name, url=redis_url, embedder=CountingEmbedder()) as index:
        Indexer(index).add(DOCUMENTS[2:])
        export_parquet(index, tmp_path / "file.parquet")
    with Index(other, url=redis_url, dim=17):
        pass
    with pytest.raises(SchemaMismatch, match="dim"):
        import_parquet(tmp_path / "file.parquet", other, url=redis_url)
    with pytest.raises(SchemaMismatch, match="dim"):
        import_parquet(tmp_path / "file.parquet", f"{other}2", url=redis_url, embedder=CountingEmbedder(24))
    assert client.exists(f"ragknn:{other}2:manifest") == 0


def test_a_file_that_cannot_be_written_leaves_nothing(redis_url, index_name, tmp_path):
    with Index(index_name, url=redis_url, embedder=CountingEmbedder()) as index:
        Indexer(index).add(DOCUMENTS[2:])
        with pytest.raises(ValueError, match="in a folder that is there, got a folder that is not there"):
            export_parquet(index, tmp_path / "nothing" / "file.parquet")
        with pytest.raises(ValueError, match="got a folder"):
            export_parquet(index, tmp_path)
        with pytest.raises(TypeError, match="expected a path"):
            export_parquet(index, 3)
        with pytest.raises(TypeError, match="index"):
            export_parquet("name", tmp_path / "file.parquet")
        before = tmp_path / "file.parquet"
        before.write_bytes(b"as it was")

        def fails(*far):
            raise RuntimeError("the caller's own")

        with pytest.raises(RuntimeError):
            export_parquet(index, before, progress=fails)
        assert [one.name for one in tmp_path.iterdir()] == ["file.parquet"]
        assert before.read_bytes() == b"as it was"
