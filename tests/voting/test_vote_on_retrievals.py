import asyncio
import math

import pytest
import redis
from embedders import Plane
from points import FIVE, HERE, ids, neighbor, searches

from ragknn import (
    AsyncIndex,
    AsyncIndexer,
    AsyncLabelVoter,
    AsyncRetriever,
    Document,
    Index,
    Indexer,
    LabelVoter,
    Retrieval,
    Retriever,
    Vote,
)
from ragknn._protocol.keys import HEADINGS, PAGE

# ---- one retrieval serves both uses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rules",
    [{}, {"weights": "distance"}, {"one_vote_per_document": False}, {"min_share": 0.9}, {"max_distance": 2.0}],
    ids=str,
)
def test_voting_on_a_retrieval_is_the_vote_of_its_query(faces, plane, fill, voter, rules):
    fill(FIVE | {"none": ("0.5 0", None), "long": ("1 1 a 1 2 b 1 3 c", "z")})
    retrieval = faces.retriever(plane).retrieve(HERE, k=20)
    asked = voter(k=4, **rules)
    assert asked.vote_on(retrieval) == asked.vote(HERE)
    assert voter(k=4, **rules).vote_on(retrieval) == asked.vote(HERE)  # one that never asked Redis
    assert asked.vote_on(retrieval, exclude=["one"]) == asked.vote(HERE, exclude=["one"])


def test_voting_on_a_retrieval_asks_redis_nothing(faces, plane, fill, voter, commands):
    fill(FIVE)
    retrieval = faces.retriever(plane).retrieve(HERE, k=3)
    asked = voter(k=3)
    with commands as sent:
        vote = asked.vote_on(retrieval)
    assert sent == []
    assert (vote.label, ids(vote)) == ("y", ["one", "two", "four"])


def test_a_closed_index_is_no_hindrance_to_voting_on_what_it_found(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=Plane(), metric="l2") as index:
        faces.indexer(index).add([Document(name, *rest) for name, rest in FIVE.items()])
        retriever = faces.retriever(index)
        retrieval = retriever.retrieve(HERE, k=5)
    assert faces.voter(retriever, 3).vote_on(retrieval).label == "y"


def test_voting_on_a_retrieval_works_on_numbers(faces, plane, fill, voter):
    fill({"a": ("1 0", 1.0), "b": ("0 2", 2.0), "c": ("0 4", 6.0)})
    assert voter(k=3).vote_on(faces.retriever(plane).retrieve(HERE)).label == 3.0


@pytest.mark.parametrize("found", [[], [neighbor("u", "0 0", None, 0.0)]], ids=["nothing", "nothing labelled"])
def test_voting_on_a_retrieval_without_labels_abstains(faces, plane, fill, voter, found):
    expected = Vote(None, {}, (), (), True, "expected at least 1 votes, got 0")
    assert voter(k=3).vote_on(Retrieval(found)) == expected
    fill(FIVE)
    asked = voter(k=3)
    asked.refresh()
    assert asked.vote_on(Retrieval(found)) == expected


def test_what_a_retrieval_lacks_is_told_by_the_vote_on_it(voter):
    retrieval = Retrieval([neighbor("a", "1 0", "x", 1.0)], complete=False, warnings=["late"])
    expected = Vote("x", {"x": 1.0}, retrieval.neighbors, (1.0,), complete=False, warnings=("late",))
    assert voter(k=3).vote_on(retrieval) == expected


def test_duplicates_in_a_retrieval_made_elsewhere_are_known_by_their_text(voter):
    # They carry no digest, as passages that were stored do.
    found = [neighbor("a", "same", "x", 1.0), neighbor("b", "same", "x", 1.0), neighbor("c", "other", "y", 2.0)]
    assert ids(voter(k=3).vote_on(Retrieval(found))) == ["a", "c"]
    assert ids(voter(k=3, count_duplicates=True).vote_on(Retrieval(found))) == ["a", "b", "c"]


def test_priors_need_the_labels_to_be_counted(faces, plane, fill, voter):
    fill(FIVE)
    retrieval = faces.retriever(plane).retrieve(HERE)
    asked = voter(k=3, priors="balanced")
    with pytest.raises(ValueError, match=r"expected the labels to be counted before priors are balanced: call refresh"):
        asked.vote_on(retrieval)
    asked.refresh()
    assert asked.vote_on(retrieval) == asked.vote(HERE)


