"""The embedder that asks a service, against a real HTTP server on this machine."""

import base64
import copy
import json
import logging
import os
import pickle
import threading
import time
import traceback
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from ragknn import (
    ConfigurationError,
    Document,
    EmbeddingError,
    HashingEmbedder,
    InvalidVectors,
    MissingDependency,
    ModelNotFound,
    OpenAIEmbedder,
    SchemaMismatch,
    TextTooLong,
)
from ragknn.cli.embedders import load_embedder
from ragknn.embedding import openai as module
from ragknn.embedding._naming import embedder_named
from ragknn.embedding.protocols import Identified, Tokenizing

TEXTS = ["How do I reset my password?", "The cat sat on the mat.", "Straße 🏷️ 名前"]
KEY = "sk-secret-0123456789"
HASHING = HashingEmbedder(8)


class Server:
    """Embeds as `HASHING` does; keeps the requests, and first gives the answers that were queued."""

    def __init__(self):
        self.requests, self.headers, self.queued, self.times = [], [], [], []
        self.base64 = True
        self.dim = 8
        self.delay = 0.0

    def answer(self, request):
        """Return status, headers and body; or None to hang up."""
        if self.queued:
            return self.queued.pop(0)
        rows = HashingEmbedder(request.get("dimensions") or self.dim).embed_documents(request["input"])
        data = [
            {"object": "embedding", "index": number, "embedding": self.encoded(row, request)}
            for number, row in enumerate(rows)
        ]
        return 200, {}, {"object": "list", "model": request["model"], "data": data[::-1], "usage": {}}

    def encoded(self, row, request):
        if self.base64 and request.get("encoding_format") == "base64":
            return base64.b64encode(row.tobytes()).decode()
        return row.tolist()


