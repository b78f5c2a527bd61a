import pickle

import numpy as np
import pytest

from ragknn import (
    Document,
    EmbeddingError,
    FunctionEmbedder,
    HashingEmbedder,
    InvalidVectors,
    SchemaMismatch,
    Splitter,
)
from ragknn.embedding import Identified, Tokenizing
from ragknn.embedding._naming import embedder_named

TEXTS = ["a cat", "two dogs, no cat", ""]


def letters(texts):
    """Embed as the numbers of three letters, and one."""
    return [[float(text.count(letter)) for letter in "aco"] + [1.0] for text in texts]


def as_queries(texts):
    return np.array(letters(texts)) * 2


class Recording:
    """Calls a function and remembers with what."""

    def __init__(self, function):
        self.function, self.calls = function, []

    def __call__(self, texts):
        self.calls.append(texts)
        return self.function(texts)


def test_vectors_are_those_that_the_functions_return():
    embedder = FunctionEmbedder("letters", letters, as_queries)
    documents, queries = embedder.embed_documents(TEXTS), embedder.embed_queries(TEXTS)
    assert (documents.dtype, documents.tolist()) == (np.float32, letters(TEXTS))
    assert (queries.dtype, queries.tolist()) == (np.float32, as_queries(TEXTS).tolist())
    assert FunctionEmbedder("letters", letters).embed_queries(TEXTS).tolist() == letters(TEXTS)
    assert (embedder.name, embedder.dim, embedder.max_tokens) == ("letters", 4, None)
    assert repr(embedder) == "FunctionEmbedder('letters')"


@pytest.mark.parametrize(
    "function",
    [
        lambda texts: np.array(letters(texts)),
        lambda texts: np.array(letters(texts), dtype=np.float16),
        lambda texts: np.array(letters(texts), dtype=int),
        lambda texts: tuple(letters(texts)),
        lambda texts: (np.array(row) for row in letters(texts)),
        lambda texts: map(tuple, letters(texts)),
    ],
    ids=["array", "float16", "int", "tuple", "generator of arrays", "map"],
)
def test_a_function_may_return_whatever_holds_vectors(function):
    found = FunctionEmbedder("letters", function).embed_documents(TEXTS)
    assert (found.dtype, found.tolist()) == (np.float32, letters(TEXTS))


def test_a_function_gets_a_list_and_is_not_called_without_texts():
    function = Recording(letters)
    embedder = FunctionEmbedder("letters", function, dim=4)
    embedder.embed_documents(("a", "b"))
    embedder.embed_documents(text for text in "ab")
    assert function.calls == [["a", "b"], ["a", "b"]]
    assert embedder.embed_queries([]).shape == (0, 4)
    assert embedder.dim == 4
    assert len(function.calls) == 2


def test_the_dimension_is_seen_once_and_from_the_first_call_if_there_was_one():
    function = Recording(letters)
    embedder = FunctionEmbedder("letters", function)
    assert [embedder.dim, embedder.dim] == [4, 4]
    assert len(function.calls) == 1
    assert len(function.calls[0]) == 1
    other = FunctionEmbedder("letters", again := Recording(letters))
    other.embed_queries(TEXTS)
    assert (other.dim, again.calls) == (4, [TEXTS])


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1.0, 2.0], r"e: expected one vector for each of 2 texts from wrong, shape \(2, dim\), got shape \(2,\)"),
        ([[1.0, 2.0]], r"shape \(2, dim\), got shape \(1, 2\)"),
        ([[1.0], [2.0], [3.0]], r"got shape \(3, 1\)"),
        ([[], []], r"got shape \(2, 0\)"),
        (np.ones((2, 3, 4)), r"got shape \(2, 3, 4\)"),
        ([[1.0, 2.0], [3.0]], "got values that are not numeric vectors of one length: "),
        ([["1", "2"], ["3", "4"]], "their dtype is <U1"),
        ([[1j], [2j]], "their dtype is complex128"),
        ([{"vector": 1}, {"vector": 2}], "got values that are not numeric vectors"),
        (None, "got values that are not numeric vectors|got shape"),
    ],
)
def test_what_is_no_vector_for_each_text_is_refused(returned, message):
    def wrong(texts):
        return returned

    for embed in (FunctionEmbedder("e", wrong).embed_documents, FunctionEmbedder("e", letters, wrong).embed_queries):
        with pytest.raises(InvalidVectors, match=message):
            embed(["one", "two"])


def test_what_waits_is_no_plain_function_in_whatever_form():
    class Waiting:
        async def __call__(self, texts):
            return letters(texts)

    with pytest.raises(TypeError, match="got the coroutine function Waiting: the async classes run plain functions"):
        FunctionEmbedder("e", Waiting())
    with pytest.raises(InvalidVectors, match="got a coroutine: the async classes run plain functions in a thread"):
        FunctionEmbedder("e", lambda texts: Waiting()(texts)).embed_documents(["one"])


