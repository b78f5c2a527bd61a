"""Rebuilding an index while it serves."""

import random
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from servers import private_server
from stepping import Killed, up_to

from ragknn import (
    Document,
    HashingEmbedder,
    Index,
    Indexer,
    IndexNotFound,
    LabelVoter,
    RebuildFailed,
    Retriever,
    SchemaMismatch,
)
from ragknn._protocol.keys import Keys
from ragknn._protocol.opening import create_command
from ragknn._protocol.replies import parse_info
from ragknn.estimators import KNeighborsClassifier
from ragknn.indexing._rebuilding import rebuilding
from ragknn.server._connection import run

DIM = 16
ROWS = 300
IDS = [f"d{number}" for number in range(ROWS)]
VECTORS = np.random.default_rng(7).standard_normal((ROWS, DIM)).astype(np.float32)
QUERIES = np.random.default_rng(8).standard_normal((20, DIM)).astype(np.float32)


def nearest(query, metric="cosine", k=5, vectors=VECTORS):
    """Which rows are nearest, by brute force, and their distances."""
    if metric == "l2":
        distances = np.linalg.norm(vectors - query, axis=1)
    else:
        distances = 1 - vectors @ query
        if metric == "cosine":
            distances = 1 - vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    rows = np.argsort(distances, kind="stable")[:k]
    return [IDS[row] for row in rows], distances[rows]


def check_answers(retriever, metric="cosine"):
    for query, found in zip(QUERIES, retriever.kneighbors(QUERIES, 5, ef_runtime=None), strict=True):
        ids, distances = nearest(query, metric)
        assert [neighbor.passage.document_id for neighbor in found] == ids
        assert [neighbor.distance for neighbor in found] == pytest.approx(distances, abs=1e-4)


def versions(client, name):
    """The versions of the search index that there are."""
    begin = f"ragknn:{name}:"
    listed = [one.decode() for one in client.execute_command("FT._LIST")]
    return [one.removeprefix(begin) for one in listed if one.startswith(begin)]


def is_tidy(client, name, version):
    """Whether nothing is left of a rebuild but the version that serves, under the alias."""
    behind_alias = parse_info(client.execute_command("FT.INFO", f"ragknn:{name}"))
    kept = client.hgetall(f"ragknn:{name}:manifest")
    return (
        versions(client, name) == [f"v{version}"]
        and behind_alias.name == f"ragknn:{name}:v{version}"
        and b"rebuild" not in kept
        and not client.exists(Keys(name).moving)
    )


@pytest.fixture
def made(redis_url, index_name):
    """An index of vectors, open in this process as in another."""
    with Index(index_name, url=redis_url, dim=DIM) as index:
        Indexer(index).add_vectors(IDS, VECTORS)
        yield index


def test_what_is_changed_serves_here_and_where_it_was_open(faces, redis_url, index_name, made, client):
    elsewhere = Retriever(made)
    told = []
    steps = [
        ({"algorithm": "hnsw"}, {"algorithm": ("flat", "hnsw")}),
        ({"m": 32, "ef_construction": 100}, {"m": (16, 32), "ef_construction": (200, 100)}),
        ({"metric": "l2", "algorithm": "flat"}, {"algorithm": ("hnsw", "flat"), "metric": ("cosine", "l2")}),
        ({"metric": "ip"}, {"metric": ("l2", "ip")}),
        ({"metric": "cosine"}, {"metric": ("ip", "cosine")}),
    ]
    with faces.index(index_name, url=redis_url) as index:
        retriever = faces.retriever(index)
        for number, (changes, changed) in enumerate(steps, made.schema.version + 1):
            planned = index.rebuild(**changes, dry_run=True)
            assert (planned.changed, planned.passages, planned.dry_run) == (changed, ROWS, True)
            assert str(planned).startswith("dry run, nothing changed")
            report = index.rebuild(**changes, progress=lambda *counts: told.append(counts))
            assert (report.changed, report.passages, report.sampled) == (changed, ROWS, 32)
            assert report.agreement == 1
            assert report.recall > 0.99
            assert report.memory_bytes > (0, 0)
            assert told[-1] == (ROWS, ROWS)
            metric = index.schema.metric
            check_answers(retriever, metric)
            check_answers(elsewhere, metric)
            assert made.schema == index.schema
            assert is_tidy(client, index_name, number)
            assert index.rebuild(**changes).changed == {}
        assert index.describe().passages == elsewhere.index.count() == ROWS
        index.drop()
    assert not list(client.scan_iter(f"ragknn:{index_name}:*"))
    assert versions(client, index_name) == []


