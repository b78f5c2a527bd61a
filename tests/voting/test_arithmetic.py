import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from ragknn.voting._arithmetic import (
    check_weights,
    class_shares,
    correct_priors,
    neighbor_weights,
    weighted_average,
    winners,
)

# Both sides add the same weights in another order, and a few roundings of float64 are all that may differ.
ROUNDING = 1e-12


def gaussian(distances):
    return np.exp(-(distances**2))


def mostly_zero(distances):
    """Weigh every second neighbor with nothing; the nearest one weighs."""
    weights = np.zeros_like(distances)
    weights[:, ::2] = 1.0
    return weights


WEIGHTS = ["uniform", "distance", gaussian, mostly_zero]

# From a short list, so that distances tie and are zero often; and any other, down to those whose 1/d overflows.
DISTANCES = st.one_of(
    st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]), st.floats(0.0, 4.0), st.sampled_from([-0.0, 5e-324, 1e-310, 1e-160])
)


@st.composite
def elections(draw, labels):
    """Distances from queries to points, shape (n_queries, n), a label for each point, k, and how to weigh."""
    n, n_queries = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    distances = draw(arrays(np.float64, (n_queries, n), elements=DISTANCES))
    return distances, draw(labels(n)), draw(st.integers(1, n)), draw(st.sampled_from(WEIGHTS))


def classes_of(n):
    return st.lists(st.integers(0, 3), min_size=n, max_size=n).map(lambda labels: np.array(labels) * 10)


def numbers_of(n):
    elements = st.floats(-100, 100, allow_subnormal=False)
    return st.one_of(arrays(np.float64, n, elements=elements), arrays(np.float64, (n, 3), elements=elements))


def fitted(estimator, labels):
    """Let scikit-learn take distances as they are, so that it is its voting that is compared and not its search."""
    return estimator.fit(np.zeros((len(labels), len(labels))), labels)


def asked(method, *args):
    """Let scikit-learn divide by what is nearly zero in peace: it warns of the overflow, and counts it as zero."""
    with np.errstate(over="ignore"):
        return method(*args)


def everyone(distances):
    return np.ones(distances.shape, dtype=bool)


# ---- classes, against scikit-learn -----------------------------------------------------------------------------


@given(elections(classes_of))
@example((np.zeros((2, 5)), np.array([0, 10, 10, 0, 30]), 5, "distance"))  # all distances zero, k = n
@example((np.ones((1, 4)), np.array([20, 20, 0, 0]), 4, "uniform"))  # two classes with as many votes each
@example((np.array([[0.5, 1.0, 1.0]]), np.array([10, 0, 0]), 3, "distance"))  # a tie of 2 and 1 + 1
@example((np.array([[1.0, 2.0]]), np.array([10, 10]), 2, gaussian))  # one class
@example((np.array([[5e-324, 1.0]]), np.array([0, 10]), 2, "distance"))  # 1/d is more than a float holds
def test_shares_and_winners_are_those_of_scikit_learn(election):
    distances, labels, k, weights = election
    model = fitted(KNeighborsClassifier(k, weights=weights, metric="precomputed"), labels)
    nearest, rows = model.kneighbors(distances)
    codes = np.searchsorted(model.classes_, labels)[rows]
    shares = class_shares(codes, neighbor_weights(nearest, everyone(nearest), weights), len(model.classes_))
    np.testing.assert_allclose(shares, asked(model.predict_proba, distances), rtol=0, atol=ROUNDING)
    assert shares.shape == (len(distances), len(model.classes_))
    # Where the two largest shares differ by roundings only, the order of addition decides who wins. Whole numbers
    # are added exactly in any order, so that ties between equal votes always count.
    upper = np.sort(shares, axis=1)[:, ::-1][:, :2]
    whole = weights in ("uniform", mostly_zero) or shares.shape[1] == 1
    determined = np.full(len(shares), True) if whole else upper[:, 0] - upper[:, 1] > ROUNDING
    found = model.classes_[winners(shares)]
    assert found[determined].tolist() == asked(model.predict, distances)[determined].tolist()


