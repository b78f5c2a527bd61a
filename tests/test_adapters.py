"""Adapters as frameworks ask for them, over public names alone: a trial of the API, not the adapters themselves."""

import ast
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import ragknn

TEXTS = ["the red apple", "a green pear", "fast cars on the road", "slow trains at the station"]


# ---- as LangChain's vector stores ------------------------------------------------------------------------------


@dataclass
class ChainDocument:
    page_content: str
    metadata: dict = field(default_factory=dict)
    id: str | None = None


class ChainStore:
    """Texts with ids and any metadata; search by text or vector, with scores in 0..1, filters and diversity."""

    def __init__(self, index: ragknn.Index) -> None:
        self.index = index
        self.indexer, self.retriever = ragknn.Indexer(index), ragknn.Retriever(index)

    def add_texts(self, texts, metadatas=None, ids=None):
        ids = [str(uuid.uuid4()) for _ in texts] if ids is None else list(ids)
        metadatas = [{} for _ in texts] if metadatas is None else metadatas
        documents = [ragknn.Document(*row[:2], metadata=row[2]) for row in zip(ids, texts, metadatas, strict=True)]
        self.indexer.add(documents, on_repeated="last").raise_for_failures()
        return ids

    def get_by_ids(self, ids):
        return [ChainDocument(one.text, dict(one.metadata), one.id) for one in self.index.documents(ids)]

    def delete(self, ids=None):
        return self.indexer.clear() if ids is None else self.indexer.delete(ids)

    def similarity_search_with_relevance_scores(self, query, k=4, where=None):
        found = self.retriever.retrieve(query, k=k, where=where)
        return [(self._document(neighbor), neighbor.similarity) for neighbor in found]

    def similarity_search_by_vector(self, vector, k=4, where=None):
        [found] = self.retriever.kneighbors([vector], k=k, where=where)
        return [self._document(neighbor) for neighbor in found]

    def max_marginal_relevance_search(self, query, k=4, fetch_k=20, lambda_mult=0.5):
        found = self.retriever.retrieve(query, k=k, diversity=1 - lambda_mult, candidates=fetch_k)
        return [self._document(neighbor) for neighbor in found]

    def keys_of_group(self, group):
        return sorted(one.id for one in self.index.documents(where={"source": group}))

    @staticmethod
    def _document(neighbor):
        passage = neighbor.passage
        return ChainDocument(passage.text, dict(passage.metadata), passage.document_id)


def test_a_store_like_langchains_needs_no_internals(redis_url, index_name, embedder):
    with ragknn.Index(index_name, url=redis_url, embedder=embedder, any_field=True) as index:
        store = ChainStore(index)
        ids = store.add_texts(TEXTS, [{"source": "fruit", "n": n, "deep": {"x": n}} for n in range(4)], ids="abcd")
        assert ids == ["a", "b", "c", "d"]
        assert [one.page_content for one in store.get_by_ids(["d", "nobody", "a"])] == [TEXTS[3], TEXTS[0]]
        [(best, score), *others] = store.similarity_search_with_relevance_scores("a green pear", k=3)
        assert (best.id, best.page_content, best.metadata["n"]) == ("b", TEXTS[1], 1)
        assert score == pytest.approx(1.0)
        assert all(0 <= other <= score for _, other in others)
        [only] = store.similarity_search_with_relevance_scores("apple", where={"deep.x": 2})
        assert only[0].id == "c"
        vector = embedder.embed_queries([TEXTS[2]])[0]
        assert store.similarity_search_by_vector(vector, k=1)[0].id == "c"
        assert len({one.id for one in store.max_marginal_relevance_search("red apple", k=2)}) == 2
        # What an indexing run that cleans up needs: which are there, which belong together, and deletion.
        assert index.exists(["a", "x", "d"]) == [True, False, True]
        assert store.keys_of_group("fruit") == ["a", "b", "c", "d"]
        assert store.delete(["a", "x"]) == 1
        store.add_texts(["another pear"], ids=["b"])
        assert store.get_by_ids(["b"])[0].metadata == {}
        assert (store.delete(), index.count_documents()) == (3, 0)


