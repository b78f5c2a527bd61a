"""What the retrievers share: their store, their filters, and how they are written down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from haystack import default_from_dict, default_to_dict
from haystack.document_stores.types import FilterPolicy, apply_filter_policy

from ragknn.integrations.haystack._options import checked_options
from ragknn.integrations.haystack.document_store import RagKNNDocumentStore


class BaseRetriever:
    """A retriever without its search.

    Args:
        document_store: where to look.
        filters: which documents are looked at.
        top_k: how many are returned at most.
        filter_policy: whether filters that come with a call take the place of `filters`, REPLACE, or go with them,
            MERGE.
        options: of the search, beyond those that the retriever names.
        own: arguments of the retriever alone; each can be given anew with a call.

    Raises:
        TypeError: a store of another kind.
        ValueError: `top_k` below 1, or an option that does not exist.
    """

    def __init__(
        self,
        document_store: RagKNNDocumentStore,
        filters: dict[str, Any] | None,
        top_k: int,
        filter_policy: FilterPolicy,
        options: dict[str, Any] | None,
        **own: Any,
    ) -> None:
        if not isinstance(document_store, RagKNNDocumentStore):
            raise TypeError(f"expected a RagKNNDocumentStore, got {type(document_store).__name__}")
        if not isinstance(top_k, int) or top_k < 1:
            raise ValueError(f"expected top_k as a whole number of 1 or more, got {top_k!r}")
        if isinstance(filter_policy, str):
            filter_policy = FilterPolicy.from_str(filter_policy)
        self.document_store = document_store
        self.filters = filters
        self.top_k = top_k
        self.filter_policy = filter_policy
        self.options = options
        checked_options(options)
        self._own = own

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments of the retriever and of its store, for `from_dict`."""
        return default_to_dict(
            self,
            document_store=self.document_store,
            filters=self.filters,
            top_k=self.top_k,
            filter_policy=self.filter_policy.value,
            options=self.options,
            **self._own,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the retriever that `to_dict` told of."""
        return default_from_dict(cls, data)

    def _asked(self, filters: dict[str, Any] | None, top_k: int | None, **own: Any) -> Mapping[str, Any]:
        """Return the arguments of a search; what the call leaves out is as the retriever has it."""
        named = {name: self._own[name] if value is None else value for name, value in own.items()}
        return {
            "filters": apply_filter_policy(self.filter_policy, self.filters, filters),
            "top_k": self.top_k if top_k is None else top_k,
            "options": self.options,
            **named,
        }