@contextmanager
def serving(server):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append(request)
            server.headers.append((self.path, self.headers))
            server.times.append(time.monotonic())
            threading.Event().wait(server.delay)
            answer = server.answer(request)
            if answer is None:  # hangs up
                self.close_connection = True
                return
            status, headers, body = answer
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            try:
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:  # the client did not wait
                pass

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        server.url = f"http://127.0.0.1:{listening.server_address[1]}/v1"
        yield server
        listening.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in list(os.environ):
        if name.startswith("OPENAI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def server():
    with serving(Server()) as server:
        yield server


@pytest.fixture
def make(server):
    """Makes an embedder that asks the server."""
    return lambda **options: OpenAIEmbedder("some/model", **{"base_url": server.url, "api_key": KEY, **options})


def refusal(message, code=None):
    return {"error": {"message": message, "type": "invalid_request_error", "code": code}}


# ---- vectors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoded", [True, False])
def test_the_vectors_of_the_server_come_in_the_order_of_the_texts(server, make, encoded):
    server.base64 = encoded  # not every server knows it
    embedder = make()
    for embed in (embedder.embed_documents, embedder.embed_queries):
        vectors = embed(TEXTS)
        assert (vectors.shape, vectors.dtype) == ((3, 8), np.float32)
        np.testing.assert_array_equal(vectors, HASHING.embed_documents(TEXTS))
    assert server.requests[0] == {"model": "some/model", "input": TEXTS, "encoding_format": "base64"}
    path, headers = server.headers[0]
    assert (path, headers["Authorization"]) == ("/v1/embeddings", f"Bearer {KEY}")


def test_the_dimension_is_asked_for_once(server, make):
    embedder = make()
    assert (embedder.dim, embedder.dim) == (8, 8)
    assert embedder.embed_documents([]).shape == (0, 8)
    assert len(server.requests) == 1


def test_shorter_vectors_are_asked_for(server, make):
    embedder = make(dimensions=4)
    assert (embedder.dim, len(server.requests)) == (4, 0)
    assert embedder.embed_queries(TEXTS).shape == (3, 4)
    assert server.requests[0]["dimensions"] == 4


def test_prompts_go_before_the_texts(server, make):
    embedder = make(query_prompt="query: ", document_prompt="passage: ")
    embedder.embed_queries(["a"])
    embedder.embed_documents(["b"])
    assert [request["input"] for request in server.requests] == [["query: a"], ["passage: b"]]


def test_texts_are_folded(server, make):
    make().embed_queries(["oﬃce"])
    assert server.requests[0]["input"] == ["office"]


def test_requests_are_limited_by_number_and_by_characters(server, make, monkeypatch):
    monkeypatch.setattr(module, "_CHARACTERS", 100)
    texts = ["x" * size for size in (10, 20, 30, 40, 50, 60, 150, 1, 1, 1, 1, 1)]
    vectors = make(batch_size=3).embed_documents(texts)
    np.testing.assert_array_equal(vectors, HASHING.embed_documents(texts))
    lengths = [[len(text) for text in request["input"]] for request in server.requests]
    assert lengths == [[10, 20, 30], [40, 50], [60], [150], [1, 1, 1], [1, 1]]


def test_threads_share_an_embedder(server, make):
    embedder = make()
    found = {}
    threads = [
        threading.Thread(target=lambda text=text: found.update({text: embedder.embed_queries([text])}))
        for text in TEXTS
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for text in TEXTS:
        np.testing.assert_array_equal(found[text], HASHING.embed_queries([text]))


# ---- trouble ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503])
def test_what_passes_is_tried_again(server, make, status, monkeypatch):
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    server.queued = [(status, {}, refusal("later"))] * 2
    np.testing.assert_array_equal(make().embed_queries(TEXTS), HASHING.embed_queries(TEXTS))
    assert len(server.requests) == 3


def test_a_broken_connection_is_tried_again(server, make, monkeypatch):
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    embedder = make()
    embedder.embed_queries(["a"])
    server.queued = [None, None]
    np.testing.assert_array_equal(embedder.embed_queries(TEXTS), HASHING.embed_queries(TEXTS))
    server.queued = [None] * 3
    with pytest.raises(EmbeddingError, match=r"expected a server at http.*, got .*: check base_url and the network"):
        make(max_retries=1).embed_queries(TEXTS)


def test_the_server_says_when_to_try_again(server, make):
    server.queued = [(429, {"Retry-After": "1"}, refusal("slow down"))]
    make().embed_queries(TEXTS)
    first, second = server.times
    assert 0.9 < second - first < 5


@pytest.mark.parametrize(
    ("status", "said", "error", "expected"),
    [
        (
            401,
            "Incorrect API key",
            EmbeddingError,
            "to accept the key, got Error code: 401 .*set OPENAI_API_KEY or pass",
        ),
        (403, "No access", EmbeddingError, "to accept the key, got Error code: 403"),
        (
            404,
            "No such model",
            ModelNotFound,
            "expected the model 'some/model' at http.*/v1, got .*404.* check the name",
        ),
        (429, "Quota", EmbeddingError, "to answer 1 tries, got Error code: 429 .*: wait, lower batch_size"),
        (500, "Broken", EmbeddingError, "to embed with 'some/model', got Error code: 500"),
        (
            400,
            "This model's maximum context length is 8192 tokens",
            TextTooLong,
            "expected texts that some/model reads",
        ),
        (413, "Input is too long", TextTooLong, "shorten them, or pass max_tokens and token_spans"),
        (400, "Bad dimensions", EmbeddingError, "to embed with 'some/model', got Error code: 400 .*Bad dimensions"),
    ],
)
def test_what_stays_wrong_is_told(server, make, status, said, error, expected):
    server.queued = [(status, {}, refusal(f"{said} for {KEY}"))] * 3
    with pytest.raises(error, match=expected) as refused:
        make(max_retries=0).embed_queries(TEXTS)
    assert type(refused.value) is error
    assert len(server.requests) == 1
    assert KEY not in "".join(traceback.format_exception(refused.value))
    assert (refused.value.__cause__, refused.value.__context__) == (None, None)


def test_a_server_that_does_not_answer_in_time_is_named(server, make):
    server.delay = 1.0
    with pytest.raises(
        EmbeddingError, match=r"expected an answer from http.*/v1 within 0.1 s, got none in 1 tries: raise"
    ):
        make(timeout=0.1, max_retries=0).embed_queries(TEXTS)


def test_a_server_that_is_not_there_is_named():
    embedder = OpenAIEmbedder("m", base_url="http://user:hidden@127.0.0.1:9/v1", max_retries=0)
    with pytest.raises(
        EmbeddingError, match=r"expected a server at http://127.0.0.1:9/v1, got .*: check base_url"
    ) as no:
        embedder.embed_queries(TEXTS)
    assert "hidden" not in "".join(traceback.format_exception(no.value))


def vectors(*rows):
    return {
        "object": "list",
        "data": [{"index": n, "embedding": row, "object": "embedding"} for n, row in enumerate(rows)],
    }


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (vectors([1.0, 2.0]), "expected one vector for each of 3 texts from http.*, got 1"),
        (vectors([1.0, 2.0], [1.0], [1.0, 2.0]), "got vectors of several lengths"),
        (vectors(["a"], ["b"], ["c"]), "values that are no numbers"),
        (vectors([], [], []), r"shape \(3, dim\), got shape \(3, 0\)"),
        ({"object": "list", "data": []}, "check base_url|got 0"),
        ({"data": None}, "expected embeddings from http.*, got another answer"),
        ({"error": "oops"}, "expected embeddings from http.*, got another answer"),
        (b"<html>Welcome</html>", "expected embeddings from http.*, got another answer"),
        (b"", "expected embeddings from http.*, got another answer"),
        (b"[]", "expected embeddings from http.*, got another answer"),
        (b"null", "expected embeddings from http.*, got another answer"),
        (b'{"data": [', "expected embeddings from http.*, got another answer"),
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "text/html"])
def test_an_answer_without_the_vectors_is_told(server, make, body, expected, kind):
    server.queued = [(200, {"Content-Type": kind}, body)]
    with pytest.raises(EmbeddingError, match=f"{expected}|expected embeddings from"):
        make(max_retries=0).embed_queries(TEXTS)


