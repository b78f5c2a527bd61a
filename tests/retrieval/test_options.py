"""The options of a retrieval, each alone and with each other, against a retrieval written naively over all passages."""

import itertools
import math
import re
from collections import Counter

import numpy as np
import pytest
from bm25 import bm25, length_weight

from ragknn import Document, IncompleteRetrieval
from ragknn.retrieval.fusion import ReciprocalRank, WeightedScores

WORDS = (
    *("card", "payment", "refund", "brake", "wheel", "saddle", "lock", "charger", "battery", "range", "cold"),
    *("rain", "tyre", "bell", "light"),
)
QUERY = "refund of a card payment after rain"
DIM = 32


def texts():
    """Return 44 short passages, some of them the same text."""
    rng = np.random.default_rng(3)
    made = [" ".join(rng.choice(WORDS, size=rng.integers(3, 9))) for _ in range(40)]
    return made + made[:4]


DOCUMENTS = [
    Document(f"d{n}", text, label="even" if n % 2 == 0 else "odd", metadata={"year": 2000 + n, "kind": "abc"[n % 3]})
    for n, text in enumerate(texts())
]


class Naive:
    """All passages with their distances and word scores, and the options applied one after the other."""

    def __init__(self, embedder, by_words):
        self.vectors = dict(
            zip([d.id for d in DOCUMENTS], embedder.embed_documents([d.text for d in DOCUMENTS]), strict=True)
        )
        query = embedder.embed_queries([QUERY])[0].astype(float)
        self.distances = {
            id_: float(np.clip(1 - vector.astype(float) @ query / np.linalg.norm(vector) / np.linalg.norm(query), 0, 2))
            for id_, vector in self.vectors.items()
        }
        self.by_words = by_words

    def retrieve(self, k, **options):
        documents = [d for d in DOCUMENTS if options.get("where") is None or d.metadata["year"] >= 2010]
        ids = [d.id for d in documents]
        text_of = {d.id: d.text for d in documents}
        limit = options.get("max_distance") or math.inf
        by_vector = sorted(ids, key=lambda id_: (self.distances[id_], id_))
        by_words = [(id_, score) for id_, score in self.by_words if id_ in text_of]
        match options.get("mode", "vector"):
            case "vector":
                ranked = [(id_, 1 - self.distances[id_]) for id_ in by_vector if self.distances[id_] <= limit]
            case "text":
                ranked = [(id_, score) for id_, score in by_words if self.distances[id_] <= limit]
            case "hybrid":
                by_words = [(id_, score) for id_, score in by_words if self.distances[id_] <= limit]
                fused = self.fuse([(id_, -self.distances[id_]) for id_ in by_vector], by_words, options.get("fusion"))
                ranked = [(id_, score) for id_, score in fused if self.distances[id_] <= limit]
        if options.get("rerank"):
            ranked = sorted(((id_, float(len(text_of[id_]))) for id_, _ in ranked), key=lambda pair: -pair[1])
        if options.get("per_document"):
            ranked = list(ranked)  # each document here is one passage
        if options.get("diversity"):
            ranked = self.diverse(ranked, text_of, options)
        return [id_ for id_, _ in ranked[:k]]

    def fuse(self, vector, words, fusion):
        scores = Counter()
        share_of_vectors = 0.5 if fusion is None else getattr(fusion, "vector", None)
        for ranking, share in ((vector, share_of_vectors), (words, 1 - (share_of_vectors or 0))):
            values = [score for _, score in ranking]
            for rank, (id_, score) in enumerate(ranking, start=1):
                if share_of_vectors is not None:
                    scores[id_] += share * (score - min(values)) / (max(values) - min(values))
                else:
                    scores[id_] += 1 / (60 + rank)
        return sorted(scores.items(), key=lambda pair: -pair[1])

    def diverse(self, ranked, text_of, options):
        seen, kept = set(), []
        for id_, score in ranked:
            if text_of[id_] not in seen:
                seen.add(text_of[id_])
                kept.append((id_, score))
        values = [score for _, score in kept]
        if options.get("mode", "vector") != "vector" or options.get("rerank"):
            kept = [(id_, (s - min(values)) / (max(values) - min(values))) for id_, s in kept]
        chosen = []
        while kept:

            def marginal(pair):
                cosines = [self.cosine(pair[0], other) for other, _ in chosen]
                return 0.6 * pair[1] - 0.4 * max(cosines, default=0.0)

            best = max(kept, key=marginal)
            chosen.append(best)
            kept.remove(best)
        return chosen

    def cosine(self, one, other):
        one, other = self.vectors[one].astype(float), self.vectors[other].astype(float)
        return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


