import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragknn.retrieval.fusion import ReciprocalRank, WeightedScores

KEYS = st.sampled_from("abcdefgh")
# Quarters, so that equal scores are frequent and sums exact.
SCORES = st.integers(-40, 40).map(lambda quarters: quarters / 4)


def ranking():
    """Rankings with each key once, best first."""
    return st.dictionaries(KEYS, SCORES).map(lambda scores: sorted(scores.items(), key=lambda item: -item[1]))


def oracle_order(scores, rankings):
    """Return the keys as the docstrings order them, from exact scores."""

    def place(key):
        found = [
            (row, number) for number, one in enumerate(rankings) for row, (other, _) in enumerate(one) if other == key
        ]
        return min(found)

    return sorted(scores, key=lambda key: (-scores[key], place(key), key))


# ---- reciprocal ranks ------------------------------------------------------------------------------------------


@given(st.lists(ranking(), max_size=5), st.integers(0, 100))
def test_reciprocal_ranks_are_those_of_the_paper(rankings, constant):
    exact = {}
    for one in rankings:
        for rank, (key, _) in enumerate(one, start=1):
            exact[key] = exact.get(key, 0) + Fraction(1, constant + rank)
    fused = ReciprocalRank(constant=constant).fuse(rankings)
    # Rounded once, as a float must be: sums of different ranks can be equal as fractions.
    rounded = {}
    for key in exact:
        ranks = [rank for one in rankings for rank, (other, _) in enumerate(one, start=1) if other == key]
        rounded[key] = float(sum(Fraction(1 / (constant + rank)) for rank in ranks))
    assert [key for key, _ in fused] == oracle_order(rounded, rankings)
    assert dict(fused) == pytest.approx({key: float(score) for key, score in exact.items()}, abs=1e-12)


@given(st.lists(st.tuples(ranking(), st.integers(0, 4)), min_size=1, max_size=4).filter(lambda w: any(x for _, x in w)))
def test_each_ranking_counts_by_its_weight(weighted):
    rankings, weights = zip(*weighted, strict=True)
    exact = {}
    for one, weight in weighted:
        for rank, (key, _) in enumerate(one, start=1):
            exact[key] = exact.get(key, 0) + Fraction(weight, 60 + rank)
    fused = dict(ReciprocalRank(weights=weights).fuse(rankings))
    assert fused == pytest.approx({key: float(score) for key, score in exact.items()}, abs=1e-12)


def test_an_example_with_numbers():
    fused = ReciprocalRank().fuse([[("a", 0.9), ("b", 0.8)], [("b", 7.0), ("c", 3.0)]])
    assert fused == [("b", 1 / 62 + 1 / 61), ("a", 1 / 61), ("c", 1 / 62)]


def test_equal_scores_are_ordered_by_best_rank_then_ranking_then_key():
    # c has 1/2 from one first place; a and b have it together from two places that are not first.
    fused = ReciprocalRank(constant=0).fuse(
        [[("x", 1), ("y", 1), ("z", 1), ("b", 1)], [("y", 1), ("c", 1), ("w", 1), ("b", 1)]]
    )
    assert [key for key, _ in fused] == ["y", "x", "c", "b", "z", "w"]
    fused = ReciprocalRank().fuse([[("b", 1), ("a", 1)], [("a", 1), ("b", 1)]])
    assert [key for key, _ in fused] == ["b", "a"]
    fused = ReciprocalRank(weights=[0, 1]).fuse([[("b", 1)], [("c", 1)]])
    assert fused == [("c", 1 / 61), ("b", 0.0)]


@pytest.mark.parametrize("constant", [2, 9, 13, 27])
def test_equal_ranks_in_another_order_of_rankings_are_equal(constant):
    # Added one after the other as floats they would differ in the last digit.
    fused = ReciprocalRank(constant).fuse([[(key, 1.0) for key in order] for order in ("bac", "cba", "acb")])
    assert len({score for _, score in fused}) == 1
    assert [key for key, _ in fused] == ["b", "c", "a"]


def test_the_best_rank_may_be_that_of_a_later_ranking():
    # z has 1/6 + 1/3 and a has 1/4 + 1/4.
    fused = ReciprocalRank(constant=0).fuse([[(key, 1.0) for key in order] for order in ("bcdaez", "fgza")])
    assert dict(fused)["z"] == dict(fused)["a"] == 0.5
    keys = [key for key, _ in fused]
    assert keys.index("z") < keys.index("a")