# ---- as Haystack's document stores -----------------------------------------------------------------------------


@dataclass
class HayDocument:
    id: str
    content: str
    meta: dict = field(default_factory=dict)
    embedding: list[float] | None = None


class HayStore:
    """Documents with or without an embedding, policies for duplicates, and counts and changes by filters."""

    def __init__(self, index: ragknn.Index) -> None:
        self.index = index
        self.indexer, self.retriever = ragknn.Indexer(index), ragknn.Retriever(index)

    def count_documents(self):
        return self.index.count_documents()

    def filter_documents(self, where=None):
        found = self.index.documents(where=where, vectors=True)
        return [
            HayDocument(one.id, one.text, dict(one.metadata), None if one.vectors is None else one.vectors[0].tolist())
            for one in found
        ]

    def write_documents(self, documents, policy="fail"):
        report = self.indexer.add_vectors(
            [one.id for one in documents],
            [one.embedding for one in documents],
            texts=[one.content for one in documents],
            metadata=[one.meta for one in documents],
            on_existing={"overwrite": "replace"}.get(policy, policy),
        )
        report.raise_for_failures()
        return report.added + report.updated + report.unchanged

    def delete_documents(self, ids):
        self.indexer.delete(ids)

    def delete_by_filter(self, where):
        return self.indexer.delete_where(where)

    def update_by_filter(self, where, meta):
        return self.indexer.update(where=where, metadata=meta).updated

    def count_unique_metadata_by_filter(self, where, fields):
        return {name: len(self.index.values(name, where)) for name in fields}

    def get_metadata_field_min_max(self, name):
        return self.index.value_range(name)

    def bm25_retrieval(self, query, top_k=10, where=None):
        return [one.passage.document_id for one in self.retriever.retrieve(query, top_k, mode="text", where=where)]

    def hybrid_retrieval(self, query, embedding, top_k=10):
        found = self.retriever.retrieve(query, top_k, vector=embedding, mode="hybrid")
        return [one.passage.document_id for one in found]


def test_a_store_like_haystacks_needs_no_internals(redis_url, index_name):
    fields = {"page": "numeric"}
    with ragknn.Index(index_name, url=redis_url, dim=2, dtype="float64", fields=fields, any_field=True) as index:
        store = HayStore(index)
        documents = [
            HayDocument("1", TEXTS[0], {"page": 1, "name": "x"}, [1.0, 0.25]),
            HayDocument("2", TEXTS[1], {"page": 5, "name": "y"}),
            HayDocument("3", TEXTS[2], {"name": "x"}, [0.1, 1.0]),
        ]
        assert store.write_documents(documents) == 3
        assert store.filter_documents() == documents
        assert store.filter_documents({"page": {"$gt": 2}}) == documents[1:2]
        assert store.filter_documents({"$or": [{"name": "y"}, {"page": None}]}) == documents[1:]
        with pytest.raises(ragknn.IngestFailed, match="expected a new document, got an id that the index has already"):
            store.write_documents(documents)
        changed = [HayDocument("1", "other words", {}, [0.0, 1.0])]
        assert store.write_documents(changed, "skip") == 0
        assert store.write_documents(changed, "overwrite") == 1
        assert store.filter_documents({"document_id": "1"}) == changed
        assert store.count_unique_metadata_by_filter(None, ["name", "page"]) == {"name": 2, "page": 1}
        assert store.get_metadata_field_min_max("page") == (5.0, 5.0)
        assert store.update_by_filter({"name": "x"}, {"page": 7}) == 1
        assert store.filter_documents({"page": 7})[0].id == "3"
        assert store.bm25_retrieval("green pear") == ["2"]
        assert store.hybrid_retrieval("green pear", [0.0, 1.0], 2)[0] in ("1", "2")
        store.delete_documents(["1", "none"])
        assert store.delete_by_filter({"name": "y"}) == 1
        assert store.count_documents() == 1


# ---- as LlamaIndex's vector stores -----------------------------------------------------------------------------