def longest(query, passages):
    """Rerank by the number of characters."""
    return [len(passage.text) for passage in passages]


OPTIONS = {
    "where": {"where": {"year": {"$gte": 2010}}},
    "text": {"mode": "text"},
    "hybrid": {"mode": "hybrid"},
    "weighted": {"mode": "hybrid", "fusion": WeightedScores(0.8)},
    "by rank": {"mode": "hybrid", "fusion": ReciprocalRank()},
    "max_distance": {"max_distance": 0.8},
    "rerank": {"rerank": longest, "candidates": 50},
    "diversity": {"diversity": 0.4, "candidates": 50},
    "per_document": {"per_document": 1},
    "candidates": {"candidates": 50},
}
PAIRS = [
    (one, other)
    for one, other in itertools.combinations_with_replacement(OPTIONS, 2)
    if one == other or not set(OPTIONS[one]) & set(OPTIONS[other]) - {"candidates"}
]


@pytest.fixture(scope="module")
def filled(redis_url, embedder_32):
    """An index with the documents, filled once, and its name."""
    from ragknn import Index, Indexer

    with Index("test-options", url=redis_url, embedder=embedder_32, fields={"year": "numeric", "kind": "tag"}) as index:
        Indexer(index).add(DOCUMENTS)
        yield index
        index.drop()


@pytest.fixture(scope="module")
def embedder_32():
    from ragknn import HashingEmbedder

    return HashingEmbedder(DIM)


@pytest.fixture(scope="module")
def naive(filled, embedder_32):
    """The naive retrieval."""
    terms = filled.schema.analyzer.terms
    scores = bm25([terms(d.text) for d in DOCUMENTS], terms(QUERY), length_weight(filled.client))
    by_words = sorted(((DOCUMENTS[row].id, score) for row, score in scores.items()), key=lambda pair: -pair[1])
    return Naive(embedder_32, by_words)


@pytest.fixture
def retriever(faces, filled, redis_url, embedder_32):
    with faces.index("test-options", url=redis_url, embedder=embedder_32) as index:
        yield faces.retriever(index)


def ids(retrieval):
    return [neighbor.passage.document_id for neighbor in retrieval]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: "+".join(dict.fromkeys(pair)))
def test_options_mean_the_same_together_as_one_after_the_other(retriever, naive, pair):
    options = {**OPTIONS[pair[0]], **OPTIONS[pair[1]]}
    expected = naive.retrieve(10, **options)
    assert expected, "a test that finds nothing shows nothing"
    found = retriever.retrieve(QUERY, 10, **options)
    assert same_but_for_ties(found, expected, naive, options)
    [many, again] = retriever.retrieve_many([QUERY, QUERY], 10, **options)
    assert many == again == found or options.get("mode") == "text"  # NaN distances are not equal to themselves


def same_but_for_ties(found, expected, naive, options):
    """Compare the ids, where equal texts (equally good in every respect) may stand for each other."""
    text_of = {document.id: document.text for document in DOCUMENTS}
    lengths = Counter(map(len, text_of.values()))
    if options.get("rerank"):  # ties among texts of the same length
        return [len(text_of[id_]) for id_ in ids(found)] == [len(text_of[id_]) for id_ in expected] and lengths
    return [text_of[id_] for id_ in ids(found)] == [text_of[id_] for id_ in expected]


# ---- words -----------------------------------------------------------------------------------------------------


@pytest.fixture
def letters(faces, redis_url, index_name, embedder):
    """An index of 60 texts over words that no stemmer touches."""
    rng = np.random.default_rng(0)
    made = [" ".join(rng.choice([f"w{n}x" for n in range(9)], size=rng.integers(2, 12))) for _ in range(60)]
    fields = {"number": "numeric", "group": "tag", "title": "text"}
    with faces.index(index_name, url=redis_url, embedder=embedder, fields=fields) as index:
        faces.indexer(index).add(
            Document(f"d{n}", text, metadata={"number": n, "group": "abc"[n % 3], "title": f"w{n % 9}x"})
            for n, text in enumerate(made)
        )
        yield faces.retriever(index), made


def test_text_mode_scores_as_bm25(letters, client):
    retriever, made = letters
    query = "w1x w4x w5x w8x w4x"
    expected = bm25([text.split() for text in made], query.split(), length_weight(client))
    found = retriever.retrieve(query, k=60, mode="text")
    scores = {int(n.passage.document_id[1:]): n.score for n in found}
    assert scores == pytest.approx(expected, rel=1e-6)
    assert all(math.isnan(neighbor.distance) for neighbor in found)
    assert [n.score for n in found] == sorted((n.score for n in found), reverse=True)


