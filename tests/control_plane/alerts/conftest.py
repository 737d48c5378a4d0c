"""What the tests of alerts share: a receiver, an organization with an owner, endpoints."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Row, update

from gateway.control_plane.accounts import users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.users import User
from gateway.control_plane.alerts.addresses import Addresses
from gateway.control_plane.alerts.deliverer import Deliverer
from gateway.control_plane.alerts.endpoints import Endpoint, Endpoints
from gateway.control_plane.alerts.notices import SUBSCRIBABLE, Notice, publish
from gateway.control_plane.alerts.signatures import SigningSecrets
from gateway.control_plane.alerts.transport import Transport
from gateway.identifiers import new_id
from gateway.keyring import Keyring
from gateway.storage.database import Database
from gateway.storage.tables import webhook_deliveries
from testing.gateways import SECRET
from testing.webhooks import Receiver

SECRETS = SigningSecrets(Keyring(SECRET).derive("webhooks"))
LOCAL = ("127.0.0.1",)


@pytest.fixture
def receiver():
    with Receiver() as opened:
        yield opened


@pytest.fixture
async def owner(database: Database) -> User:
    return await member(database, "ada@example.org")


@pytest.fixture
async def deliverer(database: Database) -> AsyncIterator[Deliverer]:
    made = a_deliverer(database)
    yield made
    await made.stop()


def a_deliverer(database: Database, **options: Any) -> Deliverer:
    return Deliverer(database, SECRETS, Transport(Addresses(LOCAL), **options))


def some_endpoints() -> Endpoints:
    return Endpoints(SECRETS, Addresses(LOCAL))


async def member(database: Database, email: str) -> User:
    async with database.write() as connection:
        return await users.find_or_create(connection, Address(email))


async def add_endpoint(
    database: Database, user: User, url: str, types: Sequence[str] = SUBSCRIBABLE
) -> tuple[Endpoint, str]:
    async with database.write() as connection:
        return await some_endpoints().add(connection, user.organization_id, url, types, user.id)


async def happen(database: Database, organization_id: str, kind: str = "payment.credited") -> None:
    data = {"payment_id": new_id(), "credit_nanos": 10**10, "amount_cents": 1000}
    notice = Notice(kind, new_id(), data, datetime.now(UTC))
    async with database.write() as connection:
        assert await publish(connection, organization_id, notice)


async def deliver(deliverer: Deliverer) -> None:
    """Send everything that is due."""
    await deliverer.run()
    await deliverer.idle()


async def make_due(database: Database) -> None:
    """Let the time until the next attempt pass."""
    async with database.write() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await connection.execute(update(webhook_deliveries).values(due_at=past))


async def rows(database: Database, query: Any) -> Sequence[Row[Any]]:
    async with database.read() as connection:
        return (await connection.execute(query)).all()
