"""What a model of sentence-transformers reads of texts: rows of tokens, of one length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_MODULES = ("Transformer", "Pooling", "Normalize", "Dense")


class Padding(NamedTuple):
    """How rows of tokens are filled up.

    Attributes:
        token: number of the token that fills them.
        before: whether it is put before the others.
    """

    token: int
    before: bool

    @classmethod
    def of(cls, model: Any) -> Padding:
        """Return how the tokenizer of a loaded model does it."""
        tokenizer = model.tokenizer
        number = int(getattr(tokenizer, "pad_token_id", None) or 0)
        return cls(number, getattr(tokenizer, "padding_side", "right") == "left")

    def fill(self, ids: Sequence[NDArray[np.int32]]) -> dict[str, NDArray[np.int64]]:
        """Return the arrays of `INPUTS` by name, each of shape (texts, tokens of the longest)."""
        width = max(map(len, ids))
        shape = (len(ids), width)
        tokens, mask = np.full(shape, self.token, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for row, own in enumerate(ids):
            place = slice(width - len(own), width) if self.before else slice(len(own))
            tokens[row, place] = own
            mask[row, place] = 1
        return dict(zip(INPUTS, (tokens, mask, np.zeros(shape, dtype=np.int64)), strict=True))


def why_not(model: Any) -> str | None:
    """Return why a loaded model cannot be called with rows of tokens alone; None if it can."""
    modules = list(model.children())
    foreign = [
        type(module).__name__
        for module in modules
        if type(module).__name__ not in _MODULES or not type(module).__module__.startswith("sentence_transformers.")
    ]
    if foreign or not modules or type(modules[0]).__name__ != "Transformer":
        return f"a module of the model is none of those that it can run: {', '.join(foreign) or 'no transformer'}"
    if any(getattr(module, "include_prompt", True) is False for module in modules):
        return "the model leaves the prompt out of its vectors"
    if other := set(features(model, ["a text"])) - set(INPUTS):
        return f"the model reads more than the tokens of a text: {', '.join(sorted(other))}"
    return None


def features(model: Any, texts: list[str]) -> dict[str, Any]:
    """Return the tensors that a loaded model makes of texts itself, by name."""
    import torch  # late, because it takes seconds to import; here it is loaded already

    made = (getattr(model, "preprocess", None) or model.tokenize)(texts)
    return {name: value for name, value in made.items() if isinstance(value, torch.Tensor)}
