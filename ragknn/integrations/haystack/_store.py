"""What a document store is made of, and how it runs an operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from haystack import default_from_dict, default_to_dict
from haystack.utils import Secret

from ragknn import Algorithm, DType, FieldType, Metric
from ragknn.integrations._steps import arun, run
from ragknn.integrations.haystack._errors import as_haystack
from ragknn.integrations.haystack._metadata import field_name
from ragknn.integrations.haystack._opening import Wanted, closing, dropping, reading, sides, writing
from ragknn.integrations.haystack._operations import Operation
from ragknn.server import without_password

_T = TypeVar("_T")


class Store:
    """A store without its methods; the arguments are explained at `RagKNNDocumentStore`."""

    def __init__(
        self,
        index: str,
        *,
        url: Secret | str | None = None,
        embedding_dim: int | None = None,
        model: str | None = None,
        fields: Mapping[str, FieldType] | None = None,
        metric: Metric | None = None,
        algorithm: Algorithm | None = None,
        dtype: DType | None = None,
        language: str | None = None,
        required_filter: str | None = None,
        timeout: float | None = None,
        create: bool = True,
    ) -> None:
        named = {
            "metric": metric,
            "algorithm": algorithm,
            "dtype": dtype,
            "language": language,
            "timeout": timeout,
        }
        if fields is not None and not isinstance(fields, Mapping):
            raise TypeError(f'expected fields as a mapping such as {{"meta.year": "numeric"}}, got {fields!r}')
        declared = {field_name(name): kind for name, kind in (fields or {}).items()}
        if required_filter is not None:
            required_filter = field_name(required_filter)
            declared.setdefault(required_filter, "tag")
        self._wanted = Wanted(
            name=index,
            url=url,
            dim=embedding_dim,
            model=model,
            fields=declared,
            required_filter=required_filter,
            create=create,
            named={name: value for name, value in named.items() if value is not None},
        )
        self._wanted.check()
        self._sync, self._async = sides()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._wanted.name!r})"

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments of the store, for `from_dict`.

        A `url` that is a string is without its password, which `RAGKNN_PASSWORD` has then; a `Secret` of an environment
        variable is the name of that.

        Raises:
            ValueError: `url` is a secret that is not in the environment.
        """
        wanted = self._wanted
        return default_to_dict(
            self,
            index=wanted.name,
            url=without_password(wanted.url) if isinstance(wanted.url, str) else wanted.url,
            embedding_dim=wanted.dim,
            model=wanted.model,
            fields=dict(wanted.fields),
            required_filter=wanted.required_filter,
            create=wanted.create,
            **wanted.named,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the store that `to_dict` told of; it is not open."""
        return default_from_dict(cls, data)

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        with as_haystack():
            run(closing(self._sync))

    async def close_async(self) -> None:
        """Close the connections of the async methods."""
        with as_haystack():
            await arun(closing(self._async))

    def _read(self, operation: Operation[_T], empty: _T, *, filtered: bool = False) -> _T:
        with as_haystack(filtered=filtered):
            return run(reading(self._wanted, self._sync, operation, empty))

    async def _read_async(self, operation: Operation[_T], empty: _T, *, filtered: bool = False) -> _T:
        with as_haystack(filtered=filtered):
            return await arun(reading(self._wanted, self._async, operation, empty))

    def _write(self, operation: Operation[_T], dim: int | None) -> _T:
        with as_haystack():
            return run(writing(self._wanted, self._sync, operation, dim))

    async def _write_async(self, operation: Operation[_T], dim: int | None) -> _T:
        with as_haystack():
            return await arun(writing(self._wanted, self._async, operation, dim))

    def _drop(self) -> None:
        with as_haystack():
            run(dropping(self._wanted, self._sync, self._async))

    async def _drop_async(self) -> None:
        with as_haystack():
            await arun(dropping(self._wanted, self._async, self._sync))
