"""Records in other forms: plain values for JSON, rows for pandas, slices; and the similarity of a neighbor."""

import json
import math
import pickle
import subprocess
import sys
from dataclasses import fields, replace
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragknn import (
    Context,
    Document,
    Failure,
    IndexInfo,
    IngestReport,
    Neighbor,
    Passage,
    Retrieval,
    Source,
    Vote,
)
from ragknn.voting.scoring import Scores
from ragknn.voting.tuning import Setting, Tuning

texts = st.text(max_size=10)
numbers = st.floats() | st.floats(width=32).map(np.float32) | st.integers(-5, 5).map(np.int64)
labels = st.none() | texts | st.integers() | st.floats() | st.booleans()
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
metadata = st.dictionaries(texts, json_values | numbers | st.dates(), max_size=3)
vectors = st.none() | st.lists(st.floats(width=32), max_size=3).map(lambda row: np.array(row, dtype=np.float32))
documents = st.builds(Document, texts.filter(bool), texts, labels, metadata)
passages = st.builds(
    *(Passage, texts, texts, texts, st.integers(), st.integers(), labels, metadata),
    *(texts, st.none() | st.integers(0), vectors),
)
ranks = st.none() | st.integers(1, 9)
metrics = st.sampled_from(["cosine", "l2", "ip"])
neighbors = st.builds(Neighbor, passages, numbers, st.none() | numbers, ranks, ranks, metrics)
warnings = st.lists(texts, max_size=2).map(tuple)
retrievals = st.builds(
    Retrieval,
    st.lists(neighbors, max_size=4),
    query=st.none() | texts,
    complete=st.booleans(),
    warnings=warnings,
)


@st.composite
def votes(draw):
    found = tuple(draw(st.lists(neighbors, max_size=3)))
    weights = tuple(draw(numbers) for _ in found)
    shares = draw(st.dictionaries(texts, st.floats(0, 1), max_size=3))
    return Vote(draw(labels), shares, found, weights, draw(st.booleans()), draw(texts), draw(st.booleans()), ("w",))


sources = st.builds(
    *(Source, st.integers(1), texts, st.integers(), st.integers(), texts, labels, metadata),
    *(st.lists(texts, max_size=2).map(tuple), numbers, st.none() | numbers),
)
contexts = st.builds(Context, texts, st.lists(sources, max_size=2).map(tuple), ranks, warnings, warnings)
failures = st.builds(Failure, texts, texts, st.none() | texts)
reports = st.builds(IngestReport, failed=st.lists(failures, max_size=2).map(tuple), seconds=numbers)
settings = st.builds(Setting, st.integers(1), texts, numbers)
tunings = st.builds(Tuning, texts, texts, st.integers(), st.lists(settings, max_size=3).map(tuple))
scores = st.builds(Scores, st.integers(), numbers, r2=numbers, confusion=st.just(((("a", "b"), 2),)))
infos = st.builds(IndexInfo, fields=st.dictionaries(texts, texts))


def neighbor(n=0, distance=0.25, **more):
    return Neighbor(Passage(f"d{n}#0", f"d{n}", "text", 0, 4, "x", {"year": 2024}), distance, **more)


# ---- plain values ----------------------------------------------------------------------------------------------


@given(documents | passages | retrievals | votes() | contexts | reports | tunings | scores | infos)
def test_every_record_has_a_form_that_json_can_hold(record):
    values = record.to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values


@given(documents | passages | contexts | reports | scores | infos | failures | settings)
def test_nothing_is_lost_on_the_way_to_json(record):
    assert record.to_dict().keys() == {each.name for each in fields(record)}


