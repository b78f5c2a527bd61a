import math
from dataclasses import astuple

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap, permutation_test

from ragknn.evaluation import _metrics
from ragknn.evaluation._metrics import average_precision, hit, metrics_at, ndcg, precision, recall, reciprocal_rank
from ragknn.evaluation._significance import (
    Comparison,
    Estimate,
    bootstrap_mean,
    bootstrap_means,
    compare,
    permutation_p_value,
)

# ---- against trec_eval -----------------------------------------------------------------------------------------

TREC_NAMES = {
    f"{name}.{','.join(map(str, (1, 3, 5, 10, 100)))}" for name in ("ndcg_cut", "recall", "P", "map_cut", "success")
} | {"ndcg", "recip_rank", "map"}


def trec_eval(ranked, grades, k=None):
    """What trec_eval itself makes of it. It sorts by score, so that the order is given as falling scores."""
    run = {document: float(len(ranked) - rank) for rank, document in enumerate(ranked[:k])}
    return pytrec_eval.RelevanceEvaluator({"q": dict(grades)}, TREC_NAMES).evaluate({"q": run})["q"]


documents = st.integers(0, 29).map("d{}".format)
rankings = st.lists(documents, max_size=25, unique=True)
filled = st.lists(documents, min_size=1, max_size=25, unique=True)


def judgements(lowest):
    return st.dictionaries(documents, st.integers(lowest, 3), min_size=1, max_size=20)


@st.composite
def judgements_with_an_answer(draw, lowest):
    """Draw judgements of which at least one is above 0."""
    return {
        **draw(st.dictionaries(documents, st.integers(lowest, 3), max_size=19)),
        draw(documents): draw(st.integers(1, 3)),
    }


@given(filled, judgements(0), st.sampled_from([1, 3, 5, 10, 100]))
def test_figures_are_those_of_trec_eval(ranked, grades, k):
    expected = trec_eval(ranked, grades)
    assert ndcg(ranked, grades, k) == pytest.approx(expected[f"ndcg_cut_{k}"], abs=1e-9)
    assert ndcg(ranked, grades, None) == pytest.approx(expected["ndcg"], abs=1e-9)
    assert recall(ranked, grades, k) == pytest.approx(expected[f"recall_{k}"], abs=1e-9)
    assert precision(ranked, grades, k) == pytest.approx(expected[f"P_{k}"], abs=1e-9)
    assert average_precision(ranked, grades, k) == pytest.approx(expected[f"map_cut_{k}"], abs=1e-9)
    assert average_precision(ranked, grades) == pytest.approx(expected["map"], abs=1e-9)
    assert hit(ranked, grades, k) == expected[f"success_{k}"]
    assert reciprocal_rank(ranked, grades) == pytest.approx(expected["recip_rank"], abs=1e-9)
    # trec_eval cuts no reciprocal ranks; ir_measures and BEIR cut the ranking first.
    assert reciprocal_rank(ranked, grades, k) == pytest.approx(trec_eval(ranked, grades, k)["recip_rank"], abs=1e-9)


@given(filled, judgements_with_an_answer(-2))
def test_grades_below_0_are_not_relevant_as_in_trec_eval(ranked, grades):
    expected = trec_eval(ranked, {document: max(grade, 0) for document, grade in grades.items()})
    assert ndcg(ranked, grades, 10) == pytest.approx(expected["ndcg_cut_10"], abs=1e-9)
    assert recall(ranked, grades, 10) == pytest.approx(expected["recall_10"], abs=1e-9)
    assert average_precision(ranked, grades) == pytest.approx(expected["map"], abs=1e-9)


@given(rankings, judgements(-2), st.integers(1, 30))
def test_every_figure_lies_between_0_and_1(ranked, grades, k):
    for name, metric in metrics_at(k).items():
        assert 0 <= metric(ranked, grades) <= 1, name


@given(judgements_with_an_answer(0), st.integers(1, 30))
def test_the_best_order_has_an_ndcg_of_exactly_1(grades, k):
    assert ndcg(sorted(grades, key=lambda document: -grades[document]), grades, k) == 1.0


# ---- by hand ---------------------------------------------------------------------------------------------------


def test_a_worked_example():
    grades = {"a": 2, "b": 1, "c": 1, "z": 0}
    ranked = ["x", "a", "z", "b"]
    assert ndcg(ranked, grades, 3) == (2 / math.log2(3)) / (2 + 1 / math.log2(3) + 1 / 2)
    assert recall(ranked, grades, 3) == 1 / 3
    assert precision(ranked, grades, 3) == 1 / 3
    assert precision(ranked, grades, 10) == 2 / 10  # though there are only four
    assert reciprocal_rank(ranked, grades) == 1 / 2
    assert reciprocal_rank(ranked, grades, 1) == 0.0
    assert average_precision(ranked, grades) == (1 / 2 + 2 / 4) / 3
    assert (hit(ranked, grades, 1), hit(ranked, grades, 2)) == (0.0, 1.0)


@pytest.mark.parametrize("name", list(metrics_at(3)))
def test_nothing_found_and_nothing_relevant_are_0(name):
    metric = metrics_at(3)[name]
    assert metric([], {"a": 1}) == 0.0
    assert metric(["a"], {"a": 0}) == 0.0
    assert metric(["a"], {}) == 0.0


def test_map_looks_at_the_whole_ranking_and_the_others_at_k():
    values = {name: metric(["x", "y", "a"], {"a": 1}) for name, metric in metrics_at(2).items()}
    assert values.pop("MAP") == 1 / 3
    assert set(values.values()) == {0.0}


