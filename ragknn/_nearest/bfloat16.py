"""Products in bfloat16 by OpenVINO, on processors that have instructions for it: half the time of float32.

They tell three digits, which is enough to see which few rows may be near; the search asks for no more.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragknn._nearest.matrix import ROWS_PER_BLOCK, Matrix
from ragknn._nearest.products import NumPyProducts, Products, error_of_sums, lengths

# Products, each of a query's value and a row's, that a process must have asked for before OpenVINO is imported: to do
# them quicker then makes up for the import, half a second.
WORTH_AN_IMPORT = 4e10

# Columns that the last one becomes, so that nothing of it is lost.
PARTS = 3
# What rows that are not there have in the last column: less than any product, and no infinity.
NOT_THERE = -3e38


def products_of(matrix: Matrix, n_queries: int) -> Products:
    """Return the quickest way to multiply so many queries with the rows."""
    _asked_for.add(n_queries * matrix.factors.size)
    if _asked_for.products >= WORTH_AN_IMPORT and _is_able(os.getpid()):
        return BFloat16Products(matrix)
    return NumPyProducts(matrix)


class _AskedFor:
    """How many products the process has asked for."""

    def __init__(self) -> None:
        self.products, self.process = 0.0, os.getpid()

    def add(self, products: int) -> None:
        self.products += products


_asked_for = _AskedFor()


@cache
def _is_able(process: int) -> bool:
    """Tell whether OpenVINO is there and the processor has bfloat16; in a forked process its threads are missing."""
    if process != _asked_for.process or find_spec("openvino") is None:
        return False
    import openvino  # late, as it is optional and takes a while

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@lru_cache(maxsize=4)
def _compiled(columns: int) -> Any:
    import openvino
    from openvino import opset13

    queries, rows = (opset13.parameter([-1, columns], openvino.Type.bf16) for _ in range(2))
    wide = [opset13.convert(one, "f32") for one in (queries, rows)]
    model = openvino.Model([opset13.matmul(*wide, False, True)], [queries, rows])
    precisely = {"INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": "LATENCY"}
    return openvino.Core().compile_model(model, "CPU", precisely)


@dataclass(frozen=True, slots=True, eq=False)
class Halves:
    """Rows in bfloat16.

    Attributes:
        rows: the bits, shape (n, dim + 3), uint16; n is filled up to a multiple of `ROWS_PER_BLOCK`.
        error: the largest length of what rounding took from a row.
    """

    rows: NDArray[np.uint16]
    error: float


def halved(matrix: Matrix) -> Halves:
    """Return the factors of a matrix in bfloat16."""
    n, columns = matrix.factors.shape
    room = np.zeros((-(-n // ROWS_PER_BLOCK) * ROWS_PER_BLOCK, columns - 1 + PARTS), dtype=np.uint16)
    room[n:, -1] = to_bfloat16(np.full(1, NOT_THERE, dtype=np.float32))
    error = 0.0
    for start in range(0, n, ROWS_PER_BLOCK):
        factors = matrix.factors[start : start + ROWS_PER_BLOCK]
        bits = _split(factors)
        room[start : start + len(bits)] = bits
        error = max(error, float(_lost(factors, bits).max()))
    return Halves(room, error)


def _split(factors: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return factors in bfloat16, with the last column in parts that add up to it."""
    bits = np.empty((len(factors), factors.shape[1] - 1 + PARTS), dtype=np.uint16)
    bits[:, :-PARTS] = to_bfloat16(factors[:, :-1])
    rest = factors[:, -1].copy()
    for part in range(-PARTS, 0):
        bits[:, part] = to_bfloat16(rest)
        rest -= from_bfloat16(bits[:, part])
    return bits


def _lost(factors: NDArray[np.float32], bits: NDArray[np.uint16]) -> NDArray[np.float64]:
    lost = factors.copy()
    lost[:, :-1] -= from_bfloat16(bits[:, :-PARTS])
    return lengths(lost)


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the bits in bfloat16, which NumPy does not have: the upper half of a float32, rounded to nearest."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)  # ties to even


def from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the numbers that have these bits in bfloat16."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


class BFloat16Products:
    """Products in bfloat16, added up in float32."""

    def __init__(self, matrix: Matrix) -> None:
        import openvino

        self._matrix, self._halves = matrix, matrix.kept("bfloat16", halved)
        self._openvino = openvino
        self._request = _compiled(self._halves.rows.shape[1]).create_infer_request()

    def take(self, queries: NDArray[np.float32]) -> tuple[Any, NDArray[np.float64]]:
        """Return the queries in bfloat16."""
        ones = np.concatenate([queries[:, :-1], np.zeros_like(queries[:, :1])], axis=1)
        bits = _split(ones)
        bits[:, -PARTS:] = to_bfloat16(np.ones(1, dtype=np.float32))
        longest = self._matrix.longest
        error = lengths(queries) * self._halves.error + _lost(queries, bits) * (longest + self._halves.error)
        return self._tensor(bits), error + 2 * error_of_sums(queries, longest)

    def block(self, queries: Any, start: int, groups: int) -> NDArray[np.float32]:
        """Multiply."""
        rows = self._tensor(self._halves.rows[start : start + ROWS_PER_BLOCK])
        [products] = self._request.infer([queries, rows], share_inputs=True, share_outputs=True).values()
        shaped: NDArray[np.float32] = products.reshape(len(products), -1, groups)
        return shaped

    def _tensor(self, bits: NDArray[np.uint16]) -> Any:
        return self._openvino.Tensor(bits, bits.shape, self._openvino.Type.bf16)
