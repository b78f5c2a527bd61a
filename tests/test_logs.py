"""What is written to the log: each stage speaks under its own name, and none of them of secrets, texts or metadata."""

import logging
import random

import pytest
import redis
from proxies import DOWN, proxy_before
from servers import private_server

from ragknn import Document, HashingEmbedder, Index, Retriever, Splitter, read_documents

PASSWORD, TEXT, ENTRY, LABEL = "opensesame-9", "marzipan", "truffle", "nougat"
SECRETS = (PASSWORD, TEXT, ENTRY, LABEL)
STAGES = {f"ragknn.{stage}" for stage in ("reading", "splitting", "embedding", "writing", "searching", "server")}
WORDS = Splitter(size=4, overlap=0, unit="words")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with private_server(tmp_path_factory.mktemp("logs"), "--requirepass", PASSWORD) as url:
        yield url


class Keeping(logging.Handler):
    """Keeps all records."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture
def records():
    logger, handler = logging.getLogger("ragknn"), Keeping()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler.records
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


def documents(count=30):
    return [
        Document(f"d{number}", f"{TEXT} number {number} " * 5, LABEL, {"kind": f"{ENTRY} {number}"})
        for number in range(count)
    ]


def everything(faces, index, folder):
    """Do all that is done with an index, from reading to its end."""
    indexer = faces.indexer(index, WORDS)
    (folder / f"{index.name}.txt").write_text(f"{TEXT} in a file")
    indexer.add(read_documents(folder))
    indexer.sync(documents())
    indexer.add([Document("bad", TEXT, LABEL, {"kind": ENTRY, "year": ENTRY})])
    retriever = faces.retriever(index)
    for mode in ("vector", "text", "hybrid"):
        retriever.retrieve(TEXT, k=3, mode=mode, where={"kind": f"{ENTRY} 3"})
    faces.voter(retriever, k=3).vote(TEXT)
    indexer.update(["d1"], label=f"{LABEL} 2", metadata={"kind": ENTRY})
    indexer.delete(["d2"])
    indexer.delete_where({"kind": f"{ENTRY} 3"})
    index.check(repair=True)
    indexer.clear()
    index.drop()


def with_password(url):
    return url.replace("://", f"://:{PASSWORD}@", 1)


FIELDS = {"kind": "tag", "year": "numeric"}


def test_every_stage_has_a_logger_and_none_tells_a_secret(faces, server, records, tmp_path, index_name):
    with faces.index(index_name, url=with_password(server), embedder=HashingEmbedder(16), fields=FIELDS) as index:
        everything(faces, index, tmp_path)
    assert {record.name for record in records} == STAGES
    shown = [(record.levelno, record.getMessage()) for record in records]
    told = [message for level, message in shown if level > logging.DEBUG]
    assert not [message for message in told if any(secret in message for secret in SECRETS)]
    # A failure quotes the value that did not fit, on debug.
    assert {message for _, message in shown if any(secret in message for secret in SECRETS)} == {
        message for level, message in shown if level == logging.DEBUG and "failed bad: field 'year'" in message
    }
    name = f"index {index_name!r}: "
    lines = [message.removeprefix(name).partition(";")[0] for message in told if message.startswith(name)]
    assert lines == [
        "made, flat of 16 float32 by cosine, for ragknn/hashing-16",
        "1 added, 0 updated, 0 unchanged, 0 deleted, 0 failed",
        "30 added, 0 updated, 0 unchanged, 1 deleted, 0 failed",
        "0 added, 0 updated, 0 unchanged, 0 deleted, 1 failed",
        "1 failed, the first of them bad",
        "0 added, 1 updated, 0 unchanged, 0 deleted, 0 failed",
        "1 deleted",
        "1 deleted",
        next(line for line in lines if line.startswith("checked, sound: 28 documents, ")),
        "cleared, 28 deleted",
        "dropped, with 0 documents",
    ]


def test_where_nobody_listens_no_record_is_made(faces, server, tmp_path, index_name):
    made = []
    factory = logging.getLogRecordFactory()

    def counted(*args, **more):
        record = factory(*args, **more)
        made.extend([record] if record.name.startswith("ragknn.") and record.levelno < logging.WARNING else [])
        return record

    logging.setLogRecordFactory(counted)
    try:
        with faces.index(index_name, url=with_password(server), embedder=HashingEmbedder(16), fields=FIELDS) as index:
            everything(faces, index, tmp_path)
    finally:
        logging.setLogRecordFactory(factory)
    assert made == []


def test_a_search_index_that_is_made_again_is_a_warning(faces, server, records, index_name):
    url = with_password(server)
    with faces.index(index_name, url=url, embedder=HashingEmbedder(16)) as index, redis.Redis.from_url(url) as client:
        faces.indexer(index).add(documents(3))
        client.execute_command("FT.DROPINDEX", index._keys.searched)
        index.open()
        assert index.count() == 3
        client.hset(f"ragknn:{index_name}:p:{{d1}}:0", "vector", b"abc")
        faces.indexer(index).sync(documents(3))
        index.check()
        index.drop()
    warnings = [record.getMessage() for record in records if record.levelno == logging.WARNING]
    assert [message.partition(";")[0] for message in warnings] == [
        f"index {index_name!r}: its search index was gone, and is made again of what is stored",
        f"index {index_name!r}: {index_name}: expected all 3 stored passages to be found by searches, got 2",
        next(one for one in warnings if one.startswith(f"index {index_name!r}: checked, damaged: 3 documents")),
    ]


def test_a_connection_that_broke_is_told(faces, server, records, index_name):
    chance = random.Random(seed := random.randrange(10**6))
    print(f"seed {seed}")
    with (
        proxy_before(server) as proxy,
        Index(index_name, url=with_password(server), embedder=HashingEmbedder(16)) as direct,
        faces.index(index_name, url=with_password(proxy.url), embedder=HashingEmbedder(16)) as index,
    ):
        retriever = faces.retriever(index)
        faces.indexer(index).add(documents(5))
        retriever.retrieve(TEXT)
        del records[:]
        proxy.cut(DOWN, after=chance.randrange(50))
        assert len(retriever.retrieve(TEXT, k=5)) == len(Retriever(direct).retrieve(TEXT, k=5))
        direct.drop()
    broken = [record for record in records if "sent again over another" in record.getMessage()]
    assert {(record.name, record.levelno) for record in broken} == {("ragknn.server", logging.INFO)}
    assert not [record for record in records if PASSWORD in record.getMessage()]
