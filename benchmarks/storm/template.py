"""The database that each scenario begins with: a copy of one that is made once a run."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from benchmarks.storm.postgres import Postgres
from benchmarks.storm.record import Customer
from gateway.control_plane.accounts import organizations
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.billing import credit
from gateway.control_plane.catalog import catalog, golden
from gateway.keyring import Keyring
from gateway.snapshots import SCOPES
from gateway.storage import migrate
from gateway.storage.database import Database
from testing import servers
from testing.gateways import MODEL, SECRET
from testing.vouching import fake_golden

CUSTOMERS = 40
CREDIT_NANOS = 1_000_000_000
"""Many times the first slice of a lease: what a killed gateway holds comes back only later."""


class Template:
    """A migrated database with customers, stopped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.customers: list[Customer] = []

    async def make(self) -> None:
        """Make it."""
        await asyncio.to_thread(servers.initialise_postgres, self._folder)
        server = Postgres(self._folder)
        await server.start()
        database = Database(server.url)
        try:
            await migrate.upgrade(database)
            async with database.write() as connection:
                await catalog.seed(connection)
                await golden.pin(connection, MODEL, "fake", fake_golden())
            self.customers = [
                await add_customer(database, f"organization {number}", CREDIT_NANOS)
                for number in range(CUSTOMERS)
            ]
        finally:
            await database.close()
            await server.stop()

    def copy(self, folder: Path) -> None:
        """Copy its files, for a server of its own."""
        shutil.copytree(self._folder / "data", folder / "data", symlinks=True)


async def add_customer(database: Database, name: str, credit_nanos: int) -> Customer:
    """Add an organization with credit and a key."""
    async with database.write() as connection:
        owner = await organizations.create(connection, name)
        if credit_nanos:
            await credit.grant(connection, owner.id, credit_nanos, kind="paid")
    made = await ApiKeys(database, secret=Keyring(SECRET)).create(owner.id, "storm", scopes=SCOPES)
    return Customer(owner.id, made.key.id, made.secret, credit_nanos)
