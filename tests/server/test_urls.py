"""URLs of Redis: what is refused, where the password comes from, and TLS on one side only."""

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from platformdirs import user_data_path
from servers import private_server

from ragknn import ConfigurationError, ConnectionFailed, Index, list_indexes
from ragknn._secrets import mask_password
from ragknn.server._connection import aconnect, arun, connect, run
from ragknn.server._urls import check_form, with_password
from ragknn.settings import load_settings


def ping():
    return (yield [("PING",)])


def ask(face: str, url: str, timeout: float = 1.0):
    """Send a PING from one of the two worlds, without waiting long."""
    if face == "sync":
        with connect(url, timeout=timeout, protocol=3) as client:
            client.connection_pool.connection_kwargs.update(socket_timeout=0.2, socket_connect_timeout=0.2)
            return run(client, ping())

    async def asking():
        async with aconnect(url, timeout=timeout, protocol=3) as client:
            client.connection_pool.connection_kwargs.update(socket_timeout=0.2, socket_connect_timeout=0.2)
            return await arun(client, ping())

    return asyncio.run(asking())


# ---- the form --------------------------------------------------------------------------------------------------

SPECIAL = ["pa/ss", "12/45", "pa?ss", "pa#ss", "1/2@3", "a?b=c@d", "/", "x#", "3#4@5", "a@b/c"]


@pytest.mark.parametrize("face", [connect, aconnect])
@pytest.mark.parametrize("login", ["", "user"])
@pytest.mark.parametrize("password", SPECIAL)
@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_a_password_that_must_be_encoded_is_named_as_the_cause(face, login, password, scheme):
    url = f"{scheme}://{login}:{password}@host.example:6379/0"
    with pytest.raises(ConfigurationError) as refused:
        face(url, timeout=1.0, protocol=3)
    assert "percent-encoded" in str(refused.value)
    assert "RAGKNN_PASSWORD" in str(refused.value)
    assert f"{password}@" not in str(refused.value)


@given(st.text(alphabet="aZ9/?#@%:&=+ é", min_size=1, max_size=8))
def test_any_password_reaches_redis_as_it_is_when_it_is_encoded(password):
    url = f"redis://user:{quote(password, safe='')}@h:6379/2"
    check_form(url)
    options = connect(url, timeout=1.0, protocol=3).connection_pool.connection_kwargs
    assert (options["username"], options["password"], options["host"], options["db"]) == ("user", password, "h", 2)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://host?x=1", "unexpected keyword argument 'x'"),
        ("rediss://host/0?nonsense=1", "unexpected keyword argument 'nonsense'"),
        ("redis://host?protocol=7", "protocol must be either 2 or 3"),
        ("redis://host?db=x", "Invalid value for 'db'"),
        ("redis://host/zero", "expected the number of a database after the host"),
        ("redis://host/0/1", "expected the number of a database after the host"),
        ("redis://host:65536", "a port is a number up to 65535"),
        ("redis://host:port/0", "a port is a number up to 65535"),
        ("redis://user:secret", "after a password come @ and the host"),
        ("redis://[::1", "expected a URL like"),
        ("unix://", "without a path"),
        ("unix://?db=1", "without a path"),
        ("host:6379", "name the scheme"),
        ("redis://a..b:6379", "the parts of a host's name have 1 to 63 letters"),
        (f"redis://user:secret@{'h' * 64}", "the parts of a host's name have 1 to 63 letters"),
        ("rediss://a\ud83d/0", "the parts of a host's name have 1 to 63 letters"),
    ],
)
@pytest.mark.parametrize("face", [connect, aconnect])
def test_a_url_that_cannot_be_meant_is_refused_before_anything_is_sent(face, url, words):
    with pytest.raises(ConfigurationError) as refused:
        face(url, timeout=1.0, protocol=3)
    assert words in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://:p@ss@localhost:6379",
        "redis://u:p%2Fw@h/3",
        "redis://[::1]:6379/0",
        "redis://h?client_name=me@home",
        "redis://straße.example:6379",
        "unix:///run/a@b.sock?db=1",
        "rediss://h:6380?ssl_cert_reqs=none",
    ],
)
def test_a_url_that_redis_takes_is_taken(url):
    connect(url, timeout=1.0, protocol=3).close()


