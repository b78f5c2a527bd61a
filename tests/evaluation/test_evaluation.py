import json
import re
from functools import partial

import numpy as np
import pytest
import pytrec_eval

from ragknn import Document, Splitter
from ragknn.evaluation import aevaluate, evaluate, rank_documents
from ragknn.evaluation._latency import Latency
from ragknn.evaluation._metrics import metrics_at
from ragknn.evaluation._significance import bootstrap_mean, compare
from ragknn.evaluation.questions import Questions
from ragknn.evaluation.results import Evaluation, SettingResult
from ragknn.records import Neighbor, Passage, Retrieval

WORDS = Splitter(6, 0, "words")
VOCABULARY = [f"word{n}" for n in range(60)]
WORD_VECTORS = dict(zip(VOCABULARY, np.random.default_rng(1).normal(size=(60, 24)), strict=True))


class Sums:
    """Embeds a text as the sum of random vectors, one a word, so that no two texts are equally near to a third."""

    name, dim, max_tokens = "tests/sums", 24, None

    def embed_documents(self, texts):
        return np.array([sum(WORD_VECTORS[word] for word in text.split()) for text in texts], dtype=np.float32)

    embed_queries = embed_documents


@pytest.fixture
def evaluated(faces):
    """`evaluate` or `aevaluate`, called alike."""

    return partial(faces.call, evaluate, aevaluate)


def library(count=80, questions=25):
    """Documents of several passages each, and questions with a few judged documents."""
    generator = np.random.default_rng(4)
    documents = [
        Document(f"d{n}", " ".join(generator.choice(VOCABULARY, 6 * generator.integers(1, 6)))) for n in range(count)
    ]
    queries = {f"q{n}": " ".join(generator.choice(VOCABULARY, 5)) for n in range(questions)}
    grades = {
        query: {f"d{d}": int(generator.integers(0, 3)) for d in generator.choice(count, 12, replace=False)}
        for query in queries
    }
    return documents, Questions(queries, grades)


DOCUMENTS, QUESTIONS = library()


@pytest.fixture
def shelf(faces, redis_url, index_name):
    """A retriever of an hnsw index with the library in it."""
    with faces.index(index_name, url=redis_url, embedder=Sums(), algorithm="hnsw", m=4, ef_construction=10) as index:
        faces.indexer(index, WORDS).add(DOCUMENTS)
        yield faces.retriever(index)