@pytest.mark.parametrize(
    "where",
    [
        {"number": {"$gte": 10}},
        {"group": "a"},
        {"group": {"$in": ["a", "c"]}},
        {"group": {"$ne": "a"}},
        {"$or": [{"group": "b"}, {"number": {"$lt": 20}}]},
        {"group": "a", "number": {"$not": {"$ne": 3}}},
        {"$not": {"$not": {"group": "c"}}},
        {"title": {"$contains": "w1x"}},
        {"number": {"$ne": None}},
    ],
    ids=str,
)
def test_a_filter_neither_hides_words_nor_counts_for_the_score(letters, where):
    retriever, _ = letters
    query = "w1x w4x w5x w8x"
    everything = {n.passage.id: n.score for n in retriever.retrieve(query, k=60, mode="text")}
    matching = {n.passage.id for n in retriever.kneighbors(np.ones(64), k=60, where=where)[0]}
    found = {n.passage.id: n.score for n in retriever.retrieve(query, k=60, mode="text", where=where)}
    assert 0 < len(matching) < 60 or where == {"number": {"$ne": None}}
    assert found == pytest.approx({id_: score for id_, score in everything.items() if id_ in matching})


@pytest.mark.parametrize("language", ["english", "german"])
def test_a_filter_does_not_hide_inflected_words(faces, redis_url, index_name, embedder, language):
    texts = {
        "english": ["he runs", "she was running", "they run", "a runner", "paying", "payments", "paid"],
        "german": ["die Häuser", "ein Haus", "im Hause", "Läufer", "laufen", "er lief", "zahlt"],
    }[language]
    with faces.index(
        index_name, url=redis_url, embedder=embedder, fields={"n": "numeric", "kind": "tag"}, language=language
    ) as index:
        metadata = [{"n": n, "kind": "xy"[n % 2]} for n in range(len(texts))]
        faces.indexer(index).add(Document(f"d{n}", texts[n], metadata=metadata[n]) for n in range(len(texts)))
        retriever = faces.retriever(index)
        for query in ("running", "payment payments", "Häusern", "laufend", " ".join(texts)):
            free = {n.passage.id: n.score for n in retriever.retrieve(query, k=9, mode="text")}
            for where in ({"n": {"$gte": 0}}, {"kind": {"$in": ["x", "y"]}}, {"kind": {"$ne": "z"}}):
                found = retriever.retrieve(query, k=9, mode="text", where=where)
                assert {n.passage.id: n.score for n in found} == pytest.approx(free)
            near = retriever.retrieve(query, k=9, mode="text", max_distance=2)
            assert {n.passage.id: n.score for n in near} == pytest.approx(free)


def test_a_question_of_stop_words_finds_nothing_by_words_and_something_by_distance(retriever):
    assert len(retriever.retrieve("is it in the?", k=3, mode="text")) == 0
    hybrid = retriever.retrieve("is it in the?", k=3, mode="hybrid")
    assert [n.text_rank for n in hybrid] == [None, None, None]
    assert [n.vector_rank for n in hybrid] == [1, 2, 3]


@pytest.mark.parametrize(
    "query", ["@text:x", "a|b -c ~d", "(card", '"card', "card=>[KNN 3 @vector $v]", "*", "$t0", "%%"]
)
def test_nothing_in_a_query_is_syntax(retriever, query):
    for mode in ("text", "hybrid"):
        retriever.retrieve(query, k=3, mode=mode, where={"kind": "a"})


# ---- hybrid ----------------------------------------------------------------------------------------------------


