"""The vector store, put to everything that LlamaIndex's users expect of one."""

from contextlib import suppress

import pytest
from llama_index_cases import CASES, FIELDS, FILTER_CASES

from ragknn import IndexNotFound
from ragknn.integrations.llama_index import RagKNNVectorStore


@pytest.fixture
def make(redis_url, index_name, fields):
    """What makes an empty store, with fields or without any."""
    stores = []

    def made():
        stores.append(RagKNNVectorStore(f"{index_name}.{len(stores)}", url=redis_url, fields=fields))
        return stores[-1]

    yield made
    for store in stores:
        store.close()
        with suppress(IndexNotFound):  # never used
            store.index.open().drop()


@pytest.mark.parametrize("fields", [FIELDS], ids=["declared"])
@pytest.mark.parametrize("name", CASES)
def test_the_store_is_as_expected(name, make):
    CASES[name](make)


@pytest.mark.parametrize("fields", [None], ids=["undeclared"])
@pytest.mark.parametrize("name", sorted(FILTER_CASES))
def test_filters_work_on_entries_that_were_not_declared(name, make):
    CASES[name](make)
