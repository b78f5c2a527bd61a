"""Indexes over TLS: an authority of one's own, certificates of clients, logins; what is told where it does not fit."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from commands import run_here
from encrypted import Authority, tls_before
from servers import private_server

from ragknn import ConnectionFailed, Document, HashingEmbedder

EMBEDDER = HashingEmbedder(16)


@dataclass(frozen=True)
class SetUp:
    """Ports of TLS before one Redis, and the files to reach them.

    Attributes:
        open_to_all: port that asks clients for nothing.
        for_clients: port that asks for a certificate.
        elsewhere: port whose certificate is for another host.
        authority: file of the authority that all certificates are of.
        client: files of a client's certificate.
        stranger: files of one that an unknown authority has made.
    """

    open_to_all: int
    for_clients: int
    elsewhere: int
    authority: Path
    client: tuple[Path, Path]
    stranger: tuple[Path, Path]


@pytest.fixture(scope="module")
def set_up(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    ours, theirs = Authority(folder, "ours"), Authority(folder, "theirs")
    here, there = ours.certify("127.0.0.1"), ours.certify("redis.example")
    with private_server(folder) as url:
        with redis.Redis.from_url(url) as admin:
            admin.execute_command("ACL", "SETUSER", "ann", "on", ">p/w", "~*", "+@all")
        with (
            tls_before(url, here) as open_to_all,
            tls_before(url, here, clients_of=ours) as for_clients,
            tls_before(url, there) as elsewhere,
        ):
            yield SetUp(
                open_to_all, for_clients, elsewhere, ours.file, ours.certify("client"), theirs.certify("stranger")
            )


def url_of(port, login="", **options):
    question = "&".join(f"{name}={value}" for name, value in options.items())
    return f"rediss://{login}127.0.0.1:{port}{'?' if question else ''}{question}"


def keys(files):
    return {"ssl_certfile": files[0], "ssl_keyfile": files[1]}


def refused(faces, url):
    with pytest.raises(ConnectionFailed) as told:
        faces.index("x", url=url, embedder=EMBEDDER, timeout=2.0).open()
    return str(told.value)


@pytest.mark.parametrize("login", ["", "ann:p%2Fw@"])
def test_an_index_works_over_tls_with_an_authority_of_its_own(faces, set_up, login):
    url = url_of(set_up.open_to_all, login, ssl_ca_certs=set_up.authority)
    with faces.index("over-tls", url=url, embedder=EMBEDDER) as index:
        many = [Document(f"d{n}", f"Text {n} of pears. " * 50) for n in range(100)]
        assert faces.indexer(index).sync(many).added == 100
        assert len(faces.retriever(index).retrieve_many(["pears"] * 20, k=5)) == 20
        assert len(list(index.documents())) == 100
        index.drop()


def test_a_client_shows_its_certificate(faces, set_up):
    url = url_of(set_up.for_clients, ssl_ca_certs=set_up.authority, **keys(set_up.client))
    with faces.index("with-certificate", url=url, embedder=EMBEDDER) as index:
        assert faces.indexer(index).add([Document("d", "text")]).added == 1
        index.drop()


@pytest.mark.usefixtures("no_pauses")
def test_a_certificate_of_a_client_that_is_missing_or_unknown_is_told(faces, set_up):
    for shown in ({}, keys(set_up.stranger)):
        told = refused(faces, url_of(set_up.for_clients, ssl_ca_certs=set_up.authority, **shown))
        assert "if the server asks for a certificate of the client, name one that it knows" in told
        assert "ssl_certfile=FILE&ssl_keyfile=FILE" in told


def test_an_authority_that_is_not_named_is_told(faces, set_up):
    assert "name the file with the authority of its certificate" in refused(faces, url_of(set_up.open_to_all))


def test_a_certificate_for_another_host_is_told_and_can_be_taken(faces, set_up):
    url = url_of(set_up.elsewhere, ssl_ca_certs=set_up.authority)
    assert "name the server in the URL as its certificate does" in refused(faces, url)
    with faces.index("elsewhere", url=f"{url}&ssl_check_hostname=no", embedder=EMBEDDER) as index:
        assert index.count() == 0
        index.drop()


@pytest.mark.usefixtures("no_pauses")
def test_a_file_that_is_not_there_is_told(faces, set_up):
    told = refused(faces, url_of(set_up.open_to_all, ssl_ca_certs="nowhere.pem"))
    assert "see that the files are there which its options ssl_ca_certs" in told


def test_a_wrong_password_over_tls_is_told_and_not_shown(faces, set_up):
    told = refused(faces, url_of(set_up.open_to_all, "ann:wr0ng@", ssl_ca_certs=set_up.authority))
    assert "expected a login that Redis at 127.0.0.1:" in told
    assert "wr0ng" not in told


def test_the_command_takes_the_same_url(set_up, tmp_path):
    url = url_of(set_up.for_clients, "ann@", ssl_ca_certs=set_up.authority, **keys(set_up.client))
    done = run_here(["list", "--url", url, "--json"], "", tmp_path, {"RAGKNN_PASSWORD": "p/w"})
    assert (done.returncode, done.stdout) == (0, "")
