"""Records in a form that others can read: plain values for JSON, and rows for pandas."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, time
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from ragknn.errors import MissingDependency

if TYPE_CHECKING:
    from pandas import DataFrame


class Plain:
    """What records inherit to have a plain form."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return everything in it as plain values, for JSON.

        NaN and infinity, which JSON lacks, become None; vectors become lists, and dates strings in ISO 8601.
        """
        return plain_fields(self)


def plain_fields(record: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as plain values, by name.

    Raises:
        ValueError: they are nested more deeply than Python can follow.
    """
    try:
        return {field.name: plain(getattr(record, field.name)) for field in fields(record)}
    except RecursionError:
        raise ValueError("expected values of some hundred levels at most, got them nested too deeply") from None


def as_python(value: Any) -> Any:
    """Return a number, flag or text of NumPy as Python's own, and everything else as it is.

    So do a moment and a span of time, of which NumPy makes bare counts in some units, and a number that is too wide
    for a float.
    """
    if isinstance(value, np.longdouble):
        return float(value) if float(value) == value else value
    return value.item() if isinstance(value, np.generic) and value.dtype.kind not in "mM" else value


def plain(value: Any) -> Any:
    """Return a value as one that `json.dumps(..., allow_nan=False)` takes."""
    value = as_python(value)
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else str(value)
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.ndarray):
        return plain(list(value) if value.ndim and value.dtype.kind in "mM" else value.tolist())
    if isinstance(value, Plain):
        return value.to_dict()
    if is_dataclass(value) and not isinstance(value, type):
        return plain_fields(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, date | time):
        return value.isoformat() if value == value else None  # pandas' NaT is a datetime, and equals nothing
    if isinstance(value, set | frozenset):
        return [plain(each) for each in sorted(value, key=lambda item: (type(item).__name__, str(item)))]
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(each) for each in value]
    return str(value)


def plain_label(label: Any, owner: str) -> str | int | float | None:
    """Return a label as Python's own str, int or float; None stays None.

    Raises:
        TypeError: it is of another type; the message names the owner.
    """
    label = as_python(label)
    if label is not None and not isinstance(label, str | int | float):
        raise TypeError(f"expected the label of {owner} as str, int or float, got {type(label).__name__}")
    return label


def frame(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> DataFrame:
    """Return rows as a DataFrame; without rows it has the columns all the same.

    Raises:
        MissingDependency: pandas is not installed.
    """
    try:
        from pandas import DataFrame  # optional, and slow to import
    except ImportError as error:
        raise MissingDependency("pandas", "to_pandas()", "pandas") from error
    return DataFrame(list(rows), columns=list(columns))
