"""A secret that is put anywhere is found nowhere: in no error, log, representation, pickle, and not in Redis."""

import asyncio
import copy
import io
import json
import logging
import pickle
import traceback
from contextlib import contextmanager
from urllib.parse import quote

import numpy as np
import pytest
import redis
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from servers import private_server
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from ragknn import (
    AsyncIndex,
    HashingEmbedder,
    Index,
    Indexer,
    OpenAIEmbedder,
    Retriever,
    SentenceEmbedder,
    list_indexes,
)
from ragknn._secrets import guarded_url, mask_password, without_password
from ragknn.cli import cli
from ragknn.estimators import KNeighborsClassifier, KNeighborsTransformer, TextEmbedder
from ragknn.server._connection import aconnect, connect
from ragknn.settings import load_settings

# Both ends of each secret are looked for too, since a part of one is a secret as well.
BEGIN, END = "Zq7xA", "B9kWz"
secrets = st.text("ab1/?#@:%&=+ é℀[]", max_size=6).map(lambda middle: f"{BEGIN}{middle}{END}")
SHAPES = [
    *("redis://user:{}@localhost:1", "redis://:{}@localhost:1/0", "rediss://user:{}@localhost:1?ssl_cert_reqs=none"),
    *("user:{}@localhost:1", ":{}@localhost:1", "redis:user:{}@localhost:1", "redis//user:{}@localhost:1"),
    *(
        "redis:/user:{}@localhost:1",
        "redis//:{}",
        "redis://localhost:{}",
        "redis://user:{}",
        "http://user:{}@localhost",
    ),
    *("unix://user:{}@/nowhere/redis.sock", "unix://:{}@/nowhere/redis.sock?db=0", "unix:///nowhere?password={}"),
    *("redis://localhost:1?password={}", "redis://localhost:1/0?db=0&password={}&x=1", "localhost:1?password={}"),
    *("redis://a:{}@localhost:1,redis://b:{}@localhost:2", "redis://user:{}@localhost:1/zero", "redis://user:{}@[::1"),
    *("redis+sentinel://user:{}@localhost:1,localhost:2/service", "redis+sentinel://localhost:1,user:{}"),
    *("redis+sentinel://localhost:1/service?sentinel_password={}", "rediss+sentinel://h:1,:{}@h:2/service"),
    *("redis://user:{}@localhost:99999", "redis://user:{}@a..b:1", "redis://user:{}@localhost:1?nonsense=1"),
]
urls = st.builds(
    # What follows the last @ is the host, if there is one.
    lambda shape, secret, encoded: shape.replace(
        "{}", quote(secret, safe="") if encoded or ("@" not in shape and "password" not in shape) else secret
    ),
    *(st.sampled_from(SHAPES), secrets, st.booleans()),
)


def leaks(shown: str | bytes) -> bool:
    if isinstance(shown, str):
        shown = shown.encode("utf-8", "backslashreplace")
    return BEGIN.encode() in shown or END.encode() in shown


