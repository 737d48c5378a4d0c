"""An organization with a key and a model at Stella's price, and charges to its account."""

import contextlib
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.data_plane.metering.engine_rules import EngineRules
from gateway.data_plane.metering.journal import Journal
from gateway.data_plane.metering.leased_credits import LeasedCredits
from gateway.data_plane.metering.leases import LeaseRules
from gateway.data_plane.metering.port import Charge, Period
from gateway.data_plane.metering.receipts import ReceiptSigner
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.ledger import grants, invariants
from gateway.storage.ledger.postgres import PostgresLedger
from gateway.storage.ledger.sqlite import SqliteLedger
from gateway.storage.tables import api_keys, model_prices, models, organizations

NANOS_PER_TOKEN = 8
_digests = itertools.count()


class Customer(NamedTuple):
    organization_id: str
    key_id: str
    model_id: str
    price_id: str

    def charge(self, tokens: int = 1, *, budget: Period | None = None) -> Charge:
        return Charge(
            request_id=new_id(),
            organization_id=self.organization_id,
            key_id=self.key_id,
            model_id=self.model_id,
            price_id=self.price_id,
            inputs=1,
            tokens=tokens,
            cost_nanos=tokens * NANOS_PER_TOKEN,
            budget=budget,
        )


async def add_customer(database: Database, credit_tokens: int = 0) -> Customer:
    """Add an organization with this much paid credit."""
    now = datetime.now(UTC)
    customer = Customer(new_id(), new_id(), f"model-{new_id()}", new_id())
    async with database.write() as connection:
        await connection.execute(
            insert(organizations).values(id=customer.organization_id, name="acme", created_at=now)
        )
        await connection.execute(
            insert(api_keys).values(
                id=customer.key_id,
                organization_id=customer.organization_id,
                name="key",
                digest=new_id().encode(),
                last_four="abcd",
                created_at=now,
                changed_at=now,
            )
        )
        await connection.execute(
            insert(models).values(id=customer.model_id, state="live", card="{}", created_at=now)
        )
        await connection.execute(
            insert(model_prices).values(
                id=customer.price_id,
                model_id=customer.model_id,
                nanos_per_million_tokens=NANOS_PER_TOKEN * 1_000_000,
                created_at=now,
            )
        )
        await grants.open_account(connection, customer.organization_id)
        if credit_tokens:
            await add_credit(database, customer, credit_tokens, connection=connection)
    return customer


async def add_credit(
    database: Database,
    customer: Customer,
    tokens: int,
    *,
    kind: grants.Kind = "paid",
    connection: AsyncConnection | None = None,
    **more: Any,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        if connection is None:
            connection = await stack.enter_async_context(database.write())
        await grants.grant(
            connection,
            customer.organization_id,
            tokens * NANOS_PER_TOKEN,
            kind=kind,
            source_ref=more.pop("source_ref", new_id()),
            **more,
        )


def ledger_of(database: Database) -> PostgresLedger | SqliteLedger:
    return SqliteLedger(database) if database.is_sqlite else PostgresLedger(database)


@contextlib.asynccontextmanager
async def running(
    database: Database,
    folder: Path,
    *,
    leases: LeaseRules | None = None,
    rules: EngineRules | None = None,
    ledger: PostgresLedger | SqliteLedger | None = None,
    receipts: ReceiptSigner | None = None,
) -> AsyncIterator[LeasedCredits]:
    """Run an engine; at the end it hands everything to the ledger."""
    ledger = ledger or ledger_of(database)
    journal = Journal(folder, new_id(), bytes_max=10_000_000, segment_bytes=1_000_000)
    # so that a slow machine neither falls back to the journal nor gives up on credit or a recall
    patient = EngineRules(commit_seconds=5.0, credit_seconds=20.0)
    leases = leases or LeaseRules(recall_seconds=20.0)
    engine = LeasedCredits(
        ledger, journal, leases=leases, rules=rules or patient, receipts=receipts
    )
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()
        await ledger.close()


async def on_chatham(database: Database) -> None:
    """Set the database's time zone to one where a UTC day begins about noon, and an hour at :45."""
    if database.is_sqlite:
        return
    async with database.write() as connection:
        name = await connection.scalar(text("SELECT current_database()"))
        await connection.execute(text(f"ALTER DATABASE {name} SET timezone = 'Pacific/Chatham'"))
    await database.engine.dispose()


async def assert_sound(database: Database) -> None:
    """Assert that every invariant holds."""
    async with database.read() as connection:
        assert await invariants.audit(connection) == []
