import asyncio
import os
from itertools import islice

import pytest
import redis
import redis.asyncio
from servers import private_server

from ragknn import (
    CommandRefused,
    ConfigurationError,
    ConnectionFailed,
    Document,
    Index,
    Indexer,
    Retriever,
    UnsupportedServer,
)
from ragknn._protocol.flows import Ahead, Each, Pause, Work, pauses, within
from ragknn.server._connection import aconnect, arun, connect, run
from ragknn.server._urls import mask_password


@pytest.fixture(params=["sync", "async"])
def drive(request, redis_url):
    """Drive a flow to its end, in either world, with a connection of its own."""
    if request.param == "sync":

        def driven(flow, url=redis_url, protocol=3):
            with connect(url, timeout=5.0, protocol=protocol) as client:
                return run(client, flow)

    else:

        def driven(flow, url=redis_url, protocol=3):
            async def driving():
                async with aconnect(url, timeout=5.0, protocol=protocol) as client:
                    return await arun(client, flow)

            return asyncio.run(driving())

    return driven


def ask(*commands):
    return (yield list(commands))


# ---- driving ---------------------------------------------------------------------------------------------------


def test_a_flow_is_sent_what_came_of_each_step_and_its_value_is_returned(drive, index_name):
    def flow():
        key = f"ragknn:{index_name}:x"
        sent = [(yield [("APPEND", key, "1"), ("INCR", key), ("GET", key)])]
        sent.append((yield Work(lambda: "computed")))
        sent.append((yield Pause(0.001)))
        sent.append((yield [("DEL", key)]))
        return sent

    assert drive(flow()) == [[1, 2, b"2"], "computed", None, [1]]


def test_who_asks_again_and_again_pauses_a_moment_at_first_and_never_longer_than_is_said():
    assert [one.seconds for one in islice(pauses(0.01), 6)] == [0.001, 0.002, 0.004, 0.008, 0.01, 0.01]


def test_a_flow_without_steps_returns_its_value(drive):
    def flow():
        return 5
        yield

    assert drive(flow()) == 5


def test_an_error_of_the_server_comes_back_as_a_value_among_the_others(drive):
    [first, wrong, last] = drive(ask(("ECHO", "a"), ("NOSUCHCOMMAND",), ("ECHO", "b")))
    assert (first, last) == (b"a", b"b")
    assert isinstance(wrong, redis.ResponseError)


def test_an_error_in_a_flow_reaches_the_caller(drive):
    def flow():
        yield [("PING",)]
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        drive(flow())


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
def test_a_flow_is_closed_when_its_work_fails(drive, error):
    closed = []

    def flow():
        try:
            yield Work(fail)
        finally:
            closed.append(True)

    def fail():
        raise error("no more")

    with pytest.raises(error, match="no more"):
        drive(flow())
    assert closed == [True]


def failing():
    raise LookupError("no more")


def unread():
    yield Each([("PING",)], lambda number, reply: failing())


def begun():
    def working():
        yield Work(failing)

    yield (yield Ahead(working()))


def begun_after_a_step():
    def working():
        yield [("PING",)]
        yield Work(failing)

    yield (yield Ahead(working()))


def within_another():
    def answer(step):
        return (yield step)

    def working():
        yield [("PING",)]
        yield Work(failing)

    yield from within(working(), answer)


@pytest.mark.parametrize("steps", [unread, begun, begun_after_a_step, within_another])
def test_what_a_step_raises_is_raised_in_the_flow_which_may_clean_up(drive, steps):
    def flow():
        try:
            yield from steps()
        except LookupError as error:
            return str(error), (yield [("ECHO", "cleaned up")])

    assert drive(flow()) == ("no more", [b"cleaned up"])


def test_what_was_begun_may_clean_up_as_well(drive):
    told = []

    def working(call):
        try:
            yield Work(call)
        except LookupError as error:
            told.append((str(error), (yield [("ECHO", "cleaned up")])))
            raise

    def answered(step):
        return (yield step)

    def flow():
        begun = yield Ahead(within(working(failing), answered))
        with pytest.raises(LookupError, match="no more"):
            yield begun
        return (yield Work(lambda: "goes on"))

    assert drive(flow()) == "goes on"
    assert told == [("no more", [b"cleaned up"])]


@pytest.mark.usefixtures("no_pauses")
def test_a_flow_is_told_that_the_server_cannot_be_reached(drive, tmp_path):
    def flow():
        try:
            yield [("PING",)]
        except ConnectionFailed as error:
            told = str(error)
            return (yield Work(lambda: told))

    assert drive(flow(), url=f"unix://{tmp_path}/nobody.sock").startswith("expected Redis at")