def test_a_retrieval_as_plain_values_has_its_neighbors_by_rank_with_all_that_is_known_of_them():
    passage = Passage(
        *("d#0", "d", "text", 0, np.int64(4), np.float64(1.5)),
        {"year": np.int32(2024), "day": date(2024, 2, 3), "at": datetime(2024, 2, 3, 4, 5), "gone": math.nan},
        *("digest", 0, np.array([0.5, 0.25], dtype=np.float32)),
        page=3,
        headings=("H",),
    )
    found = Neighbor(passage, math.nan, np.float32(0.5), None, 1, metric="l2")
    assert Retrieval([found], query="q", complete=False, warnings=["late"]).to_dict() == {
        "query": "q",
        "complete": False,
        "warnings": ["late"],
        "neighbors": [
            {
                **{"rank": 1, "distance": None, "score": 0.5, "vector_rank": None, "text_rank": 1, "metric": "l2"},
                **{"similarity": None, "id": "d#0", "document_id": "d", "text": "text", "start": 0, "end": 4},
                **{"label": 1.5, "digest": "digest", "number": 0, "vector": [0.5, 0.25], "page": 3, "headings": ["H"]},
                "metadata": {"year": 2024, "day": "2024-02-03", "at": "2024-02-03T04:05:00", "gone": None},
            }
        ],
    }


def test_a_vote_as_plain_values_has_each_neighbor_with_its_weight():
    values = Vote(1, {1: 0.75, 2: 0.25}, (neighbor(0), neighbor(1)), (0.75, 0.25), warnings=("w",)).to_dict()
    assert (values["label"], values["shares"], values["warnings"]) == (1, {"1": 0.75, "2": 0.25}, ["w"])
    assert (values["abstained"], values["reason"], values["complete"]) == (False, "", True)
    assert [(one["weight"], one["document_id"]) for one in values["neighbors"]] == [(0.75, "d0"), (0.25, "d1")]


def test_a_tuning_as_plain_values_names_the_best_setting():
    values = Tuning("faq", "accuracy", 2, (Setting(1, "uniform", 0.5), Setting(3, "uniform", math.nan))).to_dict()
    assert values["best"] == values["settings"][0] == {"k": 1, "weights": "uniform", "score": 0.5}
    assert values["settings"][1]["score"] is None


# ---- slices ----------------------------------------------------------------------------------------------------


@given(retrievals, st.slices(5))
def test_a_slice_of_a_retrieval_is_a_retrieval_of_these_neighbors(retrieval, part):
    sliced = retrieval[part]
    assert type(sliced) is Retrieval
    assert sliced.neighbors == retrieval.neighbors[part]
    assert (sliced.query, sliced.complete, sliced.warnings) == (
        *(retrieval.query, retrieval.complete),
        retrieval.warnings,
    )
    assert type(pickle.loads(pickle.dumps(sliced))) is Retrieval


def test_a_voter_votes_on_a_slice(faces, redis_url, index_name, embedder):
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        made = [Document(str(n), f"word {n}", "even" if n % 2 == 0 else "odd") for n in range(6)]
        faces.indexer(index).add(made)
        retriever = faces.retriever(index)
        retrieval = retriever.retrieve("word", k=6)
        vote = faces.voter(retriever).vote_on(retrieval[:1])
    assert (vote.label, vote.neighbors) == (retrieval[0].passage.label, retrieval.neighbors[:1])


# ---- similarity ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "distance", "similarity"),
    [
        *[("cosine", 0.0, 1.0), ("cosine", 1.0, 0.5), ("cosine", 2.0, 0.0), ("cosine", 0.5, 0.75)],
        *[("l2", 0.0, 1.0), ("l2", 1.0, 0.5), ("l2", 3.0, 0.25), ("l2", math.inf, 0.0)],
        *[("ip", 1.0, 0.5), ("ip", 0.0, 0.75), ("ip", 2.0, 0.25), ("ip", -math.inf, 1.0), ("ip", math.inf, 0.0)],
    ],
)
def test_the_similarity_is_what_its_formula_says(metric, distance, similarity):
    assert neighbor(0, distance, metric=metric).similarity == similarity


