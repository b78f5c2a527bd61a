"""A server that runs out of time is noticed by every call that reads, whatever it is configured to answer then."""

import random

import pytest
import redis
from reading import FLAT, Told, calls, fill
from servers import private_server

from ragknn import CommandRefused, IncompleteRetrieval

COUNT = 6_000  # which takes the server longer than a millisecond to go through, by many of the calls
ALWAYS = ("count_documents", "values", "describe")
TRIED = 8  # of the others, in a run


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A Redis of its own, with an index of many passages; of a server that others use the configuration stays."""
    with private_server(tmp_path_factory.mktemp("slow")) as url:
        fill(url, COUNT, FLAT)
        yield url


@pytest.fixture(scope="module")
def known():
    return {}


@pytest.fixture(params=["return", "fail"])
def policy(request, server):
    with redis.Redis.from_url(server) as client:
        client.execute_command("FT.CONFIG", "SET", "ON_TIMEOUT", request.param)
        yield request.param


@pytest.mark.parametrize("protocol", [2, 3])
def test_an_answer_is_complete_or_refused_however_little_time_there_is(
    faces, server, policy, known, protocol, tmp_path, monkeypatch
):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    monkeypatch.setenv("RAGKNN_PROTOCOL", str(protocol))
    refused = {}
    with faces.index(FLAT, url=server) as index:
        there = calls(faces, index, tmp_path)
        tried = [*ALWAYS, *chance.sample(sorted(there.keys() - ALWAYS), TRIED)]
        known |= {name: there[name]() for name in tried if name not in known}
    monkeypatch.setenv("RAGKNN_TIMEOUT", "0.001")
    with faces.index(FLAT, url=server) as index:
        there = calls(faces, index, tmp_path, on_incomplete=chance.choice(["raise", "return"]))
        for name in tried:
            try:
                answer = there[name]()
            except Told:
                continue
            except (CommandRefused, IncompleteRetrieval) as error:
                refused[name] = str(error).lower()
            else:
                assert answer == known[name], name
    assert refused.keys() >= {*ALWAYS}
    assert all("raise the timeout" in told for told in refused.values()), refused
