"""PostgreSQL that hangs: its processes are stopped, and every connection stays open."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager

import asyncpg
import pytest

from gateway.settings import Settings
from gateway.snapshots import KeySnapshot
from testing import servers
from testing.gateways import MODEL, SECRET, Api, open_api
from testing.processes import Process

pytestmark = pytest.mark.skipif(
    servers.DATABASE in os.environ, reason="stops processes of a server that this run started"
)


@asynccontextmanager
async def opened(url: str, worker: Process) -> AsyncIterator[Api]:
    # each request finds its key aged, and reads it again; no poll forgets that it was just made
    rules = {
        "key_cache_seconds": 1e-6, "key_wait_seconds": 0.25, "revocation_poll_seconds": 3600.0,
    }  # fmt: skip
    async with open_api(url, f"{MODEL}={worker.url}", **rules) as api:
        await api.ready()
        yield api


@contextmanager
def stopped(processes: list[int]) -> Iterator[None]:
    try:
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


async def backends(url: str) -> list[int]:
    """Return the processes that serve a database."""
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()"
    )
    await connection.close()
    return [row["pid"] for row in rows]


async def first_answer(api: Api) -> None:
    async with asyncio.timeout(60):
        while (await api.embed()).status_code != 200:
            await asyncio.sleep(0.05)


async def test_known_keys_are_served_and_unknown_ones_told_soon(
    postgresql_database_url: list[str], fake_worker: Process
):
    (url,) = postgresql_database_url
    async with opened(url, fake_worker) as api:
        await first_answer(api)
        authenticator = api.gateway.data.authenticator
        known = api.headers["authorization"]
        unknown = await api.keys.create(api.ledger.organization_id, "other")
        with stopped(await backends(url)):
            for _ in range(100):
                with pytest.raises(StopIteration):
                    authenticator.authenticate(known).send(None)
            answers = await asyncio.gather(*(api.embed(input=str(n)) for n in range(20)))
            assert [answer.status_code for answer in answers] == [200] * 20
            api.headers["authorization"] = f"Bearer {unknown.secret}"
            first = await api.embed()
            assert (first.status_code, first.json()["error"]["code"]) == (
                503, "authentication_unavailable",
            )  # fmt: skip
            assert authenticator._reads.failed
        await first_answer(api)


@pytest.mark.parametrize(("seconds", "answers"), [("60", False), ("0.001", True)])
async def test_a_request_waits_as_long_as_the_setting_says(
    seconds: str, answers: bool, sqlite_database_url: list[str], fake_worker: Process,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    told = {"GATEWAY_SECRET": SECRET, "GATEWAY_KEY_WAIT_SECONDS": seconds}
    wait_seconds = Settings.from_environment(told).key_wait_seconds
    (url,) = sqlite_database_url
    async with open_api(url, f"{MODEL}={fake_worker.url}", key_wait_seconds=wait_seconds) as api:
        begun, goes_on = asyncio.Event(), asyncio.Event()
        find = api.gateway.data.key_store.find

        async def hang(digests: Sequence[bytes]) -> Mapping[bytes, KeySnapshot]:
            begun.set()
            await goes_on.wait()
            return await find(digests)

        monkeypatch.setattr(api.gateway.data.key_store, "find", hang)
        asking = asyncio.create_task(api.embed())
        await begun.wait()
        # longer than the default, so that a setting that nobody reads is noticed
        done, _ = await asyncio.wait([asking], timeout=None if answers else 0.3)
        assert bool(done) == answers
        goes_on.set()
        assert (await asking).status_code == (503 if answers else 200)
