"""Many commands at once: each reply is read as it comes, in order, over a connection that is whole afterwards."""

import asyncio

import pytest
import redis
import redis.asyncio

from ragknn import ConnectionFailed
from ragknn._protocol.flows import Each
from ragknn.server._connection import aconnect, arun, connect, run
from ragknn.server._exchange import PORTION

COUNT = 3 * PORTION + 7
ECHOES = [("ECHO", f"{number}é") for number in range(COUNT)]
TEXTS = [text.encode() for _, text in ECHOES]


@pytest.fixture(params=["sync", "async"])
def drive(request, redis_url):
    """Drive flows one after the other, in either world, over one connection at most; divisions by zero are values."""

    async def driving(*flows):
        outcomes = []
        async with aconnect(f"{redis_url}?max_connections=1", timeout=5, protocol=3) as client:
            for flow in flows:
                try:
                    outcomes.append(await arun(client, flow))
                except ZeroDivisionError as error:
                    outcomes.append(error)
        return outcomes

    def driven(*flows):
        outcomes = []
        with connect(f"{redis_url}?max_connections=1", timeout=5, protocol=3) as client:
            for flow in flows:
                try:
                    outcomes.append(run(client, flow))
                except ZeroDivisionError as error:
                    outcomes.append(error)
        return outcomes

    return driven if request.param == "sync" else lambda *flows: asyncio.run(driving(*flows))


def each(commands, read):
    return (yield Each(commands, read))


def asking(*commands):
    return (yield list(commands))


@pytest.mark.parametrize("count", [1, PORTION, PORTION + 1, COUNT])
def test_replies_come_in_order_each_read_with_its_number(drive, count):
    flows = each(ECHOES[:count], lambda number, reply: (number, reply)), asking(*ECHOES[:count])
    assert drive(*flows) == [list(enumerate(TEXTS[:count])), TEXTS[:count]]


def test_an_error_is_a_value_among_the_replies(drive):
    commands = [*ECHOES[:2], ("NOSUCH",), *ECHOES[2:]]
    [replies] = drive(asking(*commands))
    assert isinstance(replies.pop(2), redis.ResponseError)
    assert replies == TEXTS


def test_no_commands_need_no_server():
    assert run(None, asking()) == []
    assert asyncio.run(arun(None, asking())) == []


def test_a_connection_whose_replies_were_not_all_read_is_not_used_again(drive):
    def read(number, reply):
        if number == PORTION + 3:
            raise ZeroDivisionError
        return reply

    failed, after = drive(each(ECHOES, read), asking(*ECHOES))
    assert isinstance(failed, ZeroDivisionError)
    assert after == TEXTS


def test_a_cancelled_task_leaves_no_replies_to_the_next(redis_url):
    async def main():
        async with aconnect(f"{redis_url}?max_connections=1", timeout=5, protocol=3) as client:
            waiting = asyncio.ensure_future(arun(client, asking(("BLPOP", "nothing-here", 30))))
            await arun_soon(waiting)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            return await arun(client, asking(*ECHOES))

    async def arun_soon(task):
        for _ in range(50):
            await asyncio.sleep(0)
        assert not task.done()

    assert asyncio.run(main()) == TEXTS


def test_a_connection_that_breaks_is_tried_again_from_the_first_command(drive, redis_url):
    seen = []

    def read(number, reply):
        seen.append(number)
        if number == 0:
            mine.append(reply)
        if number == PORTION and seen.count(PORTION) == 1:
            with redis.Redis.from_url(redis_url) as other:
                other.client_kill_filter(_id=mine[0])
        return reply

    mine = []
    [replies] = drive(each([("CLIENT", "ID"), *ECHOES], read))
    assert replies[1:] == TEXTS
    assert replies[0] != mine[0], "over another connection"
    assert seen.count(0) == 2


@pytest.mark.usefixtures("no_pauses")
def test_a_server_that_is_away_is_said_to_be(tmp_path):
    with pytest.raises(ConnectionFailed, match="expected Redis at"):
        run(connect(f"unix://{tmp_path}/none.sock", timeout=1, protocol=3), asking(("PING",)))
