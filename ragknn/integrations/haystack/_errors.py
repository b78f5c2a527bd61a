"""The errors of ragknn as those that Haystack knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from haystack.document_stores.errors import DocumentStoreError
from haystack.errors import FilterError

from ragknn import MissingDependency, RagKNNError


class Unfit(ValueError):
    """An argument that Haystack's own components answer with a ValueError; it is no wrong filter."""


@contextmanager
def as_haystack(*, filtered: bool = False) -> Iterator[None]:
    """Raise what ragknn raises as `DocumentStoreError`, and what it says of a filter as `FilterError`.

    Args:
        filtered: whether the call has filters: then a wrong value is one of theirs.
    """
    try:
        yield
    except (Unfit, MissingDependency):  # the latter says what to install
        raise
    except RagKNNError as error:
        raise DocumentStoreError(str(error)) from error
    except (TypeError, ValueError) as error:
        raise (FilterError if filtered else DocumentStoreError)(str(error)) from error
