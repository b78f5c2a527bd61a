"""Each argument of what is public is given each of many wrong values: it is taken, or refused in words that help."""

import asyncio
import inspect
import signal
from types import SimpleNamespace
from typing import is_typeddict

import pytest
import trying
from trying import DIM, DOCUMENTS, WRONG, callables, foreign, run

import ragknn
from ragknn import (
    AsyncIndex,
    HashingEmbedder,
    Index,
    Indexer,
    embedding,
    evaluation,
    files,
    indexing,
    retrieval,
    text,
    voting,
)

LONGEST = 10.0  # seconds for one call


class TookTooLong(BaseException):
    """What no handler of errors takes for one."""


@pytest.fixture(scope="module")
def world(redis_url, tmp_path_factory):
    rows = tmp_path_factory.mktemp("rows") / "rows.csv"
    rows.write_text("id,text,label\na,pears,x\n")
    options = {
        "url": redis_url,
        "embedder": HashingEmbedder(DIM),
        "algorithm": "hnsw",
        "fields": {"n": "numeric", "t": "tag"},
        "timeout": 5.0,
    }
    loop = asyncio.new_event_loop()
    index, scratch = (Index(f"test-wrong-{what}", **options).open() for what in ("read", "written"))
    twins = [loop.run_until_complete(AsyncIndex(one.name, **options).open()) for one in (index, scratch)]
    for one in (index, scratch):
        Indexer(one).add(DOCUMENTS)
    yield SimpleNamespace(
        url=redis_url, rows=rows, index=index, scratch=scratch, asynchronous=twins[0], ascratch=twins[1], loop=loop
    )
    for twin in twins:
        loop.run_until_complete(twin.close())
    loop.close()
    index.drop()
    scratch.drop()


def tried(loop, call, given):
    """Return what is wrong with the error that the call raises, if it is no good one."""
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        run(loop, call(**given))
    except Exception as error:
        return foreign(error)
    except TookTooLong:
        return f"took more than {LONGEST} seconds"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return ""


def stop(*_):
    raise TookTooLong


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(4))
def test_wrong_values_are_taken_or_refused_in_words_that_help(world, monkeypatch, tmp_path, part):
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGALRM, stop)
    found = {
        f"{name}({argument}={label})": fault
        for name, (call, given) in list(callables(world).items())[part::4]
        for argument in given
        for label, make in WRONG.items()
        if (fault := tried(world.loop, call, {**given, argument: make()}))
    }
    signal.signal(signal.SIGALRM, before)
    assert found == {}


@pytest.mark.parametrize("package", [ragknn, embedding, evaluation, files, indexing, retrieval, text, voting])
def test_whatever_is_public_and_can_be_called_is_tried(package):
    named = {name: getattr(package, name) for name in package.__all__}
    only_named = {name for name, value in named.items() if is_typeddict(value) or getattr(value, "_is_protocol", False)}
    errors = {name for name, value in named.items() if inspect.isclass(value) and issubclass(value, Exception)}
    made = {name for name, value in named.items() if inspect.isfunction(value) or inspect.isclass(value)}
    assert made - only_named - errors - set(vars(trying)) <= trying.RESULTS | trying.SETTINGS


def test_what_is_tried_works_with_what_it_takes(world, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # for the pictures that it draws
    missing = {"read_questions", "read_documents"}  # which find nothing there
    for name, (call, given) in callables(world).items():
        if name not in missing:
            run(world.loop, call(**given))
