"""Several gateways and one Redis: they count one another, and share what they hear of workers."""

import asyncio
import contextlib
import re
import time

import msgspec
import pytest
from redis.exceptions import RedisError

from backends.authentication import authority_of, derive_key, sign_announcement
from gateway.identifiers import new_id
from gateway.snapshots import WorkerState
from gateway.storage import redis
from gateway.storage.redis import Presence
from testing.gateways import MODEL, Api, open_api
from testing.processes import Process

WORKER_SECRET = "a secret of workers, long enough to pass"
TRUSTED = {"worker_secret": WORKER_SECRET, "worker_networks": "127.0.0.0/8"}


def announcement(url: str, **changes) -> tuple[bytes, dict[str, str]]:
    said = {"model": MODEL, "url": url, "issued_at": time.time(), **changes}
    body = msgspec.json.encode(said)
    key = derive_key(WORKER_SECRET.encode(), authority_of(url))
    return body, {"x-signature": sign_announcement(key, body)}


async def announce(api: Api, url: str, **changes):
    body, headers = announcement(url, **changes)
    return await api.http.post("/internal/workers", content=body, headers=headers)


async def test_a_worker_that_registers_itself_serves(sqlite_database_url, fake_worker: Process):
    async with open_api(sqlite_database_url[0], **TRUSTED) as api:
        assert (await announce(api, fake_worker.url)).status_code == 204
        await api.ready()
        assert (await api.embed()).status_code == 200
        assert (await announce(api, fake_worker.url, leaving=True)).status_code == 204
        async with asyncio.timeout(10):
            while api.gateway.core.router.pools[MODEL].workers():
                await asyncio.sleep(0.01)


async def test_what_is_not_signed_fresh_and_known_is_refused(sqlite_database_url):
    async with open_api(sqlite_database_url[0], **TRUSTED) as api:
        body, headers = announcement("http://127.0.0.1:9")
        for wrong in ({}, {"x-signature": "0" * 64}):
            answer = await api.http.post("/internal/workers", content=body, headers=wrong)
            assert (answer.status_code, answer.json()["error"]["code"]) == (
                401,
                "announcement_refused",
            )
        late = await announce(api, "http://x:1", issued_at=time.time() + 600)
        assert late.status_code == 401
        assert abs(float(late.headers["x-time"]) - time.time()) < 60, "it is told the time"
        assert "x-time" not in answer.headers
        assert (await announce(api, "http://x:1", model="none")).status_code == 404
        long = await api.http.post("/internal/workers", content=b" " * 5000, headers=headers)
        assert long.status_code == 413
        assert not api.gateway.core.router.pools[MODEL].workers()


async def test_without_a_secret_there_is_no_such_route(api: Api):
    assert (await announce(api, "http://127.0.0.1:9")).status_code == 404


@pytest.fixture
async def both(sqlite_database_url, redis_url: str):
    options = {"redis_url": redis_url, **TRUSTED}
    async with (
        open_api(sqlite_database_url[0], **options) as here,
        open_api(sqlite_database_url[0], **options) as there,
    ):
        async with asyncio.timeout(20):
            for one in (here, there):
                await one.gateway.core.peers.announcements.subscribed.wait()
        yield here, there


async def test_one_gateway_is_enough_to_register_at(both, fake_worker: Process):
    here, there = both
    assert (await announce(here, fake_worker.url)).status_code == 204
    await there.ready()
    assert (await there.embed()).status_code == 200


async def test_a_worker_that_one_takes_out_is_examined_by_the_others(both, fake_worker: Process):
    here, there = both
    await announce(here, fake_worker.url)
    await asyncio.gather(here.ready(), there.ready())
    examined = asyncio.Event()
    there.gateway.core.router.pools[MODEL].check = lambda url: (
        url == fake_worker.url and examined.set()
    )
    worker = here.gateway.core.router.worker(MODEL, fake_worker.url)
    here.gateway.core.router.pools[MODEL].core.quarantine.take_out(
        worker, "for a test", time.monotonic(), hard=True
    )
    assert worker.state is WorkerState.QUARANTINED
    async with asyncio.timeout(10):
        await examined.wait()


async def test_a_redis_that_falls_silent_is_noticed(monkeypatch):
    """It takes the subscription and says nothing more, as one behind a broken network does."""
    monkeypatch.setattr(redis, "_PING_SECONDS", 0.1)
    monkeypatch.setattr(redis, "_RECONNECT_SECONDS", 0.01)
    connections = 0
    again, silent = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections == 2:
            again.set()
        while data := await reader.read(4096):
            for command in re.split(rb"(?=\*\d+\r\n)", data):  # several may come at once
                if b"SUBSCRIBE" in command:
                    writer.write(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n")
                elif command and b"PING" not in command:
                    writer.write(b"+OK\r\n")
        writer.close()

    heard = []

    def hearing(*, others: bool) -> None:
        heard.append(others)
        if heard[-2:] == [True, False]:
            silent.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    listening = redis.Channels(f"redis://127.0.0.1:{port}/0", {"x": lambda _: None}, hearing)
    await listening.start()
    try:
        async with asyncio.timeout(60):
            await again.wait()
            await silent.wait()
    finally:  # on a loop with an open connection the test would hang where it should fail
        await listening.stop()
        server.close()


async def test_an_announcement_that_breaks_its_hearer_does_not_end_the_hearing(redis_url: str):
    heard = asyncio.Event()
    channel = new_id()

    def hear(message: bytes) -> None:
        if message == b"broken":
            raise RuntimeError("a mistake of ours")
        heard.set()

    announcements = redis.Channels(redis_url, {channel: hear})
    await announcements.start()
    try:
        async with asyncio.timeout(10):
            await announcements.subscribed.wait()
            await announcements.tell(channel, b"broken")
            await announcements.tell(channel, b"good")
            await heard.wait()
    finally:
        with contextlib.suppress(RuntimeError):
            await announcements.stop()


async def test_gateways_count_one_another(redis_url: str):
    first, second = (Presence(redis_url, new_id(), expected=7) for _ in range(2))
    assert first.gateways == 7
    await first.beat()
    await second.beat()
    await first.beat()
    before = first.gateways
    assert before >= 2  # other tests' gateways may live beside them
    await second.stop()
    await first.beat()
    assert first.gateways == before - 1
    await first.stop()


async def test_a_redis_that_is_away_leaves_the_count_as_it_is():
    presence = Presence("redis://127.0.0.1:1/0", new_id(), expected=3)
    with pytest.raises(RedisError):
        await presence.beat()
    assert presence.gateways == 3
    await presence.stop()