@given(metrics, st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_nearer_neighbor_is_not_less_similar_and_all_lie_between_0_and_1(metric, one, other):
    nearer, further = sorted([one, other])
    low, high = (neighbor(0, distance, metric=metric).similarity for distance in (further, nearer))
    assert 0 <= low <= high <= 1


@given(metrics)
def test_without_a_distance_there_is_no_similarity(metric):
    assert math.isnan(neighbor(0, math.nan, metric=metric).similarity)


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_a_neighbor_that_was_found_knows_its_metric(faces, redis_url, index_name, embedder, metric):
    with faces.index(index_name, url=redis_url, embedder=embedder, metric=metric) as index:
        faces.indexer(index).add([Document("a", "red apples"), Document("b", "red pears"), Document("c", "cars")])
        for options in ({}, {"mode": "hybrid"}, {"mode": "text"}, {"max_distance": 9.0}, {"diversity": 0.5}):
            found = faces.retriever(index).retrieve("red apples", **options)
            assert {one.metric for one in found} == {metric}, options
        by_distance = faces.retriever(index).retrieve("red apples")
        similarities = [one.similarity for one in by_distance]
        assert similarities == sorted(similarities, reverse=True)
        assert by_distance[0] == replace(by_distance[0], metric="cosine")  # it is no part of what is compared


# ---- pandas ----------------------------------------------------------------------------------------------------


def test_a_retrieval_is_a_row_for_each_neighbor_in_pandas():
    vector = np.ones(2)
    found = neighbor(1, 0.5, score=2.0)
    found = replace(found, passage=replace(found.passage, vector=vector))
    table = Retrieval([neighbor(0, 0.25), found], query="q").to_pandas()
    assert list(table.columns) == [
        *("query", "rank", "distance", "similarity", "score", "vector_rank", "text_rank", "id", "document_id"),
        *("text", "start", "end", "label", "metadata", "page", "headings", "vector"),
    ]
    assert table["query"].tolist() == ["q", "q"]
    assert table["rank"].tolist() == [1, 2]
    assert table["distance"].tolist() == [0.25, 0.5]
    assert table["similarity"].tolist() == [0.875, 0.75]
    assert table["id"].tolist() == ["d0#0", "d1#0"]
    assert table["metadata"].tolist() == [{"year": 2024}] * 2
    assert table["vector"][1] is vector
    assert list(Retrieval([]).to_pandas().columns) == list(table.columns)
    assert len(pd.concat([table, table])) == 4


def test_other_results_have_their_rows_too():
    voted = Vote("x", {"x": 1.0}, (neighbor(0), neighbor(1)), (0.75, 0.25)).to_pandas()
    assert voted["weight"].tolist() == [0.75, 0.25]
    assert voted["document_id"].tolist() == ["d0", "d1"]
    tuned = Tuning("faq", "accuracy", 2, (Setting(1, "uniform", 0.5), Setting(3, "distance", math.nan))).to_pandas()
    assert tuned.columns.tolist() == ["k", "weights", "score"]
    assert tuned["k"].tolist() == [1, 3]
    report = IngestReport(added=3, failed=(Failure("a.txt", "empty"), Failure("b", "too long", "b"))).to_pandas()
    assert report.fillna("").to_dict("records") == [
        {"source": "a.txt", "reason": "empty", "document_id": ""},
        {"source": "b", "reason": "too long", "document_id": "b"},
    ]


def test_without_pandas_the_error_names_the_install():
    script = (
        "import sys; sys.modules['pandas'] = None\n"
        "import ragknn\n"
        "try: ragknn.Retrieval([]).to_pandas()\n"
        "except ragknn.MissingDependency as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "to_pandas() needs the package pandas: expected it installed; pip install 'ragknn[pandas]'"
    )
    assert 'pandas = ["pandas' in (Path(__file__).parent.parent / "pyproject.toml").read_text()
