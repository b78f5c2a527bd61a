"""Copies of an index, and its pickle: neither is open, and each connects by itself when it is first used."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from ragknn.indexing._reaching import Reach

# What an open index has and a copy has not: the copy connects and opens again when it is first used.
_LIVE = (
    *("_client", "_clients", "_reader", "_readers", "_opened", "_closed", "_watch", "_kept", "_places", "_lock"),
    *("_settings", "_embedder_fits"),
)


class Copied:
    """What can be copied and pickled while it is open."""

    name: str
    _reach: Reach
    _embedder_is_ours: bool

    def _renew(self) -> None:
        """Be not open, as every index is at first."""
        raise NotImplementedError

    def _lasting(self) -> dict[str, Any]:
        state = {name: value for name, value in self.__dict__.items() if name not in _LIVE}
        if self._embedder_is_ours:  # made from the manifest or the settings, and so it is again
            state["_embedder"] = None
        return state

    def __getstate__(self) -> dict[str, Any]:
        if self._reach.client is not None:
            raise TypeError(
                f"expected an index that connects by itself to pickle, got {self.name!r} with a client that was handed "
                "in, and connections cannot be pickled: pass url= in place of client="
            )
        return self._lasting()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._renew()

    def __copy__(self) -> Self:
        twin = type(self).__new__(type(self))
        twin.__setstate__(self._lasting())
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        memo[id(self._reach.client)] = self._reach.client  # a client that was handed in is shared
        memo[id(self)] = twin = type(self).__new__(type(self))
        twin.__setstate__(deepcopy(self._lasting(), memo))
        return twin
