import math
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ragknn import InvalidVectors
from ragknn._protocol.vectors import (
    LARGEST_VALUE,
    SMALLEST_VALUE,
    as_vectors,
    check_vectors,
    find_faults,
    from_bytes,
    to_bytes,
    true_distance,
)

FINITE_FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(("dtype", "width"), [("float16", 16), ("float32", 32), ("float64", 64)])
@given(data=st.data())
def test_a_stored_vector_comes_back_bit_for_bit(dtype, width, data):
    values = data.draw(
        arrays(dtype, (3, 5), elements=st.floats(width=width, allow_nan=False, allow_infinity=False)), label="values"
    )
    blobs = to_bytes(values, dtype)
    assert [len(blob) for blob in blobs] == [5 * {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}[dtype]] * 3
    assert [from_bytes(blob, dtype).tobytes() for blob in blobs] == [row.tobytes() for row in values]


def test_bytes_are_little_endian():
    assert to_bytes(np.array([[1.0, -2.0]]), "float32") == [struct.pack("<2f", 1.0, -2.0)]
    assert to_bytes(np.array([[1.0, -2.0]]), "float64") == [struct.pack("<2d", 1.0, -2.0)]
    assert to_bytes(np.array([[1.0, -2.0]]), "float16") == [struct.pack("<2e", 1.0, -2.0)]
    assert to_bytes(np.array([[1.0, -2.0]]), "bfloat16") == [bytes.fromhex("803f00c0")]


def test_big_endian_and_strided_arrays_are_stored_like_any_other():
    values = np.arange(12, dtype=">f4").reshape(3, 4)
    assert to_bytes(values, "float32") == to_bytes(values.astype("<f4"), "float32")
    assert to_bytes(values[:, ::2], "float32") == to_bytes(np.array([[0, 2], [4, 6], [8, 10]]), "float32")
    assert to_bytes(values.T, "bfloat16") == to_bytes(np.ascontiguousarray(values.T), "bfloat16")


@given(arrays(np.float32, (4,), elements=FINITE_FLOAT32))
def test_bfloat16_rounds_as_torch_does(values):
    expected = torch.from_numpy(values.copy()).to(torch.bfloat16).to(torch.float32).numpy()
    [blob] = to_bytes(values[np.newaxis], "bfloat16")
    found = from_bytes(blob, "bfloat16")
    assert found.dtype == np.float32
    assert found.tobytes() == expected.tobytes()


