"""The nearest rows of a matrix, against every distance computed and sorted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragknn._nearest import bfloat16, search
from ragknn._nearest.bfloat16 import BFloat16Products
from ragknn._nearest.matrix import lay_out
from ragknn._nearest.search import nearest
from ragknn._protocol.vectors import as_stored, distances_to

METRICS = ["cosine", "l2", "ip"]


@pytest.fixture(params=["numpy", "bfloat16"], autouse=True, scope="module")
def products(request):
    """Each test runs with products in float32 and, where OpenVINO and the processor have them, in bfloat16."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "bfloat16":
            if not bfloat16.is_able():
                pytest.skip("no OpenVINO, or no bfloat16 in the processor")
            patch.setattr(bfloat16, "WORTH_AN_IMPORT", 0)
            patch.setattr(bfloat16, "WORTH_ROUNDING", 1)
            assert isinstance(bfloat16.products_of(matrix_of(np.eye(3), "l2"), 1), BFloat16Products)
        yield


def matrix_of(rows, metric, rounded=None):
    room = np.empty((len(rows), rows.shape[1] + 1), dtype=np.float32)
    stored = room[:, :-1] if rows.dtype == np.float32 else rows
    stored[:] = rows
    return lay_out(stored, room, metric, rounded)


def all_sorted(rows, queries, metric, k):
    """Return distances and numbers as `nearest` does, by looking at every row."""
    distances = np.array([distances_to(query, rows, metric) for query in queries]).reshape(len(queries), len(rows))
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, axis=1), order


def check(rows, queries, metric, k, tolerance=1e-6):
    distances, numbers = nearest(matrix_of(rows, metric), queries, k)
    expected, _ = all_sorted(rows, queries, metric, k)
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    assert distances == pytest.approx(expected, abs=tolerance * scale)
    for query, own, far in zip(queries, numbers, distances, strict=True):
        assert len(set(own.tolist())) == k
        assert distances_to(query, rows[own], metric) == pytest.approx(far, abs=tolerance * scale)
    return distances, numbers


@st.composite
def problems(draw):
    """Rows that are spread, equal, far from zero, tiny or huge, with queries among and beside them."""
    metric, dtype = draw(st.sampled_from(METRICS)), draw(st.sampled_from([np.float32, np.float64]))
    n, dim = draw(st.integers(1, 9_000)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    kinds = {
        "spread": lambda: rng.normal(size=(n, dim)),
        "grid": lambda: rng.integers(-2, 3, size=(n, dim)).astype(float),
        "far": lambda: 1e4 + rng.normal(size=(n, dim)),
        "clusters": lambda: rng.normal(size=(5, dim))[rng.integers(5, size=n)] + 1e-3 * rng.normal(size=(n, dim)),
    }
    rows = kinds[draw(st.sampled_from(sorted(kinds)))]() * draw(st.sampled_from([1.0, 1e-8, 1e6]))
    if metric == "cosine":
        rows[np.linalg.norm(rows, axis=1) == 0] = 1.0
    own = rows[rng.integers(n, size=20)]
    queries = own + draw(st.sampled_from([0.0, 0.1])) * np.abs(own).max() * rng.normal(size=own.shape)
    if metric == "cosine":
        queries[np.linalg.norm(queries, axis=1) == 0] = 1.0
    return rows.astype(dtype), queries.astype(dtype), metric, draw(st.integers(1, min(n, 60)))


@given(problems())
@settings(max_examples=60)
def test_the_nearest_rows_are_those_that_every_distance_gives(problem):
    check(*problem)


@pytest.mark.parametrize("metric", METRICS)
def test_equally_near_rows_come_in_their_order(metric):
    rows = np.repeat(np.array([[1.0, 1.0], [3.0, 1.0]], dtype=np.float32), 7_000, axis=0)
    _, numbers = nearest(matrix_of(rows, metric), np.array([[1.0, 1.0], [3.0, 1.0]]), 4)
    expected = {"ip": [[7_000, 7_001, 7_002, 7_003]] * 2}
    assert numbers.tolist() == expected.get(metric, [[0, 1, 2, 3], [7_000, 7_001, 7_002, 7_003]])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 300, 5_000])
