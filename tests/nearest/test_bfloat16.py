"""Products in bfloat16: when they are made, and in which process."""

import os

import numpy as np
import pytest

from ragknn._nearest import bfloat16
from ragknn._nearest.bfloat16 import BFloat16Products, products_of
from ragknn._nearest.matrix import lay_out
from ragknn._nearest.products import NumPyProducts
from ragknn._nearest.rounding import from_bfloat16, to_bfloat16
from ragknn._nearest.search import nearest

needs_openvino = pytest.mark.skipif(not bfloat16.is_able(), reason="no OpenVINO, or no bfloat16 in the processor")


@pytest.fixture
def matrix():
    room = np.zeros((5_000, 17), dtype=np.float32)
    room[:, :-1] = np.random.default_rng(0).normal(size=(5_000, 16))
    return lay_out(room[:, :-1], room, "l2")


def test_numbers_are_rounded_to_the_nearest_with_eight_bits():
    rng = np.random.default_rng(1)
    values = (rng.normal(size=2_000) * 10.0 ** rng.integers(-30, 30, size=2_000)).astype(np.float32)
    rounded = from_bfloat16(to_bfloat16(values)).astype(float)
    assert (np.abs(rounded - values) <= np.abs(values.astype(float)) * 2.0**-8).all()
    assert (np.abs(rounded - values) > np.abs(values.astype(float)) * 2.0**-9).any()
    assert (to_bfloat16(rounded) == to_bfloat16(values)).all()


@needs_openvino
def test_openvino_is_used_once_its_import_is_made_up_for(matrix, monkeypatch):
    monkeypatch.setattr(bfloat16._compiled, "asked_for", 0.0)
    monkeypatch.setattr(bfloat16, "WORTH_AN_IMPORT", 3 * 1_000 * matrix.factors.size)
    kinds = [type(products_of(matrix, queries)) for queries in (1_000, 1_000, 1_000, 10)]
    assert kinds == [NumPyProducts, NumPyProducts, BFloat16Products, BFloat16Products]
    other = matrix.only(np.arange(100))
    assert isinstance(products_of(other, 10), NumPyProducts)  # few queries do not make up for rounding all rows


@needs_openvino
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # a fork of a process with threads is meant
def test_a_forked_process_compiles_its_own(matrix, monkeypatch):
    monkeypatch.setattr(bfloat16, "WORTH_AN_IMPORT", 0)
    queries = np.random.default_rng(2).normal(size=(300, 16))
    expected = nearest(matrix, queries, 3)[1].tolist()
    assert matrix.has(bfloat16.NAME)
    if not (child := os.fork()):
        os._exit(0 if nearest(matrix, queries, 3)[1].tolist() == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
