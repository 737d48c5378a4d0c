"""The hop's own client: what it keeps, what it gives up, and what hostile answers do to it."""

import asyncio
import gc
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from backends import hop
from backends.adapters import connections
from backends.adapters.answer_reader import AnswerReader
from backends.adapters.connections import _CONNECTIONS_MAX
from backends.adapters.dialing import address_of
from backends.adapters.hop import HopBackend
from backends.protocol import (
    AS_ADDRESSED,
    InvalidAnswer,
    TokenRow,
    WorkerFailed,
    WorkerInfo,
    WorkerUnreachable,
)
from backends.registry import UnknownBackend, connect
from tests.backends.adapters.scripted import Server, http, serving
from tests.backends.contract import HELLO

ROWS = [TokenRow(HELLO, 2)]
VECTORS = hop.encode_answer(ROWS, [struct.pack("<2f", 0.6, 0.8)])
GOOD = http(200, VECTORS)
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@asynccontextmanager
async def calling(*steps: str | bytes) -> AsyncIterator[tuple[HopBackend, Server]]:
    async with serving(*steps) as server:
        backend = HopBackend(server.url)
        yield backend, server
        await backend.close()


async def embed(backend: HopBackend, seconds: float = 30.0) -> bytes:
    (vector,) = await backend.embed(ROWS, timeout_seconds=seconds)
    return bytes(vector)


@pytest.mark.parametrize(
    ("url", "host", "path", "port"),
    [
        ("http://worker:8000", "worker:8000", "", 8000),
        ("http://worker", "worker", "", 80),
        ("https://[::1]:8443/prefix/", "[::1]:8443", "/prefix", 8443),
    ],
)
def test_an_address_is_taken_apart(url, host, path, port):
    found = address_of(url)
    assert (found.host, found.path, found.port, found.unix) == (host, path, port, None)
    assert found.encrypted == url.startswith("https")


def test_a_worker_s_address_holds_no_credentials():
    with pytest.raises(UnknownBackend, match="credentials"):
        connect("http://user:secret@127.0.0.1:8000")


async def test_a_connection_is_kept_and_a_call_on_it_needs_no_task():
    async with calling(GOOD, GOOD) as (backend, server):
        await embed(backend)
        before = asyncio.all_tasks()
        call = backend.embed(ROWS, timeout_seconds=30)
        assert asyncio.all_tasks() == before
        await call
        assert (server.requests, server.connections) == (2, 1)


async def test_a_call_leaves_nothing_for_the_collector():
    async with calling(*[GOOD] * 20) as (backend, _):
        await embed(backend)
        gc.collect()
        gc.disable()
        try:
            for _ in range(19):
                await embed(backend)
            assert gc.collect() == 0
        finally:
            gc.enable()


async def test_nor_does_a_closed_connection():
    async with calling(GOOD) as (backend, _):
        await embed(backend)
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            await backend.close()
            gc.collect()
            assert not [found for found in gc.garbage if isinstance(found, AnswerReader)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD,
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + GOOD,
        CHUNKED + b"%x\r\n%b\r\n" % (len(VECTORS), VECTORS) + b"0\r\n\r\n",
        CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in VECTORS) + b"0\r\nx: y\r\n\r\n",
    ],
    ids=["continue", "hints", "a chunk", "chunks"],
)
async def test_what_http_allows_is_read_and_the_connection_kept(answer):
    async with calling(answer, GOOD) as (backend, server):
        assert await embed(backend) == await embed(backend) == struct.pack("<2f", 0.6, 0.8)
        assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        http(200, VECTORS, "connection: close"),
        GOOD + b"more",
        GOOD + GOOD,
        GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
    ids=["closed", "noise behind it", "two answers", "an old server"],
)
async def test_a_connection_in_doubt_is_not_used_again(answer):
    async with calling(answer, GOOD) as (backend, server):
        await embed(backend)
        await embed(backend)
        assert server.connections == 2


async def test_an_answer_may_end_with_its_connection():
    async with calling(b"HTTP/1.1 200 OK\r\n\r\n" + VECTORS, "close") as (backend, server):
        call = backend.embed(ROWS, timeout_seconds=30)
        await server.next_request.wait()
        server.hang_up()
        assert len(await call) == 1


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", InvalidAnswer, "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000, InvalidAnswer, "a head of more than"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            InvalidAnswer,
            "HTTP",
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\n", InvalidAnswer, "more than"),
        (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n", WorkerFailed, "101"),
        (b"HTTP/1.1 500 No\r\n\r\n" + b"x" * 100_000, WorkerFailed, "500"),
    ],
    ids=["ssh", "an endless head", "two lengths", "too long", "an upgrade", "a long refusal"],
)
async def test_what_is_no_answer_ends_the_call_at_once(answer, error, reason):
    async with calling(answer, GOOD) as (backend, server):
        with pytest.raises(error, match=reason):
            await embed(backend)
        await embed(backend)
        assert server.connections == 2


