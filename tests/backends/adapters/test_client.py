"""What can go wrong in HTTP, for the client of our own workers and of stock engines."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Collection

import pytest

from backends import hop
from backends.adapters import hop as hop_adapter
from backends.adapters.client import WorkerClient, deadline
from backends.adapters.connections import _Connection
from backends.adapters.hop import HopBackend
from backends.adapters.statuses import engine_refusal
from backends.protocol import (
    InvalidAnswer,
    RequestRefused,
    TokenRow,
    WorkerFailed,
    WorkerLost,
    WorkerTimeout,
)
from testing.relay import relaying
from tests.backends.adapters.scripted import PAUSE, http, serving
from tests.backends.contract import HELLO

ROWS = [TokenRow(HELLO, 2)]
VECTORS = hop.encode_answer(ROWS, [struct.pack("<2f", 0.6, 0.8)])
OURS = b'{"error":{"code":"%b","message":"no"}}'

Call = Callable[[float], Awaitable[object]]


@pytest.fixture(params=["hop", "engine"])
def client(
    request: pytest.FixtureRequest,
) -> Callable[[str], contextlib.AbstractAsyncContextManager]:
    """Open a client of either kind; yields a call that takes a timeout."""

    @contextlib.asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Call]:
        if request.param == "hop":
            backend = HopBackend(url)
            yield lambda seconds: backend.embed(ROWS, timeout_seconds=seconds)
            await backend.close()
            return
        engine = WorkerClient(url, url, engine_refusal)

        async def post(seconds: float) -> object:
            async with deadline(url, seconds):
                return await engine.post("/v1", b"{}", headers={}, bytes_max=len(VECTORS))

        yield post
        await engine.close()

    return opened


async def test_it_asks_for_answers_as_they_are(client):
    """A proxy that compressed them would spoil every vector."""
    async with serving(http(200, VECTORS)) as server, client(server.url) as call:
        await call(30.0)
        assert b"\r\naccept-encoding: identity\r\n" in server.heads[0]


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_stale_connection_is_no_fault(client, end: str):
    """A kept-alive connection that closes during a call is no fault, once."""
    async with serving(http(200, VECTORS), end, http(200, VECTORS)) as server:
        async with client(server.url) as call:
            await call(5)
            await call(5)
        assert (server.requests, server.connections) == (3, 2)


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_all_kept_connections_may_be_stale(client, end: str):
    """The second try uses a fresh connection, even if others are kept."""
    async with serving(*[http(200, VECTORS)] * 7) as server, relaying(server.url) as relay:
        async with client(relay.url) as call:
            await asyncio.gather(call(5), call(5), call(5))
            assert relay.open == 3
            relay.forget(end)
            await call(5)
            assert relay.stale == 1
            await asyncio.gather(call(5), call(5))
            assert relay.stale in (2, 3), "the hop keeps the fresh one, and uses it first"
            await call(5)
        assert server.requests == 7


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_on_a_fresh_connection_it_is_one_and_nothing_is_done_twice(client, end: str):
    async with serving(end, http(200, VECTORS)) as server, client(server.url) as call:
        with pytest.raises(WorkerLost):
            await call(5)
        assert server.requests == 1


async def test_an_answer_that_had_begun_is_not_asked_for_again(client):
    async with (
        serving(
            http(200, VECTORS), b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nabc", "close"
        ) as server,
        client(server.url) as call,
    ):
        await call(5)
        with pytest.raises((InvalidAnswer, WorkerTimeout)):
            await call(1)
        assert server.requests == 2


async def test_both_tries_share_one_deadline(client):
    loop = asyncio.get_running_loop()
    async with serving(http(200, VECTORS), "close", "hang") as server, client(server.url) as call:
        await call(5)
        started = loop.time()
        with pytest.raises(WorkerTimeout):
            await call(1)
        assert 0.95 < loop.time() - started < 1.9
        assert server.requests == 3


async def test_a_redirect_is_followed_nowhere(client):
    async with serving() as other:
        elsewhere = http(307, b"", f"location: {other.url}/embed")
        async with serving(elsewhere) as server, client(server.url) as call:
            with pytest.raises(WorkerFailed, match="307"):
                await call(5)
        assert (other.connections, server.requests) == (0, 1)


@pytest.mark.parametrize("what", ["endless", "declared"])
async def test_no_more_is_read_than_an_answer_can_have(client, what: str):
    step = "endless" if what == "endless" else http(200, b"x" * 10_000_000)
    async with serving(step) as server, client(server.url) as call:
        with pytest.raises(InvalidAnswer, match="more than"):
            await call(5)
        assert server.sent < 20_000_000


async def test_nor_than_info_can_have():
    async with serving(http(200), "endless") as server:
        backend = HopBackend(server.url)
        with pytest.raises(InvalidAnswer, match="more than 65536 bytes"):
            await backend.info(timeout_seconds=5)
        await backend.close()


@pytest.mark.parametrize("status", [201, 301, 302, 401, 403, 404, 405, 424, 500, 502, 504])
async def test_what_no_worker_answers_is_the_worker_s_fault(client, status: int):
    async with serving(http(status, OURS % b"x")) as server, client(server.url) as call:
        with pytest.raises(WorkerFailed, match=str(status)):
            await call(5)


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_refusal_is_one_in_the_words_of_a_worker(status: int):
    foreign = http(status, b"<html>a web server</html>")
    async with serving(http(status, OURS % b"invalid"), foreign) as server:
        backend = HopBackend(server.url)
        with pytest.raises(RequestRefused):
            await backend.embed(ROWS, timeout_seconds=5)
        with pytest.raises(WorkerFailed):
            await backend.embed(ROWS, timeout_seconds=5)
        await backend.close()


async def test_a_refusal_may_arrive_in_pieces(monkeypatch: pytest.MonkeyPatch):
    """Half a refusal does not parse as a worker's error, and would count as a fault."""
    body = OURS % b"invalid"
    whole = http(400, body)
    cut = len(whole) - len(body) + 5
    async with serving(whole[:cut] + PAUSE + whole[cut:]) as server:
        received = _Connection.data_received

        def arrived(connection: _Connection, data: bytes) -> None:
            server.next_piece.release()  # only now may the next one follow
            received(connection, data)

        monkeypatch.setattr(_Connection, "data_received", arrived)
        backend = HopBackend(server.url)
        with pytest.raises(RequestRefused, match="invalid"):
            await backend.embed(ROWS, timeout_seconds=5)
        await backend.close()


@pytest.mark.parametrize(("share", "told"), [(0.9, range(3_000, 4_501)), (1e-5, [1])])
async def test_a_worker_is_never_told_that_it_has_no_time(
    monkeypatch: pytest.MonkeyPatch, share: float, told: Collection[int]
):
    """Less than a millisecond becomes one: 0 would mean that the caller gave no timeout."""
    monkeypatch.setattr(hop_adapter, "_TIMEOUT_MARGIN", share)
    async with serving(http(200, VECTORS)) as server:
        backend = HopBackend(server.url)
        await backend.embed(ROWS, timeout_seconds=5)
        await backend.close()
    (head,) = server.heads
    assert int(head.partition(b"x-timeout-ms: ")[2].partition(b"\r\n")[0]) in told


async def test_a_worker_s_word_that_the_time_was_over_is_a_timeout():
    async with serving(http(504, OURS % b"deadline_passed")) as server:
        backend = HopBackend(server.url)
        with pytest.raises(WorkerTimeout, match="deadline_passed"):
            await backend.embed(ROWS, timeout_seconds=5)
        await backend.close()
