"""The bar that shows long work in a notebook, and nowhere else."""

import pytest
from jupyter_client.manager import start_new_kernel
from showing import read

from ragknn._display.bars import bar_html, bar_in_notebook

PROGRAM = """
from ragknn import AsyncIndex, AsyncIndexer, Document, HashingEmbedder, Index, Indexer, Retriever, tune
from ragknn._display import bars
from ragknn.evaluation import Questions, evaluate, scan_recall
bars.WAIT = bars.PAUSE = 0
documents = [Document(str(n), f"text {n}", "ab"[n % 2]) for n in range(100)]
"""
WORK = {
    "add": "Indexer(index).add(documents)",
    "sync": "Indexer(index).sync(iter(documents[1:]))",
    "told": "print(tune(index, [1, 2], progress=lambda done, total: None) and 'quiet')",
    "tune": "tune(index, [1, 2])",
    "scan": "scan_recall(Retriever(index), ['text 1', 'text 2'], 3)",
    "evaluate": "evaluate(Retriever(index), Questions({'q': 'text 3'}, {'q': {'3': 1}}))",
    "async": "async with AsyncIndex(NAME, embedder=HashingEmbedder(16)) as other:\n"
    "    await AsyncIndexer(other).add([Document('x', 'y')])",
}


@pytest.fixture(scope="module")
def shown(redis_url, tmp_path_factory):
    """Return what each piece of work showed in a notebook, one page after the other."""
    import os

    manager, client = start_new_kernel(env={**os.environ, "RAGKNN_URL": redis_url})
    name = f"test-bars-{os.getpid()}"
    try:
        pages = {}
        _run(client, PROGRAM + f"NAME = {name!r}; index = Index(NAME, embedder=HashingEmbedder(16)).open()")
        for what, code in WORK.items():
            pages[what] = _run(client, code)
        _run(client, "index.drop()")
        yield pages
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def _run(client, code):
    pages, problems = [], []

    def keep(message):
        if message["msg_type"] in ("display_data", "update_display_data"):
            pages.append(message["content"]["data"]["text/html"])
        if message["msg_type"] in ("error", "stream") and message["content"].get("name") != "stdout":
            problems.append(message["content"])

    reply = client.execute_interactive(code, output_hook=keep, timeout=60)
    assert reply["content"]["status"] == "ok", problems
    assert problems == []
    return pages


@pytest.mark.long
@pytest.mark.parametrize(
    ("work", "first", "last"),
    [
        ("add", "64 of 100 documents", "100 of 100 documents"),
        ("sync", "64 documents", "99 documents"),
        ("tune", "99 of 99 passages", "99 of 99 passages"),
        ("scan", "2 of 8 searches", "8 of 8 searches"),
        ("evaluate", "1 of 2 queries", "2 of 2 queries"),
        ("async", "1 of 1 documents", "1 of 1 documents"),
    ],
)
def test_long_work_shows_a_bar_that_is_gone_at_its_end(shown, work, first, last):
    *bars, end = shown[work]
    assert end == ""
    assert first in bars[0]
    assert last in bars[-1]
    assert all("<progress" in bar for bar in bars)
    for bar in bars:
        read(bar)


@pytest.mark.long
def test_who_asks_to_be_told_of_the_progress_is_told_in_place_of_a_bar(shown):
    assert shown["told"] == []


def test_outside_of_a_notebook_there_is_no_bar(capsys):
    with bar_in_notebook("passages") as tell:
        tell(1, 2)
    assert capsys.readouterr() == ("", "")


def test_a_bar_counts_and_tells_the_time_that_is_left():
    assert "1,000 of 4,000 passages in 10 s, 30 s left" in bar_html("passages", 1_000, 4_000, 10.0)
    assert 'value="1000" max="4000"' in bar_html("passages", 1_000, 4_000, 10.0)
    assert "7 documents in 2 s<" in bar_html("documents", 7, 0, 2.0)
    assert "value" not in bar_html("documents", 7, 0, 2.0)
    assert "0 of 0 " not in bar_html("documents", 0, 0, 2.0)
