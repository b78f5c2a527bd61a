"""Names of embedders, and words in their identities, that have a meaning of their own."""

from __future__ import annotations

READY_VECTORS = "ready vectors"  # in place of a name, where the user brings the vectors
HASHING_PREFIX = "ragknn/hashing-"  # of a `HashingEmbedder`; its dim follows
SERVICE = "service"  # in the identity: a service makes the vectors, and an index must not decide which is asked
FUNCTION = "function"  # in the identity: what embeds cannot be made from its name
