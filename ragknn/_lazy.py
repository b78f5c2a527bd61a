"""Records that are read out of what a server sent field by field, when somebody looks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, Self


class Lazy:
    """What a slotted dataclass inherits to be made of a source, out of which each field is read at its first use.

    A source is a tuple: of what reads each field, by its name, called with the source; and of what that needs. In all
    else such a record is like one that was made of its values: it is equal to it, and is printed, copied and pickled
    in the same way.
    """

    __slots__ = ("_source",)

    @classmethod
    def from_sources(cls, sources: Sequence[tuple[Any, ...]], **known: Iterable[Any]) -> list[Self]:
        """Return a record of each source, without a step of Python's for each: a search makes many.

        Args:
            sources: what the records are read out of.
            known: values of fields that are read already, one for each record.
        """
        records = list(map(cls.__new__, repeat(cls, len(sources))))
        any(map(_set_source, records, sources))  # which goes through them all, as none returns anything
        for name, values in known.items():
            any(map(cls.__dict__[name].__set__, records, values))
        return records

    if not TYPE_CHECKING:  # which would take any name for one that there is

        def __getattr__(self, name: str) -> Any:
            # Python asks here for what is not there: the slots that are not filled yet.
            source = _source_of(self)
            if (read := source[0].get(name)) is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            value = read(source)
            _set(self, name, value)
            return value


_set = object.__setattr__
# Past what forbids to set, and past the question for what is not there.
_set_source, _source_of = Lazy.__dict__["_source"].__set__, Lazy.__dict__["_source"].__get__