def test_voting_on_mixed_labels_is_refused(voter):
    found = Retrieval([neighbor("a", "1 0", "x", 1.0), neighbor("b", "2 0", 2, 2.0)])
    with pytest.raises(ValueError, match="expected labels that are all strings or all numbers, got 'x' and 2"):
        voter(k=2).vote_on(found)


# ---- what travels ----------------------------------------------------------------------------------------------


def returned(words):
    start = words.index("RETURN")
    return words[start + 2 : start + 2 + int(words[start + 1])]


def test_only_labels_digests_and_distances_travel_when_nobody_asks_for_text(fill, voter, commands):
    fill(FIVE)
    asked = voter(k=3)
    with commands as sent:
        asked.predict([HERE])
        asked.predict_proba([HERE])
    assert [returned(words) for words in searches(sent)] == [["label", "digest", "distance"]] * 2


def test_a_vote_brings_the_whole_passages(fill, voter, commands):
    fill(FIVE)
    with commands as sent:
        voter(k=3).vote(HERE)
    [words] = searches(sent)
    assert returned(words) == ["id", "text", "start", "end", "label", "metadata", "digest", PAGE, HEADINGS, "distance"]


def test_many_texts_are_one_round_trip_of_searches_after_the_labels_are_counted(fill, voter, commands):
    fill(FIVE)
    asked = voter(k=2)
    asked.retriever.bulk = "never"
    asked.refresh()
    with commands as sent:
        asked.predict([HERE] * 50)
    assert {words[0] for words in sent} <= {"FT.SEARCH", "FT.INFO"}  # the latter looks whether the index is whole
    assert len(searches(sent)) == 50


def test_more_texts_than_go_into_one_round_trip_all_get_a_label(fill, voter):
    fill(FIVE)
    assert voter(k=1).predict([HERE, "0 2", "-6 8"] * 700).tolist() == ["x", "y", "z"] * 700


def test_metadata_come_with_the_neighbors_of_a_vote(faces, plane, voter):
    faces.indexer(plane).add([Document("a", "1 0", "x", {"source": "<file>", "n": [1, 2]})])
    assert voter(k=1).vote(HERE).neighbors[0].passage.metadata == {"source": "<file>", "n": [1, 2]}


@pytest.mark.parametrize("protocol", [2, 3])
def test_votes_are_the_same_over_both_protocols_and_with_decoded_replies(redis_url, index_name, protocol):
    for decode in (False, True):
        with (
            redis.Redis.from_url(redis_url, protocol=protocol, decode_responses=decode) as client,
            Index(index_name, client=client, embedder=Plane(), metric="l2") as index,
        ):
            Indexer(index).add([Document(name, *rest) for name, rest in FIVE.items()])
            voter = LabelVoter(Retriever(index), 3)
            assert (voter.vote(HERE).label, ids(voter.vote(HERE))) == ("y", ["one", "two", "four"])
            assert voter.predict([HERE]).tolist() == ["y"]


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("algorithm", ["flat", "hnsw"])
def test_every_metric_and_algorithm_votes(faces, redis_url, index_name, metric, algorithm):
    with faces.index(index_name, url=redis_url, embedder=Plane(), metric=metric, algorithm=algorithm) as index:
        documents = [Document(f"d{n}", f"{math.cos(n / 9)} {math.sin(n / 9)}", "ab"[n > 2]) for n in range(9)]
        faces.indexer(index).add([*documents, Document("none", "1 0", None)])
        retriever = faces.retriever(index)
        vote = faces.voter(retriever, 5).vote("1 0")
        assert (vote.label, ids(vote)) == ("a", ["d0", "d1", "d2", "d3", "d4"])
        assert vote.shares == {"a": 0.6, "b": 0.4}
        if metric == "ip":
            with pytest.raises(ValueError, match="expected distances >= 0 for weights='distance', got negative ones"):
                faces.voter(retriever, 5, weights="distance").vote("9 0")
        else:
            assert faces.voter(retriever, 5, weights="distance").vote("1 0").label == "a"


def test_async_voters_wait_side_by_side(redis_url, index_name):
    # Many tasks share one voter that has not counted the labels yet.
    async def votes():
        async with AsyncIndex(index_name, url=redis_url, embedder=Plane(), metric="l2") as index:
            await AsyncIndexer(index).add([Document(name, *rest) for name, rest in FIVE.items()])
            voter = AsyncLabelVoter(AsyncRetriever(index), 1)
            return await asyncio.gather(*(voter.vote(text) for text in [HERE, "0 2", "-6 8"] * 5))

    assert [vote.label for vote in asyncio.run(votes())] == ["x", "y", "z"] * 5
