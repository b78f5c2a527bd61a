"""Which stores take part, and a server for them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.measuring.results import LeftOut
from benchmarks.stores.bare import Bare
from benchmarks.stores.ours import RagKNN
from benchmarks.stores.shapes import Shape, Store, Unfit
from benchmarks.stores.with_chroma import Chroma
from benchmarks.stores.with_faiss import Faiss
from benchmarks.stores.with_langchain import LangChain
from benchmarks.stores.with_llama_index import LlamaIndex
from benchmarks.stores.with_redisvl import RedisVL
from ragknn.server import RedisServer

STORES: tuple[type[Store], ...] = (RagKNN, Bare, RedisVL, LangChain, LlamaIndex, Faiss, Chroma)


@contextmanager
def server() -> Iterator[str]:
    """Start a Redis with an empty data folder, and give its URL."""
    with tempfile.TemporaryDirectory() as folder, RedisServer(folder) as started:
        yield started.url


def those_that_can(url: str, shape: Shape) -> tuple[list[type[Store]], list[LeftOut]]:
    """Return the stores that can make an index of the shape, and why the others cannot."""
    able, left_out = [], []
    for store in STORES:
        try:
            store(url, shape).close()
        except ImportError as error:
            left_out.append(LeftOut(store.name, f"not installed ({error}): pip install -r benchmarks/peers.txt"))
        except Unfit as error:
            left_out.append(LeftOut(store.name, f"{shape}: {error}"))
        else:
            able.append(store)
    return able, left_out


@contextmanager
def opened(url: str, shape: Shape, stores: Sequence[type[Store]]) -> Iterator[list[Store]]:
    """Give an empty store of each kind, and remove what is in them in the end."""
    made = [store(url, shape) for store in stores]
    try:
        yield made
    finally:
        for store in made:
            store.close()
