"""What a numeric field takes, and as which number: numbers as floats, moments as seconds."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from ragknn._checks import shown

# ISO 8601 allows dates without hyphens too; those could as well be numbers in quotation marks.
_ISO_DATE = re.compile(r"\d{4}-(\d{2}-\d{2}|W\d{2}-\d)([T ].+)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LARGEST_EXACT = 2**53  # from here on not every whole number is a float
_PER_SECOND = {unit: 1_000**power for power, unit in enumerate(("s", "ms", "us", "ns", "ps", "fs", "as"))}
_EXPECTED_NUMBER = "expected a number, a date or an ISO 8601 string such as '2024-02-29'"


def as_number(value: Any) -> float:
    """Return the value of a numeric field as the server keeps it: a float, and of a date the seconds since 1970 UTC.

    Args:
        value: a number, a bool (0 or 1), a date (its midnight), a datetime, a `datetime64`, or a date as an ISO 8601
            string; without a time zone they are taken as UTC. Parts of microseconds are left out.

    Raises:
        TypeError: it is none of these.
        ValueError: it is text that is no date, NaN or NaT, a number that is too large for a float or that a float
            cannot hold exactly, or a date whose year has not four digits.
    """
    if type(value) is float and value == value:
        return value
    if type(value) is int and abs(value) < LARGEST_EXACT:
        return float(value)
    moment = _as_moment(value)
    if moment is not None:
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH).total_seconds()
    if isinstance(value, str):
        raise ValueError(f"{_EXPECTED_NUMBER}, got {shown(value)}")  # noqa: TRY004  # other text is a date
    return _as_float(value)


def _as_moment(value: Any) -> datetime | None:
    if hasattr(value, "to_datetime64"):  # a pandas.Timestamp has nanoseconds, which are of no use here
        value = value.to_datetime64()
    if isinstance(value, np.datetime64):
        return _as_datetime(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time())
    if isinstance(value, str):
        return _parse_iso(value)
    return value if isinstance(value, datetime) else None


def _as_datetime(value: np.datetime64) -> datetime:
    if np.isnat(value):
        raise ValueError(f"{_EXPECTED_NUMBER}, got NaT, which is no time: leave it out, or pass None")
    unit, step = np.datetime_data(value)
    if unit not in _PER_SECOND:
        # Years first: in a finer unit a far one would be another, without a word.
        year = int(value.astype("datetime64[Y]").astype(np.int64)) + 1970
        if not 1 <= year <= 9999:
            raise ValueError(f"{_EXPECTED_NUMBER}, got the year {year}: dates go from 0001 to 9999")
        value, unit, step = value.astype("datetime64[s]"), "s", 1
    count = int(value.astype(np.int64)) * step
    try:
        return _EPOCH + timedelta(microseconds=count * 1_000_000 // _PER_SECOND[unit])
    except OverflowError:
        raise ValueError(f"{_EXPECTED_NUMBER}, got {count} {unit} since 1970: dates go from 0001 to 9999") from None


def _as_float(value: Any) -> float:
    if isinstance(value, np.number | np.bool_) and not isinstance(value, np.timedelta64):
        value = value.item()
    if not isinstance(value, Real | Decimal) or isinstance(value, np.timedelta64):
        raise TypeError(f"{_EXPECTED_NUMBER}, got {shown(value)} of type {type(value).__name__}")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{_EXPECTED_NUMBER}, got {shown(value)}: {error}") from error
    if number != number:
        raise ValueError(f"{_EXPECTED_NUMBER}, got NaN")
    if not isinstance(value, float) and abs(number) >= LARGEST_EXACT and number != value:
        raise ValueError(
            f"expected a number that a float holds exactly, as each whole number to 2**53 is, got {shown(value)}: "
            "declare the field as tag, which keeps all its digits"
        )
    return number


def _parse_iso(text: str) -> datetime | None:
    with suppress(ValueError):
        return datetime.fromisoformat(text) if _ISO_DATE.fullmatch(text) else None
    return None
