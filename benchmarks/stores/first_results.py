"""Programs that come to a first result by a framework: three texts, one question."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence

from benchmarks.measuring.racing import OURS, Kind

_numbers = itertools.count()

BEGIN = """
import random, sys
url, name = sys.argv[1:]
TEXTS = ["The rent is due on the third working day.", "The fern wants water twice a week.", "The bus leaves at six."]
QUESTION = TEXTS[1]

def vector(text):
    return [random.Random(text + str(number)).gauss(0, 1) for number in range(384)]
"""
# In place of a model: made vectors, which are the same for equal texts.
LANGCHAIN = """
from langchain_core.embeddings import Embeddings

class Made(Embeddings):
    model = "made"

    def embed_documents(self, texts):
        return [vector(text) for text in texts]

    def embed_query(self, text):
        return vector(text)
"""
LLAMA_INDEX = """
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery

NODES = [TextNode(text=text, embedding=vector(text)) for text in TEXTS]

def first(store):
    store.add(NODES)
    return store.query(VectorStoreQuery(query_embedding=vector(QUESTION), similarity_top_k=1)).nodes[0].text
"""
HAYSTACK = """
from haystack import Document

DOCUMENTS = [Document(content=text, embedding=vector(text)) for text in TEXTS]
"""

FIRST: Mapping[str, Mapping[str, str]] = {
    "ragknn alone": {
        OURS: """
import ragknn
with ragknn.Index(name, url=url, dim=384) as index:
    ragknn.Indexer(index).add_vectors(list("abc"), [vector(text) for text in TEXTS], texts=TEXTS)
    found = ragknn.Retriever(index).kneighbors([vector(QUESTION)], 1)[0][0].passage.text
""",
    },
    "LangChain": {
        OURS: f"""{LANGCHAIN}
from ragknn.integrations.langchain import RagKNNVectorStore
store = RagKNNVectorStore(name, Made(), url=url)
store.add_texts(TEXTS)
found = store.similarity_search(QUESTION, k=1)[0].page_content
""",
        "langchain-redis": f"""{LANGCHAIN}
from langchain_redis import RedisConfig, RedisVectorStore
store = RedisVectorStore(Made(), RedisConfig(index_name=name, redis_url=url))
store.add_texts(TEXTS)
found = store.similarity_search(QUESTION, k=1)[0].page_content
""",
    },
    "LlamaIndex": {
        OURS: f"""{LLAMA_INDEX}
from ragknn.integrations.llama_index import RagKNNVectorStore
found = first(RagKNNVectorStore(name, url=url))
""",
        "llama-index-vector-stores-redis": f"""{LLAMA_INDEX}
import redis
from llama_index.vector_stores.redis import RedisVectorStore
from redisvl.schema import IndexSchema
fields = [{{"name": one, "type": "tag"}} for one in ("id", "doc_id")]
fields += [{{"name": "text", "type": "text"}}]
fields += [{{"name": "vector", "type": "vector", "attrs": {{"algorithm": "flat", "dims": 384}}}}]
schema = IndexSchema.from_dict({{"index": {{"name": name, "prefix": name}}, "fields": fields}})
client = redis.Redis.from_url(url)
later = redis.asyncio.Redis.from_url(url)  # it has to be there where the server listens on a socket
found = first(RedisVectorStore(schema=schema, redis_client=client, redis_client_async=later))
""",
    },
    "Haystack": {
        OURS: f"""{HAYSTACK}
from haystack_integrations.components.retrievers.ragknn import RagKNNEmbeddingRetriever
from haystack_integrations.document_stores.ragknn import RagKNNDocumentStore
store = RagKNNDocumentStore(name, url=url)
store.write_documents(DOCUMENTS)
found = RagKNNEmbeddingRetriever(store, top_k=1).run(vector(QUESTION))["documents"][0].content
""",
        "InMemoryDocumentStore": f"""{HAYSTACK}
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
store = InMemoryDocumentStore()
store.write_documents(DOCUMENTS)
found = InMemoryEmbeddingRetriever(store, top_k=1).run(vector(QUESTION))["documents"][0].content
""",
    },
    "MCP over stdio, client and server": {
        OURS: """
import asyncio, os, ragknn
from mcp import Client, StdioServerParameters
with ragknn.Index(name, url=url, embedder=ragknn.HashingEmbedder()) as index:
    ragknn.Indexer(index).add([ragknn.Document(text, text) for text in TEXTS])
server = StdioServerParameters(
    command=sys.executable, args=["-m", "ragknn", "mcp", name], env={**os.environ, "RAGKNN_URL": url}
)

async def ask():
    async with Client(server) as client:
        await client.list_tools()
        found = await client.call_tool("search", {"query": QUESTION, "k": 1})
        return found.structured_content["results"][0]["text"]

found = asyncio.run(ask())
""",
    },
}
# The same with the model that an index has if nothing is said.
WITH_MODEL: Mapping[str, str] = {
    "ragknn alone": """
import ragknn
with ragknn.Index(name, url=url) as index:
    ragknn.Indexer(index).add([ragknn.Document(text, text) for text in TEXTS])
    found = ragknn.Retriever(index).retrieve(QUESTION, 1)[0].passage.text
""",
    "LangChain": """
from ragknn.integrations.langchain import RagKNNVectorStore
store = RagKNNVectorStore(name, url=url)
store.add_texts(TEXTS)
found = store.similarity_search(QUESTION, k=1)[0].page_content
""",
    "LlamaIndex": """
from llama_index.core import Document, StorageContext, VectorStoreIndex
from ragknn.integrations.llama_index import RagKNNEmbedding, RagKNNVectorStore
storage = StorageContext.from_defaults(vector_store=RagKNNVectorStore(name, url=url))
documents = [Document(text=text) for text in TEXTS]
index = VectorStoreIndex.from_documents(documents, storage_context=storage, embed_model=RagKNNEmbedding())
found = index.as_retriever(similarity_top_k=1).retrieve(QUESTION)[0].node.text
""",
    "Haystack": """
from haystack import Document
from haystack_integrations.components.embedders.ragknn import RagKNNDocumentEmbedder, RagKNNTextEmbedder
from haystack_integrations.components.retrievers.ragknn import RagKNNEmbeddingRetriever
from haystack_integrations.document_stores.ragknn import RagKNNDocumentStore
store = RagKNNDocumentStore(name, url=url)
store.write_documents(RagKNNDocumentEmbedder().run([Document(content=text) for text in TEXTS])["documents"])
question = RagKNNTextEmbedder().run(QUESTION)["embedding"]
found = RagKNNEmbeddingRetriever(store, top_k=1).run(question)["documents"][0].content
""",
}
NEEDS: Mapping[str, str] = {
    "langchain-redis": "langchain_redis",
    "llama-index-vector-stores-redis": "llama_index.vector_stores.redis",
}
# Those that are no peers.
KINDS: Mapping[str, Kind] = {OURS: "ours", "InMemoryDocumentStore": "other"}


def command(program: str, url: str) -> Sequence[str]:
    """Return what runs a program, in an index of its own."""
    whole = f"{BEGIN}{program}\nassert found == QUESTION, found\n"
    return sys.executable, "-W", "ignore", "-c", whole, url, f"first-{next(_numbers)}"
