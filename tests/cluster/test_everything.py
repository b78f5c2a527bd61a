"""Each call that reads, each role, and each subcommand on a cluster: the calls are those of the tests on one server."""

import json
import re
from contextlib import contextmanager, nullcontext

import pytest
import roles
from clusters import PRIMARIES, begin_to_move, end_move, move_keys, slot_of
from commands import run_here
from reading import EMBEDDER, FLAT, calls, fill

from ragknn import CommandRefused, Index
from ragknn._protocol.replies import checked
from ragknn._protocol.rights import ON_A_CLUSTER, RIGHTS, rules_of
from ragknn.server._connection import arun, run

COUNT = 300


@pytest.fixture(scope="module")
def urls(bed, redis_url):
    """One server and the cluster, with the same documents."""
    for url in (redis_url, bed.url):
        fill(url, COUNT, FLAT)
    yield redis_url, bed.url
    for url in (redis_url, bed.url):
        Index(FLAT, url=url).drop()


def without_order(found):
    """Return what was found; of passages that are as good as each other the order is nobody's."""
    return [sorted(one) for one in found] if isinstance(found, list) and isinstance(found[0], list) else found


def test_each_call_that_reads_answers_as_on_one_server(faces, urls, tmp_path):
    answers = []
    for url in urls:
        with faces.index(FLAT, url=url, embedder=EMBEDDER) as index:
            there = calls(faces, index, tmp_path)
            answers.append({what: without_order(call()) for what, call in there.items()})
    alone, together = answers
    unlike = {what for what in alone if alone[what] != together[what]}
    assert unlike <= {"retrieve_many"}  # of which some have more neighbors at the third distance than one
    assert [*map(len, alone["retrieve_many"])] == [*map(len, together["retrieve_many"])]


# ---- roles ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def as_user(bed):
    """URL with the login of a user who has some rights on each node, as a function of them."""
    nodes = bed.nodes[: PRIMARIES + 1]

    def made(rules):
        known = [rule for rule in rules if rule != "+search.clusterinfo"]  # only the stand-in knows it
        for node in nodes:
            node("ACL", "SETUSER", "someone", "reset", "on", ">pass", *known)
        return bed.url.replace("://", "://someone:pass@")

    yield made
    for node in nodes:
        node("ACL", "DELUSER", "someone")


@pytest.mark.parametrize("role", RIGHTS)
def test_each_role_does_what_it_does_on_one_server(bed, name, as_user, role):
    roles.make(bed.url, name)
    there = getattr(roles.Calls(as_user(rules_of([role], name, cluster=True)), name), role)()
    assert list(roles.refusals(there)) == []
    Index(name, url=bed.url).drop()


@contextmanager
def on_its_way(bed, name):
    """The keys of a document have been moved to another node, which their slot does not say yet."""
    slot = slot_of(f"ragknn:{name}:d:{{d1}}")
    source = bed.owner(slot)
    target = next(node for node in bed.primaries if node is not source)
    begin_to_move(slot, source, target)
    move_keys(slot, source, target)
    try:
        yield
    finally:
        end_move(slot, target, bed.primaries)


USED_BY = {
    "cluster|slots": lambda faces, index: index.count(),
    "cluster|nodes": lambda faces, index: index.count(),
    "cluster|countkeysinslot": lambda faces, index: index.count(),
    "asking": lambda faces, index: faces.call(run, arun, index.client, looked_up(index.name)),
    "pexpireat": lambda faces, index: index.drop(),
    "pexpiretime": lambda faces, index: index.drop(),
}


def looked_up(name):
    """Read a key of the document alone."""
    [reply] = yield [("HGET", f"ragknn:{name}:d:{{d1}}", "digest")]
    return checked(reply)


def test_each_right_is_used():
    """Besides: the sync client of redis-py sends one as it begins; one is used beside a race, one by the module."""
    assert {*ON_A_CLUSTER} - {*USED_BY} == {"command", "persist", "search.clusterinfo"}


@pytest.mark.parametrize("right", USED_BY)
def test_each_right_of_a_cluster_that_is_taken_away_is_missed_by_its_name(faces, bed, name, as_user, right):
    roles.make(bed.url, name)
    url = as_user([rule for rule in rules_of(list(RIGHTS), name, cluster=True) if rule != f"+{right}"])
    moving = on_its_way(bed, name) if right in ("asking", "cluster|countkeysinslot") else nullcontext()
    told = pytest.raises(CommandRefused, match=rf"'{re.escape(right)}' command.*`ragknn acl")
    with moving, told, faces.index(name, url=url, create=False) as index:
        USED_BY[right](faces, index)
    Index(name, url=bed.url).drop()


