import math

import numpy as np
import pytest
from embedders import Plane
from points import FIVE, HERE, ids, searches

from ragknn import Neighbor, Passage, Retrieval, Splitter, Vote

# ---- who votes -------------------------------------------------------------------------------------------------


WORDS = Splitter(3, 0, "words")


def test_a_document_has_one_vote_for_its_nearest_passage(fill, voter):
    passages = ["1 0 a", "1.5 0 b", "2 0 c", "2.5 0 d"]
    fill({"long": (" ".join(passages), "many"), "b": ("3 0 e", "few"), "c": ("4 0 f", "few")}, WORDS)
    vote = voter(k=3).vote(HERE)
    assert (vote.label, ids(vote), [n.passage.id for n in vote.neighbors]) == (
        *("few", ["long", "b", "c"]),
        ["long#0", "b#0", "c#0"],
    )
    assert vote.shares == {"few": 2 / 3, "many": 1 / 3}


def test_a_document_has_as_many_votes_as_passages_if_it_is_told_so(fill, voter):
    passages = ["1 0 a", "1.5 0 b", "2 0 c", "2.5 0 d"]
    fill({"long": (" ".join(passages), "many"), "b": ("3 0 e", "few"), "c": ("4 0 f", "few")}, WORDS)
    vote = voter(k=3, one_vote_per_document=False).vote(HERE)
    assert (vote.label, [n.passage.id for n in vote.neighbors]) == ("many", ["long#0", "long#1", "long#2"])


def test_k_votes_need_k_labelled_passages_if_each_of_them_votes(fill, voter):
    fill({"long": ("1 0 a 1.5 0 b 2 0 c 2.5 0 d", "many"), "b": ("3 0 e", "few")}, WORDS)
    vote = voter(k=5, one_vote_per_document=False).vote(HERE)
    assert (vote.label, len(vote.neighbors)) == ("many", 5)
    with pytest.raises(ValueError, match="expected k <= 5, the number of labelled passages in index"):
        voter(k=6, one_vote_per_document=False).vote(HERE)


def test_exact_duplicates_vote_once_unless_they_are_counted(fill, voter):
    fill({"a": ("1 0 same", "x"), "b": ("1 0 same", "x"), "c": ("1 0 same", "x"), "d": ("2 0", "y"), "e": ("3 0", "y")})
    vote = voter(k=3).vote(HERE)
    assert (vote.label, vote.shares, ids(vote)[1:]) == ("y", {"y": 2 / 3, "x": 1 / 3}, ["d", "e"])
    counted = voter(k=3, count_duplicates=True).vote(HERE)
    assert (counted.label, sorted(ids(counted))) == ("x", ["a", "b", "c"])


def test_duplicates_with_different_labels_vote_for_each(fill, voter):
    fill({"a": ("1 0 same", "x"), "b": ("1 0 same", "y"), "c": ("1 0 same", "x"), "d": ("2 0", "z")})
    assert voter(k=3).vote(HERE).shares == {"x": 1 / 3, "y": 1 / 3, "z": 1 / 3}


def test_texts_that_differ_are_no_duplicates_though_they_lie_at_one_point(fill, voter):
    fill({"a": ("1 0 one", "x"), "b": ("1 0 two", "x"), "c": ("2 0", "y")})
    assert voter(k=3).vote(HERE).shares == {"x": 2 / 3, "y": 1 / 3}


def test_ready_vectors_are_duplicates_where_they_are_equal(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, dim=2, metric="l2") as index:
        points = [[1, 0], [1, 0], [2, 0], [3, 0]]
        assert faces.indexer(index).add_vectors(["a", "b", "c", "d"], points, labels=["x", "x", "y", "y"]).added == 4
    with faces.index(index_name, url=redis_url, embedder=Plane()) as index:
        retriever = faces.retriever(index)
        assert faces.voter(retriever, 3).vote(HERE).shares == {"y": 2 / 3, "x": 1 / 3}
        assert faces.voter(retriever, 3, count_duplicates=True).vote(HERE).shares == {"x": 2 / 3, "y": 1 / 3}
        # No text and no digest: nothing tells that these two are equal, and both vote.
        found = [Neighbor(Passage(f"{name}#0", name, "", 0, 0, "x"), 1.0) for name in "ab"]
        assert ids(faces.voter(retriever, 3).vote_on(Retrieval(found))) == ["a", "b"]


def test_excluded_documents_do_not_vote_and_others_take_their_place(fill, voter):
    fill({f"d{n}": (f"{n} 1", "near" if n < 10 else "far") for n in range(30)})
    asked = voter(k=5)
    assert ids(asked.vote(HERE)) == ["d0", "d1", "d2", "d3", "d4"]
    assert ids(asked.vote(HERE, exclude=["d0"])) == ["d1", "d2", "d3", "d4", "d5"]
    assert ids(asked.vote(HERE, exclude={"d1", "d3", "nobody"})) == ["d0", "d2", "d4", "d5", "d6"]
    most = [f"d{n}" for n in range(20)]
    assert ids(asked.vote(HERE, exclude=most)) == ["d20", "d21", "d22", "d23", "d24"]
    assert asked.predict([HERE], exclude=most).tolist() == ["far"]
    assert asked.predict_proba([HERE], exclude=most).tolist() == [[1.0, 0.0]]
    assert [ids(vote) for vote in asked.vote_many([HERE], exclude=("d0",))] == [["d1", "d2", "d3", "d4", "d5"]]


