"""Whether two ways to run one model give the same vectors, tried on texts of many kinds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

AGREEMENT = 0.9995  # least mean agreement with float32 of a way to run a model that is taken
"""Vectors that agree less could move a passage by some ranks."""

_PASSAGE = (
    "Invoices are sent on the first day of each month. Whoever pays later than four weeks after that is reminded "
    "twice, and then loses access until the amount has arrived; see section 7.3 of the terms. "
)

# Short and long, questions and passages, prose, code, numbers and other scripts: alone and beside longer ones.
PROBE = (
    "password",
    "How do I reset my password?",
    "Was my card charged twice on 2024-02-29?",
    "def area(radius: float) -> float:\n    return math.pi * radius**2",
    "SELECT name, SUM(amount) FROM invoices WHERE year >= 2020 GROUP BY name;",
    "The heat transfer at the nose of a blunt body in hypersonic flow depends on the shape of the shock.",
    "Die Straße ist wegen Überschwemmung gesperrt.",
    "¿Cuánto cuesta el envío a México?",
    "Съешь ещё этих мягких французских булок, да выпей чаю.",
    "パスワードを忘れました。どうすればいいですか？",
    "如何重置我的密码？",
    "x² + H₂O – “quoted”, 50 % of €1,299.00 🏷️",
    _PASSAGE,
    _PASSAGE * 2,
    "The garden has apple trees, pear trees and a small pond. " * 8,
    " ".join(f"{number}. step {number} of {number * 7}" for number in range(1, 25)),
)


def agreement(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return how alike vectors are, both of shape (n, dim): 1 if they are equal, less for any difference.

    For two of one length it is their cosine; it is less if their lengths differ. The mean over the rows; 0 if a value
    is not finite.
    """
    if found.shape != expected.shape or not np.isfinite(found).all():
        return 0.0
    one, other = found.astype(np.float64), expected.astype(np.float64)
    squares = (one * one).sum(axis=1) + (other * other).sum(axis=1)
    shares = np.divide(2 * (one * other).sum(axis=1), squares, where=squares > 0, out=np.ones(len(one)))
    return float(shares.mean())
