"""What a flow begins to wait for it later: it goes on beside the flow, in order, and never outlives it."""

import asyncio
import threading
import traceback

import pytest
import redis
import redis.asyncio

from ragknn import ConnectionFailed
from ragknn._protocol.flows import Ahead, Begun, Work
from ragknn.server._connection import aconnect, arun, connect, run


@pytest.fixture(params=["sync", "async"])
def drive(request, redis_url):
    """Drive a flow to its end, in either world, over one connection at most."""

    def driven(flow):
        with redis.Redis.from_url(redis_url, max_connections=1) as client:
            return run(client, flow)

    async def driving(flow):
        async with redis.asyncio.Redis.from_url(redis_url, max_connections=1) as client:
            return await arun(client, flow)

    return driven if request.param == "sync" else lambda flow: asyncio.run(driving(flow))


def working(call):
    return (yield Work(call))


def asking(*commands):
    return (yield list(commands))


def test_a_computation_goes_on_beside_the_flow_that_began_it(drive):
    met = threading.Barrier(2, timeout=30)

    def flow():
        begun = yield Ahead(working(met.wait))
        assert isinstance(begun, Begun)
        assert not begun.done
        here = yield Work(met.wait)  # ends only if both are under way
        there = yield begun
        assert begun.done
        return {here, there}

    assert drive(flow()) == {0, 1}


def test_computations_that_are_begun_go_on_one_at_a_time_in_their_order(drive):
    under_way, seen = [], []

    def compute(number):
        under_way.append(number)
        seen.append(tuple(under_way))
        under_way.remove(number)
        return number

    def flow():
        begun = []
        for number in range(20):
            begun.append((yield Ahead(working(lambda number=number: compute(number)))))
        found = []
        for one in begun:
            found.append((yield one))
        return found

    assert drive(flow()) == list(range(20))
    assert seen == [(number,) for number in range(20)]


def test_commands_that_are_begun_reach_the_server_before_later_ones_over_one_connection(drive, index_name):
    key = f"ragknn:{index_name}:x"

    def flow():
        first = yield Ahead(asking(("APPEND", key, "1"), ("NOSUCHCOMMAND",)))
        second = yield Ahead(asking(("APPEND", key, "2")))
        third = yield [("APPEND", key, "3"), ("GET", key)]
        nothing = yield Ahead(asking())
        return third, (yield second), (yield first), (yield nothing), (yield [("DEL", key)])

    third, second, [first, wrong], nothing, removed = drive(flow())
    assert (first, second, third, nothing, removed) == (1, [2], [3, b"123"], [], [1])
    assert isinstance(wrong, redis.ResponseError)


def test_a_flow_that_was_begun_goes_on_after_its_first_step(drive, index_name):
    key = f"ragknn:{index_name}:x"

    def counting():
        [one] = yield [("INCR", key)]
        two = yield Work(lambda: one + 1)
        [three] = yield [("INCRBY", key, two)]
        inner = yield Ahead(asking(("DEL", key)))
        return one, two, three, (yield inner)

    def flow():
        return (yield (yield Ahead(counting())))

    assert drive(flow()) == (1, 2, 3, [1])


def test_an_error_of_what_was_begun_is_raised_where_it_is_waited_for_with_its_own_traceback(drive):
    def fail_over_there():
        raise LookupError("no more")

    def flow():
        begun = yield Ahead(working(fail_over_there))
        yield [("PING",)]
        yield begun

    with pytest.raises(LookupError, match="no more") as raised:
        drive(flow())
    assert "fail_over_there" in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
def test_nothing_of_what_was_begun_goes_on_when_the_flow_has_failed(drive, redis_url, index_name, client, error):
    key = f"ragknn:{index_name}:x"
    started, calls, closed = threading.Event(), [], []

    def slowly():
        started.set()
        calls.append("begun")
        threading.Event().wait(0.2)
        calls.append("ended")

    def closing():
        try:
            yield Work(lambda: calls.append("never"))
        finally:
            closed.append(True)

    def flow():
        yield Ahead(working(slowly))
        yield Ahead(closing())
        yield Ahead(asking(("SET", key, "stored")))
        yield Work(lambda: started.wait(30))
        raise error("no more")

    with pytest.raises(error, match="no more"):
        drive(flow())
    assert calls == ["begun", "ended"]
    assert closed == [True]
    assert client.get(key) == b"stored"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ragknn")]


def test_a_connection_that_breaks_under_what_was_sent_is_tried_again(redis_url, index_name, client):
    key = f"ragknn:{index_name}:x"

    def flow(me):
        begun = []
        for part in "ab":
            begun.append((yield Ahead(asking(("APPEND", key, part), ("CLIENT", "ID")))))
        client.execute_command("CLIENT", "KILL", "ID", me)
        begun.append((yield Ahead(asking(("STRLEN", key)))))
        answers = []
        for one in begun:
            answers.append((yield one))
        return answers, (yield [("DEL", key)])

    with connect(redis_url, timeout=5.0, protocol=3) as mine:
        [[_, other], [_, same], [length]], _ = run(mine, flow(mine.client_id()))
        assert other == same == mine.client_id()
        assert 2 <= length <= 4  # as of any command that is tried again
        mine.set_retry(redis.retry.Retry(redis.backoff.NoBackoff(), 0))
        mine.connection_pool.disconnect()
        with pytest.raises(ConnectionFailed):
            run(mine, flow(mine.client_id()))


@pytest.mark.usefixtures("no_pauses")
def test_a_server_that_cannot_be_reached_is_told_when_commands_are_begun(tmp_path):
    def flow():
        yield (yield Ahead(asking(("PING",))))

    async def driving():
        async with aconnect(f"unix://{tmp_path}/nobody.sock", timeout=1.0, protocol=3) as client:
            await arun(client, flow())

    with connect(f"unix://{tmp_path}/nobody.sock", timeout=1.0, protocol=3) as client, pytest.raises(ConnectionFailed):
        run(client, flow())
    with pytest.raises(ConnectionFailed):
        asyncio.run(driving())


@pytest.mark.parametrize("ahead", [True, False])
def test_a_cancelled_task_ends_when_what_it_lent_out_or_began_has_ended(redis_url, ahead):
    lent, begun, ended = threading.Event(), threading.Event(), []

    def use():
        begun.set()
        lent.wait(30)
        ended.append(True)

    def flow():
        if ahead:
            yield (yield Ahead(working(use)))
        yield Work(use, borrows=True)

    async def cancelling():
        async with aconnect(redis_url, timeout=5.0, protocol=3) as client:
            task = asyncio.create_task(arun(client, flow()))
            await asyncio.to_thread(begun.wait, 30)
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
            lent.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert ended == [True]

    asyncio.run(cancelling())


def test_a_client_that_others_derive_sees_every_command_in_order(redis_url, index_name):
    seen = []

    class Watching(redis.Redis):
        def pipeline(self, *args, **options):
            pipeline = super().pipeline(*args, **options)
            add = pipeline.execute_command
            pipeline.execute_command = lambda *command, **more: seen.append(command) or add(*command, **more)
            return pipeline

    key = f"ragknn:{index_name}:x"

    def flow():
        first = yield Ahead(asking(("APPEND", key, "1")))
        second = yield Ahead(asking(("APPEND", key, "2"), ("DEL", key)))
        return (yield second), (yield first)

    with Watching.from_url(redis_url) as client:
        assert run(client, flow()) == ([2, 1], [1])
    assert seen == [("APPEND", key, "1"), ("APPEND", key, "2"), ("DEL", key)]
