"""Numbers in bfloat16, which NumPy does not have: as their bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_bfloat16(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Return the bits of numbers in bfloat16: the upper half of those in float32, rounded to nearest."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = bits >> 16
    rounded &= 1  # ties to even
    rounded += 0x7FFF
    rounded += bits
    rounded >>= 16
    return rounded.astype(np.uint16)


def from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the numbers that have these bits in bfloat16."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