@given(
    points=arrays(np.float32, st.tuples(st.integers(1, 15), st.just(1)), elements=st.sampled_from([0.0, 1.0, 2.0])),
    queries=arrays(np.float32, (3, 1), elements=st.sampled_from([0.0, 0.5, 1.0, 7.0])),
    weights=st.sampled_from(WEIGHTS[:3]),
    data=st.data(),
)
def test_voting_on_duplicates_and_ties_is_that_of_brute_force(points, queries, weights, data):
    # One feature of three values: nearly every point is there several times. k = n, because which of several
    # equally near points is the k-th depends in scikit-learn on how they are stored.
    labels = np.array(data.draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=len(points), max_size=len(points))))
    model = KNeighborsClassifier(len(points), weights=weights, algorithm="brute").fit(points, labels)
    distances = np.abs(queries - points.T).astype(np.float64)
    codes = np.broadcast_to(np.searchsorted(model.classes_, labels), distances.shape)
    shares = class_shares(codes, neighbor_weights(distances, everyone(distances), weights), len(model.classes_))
    np.testing.assert_allclose(shares, model.predict_proba(queries), rtol=0, atol=1e-6)  # it searches in float32
    if weights == "uniform":
        assert model.classes_[winners(shares)].tolist() == model.predict(queries).tolist()


def test_of_equal_shares_the_first_class_wins():
    codes = np.array([[2, 1, 2, 1], [3, 3, 0, 0], [1, 1, 1, 1]])
    shares = class_shares(codes, np.ones((3, 4)), 4)
    assert shares.tolist() == [[0, 0.5, 0.5, 0], [0.5, 0, 0, 0.5], [0, 1, 0, 0]]
    assert winners(shares).tolist() == [1, 0, 1]


def test_shares_do_not_depend_on_how_many_queries_are_asked_together():
    generator = np.random.default_rng(2)
    codes, weights = generator.integers(0, 5, (300, 7)), generator.random((300, 7))
    together = class_shares(codes, weights, 5)
    alone = np.vstack([class_shares(codes[row : row + 1], weights[row : row + 1], 5) for row in range(300)])
    assert together.tolist() == alone.tolist()
    np.testing.assert_allclose(together.sum(axis=1), 1, rtol=0, atol=ROUNDING)


def test_nobody_asked_and_nobody_voting_have_shapes_too():
    assert class_shares(np.empty((0, 3), dtype=int), np.empty((0, 3)), 4).shape == (0, 4)
    assert class_shares(np.empty((2, 0), dtype=int), np.empty((2, 0)), 3).tolist() == [[0, 0, 0]] * 2
    assert winners(np.empty((0, 3))).shape == (0,)
    assert neighbor_weights(np.empty((2, 0)), np.empty((2, 0), dtype=bool), "distance").shape == (2, 0)
    assert np.isnan(weighted_average(np.empty((2, 0)), np.empty((2, 0)))).tolist() == [True, True]
    assert weighted_average(np.empty((0, 3, 2)), np.empty((0, 3))).shape == (0, 2)


# ---- numbers, against scikit-learn -----------------------------------------------------------------------------


@given(elections(numbers_of))
@example((np.zeros((2, 3)), np.array([1.0, 2.0, 6.0]), 3, "distance"))
@example((np.array([[5e-324, 1.0]]), np.array([1.0, 2.0]), 2, "distance"))
@example((np.ones((1, 1)), np.array([[1.0, 2.0, 3.0]]), 1, gaussian))
def test_averages_are_those_of_scikit_learn(election):
    distances, labels, k, weights = election
    model = fitted(KNeighborsRegressor(k, weights=weights, metric="precomputed"), labels)
    nearest, rows = model.kneighbors(distances)
    averages = weighted_average(labels[rows], neighbor_weights(nearest, everyone(nearest), weights))
    expected = asked(model.predict, distances)
    assert averages.shape == expected.shape
    np.testing.assert_allclose(averages, expected, rtol=ROUNDING, atol=100 * ROUNDING)


