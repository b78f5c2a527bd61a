"""What is sent is text or bytes: the client crashes where an interrupt meets it while it makes text of a number."""

import pytest
import redis
import redis.asyncio

from ragknn import Document, abuild_context, atune, build_context, tune

DOCUMENTS = [
    Document(f"d{n}", f"number {n} of the apples and pears. " * 40, "ab"[n % 2], {"n": n, "t": "x"}) for n in range(9)
]


def strict(kind):
    """Return a class of clients that refuse other arguments."""

    class Strict(kind):
        def execute_command(self, *args, **options):
            assert {type(one) for one in args} <= {str, bytes}, args
            return super().execute_command(*args, **options)

    return Strict


class Watching(redis.Redis):
    def pipeline(self, transaction=True, shard_hint=None):
        pipes = strict(redis.client.Pipeline)
        return pipes(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class AsyncWatching(redis.asyncio.Redis):
    def pipeline(self, transaction=True, shard_hint=None):
        pipes = strict(redis.asyncio.client.Pipeline)
        return pipes(self.connection_pool, self.response_callbacks, transaction, shard_hint)


@pytest.mark.parametrize("algorithm", ["flat", "hnsw"])
def test_every_argument_is_text_or_bytes(faces, redis_url, index_name, embedder, algorithm):
    client = (Watching if faces.kind == "sync" else AsyncWatching).from_url(redis_url, protocol=3)
    made = {"fields": {"n": "numeric", "t": "tag"}, "algorithm": algorithm}
    with faces.index(index_name, client=client, embedder=embedder, **made) as index:
        indexer = faces.indexer(index)
        assert indexer.sync(DOCUMENTS).added == 9
        assert indexer.sync([*DOCUMENTS[:8], Document("d8", "pears", "b", {"n": 1.5, "t": "x"})]).updated == 1
        where = {"n": {"$gte": 1}, "t": "x"}
        assert index.count(where) > index.count_documents(where) == 8
        assert index.values("n")[1.5] == 1
        assert index.value_range("n") == (0, 7)
        assert len(list(index.documents(where=where, vectors=True))) == 8
        assert len(list(index.passages(where=where))) == index.count(where)
        retriever = faces.retriever(index)
        for options in (
            {},
            {"mode": "text"},
            {"mode": "hybrid", "where": where},
            {"max_distance": 2.0, "k": None},
            {"diversity": 0.1},
        ):
            retrieval = retriever.retrieve("number 4 of the pears", **{"k": 3, **options})
            assert len(retrieval) >= 3
        assert faces.call(build_context, abuild_context, retrieval, index, window=1).text
        assert len(retriever.retrieve_many(["apples"] * 30, k=3, where=where)) == 30
        assert faces.voter(retriever, k=3).vote("pears").label in ("a", "b")
        assert faces.call(tune, atune, index, ks=[1, 3]).best
        assert index.describe().passages == index.count()
        assert indexer.delete_where({"n": {"$lt": 4}}) > 0
        assert index.drop() > 0
    faces.call(client.close, getattr(client, "aclose", None))