@pytest.mark.parametrize("function", [ndcg, recall, precision, reciprocal_rank, average_precision, hit])
def test_a_document_ranked_twice_and_a_k_of_0_are_refused(function):
    with pytest.raises(ValueError, match="expected each document once in a ranking, got 'b' again"):
        function(["a", "b", "c", "b"], {"a": 1}, 2)
    with pytest.raises(ValueError, match="expected k >= 1, got 0"):
        function(["a"], {"a": 1}, 0)


def test_every_function_names_where_it_is_from():
    for word in ("Järvelin", "Manning", "trec_eval"):
        assert word in _metrics.__doc__


# ---- intervals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [5, 40, 300])
def test_intervals_are_those_of_scipy(count):
    values = np.random.default_rng(count).beta(0.5, 0.5, count)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(7))
    mine = bootstrap_mean(values, resamples=20_000)
    assert mine.mean == values.mean()
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert mine.low == pytest.approx(theirs.confidence_interval.low, abs=0.05 * width)
    assert mine.high == pytest.approx(theirs.confidence_interval.high, abs=0.05 * width)


def test_intervals_hold_the_true_mean_as_often_as_they_say():
    generator = np.random.default_rng(3)
    estimates = [bootstrap_mean(generator.random(60), confidence=0.9, resamples=500) for _ in range(300)]
    assert np.mean([one.low <= 0.5 <= one.high for one in estimates]) == pytest.approx(0.9, abs=0.05)


def test_a_seed_gives_the_same_interval_and_another_one_another():
    values = np.random.default_rng(0).random(50)
    assert bootstrap_mean(values) == bootstrap_mean(values) != bootstrap_mean(values, seed=1)


def test_several_measures_are_resampled_together_and_in_parts(monkeypatch):
    columns = np.random.default_rng(0).random((3, 20))
    whole = bootstrap_means(columns)
    for estimate, column in zip(whole, columns, strict=True):
        assert astuple(estimate) == pytest.approx(astuple(bootstrap_mean(column)))
    monkeypatch.setattr("ragknn.evaluation._significance.VALUES_PER_DRAW", 70)
    assert bootstrap_means(columns)[1].high == pytest.approx(whole[1].high, abs=0.01)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_an_interval_lies_among_the_values_and_around_the_mean_of_equal_ones(values):
    estimate = bootstrap_mean(values, resamples=200)
    assert min(values) - 1e-12 <= estimate.low <= estimate.high <= max(values) + 1e-12
    assert bootstrap_mean([0.25] * len(values), resamples=50) == Estimate(0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, "expected at least one value"),
        ([[1.0]], {}, "expected at least one value in 1 dimension"),
        ([math.nan], {}, "expected finite values"),
        ([1.0], {"confidence": 1.0}, "expected a confidence between 0 and 1, got 1.0"),
        ([1.0], {"resamples": 0}, "expected resamples >= 1, got 0"),
    ],
)
def test_values_and_choices_that_cannot_be_are_refused(values, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_mean(values, **options)


# ---- one setting against another -------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [4, 9, 13])
def test_few_differences_have_the_exact_p_value_of_scipy(count):
    differences = np.random.default_rng(count).normal(0.3, 1, count)
    exact = permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert permutation_p_value(differences) == pytest.approx(exact.pvalue, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.4])
def test_many_differences_have_about_the_p_value_of_scipy(shift):
    differences = np.random.default_rng(5).normal(shift, 1, 80)
    theirs = permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=20_000, rng=2)
    assert permutation_p_value(differences, resamples=20_000) == pytest.approx(theirs.pvalue, abs=0.015)


def test_p_values_of_alike_settings_are_uniform():
    generator = np.random.default_rng(11)
    values = [permutation_p_value(generator.normal(size=30), resamples=400) for _ in range(400)]
    assert np.mean(np.array(values) <= 0.1) == pytest.approx(0.1, abs=0.04)


def test_a_drawn_p_value_is_never_0_and_equal_settings_have_1():
    assert permutation_p_value(np.ones(100), resamples=999) == 1 / 1000
    assert permutation_p_value(np.zeros(100)) == 1.0
    assert permutation_p_value([0.5]) == 1.0
    assert permutation_p_value([0.1, 0.1, 0.1]) == 2 / 8


def test_a_comparison_counts_wins_losses_and_ties():
    before, after = [0.5, 0.5, 0.5, 0.5, 0.1 + 0.2], [0.75, 1.0, 0.5, 0.25, 0.3]
    found = compare("nDCG@10", ("vector", before), ("hybrid", after))
    assert (found.wins, found.losses, found.ties) == (2, 1, 2)
    assert found.difference.mean == pytest.approx(0.1)
    assert found.difference.low < 0.1 < found.difference.high
    assert found.p_value == 6 / 8
    assert str(found).startswith("nDCG@10: hybrid - vector = +0.1000 [")


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
def test_the_other_way_round_all_signs_change(pairs):
    first, second = zip(*pairs, strict=True)
    one = compare("m", ("a", first), ("b", second), resamples=100)
    other = compare("m", ("b", second), ("a", first), resamples=100)
    assert isinstance(one, Comparison)
    assert (one.wins, one.losses, one.ties) == (other.losses, other.wins, other.ties)
    assert one.wins + one.losses + one.ties == len(pairs)
    assert one.p_value == other.p_value
    assert one.difference.mean == pytest.approx(-other.difference.mean)


def test_other_numbers_of_values_cannot_be_compared():
    with pytest.raises(ValueError, match="expected the same number of values of both settings, got 2 and 1"):
        compare("m", ("a", [1, 2]), ("b", [1]))