def test_all_passages_of_an_excluded_document_are_left_out(fill, voter):
    fill(
        {"long": (" ".join(f"{n} 0 p{n}" for n in range(1, 40)), "x"), "b": ("90 0 e", "y"), "c": ("91 0 f", "y")},
        WORDS,
    )
    for one_vote in (True, False):
        assert ids(voter(k=2, one_vote_per_document=one_vote).vote(HERE, exclude=["long"])) == ["b", "c"]


def test_passages_without_a_label_never_vote_even_if_they_are_the_nearest(fill, voter):
    fill(
        {f"u{n}": (f"0.{n + 10} 0", None) for n in range(50)}
        | {"a": ("5 0", "x"), "b": ("6 0", "y"), "c": ("7 0", "y")}
    )
    vote = voter(k=3).vote(HERE)
    assert (vote.label, ids(vote)) == ("y", ["a", "b", "c"])


def test_passages_without_a_label_that_come_after_the_first_vote_do_not_vote_either(fill, voter):
    fill({"a": ("5 0", "x"), "b": ("6 0", "y"), "c": ("7 0", "y")})
    asked = voter(k=3)
    before = asked.vote(HERE)
    fill({f"u{n}": (f"0.{n + 10} 0", None) for n in range(50)})
    assert asked.vote(HERE) == before
    assert asked.predict([HERE]).tolist() == ["y"]


def test_k_documents_vote_though_the_nearest_passages_belong_to_few(fill, voter):
    near = {f"n{d}": (" ".join(f"{d + 1} 0.{p + 10} p{d}-{p}" for p in range(60)), "near") for d in range(3)}
    far = {f"f{d}": (f"{50 + d} 0 q{d}", "far") for d in range(10)}
    fill(near | far, WORDS)
    vote = voter(k=8).vote(HERE)
    assert ids(vote) == ["n0", "n1", "n2", "f0", "f1", "f2", "f3", "f4"]
    assert (vote.label, vote.complete) == ("far", True)


def test_k_different_texts_vote_though_the_nearest_are_duplicates(fill, voter):
    fill({f"s{n}": ("1 0 same", "x") for n in range(100)} | {f"d{n}": (f"{2 + n} 0", "y") for n in range(5)})
    vote = voter(k=4).vote(HERE)
    assert (vote.label, ids(vote)[1:]) == ("y", ["d0", "d1", "d2"])


def test_fewer_than_k_vote_where_the_index_has_no_more_that_may(fill, voter):
    fill({f"s{n}": ("1 0 same", "x") for n in range(9)} | {"d": ("2 0", "y")})
    vote = voter(k=5).vote(HERE)
    assert (vote.label, len(vote.neighbors), vote.shares) == ("x", 2, {"x": 0.5, "y": 0.5})


def test_only_queries_with_too_few_voters_are_asked_again(fill, voter, commands):
    fill({f"s{n}": ("1 0 same", "x") for n in range(40)} | {f"d{n}": (f"{50 + n} 0", "y") for n in range(30)})
    asked = voter(k=4)
    asked.refresh()
    with commands as sent:
        votes = asked.vote_many(["100 0", "0 0", "101 0", "102 0"])
    assert [len(vote.neighbors) for vote in votes] == [4] * 4
    breadths = [int(words[words.index("k") + 1]) for words in searches(sent)]
    assert breadths[:4] == [breadths[0]] * 4
    assert len(breadths) > 4
    assert breadths[3:] == sorted(set(breadths[3:]))  # one more search at a time, for the text in the middle of them


# ---- abstaining ------------------------------------------------------------------------------------------------


def test_a_vote_abstains_where_too_few_are_near_enough(fill, voter):
    fill(FIVE)
    asked = voter(k=3, max_distance=2.5, min_votes=3)
    vote = asked.vote(HERE)
    assert (vote.label, vote.abstained, vote.reason) == (
        *(None, True),
        "expected at least 3 votes within distance 2.5, got 2",
    )
    assert (ids(vote), vote.shares, vote.weights) == (["one", "two"], {"x": 0.5, "y": 0.5}, (0.5, 0.5))
    assert asked.predict([HERE]).tolist() == [None]
    assert asked.predict_proba([HERE]).tolist() == [[0.5, 0.5, 0.0]]