def test_an_average_is_the_sum_of_w_times_y_divided_by_the_sum_of_w():
    values, weights = np.array([[1.0, 2.0, 6.0]]), np.array([[3.0, 2.0, 1.0]])
    assert weighted_average(values, weights).tolist() == [(3 + 4 + 6) / 6]
    assert weighted_average(np.stack([values, -values], axis=2), weights).tolist() == [[13 / 6, -13 / 6]]


# ---- who is there ----------------------------------------------------------------------------------------------


@given(data=st.data(), weights=st.sampled_from(["uniform", "distance", gaussian]))
def test_absent_neighbors_count_as_if_they_had_never_been_there(data, weights):
    distances = data.draw(arrays(np.float64, (3, 6), elements=DISTANCES), label="distances")
    present = data.draw(arrays(np.bool_, (3, 6)), label="present")
    codes = data.draw(arrays(np.intp, (3, 6), elements=st.integers(0, 2)), label="codes")
    values = codes + 0.5
    each = neighbor_weights(distances, present, weights)
    shares, averages = class_shares(codes, each, 3), weighted_average(values, each)
    assert each[~present].tolist() == [0] * int((~present).sum())
    for row in range(3):
        there = present[row]
        own = neighbor_weights(distances[row : row + 1, there], np.ones((1, there.sum()), dtype=bool), weights)
        assert each[row, there].tolist() == own[0].tolist()
        expected = class_shares(codes[row : row + 1, there], own, 3)
        np.testing.assert_allclose(shares[row], expected[0], rtol=0, atol=ROUNDING)
        expected = weighted_average(values[row : row + 1, there], own)
        np.testing.assert_allclose(averages[row], expected[0], rtol=0, atol=ROUNDING)  # NaN where nobody is there


def test_what_stands_in_the_place_of_an_absent_neighbor_does_not_matter():
    present = np.array([[True, True, False, False, False]])
    for rubbish in (0.0, -1.0, np.nan, np.inf, -np.inf):
        distances = np.array([[1.0, 4.0, rubbish, rubbish, rubbish]])
        assert neighbor_weights(distances, present, "distance").tolist() == [[1.0, 0.25, 0, 0, 0]]
        assert neighbor_weights(distances, present, "uniform").tolist() == [[1, 1, 0, 0, 0]]
        assert neighbor_weights(distances, present, np.copy).tolist() == [[1, 4, 0, 0, 0]]


# ---- weights ---------------------------------------------------------------------------------------------------


def test_weights_fall_with_the_distance_and_at_distance_zero_only_those_there_count():
    distances = np.array([[0.5, 1.0, 4.0], [0.0, 0.0, 4.0], [0.0, 1e-300, 1.0], [2.0, np.inf, np.inf]])
    assert neighbor_weights(distances, everyone(distances), "distance").tolist() == [
        [2.0, 1.0, 0.25],
        [1.0, 1.0, 0.0],
        [1.0, 0.0, 0.0],
        [0.5, 0.0, 0.0],
    ]


def test_weighing_leaves_the_distances_as_they_are():
    distances = np.array([[0.0, 1.0], [0.5, 2.0]])
    for weights in WEIGHTS:
        neighbor_weights(distances, everyone(distances), weights)
    assert distances.tolist() == [[0.0, 1.0], [0.5, 2.0]]


def test_a_callable_may_return_what_numpy_makes_an_array_of():
    distances = np.array([[1.0, 2.0]])
    found = neighbor_weights(distances, everyone(distances), lambda d: [[3, 4]])
    assert (found.tolist(), found.dtype) == ([[3.0, 4.0]], np.float64)


