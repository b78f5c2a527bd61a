"""A vote takes the options of a search: it is the vote on the retrieval that those options make."""

import math

import numpy as np
import pytest

from ragknn import Document, HashingEmbedder, ReciprocalRank

WORDS = ["apple", "pear", "car", "train", "road", "station", "tree", "juice"]


def documents():
    rng = np.random.default_rng(3)
    for number in range(60):
        kind = number % 3
        chosen = rng.choice(WORDS, 6, p=np.roll([0.25, 0.25, 0.2, 0.1, 0.1, 0.05, 0.03, 0.02], kind))
        yield Document(str(number), " ".join([*chosen, f"n{number}"]), "abc"[kind], {"year": 2000 + number % 4})


@pytest.fixture
def index(faces, redis_url, index_name):
    embedder = HashingEmbedder(32)
    with faces.index(index_name, url=redis_url, embedder=embedder, fields={"year": "numeric"}) as index:
        assert faces.indexer(index).add(documents()).added == 60
        yield index


def shortest(query, passages):
    return [-len(passage.text) for passage in passages]


OPTIONS = [
    {},
    {"where": {"year": 2001}},
    {"mode": "text"},
    {"mode": "hybrid"},
    {"mode": "hybrid", "fusion": ReciprocalRank(), "candidates": 60},
    {"rerank": shortest, "candidates": 60},
    {"mode": "hybrid", "where": {"year": {"$gte": 2002}}, "rerank": shortest, "candidates": 60},
]


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "none")
def test_a_vote_with_options_is_the_vote_on_a_retrieval_with_them(faces, index, options, weights):
    retriever = faces.retriever(index)
    voter = faces.voter(retriever, 7, weights=weights)
    for text in ("apple juice", "train at the station", "n3 road"):
        # As many candidates as a vote looks at, for what is fused depends on them.
        candidates = max(options.get("candidates", 50), 15)
        retrieval = retriever.retrieve(text, k=15, **{**options, "candidates": candidates})
        if options.get("mode") == "text" and weights == "distance":
            near = retriever.retrieve(text, k=15, max_distance=2.0, **{**options, "candidates": candidates})
            assert not any(math.isnan(distance) for distance in near.distances)
            retrieval = near
        vote = voter.vote(text, **options)
        assert vote == voter.vote_on(retrieval)
        assert voter.predict([text], **options)[0] == vote.label
        [shares] = voter.predict_proba([text], **options)
        assert dict(zip("abc", shares, strict=True)) == pytest.approx({**dict.fromkeys("abc", 0.0), **vote.shares})
        assert voter.vote_many([text, "pear"], **options)[0] == vote


def test_a_filter_of_a_vote_holds_beside_that_of_the_voter(faces, index):
    voter = faces.voter(faces.retriever(index), 5, where={"year": {"$gte": 2002}})
    vote = voter.vote("apple", where={"year": {"$lte": 2002}})
    assert {neighbor.passage.metadata["year"] for neighbor in vote.neighbors} == {2002}
    with pytest.raises(ValueError, match=r"expected documents with labels in index .*, got none among 0 passages"):
        voter.vote("apple", where={"year": 2000})
    with pytest.raises(ValueError, match="expected k <= 15, the number of labelled documents"):
        faces.voter(faces.retriever(index), 16).vote("apple", where={"year": 2000})


def test_a_vote_takes_a_ready_vector(faces, index):
    retriever = faces.retriever(index)
    voter = faces.voter(retriever, 5)
    [vector] = HashingEmbedder(32).embed_queries(["train station"])
    assert voter.vote("anything", vector=vector).label == voter.vote("train station").label
    assert voter.predict(["x", "y"], vectors=[vector, vector]).tolist() == [voter.vote("train station").label] * 2
    with pytest.raises(ValueError, match="expected one vector for each of 2 queries, got 1"):
        voter.predict(["x", "y"], vectors=[vector])


@pytest.mark.parametrize("option", ["max_distance", "per_document", "diversity", "with_vectors", "k", "colour"])
def test_what_is_a_rule_of_the_voter_or_unknown_is_no_option_of_a_vote(faces, index, option):
    with pytest.raises(TypeError, match=f"expected options of a vote among where, mode, .*, got {option}"):
        faces.voter(faces.retriever(index), 5).vote("apple", **{option: 1})


def test_a_voter_tunes_its_own_rules(faces, index):
    voter = faces.voter(faces.retriever(index), 5, where={"year": {"$gte": 2001}}, count_duplicates=True)
    tuning = voter.tune([1, 3, 5], ["uniform"])
    assert (tuning.passages, [setting.k for setting in tuning.settings]) == (45, [1, 3, 5])