def test_max_distance_is_the_last_at_which_a_neighbor_votes(fill, voter):
    fill(FIVE)
    assert ids(voter(k=5, max_distance=2.0).vote(HERE)) == ["one", "two"]
    assert ids(voter(k=5, max_distance=1.999).vote(HERE)) == ["one"]
    nobody = voter(k=5, max_distance=0.5).vote(HERE)
    assert nobody == Vote(None, {}, (), (), True, "expected at least 1 votes within distance 0.5, got 0")
    assert voter(k=5, max_distance=0.5).predict_proba([HERE]).tolist() == [[0, 0, 0]]


def test_a_search_goes_no_further_than_max_distance(fill, voter, commands):
    # What lies behind is one text many times: without the limit, all of it would be looked through for a fourth voter.
    fill({f"s{n}": ("1 0 same", "x") for n in range(40)} | {f"d{n}": ("5 0 same", "y") for n in range(200)})
    asked = voter(k=4, max_distance=3.0)
    asked.refresh()
    with commands as sent:
        assert len(asked.vote(HERE).neighbors) == 1
    breadths = [int(words[words.index("k") + 1]) for words in searches(sent)]
    assert [breadth for breadth in breadths if breadth > 40] == breadths[-1:]
    assert breadths[-1] < 240


def test_a_vote_abstains_where_too_few_may_vote(fill, voter):
    fill(FIVE)
    vote = voter(k=5, min_votes=3).vote(HERE, exclude=["one", "two", "ten"])
    assert (vote.label, vote.abstained, vote.reason) == (None, True, "expected at least 3 votes, got 2")
    assert voter(k=5, min_votes=3).vote(HERE, exclude=["one", "two"]).abstained is False


def test_a_vote_abstains_where_the_winning_share_is_small(fill, voter):
    fill(FIVE)
    asked = voter(k=3, min_share=0.7)
    vote = asked.vote(HERE)
    assert (vote.label, vote.abstained, vote.reason) == (None, True, "expected a share of at least 0.7, got 0.67")
    assert vote.shares == {"y": 2 / 3, "x": 1 / 3}
    assert asked.predict([HERE, "0 3"]).tolist() == [None, None]
    assert asked.predict_proba([HERE]).tolist() == [[1 / 3, 2 / 3, 0]]  # abstaining hides the label, not the shares
    assert voter(k=3, min_share=2 / 3).vote(HERE).label == "y"  # as much as is asked for is enough


def test_a_vote_abstains_where_all_weights_are_zero(fill, voter):
    fill(FIVE)
    asked = voter(k=3, weights=np.zeros_like)
    vote = asked.vote(HERE)
    assert (vote.label, vote.shares, vote.weights) == (None, {}, (0, 0, 0))
    assert (vote.abstained, vote.reason) == (True, "expected votes that weigh something, got only weights of 0")
    assert asked.predict([HERE]).tolist() == [None]


def test_numbers_abstain_as_nan(fill, voter):
    fill({"a": ("1 0", 1.0), "b": ("0 2", 2.0), "c": ("90 90", 6.0)})
    asked = voter(k=2, max_distance=5, min_votes=2)
    found = asked.predict([HERE, "80 80", "1 1"])
    assert (found[0], math.isnan(found[1]), found[2]) == (1.5, True, 1.5)
    assert asked.vote("80 80") == Vote(None, {}, (), (), True, "expected at least 2 votes within distance 5, got 0")
    weightless = voter(k=2, weights=np.zeros_like).vote(HERE)
    assert (weightless.label, weightless.abstained) == (None, True)
    assert voter(k=2, min_share=1.0).vote(HERE).label == 1.5  # numbers have no shares


# ---- priors ----------------------------------------------------------------------------------------------------


def test_balanced_priors_divide_each_share_by_how_frequent_its_class_is(fill, voter):
    # Eight documents of x, two of y; among the five nearest stand three of x and both of y.
    near = {"x0": ("1 0", "x"), "x1": ("2 0", "x"), "x2": ("3 0", "x"), "y0": ("4 0", "y"), "y1": ("5 0", "y")}
    fill(near | {f"z{n}": (f"{10 + n} 0", "x") for n in range(5)})
    assert voter(k=5).vote(HERE).shares == {"x": 0.6, "y": 0.4}
    asked = voter(k=5, priors="balanced")
    vote = asked.vote(HERE)
    total = 0.6 / 8 + 0.4 / 2
    assert vote.label == "y"
    assert dict(vote.shares) == pytest.approx({"y": 0.4 / 2 / total, "x": 0.6 / 8 / total}, abs=1e-12)
    assert list(vote.shares) == ["y", "x"]
    assert vote.weights == (0.2,) * 5
    assert asked.predict_proba([HERE])[0].tolist() == [vote.shares["x"], vote.shares["y"]]
    assert (
        voter(k=5, priors="balanced", min_share=0.8).vote(HERE).reason == "expected a share of at least 0.8, got 0.73"
    )


def test_balanced_priors_count_documents_and_not_passages(fill, voter):
    fill({"long": ("1 0 a 2 0 b 3 0 c 4 0 d", "x"), "b": ("5 0 e", "y")}, WORDS)
    assert voter(k=2, priors="balanced").vote(HERE).shares == {"x": 0.5, "y": 0.5}
