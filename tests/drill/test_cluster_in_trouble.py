"""A cluster under writers and readers: a primary is killed at any moment, replicas take over, slots move to and fro.

`make test` leaves this out: tests/cluster has one of each.
"""

import random
import time

import pytest
from clusters import Beds, begin_to_move, end_move, move_keys, slot_of
from drilling import FIRST, PAUSE, POINTS
from meanwhile import NAME, SIZE, WORDS, Searching, Syncing, assert_holds, documents, filled, opened, patiently

STILL = "still"  # an index that nobody writes to
MOVES = 12


@pytest.fixture(scope="session")
def beds(tmp_path_factory):
    with Beds(tmp_path_factory.mktemp("clusters")) as beds:
        yield beds


@pytest.fixture
def own_bed(beds):
    with beds.one() as bed:
        yield bed


def kill(bed, chance):
    """Kill the primary that has a replica; the coordinator may tell of it or not."""
    bed.surprise("SILENT", chance.random() < 0.5)
    bed.primaries[0].kill()


def take_over(bed, chance):
    """Let primary and replica change places, and perhaps back again."""
    for node in [bed.replica, bed.primaries[0]][: chance.randint(1, 2)]:
        bed.take_over(node)
        time.sleep(chance.random() * PAUSE / 10)


def move(bed, chance):
    """Move slots of documents, some keys at a time; many of them later on to another node, or back."""
    slots = sorted({slot_of(f"ragknn:{NAME}:d:{{d{number}}}") for number in range(SIZE)})
    drawn = chance.sample(slots, MOVES // 3)
    for _ in range(MOVES):
        slot = chance.choice(drawn)
        source = bed.owner(slot)
        target = chance.choice([node for node in bed.primaries if node is not source])
        bed.surprise("STALE", chance.random() < 0.3)
        begin_to_move(slot, source, target)
        while move_keys(slot, source, target, chance.randint(1, 9)):
            time.sleep(chance.random() * 0.005)
        end_move(slot, target, bed.primaries)
        bed.surprise("STALE", False)
        time.sleep(chance.random() * 0.05)


def assert_whole(index, versions):
    """Each document is as one of the versions has it."""
    texts = {}
    for version in range(versions):
        for one in documents(version):
            texts.setdefault(one.id, set()).add(one.text)
    assert [one.id for one in index.documents() if one.text not in texts[one.id]] == []


@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", [kill, take_over, move])
@pytest.mark.parametrize("seed", range(FIRST, FIRST + POINTS))
def test_documents_stay_whole_and_answers_are_right_or_none(faces, own_bed, fault, seed):
    chance = random.Random(seed)
    for name in (NAME, STILL):
        filled(faces, own_bed, name)
    with Syncing(faces, own_bed) as syncing, Searching(faces, own_bed, STILL) as searching:
        time.sleep(chance.random() * 0.5)
        fault(own_bed, chance)
        for one in (syncing, searching):
            one.goes_on(2)
    assert (syncing.wrong, searching.wrong) == ([], [])
    with opened(faces, own_bed) as index:
        patiently(lambda: assert_whole(index, syncing.version + 2))
        patiently(lambda: faces.indexer(index, WORDS).sync(documents(syncing.version + 3)))
        assert_holds(index, syncing.version + 3)