# ---- the command ---------------------------------------------------------------------------------------------------


def test_each_subcommand_takes_a_cluster(bed, name, left, tmp_path):
    beir = tmp_path / "beir"
    (beir / "qrels").mkdir(parents=True)
    (beir / "corpus.jsonl").write_text(json.dumps({"_id": "d7", "text": "text 7 of pears"}))
    (beir / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "text 7"}))
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td7\t1\n")
    rows = [{"id": f"d{n}", "text": f"text {n} of pears", "label": "ab"[n % 2], "year": 2000 + n} for n in range(30)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def ragknn(*args, code=0):
        done = run_here([*args, "--json"], "", tmp_path, {"RAGKNN_URL": bed.url})
        assert done.returncode == code, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    declared = ("--field", "year=numeric", "--model", "ragknn/hashing-32")
    assert ragknn("index", name, "rows.jsonl", *declared)[0]["added"] == 30
    assert ragknn("index", name, "rows.jsonl", "--sync")[0]["unchanged"] == 30
    assert len(ragknn("search", name, "text 7 of pears", "--where", '{"year": {"$gte": 2005}}')[0]["neighbors"]) == 5
    assert ragknn("show", name, "d7")
    assert ragknn("classify", name, "text 7 of pears", "-k", "1")[0]["label"] == "b"
    assert ragknn("tune", name)
    assert ragknn("evaluate", "beir", "--model", "ragknn/hashing-32")[0]
    assert ragknn("info", name)[0]["documents"] == 30
    assert name in [one["name"] for one in ragknn("list")]
    assert ragknn("delete", name, "d1", "d2")[0]["deleted"] == 2
    assert ragknn("rebuild", name, "--algorithm", "hnsw")
    assert ragknn("reembed", name, "--model", "ragknn/hashing-16")
    assert ragknn("check", name)
    assert ragknn("export", name, "index.parquet")
    assert ragknn("import", f"{name}-copy", "--from", "index.parquet")
    for one in (name, f"{name}-copy"):
        assert ragknn("drop", one, "--yes")
    assert left(name) == []


# ---- the adapters --------------------------------------------------------------------------------------------------


def through_langchain(url, name):
    langchain = pytest.importorskip("ragknn.integrations.langchain")
    store = langchain.RagKNNVectorStore(name, EMBEDDER, url=url)
    store.add_texts(["red apple", "green pear"], ids=["a", "b"])
    found = [one.page_content for one in store.similarity_search("green pear", k=1)]
    store.delete(["a"])
    store.close()
    return found


def through_llama_index(url, name):
    llama_index = pytest.importorskip("ragknn.integrations.llama_index")
    from llama_index.core.schema import TextNode
    from llama_index.core.vector_stores import VectorStoreQuery

    store = llama_index.RagKNNVectorStore(name, url=url)
    vectors = EMBEDDER.embed_documents(["red apple", "green pear"]).tolist()
    texts = {"a": "red apple", "b": "green pear"}
    pairs = zip(texts.items(), vectors, strict=True)
    store.add([TextNode(id_=node, text=text, embedding=vector) for (node, text), vector in pairs])
    found = [one.text for one in store.query(VectorStoreQuery(vectors[1], similarity_top_k=1)).nodes]
    store.delete_nodes(["a"])
    return found


def through_haystack(url, name):
    haystack = pytest.importorskip("ragknn.integrations.haystack")
    from haystack import Document

    store = haystack.RagKNNDocumentStore(name, url=url)
    vectors = EMBEDDER.embed_documents(["red apple", "green pear"]).tolist()
    texts = {"a": "red apple", "b": "green pear"}
    pairs = zip(texts.items(), vectors, strict=True)
    store.write_documents([Document(id=one, content=text, embedding=vector) for (one, text), vector in pairs])
    found = haystack.RagKNNEmbeddingRetriever(store, top_k=1).run(query_embedding=vectors[1])["documents"]
    store.delete_documents(["a"])
    return [one.content for one in found]


@pytest.mark.parametrize("through", [through_langchain, through_llama_index, through_haystack])
def test_each_framework_takes_a_cluster(bed, name, through):
    assert through(bed.url, name) == ["green pear"]
    with Index(name, url=bed.url) as index:
        assert index.count() == 1
        index.drop()
