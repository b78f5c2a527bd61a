"""What goes on while a cluster is changed or a part of it fails: documents stay whole, answers are right or none."""

import asyncio

import pytest
import redis
from clusters import PRIMARIES, begin_to_move, end_move, move_keys, move_slot, slot_of, until
from meanwhile import (
    EMBEDDER,
    NAME,
    SIZE,
    TIMEOUT,
    WORDS,
    K,
    Searching,
    Syncing,
    assert_holds,
    documents,
    filled,
    opened,
    patiently,
)

from ragknn import (
    AsyncIndex,
    AsyncIndexer,
    AsyncRetriever,
    ConnectionFailed,
    IncompleteRetrieval,
    RebuildFailed,
    UnsupportedServer,
)


def own_slots():
    """Return the slots of the documents."""
    return sorted({slot_of(f"ragknn:{NAME}:p:{{d{number}}}:0") for number in range(SIZE)})


def looked(nodes):
    """Return how often nodes were asked how they see the cluster."""
    return [node.client.info("commandstats").get("cmdstat_cluster|nodes", {}).get("calls", 0) for node in nodes]


def slots_on(bed, node, number):
    """Return some slots of documents that a node has."""
    return [slot for slot in own_slots() if bed.owner(slot) is node][:number]


def test_a_primary_is_killed_while_documents_are_written(faces, own_bed):
    filled(faces, own_bed)
    with Syncing(faces, own_bed) as syncing:
        own_bed.primaries[0].kill()
        syncing.goes_on(2)
    assert not syncing.wrong
    with opened(faces, own_bed) as index:
        patiently(lambda: faces.indexer(index, WORDS).sync(documents(9)))
        assert_holds(index, 9)


@pytest.mark.parametrize("silent", [False, True])
def test_a_primary_is_killed_while_it_is_searched(faces, own_bed, silent):
    filled(faces, own_bed)
    own_bed.surprise("SILENT", silent)
    with Searching(faces, own_bed) as searching:
        own_bed.primaries[0].kill()
        until(lambda: own_bed.replica.state["cluster_state"] == "ok" and own_bed.replica.is_primary)
        searching.goes_on(3)
    assert not searching.wrong
    assert searching.refused


def test_a_coordinator_that_did_not_notice_a_failover_gives_no_answer(faces, own_bed):
    filled(faces, own_bed)
    for what in ("SILENT", "STALE"):
        own_bed.surprise(what, True)
    for node in (*own_bed.primaries, own_bed.replica):
        with redis.Redis(port=node.proxy) as client:
            client.execute_command("SEARCH.CLUSTERINFO")
    with Searching(faces, own_bed) as searching:
        own_bed.primaries[0].kill()
        until(lambda: own_bed.replica.state["cluster_state"] == "ok" and own_bed.replica.is_primary)
        before = searching.refused
        until(lambda: searching.refused > before or searching.wrong, 60)
        own_bed.surprise("STALE", False)
        searching.goes_on(1)
    # The shadow of the replica may have been filled anew, which takes its index, and so stays without as long.
    assert not [one for one in searching.wrong if "no such index" not in str(one)]


def test_a_replica_takes_over_while_all_goes_on(faces, own_bed):
    filled(faces, own_bed)
    with Searching(faces, own_bed) as searching:
        own_bed.take_over(own_bed.replica)
        searching.goes_on(3)
    assert not searching.wrong
    with Syncing(faces, own_bed) as syncing:
        own_bed.take_over(own_bed.primaries[0])
        syncing.goes_on(2)
    assert not syncing.wrong
    with opened(faces, own_bed) as index:
        assert_holds(index, syncing.version)


def test_slots_are_moved_while_all_goes_on(faces, own_bed):
    filled(faces, own_bed)
    source, target, _ = own_bed.primaries
    slots = slots_on(own_bed, source, 12)
    with Searching(faces, own_bed) as searching:
        for slot in slots[:6]:
            move_slot(slot, source, target, own_bed.primaries)
        searching.goes_on(3)
    assert not searching.wrong
    with Syncing(faces, own_bed) as syncing:
        for slot in slots[6:]:
            move_slot(slot, source, target, own_bed.primaries)
            syncing.goes_on(1)
    assert not syncing.wrong
    with opened(faces, own_bed) as index:
        assert_holds(index, syncing.version)


def test_a_document_that_is_half_moved_is_not_half_written(faces, own_bed):
    filled(faces, own_bed)
    source, target, _ = own_bed.primaries
    number = next(
        n for n in range(SIZE) if n % 4 == 3 and own_bed.owner(slot_of(f"ragknn:{NAME}:p:{{d{n}}}:0")) is source
    )
    slot = slot_of(f"ragknn:{NAME}:p:{{d{number}}}:0")
    begin_to_move(slot, source, target)
    assert move_keys(slot, source, target, 2) == 2
    new = next(one for one in documents(1) if one.id == f"d{number}")
    with opened(faces, own_bed) as index:
        with pytest.raises(ConnectionFailed, match="moved"):
            faces.indexer(index, WORDS).add([new])
        while move_keys(slot, source, target):
            pass
        end_move(slot, target, own_bed.primaries)
        assert_holds(index, 0)
        assert faces.indexer(index, WORDS).add([new]).updated == 1
        [stored] = index.documents([new.id])
        assert stored.text == new.text