@given(st.integers(0, 0x7F7E), st.booleans())
def test_bfloat16_rounds_ties_to_even(bits, odd):
    # Half way between two neighboring bfloat16 values; `bits` is the lower of them.
    bits = (bits & ~1) | odd
    tie = np.array([(bits << 16) | 0x8000], dtype=np.uint32).view(np.float32)
    [blob] = to_bytes(tie[np.newaxis], "bfloat16")
    assert int.from_bytes(blob, "little") == bits + (bits & 1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_largest_value_of_a_short_dtype_does_not_become_infinite(dtype):
    largest = np.array([[LARGEST_VALUE[dtype], -LARGEST_VALUE[dtype]]])
    [blob] = to_bytes(largest, dtype)
    assert from_bytes(blob, dtype).tolist() == largest[0].tolist()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@given(value=st.floats(allow_nan=True, allow_infinity=True))
def test_what_has_no_fault_is_stored_as_finite_values(dtype, value):
    vectors = np.array([[1.0, value]])
    if find_faults(vectors, "l2", dtype) == {}:
        [blob] = to_bytes(vectors, dtype)
        assert np.isfinite(from_bytes(blob, dtype)).all()
    else:
        assert not math.isfinite(value) or abs(value) > LARGEST_VALUE[dtype]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@given(data=st.data(), scale=st.floats(0.5, 1.0))
def test_what_has_a_direction_is_stored_with_one(dtype, data, scale):
    # A value may be so small that its dtype stores a zero, to which no vector has a cosine distance.
    _, smallest = math.frexp(SMALLEST_VALUE[dtype])
    value = math.ldexp(scale, data.draw(st.integers(smallest - 3, smallest + 30), label="exponent"))
    vectors = np.array([[value, 0.0]])
    if find_faults(vectors, "cosine", dtype) == {}:
        [blob] = to_bytes(vectors, dtype)
        assert from_bytes(blob, dtype).any()
    else:
        assert value < SMALLEST_VALUE[dtype]


def test_each_row_without_a_distance_has_its_reason():
    vectors = np.array([[1.0, 2.0], [math.nan, 1.0], [0.0, 0.0], [math.inf, 1.0], [1.0, -1e5]])
    nan = "NaN or infinite values; look at what the embedder makes of this text"
    zero = "only zeros: a vector without direction has no cosine distance"
    assert find_faults(vectors, "cosine", "float32") == {1: nan, 2: zero, 3: nan}
    assert find_faults(vectors, "cosine", "float16") == {
        1: nan,
        2: zero,
        3: nan,
        4: "a value of 100000 does not fit float16; store the index as float32",
    }


@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("given_as", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_infinite_values_and_nan_are_faults_whatever_the_two_dtypes(given_as, stored, value):
    vectors = np.array([[1.0, 1.0], [1.0, value]], dtype=given_as)
    assert find_faults(vectors, "l2", stored) == {
        1: "NaN or infinite values; look at what the embedder makes of this text"
    }


@pytest.mark.parametrize(
    ("dtype", "value"), [("float32", 1e-40), ("float16", 1e-8), ("bfloat16", 1e-20), ("float64", 1e-160)]
)
def test_values_too_small_to_have_a_direction_are_a_fault_for_cosine_only(dtype, value):
    vectors = np.array([[value, -value], [1.0, value]])
    assert find_faults(vectors, "l2", dtype) == {}
    assert find_faults(vectors, "cosine", dtype) == {
        0: f"no value above {value:.6g}, which is too little for {dtype}: "
        "a vector without direction has no cosine distance"
    }


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_a_vector_of_zeros_has_a_distance_unless_the_metric_is_cosine(metric):
    assert find_faults(np.zeros((2, 3)), metric, "float32") == {}


def test_the_check_names_the_first_row_without_a_distance():
    with pytest.raises(InvalidVectors, match=r"in row 1: only zeros"):
        check_vectors([[1.0, 0.0], [0.0, 0.0], [math.nan, 0.0]], 2, "cosine", "float32")
    assert check_vectors([[1.0, 0.0]], 2, "cosine", "float32").tolist() == [[1.0, 0.0]]


def test_one_vector_becomes_one_row():
    assert as_vectors([1, 2, 3], 3).tolist() == [[1.0, 2.0, 3.0]]
    assert as_vectors(np.ones((2, 3), dtype=np.float16), 3).dtype == np.float16
    assert as_vectors(np.empty((0, 3)), 3).shape == (0, 3)
    assert as_vectors(torch.tensor([[1.0, 2.0]]), 2).tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        ([[1.0, 2.0]], "(1, 2)"),
        ([1.0, 2.0], "(1, 2)"),
        ([[[1.0, 2.0, 3.0]]], "(1, 1, 3)"),
        (5.0, "()"),
        ([], "(0,)"),
        (np.empty((2, 0)), "(2, 0)"),
    ],
)
def test_another_shape_is_refused_with_both_shapes(values, shape):
    with pytest.raises(InvalidVectors) as refused:
        as_vectors(values, 3)
    assert str(refused.value) == (
        f"expected vectors of shape (n, 3), got {shape}: embed with the model that the index was built with"
    )


@pytest.mark.parametrize("values", ["abc", ["1", "2"], [[1, 2], [3]], object(), [1 + 2j, 0]])
def test_values_that_are_no_numbers_are_refused(values):
    with pytest.raises(InvalidVectors, match="expected vectors of 2 numbers, got values that are no numbers"):
        as_vectors(values, 2)


def test_the_distance_is_the_one_of_the_metric():
    assert true_distance(25.0, "l2") == 5.0
    assert true_distance(-1e-9, "l2") == 0.0
    assert true_distance(-1.2e-7, "cosine") == 0.0
    assert true_distance(2.0000002, "cosine") == 2.0
    assert true_distance(0.25, "cosine") == 0.25
    assert true_distance(-3.5, "ip") == -3.5


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_a_distance_that_is_no_number_is_not_turned_into_one(metric):
    assert math.isnan(true_distance(math.nan, metric))