def numbered(*numbers):
    rows = [
        {"object": "embedding", "embedding": [float(place), 1.0]} | ({} if number is None else {"index": number})
        for place, number in enumerate(numbers)
    ]
    return {"object": "list", "data": rows}


@pytest.mark.parametrize(
    ("numbers", "order"),
    [((2, 0, 1), [1, 2, 0]), ((0, 0, 0), [0, 1, 2]), ((None, None, None), [0, 1, 2])],
)
def test_vectors_are_sorted_by_their_numbers_where_there_are_some(server, make, numbers, order):
    server.queued = [(200, {"Content-Type": "application/json"}, json.dumps(numbered(*numbers)).encode())]
    assert make().embed_queries(TEXTS)[:, 0].tolist() == order


@pytest.mark.parametrize("numbers", [(0, 1, 0), (0, -1, -2), (1, 2, 3), ("0", "1", "2"), (0, 1, None), (0, 1.5, 2)])
def test_vectors_that_cannot_be_told_apart_are_refused(server, make, numbers):
    server.queued = [(200, {"Content-Type": "application/json"}, json.dumps(numbered(*numbers)).encode())]
    with pytest.raises(InvalidVectors, match=r"for each of 3 texts from http.*, numbered 0 to 2, got the numbers"):
        make().embed_queries(TEXTS)


def test_a_model_that_makes_no_shorter_vectors_is_told(server, make):
    server.queued = [(200, {}, vectors([1.0] * 8))]
    with pytest.raises(InvalidVectors, match="each of dim=4 values, got 8 values; leave dimensions out"):
        make(dimensions=4).embed_queries(["a"])


def test_vectors_of_another_length_than_before_are_told(server, make):
    embedder = make()
    embedder.embed_queries(["a"])
    server.dim = 16
    with pytest.raises(InvalidVectors, match="each of dim=8 values, got 16 values"):
        embedder.embed_queries(["a"])


# ---- the key ---------------------------------------------------------------------------------------------------