class Heard(logging.Handler):
    """Keeps what is logged, by whomever and on whatever level."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def listening():
    heard, root = Heard(), logging.getLogger()
    level = root.level
    root.addHandler(heard)
    root.setLevel(logging.DEBUG)
    try:
        yield heard.lines
    finally:
        root.removeHandler(heard)
        root.setLevel(level)


def told_by(call) -> list[str]:
    """Return all that an error of the call tells, and what it is raised from, and the log."""
    with listening() as heard:
        try:
            call()
        except Exception as error:
            told = [str(error), repr(error), repr(error.args), "".join(traceback.format_exception(error))]
            return [*told, repr(error.__cause__), repr(error.__context__), *heard]
        return heard


def shown_of(value: object) -> list[str | bytes]:
    """Return how an object shows itself, and its pickle."""
    return [repr(value), str(value), pickle.dumps(value), repr(pickle.loads(pickle.dumps(value))), repr(vars(value))]


# ---- URLs ------------------------------------------------------------------------------------------------------


@given(urls)
def test_no_url_shows_its_password(url):
    assert not leaks(mask_password(url))
    assert not leaks(without_password(url))
    kept = guarded_url(url)
    assert kept == url
    assert not leaks(repr(kept) + repr([kept]) + repr({"url": kept}))
    assert not leaks(pickle.dumps(kept))
    assert copy.deepcopy([kept]) == [url]
    assert copy.copy(kept) is guarded_url(kept) is kept


@pytest.mark.parametrize(
    "url", ["redis://h", "redis://ann@h:1/2?x=y", "redis://[::1]:6379/0", "unix:///run/a@b.sock?db=1", "h:6379/0", "h"]
)
def test_a_url_without_a_password_is_shown_and_kept_as_it_is(url):
    assert (mask_password(url), without_password(url)) == (url, url)
    assert type(guarded_url(url)) is str


@given(urls)
@example(f"redis://user:{BEGIN}℀{END}@localhost:1")  # which Python's own parser refuses, and repeats
def test_no_error_tells_the_password_of_a_url_that_is_refused(url):
    index = Index("secret", url=url, dim=2)
    assert [one for one in shown_of(index) if leaks(one)] == []
    told = [
        *told_by(lambda: connect(url, timeout=1.0, protocol=3)),
        *told_by(lambda: aconnect(url, timeout=1.0, protocol=3)),
        *told_by(lambda: Index("secret", client=url, dim=2)),
    ]
    assert told
    assert [one for one in told if leaks(one)] == []


# Some are refused, others lead nowhere.
FEW = [shape.replace("{}", f"{BEGIN}/{END}") for shape in (SHAPES[0], SHAPES[4], SHAPES[15])]
FEW += [SHAPES[1].replace("{}", quote(f"{BEGIN}@{END}", safe=""))]


@pytest.mark.parametrize("url", FEW)
def test_no_error_of_connecting_tells_the_password(url):
    told = [
        *told_by(Index("secret", url=url, dim=2).open),
        *told_by(lambda: asyncio.run(AsyncIndex("secret", url=url, dim=2).open())),
        *told_by(lambda: list_indexes(url)),
        *told_by(lambda: KNeighborsClassifier(url=url).fit([[0.0], [1.0]], [0, 1])),
    ]
    assert len(told) >= 24
    assert [one for one in told if leaks(one)] == []


@pytest.mark.parametrize("url", FEW)
def test_the_command_shows_no_password(url):
    for args, environ in (
        (["list", "--url", url, "--debug"], {}),
        (["info", "a", "--json"], {"RAGKNN_URL": url}),
        (["list", url], {}),
    ):
        with listening() as heard:
            result = CliRunner(env=environ).invoke(cli, args, prog_name="ragknn")
        assert result.exit_code
        assert not leaks(result.stdout + result.stderr), args
        assert not any(map(leaks, heard)), args


def test_the_doctor_shows_no_password():
    for url in (
        "redis://user:Zq7xAB9kWz@localhost:1",
        "user:Zq7xA/B9kWz@localhost",
        "redis://h:1?password=Zq7xA@B9kWz",
    ):
        result = CliRunner(env={"RAGKNN_PASSWORD": "Zq7xAB9kWz"}).invoke(cli, ["doctor", "--url", url, "--json"])
        assert '"fail"' in result.stdout
        assert not leaks(result.stdout + result.stderr)


# ---- a server with a password ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """The URL of a server that wants a password, with it."""
    with private_server(tmp_path_factory.mktemp("locked"), "--requirepass", f"{BEGIN}/?#@{END}") as url:
        yield url.replace("unix://", f"unix://:{quote(f'{BEGIN}/?#@{END}', safe='')}@")


def dumped(url: str) -> bytes:
    """Return all that a server has."""
    with redis.Redis.from_url(url) as client:
        return b"".join(key + (client.dump(key) or b"") for key in client.scan_iter(count=1000))


def test_nothing_that_is_stored_or_returned_has_the_password(locked, monkeypatch):
    with listening() as heard, Index("secret", url=locked, embedder=HashingEmbedder(8)) as index:
        report = Indexer(index).add([])
        retriever = Retriever(index)
        results = [index, report, index.describe(), retriever.retrieve("x"), load_settings()]
        assert not any(leaks(one) for value in results for one in (repr(value), str(value), json.dumps(repr(value))))
        assert not leaks(index.describe()._repr_html_())
        assert not leaks(dumped(locked))
        twin = pickle.loads(pickle.dumps(index))
        assert copy.deepcopy(index).count() == 0  # in this process a copy can go on
    assert not any(map(leaks, heard))
    assert any("RAGKNN_PASSWORD" in one for one in told_by(twin.open))
    monkeypatch.setenv("RAGKNN_PASSWORD", f"{BEGIN}/?#@{END}")
    with pickle.loads(pickle.dumps(index)) as again:
        assert again.count() == 0
    assert not leaks(repr(load_settings()) + str(load_settings()))


def test_the_settings_show_no_secret(monkeypatch, locked):
    for name in ("RAGKNN_PASSWORD", "OPENAI_API_KEY", "RAGKNN_OPENAI_API_KEY"):
        monkeypatch.setenv(name, f"{BEGIN}{END}")
    monkeypatch.setenv("RAGKNN_URL", locked)
    monkeypatch.setenv("RAGKNN_OPENAI_BASE_URL", f"https://user:{BEGIN}{END}@host/v1")
    found = load_settings()
    assert found.url == locked
    assert not leaks(repr(found) + str(found) + repr(dict(found)) + repr(found.model_dump()))
    assert not leaks(pickle.dumps(found.url))
    monkeypatch.setenv("RAGKNN_TIMEOUT", "never")
    assert not any(map(leaks, told_by(load_settings)))


@pytest.mark.parametrize("way", ["url", "client"])
def test_no_estimator_shows_or_keeps_the_password(locked, way, monkeypatch):
    given = {"url": locked} if way == "url" else {"client": redis.Redis.from_url(locked)}
    X, y = np.eye(4), [0, 1, 0, 1]
    fitted = KNeighborsClassifier(1, index="secret-fit", **given).fit(X, y)
    transformer = KNeighborsTransformer(n_neighbors=1, **given)
    pipeline = make_pipeline(TextEmbedder(HashingEmbedder(4)), KNeighborsClassifier(1, **given))
    for one in (fitted, transformer, pipeline, clone(fitted), copy.deepcopy(fitted)):
        shown = [repr(one), str(one), one._repr_html_(), repr(one.get_params()), pickle.dumps(one), repr(vars(one))]
        assert [what for what in shown if leaks(what)] == []
    assert clone(fitted).get_params()["url"] == fitted.get_params()["url"]
    assert copy.deepcopy(fitted).predict(X).tolist() == y
    assert clone(fitted).fit(X, y).predict(X).tolist() == y
    far = pickle.loads(pickle.dumps(fitted))
    assert any("RAGKNN_PASSWORD" in one for one in told_by(lambda: far.predict(X)))
    monkeypatch.setenv("RAGKNN_PASSWORD", f"{BEGIN}/?#@{END}")
    assert pickle.loads(pickle.dumps(fitted)).predict(X).tolist() == y
    Index("secret-fit", url=locked).drop()


# ---- embedders -------------------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(secrets, st.sampled_from(["http://u:{}@127.0.0.1:1/v1", "http://127.0.0.1:1/v1?key={}", "u:{}@127.0.0.1/v1"]))
def test_no_embedder_of_a_service_shows_its_key(secret, shape):
    key = f"{BEGIN}{END}"
    told = told_by(lambda: OpenAIEmbedder("m", base_url=shape.replace("{}", secret), api_key=key, max_retries=0).dim)
    assert not any(map(leaks, told))
    url = "http://u:{}@127.0.0.1:1/v1".replace("{}", quote(secret, safe=""))
    embedder = OpenAIEmbedder("m", base_url=url, api_key=key, max_retries=0, timeout=0.2)
    # In this process the object has them, since it needs them.
    assert not any(leaks(one) for one in shown_of(embedder)[:4])
    told = told_by(lambda: embedder.embed_queries(["x"]))
    assert told
    assert not any(map(leaks, told))


def test_a_token_of_the_hub_is_neither_stored_nor_pickled():
    embedder = SentenceEmbedder(
        "nobody/nothing",
        model_kwargs={"dtype": "float16", "token": f"{BEGIN}{END}", "more": {"token": f"{BEGIN}{END}"}},
    )
    assert embedder._plain_kwargs == {"dtype": "float16", "more": {}}
    assert not any(leaks(one) for one in shown_of(embedder)[:4])
    assert embedder.model_kwargs["token"] == f"{BEGIN}{END}"
    stream = io.BytesIO()
    pickle.Pickler(stream).dump(embedder)
    assert not leaks(stream.getvalue())