# ---- the password ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", "redis://:p%2Fw@h"),
        ("redis://ann@h:1/2?x=y", "redis://ann:p%2Fw@h:1/2?x=y"),
        ("redis://ann:own@h", "redis://ann:own@h"),
        ("redis://h?password=own", "redis://h?password=own"),
        ("unix:///run/r.sock?db=1", "unix://:p%2Fw@/run/r.sock?db=1"),
        ("redis+sentinel://a,b:1/s?sentinel_password=x", "redis+sentinel://:p%2Fw@a,b:1/s?sentinel_password=x"),
    ],
)
def test_a_url_without_a_password_gets_the_one_of_the_settings(url, expected):
    assert with_password(url, "p/w") == expected
    assert with_password(url, None) == url
    assert "p%2Fw" not in mask_password(expected)


def test_the_password_of_the_settings_opens_a_locked_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with private_server(tmp_path, "--requirepass", "a/b#c@d?e%25") as url:
        with pytest.raises(ConnectionFailed, match="or the password into RAGKNN_PASSWORD"):
            list_indexes(url)
        monkeypatch.setenv("RAGKNN_PASSWORD", "a/b#c@d?e%25")
        assert list_indexes(url) == []
        with Index("doc", url=url, dim=2) as index:
            assert index.count() == 0
        monkeypatch.setenv("RAGKNN_URL", url)
        assert list_indexes() == ["doc"]


def test_the_password_is_not_shown_with_the_settings(monkeypatch: pytest.MonkeyPatch):
    from ragknn.settings import load_settings

    monkeypatch.setenv("RAGKNN_PASSWORD", "S3CRET")
    assert "S3CRET" not in repr(load_settings())


# ---- TLS -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A port that waits for TLS, with a certificate that nobody knows."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"), "-subj", "/CN=localhost"]
    subprocess.run([*made, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening, context), daemon=True).start()
        yield listening.getsockname()[1]


def _accept(listening: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:  # closed at the end of the tests
            return
        with connection:
            try:
                context.wrap_socket(connection, server_side=True).close()
            except OSError:
                continue


@pytest.fixture(scope="module")
def plain_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Redis without TLS."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with private_server(tmp_path_factory.mktemp("plain"), "--port", str(port)):
        yield port


@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.usefixtures("no_pauses")
def test_tls_on_one_side_only_is_named_as_the_cause(face, tls_port, plain_port):
    with pytest.raises(ConnectionFailed, match="if the port speaks TLS, use rediss:// in place of redis://"):
        ask(face, f"redis://127.0.0.1:{tls_port}")
    with pytest.raises(ConnectionFailed, match="if the port does not speak TLS, use redis:// in place of rediss://"):
        ask(face, f"rediss://127.0.0.1:{plain_port}")


@pytest.mark.parametrize("face", ["sync", "async"])
def test_a_certificate_that_nobody_knows_is_named_as_the_cause(face, tls_port):
    with pytest.raises(ConnectionFailed, match=r"CERTIFICATE_VERIFY_FAILED.*ssl_ca_certs=FILE"):
        ask(face, f"rediss://127.0.0.1:{tls_port}")


def test_a_time_limit_is_waited_for_once():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        client = connect(f"redis://127.0.0.1:{port}", timeout=1.0, protocol=3)
        client.connection_pool.connection_kwargs.update(socket_timeout=0.05)
        with pytest.raises(ConnectionFailed, match="seconds, got none") as failed:
            run(client, ping())
        assert isinstance(failed.value.__cause__, redis.TimeoutError)
        silent.settimeout(0)
        connections = 0
        while True:
            try:
                silent.accept()[0].close()
                connections += 1
            except BlockingIOError:
                break
    assert connections == 1


def test_settings_are_read_again_only_where_what_they_are_read_from_has_changed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAGKNN_TIMEOUT", "3")
    first = load_settings()
    monkeypatch.setenv("SOMETHING_ELSE", "3")
    assert (first.timeout, load_settings() is first) == (3.0, True)
    monkeypatch.setenv("OPENAI_API_KEY", "a key")
    assert load_settings().openai_api_key.get_secret_value() == "a key"
    monkeypatch.setenv("ragknn_timeout", "4")
    monkeypatch.delenv("RAGKNN_TIMEOUT")
    assert load_settings().timeout == 4.0
    monkeypatch.setenv("XDG_DATA_HOME", "/elsewhere")
    monkeypatch.delenv("RAGKNN_DATA")
    assert load_settings().data == user_data_path("ragknn")
    monkeypatch.setenv("RAGKNN_PROTOCOL", "4")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="RAGKNN_PROTOCOL"):
            load_settings()