def test_the_key_is_in_no_repr_log_and_pickle(server, make, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    embedder = make()
    embedder.embed_queries(TEXTS)
    pickled = pickle.dumps(embedder)
    assert KEY.encode() not in pickled
    assert KEY not in repr(embedder) + str(embedder) + caplog.text + json.dumps(dict(embedder.identity))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    keys = {pickle.loads(pickled): "sk-of-the-environment", copy.deepcopy(embedder): KEY, copy.copy(embedder): KEY}
    for twin, key in keys.items():
        np.testing.assert_array_equal(twin.embed_queries(TEXTS), HASHING.embed_queries(TEXTS))
        assert server.headers[-1][1]["Authorization"] == f"Bearer {key}"


def test_key_server_and_model_come_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
    monkeypatch.setenv("RAGKNN_OPENAI_MODEL", "theirs")
    embedder = OpenAIEmbedder()
    embedder.embed_queries(["a"])
    assert (server.requests[0]["model"], embedder.name) == ("theirs", "theirs")
    assert server.headers[0][1]["Authorization"] == f"Bearer {KEY}"
    monkeypatch.setenv("RAGKNN_OPENAI_API_KEY", "sk-of-our-own")
    OpenAIEmbedder().embed_queries(["a"])
    assert server.headers[1][1]["Authorization"] == "Bearer sk-of-our-own"
    OpenAIEmbedder("mine", api_key="sk-passed").embed_queries(["a"])
    assert server.headers[2][1]["Authorization"] == "Bearer sk-passed"


def test_the_command_makes_one_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    embedder = load_embedder("ragknn:OpenAIEmbedder", {"model": "theirs", "dimensions": 4})
    assert (embedder.name, embedder.embed_queries(["a"]).shape) == ("theirs", (1, 4))


def test_a_key_with_a_newline_behind_it_is_taken_and_one_that_no_header_can_hold_is_not_shown(server, make):
    make(api_key=f" {KEY}\n").embed_queries(["a"])
    assert server.headers[0][1]["Authorization"] == f"Bearer {KEY}"
    for key in ("sk-secret\nx", "sk-sécret", "sk-secret\ud83d"):
        with pytest.raises(ConfigurationError, match="expected a key of printable ASCII characters") as refused:
            make(api_key=key).embed_queries(["a"])
        assert "cret" not in "".join(traceback.format_exception(refused.value))


def test_openai_needs_a_key_and_other_servers_do_not(server):
    OpenAIEmbedder("m", base_url=server.url).embed_queries(["a"])
    with pytest.raises(
        ConfigurationError, match="expected a key for OpenAI, got none: set OPENAI_API_KEY, pass api_key"
    ):
        OpenAIEmbedder().embed_queries(["a"])


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with pytest.raises(MissingDependency, match=r"pip install 'ragknn\[openai\]'"):
        OpenAIEmbedder("m", base_url="http://127.0.0.1:9").embed_queries(["a"])


@pytest.mark.parametrize(
    ("options", "error", "expected"),
    [
        ({"model": " "}, ValueError, "expected the name of a model, got ' '"),
        ({"model": "ready vectors"}, ValueError, "is empty or reserved"),
        ({"model": 3}, TypeError, "expected model as str, got int"),
        ({"base_url": "user:hidden@localhost:80"}, ValueError, "to begin with http:// or https://, got 'localhost:80'"),
        ({"base_url": "ftp://h"}, ValueError, "expected base_url to begin with http:// or https://, got 'ftp://h'"),
        ({"api_key": b"k"}, TypeError, "expected api_key as str, got bytes"),
        ({"dimensions": 0}, ValueError, "expected dimensions >= 1, got 0"),
        ({"batch_size": 0}, ValueError, "expected batch_size >= 1, got 0"),
        ({"max_tokens": 0}, ValueError, "expected max_tokens >= 1, got 0"),
        ({"max_retries": -1}, ValueError, "expected max_retries >= 0, got -1"),
        ({"timeout": 0}, ValueError, "expected timeout > 0 seconds, got 0"),
        ({"timeout": 1e9}, ValueError, "expected timeout of at most 1,000,000 seconds"),
        ({"batch_size": 2.5}, TypeError, "expected batch_size as an integer >= 1, got the float 2.5"),
        ({"token_spans": 3}, TypeError, "expected token_spans as a function such as"),
        ({"query_prompt": None}, TypeError, "expected query_prompt as str, got NoneType"),
        ({"document_prompt": "\ud83d"}, ValueError, "got a lone surrogate, U.D83D, .* in document_prompt"),
    ],
)
def test_wrong_arguments_are_refused(options, error, expected):
    with pytest.raises(error, match=expected):
        OpenAIEmbedder(**options)


@pytest.mark.parametrize("url", ["http://a:port", "http://:80", "http://[::1", "http://a b/v1", "http://a:999999"])
def test_a_base_url_that_names_no_server_is_refused(url):
    with pytest.raises(ValueError, match="expected base_url such as http://localhost:11434/v1, got 'http://"):
        OpenAIEmbedder("m", base_url=url)


# ---- with an index ---------------------------------------------------------------------------------------------


def test_it_is_an_embedder_of_the_library(make):
    assert isinstance(make(), Identified)
    assert not isinstance(make(), Tokenizing)
    assert isinstance(make(token_spans=HASHING.token_spans), Tokenizing)
    assert (make().max_tokens, make(max_tokens=512).max_tokens) == (8191, 512)
    assert make(dimensions=4, query_prompt="q: ").identity == {
        "kind": "service",
        "query_prompt": "q: ",
        "dimensions": 4,
    }


def test_documents_are_indexed_and_found(faces, redis_url, index_name, make):
    documents = [Document(str(number), text) for number, text in enumerate(TEXTS)]
    with faces.index(index_name, url=redis_url, embedder=make()) as index:
        assert faces.indexer(index).add(documents).added == 3
    with faces.index(index_name, url=redis_url, embedder=make(timeout=5)) as index:
        [found] = faces.retriever(index).retrieve(TEXTS[1], 1)
        assert (found.passage.text, found.distance) == (TEXTS[1], pytest.approx(0, abs=1e-6))
    with (
        faces.index(index_name, url=redis_url) as index,
        pytest.raises(EmbeddingError, match="which asks a service, to be"),
    ):
        faces.retriever(index).retrieve("cat")
    with pytest.raises(SchemaMismatch, match="identity: expected"):
        faces.index(index_name, url=redis_url, embedder=make(query_prompt="q: ")).open()


def test_nothing_is_stored_when_the_server_fails(faces, redis_url, index_name, server, make):
    with faces.index(index_name, url=redis_url, embedder=make(max_retries=0, dimensions=8)) as index:
        server.queued = [(401, {}, refusal("no"))]
        with pytest.raises(EmbeddingError, match="to accept the key"):
            faces.indexer(index).add([Document("a", "text")])
        assert index.count() == 0


def test_long_texts_are_embedded_in_pieces_where_tokens_are_known(faces, redis_url, index_name, make, server):
    with faces.index(index_name, url=redis_url, embedder=make(max_tokens=4, token_spans=HASHING.token_spans)) as index:
        faces.indexer(index).add([Document("a", "one two three. four five six. seven eight nine.")])
        found = faces.retriever(index).retrieve("one two three four five six", 1)
    assert "the mean of the vectors of 2 pieces" in found.warnings[0]
    assert all(len(HASHING.token_spans(text)) <= 4 for request in server.requests for text in request["input"])


def test_an_index_alone_does_not_decide_where_texts_are_sent():
    with pytest.raises(
        EmbeddingError, match=r"since an index alone must not decide where .*OpenAIEmbedder\('m', ...\)"
    ):
        embedder_named("m", {"kind": "service"})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_connections_of_its_own(server, make):
    embedder = make()
    embedder.embed_queries(["a"])
    mine = embedder._client
    with pytest.MonkeyPatch.context() as other:
        other.setattr(os, "getpid", lambda: -1)
        embedder.embed_queries(["a"])
        assert embedder._client is not mine
