"""What storing a document asks of the server: counts of commands, as the server itself counts them."""

from dataclasses import replace

import numpy as np
import pytest
from embedders import CountingEmbedder

from ragknn import Document, Passage, Splitter

BATCH = 50
ONE = [Document(f"one-{number}", f"text {number}", "x", {"n": number}) for number in range(100)]
SEVERAL = [Document(f"several-{number}", f"a b c {number} e f g h") for number in range(100)]
CUT = Splitter(size=4, overlap=0, unit="words")
# One command for each batch; the other counts are within scripts.
LOOKED_UP = {"eval_ro": 2, "hmget": 100, "exists": 2}


@pytest.fixture
def indexer(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=CountingEmbedder(), fields={"n": "numeric"}) as index:
        indexer = faces.indexer(index, CUT)
        indexer.add([Document("first", "which makes the index keep the splitter")])
        yield indexer


@pytest.fixture
def counted(client):
    """Tell how many commands of each name the server runs meanwhile, those within scripts too."""

    def count(call):
        def counts():
            stats = client.info("commandstats")
            return {name.removeprefix("cmdstat_"): value["calls"] for name, value in stats.items()}

        before = counts()
        call()
        own = {"info", "hello", "client|setinfo", "client|setname", "ping", "FT.INFO", "_FT.INFO", "hget"}
        return {
            name: n - before.get(name, 0) for name, n in counts().items() if name not in own and n != before.get(name)
        }

    return count


def test_a_new_document_of_one_passage_is_one_command(indexer, counted):
    assert counted(lambda: indexer.add(ONE, batch_size=BATCH)) == {**LOOKED_UP, "hsetex": 100}


def test_a_new_ready_vector_is_not_even_looked_up(indexer, counted):
    vectors = np.ones((100, indexer.index.schema.dim))
    ids = [f"v{number}" for number in range(100)]
    assert counted(lambda: indexer.add_vectors(ids, vectors, batch_size=BATCH)) == {"hsetex": 100}


def test_a_ready_passage_is_one_command_too(indexer, counted):
    passages = [Passage(f"p{number}#0", f"p{number}", f"text {number}", 0, 0) for number in range(100)]
    assert counted(lambda: indexer.add_passages(passages, batch_size=BATCH)) == {**LOOKED_UP, "hsetex": 100}


def test_a_document_of_several_passages_is_one_script(indexer, counted):
    found = counted(lambda: indexer.add(SEVERAL, batch_size=BATCH))
    assert (found["eval"], found["eval_ro"], found["hset"]) == (100, 2, 200)
    assert "hsetex" not in found


def test_unchanged_documents_are_only_looked_up(indexer, counted):
    indexer.add([*ONE, *SEVERAL])
    assert counted(lambda: indexer.add(ONE, batch_size=BATCH)) == LOOKED_UP
    assert counted(lambda: indexer.add(SEVERAL, batch_size=BATCH)) == {**LOOKED_UP, "exists": 100}


def test_the_server_says_next_to_nothing_of_unchanged_documents(indexer, client):
    def answered():
        before = client.info("stats")["total_net_output_bytes"]
        report = indexer.add([*ONE, *SEVERAL], batch_size=BATCH)
        return report, client.info("stats")["total_net_output_bytes"] - before

    indexer.add([*ONE, *SEVERAL])
    report, unchanged = answered()
    assert report.unchanged == 200
    indexer.update([one.id for one in ONE[:50]], metadata={"n": 5_000})
    report, some_changed = answered()
    assert (report.updated, report.unchanged) == (50, 150)
    assert some_changed - unchanged > 50 * 64  # the hashes of each document that was told of


def test_a_replaced_document_and_one_of_other_details_is_one_script(indexer, counted):
    indexer.add(ONE)
    found = counted(lambda: indexer.add([replace(one, text=f"{one.text} new") for one in ONE], batch_size=BATCH))
    assert (found["eval"], found["eval_ro"], found["hset"]) == (100, 2, 100)
    found = counted(
        lambda: indexer.add([replace(one, text=f"{one.text} new", label="y") for one in ONE], batch_size=BATCH)
    )
    # What was there is looked up too, to tell what has changed: one command for each batch.
    assert (found["eval"], found["eval_ro"], found["hset"]) == (100, 4, 100)
    assert "unlink" not in found