def test_weights_of_zero_give_no_shares_and_no_average():
    # scikit-learn refuses these; here a vote can abstain.
    distances = np.array([[1.0, 2.0], [0.5, 2.0]])
    weights = neighbor_weights(distances, everyone(distances), lambda d: (d < 1).astype(float))
    assert class_shares(np.array([[0, 1], [1, 0]]), weights, 2).tolist() == [[0, 0], [0, 1]]
    averages = weighted_average(np.array([[3.0, 4.0], [5.0, 6.0]]), weights)
    assert (np.isnan(averages[0]), averages[1]) == (True, 5.0)
    several = weighted_average(np.ones((2, 2, 3)), weights)
    assert np.isnan(several).tolist() == [[True] * 3, [False] * 3]


@pytest.mark.parametrize("weights", ["x", "Uniform", "", None, 1, 0.5, ["uniform"]])
def test_weights_that_are_unknown_are_refused(weights):
    message = re.escape(f"expected weights to be 'uniform', 'distance' or a callable, got {weights!r}")
    with pytest.raises(ValueError, match=message):
        check_weights(weights)
    with pytest.raises(ValueError, match=message):
        neighbor_weights(np.ones((1, 1)), np.ones((1, 1), dtype=bool), weights)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_weights_that_are_known_come_back(weights):
    assert check_weights(weights) is weights


def test_negative_distances_have_no_inverse_weights():
    distances = np.array([[-0.5, 1.0]])
    with pytest.raises(ValueError, match="expected distances >= 0 for weights='distance', got negative ones"):
        neighbor_weights(distances, everyone(distances), "distance")
    assert neighbor_weights(distances, np.array([[False, True]]), "distance").tolist() == [[0, 1]]
    assert neighbor_weights(distances, everyone(distances), "uniform").tolist() == [[1, 1]]
    assert neighbor_weights(distances, everyone(distances), lambda d: 2 - d).tolist() == [[2.5, 1]]


@pytest.mark.parametrize(
    ("wrong", "shape"),
    [(lambda d: 1.0, "()"), (lambda d: d[0], "(3,)"), (lambda d: d.T, "(3, 2)"), (lambda d: d[:, :2], "(2, 2)")],
)
def test_a_callable_of_another_shape_is_refused(wrong, shape):
    distances = np.ones((2, 3))
    with pytest.raises(ValueError, match=re.escape(f"expected weights of shape (2, 3), got {shape} from <function")):
        neighbor_weights(distances, everyone(distances), wrong)


# ---- priors ----------------------------------------------------------------------------------------------------


def test_priors_are_corrected_as_bayes_does_by_hand():
    # Three of five votes for a class that 8 of 10 documents have: 3/5 : 8/10 against 2/5 : 2/10.
    common, rare = Fraction(3, 5) / Fraction(8, 10), Fraction(2, 5) / Fraction(2, 10)
    expected = [float(common / (common + rare)), float(rare / (common + rare))]
    assert expected == pytest.approx([3 / 11, 8 / 11])
    for priors in ([0.8, 0.2], [8, 2], [80, 20]):  # only their ratio matters
        corrected = correct_priors(np.array([[0.6, 0.4], [0.0, 0.0], [1.0, 0.0]]), np.array(priors))
        np.testing.assert_allclose(corrected, [expected, [0, 0], [1, 0]], rtol=0, atol=ROUNDING)


@given(arrays(np.float64, (4, 3), elements=st.floats(0, 1)), arrays(np.float64, 3, elements=st.floats(0.01, 1)))
def test_corrected_shares_times_priors_are_the_shares_again(raw, priors):
    sums = raw.sum(axis=1, keepdims=True)
    shares = raw[sums[:, 0] > 0.01] / sums[sums[:, 0] > 0.01]
    back = correct_priors(shares, priors) * priors
    np.testing.assert_allclose(back / back.sum(axis=1, keepdims=True), shares, rtol=0, atol=ROUNDING)


def test_equal_priors_change_nothing():
    shares = np.array([[0.5, 0.25, 0.25], [0.0, 0.0, 0.0]])
    assert correct_priors(shares, np.array([4, 4, 4])).tolist() == shares.tolist()
