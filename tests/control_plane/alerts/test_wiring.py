"""The whole application: a balance falls, its owner gets a mail, a program a webhook."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from gateway.app.process import Process
from gateway.app.upkeep import forget_alerts
from gateway.control_plane.accounts import privacy, users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.accounts.users import User
from gateway.control_plane.alerts.preferences import AlertPreferences
from gateway.control_plane.billing import credit
from gateway.storage.database import Database
from gateway.storage.tables import (
    notices,
    outbox,
    webhook_deliveries,
    webhook_endpoints,
    webhook_subscriptions,
)
from testing.webhooks import Receiver
from tests.control_plane.alerts.conftest import add_endpoint, happen, rows, some_endpoints

pytestmark = pytest.mark.sqlite

DOLLAR = 10**9


@pytest.fixture
def options() -> dict[str, Any]:
    return {"webhook_private_hosts": "127.0.0.1"}


async def test_from_a_low_balance_to_a_mail_and_a_webhook(gateway: Process, receiver: Receiver):
    database, services = gateway.core.database, gateway.services
    async with database.write() as connection:
        ada = await users.find_or_create(connection, Address("ada@example.org"))
        await credit.grant(connection, ada.organization_id, DOLLAR)
        wanted = AlertPreferences(low_nanos=5 * DOLLAR)
        await services.preferences.save(connection, ada.organization_id, wanted)
        _, secret = await services.endpoints.add(
            connection, ada.organization_id, receiver.url, ["balance.low"], ada.id
        )
    jobs = {job.name: job for job in gateway.jobs}
    for name in ("crossings", "notice-mails", "webhooks", "tell-launches", "expiring-keys"):
        await jobs[name].run()
    await services.deliverer.idle()
    (message,) = receiver.messages
    body = message.verified(secret)
    assert (body["type"], body["data"]["available_nanos"]) == ("balance.low", str(DOLLAR))
    mailed = select(outbox.c.recipient, outbox.c.subject).where(outbox.c.kind == "notice")
    assert await rows(database, mailed) == [
        ("ada@example.org", "Your credit is running low: $1.00 left")
    ]


@pytest.mark.postgresql
async def test_an_account_that_is_deleted_leaves_no_endpoint(database: Database, owner: User):
    await add_endpoint(database, owner, "https://hooks.example.com/")
    visitor = Visitor(
        read_at=datetime.now(UTC),
        session_id="", user_id=owner.id, email=owner.email, address_key="ada@example.org",
        role="owner", organization_id=owner.organization_id, organization_name="ada",
    )  # fmt: skip
    async with database.write() as connection:
        await privacy.forget(connection, visitor)
    (row,) = await rows(database, select(webhook_endpoints))
    assert (row.secret, row.created_by) == (b"", None)
    assert row.removed_at is not None


@pytest.mark.postgresql
async def test_what_is_old_is_forgotten(database: Database, owner: User):
    kept, _ = await add_endpoint(database, owner, "https://hooks.example.com/kept")
    gone, _ = await add_endpoint(database, owner, "https://hooks.example.com/gone")
    for _ in range(2):
        await happen(database, owner.organization_id)
    old, _new = await rows(database, select(notices.c.id).order_by(notices.c.id))
    long_ago = datetime.now(UTC) - timedelta(days=93)
    async with database.write() as connection:
        await some_endpoints().remove(connection, owner.organization_id, gone.id)
        await connection.execute(
            update(webhook_endpoints)
            .where(webhook_endpoints.c.id == gone.id)
            .values(removed_at=long_ago)
        )
    await forget_alerts(database)
    assert len(await rows(database, select(webhook_deliveries))) == 4
    assert len(await rows(database, select(webhook_endpoints))) == 2
    async with database.write() as connection:
        for table, of_old in (
            (notices, notices.c.id == old.id),
            (webhook_deliveries, webhook_deliveries.c.notice_id == old.id),
        ):
            await connection.execute(update(table).where(of_old).values(created_at=long_ago))
        await connection.execute(
            update(webhook_deliveries)
            .where(webhook_deliveries.c.endpoint_id == gone.id)
            .values(created_at=datetime.now(UTC) - timedelta(days=31))
        )
    await forget_alerts(database)
    (delivery,) = await rows(database, select(webhook_deliveries))
    assert delivery.endpoint_id == kept.id
    assert [row.id for row in await rows(database, select(notices))] == [delivery.notice_id]
    assert [row.id for row in await rows(database, select(webhook_endpoints))] == [kept.id]
    left = {row.endpoint_id for row in await rows(database, select(webhook_subscriptions))}
    assert left == {kept.id}
