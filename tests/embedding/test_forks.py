"""A process that was forked from one that uses a model: it answers, or says why not, and never waits for ever."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from small_models import small_model

from ragknn import EmbeddingError, SentenceEmbedder
from ragknn.embedding import Engine

# Many enough that the work is divided among threads.
PARENT = """
import multiprocessing, os, sys, threading
import numpy as np
from ragknn import SentenceEmbedder

TEXTS = [f"{number} quick brown foxes jump over a lazy dog, {number} times a day" for number in range(64)]
embedder = SentenceEmbedder(sys.argv[2], backend=sys.argv[1])
expected = embedder.embed_documents(TEXTS)

def same(embedder):
    return bool(np.allclose(embedder.embed_documents(TEXTS), expected, atol=1e-2))

def forked(embedder):
    child = os.fork()
    if child == 0:
        os._exit(0 if same(embedder) else 1)
    return os.waitpid(child, 0)[1]

"""


def parent(script, backend, model):
    """Run a script in a process that has used its model on two threads."""
    done = subprocess.run(
        [sys.executable, "-c", PARENT + script, backend, str(model)],
        env={**os.environ, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.long
@pytest.mark.parametrize("backend", ["torch", "openvino"])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_embeds_as_its_parent_does(backend, tmp_path):
    script = """
print(forked(embedder))                          # with the model of the parent
print(forked(SentenceEmbedder(sys.argv[2], backend=sys.argv[1])))    # with one that is loaded in the child
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(sum(pool.map(same, [embedder] * 2)))

done = threading.Event()

def work():
    while not done.is_set():
        embedder.embed_documents(TEXTS[:4])

thread = threading.Thread(target=work)
thread.start()
print(forked(embedder))                          # in the middle of embedding
done.set()
thread.join()
print(int(same(embedder)))                       # the parent goes on
"""
    model = small_model(tmp_path)
    SentenceEmbedder(model, backend=backend).embed_queries(["cat"])  # converted here, where torch is loaded anyway
    assert parent(script, backend, model) == ["0", "0", "2", "0", "1"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_finds_locks_open_that_another_thread_held():
    script = """
import copy, os, pickle, threading
from ragknn.embedding._locks import ProcessLock

mine, theirs, free = ProcessLock(), ProcessLock(), ProcessLock()
held, done = threading.Event(), threading.Event()

def hold():
    with theirs:
        held.set()
        done.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
with mine, mine:
    child = os.fork()
    if child == 0:
        with mine, theirs, free:
            os._exit(0)
    print(os.waitpid(child, 0)[1])
assert not theirs._lock.acquire(blocking=False)  # in the parent it is held as before
assert pickle.loads(pickle.dumps(theirs))._lock.acquire(blocking=False)
assert copy.deepcopy(theirs)._lock.acquire(blocking=False)
done.set()
thread.join()
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_forked_process_is_told_that_a_gpu_does_not_travel(monkeypatch):
    embedder = SentenceEmbedder()
    embedder._running = SimpleNamespace(engine=Engine("torch", "cuda:0", "float16", "there is a GPU"))
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(EmbeddingError, match="forked from it: start processes by spawn"):
        embedder.embed_queries(["pear"])