def test_a_tensor_with_a_gradient_is_told_with_what_to_do():
    torch = pytest.importorskip("torch")
    with pytest.raises(InvalidVectors, match="detach"):
        FunctionEmbedder("e", lambda texts: torch.ones(1, 3, requires_grad=True)).embed_documents(["one"])


def test_vectors_of_another_dimension_are_refused():
    with pytest.raises(InvalidVectors, match="each of dim=3 values, got 4 values in each"):
        FunctionEmbedder("e", letters, dim=3).embed_documents(TEXTS)
    embedder = FunctionEmbedder("e", letters, lambda texts: np.ones((len(texts), 2)))
    assert embedder.dim == 4
    with pytest.raises(InvalidVectors, match="from <lambda>, each of dim=4 values, got 2 values in each"):
        embedder.embed_queries(["cat"])


def test_what_a_function_raises_passes_through():
    def unreachable(texts):
        raise ConnectionResetError("the service went away")

    with pytest.raises(ConnectionResetError, match="the service went away"):
        FunctionEmbedder("service", unreachable).embed_documents(["cat"])


@pytest.mark.parametrize("name", ["", "  ", "ready vectors", "ragknn/hashing-64"])
def test_a_name_says_what_embeds(name):
    with pytest.raises(ValueError, match="expected the name of the model or service, such as 'my-service/v2', got"):
        FunctionEmbedder(name, letters)


def test_what_cannot_be_called_or_counted_is_refused():
    async def waiting(texts):
        return letters(texts)

    with pytest.raises(TypeError, match="expected a name of type str, got <function letters"):
        FunctionEmbedder(letters, letters)
    with pytest.raises(TypeError, match="expected embed_documents to be a function, got None"):
        FunctionEmbedder("e", None)
    with pytest.raises(TypeError, match="expected embed_queries to be a function, got 'queries' of type str"):
        FunctionEmbedder("e", letters, "queries")
    with pytest.raises(TypeError, match="to be a plain function, got the coroutine function waiting"):
        FunctionEmbedder("e", waiting)
    for wrong in ({"dim": 0}, {"max_tokens": 0}):
        with pytest.raises(ValueError, match=f"expected {next(iter(wrong))} >= 1, got 0"):
            FunctionEmbedder("e", letters, **wrong)


def test_it_shows_tokens_only_where_it_can():
    spans = HashingEmbedder().token_spans
    assert isinstance(FunctionEmbedder("e", letters, token_spans=spans), Tokenizing)
    assert not isinstance(FunctionEmbedder("e", letters, max_tokens=5), Tokenizing)
    assert isinstance(FunctionEmbedder("e", letters), Identified)


def test_it_travels_to_another_process_with_functions_that_do():
    embedder = FunctionEmbedder("letters", letters, as_queries, max_tokens=9)
    copy = pickle.loads(pickle.dumps(embedder))
    assert (copy.name, copy.max_tokens, copy.dim) == ("letters", 9, 4)
    assert copy.embed_queries(TEXTS).tolist() == embedder.embed_queries(TEXTS).tolist()


# ---- with an index ---------------------------------------------------------------------------------------------


def test_an_index_is_built_and_asked_with_functions(faces, redis_url, index_name):
    documents = [Document("cats", "cat and cat"), Document("dogs", "dog and dog"), Document("long", "dog food " * 40)]
    embedder = FunctionEmbedder("letters/1", letters, as_queries, max_tokens=20)
    with faces.index(index_name, url=redis_url, embedder=embedder, metric="cosine") as index:
        report = faces.indexer(index, Splitter()).add(documents)
        assert (report.added, report.failed) == (3, ())
        assert report.passages > 3  # words are counted in place of tokens
        [found] = faces.retriever(index).retrieve("cat", k=1)
        assert (found.passage.document_id, index.schema.dim) == ("cats", 4)
    with faces.index(index_name, url=redis_url, embedder=FunctionEmbedder("letters/1", letters)) as index:
        assert index.count() == report.passages


def test_an_index_of_functions_opened_without_them_says_what_to_hand_in(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=FunctionEmbedder("letters", letters)) as index:
        faces.indexer(index).add([Document("a", "cat")])
    with faces.index(index_name, url=redis_url) as index:
        assert index.count() == 1  # nothing is embedded
        with pytest.raises(EmbeddingError) as refused:
            faces.retriever(index).retrieve("cat")
    assert str(refused.value) == (
        "expected the embedder 'letters', which is made of functions, to be passed: "
        "Index(..., embedder=FunctionEmbedder('letters', ...))"
    )
    with pytest.raises(SchemaMismatch) as other:
        faces.index(index_name, url=redis_url, embedder=FunctionEmbedder("others", letters)).open()
    assert other.value.differences == {"embedder": ("others", "letters")}


def test_no_model_is_looked_for_under_the_name_of_functions():
    with pytest.raises(EmbeddingError, match="made of functions"):
        embedder_named("sentence-transformers/all-MiniLM-L6-v2", FunctionEmbedder("any", letters).identity)