async def test_a_canceled_call_closes_its_connection():
    async with calling(GOOD, "hang", GOOD) as (backend, server):
        await embed(backend)
        call = backend.embed(ROWS, timeout_seconds=30)
        server.next_request.clear()
        await server.next_request.wait()
        call.cancel()
        async with asyncio.timeout(30):
            await server.left.wait()
        await embed(backend)
        assert server.connections == 2


async def test_calls_beyond_the_connections_wait_for_one():
    calls = 3 * _CONNECTIONS_MAX
    async with calling(*[GOOD] * calls) as (backend, server):
        waiting = [backend.embed(ROWS, timeout_seconds=30) for _ in range(calls)]
        waiting[-1].cancel()
        await asyncio.gather(*waiting[:-1])
        assert (server.requests, server.connections) == (calls - 1, _CONNECTIONS_MAX)


async def test_a_call_that_ends_before_its_connection_is_open_leaves_its_place():
    async with calling(*[GOOD] * _CONNECTIONS_MAX) as (backend, _):
        for call in [backend.embed(ROWS, timeout_seconds=30) for _ in range(_CONNECTIONS_MAX)]:
            call.cancel()
        await asyncio.gather(*(embed(backend) for _ in range(_CONNECTIONS_MAX)))


async def test_closing_ends_the_calls_under_way():
    async with calling("hang") as (backend, server):
        call = backend.embed(ROWS, timeout_seconds=30)
        await server.next_request.wait()
        await backend.close()
        with pytest.raises(WorkerUnreachable, match="closed"):
            await call
        assert server.connections == 1


async def test_an_idle_connection_that_speaks_is_closed():
    async with calling(GOOD, GOOD) as (backend, server):
        await embed(backend)
        server.say(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        async with asyncio.timeout(30):
            await server.left.wait()
        await embed(backend)
        assert server.connections == 2


async def test_no_worker_of_ours_may_leave_its_model_to_its_address():
    info = WorkerInfo(
        model=AS_ADDRESSED, revision="r", dtype="f", dimensions=(2,), tokens_max=8, rows_max=8,
        batch_tokens_max=64, vocabulary_sha256="v",
    )  # fmt: skip
    async with calling(http(200, b"{}"), http(200, msgspec.json.encode(info))) as (backend, _):
        with pytest.raises(InvalidAnswer, match="names no model"):
            await backend.info(timeout_seconds=10)


def lost_of(backend: HopBackend) -> list[float]:
    """Note when a backend tells that its worker ended a connection."""
    losses: list[float] = []
    backend.on_lost = lambda: losses.append(asyncio.get_running_loop().time())
    return losses


async def until_closed(backend: HopBackend) -> None:
    async with asyncio.timeout(10):
        while backend._connections._open:
            await asyncio.sleep(0)


async def test_that_a_worker_ends_a_kept_connection_is_told():
    async with calling(GOOD) as (backend, server):
        losses = lost_of(backend)
        await embed(backend)
        server.hang_up()
        await until_closed(backend)
        assert len(losses) == 1


async def test_so_it_is_of_one_that_has_a_call_on_it_which_is_sent_again():
    async with calling(GOOD, "close", GOOD) as (backend, _):
        losses = lost_of(backend)
        await embed(backend)
        await embed(backend)
        assert len(losses) == 1


@pytest.mark.parametrize("answer", [GOOD, http(200, VECTORS, "connection: close")])
async def test_that_we_end_one_is_not(answer: bytes):
    async with calling(answer) as (backend, _):
        losses = lost_of(backend)
        await embed(backend)
        await backend.close()
        await until_closed(backend)
        assert losses == []


async def test_nor_that_one_ends_which_was_idle_for_long(monkeypatch: pytest.MonkeyPatch):
    async with calling(GOOD) as (backend, server):
        losses = lost_of(backend)
        await embed(backend)
        monkeypatch.setattr(connections, "_KEEPALIVE_SECONDS", 0.0)
        server.hang_up()
        await until_closed(backend)
        assert losses == []


async def test_many_that_end_at_a_time_are_one_loss():
    async with calling(GOOD, GOOD) as (backend, server):
        losses = lost_of(backend)
        for _ in range(2):
            await embed(backend)
            server.hang_up()
            await until_closed(backend)
        assert (len(losses), server.connections) == (1, 2)


async def test_an_answer_s_process_is_known_by_its_call():
    named = http(200, VECTORS, "X-Worker-Process: abc")
    async with calling(named, GOOD) as (backend, _):
        for process in (b"abc", b""):
            call = backend.embed(ROWS, timeout_seconds=30)
            await call
            assert call.process == process