def test_hybrid_keeps_both_ranks_and_every_distance(retriever, naive):
    found = retriever.retrieve(QUERY, k=44, mode="hybrid", fusion=ReciprocalRank())
    vector, text = (retriever.retrieve(QUERY, k=44, mode=mode) for mode in ("vector", "text"))
    place = {n.passage.id: rank for rank, n in enumerate(vector, start=1)}
    words = {n.passage.id: rank for rank, n in enumerate(text, start=1)}
    for neighbor in found:
        assert neighbor.vector_rank == place[neighbor.passage.id]
        assert neighbor.text_rank == words.get(neighbor.passage.id)
        ranks = [rank for rank in (neighbor.vector_rank, neighbor.text_rank) if rank]
        assert neighbor.score == pytest.approx(sum(1 / (60 + rank) for rank in ranks))
        assert neighbor.distance == pytest.approx(naive.distances[neighbor.passage.document_id], abs=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_what_only_words_found_has_its_distance_too(faces, redis_url, index_name, embedder, metric):
    with faces.index(index_name, url=redis_url, embedder=embedder, metric=metric) as index:
        faces.indexer(index).add(DOCUMENTS)
        retriever = faces.retriever(index)
        answers = ["bell light saddle", "lock charger tyre"]
        true = {n.passage.id: n.distance for n in retriever.retrieve_like(QUERY, answers, k=44)}
        found = retriever.retrieve_like(QUERY, answers, k=3, mode="hybrid", candidates=3)
        assert any(n.vector_rank is None for n in found)
        for neighbor in found:
            assert neighbor.distance == pytest.approx(true[neighbor.passage.id], abs=1e-5)


def test_hybrid_asks_once_and_reads_once(faces, filled, redis_url, embedder_32, client):
    with faces.index("test-options", url=redis_url, embedder=embedder_32) as index:
        retriever = faces.retriever(index)
        sent = []
        for _ in range(2):  # the first one asks for no more
            before = client.info("stats")["total_reads_processed"]
            retriever.retrieve(QUERY, mode="hybrid", where={"kind": "a"})
            sent.append(client.info("stats")["total_reads_processed"] - before)
    assert max(sent) <= 3, "one read for the searches, one for the passages that are returned, one for this question"


# ---- range -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [0.0, 0.5, 0.8, 2.0])
def test_no_k_means_all_within_the_distance(retriever, naive, radius, monkeypatch):
    monkeypatch.setattr("ragknn.retrieval._pipeline.RADIUS_PORTION", 7)
    found = retriever.retrieve(QUERY, k=None, max_distance=radius)
    assert sorted(ids(found)) == sorted(id_ for id_, distance in naive.distances.items() if distance <= radius)
    assert list(found.distances) == sorted(found.distances)


def test_a_range_can_be_filtered_thinned_and_made_diverse(retriever, naive):
    found = retriever.retrieve(
        QUERY, k=None, max_distance=0.9, where={"year": {"$gte": 2010}}, per_document=1, diversity=0.3, rerank=longest
    )
    expected = naive.retrieve(None, max_distance=0.9, where=True, per_document=1, diversity=0.4, rerank=longest)
    assert len(found) == len(expected) > 3


@pytest.mark.parametrize(
    "options", [{}, {"mode": "text", "max_distance": 1.0}, {"mode": "hybrid", "max_distance": 1.0}]
)
def test_no_k_needs_a_distance_and_the_vector_mode(retriever, options):
    with pytest.raises(ValueError, match=r"expected k >= 1, got None, which means all passages within max_distance"):
        retriever.retrieve(QUERY, k=None, **options)


# ---- several passages of a document ----------------------------------------------------------------------------


def test_per_document_asks_on_until_there_are_k(faces, redis_url, index_name, embedder):
    from ragknn import Splitter

    long = Document("long", ". ".join(f"card payment {n}" for n in range(40)) + ".")
    others = [Document(f"d{n}", f"card {n} wheel saddle bell") for n in range(6)]
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        faces.indexer(index, Splitter(size=3, overlap=0, unit="words")).add([long, *others])
        retriever = faces.retriever(index)
        for mode in ("vector", "text", "hybrid"):
            found = retriever.retrieve("card payment", k=5, mode=mode, per_document=1)
            assert len(set(ids(found))) == len(found) == 5
            assert ids(found)[0] == "long"
        assert Counter(ids(retriever.retrieve("card payment", k=20, per_document=3)))["long"] == 3


# ---- several phrasings, hypothetical answers -------------------------------------------------------------------


def test_several_phrasings_are_fused_by_rank(retriever):
    phrasings = [QUERY, "battery range when it is cold", "bell and light"]
    each = retriever.retrieve_many(phrasings, k=44)
    scores = Counter()
    for retrieval in each:
        for rank, neighbor in enumerate(retrieval, start=1):
            scores[neighbor.passage.id] += 1 / (60 + rank)
    found = retriever.retrieve_any(phrasings, k=44)
    assert found.query == QUERY
    assert {n.passage.id: n.score for n in found} == pytest.approx(dict(scores))
    assert [n.score for n in found] == sorted((n.score for n in found), reverse=True)
    for neighbor in found:
        assert neighbor.distance == min(n.distance for r in each for n in r if n.passage.id == neighbor.passage.id)
    [alone] = [retriever.retrieve_any([QUERY], k=5)]
    assert alone == retriever.retrieve(QUERY, k=5)
    for options in OPTIONS.values():
        assert len(retriever.retrieve_any(phrasings, k=5, **options)) == 5


def test_a_hypothetical_answer_moves_the_vector_towards_it(retriever, embedder_32):
    answers = ["the battery has less range in the cold", "cold rain is bad for a battery"]
    found = retriever.retrieve_like(QUERY, answers, k=5)
    vectors = np.concatenate([embedder_32.embed_queries([QUERY]), embedder_32.embed_documents(answers)])
    [expected] = retriever.kneighbors(vectors.mean(axis=0), k=5)
    assert ids(found) == ids(expected)
    assert found.query == QUERY
    for options in OPTIONS.values():
        assert len(retriever.retrieve_like(QUERY, answers, k=5, **options)) == 5


@pytest.mark.parametrize(("method", "arguments"), [("retrieve_any", ([],)), ("retrieve_like", (QUERY, []))])
def test_nothing_to_ask_is_refused(retriever, method, arguments):
    with pytest.raises(ValueError, match="expected at least one"):
        getattr(retriever, method)(*arguments)


# ---- wrong options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mode": "semantic"}, ValueError, "expected mode to be one of vector, text, hybrid, got 'semantic'"),
        ({"max_distance": -1}, ValueError, "expected max_distance >= 0, got -1"),
        ({"max_distance": math.nan}, ValueError, "expected max_distance >= 0, got nan"),
        ({"diversity": 1.5}, ValueError, "expected diversity between 0"),
        ({"per_document": 0}, ValueError, "expected per_document >= 1, got 0"),
        ({"candidates": 3}, ValueError, "expected candidates >= k = 5, got 3"),
        ({"ef_runtime": 10}, ValueError, "expected ef_runtime with an hnsw index only"),
        ({"filter": {}}, TypeError, "expected options among where, mode, .* got filter"),
        ({"where": {"colour": "red"}}, ValueError, "expected a field that can be filtered on, got 'colour'"),
        ({"rerank": lambda query, passages: [1.0]}, ValueError, "expected"),
        ({"rerank": lambda query, passages: [math.nan] * len(passages)}, ValueError, "expected"),
        ({"rerank": "cross-encoder"}, TypeError, "expected rerank to be a callable"),
    ],
    ids=lambda value: re.sub(" at 0x.*", "", str(value))[:40],
)
def test_options_that_cannot_be_are_refused(retriever, options, error, message):
    with pytest.raises(error, match=message):
        retriever.retrieve(QUERY, **options)