def test_words_and_fields_are_found_as_before(faces, redis_url, index_name):
    documents = [Document(f"d{n}", f"letter {n} about pears", "ab"[n % 2], {"year": n}) for n in range(40)]
    options = {"embedder": HashingEmbedder(DIM), "fields": {"year": "numeric"}}
    with faces.index(index_name, url=redis_url, algorithm="flat", **options) as index:
        faces.indexer(index).add(documents)
        retriever = faces.retriever(index)
        asked = [
            lambda: retriever.retrieve("letter 7", 5, where={"year": {"$gte": 20}}),
            lambda: retriever.retrieve("letter 7", 1, mode="text"),
            lambda: retriever.retrieve("letter 7", 1, mode="hybrid"),
            lambda: index.values("year"),
        ]
        before = [ask() for ask in asked]
        index.rebuild(algorithm="hnsw")
        assert [ask() for ask in asked] == before
    with pytest.raises(SchemaMismatch, match="algorithm: expected 'flat', found 'hnsw'"):
        Index(index_name, url=redis_url, algorithm="flat").open()


def test_what_is_indexed_can_become_less(faces, redis_url, index_name, client):
    documents = [Document(f"d{n}", f"letter {n} about pears", metadata={"kind": "ab"[n % 2]}) for n in range(40)]
    options = {"embedder": HashingEmbedder(DIM), "any_field": True}
    with faces.index(index_name, url=redis_url, **options) as index:
        faces.indexer(index).add(documents)
        retriever = faces.retriever(index)
        found = retriever.retrieve("letter 7", 5)
        report = index.rebuild(text_search=False, any_field=False)
        assert report.changed == {"text_search": (True, False), "any_field": (True, False)}
        before, after = report.memory_bytes
        assert after < before
        assert retriever.retrieve("letter 7", 5) == found
        with pytest.raises(ValueError, match="expected an index with text_search"):
            retriever.retrieve("letter 7", mode="text")
        with pytest.raises(ValueError, match="kind"):
            index.count({"kind": "a"})
        faces.indexer(index).sync(documents[:30])
        assert index.count() == 30


