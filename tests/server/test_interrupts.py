"""After an interrupt, wherever it comes, the next answer is that to the next question."""

import os
import random
import signal
import threading

import pytest

from ragknn import Document, Index, Indexer, Retriever

INTERRUPTS = 120
COUNT = 300


class Interrupted(BaseException):
    """As KeyboardInterrupt, which pytest would take for one of its own."""


class Storm:
    """Sends this process a signal some time after each question, by chance while it is answered."""

    def __init__(self, chance):
        self._chance, self._asked, self._over = chance, threading.Event(), threading.Event()
        self.is_on = False
        self._thread = threading.Thread(target=self._send)

    def __enter__(self):
        self._before = signal.signal(signal.SIGUSR1, self._handle)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._asked.set()
        self._thread.join()
        signal.signal(signal.SIGUSR1, self._before)

    def ask(self, call):
        """Return what the call returns, or None where it was interrupted."""
        try:
            self.is_on = True
            self._asked.set()
            try:
                return call()
            finally:
                self.is_on = False
        except Interrupted:
            self.is_on = False
            return None

    def _send(self):
        while self._asked.wait() and not self._over.is_set():
            self._asked.clear()
            self._over.wait(self._chance.uniform(1e-5, 2e-3))
            os.kill(os.getpid(), signal.SIGUSR1)

    def _handle(self, *_):
        if self.is_on:
            raise Interrupted


# Within a finalizer Python only warns of them.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("protocol", [2, 3])
def test_answers_are_not_swapped_by_interrupts(redis_url, index_name, embedder, protocol, monkeypatch):
    monkeypatch.setenv("RAGKNN_PROTOCOL", str(protocol))
    chance = random.Random(seed := random.randrange(10**6))
    print(f"seed {seed}")
    texts = [f"word{n} of number{n}" for n in range(COUNT)]
    with Index(index_name, url=redis_url, embedder=embedder, fields={"n": "numeric"}) as index:
        Indexer(index).add([Document(f"d{n}", text, metadata={"n": n}) for n, text in enumerate(texts)])
        retriever = Retriever(index)

        def ask(number):
            """Return the number that was asked for, as the answer has it."""
            match number % 4:
                case 0:
                    return int(retriever.retrieve(texts[number], k=1)[0].passage.document_id[1:])
                case 1:
                    return index.count({"n": {"$lt": number}})
                case 2:
                    return next(int(one.id[1:]) for one in index.documents([f"d{number}"]))
                case _:
                    found = retriever.retrieve_many([texts[number], texts[0]], k=1)
                    return int(found[0][0].passage.document_id[1:])

        ask(0)
        answers, interrupts = [], 0
        with Storm(chance) as storm:
            while interrupts < INTERRUPTS:
                number = chance.randrange(COUNT)
                answer = storm.ask(lambda number=number: ask(number))
                interrupts += answer is None
                answers.append((number, number if answer is None else answer))
        assert [(asked, told) for asked, told in answers if asked != told] == []
        assert [ask(number) for number in range(8)] == list(range(8))