def test_ready_vectors_have_no_words(retriever):
    for options in ({"mode": "text"}, {"rerank": longest}):
        with pytest.raises(ValueError, match="expected neither mode nor rerank with vectors alone"):
            retriever.kneighbors(np.ones(DIM), **options)


def test_an_index_without_words_says_so(faces, redis_url, index_name, embedder):
    with faces.index(index_name, url=redis_url, embedder=embedder, text_search=False) as index:
        faces.indexer(index).add(DOCUMENTS[:3])
        with pytest.raises(ValueError, match="expected an index with text_search for mode='hybrid'"):
            faces.retriever(index).retrieve(QUERY, mode="hybrid")


def test_an_incomplete_search_for_words_is_an_error(faces, redis_url, index_name, embedder):
    with faces.index(index_name, url=redis_url, embedder=embedder, timeout=1e-6) as index:
        faces.indexer(index).add(Document(f"d{n}", f"card {' '.join(WORDS)} {n}") for n in range(3000))
        retriever = faces.retriever(index)
        with pytest.raises(IncompleteRetrieval):
            retriever.retrieve_many([" ".join(WORDS)] * 20, k=3000, mode="text")  # one of them takes a millisecond


def test_after_a_restart_rare_words_still_weigh_more_than_common_ones(tmp_path, embedder):
    """The server indexes all that it loads twice; counted twice, a word in most passages would outweigh all others."""
    from ragknn import Index, Indexer, Retriever
    from ragknn.server.embedded import RedisServer

    for _ in range(3):
        with RedisServer(tmp_path) as server, Index("words", url=server.url, embedder=embedder) as index:
            Indexer(index).add(Document(f"d{n}", f"card {'refund' * (n % 5 == 0)} number{n}") for n in range(40))
            found = Retriever(index).retrieve("refund of a card", k=40, mode="text")
            scores = {neighbor.passage.document_id: neighbor.score for neighbor in found}
            assert len(scores) == 40
            assert max(score for id_, score in scores.items() if int(id_[1:]) % 5) < 0.1
            assert min(score for id_, score in scores.items() if not int(id_[1:]) % 5) > 1