@dataclass
class Node:
    node_id: str
    ref_doc_id: str
    text: str
    embedding: list[float] | None
    metadata: dict = field(default_factory=dict)


class LlamaStore:
    """Nodes that belong to source documents, with ids, embeddings and metadata of their own."""

    def __init__(self, index: ragknn.Index) -> None:
        self.index = index
        self.indexer, self.retriever = ragknn.Indexer(index), ragknn.Retriever(index)

    def add(self, nodes):
        passages = [
            ragknn.Passage(
                node.node_id, node.ref_doc_id, node.text, 0, 0, metadata=node.metadata, vector=np.array(node.embedding)
            )
            for node in sorted(nodes, key=lambda node: node.ref_doc_id)
        ]
        self.indexer.add_passages(passages).raise_for_failures()
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id):
        self.indexer.delete([ref_doc_id])

    def get_nodes(self, node_ids=None, where=None):
        found = self.index.passages(node_ids, where=where, vectors=True)
        return [Node(one.id, one.document_id, one.text, one.vector.tolist(), dict(one.metadata)) for one in found]

    def delete_nodes(self, node_ids):
        """Keep the other nodes of the same documents, with their vectors."""
        documents = {one.document_id for one in self.index.passages(node_ids)}
        for document_id in documents:
            own = self.index.passages(where={"document_id": document_id}, vectors=True)
            left = [one for one in own if one.id not in node_ids]
            if left:  # they replace what there is of the document
                self.indexer.add_passages(left).raise_for_failures()
            else:
                self.indexer.delete([document_id])

    def query(self, text, embedding, top_k, mode="vector", where=None, **options):
        found = self.retriever.retrieve(text, top_k, vector=embedding, mode=mode, where=where, **options)
        return [(one.passage.id, one.similarity) for one in found]

    def clear(self):
        self.indexer.clear()


def test_a_store_like_llamaindexs_needs_no_internals(redis_url, index_name, embedder):
    with ragknn.Index(index_name, url=redis_url, embedder=embedder, any_field=True) as index:
        store = LlamaStore(index)
        vectors = embedder.embed_documents(TEXTS).astype(float).tolist()
        nodes = [
            Node(f"n{n}", "ab"[n // 2], text, vectors[n], {"n": n, "kind": "odd" if n % 2 else "even"})
            for n, text in enumerate(TEXTS)
        ]
        assert store.add(nodes) == ["n0", "n1", "n2", "n3"]
        [first, second] = store.get_nodes(["n3", "n0", "no"])
        assert (first.node_id, first.ref_doc_id, first.metadata) == ("n3", "b", {"n": 3, "kind": "odd"})
        assert np.allclose(second.embedding, vectors[0])
        assert [one.node_id for one in store.get_nodes(where={"$not": {"kind": "odd"}})] == ["n0", "n2"]
        for mode in ("vector", "text", "hybrid"):
            [(best, _), *_] = store.query(TEXTS[1], vectors[1], 2, mode)
            assert best == "n1"
        assert [node for node, _ in store.query("x", vectors[2], 4, where={"n": {"$in": [0, 3]}})] != []
        assert len(store.query("x", vectors[2], 4, per_document=1)) == 2
        assert len(store.query("x", vectors[2], 3, diversity=0.5)) == 3
        [document] = index.documents(["a"])
        assert document.text == "the red apple\n\na green pear"
        store.delete_nodes(["n1"])
        assert [one.node_id for one in store.get_nodes()] == ["n0", "n2", "n3"]
        store.delete("b")
        assert [one.node_id for one in store.get_nodes()] == ["n0"]
        store.clear()
        assert store.get_nodes() == []


# ---- what they use ---------------------------------------------------------------------------------------------


def test_the_adapters_of_this_file_use_public_names_alone():
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    sources = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in imported | sources if name.startswith("ragknn.")}
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    of_ragknn = {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "ragknn"}
    assert of_ragknn - {"__all__"} <= set(ragknn.__all__)
    assert len(of_ragknn) > 5
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert {node.attr for node in attributes if node.attr.startswith("_")} <= {*own, "__all__"}