def test_one_ranking_stays_as_it_is():
    ranked = [("b", 3.0), ("a", 2.0), ("c", 2.0)]
    assert [key for key, _ in ReciprocalRank().fuse([ranked])] == ["b", "a", "c"]
    assert ReciprocalRank().fuse([]) == ReciprocalRank().fuse([[], []]) == []


@pytest.mark.parametrize("constant", [-1, math.nan, math.inf])
def test_a_constant_that_cannot_be_is_refused(constant):
    with pytest.raises(ValueError, match="expected constant >= 0, got"):
        ReciprocalRank(constant=constant)


@pytest.mark.parametrize("weights", [[-1, 2], [0, 0], [], [math.nan, 1], [math.inf, 1]])
def test_weights_that_cannot_be_are_refused(weights):
    with pytest.raises(ValueError, match="expected weights >= 0 that are not all 0, got"):
        ReciprocalRank(weights=weights)


def test_there_must_be_a_ranking_for_each_weight():
    with pytest.raises(ValueError, match="expected 2 rankings, one for each weight, got 1"):
        ReciprocalRank(weights=[1, 2]).fuse([[("a", 1)]])


def test_settings_are_values():
    assert ReciprocalRank(weights=[1, 2]) == ReciprocalRank(weights=(1, 2))
    assert hash(ReciprocalRank(weights=[1, 2])) == hash(ReciprocalRank(weights=(1, 2)))
    assert repr(WeightedScores(0.7)) == "WeightedScores(vector=0.7)"


# ---- weighted scores -------------------------------------------------------------------------------------------


@given(ranking(), ranking(), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
def test_weighted_scores_are_scaled_and_added(vector, text, share):
    exact = {}
    for one, weight in ((vector, Fraction(share)), (text, 1 - Fraction(share))):
        scores = [Fraction(score) for _, score in one]
        for key, score in one:
            span = max(scores) - min(scores)
            scaled = (Fraction(score) - min(scores)) / span if span else Fraction(1)
            exact[key] = exact.get(key, 0) + weight * scaled
    fused = WeightedScores(share).fuse([vector, text])
    assert dict(fused) == pytest.approx({key: float(score) for key, score in exact.items()}, abs=1e-12)
    assert all(0 <= score <= 1 for _, score in fused)
    rounded = {key: round(float(score), 9) for key, score in exact.items()}
    assert [rounded[key] for key, _ in fused] == sorted(rounded.values(), reverse=True)


def test_an_example_of_scores_with_numbers():
    vector = [("a", -0.1), ("b", -0.2), ("c", -0.5)]
    text = [("c", 8.0), ("b", 6.0), ("d", 4.0)]
    fused = dict(WeightedScores(0.6).fuse([vector, text]))
    assert fused == pytest.approx({"a": 0.6, "b": 0.6 * 0.75 + 0.4 * 0.5, "c": 0.4, "d": 0.0})


def test_equal_weighted_scores_are_ordered_by_best_rank_then_the_vector_search_then_key():
    fused = WeightedScores(0.5).fuse([[("b", 1.0), ("z", 0.0)], [("a", 3.0), ("y", 1.0)]])
    assert fused == [("b", 0.5), ("a", 0.5), ("z", 0.0), ("y", 0.0)]


def test_a_ranking_of_equal_scores_counts_in_full():
    assert WeightedScores(0.25).fuse([[("a", -1.0)], []]) == [("a", 0.25)]
    assert WeightedScores(0.25).fuse([[], [("b", 2.0), ("a", 2.0)]]) == [("b", 0.75), ("a", 0.75)]
    assert WeightedScores().fuse([[], []]) == []


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_that_cannot_be_is_refused(share):
    with pytest.raises(ValueError, match="expected vector, the share of the vector search, between 0 and 1, got"):
        WeightedScores(share)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_scores_are_weighted_of_two_rankings_only(count):
    with pytest.raises(ValueError, match=f"expected two rankings.*got {count}: fuse other rankings with Reciprocal"):
        WeightedScores().fuse([[("a", 1.0)]] * count)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_refused(score):
    with pytest.raises(ValueError, match=r"expected finite scores, got .* of 'a'"):
        WeightedScores().fuse([[("b", 1.0)], [("a", score)]])


@pytest.mark.parametrize("fusion", [ReciprocalRank(), WeightedScores()])
def test_a_key_that_stands_twice_in_a_ranking_is_refused(fusion):
    with pytest.raises(ValueError, match="expected each key once in a ranking, got one of them twice in ranking 1"):
        fusion.fuse([[("a", 1.0)], [("a", 2.0), ("b", 1.5), ("a", 1.0)]])
