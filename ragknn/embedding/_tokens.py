"""The tokens of a text, each text tokenized once while it is on its way."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# A text is measured, split, checked and embedded one after the other; by then it must still be remembered. A batch of
# passages on its way is 256 texts. A token takes 16 bytes here, so that these are 16 MB at most.
_REMEMBERED = 512  # texts
_LONGEST_REMEMBERED = 2_000  # characters
_AT_ONCE = 1_024  # texts, where they are tokenized on all cores


class _Encoded(NamedTuple):
    """What a tokenizer says of a text.

    Attributes:
        ids: numbers of the tokens, special ones among them, shape (n,).
        spans: start and end in characters of each token but the special ones, shape (m, 2); None: not asked for.
    """

    ids: NDArray[np.int32]
    spans: NDArray[np.int32] | None


class Tokens:
    """A tokenizer that remembers the last texts.

    Args:
        tokenizer: one that neither truncates nor pads.
        limit: most tokens that the model reads, special ones counted; None for no limit.
        on_all_cores: whether many texts are tokenized beside each other, as fits where a GPU computes. A fork does
            not survive the tokenizer's threads.
    """

    def __init__(self, tokenizer: Tokenizer, limit: int | None, on_all_cores: bool = False) -> None:
        self._tokenizer = tokenizer
        self._limit = limit
        self._on_all_cores = on_all_cores
        self._cutting: Tokenizer | None = None  # one that truncates
        self._remembered: OrderedDict[str, _Encoded] = OrderedDict()
        self._most = _REMEMBERED
        self.special = len(self._encode("").ids)

    def prepare(self, texts: Sequence[str]) -> None:
        """Tokenize many texts on all cores, where that is wanted; they are remembered until the next are prepared."""
        if not self._on_all_cores:
            return
        self._most = max(_REMEMBERED, len(texts))
        new = [text for text in dict.fromkeys(texts) if not self._is_known(text)]
        for start in range(0, len(new), _AT_ONCE):
            chunk = new[start : start + _AT_ONCE]
            for text, encoding in zip(chunk, self._tokenizer.encode_batch_fast(chunk), strict=True):
                self._remember(text, _Encoded(np.asarray(encoding.ids, dtype=np.int32), None))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return (start, end) in characters of each token of the text, special tokens left out."""
        encoded = self._encoded(text)
        spans = self._encode(text).spans if encoded.spans is None else encoded.spans
        assert spans is not None
        starts, ends = spans.T.tolist()
        return list(zip(starts, ends, strict=True))

    def count(self, text: str) -> int:
        """Return the number of tokens of the text, special tokens left out."""
        return len(self._encoded(text).ids) - self.special

    def ids(self, text: str) -> NDArray[np.int32]:
        """Return the numbers of the tokens that the model reads of the text, shape (n,)."""
        ids = self._encoded(text).ids
        return ids if self._limit is None or len(ids) <= self._limit else self._cut(text, self._limit)

    def _encoded(self, text: str) -> _Encoded:
        known = self._remembered.get(text)
        if known is None:
            known = self._encode(text)
            if len(text) <= _LONGEST_REMEMBERED:
                self._remember(text, known)
        return known

    def _is_known(self, text: str) -> bool:
        with suppress(KeyError):
            self._remembered.move_to_end(text)  # so that it is there when its turn comes
            return True
        return False

    def _remember(self, text: str, encoded: _Encoded) -> None:
        self._remembered[text] = encoded
        while len(self._remembered) > self._most:
            with suppress(KeyError):  # another thread was quicker
                self._remembered.popitem(last=False)

    def _encode(self, text: str) -> _Encoded:
        # One by one: for a batch the tokenizer starts threads.
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
