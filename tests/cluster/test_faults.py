"""What goes on while a cluster is changed or a part of it fails: documents stay whole, answers are right or none."""

import asyncio
import threading
import time
from contextlib import contextmanager

import pytest
import redis
from clusters import PRIMARIES, begin_to_move, end_move, move_keys, move_slot, slot_of, until

from ragknn import (
    AsyncIndex,
    AsyncIndexer,
    AsyncRetriever,
    ConnectionFailed,
    Document,
    HashingEmbedder,
    IncompleteRetrieval,
    Index,
    Indexer,
    IndexNotFound,
    RagKNNError,
    RebuildFailed,
    Retriever,
    Splitter,
    UnsupportedServer,
)

WORDS = Splitter(10, 0, unit="words")
SIZE = 120
K = 12


def documents(version):
    """Documents of one to four passages, with the version in each of these."""
    return [
        Document(
            f"d{number}", " ".join(f"v{version} number {number} part {part} of some words here now" for part in parts)
        )
        for number in range(SIZE)
        for parts in [range(1 + (number + version) % 4)]
    ]


@contextmanager
def opened(bed, name="doc", **options):
    with Index(name, url=bed.url, embedder=HashingEmbedder(32), timeout=2, **options) as index:
        yield index


def patiently(do, seconds=40, errors=(ConnectionFailed,)):
    """Do something again as long as the cluster is in trouble."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return do()
        except errors:
            assert time.monotonic() < deadline, "it took too long"


def assert_holds(index, version):
    """All documents are there, whole, of one version, and found."""
    wanted = {one.id: one.text for one in documents(version)}
    assert {one.id: one.text for one in index.documents()} == wanted
    assert sum(index.check().counts.values()) == 0
    assert index.count_documents() == SIZE


class Searching:
    """Searches in a thread, over and over: each answer that counts as complete must be the right one."""

    def __init__(self, bed):
        self._index = Index("doc", url=bed.url, embedder=HashingEmbedder(32), timeout=2)
        self.right, self.refused, self.wrong = 0, 0, []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._index.open()
        self._retriever = Retriever(self._index)
        self._query = documents(0)[7].text
        self._expected = self._ask()
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._over.set()
        self._thread.join()
        self._index.close()

    def _ask(self):
        found = self._retriever.retrieve(self._query, k=K)
        assert found.complete
        return [(round(one.distance, 4)) for one in found]

    def _run(self):
        while not self._over.is_set():
            try:
                found = self._ask()
            except (ConnectionFailed, IncompleteRetrieval):
                self.refused += 1
            except RagKNNError as error:
                self.wrong.append(error)
            else:
                self.right += found == self._expected
                if found != self._expected:
                    self.wrong.append(found)

    def goes_on(self, answers=3):
        before = self.right
        until(lambda: self.right >= before + answers or self.wrong, 60)


class Syncing:
    """Syncs versions in a thread, over and over, until it is told to end."""

    def __init__(self, bed):
        self._bed = bed
        self.version, self.synced, self.refused, self.errors = 0, 0, 0, []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        until(lambda: self.synced)
        return self

    def __exit__(self, *error):
        self._over.set()
        self._thread.join()

    def _run(self):
        with opened(self._bed) as index:
            while not self._over.is_set():
                try:
                    report = Indexer(index, WORDS).sync(documents(self.version + 1))
                except (ConnectionFailed, IndexNotFound):  # a node that was added has no index until the next call
                    self.refused += 1
                except RagKNNError as error:
                    self.errors.append(error)
                    return
                else:
                    self.errors += report.failed
                    self.version, self.synced = self.version + 1, self.synced + 1

    def goes_on(self):
        before = self.synced
        until(lambda: self.synced >= before + 2 or self.errors, 60)


def is_primary(node):
    return "master" in node.sees()[node.id][1]


def filled(bed, **options):
    with opened(bed, **options) as index:
        Indexer(index, WORDS).sync(documents(0))


def test_a_primary_is_killed_while_documents_are_written(own_bed):
    filled(own_bed)
    with Syncing(own_bed) as syncing:
        own_bed.primaries[0].kill()
        syncing.goes_on()
    assert not syncing.errors
    with opened(own_bed) as index:
        patiently(lambda: Indexer(index, WORDS).sync(documents(9)))
        assert_holds(index, 9)


@pytest.mark.parametrize("silent", [False, True])
def test_a_primary_is_killed_while_it_is_searched(own_bed, silent):
    filled(own_bed)
    own_bed.surprise("SILENT", silent)
    with Searching(own_bed) as searching:
        searching.goes_on()
        own_bed.primaries[0].kill()
        until(
            lambda: (
                own_bed.replica.state["cluster_state"] == "ok"
                and "master" in own_bed.replica.sees()[own_bed.replica.id][1]
            )
        )
        searching.goes_on()
    assert not searching.wrong
    assert searching.refused


def test_a_replica_takes_over_while_all_goes_on(own_bed):
    filled(own_bed)
    with Searching(own_bed) as searching:
        searching.goes_on()
        own_bed.replica("CLUSTER", "FAILOVER")
        until(lambda: is_primary(own_bed.replica))
        searching.goes_on()
    assert not searching.wrong
    with Syncing(own_bed) as syncing:
        own_bed.primaries[0]("CLUSTER", "FAILOVER")
        syncing.goes_on()
    assert not syncing.errors
    with opened(own_bed) as index:
        assert_holds(index, syncing.version)


def test_slots_are_moved_while_all_goes_on(own_bed):
    filled(own_bed)
    source, target, _ = own_bed.primaries
    slots = [slot for slot in own_slots() if own_bed.owner(slot) is source][:12]
    with Searching(own_bed) as searching:
        searching.goes_on()
        for slot in slots[:6]:
            move_slot(slot, source, target, own_bed.primaries)
        searching.goes_on()
    assert not searching.wrong
    with Syncing(own_bed) as syncing:
        for slot in slots[6:]:
            move_slot(slot, source, target, own_bed.primaries)
            syncing.goes_on()
    assert not syncing.errors
    with opened(own_bed) as index:
        assert_holds(index, syncing.version)


def own_slots():
    """Return the slots of the documents."""
    return sorted({slot_of(f"ragknn:doc:p:{{d{number}}}:0") for number in range(SIZE)})


def test_a_document_that_is_half_moved_is_not_half_written(own_bed):
    filled(own_bed)
    source, target, _ = own_bed.primaries
    number = next(n for n in range(SIZE) if n % 4 == 3 and own_bed.owner(slot_of(f"ragknn:doc:p:{{d{n}}}:0")) is source)
    slot = slot_of(f"ragknn:doc:p:{{d{number}}}:0")
    begin_to_move(slot, source, target)
    assert move_keys(slot, source, target, 2) == 2
    new = next(one for one in documents(1) if one.id == f"d{number}")
    with opened(own_bed) as index:
        with pytest.raises(ConnectionFailed, match="moved"):
            Indexer(index, WORDS).add([new])
        while move_keys(slot, source, target):
            pass
        end_move(slot, target, own_bed.primaries)
        assert_holds(index, 0)
        assert Indexer(index, WORDS).add([new]).updated == 1
        [stored] = index.documents([new.id])
        assert stored.text == new.text


def test_a_node_is_added(own_bed):
    filled(own_bed)
    source, spare = own_bed.primaries[0], own_bed.spare
    own_bed.meet(spare)
    until(lambda: len(spare.sees()) == PRIMARIES + 2 and spare.state["cluster_state"] == "ok")
    until(lambda: all(spare.id in node.sees() for node in own_bed.primaries))
    slots = [slot for slot in own_slots() if own_bed.owner(slot) is source][:10]
    with Syncing(own_bed) as syncing:
        for slot in slots:
            move_slot(slot, source, spare, [*own_bed.primaries, spare])
        syncing.goes_on()
    with opened(own_bed) as index:
        Indexer(index, WORDS).sync(documents(5))
        assert_holds(index, 5)
        assert Retriever(index).retrieve(documents(5)[0].text, k=K).complete


def test_a_node_that_hangs_gives_no_answer(own_bed):
    filled(own_bed)
    with opened(own_bed) as index:
        retriever = Retriever(index)
        expected = retriever.retrieve("number 3", k=K).distances
        own_bed.primaries[2].stop()
        try:
            with pytest.raises((ConnectionFailed, IncompleteRetrieval)):
                retriever.retrieve("number 3", k=K)
        finally:
            own_bed.primaries[2].go_on()
        assert patiently(lambda: retriever.retrieve("number 3", k=K).distances) == expected


def test_a_cluster_that_counts_twice_is_refused(own_bed):
    filled(own_bed)
    source, target, _ = own_bed.primaries
    with opened(own_bed) as index:
        retriever = Retriever(index)
        own_bed.surprise("DUPLICATES", True)
        assert retriever.retrieve("number 3", k=K).complete  # one range for each node
        slot = next(slot for slot in own_slots() if own_bed.owner(slot) is source and slot > 1)
        move_slot(slot, source, target, own_bed.primaries)
        for ask in (lambda: retriever.retrieve("number 3", k=K), index.count, index.count_documents):
            with pytest.raises(UnsupportedServer, match=r"asks each of its 3 nodes once, got one that asks \d times"):
                ask()
        own_bed.surprise("DUPLICATES", False)


def test_a_node_without_the_index_gives_no_answer(own_bed):
    filled(own_bed)
    with opened(own_bed) as index:
        retriever = Retriever(index)
        expected = retriever.retrieve("number 3", k=K).distances
        with redis.Redis(port=own_bed.primaries[1].shadow) as shadow:
            shadow.execute_command("FT.DROPINDEX", "ragknn:doc:v1")
        assert retriever.retrieve("number 3", k=K).distances == expected  # it is made there again


@pytest.mark.parametrize("changes", [{"algorithm": "hnsw"}, {"dtype": "float16"}])
def test_an_index_is_rebuilt_while_documents_are_written(own_bed, changes):
    filled(own_bed)
    with Syncing(own_bed) as syncing, opened(own_bed) as index:
        patiently(lambda: index.rebuild(**changes), errors=(RebuildFailed,))
        syncing.goes_on()
    assert not syncing.errors
    with opened(own_bed) as index:
        assert {name: getattr(index.schema, name) for name in changes} == changes
        assert_holds(index, syncing.version)


def test_an_index_is_dropped_though_a_node_is_lost(own_bed):
    filled(own_bed)
    own_bed.primaries[0].kill()
    patiently(Index("doc", url=own_bed.url, timeout=2).drop)
    for node in (own_bed.replica, *own_bed.primaries[1:]):
        assert list(node.client.scan_iter("ragknn:doc:*")) == []


def test_tasks_search_while_a_replica_takes_over_and_slots_move(own_bed):
    filled(own_bed)
    source, target, _ = own_bed.primaries

    async def search():
        async with AsyncIndex("doc", url=own_bed.url, embedder=HashingEmbedder(32), timeout=2) as index:
            retriever = AsyncRetriever(index)
            expected = (await retriever.retrieve(documents(0)[7].text, k=K)).distances
            over = asyncio.Event()
            right, refused = [], []

            async def ask():
                while not over.is_set():
                    try:
                        found = await retriever.retrieve(documents(0)[7].text, k=K)
                    except (ConnectionFailed, IncompleteRetrieval) as error:
                        refused.append(error)
                    else:
                        right.append(found.distances == pytest.approx(expected, abs=1e-4))

            tasks = [asyncio.ensure_future(ask()) for _ in range(2)]
            for slot in [slot for slot in own_slots() if own_bed.owner(slot) is source][:4]:
                await asyncio.to_thread(move_slot, slot, source, target, own_bed.primaries)
            own_bed.replica("CLUSTER", "FAILOVER")
            await asyncio.to_thread(until, lambda: is_primary(own_bed.replica))
            before = len(right)
            await asyncio.to_thread(until, lambda: len(right) > before + 4)
            over.set()
            await asyncio.gather(*tasks)
            assert all(right)
            report = await AsyncIndexer(index, WORDS).sync(documents(1))
            assert not report.failed

    asyncio.run(search())
    with opened(own_bed) as index:
        assert_holds(index, 1)
