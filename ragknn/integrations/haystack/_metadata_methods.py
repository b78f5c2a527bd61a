"""What a document store tells of the metadata of its documents.

All but the count look at the metadata themselves, as they were written: an index does not tell 1 from 1.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ragknn.integrations.haystack._documents import meta_of
from ragknn.integrations.haystack._filters import where_of
from ragknn.integrations.haystack._metadata import count_unique, field_name, range_of, types_of, unique_page
from ragknn.integrations.haystack._operations import Operation, counting, listing
from ragknn.integrations.haystack._store import Store

Filters = Mapping[str, Any]


class MetadataMethods(Store):
    """Counts, types, ranges and values of the metadata."""

    def count_documents_by_filter(self, filters: Filters) -> int:
        """Return how many documents match.

        Raises:
            FilterError: filters without a meaning.
            DocumentStoreError: no server.
        """
        return self._read(counting(where_of(filters)), 0, filtered=bool(filters))

    async def count_documents_by_filter_async(self, filters: Filters) -> int:
        """Async twin of `count_documents_by_filter`."""
        return await self._read_async(counting(where_of(filters)), 0, filtered=bool(filters))

    def count_unique_metadata_by_filter(self, filters: Filters, metadata_fields: Sequence[str]) -> dict[str, int]:
        """Return for each entry of the metadata how many different values it has in the documents that match.

        Args:
            filters: which documents; {} for all.
            metadata_fields: names, with or without `meta.` before them.

        Raises:
            FilterError: filters without a meaning.
            DocumentStoreError: no server.
        """
        metas: list[dict[str, Any]] = self._read(_metas(filters), [], filtered=bool(filters))
        return count_unique(metas, map(field_name, metadata_fields))

    async def count_unique_metadata_by_filter_async(
        self, filters: Filters, metadata_fields: Sequence[str]
    ) -> dict[str, int]:
        """Async twin of `count_unique_metadata_by_filter`."""
        metas: list[dict[str, Any]] = await self._read_async(_metas(filters), [], filtered=bool(filters))
        return count_unique(metas, map(field_name, metadata_fields))

    def get_metadata_fields_info(self) -> dict[str, dict[str, str]]:
        """Return the type of each entry of the metadata: keyword, int, float or boolean, as in {"type": "int"}.

        Raises:
            DocumentStoreError: no server.
        """
        return types_of(self._read(_metas(None), []))

    async def get_metadata_fields_info_async(self) -> dict[str, dict[str, str]]:
        """Async twin of `get_metadata_fields_info`."""
        return types_of(await self._read_async(_metas(None), []))

    def get_metadata_field_min_max(self, metadata_field: str) -> dict[str, Any]:
        """Return the smallest and the largest value of an entry of the metadata, as "min" and "max".

        Both are None where no document has a string or a number there, or some have one and some the other.

        Raises:
            DocumentStoreError: no server.
        """
        return range_of(self._read(_values(metadata_field, None), []))

    async def get_metadata_field_min_max_async(self, metadata_field: str) -> dict[str, Any]:
        """Async twin of `get_metadata_field_min_max`."""
        return range_of(await self._read_async(_values(metadata_field, None), []))

    def get_metadata_field_unique_values(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: Filters | None = None,
    ) -> tuple[list[Any], int]:
        """Return a page of the different values of an entry of the metadata, and how many there are in all.

        Args:
            metadata_field: its name, with or without `meta.` before it.
            search_term: only values that have it in them, without regard to case.
            from_: how many values to pass over; they are sorted as strings.
            size: how many to return at most.
            filters: of which documents.

        Raises:
            FilterError: filters without a meaning.
            DocumentStoreError: no server.
        """
        values: list[Any] = self._read(_values(metadata_field, filters), [], filtered=bool(filters))
        return unique_page(values, search_term, from_, size)

    async def get_metadata_field_unique_values_async(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: Filters | None = None,
    ) -> tuple[list[Any], int]:
        """Async twin of `get_metadata_field_unique_values`."""
        values: list[Any] = await self._read_async(_values(metadata_field, filters), [], filtered=bool(filters))
        return unique_page(values, search_term, from_, size)


def _metas(filters: Filters | None) -> Operation[list[dict[str, Any]]]:
    return listing(where_of(filters), meta_of)


def _values(name: str, filters: Filters | None) -> Operation[list[Any]]:
    key = field_name(name)
    return listing(where_of(filters), lambda passage: meta_of(passage).get(key))
