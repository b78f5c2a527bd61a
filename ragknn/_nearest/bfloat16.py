"""Products in bfloat16 by OpenVINO, on processors that have instructions for it: half the time of float32.

They tell three digits, which is enough to see which few rows may be near; the search asks for no more.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragknn._nearest.matrix import ROWS_PER_BLOCK, Matrix
from ragknn._nearest.products import NumPyProducts, Products, error_of_sums, lengths
from ragknn._nearest.rounding import from_bfloat16, to_bfloat16
from ragknn.embedding._forks import Unforkable
from ragknn.embedding._openvino import is_installed, load_openvino, quickest_precisions

# Queries that make up for rounding the rows.
WORTH_ROUNDING = 256
# Products, each of a query's value and a row's, that a process must have asked for before OpenVINO is imported: to do
# them quicker then makes up for the import, half a second.
WORTH_AN_IMPORT = 4e10

# Of a product of lengths, what numbers add that are too small for the processor, and the rounding of errors.
TOO_SMALL = 2.0**-20
# Rows that are rounded at once, in the processor's cache.
ROWS_AT_ONCE = 256
NAME = "bfloat16"  # of the form of a matrix

# Columns that the last one becomes, so that nothing of it is lost.
PARTS = 3
# What rows that are not there have in the last column: less than any product, and no infinity.
NOT_THERE = -3e38


_running = Unforkable()


class _Compiled:
    """What a process has asked for, and the graphs that it has compiled, by the number of columns."""

    def __init__(self) -> None:
        self.asked_for = 0.0
        self._graphs: dict[int, Any] = {}

    def request(self, columns: int) -> Any:
        """Return what multiplies factors with so many columns, for one thread at a time."""
        if columns not in self._graphs:
            self._graphs[columns] = self._compile(columns)
        return self._graphs[columns].create_infer_request()

    @staticmethod
    def _compile(columns: int) -> Any:
        openvino = load_openvino()
        operations = openvino.opset13
        queries, rows = (operations.parameter([-1, columns], openvino.Type.bf16) for _ in range(2))
        wide = [operations.convert(one, "f32") for one in (queries, rows)]  # added up in float32
        graph = openvino.Model([operations.matmul(*wide, False, True)], [queries, rows])
        options = {"INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": "LATENCY"}
        return openvino.Core().compile_model(graph, "CPU", options)

    def enter_fork(self) -> None:
        """Begin anew in a forked process, where the threads of the graphs do not exist, and which must not end them."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._graphs))
        self._graphs = {}


_compiled = _Compiled()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_compiled.enter_fork)


def products_of(matrix: Matrix, n_queries: int) -> Products:
    """Return the quickest way to multiply so many queries with the rows; for one of them, these are rounded first."""
    _compiled.asked_for += n_queries * matrix.factors.size
    is_much = n_queries >= WORTH_ROUNDING or matrix.has(NAME)
    if is_much and _compiled.asked_for >= WORTH_AN_IMPORT and is_able():
        return BFloat16Products(matrix)
    return NumPyProducts(matrix)


@cache
def is_able() -> bool:
    """Tell whether OpenVINO is installed and the processor has bfloat16."""
    return is_installed() and quickest_precisions()[0] == "bf16"


@dataclass(frozen=True, slots=True, eq=False)
class Halves:
    """Rows in bfloat16.

    Attributes:
        bits: shape (n, dim + 3), uint16; n is filled up to a multiple of `ROWS_PER_BLOCK`.
        lost: the largest length of what rounding took from a row.
    """

    bits: NDArray[np.uint16]
    lost: float


def halved(matrix: Matrix) -> Halves:
    """Return the factors of a matrix in bfloat16."""
    n, columns = matrix.factors.shape
    bits = np.zeros((-(-n // ROWS_PER_BLOCK) * ROWS_PER_BLOCK, columns - 1 + PARTS), dtype=np.uint16)
    bits[n:, -1] = to_bfloat16(np.full(1, NOT_THERE, dtype=np.float32))
    lost = 0.0
    for start in range(0, n, ROWS_AT_ONCE):
        factors = matrix.factors[start : start + ROWS_AT_ONCE]
        lost = max(lost, float(_split(factors, bits[start : start + len(factors)]).max()))
    return Halves(bits, lost)


def _split(factors: NDArray[np.float32], bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Fill in the bits of factors, with the last column in parts that add up to it.

    Returns:
        The length of what rounding took from each, shape (n,).
    """
    bits[:, :-PARTS] = to_bfloat16(factors[:, :-1])
    lost = factors[:, :-1] - from_bfloat16(bits[:, :-PARTS])
    rest = factors[:, -1].copy()
    for part in range(-PARTS, 0):
        bits[:, part] = to_bfloat16(rest)
        rest -= from_bfloat16(bits[:, part])
    lengths_lost: NDArray[np.float32] = np.sqrt(np.einsum("nd,nd->n", lost, lost))
    return lengths_lost


class BFloat16Products:
    """Products in bfloat16, added up in float32."""

    def __init__(self, matrix: Matrix) -> None:
        self._matrix, self._halves = matrix, matrix.kept(NAME, halved)
        self._request = _compiled.request(self._halves.bits.shape[1])

    def take(self, queries: NDArray[np.float32]) -> tuple[Any, NDArray[np.float64]]:
        """Return the queries in bfloat16."""
        bits = np.empty((len(queries), queries.shape[1] - 1 + PARTS), dtype=np.uint16)
        lost = _split(queries, bits)
        bits[:, -PARTS:] = to_bfloat16(np.ones(1, dtype=np.float32))  # for rows that are not there, in any metric
        longest, most = self._matrix.longest, self._halves.lost
        long = lengths(queries)
        error = long * most + lost * (longest + most) + long * longest * TOO_SMALL  # by Cauchy and Schwarz
        return self._tensor(bits), error + 2 * error_of_sums(queries, longest)

    def block(self, queries: Any, start: int, groups: int) -> NDArray[np.float32]:
        """Multiply."""
        rows = self._tensor(self._halves.bits[start : start + ROWS_PER_BLOCK])
        with _running:
            [products] = self._request.infer([queries, rows], share_inputs=True, share_outputs=True).values()
        shaped: NDArray[np.float32] = products.reshape(len(products), -1, groups)
        return shaped

    @staticmethod
    def _tensor(bits: NDArray[np.uint16]) -> Any:
        openvino = load_openvino()
        return openvino.Tensor(bits, bits.shape, openvino.Type.bf16)
