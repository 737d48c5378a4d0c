"""GATEWAY_SECRET is rotated while two processes serve: no good key is refused at any moment."""

import asyncio
import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from gateway.control_plane.accounts import users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.accounts.sessions import Sessions
from gateway.control_plane.secrets import record
from gateway.control_plane.secrets.dependents import dependents
from gateway.control_plane.secrets.resealing import reseal
from gateway.identifiers import new_id
from gateway.keyring import Keyring
from gateway.storage.database import Database
from gateway.storage.tables import api_keys
from testing.gateways import MODEL, SECRET, Ledger
from testing.processes import Process

NEW = "fedcba9876543210" * 4
OLD_ALONE, NEW_ALONE = Keyring(SECRET), Keyring(NEW)
STEP_1, STEP_2 = Keyring(SECRET, NEW), Keyring(NEW, SECRET)


@contextlib.contextmanager
def serving(url: str, worker: str, folder: Path, keyring: Keyring) -> Iterator[Process]:
    process = Process(
        [sys.executable, "-m", "testing.serve"],
        {
            **os.environ,
            "GATEWAY_SECRET": "\n".join(keyring.all),
            "DATABASE_URL": url,
            "GATEWAY_WORKERS": f"{MODEL}={worker}",
            "GATEWAY_DEV_MAIL": "1",
            "GATEWAY_DRAIN_SECONDS": "0",
            "GATEWAY_KEY_CACHE_SECONDS": "0.5",
            "GATEWAY_SESSION_ROTATION_SECONDS": "0.001",
            "GATEWAY_JOURNAL_PATH": str(folder),
        },
    )
    try:
        yield process
    finally:
        process.close()


class Traffic:
    """Requests with each key to each process, until it is stopped, and what they were answered."""

    def __init__(self, keys: list[str]) -> None:
        self.processes: list[Process] = []
        self.statuses: Counter[int] = Counter()
        self._keys = keys

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=60) as http:
            while True:
                for process in tuple(self.processes):
                    for key in self._keys:
                        self.statuses[await embed(http, process, key)] += 1

    async def beat(self) -> None:
        """Wait until each process was asked with each key."""
        until = self.statuses.total() + 2 * len(self.processes) * len(self._keys)
        async with asyncio.timeout(60):
            while self.statuses.total() < until:
                await asyncio.sleep(0.01)


async def embed(http: httpx.AsyncClient, process: Process, key: str) -> int:
    answer = await http.post(
        f"{process.url}/v1/embeddings",
        json={"model": MODEL, "input": new_id()},
        headers={"authorization": f"Bearer {key}", "prefer": "wait=30"},
    )
    return answer.status_code


async def look(process: Process, cookie: str) -> str:
    """See the console, and return the cookie that replaces the one that was sent."""
    async with httpx.AsyncClient(timeout=60) as http:
        page = await http.get(f"{process.url}/console", headers={"cookie": f"session={cookie}"})
    assert page.status_code == 200, page.text[:300]
    return page.cookies.get("session") or cookie


async def session(database: Database) -> str:
    """Sign in as a process with the old secret does; return the cookie."""
    sessions = Sessions(
        database, secret=OLD_ALONE.derive("sessions"), seconds=3600, rotation_seconds=3600
    )
    async with database.write() as connection:
        user = await users.find_or_create(connection, Address("ada@example.com"))
        return await sessions.begin(connection, user.id, user.organization_id)


async def moved(database: Database, key_id: str, to: bytes) -> None:
    query = select(api_keys.c.digest).where(api_keys.c.id == key_id)
    async with asyncio.timeout(60):
        while True:
            async with database.read() as connection:
                if await connection.scalar(query) == to:
                    return
            await asyncio.sleep(0.05)


@pytest.mark.long
async def test_a_rotation_rolls_out(
    postgresql_database_url: list[str], fake_worker: Process, tmp_path: Path
):
    (url,) = postgresql_database_url
    database = Database(url)
    ledger = await Ledger.create(database, 10**9)
    await record.register(database, OLD_ALONE)
    ended = await ApiKeys(database, secret=OLD_ALONE).create(ledger.organization_id, "ended")
    cookie = await session(database)
    with contextlib.ExitStack() as stack:
        behind, ahead = (
            stack.enter_context(serving(url, fake_worker.url, tmp_path / name, keyring))
            for name, keyring in (("a", STEP_1), ("b", STEP_2))
        )
        made = await ApiKeys(database, secret=STEP_2).create(ledger.organization_id, "new")
        traffic = Traffic([ledger.secret, made.secret])
        traffic.processes = [behind, ahead]
        task = asyncio.create_task(traffic.run())
        await traffic.beat()
        for process in (behind, ahead):
            cookie = await look(process, cookie)

        async with httpx.AsyncClient(timeout=60) as http:
            for process in (behind, ahead):
                assert await embed(http, process, ended.secret) == 200
            await ApiKeys(database, secret=STEP_2).revoke(ended.key.id)
            for process in (behind, ahead):
                async with asyncio.timeout(20):
                    while await embed(http, process, ended.secret) != 401:
                        await asyncio.sleep(0.05)

        await moved(database, ledger.key_id, NEW_ALONE.digest(ledger.secret))
        await traffic.beat()
        await reseal(database, STEP_2)
        async with database.read() as connection:
            found = await dependents(connection, STEP_2, OLD_ALONE.fingerprints[0])
        assert found.must_stay == 0
        cookie = await look(ahead, cookie)

        traffic.processes = [ahead]
        last = await asyncio.to_thread(
            stack.enter_context, serving(url, fake_worker.url, tmp_path / "c", NEW_ALONE)
        )
        traffic.processes = [ahead, last]
        await traffic.beat()
        await look(last, cookie)
        task.cancel()
    assert set(traffic.statuses) == {200}
    await database.close()