def test_no_search_and_no_write_fails_meanwhile(redis_url, index_name, made, client):
    """While searches go on in threads, and one writes, in the index that they have opened before."""
    ended = threading.Event()
    errors, asked, written = [], [], []

    def ask():
        with Index(index_name, url=redis_url) as index:
            retriever = Retriever(index)
            try:
                while not ended.is_set():
                    for query in QUERIES:
                        [found] = retriever.kneighbors(query[np.newaxis], 5)
                        ids, distances = nearest(query, found[0].metric)
                        assert [neighbor.passage.document_id for neighbor in found] == ids
                        assert [neighbor.distance for neighbor in found] == pytest.approx(distances, abs=1e-4)
                    assert index.count() >= ROWS
                    asked.append(found)
            except Exception as error:
                errors.append(error)

    def write():
        with Index(index_name, url=redis_url) as index:
            indexer = Indexer(index)
            while not ended.is_set():
                new = f"far{len(written)}"
                report = indexer.add_vectors([new], [None], texts=["without a vector"])
                if report.failed:
                    errors.append(report)
                written.append(new)

    threads = [threading.Thread(target=ask), threading.Thread(target=ask), threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    try:
        for algorithm, metric in [("hnsw", "l2"), ("flat", "cosine"), ("hnsw", "cosine"), ("flat", "l2")]:
            made.rebuild(algorithm=algorithm, metric=metric)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert errors == []
    assert len(asked) > 1
    assert len(written) > 1
    assert all(made.exists(written))
    assert made.count() == ROWS + len(written)
    assert is_tidy(client, index_name, made.schema.version)


def test_it_may_end_between_any_two_commands(redis_url, index_name, made, client):
    reader = Retriever(made)
    steps, version, finished = 0, 1, False
    algorithms = ["hnsw", "flat"]
    while not finished:
        with Index(index_name, url=redis_url) as index:
            try:
                run(client, up_to(rebuilding(index, {"algorithm": algorithms[0]}, 0.9, None, False), steps))
                finished = True
            except Killed:
                pass
        client.delete(Keys(index_name).moving)  # as time does
        check_answers(reader)
        with Index(index_name, url=redis_url) as index:
            check_answers(Retriever(index))
            if index.schema.algorithm == algorithms[0]:  # it had come to its end but for the leftovers
                version += 1
                algorithms.reverse()
                assert is_tidy(client, index_name, index.schema.version)
            elif steps % 5 == 0:
                report = index.rebuild(algorithm=algorithms[0])
                assert report.changed
                version += 1
                algorithms.reverse()
                assert is_tidy(client, index_name, index.schema.version)
        check_answers(reader)
        steps += 1
    assert steps > 40


def test_an_indexer_that_was_open_goes_on(faces, redis_url, index_name, client):
    """With each of its methods it meets an index that was rebuilt since its last call."""
    documents = [Document(f"d{n}", f"letter {n}", metadata={"year": n}) for n in range(30)]
    options = {"embedder": HashingEmbedder(2), "fields": {"year": "numeric"}, "metric": "l2"}
    with Index(index_name, url=redis_url, **options) as index, faces.index(index_name, url=redis_url) as elsewhere:
        indexer = faces.indexer(elsewhere)
        assert indexer.add(documents).added == 30

        def changed(call):
            index.rebuild(metric={"l2": "cosine", "cosine": "l2"}[index.schema.metric])
            return call()

        assert changed(lambda: indexer.sync(documents[:29], where={"year": {"$gte": 20}})).deleted == 1
        assert changed(lambda: indexer.add_vectors(["zero"], [[0, 0]])).failed == ()  # it was l2 again
        assert indexer.delete(["zero"]) == 1
        assert "only zeros" in changed(lambda: indexer.add_vectors(["zero"], [[0, 0]])).failed[0].reason
        assert changed(lambda: indexer.update(where={"year": 3}, metadata={"year": 4})).updated == 1
        assert changed(lambda: indexer.delete(["d3"], where={"year": 4})) == 1
        assert changed(lambda: indexer.delete_where({"year": 5})) == 1
        assert changed(lambda: elsewhere.count()) == 27


def test_what_was_built_is_gone_on_with(redis_url, index_name, made, client):
    def begun():
        return b"rebuild" in client.hkeys(f"ragknn:{index_name}:manifest") and len(versions(client, index_name)) == 2

    steps = 0
    while not begun():
        steps += 1
        with Index(index_name, url=redis_url) as index, pytest.raises(Killed):
            run(client, up_to(rebuilding(index, {"algorithm": "hnsw"}, 0.9, None, False), steps))
        client.delete(Keys(index_name).moving)
    birth = client.execute_command("FT.INFO", made._keys.search_index(made.schema.version + 1))
    assert birth
    with Index(index_name, url=redis_url) as index:
        assert begun()  # opening leaves it to whoever goes on
        report = index.rebuild(algorithm="hnsw")
        assert report.resumed
        assert is_tidy(client, index_name, index.schema.version)
    with Index(index_name, url=redis_url) as index, pytest.raises(Killed):
        run(client, up_to(rebuilding(index, {"algorithm": "flat"}, 0.9, None, False), steps + 1))
    client.delete(Keys(index_name).moving)
    assert begun()
    with Index(index_name, url=redis_url) as index:
        assert not index.rebuild(m=8).resumed  # other changes begin anew
        check_answers(Retriever(index))
        assert is_tidy(client, index_name, index.schema.version)


KILLED = """
import sys
from ragknn import Index
with Index(sys.argv[2], url=sys.argv[1]) as index:
    print("ready", flush=True)
    while True:
        index.rebuild(algorithm="hnsw")
        index.rebuild(algorithm="flat")
"""


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_process_leaves_an_index_that_serves(redis_url, index_name, made, client, seed):
    with subprocess.Popen([sys.executable, "-c", KILLED, redis_url, index_name], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        reader = Retriever(made)
        for _ in range(random.Random(seed).randrange(10, 200)):
            check_answers(reader)
        process.send_signal(signal.SIGKILL)
    client.delete(Keys(index_name).moving)
    check_answers(reader)
    with Index(index_name, url=redis_url) as index:
        check_answers(Retriever(index))
        index.rebuild(algorithm="hnsw" if index.schema.algorithm == "flat" else "flat")
        check_answers(Retriever(index))
        assert is_tidy(client, index_name, index.schema.version)
    check_answers(reader)


def test_of_two_processes_one_does_it(redis_url, index_name, made, client):
    """The other is told so at once; one that is not alive any more is waited for."""
    other = threading.Event()

    def hold():
        while not other.is_set():
            client.set(Keys(index_name).moving, "another", px=5000)

    client.set(Keys(index_name).moving, "another", px=5000)
    thread = threading.Thread(target=hold)
    thread.start()
    try:
        with pytest.raises(RebuildFailed, match="another process that rebuilds it now"):
            made.rebuild(algorithm="hnsw")
    finally:
        other.set()
        thread.join()
    client.pexpire(Keys(index_name).moving, 100)
    made.rebuild(algorithm="hnsw")
    assert is_tidy(client, index_name, made.schema.version)


def test_a_version_that_finds_too_little_does_not_serve(made, index_name, client):
    hard = {"algorithm": "hnsw", "m": 2, "ef_construction": 1}
    with pytest.raises(RebuildFailed, match=r"expected a recall of 1.0 of the new version .* use larger m"):
        made.rebuild(**hard, recall=1.0)
    assert made.schema.algorithm == "flat"
    check_answers(Retriever(made))
    assert is_tidy(client, index_name, made.schema.version)


def test_vectors_without_direction_have_no_cosine(redis_url, index_name, client):
    with Index(index_name, url=redis_url, dim=2, metric="l2") as index:
        Indexer(index).add_vectors(["a", "b"], [[1, 2], [0, 0]])
        with pytest.raises(RebuildFailed, match=r"in document 'b': only zeros"):
            index.rebuild(metric="cosine")
        index.rebuild(metric="ip")
        assert is_tidy(client, index_name, index.schema.version)


def when_compared(flow, call):
    """Run the flow, with a call of others at the moment when the new version is compared with the old one."""
    sent, called = None, False
    while True:
        try:
            step = flow.send(sent)
        except StopIteration as stop:
            return stop.value
        if not called and isinstance(step, list) and step[0][0] == "MULTI":
            called = True
            call()
        sent = yield step


def test_fields_that_are_declared_meanwhile_are_kept(redis_url, index_name, made, client):
    def declare():
        with Index(index_name, url=redis_url) as index:
            index.add_fields({"year": "numeric"})

    flow = rebuilding(made, {"algorithm": "hnsw"}, 0.9, None, False)
    assert run(client, when_compared(flow, declare)).changed
    assert made.schema.fields == {"year": "numeric"}
    assert len(Retriever(made).kneighbors(QUERIES[:1], 1, where={"year": 7})[0]) == 0
    assert is_tidy(client, index_name, made.schema.version)


def test_of_an_index_that_is_dropped_meanwhile_nothing_is_left(redis_url, index_name, made, client):
    def drop():
        with Index(index_name, url=redis_url) as index:
            index.drop()
        client.execute_command(*create_command(made._keys, replace(made.schema, version=3)))  # it came after the drop

    flow = rebuilding(made, {"algorithm": "hnsw"}, 0.9, None, False)
    with pytest.raises(IndexNotFound, match="got it dropped while it was rebuilt"):
        run(client, when_compared(flow, drop))
    assert not list(client.scan_iter(f"ragknn:{index_name}:*"))
    assert versions(client, index_name) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "expected something to change, got nothing: name at least one of algorithm, m"),
        ({"algorithm": "tree"}, "algorithm"),
        ({"algorithm": "hnsw", "m": 0}, "expected m >= 1, got 0"),
        ({"algorithm": "hnsw", "m": 1}, "expected m >= 2, got 1: with a single edge the server ends"),
        ({"algorithm": "hnsw", "recall": 2}, "expected a recall from 0 to 1, got 2"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_done(made, index_name, client, changes, message):
    with pytest.raises(ValueError, match=message):
        made.rebuild(**changes)
    assert is_tidy(client, index_name, made.schema.version)
    with pytest.raises(TypeError):
        made.rebuild(algorthm="hnsw")


def test_an_index_of_an_estimator_is_not_rebuilt(redis_url, index_name):
    KNeighborsClassifier(index=index_name, url=redis_url).fit(VECTORS[:20], [0, 1] * 10)
    with Index(index_name, url=redis_url) as index, pytest.raises(ValueError, match="with an estimator's rows"):
        index.rebuild(algorithm="hnsw")


def test_an_estimator_and_a_voter_on_an_index_go_on(redis_url, index_name):
    labels = ["ab"[number % 2] for number in range(ROWS)]
    with Index(index_name, url=redis_url, dim=DIM) as index:
        Indexer(index).add_vectors(IDS, VECTORS, labels=labels)
        fitted = KNeighborsClassifier.from_index(index_name, url=redis_url)
        voter = LabelVoter(Retriever(Index(index_name, url=redis_url).open()), 5)
        before = fitted.predict(QUERIES), voter.predict(QUERIES)
        for algorithm in ("hnsw", "flat"):
            index.rebuild(algorithm=algorithm)
            assert list(fitted.predict(QUERIES)) == list(before[0])
            assert list(voter.predict(QUERIES)) == list(before[1])
        voter.retriever.index.close()


def test_without_memory_for_two_versions_nothing_is_begun(tmp_path):
    with private_server(tmp_path) as url, Index("full", url=url, dim=DIM) as index:
        Indexer(index).add_vectors(IDS, VECTORS)
        client = index.client
        client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + 200_000)
        with pytest.raises(RebuildFailed, match=r"expected room for a second version .* raise it until"):
            index.rebuild(algorithm="hnsw")
        assert versions(client, "full") == [f"v{index.schema.version}"]
        client.config_set("maxmemory", 0)
        index.rebuild(algorithm="hnsw")