def brute_force():
    """The documents of each question by NumPy alone, each with the similarity of its best passage."""
    passages = [
        (document.id, " ".join(words[start : start + 6]))
        for document, words in ((document, document.text.split()) for document in DOCUMENTS)
        for start in range(0, len(words), 6)
    ]
    vectors = Sums().embed_documents([text for _, text in passages]).astype(float)
    queries = Sums().embed_queries(list(QUESTIONS.queries.values())).astype(float)
    similarities = queries @ (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T
    run: dict[str, dict[str, float]] = {}
    for query, row in zip(QUESTIONS.queries, similarities, strict=True):
        best = run.setdefault(query, {})
        for (document, _), similarity in zip(passages, row.tolist(), strict=True):
            best[document] = max(best.get(document, -np.inf), similarity)
    return run


def test_figures_are_those_of_trec_eval_on_a_brute_force_search(faces, evaluated, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=Sums()) as index:
        faces.indexer(index, WORDS).add(DOCUMENTS)
        found = evaluated(faces.retriever(index), QUESTIONS, k=5, depth=10 * len(DOCUMENTS), latency_sample=0)
    names = {
        "nDCG@5": "ndcg_cut_5",
        "recall@5": "recall_5",
        "precision@5": "P_5",
        "MAP": "map",
        "hit rate@5": "success_5",
    }
    asked = {"ndcg_cut.5", "recall.5", "P.5", "map", "success.5"}
    theirs = pytrec_eval.RelevanceEvaluator(dict(QUESTIONS.grades), asked).evaluate(brute_force())
    [result] = found.results
    assert found.metrics == ("nDCG@5", "recall@5", "precision@5", "MRR@5", "MAP", "hit rate@5")
    for metric, name in names.items():
        expected = [theirs[query][name] for query in QUESTIONS.queries]
        assert result.scores[metric] == pytest.approx(expected, abs=1e-9), metric
        assert result.estimates[metric].mean == pytest.approx(np.mean(expected), abs=1e-9), metric


def test_means_intervals_and_comparisons_come_from_the_scores_of_the_queries(shelf, evaluated):
    settings = {"wide": {"ef_runtime": 200}, "narrow": {"ef_runtime": 1}, "usual": {}}
    found = evaluated(shelf, QUESTIONS, settings, k=3, depth=8, confidence=0.8, seed=5)
    assert [result.name for result in found.results] == list(settings)
    for result in found.results:
        retrievals = [shelf.retrieve(text, 8, **settings[result.name]) for text in QUESTIONS.queries.values()]
        rankings = [rank_documents(retrieval) for retrieval in retrievals]
        assert result.documents == tuple(tuple(ranked[:3]) for ranked in rankings)
        for metric, function in metrics_at(3).items():
            pairs = zip(rankings, QUESTIONS.grades.values(), strict=True)
            assert result.scores[metric] == tuple(function(ranked, grades) for ranked, grades in pairs)
            expected = bootstrap_mean(result.scores[metric], confidence=0.8, seed=5)
            assert result.estimates[metric].mean == pytest.approx(expected.mean)
            assert result.estimates[metric].low == pytest.approx(expected.low)
    first = found["wide"]
    assert found.comparisons == tuple(
        compare(metric, first.column(metric), found[other].column(metric), confidence=0.8, seed=5)
        for other in ("narrow", "usual")
        for metric in found.metrics
    )
    assert found.compare("narrow", "usual", seed=5).first == "narrow"
    assert found.compare("wide", "usual", "MAP", seed=5) in found.comparisons


def test_queries_are_found_by_name_and_wrong_names_say_what_there_is(shelf, evaluated):
    found = evaluated(shelf, QUESTIONS, k=3, latency_sample=0)
    with pytest.raises(KeyError, match="expected one of the settings vector, got 'hybrid'"):
        found["hybrid"]
    with pytest.raises(KeyError, match=r"expected one of the metrics nDCG@3, .*, got 'nDCG@10'"):
        found.compare("vector", "vector", "nDCG@10")


def test_latency_is_taken_of_a_sample_for_each_setting(shelf, evaluated):
    found = evaluated(shelf, QUESTIONS, {"a": {}, "b": {"ef_runtime": 10}}, k=2, latency_sample=7)
    for result in found.results:
        assert result.latency.calls == 7
        assert 0 < result.latency.p50 <= result.latency.p90 <= result.latency.p99 < 5
    assert "latency of one retrieve of 2 passages, query embedding included" in found.notes
    untimed = evaluated(shelf, QUESTIONS, k=2, latency_sample=0)
    assert untimed.results[0].latency is None
    assert untimed.notes == ()


def test_documents_that_are_not_there_are_counted(shelf, evaluated):
    grades = {"q": {"d1": 1, "gone": 1, "gone too": 2, "not relevant": 0}}
    found = evaluated(shelf, Questions({"q": "word1 word2"}, grades), k=3, latency_sample=0)
    assert found.missing == 2
    assert found.notes == ("relevant documents that are not in the index and cannot be found: 2",)


def test_questions_of_another_folder_are_refused(shelf, evaluated):
    questions = Questions({"q": "word1"}, {"q": {"other/d1": 1}})
    with pytest.raises(ValueError, match="expected documents of the judgements, such as 'other/d1', in index 'test-"):
        evaluated(shelf, questions)
    with pytest.raises(ValueError, match="but none has a grade of 1 or more"):
        evaluated(shelf, Questions({"q": "word1"}, {"q": {"d1": 0}}))


def test_a_depth_that_shows_too_few_documents_is_noted(shelf, evaluated):
    found = evaluated(shelf, QUESTIONS, k=5, depth=5, latency_sample=0)
    shallow = sum(len(ranked) < 5 for ranked in found.results[0].documents)
    assert 0 < shallow == found.results[0].shallow
    assert found.notes == (
        f"vector: the 5 passages of {shallow} queries come from fewer than 5 documents; raise the depth",
    )
    # With all passages there is nothing more to be seen.
    assert evaluated(shelf, QUESTIONS, k=200, depth=5_000, latency_sample=0).notes == ()


def test_the_recall_of_the_index_is_scanned_where_efs_are_named(shelf, evaluated):
    found = evaluated(shelf, QUESTIONS, k=4, efs=[1, 300], target=0.5, latency_sample=0)
    assert [point.ef_runtime for point in found.recall.points] == [4, 300]
    assert found.recall.points[0].recall < found.recall.points[1].recall
    assert found.recall.target == 0.5
    assert evaluated(shelf, QUESTIONS, k=4, efs=(), latency_sample=0).recall.suggestion <= 100
    assert evaluated(shelf, QUESTIONS, k=4, latency_sample=0).recall is None


def test_progress_counts_queries_of_all_settings(shelf, evaluated, monkeypatch):
    monkeypatch.setattr("ragknn.evaluation._evaluating.QUERIES_PER_CALL", 10)
    reports = []
    evaluated(
        shelf, QUESTIONS, {"a": {}, "b": {}}, k=2, latency_sample=3, progress=lambda *counts: reports.append(counts)
    )
    assert [done for done, _ in reports] == [10, 20, 25, 35, 45, 50, 51, 52, 53, 54, 55, 56]
    assert {total for _, total in reports} == {56}


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({}, {}, "expected at least one setting and question, got 0 and 25"),
        ({"a": {}}, {"k": 0}, "expected 1 <= k <= depth, got k=0 and depth=100"),
        ({"a": {}}, {"k": 10, "depth": 9}, "expected 1 <= k <= depth, got k=10 and depth=9"),
        ({"a": {}}, {"latency_sample": -1}, "expected latency_sample >= 0, got -1"),
        ({"a": {}}, {"efs": [0]}, "expected queries and numbers >= 1"),
        ({"a": {}}, {"confidence": 2}, "expected a confidence between 0 and 1, got 2"),
        ({"a": {"ef_runtime": 0}}, {}, "expected ef_runtime >= 1, got 0"),
    ],
)
def test_choices_that_cannot_be_are_refused(shelf, evaluated, settings, options, message):
    with pytest.raises(ValueError, match=message):
        evaluated(shelf, QUESTIONS, settings, **options)
    with pytest.raises(TypeError):
        evaluated(shelf, QUESTIONS, {"a": {"no_such_option": 1}})


