"""Reading, cutting, embedding and writing overlap: within a bound, and with the same outcome as in a row."""

import asyncio
import gc
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import redis

from ragknn import (
    AsyncIndex,
    AsyncIndexer,
    Document,
    HashingEmbedder,
    Index,
    Indexer,
    Passage,
    Splitter,
)
from ragknn.indexing._batches import BYTES_PER_WRITE, CHARACTERS_PER_BATCH
from ragknn.indexing._line import CALLS_AHEAD, PASSAGES_PER_CALL, WRITES_AHEAD

WORDS = Splitter(size=4, overlap=0, unit="words")


def some(number, words=1):
    return [Document(f"d{each}", " ".join(f"w{each}-{n}" for n in range(words))) for each in range(number)]


class Watched(HashingEmbedder):
    """Keeps how many texts each call had, how many calls are under way, and in which thread."""

    def __init__(self, before=lambda: None):
        super().__init__(16)
        self.calls, self.most, self.threads, self._under_way = [], 0, set(), 0
        self.before = before

    def embed_documents(self, texts):
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        self.threads.add(threading.get_ident())
        self.before()
        self.calls.append(len(texts))
        self._under_way -= 1
        return super().embed_documents(texts)


@pytest.fixture
def opened(faces, redis_url, index_name):
    """Open an index with an embedder."""
    return lambda embedder, **options: faces.index(index_name, url=redis_url, embedder=embedder, **options)


# ---- beside each other -----------------------------------------------------------------------------------------


def test_the_model_works_while_documents_are_read(faces, opened):
    read, embedding = threading.Event(), threading.Event()

    def begins():
        embedding.set()
        assert read.wait(30), "the model waited for what it had, and the reader for the model"

    def documents():
        yield from some(200)
        assert embedding.wait(30)
        read.set()
        yield Document("last", "text")

    with opened(Watched(begins)) as index:
        assert faces.indexer(index).add(documents()).added == 201


def test_the_model_has_full_calls_of_several_documents_one_at_a_time(faces, opened):
    let_go = threading.Event()
    embedder = Watched(lambda: let_go.wait(30))

    def documents():
        for number, document in enumerate(some(300, words=6)):
            if number == 250:
                let_go.set()
            yield document

    with opened(embedder) as index:
        report = faces.indexer(index, WORDS).add(documents())
    assert (report.added, report.passages, report.embedded, sum(embedder.calls)) == (300, 600, 600, 600)
    assert embedder.most == 1
    first, second, *_ = embedder.calls
    assert first == 128  # of one batch of documents, so that the model begins soon
    assert second == PASSAGES_PER_CALL


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_no_more_is_read_ahead_than_is_said(faces, opened, batch_size):
    taken, ahead, number = 0, [], 200 if batch_size == 1 else 1_000

    def documents():
        nonlocal taken
        for document in some(number):
            taken += 1
            yield document

    with opened(Watched()) as index:
        report = faces.indexer(index).add(
            documents(), batch_size=batch_size, progress=lambda report: ahead.append(taken - report.documents)
        )
    assert report.added == number
    batches = 2 + WRITES_AHEAD + 1  # read, looked up; written
    assert max(ahead) <= batches * batch_size + (CALLS_AHEAD + 1) * PASSAGES_PER_CALL


