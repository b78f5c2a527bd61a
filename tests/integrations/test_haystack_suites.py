"""The suites that Haystack has for document stores, whole, on the real Redis."""

import pytest
import pytest_asyncio
from haystack import Document
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.testing import document_store as suites
from haystack.testing import document_store_async as async_suites

from haystack_integrations.document_stores.ragknn import RagKNNDocumentStore

# What the suites compare by its size; all other entries are only compared for equality.
FIELDS = {"meta.number": "numeric", "meta.date": "numeric"}


def by_id(documents):
    return sorted(documents, key=lambda one: one.id)


class OnRedis:
    """A store of its own for each test, and a comparison that knows no order."""

    @pytest.fixture
    def document_store(self, redis_url, index_name):
        store = RagKNNDocumentStore(index_name, url=redis_url, embedding_dim=768, dtype="float64", fields=FIELDS)
        yield store
        store.close()

    @staticmethod
    def assert_documents_are_equal(received, expected):
        assert by_id(received) == by_id(expected)


class TestSync(
    OnRedis,
    suites.DocumentStoreBaseExtendedTests,
    suites.CountDocumentsByFilterTest,
    suites.CountUniqueMetadataByFilterTest,
    suites.GetMetadataFieldsInfoTest,
    suites.GetMetadataFieldMinMaxTest,
    suites.GetMetadataFieldUniqueValuesTest,
):
    def test_write_documents(self, document_store):
        document = Document(content="test doc")
        assert document_store.write_documents([document]) == 1
        with pytest.raises(DuplicateDocumentError):
            document_store.write_documents([document])
        self.assert_documents_are_equal(document_store.filter_documents(), [document])


class TestAsync(
    OnRedis,
    async_suites.CountDocumentsAsyncTest,
    async_suites.CountDocumentsByFilterAsyncTest,
    async_suites.CountUniqueMetadataByFilterAsyncTest,
    async_suites.DeleteAllAsyncTest,
    async_suites.DeleteByFilterAsyncTest,
    async_suites.DeleteDocumentsAsyncTest,
    async_suites.FilterDocumentsAsyncTest,
    async_suites.GetMetadataFieldMinMaxAsyncTest,
    async_suites.GetMetadataFieldsInfoAsyncTest,
    async_suites.GetMetadataFieldUniqueValuesAsyncTest,
    async_suites.UpdateByFilterAsyncTest,
    async_suites.WriteDocumentsAsyncTest,
):
    @pytest_asyncio.fixture
    async def document_store(self, redis_url, index_name):
        store = RagKNNDocumentStore(index_name, url=redis_url, embedding_dim=768, dtype="float64", fields=FIELDS)
        yield store
        await store.close_async()

    @pytest.mark.asyncio
    async def test_write_documents_async(self, document_store):
        document = Document(content="test doc")
        assert await document_store.write_documents_async([document]) == 1
        with pytest.raises(DuplicateDocumentError):
            await document_store.write_documents_async([document])
        self.assert_documents_are_equal(await document_store.filter_documents_async(), [document])


def test_no_suite_is_left_out():
    """What a newer Haystack adds to its suites fails here until it is taken up above."""
    for module, taken in ((suites, TestSync), (async_suites, TestAsync)):
        mixins = [
            one for name, one in vars(module).items() if name.endswith("Test") and one.__module__ == module.__name__
        ]
        assert [one.__name__ for one in mixins if not issubclass(taken, one)] == []