def test_documents_are_ranked_by_their_best_passage():
    def neighbor(passage_id, distance):
        return Neighbor(Passage(passage_id, passage_id.partition("#")[0], "", 0, 0), distance)

    found = Retrieval([neighbor("b#1", 0.1), neighbor("a#0", 0.2), neighbor("b#0", 0.3), neighbor("c#5", 0.4)])
    assert rank_documents(found) == ["b", "a", "c"]
    assert rank_documents(Retrieval([])) == []


# ---- how it reads ----------------------------------------------------------------------------------------------


def made(*names, timed=True):
    """An evaluation of two queries, without an index."""
    scores = {"nDCG@2": (0.5, 1.0), "MAP": (0.25, 1.0)}
    shifts = {
        name: {m: tuple(v / (n + 1) for v in values) for m, values in scores.items()} for n, name in enumerate(names)
    }
    results = tuple(
        SettingResult(
            name=name,
            options={"mode": repr(name)},
            estimates={metric: bootstrap_mean(values) for metric, values in shifts[name].items()},
            scores=shifts[name],
            documents=(("d1", "d2"), ("<d3>",)),
            shallow=0,
            latency=Latency(0.010, 0.012, 0.020, 50) if timed else None,
        )
        for name in names
    )
    comparisons = tuple(
        compare(metric, results[0].column(metric), other.column(metric)) for other in results[1:] for metric in scores
    )
    return Evaluation("shelf", 2, 100, 0.95, {"q1": "eins", "q2": "<zwei>"}, 0, results, comparisons)


