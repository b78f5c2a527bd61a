"""TLS before a Redis that speaks none, with an authority of its own and certificates for servers and clients."""

import asyncio
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CHUNK = 65_536


class Authority:
    """Makes certificates, each a pair of files in a folder.

    Attributes:
        file: its own certificate.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(_as_pem(self._signed(self._name, self._key, is_authority=True)))

    def certify(self, host: str) -> tuple[Path, Path]:
        """Return the files of a certificate for a host or a client, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]), key, host=host)
        files = self._folder / f"{host}.pem", self._folder / f"{host}.key"
        files[0].write_bytes(_as_pem(certificate))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files

    def _signed(self, name, key, *, host: str | None = None, is_authority: bool = False) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            # Python asks for these three from 3.13 on.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(_usage(is_authority), critical=True)
        )
        if host is not None:
            named = x509.DNSName(host) if host[0].isalpha() else x509.IPAddress(ipaddress.ip_address(host))
            builder = builder.add_extension(x509.SubjectAlternativeName([named]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _usage(is_authority: bool) -> x509.KeyUsage:
    names = "content_commitment key_encipherment data_encipherment key_agreement encipher_only decipher_only".split()
    unused = dict.fromkeys(names, False)
    return x509.KeyUsage(
        digital_signature=not is_authority, key_cert_sign=is_authority, crl_sign=is_authority, **unused
    )


def _as_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@contextmanager
def tls_before(url: str, files: tuple[Path, Path], clients_of: Authority | None = None) -> Iterator[int]:
    """Run TLS before the Redis at a unix:// or redis:// URL, and yield its port.

    Args:
        url: of the Redis.
        files: of the server's certificate.
        clients_of: the authority whose clients alone are let in; None: all.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    if clients_of is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients_of.file)
    ready: list[int] = []
    loop = asyncio.new_event_loop()
    is_ready, over = threading.Event(), asyncio.Event()

    async def serve() -> None:
        tasks: set[asyncio.Task[None]] = set()

        async def forward(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.current_task())
            server, to_server = await _opened(url)
            with suppress(OSError, asyncio.CancelledError):
                pumping = {asyncio.ensure_future(_pump(*pair)) for pair in ((client, to_server), (server, to_client))}
                _, left = await asyncio.wait(pumping, return_when=asyncio.FIRST_COMPLETED)
                for one in left:
                    one.cancel()
            for writer in (to_server, to_client):
                writer.close()

        door = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=context)
        ready.append(door.sockets[0].getsockname()[1])
        is_ready.set()
        await over.wait()
        door.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        is_ready.wait()
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _opened(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    scheme, _, place = url.partition("://")
    if scheme == "unix":
        return await asyncio.open_unix_connection(place)
    host, _, port = place.partition(":")
    return await asyncio.open_connection(host, int(port))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
