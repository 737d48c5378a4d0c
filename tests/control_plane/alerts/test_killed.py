"""kill -9 of a process while a message is on its way: another one sends it again, the same."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from gateway.control_plane.accounts.users import User
from gateway.control_plane.alerts.deliverer import Deliverer
from gateway.storage.database import Database
from gateway.storage.tables import webhook_deliveries, webhook_endpoints
from testing.processes import running
from testing.webhooks import Receiver
from tests.control_plane.alerts.conftest import add_endpoint, deliver, happen, rows

pytestmark = pytest.mark.sqlite


async def test_a_killed_process_loses_nothing(
    database: Database, owner: User, receiver: Receiver, deliverer: Deliverer
):
    _, secret = await add_endpoint(database, owner, receiver.url)
    for _ in range(3):
        await happen(database, owner.organization_id)
    receiver.hold.clear()
    url = database.url.render_as_string(hide_password=False)
    with running("testing.deliver", url) as process:
        await asyncio.to_thread(receiver.wait, 3)
        await deliver(deliverer)  # it is the other's
        assert len(receiver.messages) == 3
        process.kill()
    receiver.hold.set()
    states = {row.state for row in await rows(database, select(webhook_deliveries))}
    assert states == {"pending"}
    async with database.write() as connection:  # the time of its claim passes
        past = datetime.now(UTC) - timedelta(seconds=1)
        await connection.execute(update(webhook_endpoints).values(claimed_until=past))
    await deliver(deliverer)
    states = {row.state for row in await rows(database, select(webhook_deliveries))}
    assert states == {"sent"}
    ids = [message.headers["webhook-id"] for message in receiver.messages]
    assert sorted(ids[:3]) == sorted(ids[3:])
    assert len(set(ids)) == 3
    for message in receiver.messages:
        message.verified(secret)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_two_processes_send_many_messages_once(
    database: Database, owner: User, receiver: Receiver
):
    for number in range(5):
        await add_endpoint(database, owner, f"{receiver.url}/{number}")
    url = database.url.render_as_string(hide_password=False)
    with running("testing.deliver", url), running("testing.deliver", url):
        for _ in range(20):
            await happen(database, owner.organization_id)
        await asyncio.to_thread(receiver.wait, 100)
        sent = select(webhook_deliveries.c.id).where(webhook_deliveries.c.state == "sent")
        async with asyncio.timeout(30):
            while len(await rows(database, sent)) < 100:
                await asyncio.sleep(0.02)
    once = {(message.path, message.headers["webhook-id"]) for message in receiver.messages}
    assert len(once) == len(receiver.messages) == 100