def test_it_prints_as_tables():
    assert str(made("vector", "text")).splitlines() == [
        "shelf: 2 queries, documents ranked by their best of 100 passages, mean and 95% interval",
        "          vector                   text",
        "  nDCG@2  0.7500 [0.5000, 1.0000]  0.3750 [0.2500, 0.5000]",
        "  MAP     0.6250 [0.2500, 1.0000]  0.3125 [0.1250, 0.5000]",
        "  p50     10.0 ms                  10.0 ms",
        "  p90     12.0 ms                  12.0 ms",
        "  p99     20.0 ms                  20.0 ms",
        "note: latency of one retrieve of 2 passages, query embedding included",
        "",
        "query by query",
        "  metric  setting  against  difference                  p       better on  worse on  equal on",
        "  nDCG@2  text     vector   -0.3750 [-0.5000, -0.2500]  0.5000  0          2         0",
        "  MAP     text     vector   -0.3125 [-0.5000, -0.1250]  0.5000  0          2         0",
    ]
    assert "p50" not in str(made("vector", timed=False))


def test_it_shows_in_a_notebook_with_all_texts_escaped():
    html = made("vector", "<i>")._repr_html_()
    assert html.count("<table") == 2
    assert ">0.7500 [0.5000, 1.0000]</td>" in html
    assert "&lt;i&gt;" in html
    assert "<i>" not in html


def test_it_is_kept_as_json(shelf, evaluated):
    found = evaluated(shelf, QUESTIONS, {"a": {}, "b": {"ef_runtime": 1}}, k=3, latency_sample=3, efs=[10])
    plain = json.loads(found.to_json())
    assert plain == found.to_dict()
    assert (plain["queries"], plain["k"], plain["depth"], plain["missing"]) == (25, 3, 100, 0)
    assert plain["settings"][1]["options"] == {"ef_runtime": "1"}
    assert plain["settings"][0]["metrics"]["MAP"]["mean"] == found["a"].estimates["MAP"].mean
    assert plain["settings"][0]["latency"]["calls"] == 3
    assert [comparison["metric"] for comparison in plain["comparisons"]] == list(found.metrics)
    assert plain["recall"]["points"][0]["recall"] == found.recall.points[0].recall
    assert plain["recall"]["suggestion"] == found.recall.suggestion
    assert "per_query" not in plain
    assert json.loads(found.to_json(per_query=True))["per_query"] == list(found.per_query())


def test_every_query_and_setting_is_a_row_in_pandas_too():
    evaluation = made("vector", "text")
    table = evaluation.to_pandas()
    assert table.to_dict("records") == list(evaluation.per_query())
    assert table.groupby("setting")["MAP"].mean()["vector"] == 0.625


def test_every_query_and_setting_is_a_row():
    assert list(made("vector", "text").per_query())[1:3] == [
        {"query": "q1", "text": "eins", "setting": "text", "nDCG@2": 0.25, "MAP": 0.125, "documents": ["d1", "d2"]},
        {"query": "q2", "text": "<zwei>", "setting": "vector", "nDCG@2": 1.0, "MAP": 1.0, "documents": ["<d3>"]},
    ]


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_it_is_drawn_into_a_file(tmp_path, suffix, magic):
    path = tmp_path / f"figure.{suffix}"
    figure = made("vector", "text", "hybrid").plot(path)
    assert path.read_bytes().startswith(magic)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["quality, 95% intervals", "better on 0, worse on 2", "better on 0, worse on 2"]


def test_quality_is_drawn_with_its_interval_against_latency():
    [axes] = made("vector").plot().axes
    [line, *_] = axes.lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([10.0], [0.75])
    [bars] = axes.containers
    [segment] = bars.lines[2][0].get_segments()
    assert segment.tolist() == [[10.0, 0.5], [10.0, 1.0]]
    [untimed] = made("vector", timed=False).plot().axes
    assert [label.get_text() for label in untimed.get_xticklabels()] == ["vector"]


def test_recall_is_drawn_against_latency(shelf, evaluated):
    found = evaluated(shelf, QUESTIONS, k=3, efs=[3, 50], latency_sample=0)
    _, axes = found.plot().axes
    curve = axes.lines[0]
    assert list(curve.get_ydata()) == [point.recall for point in found.recall.points]
    assert list(curve.get_xdata()) == [1000 * point.latency.p50 for point in found.recall.points]
    assert [text.get_text() for text in axes.texts] in (["ef 3", "ef 50"], ["ef 3 to 50"])


def test_differences_are_drawn_as_sorted_bars():
    _, axes = made("vector", "text").plot().axes
    assert [bar.get_height() for bar in axes.patches] == [-0.25, -0.5]
    assert re.fullmatch(r"nDCG@2: text - vector", axes.get_ylabel())
