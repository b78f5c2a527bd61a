"""Records that are read out of what a server sent field by field, when somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Self


class Lazy:
    """What a slotted dataclass inherits to be made of a source, out of which each field is read at its first use.

    In all else such a record is like one that was made of its values: it is equal to it, and is printed, copied and
    pickled in the same way.
    """

    __slots__ = ("_source",)

    @classmethod
    def from_sources(cls, read: Callable[[str, Any], Any], sources: Iterable[Any]) -> list[Self]:
        """Return records whose fields are `read(name, source)`."""
        new, set_source = cls.__new__, _set_source
        records = []
        for source in sources:
            record = new(cls)
            set_source(record, (read, source))
            records.append(record)
        return records

    if not TYPE_CHECKING:  # which would take any name for one that there is

        def __getattr__(self, name: str) -> Any:
            # Python asks here for what is not there: the slots that are not filled yet.
            if name not in self.__dataclass_fields__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            read, source = self._source
            value = read(name, source)
            _set(self, name, value)
            return value


_set = object.__setattr__
_set_source = Lazy.__dict__["_source"].__set__  # past what forbids to set, and quicker than to go around it
