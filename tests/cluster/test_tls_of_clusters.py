"""A cluster behind TLS: an authority of one's own, certificates of clients, logins, and addresses that are mapped."""

from contextlib import ExitStack

import pytest
from clusters import PRIMARIES
from commands import run_here
from encrypted import Authority, tls_before

from ragknn import ConnectionFailed, Document, HashingEmbedder

EMBEDDER = HashingEmbedder(16)


@pytest.fixture(scope="module")
def behind(bed, tmp_path_factory):
    """URL of the cluster over TLS that asks clients for a certificate, as a function of the login and the options."""
    folder = tmp_path_factory.mktemp("tls")
    ours, theirs = Authority(folder, "ours"), Authority(folder, "theirs")
    files = {
        "ssl_ca_certs": ours.file,
        **dict(zip(("ssl_certfile", "ssl_keyfile"), ours.certify("client"), strict=True)),
        "strange_certfile": theirs.certify("stranger")[0],
        "strange_keyfile": theirs.certify("stranger")[1],
    }
    nodes = bed.nodes[: PRIMARIES + 1]
    for node in nodes:
        node("ACL", "SETUSER", "ann", "on", ">p/w", "~*", "&*", "+@all")
    with ExitStack() as stack:
        certificate = ours.certify("127.0.0.1")
        ports = [
            stack.enter_context(tls_before(f"redis://127.0.0.1:{node.proxy}", certificate, ours)) for node in nodes
        ]
        pairs = [f"127.0.0.1:{node.proxy}=127.0.0.1:{port}" for node, port in zip(nodes, ports, strict=True)]

        def url(*options, login="ann:p%2Fw@", scheme="rediss"):
            named = "".join(f"&{one.replace('strange', 'ssl')}={files[one]}" for one in options)
            places = ",".join(f"127.0.0.1:{port}" for port in ports[1:PRIMARIES])
            return f"{scheme}+cluster://{login}{places}?address_map={','.join(pairs)}{named}"

        yield url
    for node in nodes:
        node("ACL", "DELUSER", "ann")


OURS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def test_an_index_works_over_tls(faces, behind, name):
    with faces.index(name, url=behind(*OURS), embedder=EMBEDDER) as index:
        assert index.server.primaries == PRIMARIES
        many = [Document(f"d{n}", f"Text {n} of pears. " * 50) for n in range(60)]
        assert faces.indexer(index).sync(many).added == 60
        assert all(one.complete for one in faces.retriever(index).retrieve_many(["pears"] * 9, k=5))
        assert len(list(index.documents())) == 60
        index.drop()


def test_the_command_takes_the_same_url(behind, tmp_path):
    done = run_here(["list", "--url", behind(*OURS, login="ann@"), "--json"], "", tmp_path, {"RAGKNN_PASSWORD": "p/w"})
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("options", "how", "words"),
    [
        (OURS[:1], {}, "if the server asks for a certificate of the client, name one that it knows: rediss.cluster://"),
        ((OURS[0], "strange_certfile", "strange_keyfile"), {}, "a certificate of the client, name one that it knows"),
        ((), {}, r"name the file with the authority of its certificate: rediss\+cluster://"),
        (OURS, {"login": "ann:wr0ng@"}, r"expected a login that Redis at 127.0.0.1:\d+.* accepts, got: invalid"),
        ((), {"scheme": "redis"}, r"if the port speaks TLS, use rediss\+cluster:// in place of redis\+cluster://"),
    ],
)
def test_what_does_not_fit_is_told(faces, behind, name, options, how, words):
    with pytest.raises(ConnectionFailed, match=words) as told:
        faces.index(name, url=behind(*options, **how), embedder=EMBEDDER, timeout=2).open()
    assert "wr0ng" not in str(told.value)


def test_a_port_without_tls_is_told(faces, bed, name):
    url = f"rediss+cluster://127.0.0.1:{bed.primaries[0].proxy}"
    with pytest.raises(ConnectionFailed, match=r"does not speak TLS, use redis\+cluster:// in place of rediss"):
        faces.index(name, url=url, embedder=EMBEDDER, timeout=2).open()