@pytest.mark.usefixtures("no_pauses")
def test_a_flow_is_closed_when_the_server_cannot_be_reached(drive, tmp_path):
    closed = []

    def flow():
        try:
            yield [("PING",)]
        finally:
            closed.append(True)

    with pytest.raises(ConnectionFailed):
        drive(flow(), url=f"unix://{tmp_path}/nobody.sock")
    assert closed == [True]


def test_work_does_not_keep_the_event_loop_from_other_tasks(redis_url):
    async def waiting_for_each_other():
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def flow():
            # The work ends only when another task of the loop has run.
            return (yield Work(lambda: asyncio.run_coroutine_threadsafe(done.wait(), loop).result(30)))

        async with aconnect(redis_url, timeout=5.0, protocol=3) as client:
            task = asyncio.create_task(arun(client, flow()))
            await asyncio.sleep(0)
            done.set()
            return await task

    assert asyncio.run(waiting_for_each_other()) is True


def test_a_cancelled_task_closes_its_flow(redis_url):
    closed = []

    def flow():
        try:
            while True:
                yield Pause(0.01)
        finally:
            closed.append(True)

    async def cancelling():
        async with aconnect(redis_url, timeout=5.0, protocol=3) as client:
            task = asyncio.create_task(arun(client, flow()))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancelling())
    assert closed == [True]


# ---- reaching the server ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("connector", [connect, aconnect])
@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost", "", "redis//x"])
def test_a_url_of_another_form_is_refused_with_the_forms_that_will_do(connector, url):
    with pytest.raises(ConfigurationError) as refused:
        connector(url, timeout=1.0, protocol=3)
    assert str(refused.value).startswith(
        "expected a URL like redis://localhost:6379, rediss://user:password@host:6380/0 or unix:///run/redis.sock, "
        f"got {url!r}: "
    )


@pytest.mark.parametrize("connector", [connect, aconnect])
@pytest.mark.parametrize(
    "url", ["http://user:S3CRET@localhost", "redis://u:S3CRET@localhost:port", "redis://:S3CRET@localhost:99999999"]
)
def test_the_password_is_not_in_the_message_of_a_refused_url(connector, url):
    with pytest.raises(ConfigurationError) as refused:
        connector(url, timeout=1.0, protocol=3)
    assert "S3CRET" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://user:secret@host:6379/0", "redis://user:***@host:6379/0"),
        ("redis://:secret@host", "redis://:***@host"),
        ("redis://:p@ss:w@rd@host", "redis://:***@host"),
        ("redis://user@host", "redis://user@host"),
        ("redis://host:6379", "redis://host:6379"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("unix:///run/redis.sock?password=secret", "unix:///run/redis.sock?password=***"),
        (
            "redis://host?username=u&password=secret&db=1",
            "redis://host?username=u&password=***",
        ),  # it may be part of it
    ],
)
def test_passwords_are_masked_and_nothing_else_is(url, masked):
    assert mask_password(url) == masked


@pytest.mark.usefixtures("no_pauses")
def test_nobody_there_is_told_with_the_address(drive, tmp_path):
    with pytest.raises(ConnectionFailed) as failed:
        drive(ask(("PING",)), url=f"unix://{tmp_path}/nobody.sock")
    assert str(failed.value).startswith(f"expected Redis at {tmp_path}/nobody.sock, got: ")
    assert "`ragknn doctor`" in str(failed.value)
    assert isinstance(failed.value.__cause__, redis.ConnectionError)


@pytest.mark.usefixtures("no_pauses")
def test_a_port_without_a_server_is_told_with_the_address(drive):
    with pytest.raises(ConnectionFailed, match="expected Redis at localhost:1, got: "):
        drive(ask(("PING",)), url="redis://:S3CRET@localhost:1/0")


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("login", ["", "?password=WR0NG", "?username=nobody&password=WR0NG"])
def test_a_login_that_is_refused_is_tried_once_and_told_without_the_password(drive, locked_url, login, protocol):
    with redis.Redis.from_url(f"{locked_url}?password=S3CRET") as client:
        before = client.info("stats")["total_connections_received"]
        with pytest.raises(ConnectionFailed) as failed:
            drive(ask(("PING",)), url=locked_url + login, protocol=protocol)
        assert client.info("stats")["total_connections_received"] == before + 1
    assert str(failed.value).startswith(f"expected a login that Redis at {locked_url.removeprefix('unix://')} accepts")
    assert "WR0NG" not in str(failed.value)


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_right_password_is_taken(drive, locked_url, protocol):
    assert drive(ask(("ECHO", "a")), url=f"{locked_url}?password=S3CRET", protocol=protocol) == [b"a"]


@pytest.fixture(scope="module")
def locked_url(tmp_path_factory):
    """URL of a server that asks for the password S3CRET."""
    with private_server(tmp_path_factory.mktemp("locked"), "--requirepass", "S3CRET") as url:
        yield url


