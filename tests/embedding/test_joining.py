"""Calls that wait for each other are answered together, and each gets its own answer."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from small_models import small_model

from ragknn import SentenceEmbedder, TextTooLong
from ragknn.embedding._joining import Joined
from ragknn.embedding._openvino import is_installed


class Gate:
    """Doubles numbers; its first call waits until it is opened, and negative numbers are an error."""

    def __init__(self):
        self.calls = []
        self.entered, self.opened = threading.Event(), threading.Event()
        self.joined = Joined(self)

    def __call__(self, numbers):
        self.calls.append(list(numbers))
        if len(self.calls) == 1:
            self.entered.set()
            assert self.opened.wait(30)
        if min(numbers) < 0:
            raise ValueError(f"negative: {numbers}")
        return 2 * np.array(numbers)

    def ask(self, *calls):
        """Make a first call, and the others while it runs; return what each came to."""
        with ThreadPoolExecutor(len(calls)) as pool:
            first = pool.submit(self.joined, calls[0])
            assert self.entered.wait(30)
            others = [pool.submit(self.joined, call) for call in calls[1:]]
            with self.joined._changed:
                self.joined._changed.wait_for(lambda: len(self.joined._waiting) == len(others), 30)
            self.opened.set()
            return [one.exception() or one.result().tolist() for one in (first, *others)]


@pytest.fixture
def gate(monkeypatch):
    gate = Gate()
    # A call that waits tells nobody: look again and again.
    wait_for = gate.joined._changed.wait_for

    def looking(done, timeout=None):
        if timeout is None:
            gate.joined._changed.notify_all()
        return wait_for(done, timeout)

    monkeypatch.setattr(gate.joined._changed, "wait_for", looking)
    return gate


def test_calls_that_wait_are_made_together(gate):
    assert gate.ask([1], [2, 3], [4]) == [[2], [4, 6], [8]]
    assert gate.calls[0] == [1]
    assert sorted(gate.calls[1]) == [2, 3, 4]
    assert len(gate.calls) == 2


def test_a_call_that_finds_nobody_is_made_at_once(gate):
    gate.opened.set()
    assert [gate.joined([number]).tolist() for number in (1, 2)] == [[2], [4]]
    assert gate.calls == [[1], [2]]


def test_the_error_of_one_call_is_not_that_of_another(gate):
    found = gate.ask([1], [2], [-3], [4])
    assert [found[0], found[1], found[3]] == [[2], [4], [8]]
    assert str(found[2]) == "negative: [-3]"
    assert len(gate.calls) == 1 + 1 + 3


def test_an_interrupt_leaves_the_calls_of_others_to_them():
    made = []

    def interrupted(numbers):
        made.append(list(numbers))
        if len(made) == 1:
            raise KeyboardInterrupt
        return np.array(numbers)

    joined = Joined(interrupted)
    with pytest.raises(KeyboardInterrupt):
        joined([1])
    assert joined([2]).tolist() == [2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_waits_for_no_call_of_its_parent(gate):
    thread = threading.Thread(target=gate.joined, args=([1],))
    thread.start()
    assert gate.entered.wait(30)
    child = os.fork()
    if child == 0:
        os._exit(int(gate.joined([3]).tolist() != [6]))
    assert os.waitpid(child, 0)[1] == 0
    gate.opened.set()
    thread.join()


# ---- in the embedder -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    return SentenceEmbedder(small_model(tmp_path_factory.mktemp("joining")))


def counted(embedder, monkeypatch):
    calls = []
    runner = embedder._load().runner
    embed = type(runner).embed
    monkeypatch.setattr(type(runner), "embed", lambda self, pairs: calls.append(len(pairs)) or embed(self, pairs))
    return calls


def test_questions_of_one_loop_are_embedded_together(embedder, monkeypatch):
    questions = [f"question {number}" for number in range(40)]
    expected = embedder.embed_queries(questions)
    calls = counted(embedder, monkeypatch)

    async def ask():
        return await asyncio.gather(*(asyncio.to_thread(embedder.embed_queries, [question]) for question in questions))

    found = np.concatenate(asyncio.run(ask()))
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert sum(calls) == 40
    assert len(calls) < 40


def test_one_text_that_is_too_long_fails_alone(embedder):
    def embed(text):
        try:
            return embedder.embed_queries([text]).shape
        except TextTooLong as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(embed, ["cat", "cat " * 99, "dog", "dog"]))
    assert (found[0], found[2], found[3]) == ((1, 32), (1, 32), (1, 32))
    assert found[1].startswith("expected at most 30 tokens")


def test_a_text_that_stands_twice_is_embedded_once(embedder, monkeypatch):
    calls = counted(embedder, monkeypatch)
    vectors = embedder.embed_documents(["cat", "dog", "cat", "ﬁsh", "fish"])
    assert calls == [3]
    np.testing.assert_array_equal(vectors[[0, 3]], vectors[[2, 4]])


def test_a_text_is_tokenized_once_on_its_way(embedder, monkeypatch):
    tokens = embedder._load().tokens
    asked, encode = [], tokens._encode
    monkeypatch.setattr(tokens, "_encode", lambda text: asked.append(text) or encode(text))
    text = "a text that nobody has asked before ünd"
    embedder.token_spans(text)
    embedder.embed_documents([text])
    embedder.embed_queries([text])
    assert asked == [text]


@pytest.mark.skipif(not is_installed(), reason="OpenVINO is not installed")
@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_batches_are_by_tokens_or_of_so_many_texts(embedder, backend):
    texts = [f"text {number} " * (1 + number % 6) for number in range(50)]
    expected = embedder.embed_documents(texts)
    for batch_size in (None, 1, 7):
        other = SentenceEmbedder(embedder.model, backend=backend, batch_size=batch_size)
        np.testing.assert_allclose(other.embed_documents(texts), expected, atol=0.05)
