"""ragknn in LangChain: a vector store, a retriever, and embeddings in both directions.

    from ragknn.integrations.langchain import RagKNNVectorStore

    store = RagKNNVectorStore("handbook")    # without a Redis URL an embedded server is started
    store.add_texts(["The rent is due on the third working day."])
    store.similarity_search("When is the rent due?", k=1)

langchain-core is optional: `pip install 'ragknn[langchain]'`.
"""

try:
    import langchain_core  # noqa: F401  # before the imports below, whose error would be less helpful
except ModuleNotFoundError as error:
    from ragknn import MissingDependency

    raise MissingDependency("langchain-core", "ragknn.integrations.langchain", "langchain") from error

from ragknn.integrations.langchain.embeddings import LangChainEmbedder, RagKNNEmbeddings
from ragknn.integrations.langchain.retriever import RagKNNRetriever
from ragknn.integrations.langchain.vectorstore import RagKNNVectorStore

__all__ = ["LangChainEmbedder", "RagKNNEmbeddings", "RagKNNRetriever", "RagKNNVectorStore"]