def test_large_documents_are_read_and_written_in_smaller_batches(faces, redis_url, index_name, client):
    taken, ahead = 0, []

    def passages():
        nonlocal taken
        for number in range(60):
            taken += 1
            yield Passage(str(number), f"d{number}", "x" * (CHARACTERS_PER_BATCH // 10), 0, 0, vector=np.ones(2))

    client.config_resetstat()
    with faces.index(index_name, url=redis_url, dim=2, text_search=False) as index:
        report = faces.indexer(index).add_passages(
            passages(), progress=lambda report: ahead.append(taken - report.documents)
        )
    assert report.added == 60
    assert BYTES_PER_WRITE <= CHARACTERS_PER_BATCH
    assert max(ahead) <= 11 * (2 + WRITES_AHEAD + 1)


def test_batches_are_on_their_way_together_over_one_connection(redis_url, index_name):
    with redis.Redis.from_url(redis_url, max_connections=1) as client, Index(index_name, client=client, dim=4) as index:
        before = client.info("stats")["total_connections_received"]
        report = Indexer(index).add_vectors([str(n) for n in range(1_000)], np.eye(4)[np.arange(1_000) % 4])
        assert report.added == 1_000
        assert client.info("stats")["total_connections_received"] == before


def commands_of(client, work):
    """Return how many commands the work takes, by name."""
    client.config_resetstat()
    work()
    stats = client.info("commandstats")
    ignored = {"config", "info", "client", "hello", "auth", "config|resetstat", "client|setinfo"}
    names = {name.removeprefix("cmdstat_"): figures["calls"] for name, figures in stats.items()}
    return {name: calls for name, calls in names.items() if name not in ignored}


def test_unchanged_documents_cost_a_look_for_each_batch_and_nothing_else(faces, opened, client):
    documents = some(640)
    with opened(Watched()) as index:
        indexer = faces.indexer(index)
        indexer.sync(documents)
        calls = commands_of(client, lambda: indexer.sync(documents))
    assert calls.pop("eval_ro") == 10
    assert calls["ft.info" if "ft.info" in calls else "FT.INFO"] == 2
    assert "hset" not in calls
    assert "hsetex" not in calls
    assert "eval" not in calls


# ---- progress --------------------------------------------------------------------------------------------------


def test_progress_moves_within_a_document(faces, opened):
    seen = []
    words = 4 * PASSAGES_PER_CALL * 5
    with opened(Watched()) as index:
        report = faces.indexer(index, WORDS).add(some(1, words), progress=seen.append)
    assert [one.embedded for one in seen] == sorted(one.embedded for one in seen)
    within = [one for one in seen if one.documents == 0]
    assert [one.embedded for one in within] == [PASSAGES_PER_CALL * n for n in range(1, 6)]
    assert [round(one.under_way, 6) for one in within] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert (within[0].passages, within[0].added) == (0, 0)
    assert (report.passages, report.embedded, report.under_way, report.documents) == (words // 4, words // 4, 0, 1)


def test_progress_is_told_when_there_is_some_and_ends_with_the_whole(faces, opened):
    seen = []
    with opened(Watched()) as index:
        indexer = faces.indexer(index)
        report = indexer.add((each for each in some(150)), progress=seen.append)
        steps = [(one.documents, one.embedded) for one in seen]
        assert steps == sorted(set(steps))
        assert steps[-1] == (150, 150)
        assert (report.added, report.embedded) == (150, 150)
        del seen[:]
        assert indexer.sync(some(150), progress=seen.append).unchanged == 150
        assert [(one.documents, one.embedded) for one in seen] == [(64, 0), (128, 0), (150, 0)]
        indexer.add([], progress=seen.append)
        assert len(seen) == 3


# ---- in order --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_the_last_of_several_of_one_id_is_stored_however_far_ahead_they_are_read(faces, opened, batch_size):
    versions = [Document(name, f"{name} {version}") for version in range(9) for name in "abc"]
    with opened(Watched()) as index:
        report = faces.indexer(index).add(versions, on_repeated="last", batch_size=batch_size)
        assert report.ids["added"] == ("a", "b", "c")
        assert [one.text for one in index.documents()] == ["a 8", "b 8", "c 8"]


def test_ids_are_told_in_the_order_of_the_input(faces, opened):
    with opened(Watched()) as index:
        indexer = faces.indexer(index)
        indexer.add([Document("b", "one"), Document("d", "two")])
        changed = [Document("e", "new"), Document("d", "other"), Document("c", "new"), Document("b", "one", "label")]
        ids = indexer.add([*changed, Document("a", "new")]).ids
        assert (ids["added"], ids["updated"]) == (("e", "c", "a"), ("d", "b"))
        ids = indexer.add([Document("b", "one", "label"), *changed[1:3], Document("a", "changed")]).ids
        assert (ids["unchanged"], ids["updated"]) == (("b", "d", "c"), ("a",))


def test_two_writers_of_the_same_documents_leave_each_of_them_whole(redis_url, index_name):
    def write(version, told):
        with Index(index_name, url=redis_url, embedder=HashingEmbedder(16)) as index:
            documents = (Document(f"d{n}", " ".join([version] * (n % 9 + 1)), version) for n in range(300))
            told.append(Indexer(index, WORDS).add(documents, batch_size=10))

    Index(index_name, url=redis_url, embedder=HashingEmbedder(16)).open().close()
    told = []
    writers = [threading.Thread(target=write, args=(version, told)) for version in ("mine", "theirs")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [len(report.failed) for report in told] == [0, 0]
    with Index(index_name, url=redis_url) as index:
        stored = list(index.documents())
        assert len(stored) == 300
        for one in stored:
            assert one.text == " ".join([one.label] * (int(one.id[1:]) % 9 + 1))


# ---- what fails midway -----------------------------------------------------------------------------------------


def test_what_a_model_had_made_before_it_failed_is_stored_and_nothing_goes_on(faces, opened):
    def fails(calls=[]):  # noqa: B006  # kept from call to call
        calls.append(1)
        if len(calls) == 3:
            raise ArithmeticError("the model is gone")

    with opened(Watched(fails)) as index:
        with pytest.raises(ArithmeticError, match="the model is gone"):
            faces.indexer(index).add(some(1_000))
        stored = index.count()
        assert 128 <= stored < 1_000
        assert index.count() == stored
        assert len(index.embedder.calls) == 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ragknn")]


def test_what_fails_where_progress_is_told_ends_the_work(faces, opened):
    def refuse(report):
        raise ArithmeticError("enough")

    with opened(Watched()) as index:
        with pytest.raises(ArithmeticError, match="enough"):
            faces.indexer(index).add(some(1_000), progress=refuse)
        assert len(index.embedder.calls) <= CALLS_AHEAD


def test_a_cancelled_task_ends_with_whole_documents_and_with_nothing_under_way(redis_url, index_name):
    async def cancelling():
        embedder = Watched()
        async with AsyncIndex(index_name, url=redis_url, embedder=embedder) as index:
            begun, taken = asyncio.Event(), []

            def documents():
                for document in some(2_000, words=6):
                    taken.append(document)
                    yield document

            adding = AsyncIndexer(index, WORDS).add(documents(), progress=lambda report: begun.set())
            task = asyncio.create_task(adding)
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            before = len(taken), len(embedder.calls), await index.count()
            assert [len(asyncio.all_tasks())] == [1]
            stored = [one async for one in index.documents()]
            assert {one.text for one in stored} <= {one.text for one in some(2_000, words=6)}
            assert (len(taken), len(embedder.calls), await index.count()) == before
            assert len(taken) < 2_000

    asyncio.run(cancelling())


INTERRUPTED = """
    import signal, sys, threading
    from ragknn import Document, HashingEmbedder, Index, Indexer, Splitter

    interrupted = threading.Event()
    url, name = sys.argv[1:]

    def interrupt(*_):
        interrupted.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)  # which the jobs of a shell without a terminal ignore

    class Slow(HashingEmbedder):
        calls = 0

        def embed_documents(self, texts):
            self.calls += 1
            print("embedding", flush=True)
            interrupted.wait(0.05 if self.calls < 4 else 30)
            return super().embed_documents(texts)

    with Index(name, url=url, embedder=Slow(16)) as index:
        try:
            Indexer(index, Splitter(4, 0, "words")).add(Document(str(n), "one two three " * 9) for n in range(100_000))
        except KeyboardInterrupt:
            left = [each.name for each in threading.enumerate() if each is not threading.main_thread()]
            print("interrupted", left, flush=True)
"""


def test_who_interrupts_gets_the_prompt_back_and_whole_documents(redis_url, index_name):
    command = [sys.executable, "-c", textwrap.dedent(INTERRUPTED), redis_url, index_name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(4):
            assert process.stdout.readline() == "embedding\n"
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read().splitlines()
    assert process.returncode == 0
    assert rest[-1] == "interrupted []"
    assert len(rest) <= 1 + CALLS_AHEAD
    with Index(index_name, url=redis_url) as index:
        texts = {one.text for one in index.documents()}
        assert texts == {"one two three " * 9}


# ---- memory ----------------------------------------------------------------------------------------------------


def test_of_what_has_passed_nothing_is_kept_but_the_ids(faces, opened):
    alive = []
    not_ours = [each for each in gc.get_objects() if type(each) is Passage]  # of other tests: held, so that none goes

    def documents():
        for number, document in enumerate(some(1_500)):
            if number % 500 == 499:
                alive.append(sum(type(each) is Passage for each in gc.get_objects()) - len(not_ours))
            yield document

    with opened(Watched()) as index:
        assert faces.indexer(index).add(documents()).added == 1_500
    assert max(alive) <= (CALLS_AHEAD + 1) * PASSAGES_PER_CALL + (2 + WRITES_AHEAD + 1) * 64
