"""Makes the recordings in this folder: indexes of other libraries, as these libraries made them in a real Redis.

Run it where redisvl, langchain-redis and llama-index-vector-stores-redis are installed, with the URL of a Redis that
has search and JSON, which it empties. Each recording has the command that made the search index, what is stored under
each key, and what the library itself found: `python tests/made_elsewhere/make.py redis://localhost:6379`.
"""

from __future__ import annotations

import base64
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import redis
import redis.asyncio
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_redis import RedisConfig, RedisVectorStore
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document as LlamaDocument
from llama_index.core.vector_stores import VectorStoreQuery
from llama_index.vector_stores.redis import RedisVectorStore as LlamaStore
from redisvl.index import SearchIndex
from redisvl.query import VectorQuery
from redisvl.schema import IndexSchema

FOLDER = Path(__file__).parent
DIM = 8
TEXTS = [f"{thing} number {n}, for the hall" for n, thing in enumerate(("a lamp", "a chair", "a clock") * 7)]
ROWS = [
    {
        "title": text.partition(",")[0],
        "year": 2000 + n,
        "price": n / 4,
        "tags": ["red", "old"] if n % 3 else ["red"],
        "rated": n % 2 == 0,
    }
    for n, text in enumerate(TEXTS)
]
QUERIES = 3
K = 10


class Recorder(redis.Redis):
    """A client that keeps the command by which a search index was made."""

    created: tuple[Any, ...] = ()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if args[0] == "FT.CREATE":
            type(self).created = args
        return super().execute_command(*args, **options)


def vectors(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, DIM)).astype(np.float32)


class Ready(Embeddings):
    """Gives the texts vectors that are made beforehand."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        known = dict(zip(TEXTS, vectors(len(TEXTS)).tolist(), strict=True))
        return [known[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        raise NotImplementedError


def redisvl(client: redis.Redis, name: str, storage: str, algorithm: str, metric: str, dtype: str) -> list[Any]:
    fields: list[dict[str, Any]] = [
        {"name": "sku", "type": "tag"},
        {"name": "text", "type": "text"},
        {"name": "title", "type": "text"},
        {"name": "year", "type": "numeric"},
        {"name": "price", "type": "numeric"},
        {"name": "tags", "type": "tag", **({"path": "$.tags[*]"} if storage == "json" else {})},
        {
            "name": "embedding",
            "type": "vector",
            "attrs": {"dims": DIM, "algorithm": algorithm, "distance_metric": metric, "datatype": dtype},
        },
    ]
    schema = {"index": {"name": name, "prefix": name, "storage_type": storage}, "fields": fields}
    index = SearchIndex.from_dict(schema, redis_client=client)
    index.create(overwrite=True)
    rows = []
    for n, (text, row, vector) in enumerate(zip(TEXTS, ROWS, vectors(len(TEXTS)), strict=True)):
        stored = {"sku": f"s{n}", "text": text, **row, "embedding": vector.astype(dtype)}
        if storage == "json":
            stored["embedding"] = stored["embedding"].tolist()
        else:
            blob = stored["embedding"].tobytes()
            stored |= {"embedding": blob, "tags": ",".join(row["tags"]), "rated": str(row["rated"])}
        rows.append(stored)
    index.load(rows, id_field="sku")
    found = []
    for vector in vectors(QUERIES, seed=1):
        query = VectorQuery(vector.tolist(), "embedding", return_fields=["sku"], num_results=K, dtype=dtype)
        found.append([[one["sku"], float(one["vector_distance"])] for one in index.query(query)])
    return found


def langchain(client: redis.Redis, name: str) -> list[Any]:
    config = RedisConfig(
        index_name=name,
        redis_client=client,
        embedding_dimensions=DIM,
        indexing_algorithm="HNSW",
        metadata_schema=[{"name": "title", "type": "tag"}, {"name": "year", "type": "numeric"}],
    )
    store = RedisVectorStore(Ready(), config)
    metadata = [{"title": row["title"], "year": row["year"], "shelf": f"A{row['year'] % 4}"} for row in ROWS]
    documents = [Document(text, metadata=one) for text, one in zip(TEXTS, metadata, strict=True)]
    store.add_documents(documents, keys=[f"part:{n}" for n in range(len(documents))])
    number = {text: n for n, text in enumerate(TEXTS)}
    return [
        [
            [f"part:{number[one.page_content]}", float(distance)]
            for one, distance in store.similarity_search_with_score_by_vector(vector.tolist(), k=K)
        ]
        for vector in vectors(QUERIES, seed=1)
    ]


def llama_index(client: redis.Redis, name: str) -> list[Any]:
    schema = {
        "index": {"name": name, "prefix": name},
        "fields": [
            {"name": "id", "type": "tag"},
            {"name": "doc_id", "type": "tag"},
            {"name": "text", "type": "text"},
            {"name": "chapter", "type": "numeric"},
            {
                "name": "vector",
                "type": "vector",
                "attrs": {"dims": DIM, "algorithm": "flat", "distance_metric": "cosine"},
            },
        ],
    }
    store = LlamaStore(
        schema=IndexSchema.from_dict(schema),
        redis_client=client,
        redis_client_async=redis.asyncio.Redis(),  # which it would make itself of options that redis-py does not take
        overwrite=True,
    )
    books = [
        LlamaDocument(
            id_=f"book-{book}",
            text=" ".join(f"Sentence {n} of book {book} tells of {TEXTS[n]}." for n in range(12)),
            metadata={"chapter": book, "writer": f"W. {book}"},
        )
        for book in range(3)
    ]
    nodes = SentenceSplitter(chunk_size=60, chunk_overlap=15).get_nodes_from_documents(books)
    for n, (node, vector) in enumerate(zip(nodes, vectors(len(nodes)), strict=True)):
        node.id_ = f"node-{n}"
        node.embedding = vector.tolist()
    store.add(nodes)
    found = []
    for vector in vectors(QUERIES, seed=1):
        result = store.query(VectorStoreQuery(query_embedding=vector.tolist(), similarity_top_k=K))
        found.append([[one, 1 - similarity] for one, similarity in zip(result.ids, result.similarities, strict=True)])
    return found


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


def record(client: Recorder, name: str, found: list[Any], maker: str) -> None:
    keys = sorted(client.scan_iter(count=1_000))
    stored: dict[str, Any] = {}
    for key in keys:
        if client.type(key) == b"hash":
            stored[key.decode()] = {field.decode(): encoded(value) for field, value in client.hgetall(key).items()}
        else:
            stored[key.decode()] = client.json().get(key)
    create = [getattr(part, "value", str(part)) for part in client.created]
    recording = {"maker": maker, "create": create, "stored": stored, "found": found}
    text = json.dumps(recording, ensure_ascii=False, indent=None)
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def main(url: str) -> None:
    client = Recorder.from_url(url, protocol=2)
    makes = {
        "redisvl-hash": (lambda n: redisvl(client, n, "hash", "flat", "cosine", "float32"), "redisvl"),
        "redisvl-hnsw": (lambda n: redisvl(client, n, "hash", "hnsw", "l2", "float64"), "redisvl"),
        "redisvl-json": (lambda n: redisvl(client, n, "json", "flat", "ip", "float32"), "redisvl"),
        "langchain": (lambda n: langchain(client, n), "langchain-redis"),
        "llama-index": (lambda n: llama_index(client, n), "llama-index-vector-stores-redis"),
    }
    for name, (make, library) in makes.items():
        client.flushall()
        found = make(name)
        record(client, name, found, f"{library} {version(library)}")


if __name__ == "__main__":
    main(sys.argv[1])
