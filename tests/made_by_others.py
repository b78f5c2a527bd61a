"""Indexes that other libraries made, put into a Redis as `made_elsewhere/make.py` recorded them."""

import base64
import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "made_elsewhere"
ON_HASHES = ["redisvl-hash", "redisvl-hnsw", "langchain", "llama-index"]
# What the recorded queries are; `make.py` draws them in the same way.
QUERIES = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)


def recording(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


@contextmanager
def made(client, name):
    """Put a recorded index into a Redis, and take it away at the end; yields the recording."""
    recorded = recording(name)
    client.execute_command(*recorded["create"])
    on_json = "JSON" in recorded["create"]
    for key, stored in recorded["stored"].items():
        if on_json:
            client.execute_command("JSON.SET", key, "$", json.dumps(stored))
        else:
            client.hset(key, mapping={field: base64.b64decode(value) for field, value in stored.items()})
    yield recorded
    client.execute_command("FT.DROPINDEX", name, "DD")


def found_by(recorded):
    """Return ids and distances that the library found for each query, as ragknn gives them."""
    squared = "L2" in recorded["create"]
    return [
        [
            (one.split(":", 1)[1] if one.startswith("llama-index:") else one, distance**0.5 if squared else distance)
            for one, distance in found
        ]
        for found in recorded["found"]
    ]
