"""One POST: bounded in time and size, and only to whom the certificate names."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.control_plane.alerts import transport as module
from gateway.control_plane.alerts.addresses import Addresses
from gateway.control_plane.alerts.transport import Transport
from testing.servers import free_port
from testing.webhooks import Receiver, Reply

HOST = "hooks.test"


def certificate(folder: Path) -> Path:
    """Write a key and a certificate for HOST, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@asynccontextmanager
async def tls_server(pem: Path) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Serve TLS; yield the port, and what requests begin with."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], heard
    finally:
        server.close()
        await server.wait_closed()


async def test_the_certificate_must_be_that_of_the_name(tmp_path: Path):
    pem = certificate(tmp_path)
    hosts = [HOST, "other.test"]
    transport = Transport(
        Addresses(hosts, find=lambda *_: ["127.0.0.1"]),
        tls=ssl.create_default_context(cafile=pem),
    )
    async with tls_server(pem) as (port, heard):
        good = await transport.post("o", f"https://{HOST}:{port}/x", {}, b"{}")
        assert (good.status, good.answer, good.error) == (200, "ok", "")
        assert heard[0].startswith(b"POST /x HTTP/1.1\r\n")
        assert f"host: {HOST}:{port}\r\n".encode() in heard[0].lower()
        # a name that shares the address: neither its certificate nor the connection will do
        bad = await transport.post("o", f"https://other.test:{port}/x", {}, b"{}")
        assert bad.status is None
        assert "certificate" in bad.error.lower()
        assert len(heard) == 1
    await transport.close()
    strict = Transport(Addresses([HOST], find=lambda *_: ["127.0.0.1"]))
    async with tls_server(pem) as (port, heard):
        unknown = await strict.post("o", f"https://{HOST}:{port}/x", {}, b"{}")
        assert "certificate" in unknown.error.lower()
        assert heard == []
    await strict.close()


async def test_a_second_address_is_tried_when_the_first_does_not_answer(receiver: Receiver):
    port = receiver.url.rpartition(":")[2].partition("/")[0]
    transport = Transport(Addresses([HOST], find=lambda *_: ["127.0.0.9", "127.0.0.1"]))
    answered = await transport.post("o", f"http://{HOST}:{port}/hooks", {}, b"{}")
    assert (answered.status, answered.error) == (200, "")
    assert len(receiver.messages) == 1
    await transport.close()


async def test_an_answer_that_does_not_come_ends_in_time(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "SECONDS", 0.2)
    transport = Transport(Addresses(["127.0.0.1"]))
    receiver.hold.clear()
    answered = await transport.post("o", receiver.url, {}, b"{}")
    assert answered.status is None
    assert answered.error
    assert answered.milliseconds >= 200
    await transport.close()


async def test_a_huge_answer_is_not_read(receiver: Receiver):
    transport = Transport(Addresses(["127.0.0.1"]))
    receiver.answer = lambda _message: Reply(200, b"x" * 50_000_000)
    answered = await transport.post("o", receiver.url, {}, b"{}")
    assert (answered.status, len(answered.answer)) == (200, module.ANSWER_BYTES)
    await transport.close()


async def test_a_cookie_goes_nowhere_else(receiver: Receiver):
    """Two names at one address are two strangers."""
    port = receiver.url.rpartition(":")[2].partition("/")[0]
    transport = Transport(Addresses(["a.test", "b.test"], find=lambda *_: ["127.0.0.1"]))
    receiver.answer = lambda _message: Reply(200, b"", {"set-cookie": "session=a; path=/"})
    for host in ("a.test", "b.test", "a.test"):
        assert (await transport.post("o", f"http://{host}:{port}/", {}, b"{}")).status == 200
    assert [message.headers["host"][:6] for message in receiver.messages] == [
        "a.test",
        "b.test",
        "a.test",
    ]
    assert not any("cookie" in message.headers for message in receiver.messages)
    await transport.close()


@pytest.mark.parametrize(
    "when",
    [
        "Mon, 1 Jan 2000 00:00:00 +99999999999999",
        "Mon, 1 Jan 99999 00:00:00 GMT",
        "Mon, 99 Jan 2000 99:99:99 GMT",
        "9" * 300,
    ],
)
async def test_a_time_to_wait_that_no_calendar_has(receiver: Receiver, when: str):
    transport = Transport(Addresses(["127.0.0.1"]))
    receiver.answer = lambda _message: Reply(429, b"", {"retry-after": when})
    answered = await transport.post("o", receiver.url, {}, b"{}")
    assert (answered.status, answered.retry_after_seconds) == (429, 0.0)
    await transport.close()


async def test_nobody_listens():
    transport = Transport(Addresses(["127.0.0.1"]))
    answered = await transport.post("o", f"http://127.0.0.1:{free_port()}/", {}, b"{}")
    assert answered.error.startswith("No connection")
    await transport.close()