def test_any_number_of_neighbors_is_found(metric, k):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(5_000, 8)).astype(np.float32)
    _, numbers = check(rows, rng.normal(size=(6, 8)), metric, k)
    assert numbers.shape == (6, k)


def test_the_distances_of_neighbors_are_as_good_as_float64():
    rng = np.random.default_rng(2)
    rows = 1e6 + rng.normal(size=(500, 16))
    queries = 1e6 + rng.normal(size=(30, 16))
    distances, numbers = nearest(matrix_of(rows, "l2"), queries, 5)
    expected, order = all_sorted(rows, queries, "l2", 5)
    assert numbers.tolist() == order.tolist()
    assert distances == pytest.approx(expected, rel=1e-12)


def test_a_row_has_the_distance_0_to_itself():
    rows = np.random.default_rng(3).normal(size=(400, 24)).astype(np.float32)
    for metric in ("cosine", "l2"):
        distances, numbers = nearest(matrix_of(rows, metric), rows, 1)
        assert numbers[:, 0].tolist() == list(range(400))
        assert distances == pytest.approx(np.zeros((400, 1)), abs=1e-15)


def test_rows_in_half_precision_have_the_distances_of_what_is_rounded():
    rows = as_stored(np.random.default_rng(4).normal(size=(50, 6)), "bfloat16")
    matrix = matrix_of(rows, "cosine", lambda of_length_1: as_stored(of_length_1, "bfloat16"))
    units = as_stored(rows / np.linalg.norm(rows, axis=1, keepdims=True), "bfloat16").astype(float)
    distances, numbers = nearest(matrix, rows, 3)
    assert distances == pytest.approx(1 - np.einsum("nd,nkd->nk", units, units[numbers]).clip(-1, 1), abs=1e-12)


def test_what_float32_cannot_tell_apart_is_left_to_others():
    huge = np.array([[1e200, 0.0], [0.0, 1e200]])
    assert matrix_of(huge, "l2") is None
    assert nearest(matrix_of(np.eye(2), "ip"), huge, 1) is None


def test_more_ties_than_memory_should_hold_are_left_to_others(monkeypatch):
    monkeypatch.setattr(search, "MOST_CANDIDATES", 10_000)
    same = np.ones((5_000, 3), dtype=np.float32)
    assert nearest(matrix_of(same, "l2"), same[:20], 2) is None
    assert nearest(matrix_of(same, "l2"), same[:1], 2)[1].tolist() == [[0, 1]]


def test_some_rows_are_searched_as_if_there_were_no_others():
    rng = np.random.default_rng(5)
    rows, queries, some = rng.normal(size=(900, 4)), rng.normal(size=(9, 4)), np.arange(0, 900, 7)
    for dtype in (np.float32, np.float64):
        for metric in METRICS:
            matrix = matrix_of(rows.astype(dtype), metric)
            expected = nearest(matrix_of(rows[some].astype(dtype), metric), queries, 5)
            found = nearest(matrix.only(some), queries, 5)
            assert [array.tolist() for array in found] == [array.tolist() for array in expected]


def test_errors_of_products_are_within_their_bounds():
    rng = np.random.default_rng(6)
    rows, queries = (rng.normal(size=(n, 200)) * rng.uniform(0.1, 10, size=(n, 1)) for n in (4_200, 50))
    for metric in METRICS:
        matrix = matrix_of(rows, metric)
        factors = matrix.as_factors(queries)
        ways = bfloat16.products_of(matrix, len(queries))
        asked, bounds = ways.take(factors)
        exact = factors.astype(float) @ matrix.factors.astype(float).T
        for start in (0, 4_096):
            block = ways.block(asked, start, 64)
            there = block.reshape(len(block), -1)[:, : len(rows) - start]
            errors = np.abs(there - exact[:, start : start + 4_096]).max(axis=1)
            assert (errors <= bounds).all()
            assert errors.max() > bounds.min() / 1_000
