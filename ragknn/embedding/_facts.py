"""What is known of a model besides its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ragknn.embedding._models import makes_unit_vectors


@dataclass(frozen=True, slots=True)
class Facts:
    """What an embedder says of its model, and needs to call it.

    Attributes:
        dim: number of values in a vector.
        limit: most tokens that the model reads, special ones counted; None for no limit.
        prompts: text before each "query" and "document".
        unit: whether the last step of the model is to bring its vectors to length 1.
    """

    dim: int
    limit: int | None
    prompts: Mapping[str, str]
    unit: bool

    @classmethod
    def of(cls, model: Any) -> Facts:
        """Return the facts of a loaded model of sentence-transformers."""
        limit = model.max_seq_length
        return cls(
            dim=int(model.get_embedding_dimension()),
            limit=None if limit is None or limit == math.inf else int(limit),  # infinite for static embeddings
            prompts={role: model.prompts.get(role) or "" for role in ("query", "document")},
            unit=makes_unit_vectors(model),
        )