@pytest.mark.parametrize("work", [Syncing, Searching])
def test_a_node_is_added(faces, own_bed, work):
    filled(faces, own_bed)
    source, spare = own_bed.primaries[0], own_bed.spare
    own_bed.meet(spare)
    until(lambda: len(spare.sees()) == PRIMARIES + 2 and spare.state["cluster_state"] == "ok")
    until(lambda: all(spare.id in node.sees() for node in own_bed.primaries))
    with work(faces, own_bed) as working:
        for slot in slots_on(own_bed, source, 10):
            move_slot(slot, source, spare, [*own_bed.primaries, spare])
        working.goes_on(2)
    assert not working.wrong
    with opened(faces, own_bed) as index:
        faces.indexer(index, WORDS).sync(documents(5))
        assert_holds(index, 5)
        assert faces.retriever(index).retrieve(documents(5)[0].text, k=K).complete


def test_a_node_that_hangs_gives_no_answer(faces, own_bed):
    filled(faces, own_bed)
    with opened(faces, own_bed) as index:
        retriever, indexer = faces.retriever(index), faces.indexer(index, WORDS)
        expected = retriever.retrieve("number 3", k=K).distances
        own_bed.primaries[2].stop()
        looks = looked(own_bed.primaries[:2])
        try:
            with pytest.raises((ConnectionFailed, IncompleteRetrieval)):
                retriever.retrieve("number 3", k=K)
            assert looked(own_bed.primaries[:2]) == looks  # the time limit was not spent a second time, on a look
            with pytest.raises(ConnectionFailed):
                indexer.sync(documents(1))
        finally:
            own_bed.primaries[2].go_on()
        patiently(lambda: indexer.sync(documents(0)))
        assert patiently(lambda: retriever.retrieve("number 3", k=K).distances) == expected
        assert_holds(index, 0)


def test_a_cluster_that_counts_twice_is_refused(faces, own_bed):
    filled(faces, own_bed)
    source, target, _ = own_bed.primaries
    with opened(faces, own_bed) as index:
        retriever = faces.retriever(index)
        own_bed.surprise("DUPLICATES", True)
        assert retriever.retrieve("number 3", k=K).complete  # one range for each node
        slot = next(slot for slot in own_slots() if own_bed.owner(slot) is source and slot > 1)
        move_slot(slot, source, target, own_bed.primaries)
        for ask in (lambda: retriever.retrieve("number 3", k=K), index.count, index.count_documents):
            with pytest.raises(UnsupportedServer, match=r"asks each of its 3 nodes once, got one that asks \d times"):
                ask()
        own_bed.surprise("DUPLICATES", False)


def test_a_node_without_the_index_gives_no_answer(faces, own_bed):
    filled(faces, own_bed)
    with opened(faces, own_bed) as index, redis.Redis(port=own_bed.primaries[1].shadow) as shadow:
        retriever = faces.retriever(index)
        expected = retriever.retrieve("number 3", k=K).distances
        shadow.execute_command("FT.DROPINDEX", index._keys.searched)
        assert retriever.retrieve("number 3", k=K).distances == expected  # it is made there again
        shadow.execute_command("FT.DROPINDEX", index._keys.searched)
        assert not faces.indexer(index, WORDS).sync(documents(1)).failed
        assert_holds(index, 1)


@pytest.mark.parametrize("changes", [{"algorithm": "hnsw"}, {"dtype": "float16"}])
def test_an_index_is_rebuilt_while_documents_are_written(faces, own_bed, changes):
    filled(faces, own_bed)
    with Syncing(faces, own_bed) as syncing, opened(faces, own_bed) as index:
        patiently(lambda: index.rebuild(**changes), errors=(RebuildFailed,))
        syncing.goes_on(2)
    assert not syncing.wrong
    with opened(faces, own_bed) as index:
        assert {name: getattr(index.schema, name) for name in changes} == changes
        assert_holds(index, syncing.version)


def test_an_index_is_dropped_though_a_node_is_lost(faces, own_bed):
    filled(faces, own_bed)
    own_bed.primaries[0].kill()
    patiently(opened(faces, own_bed).drop)
    for node in (own_bed.replica, *own_bed.primaries[1:]):
        assert list(node.client.scan_iter(f"ragknn:{NAME}:*")) == []


def test_tasks_search_while_a_replica_takes_over_and_slots_move(own_bed):
    """Several at once over one client."""

    async def search():
        source, target, _ = own_bed.primaries
        async with AsyncIndex(NAME, url=own_bed.url, embedder=EMBEDDER, timeout=TIMEOUT) as index:
            assert not (await AsyncIndexer(index, WORDS).sync(documents(0))).failed
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
            for slot in slots_on(own_bed, source, 4):
                await asyncio.to_thread(move_slot, slot, source, target, own_bed.primaries)
            await asyncio.to_thread(own_bed.take_over, own_bed.replica)
            before = len(right)
            await asyncio.to_thread(until, lambda: len(right) > before + 4)
            over.set()
            await asyncio.gather(*tasks)
            assert all(right)

    asyncio.run(search())
