"""The key of a worker while the gateways' secret is rotated: no call is refused in any order."""

import asyncio
import contextlib
import os
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from yarl import URL

from backends.adapters.hop import HopBackend
from backends.adapters.trust import Trust
from backends.authentication import derive_key
from backends.fake import vector
from backends.guard import Guard
from backends.protocol import InvalidAnswer, TokenRow
from testing.certificates import Authority, Certified
from testing.processes import Process
from tests.backends.adapters.proving import NAME, Worker

OLD, NEW = b"old", b"new"
ROWS = [TokenRow(struct.pack("<2I", 101, 102), 2)]
HOST = NAME.partition(":")[0]


def guard(*secrets: bytes) -> Guard:
    return Guard(*(derive_key(secret, NAME) for secret in secrets), demanding=True)


@contextlib.asynccontextmanager
async def asking(port: int, *secrets: bytes) -> AsyncIterator[HopBackend]:
    backend = HopBackend(f"http://127.0.0.1:{port}", Trust(*secrets), name=NAME)
    try:
        yield backend
    finally:
        await backend.close()


async def embed(backend: HopBackend) -> list[bytes]:
    return [bytes(v) for v in await backend.embed(ROWS, timeout_seconds=10)]


@pytest.mark.parametrize(
    ("gateway", "worker"),
    [
        ((OLD, NEW), (OLD,)),
        ((NEW, OLD), (OLD,)),
        ((NEW, OLD), (NEW,)),
        ((OLD,), (NEW, OLD)),
        ((NEW,), (OLD, NEW)),
        ((OLD, NEW), (NEW, OLD)),
    ],
)
async def test_each_state_of_a_rollout(gateway: tuple[bytes, ...], worker: tuple[bytes, ...]):
    own = Worker()
    own.app.guard = guard(*worker)
    async with own.listening() as listening, asking(listening.port, *gateway) as backend:
        assert await embed(backend) == [vector(ROWS[0].ids, 2)]


async def test_without_a_key_in_common_nothing_is_asked():
    own = Worker()
    own.app.guard = guard(OLD)
    async with own.listening() as listening, asking(listening.port, NEW) as backend:
        with pytest.raises(InvalidAnswer, match="does not have the key"):
            await embed(backend)


async def test_workers_move_and_come_back_under_load_and_no_call_fails():
    own = Worker()
    own.app.guard = guard(OLD)
    async with (
        own.listening() as listening,
        asking(listening.port, NEW, OLD) as ahead,
        asking(listening.port, OLD, NEW) as behind,
    ):
        for keys in ((NEW, OLD), (NEW,), (OLD, NEW), (OLD,)):
            calls = [embed(backend) for backend in (ahead, behind) for _ in range(20)]
            running = asyncio.gather(*calls)
            await asyncio.sleep(0)
            own.app.guard = guard(*keys)  # as by a restart: its sessions are gone
            assert await running == 40 * [[vector(ROWS[0].ids, 2)]]


def replace(path: Path, *sources: Path) -> None:
    """Write a file as a whole, as a mounted secret changes."""
    made = path.with_suffix(".next")
    made.write_bytes(b"".join(source.read_bytes() for source in sources))
    made.rename(path)


def test_an_authority_that_is_half_written_changes_nothing(tmp_path: Path):
    path = tmp_path / "ca.pem"
    replace(path, Authority(tmp_path).path)
    trust = Trust(authority=path)
    before = trust.tls()
    path.write_text("-----BEGIN CERTIFICATE-----\nhalf")
    os.utime(path, (1, 1))
    assert trust.tls() is before
    path.unlink()
    assert trust.tls() is before
    with pytest.raises(OSError):  # noqa: PT011 - whatever it is: it never could be read
        Trust(authority=path).tls()


@pytest.mark.long
async def test_a_certificate_and_its_authority_are_replaced_under_load(tmp_path: Path):
    """A real worker, connected to anew again and again: no batch fails."""
    first, second = Authority(tmp_path, "first"), Authority(tmp_path, "second")
    served = Certified(tmp_path / "served.pem", tmp_path / "served.key")
    bundle = tmp_path / "bundle.pem"

    def certify(by: Authority) -> None:
        made = by.certify(HOST, file="made")
        replace(served.key, made.key)
        replace(served.cert, made.cert)

    certify(first)
    replace(bundle, first.path)
    command = [
        *(sys.executable, "-m", "backends.fake", "--dimensions", "2"),
        *("--tls-cert", str(served.cert), "--tls-key", str(served.key)),
        *("--announce-as", f"https://{NAME}"),
    ]
    process = Process(command, {**os.environ, "GATEWAY_WORKER_KEY": derive_key(OLD, NAME).hex()})
    trust = Trust(OLD, authority=bundle)
    served_by: list[str] = []
    batches = 0

    async def batch() -> None:
        nonlocal batches
        backend = HopBackend(f"https://127.0.0.1:{URL(process.url).port}", trust, name=NAME)
        try:
            assert await embed(backend) == [vector(ROWS[0].ids, 2)]
            (connection,) = backend._connections._open
            certificate = connection._transport.get_extra_info("peercert")
            served_by.append(certificate["issuer"][0][0][1])
            batches += 1
        finally:
            await backend.close()

    try:
        await batch()
        replace(bundle, first.path, second.path)
        certify(second)
        async with asyncio.timeout(30):
            while served_by[-1] == "first":
                await asyncio.gather(*(batch() for _ in range(8)))
        replace(bundle, second.path)
        await asyncio.gather(*(batch() for _ in range(8)))
    finally:
        process.close()
    assert served_by[0] == "first"
    assert served_by[-1] == "second"
    assert len(served_by) == batches > 8
