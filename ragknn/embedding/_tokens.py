"""The tokens of a text, each text tokenized once while it is on its way."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# A text is measured, split, checked and embedded one after the other; by then it must still be remembered. A batch of
# passages on its way is 256 texts. A token takes 16 bytes here, so that these are 16 MB at most.
_REMEMBERED = 512  # texts
_LONGEST_REMEMBERED = 2_000  # characters


class _Encoded(NamedTuple):
    """What a tokenizer says of a text.

    Attributes:
        ids: numbers of the tokens, special ones among them, shape (n,).
        spans: start and end in characters of each token but the special ones, shape (m, 2).
    """

    ids: NDArray[np.int32]
    spans: NDArray[np.int32]


class Tokens:
    """A tokenizer that remembers the last texts.

    Args:
        tokenizer: one that neither truncates nor pads.
        limit: most tokens that the model reads, special ones counted; None for no limit.
    """

    def __init__(self, tokenizer: Tokenizer, limit: int | None) -> None:
        self._tokenizer = tokenizer
        self._limit = limit
        self._cutting: Tokenizer | None = None  # one that truncates
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._encode)
        self.special = len(self._encode("").ids)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return (start, end) in characters of each token of the text, special tokens left out."""
        starts, ends = self._encoded(text).spans.T.tolist()
        return list(zip(starts, ends, strict=True))

    def count(self, text: str) -> int:
        """Return the number of tokens of the text, special tokens left out."""
        return len(self._encoded(text).spans)

    def ids(self, text: str) -> NDArray[np.int32]:
        """Return the numbers of the tokens that the model reads of the text, shape (n,)."""
        ids = self._encoded(text).ids
        return ids if self._limit is None or len(ids) <= self._limit else self._cut(text, self._limit)

    def _encoded(self, text: str) -> _Encoded:
        return self._remembered(text) if len(text) <= _LONGEST_REMEMBERED else self._encode(text)

    def _encode(self, text: str) -> _Encoded:
        # One by one: in a batch the tokenizer would start threads, which a fork does not survive.
        encoding = self._tokenizer.encode(text, add_special_tokens=True)
        own = np.asarray(encoding.special_tokens_mask, dtype=bool)
        spans = np.asarray(encoding.offsets, dtype=np.int32).reshape(-1, 2)[~own]
        return _Encoded(np.asarray(encoding.ids, dtype=np.int32), spans)

    def _cut(self, text: str, limit: int) -> NDArray[np.int32]:
        if self._cutting is None:
            from tokenizers import Tokenizer  # late, since an index of ready vectors needs none

            cutting = Tokenizer.from_str(self._tokenizer.to_str())
            cutting.enable_truncation(limit)
            self._cutting = cutting
        return np.asarray(self._cutting.encode(text).ids, dtype=np.int32)
