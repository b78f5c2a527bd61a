"""The suites that LangChain has for stores, retrievers and embeddings, and its indexing, whole, on the real Redis."""

import pytest
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests

from ragknn import HashingEmbedder, Index
from ragknn.integrations.langchain import LangChainEmbedder, RagKNNEmbeddings, RagKNNRetriever, RagKNNVectorStore

# The suites are written for the mode of pytest-asyncio that takes each async test for its own.
marked = pytest.mark.filterwarnings("ignore:.*is marked with '@pytest.mark.asyncio' but it is not an async function")


@marked
@pytest.mark.asyncio
class TestStore(VectorStoreIntegrationTests):
    @pytest.fixture(params=[None, "source"], ids=["apart", "by source"])
    def vectorstore(self, request, redis_url, index_name):
        embedder = LangChainEmbedder(self.get_embeddings(), name="LangChain's fake")
        store = RagKNNVectorStore(index_name, embedder, url=redis_url, document_key=request.param)
        yield store
        store.close()


class Retrievers(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def filled(self, redis_url, index_name):
        self.arguments = (index_name, redis_url)
        with Index(index_name, url=redis_url, embedder=HashingEmbedder(16)) as index:
            RagKNNVectorStore(index).add_texts(["red apple", "green apple", "red pear", "apple tree"])
            self.index = index
            yield

    @property
    def retriever_query_example(self):
        return "apple"


@marked
@pytest.mark.asyncio
class TestRetriever(Retrievers):
    retriever_constructor = RagKNNRetriever

    @property
    def retriever_constructor_params(self):
        return {"index": self.index}


def as_retriever(k=4, **options):
    return RagKNNVectorStore.from_index(options["index"]).as_retriever(search_kwargs={"k": k})


@marked
@pytest.mark.asyncio
class TestRetrieverOfStore(Retrievers):
    @property
    def retriever_constructor(self):
        return as_retriever

    @property
    def retriever_constructor_params(self):
        return {"index": self.index}


class OfHashing:
    @property
    def embeddings_class(self):
        return RagKNNEmbeddings

    @property
    def embedding_model_params(self):
        return {"embedder": HashingEmbedder(16)}


class TestEmbeddings(OfHashing, EmbeddingsUnitTests):
    pass


@marked
@pytest.mark.asyncio
class TestEmbeddingsIntegration(OfHashing, EmbeddingsIntegrationTests):
    pass