@pytest.mark.usefixtures("no_pauses")
def test_a_server_that_goes_away_is_told(drive, tmp_path):
    with private_server(tmp_path) as url:

        def flow():
            yield [("PING",)]
            yield [("SHUTDOWN", "NOSAVE", "NOW")]

        with pytest.raises(ConnectionFailed, match="expected Redis at"):
            drive(flow(), url=url)


def test_a_redis_without_search_is_refused_with_what_to_use(faces, tmp_path):
    with private_server(tmp_path, search=False) as url:
        with pytest.raises(UnsupportedServer) as refused:
            faces.index("doc", url=url, dim=2).open()
        with redis.Redis.from_url(url) as client:
            assert client.keys() == []
    assert str(refused.value).startswith("expected a Redis with search (FT.* commands), got Redis 8.")
    assert "docker run -p 6379:6379 redis:8" in str(refused.value)


# ---- wire protocols and clients --------------------------------------------------------------------------------

DOCUMENTS = [
    Document("ä/1", "red apples and green pears", "fruit", {"n": 1, "tags": ["a", "b"]}),
    Document("2", "trains and planes and cars", 7),
    Document("3", "three small red cars", 0.5, {"x": None}),
]


def contents(index):
    """Return what the faces tell of an index, without the versions and times that may differ."""
    report = Indexer(index).sync(DOCUMENTS)
    again = Indexer(index).sync(DOCUMENTS)
    retrievals = Retriever(index).retrieve_many(["red cars", "apples"], k=2)
    info = index.describe()
    counts = (report.added, report.passages, again.unchanged, index.count(), info.documents, info.passages)
    return retrievals, counts, info.indexing_failures, index.drop()


@pytest.mark.parametrize("decode_responses", [False, True])
@pytest.mark.parametrize("protocol", [2, 3])
def test_every_kind_of_client_gives_the_same_results(redis_url, index_name, embedder, protocol, decode_responses):
    with Index(index_name, url=redis_url, embedder=embedder) as index:
        expected = contents(index)
    assert expected[1:] == ((3, 3, 3, 3, 3, 3), 0, 3)
    assert [neighbor.passage.document_id for neighbor in expected[0][0]] == ["2", "3"]
    with (
        redis.Redis.from_url(redis_url, protocol=protocol, decode_responses=decode_responses) as client,
        Index(index_name, client=client, embedder=embedder) as index,
    ):
        assert index.server.protocol == protocol
        assert contents(index) == expected


def test_the_protocol_of_the_settings_is_used(redis_url, index_name, embedder, monkeypatch):
    monkeypatch.setenv("RAGKNN_PROTOCOL", "2")
    monkeypatch.setenv("RAGKNN_URL", redis_url)
    with Index(index_name, embedder=embedder) as index:
        assert index.server.protocol == 2


def test_a_client_whose_database_has_no_search_is_refused_and_leaves_nothing(redis_url, index_name, embedder):
    # Redis can only search in database 0.
    with redis.Redis.from_url(redis_url, db=1) as client:
        with pytest.raises(CommandRefused, match=r"(?i)\bdb\b"):
            Index(index_name, client=client, embedder=embedder).open()
        assert client.keys(f"ragknn:{index_name}:*") == []


def test_a_user_without_the_right_to_search_is_told_which_right_is_missing(redis_url, index_name, client, embedder):
    user = f"u{os.getpid()}"
    client.execute_command("ACL", "SETUSER", user, "on", ">pw", "~*", "+@all", "-FT.CREATE")
    try:
        with (
            redis.Redis.from_url(redis_url, username=user, password="pw") as theirs,
            pytest.raises(CommandRefused, match=r"(?i)ft\.create.*give the user the commands and keys that it names"),
        ):
            Index(index_name, client=theirs, embedder=embedder).open()
    finally:
        client.execute_command("ACL", "DELUSER", user)


def test_an_error_among_the_replies_holds_neither_them_nor_the_client(drive, index_name):
    _, error, _ = drive(ask(("PING",), ("FT.INFO", f"ragknn:{index_name}:v1"), ("PING",)))
    assert isinstance(error, redis.ResponseError)
    assert error.__traceback__ is None


@pytest.mark.filterwarnings("ignore:.*lib_name")  # as redis-py has it in a URL
@pytest.mark.parametrize("connector", [connect, aconnect])
def test_the_version_of_redis_py_is_looked_up_once_and_a_url_may_name_another_library(connector):
    first, other = (connector(url, timeout=1.0, protocol=3) for url in ("redis://localhost:1", "redis://localhost:2"))
    told = [client.connection_pool.make_connection().driver_info for client in (first, first, other)]
    assert told[0] is told[1] is told[2]
    named = connector("redis://localhost:1?lib_name=mine&lib_version=1.2", timeout=1.0, protocol=3)
    told = named.connection_pool.make_connection().driver_info
    assert (told.name, told.lib_version) == ("mine", "1.2")
