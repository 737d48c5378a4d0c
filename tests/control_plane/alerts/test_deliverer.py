"""Deliveries to a real server: verified by the public package, retried, bounded, at least once."""

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import select, update

from gateway.control_plane.accounts.users import User
from gateway.control_plane.alerts import deliverer as module
from gateway.control_plane.alerts import wording
from gateway.control_plane.alerts.addresses import Addresses
from gateway.control_plane.alerts.deliverer import Deliverer
from gateway.control_plane.alerts.deliveries import Deliveries
from gateway.control_plane.alerts.signatures import SigningSecrets
from gateway.control_plane.alerts.transport import Transport
from gateway.keyring import Keyring
from gateway.storage.database import Database
from gateway.storage.tables import notices, webhook_deliveries, webhook_endpoints
from testing.webhooks import Message, Receiver, Reply
from tests.control_plane.alerts.conftest import (
    LOCAL,
    a_deliverer,
    add_endpoint,
    deliver,
    happen,
    make_due,
    member,
    rows,
    some_endpoints,
)

pytestmark = pytest.mark.sqlite


async def test_a_message_is_what_standard_webhooks_says(
    database: Database, owner: User, receiver: Receiver, deliverer: Deliverer
):
    _, secret = await add_endpoint(database, owner, receiver.url)
    await happen(database, owner.organization_id)
    await deliver(deliverer)
    (message,) = receiver.wait()
    (notice,) = await rows(database, select(notices))
    body = message.verified(secret)
    assert body["type"] == "payment.credited"
    assert datetime.fromisoformat(body["timestamp"]) == notice.created_at
    assert body["data"]["credit_nanos"] == "10000000000"
    assert message.headers["webhook-id"] == notice.id
    assert message.headers["content-type"] == "application/json"
    (row,) = await rows(database, select(webhook_deliveries))
    assert (row.state, row.status, row.answer, row.error) == ("sent", 200, "ok", "")
    assert row.milliseconds >= 0
    await deliver(deliverer)
    assert len(receiver.messages) == 1


async def test_only_what_it_subscribed_to(
    database: Database, owner: User, receiver: Receiver, deliverer: Deliverer
):
    await add_endpoint(database, owner, receiver.url, ["balance.low"])
    await happen(database, owner.organization_id, "payment.credited")
    await happen(database, owner.organization_id, "balance.low")
    await deliver(deliverer)
    (message,) = receiver.messages
    assert b'"balance.low"' in message.body


async def test_both_secrets_sign_while_one_is_rotated(
    database: Database, owner: User, receiver: Receiver, deliverer: Deliverer
):
    endpoint, old = await add_endpoint(database, owner, receiver.url)
    async with database.write() as connection:
        new = await some_endpoints().rotate(connection, owner.organization_id, endpoint.id)
    await happen(database, owner.organization_id)
    await deliver(deliverer)
    (message,) = receiver.messages
    assert message.verified(old) == message.verified(new)
    async with database.write() as connection:
        over = datetime.now(UTC) - timedelta(seconds=1)
        await connection.execute(update(webhook_endpoints).values(secret_before_until=over))
    await happen(database, owner.organization_id)
    await deliver(deliverer)
    last = receiver.messages[-1]
    last.verified(new)
    with pytest.raises(Exception, match="No matching signature"):
        last.verified(old)


async def test_failures_are_retried_with_the_same_id_until_it_is_taken(
    database: Database, owner: User, receiver: Receiver, deliverer: Deliverer
):
    endpoint, secret = await add_endpoint(database, owner, receiver.url)
    receiver.answer = lambda _message: Reply(500, b"\xff\0" + b"x" * 5_000)
    await happen(database, owner.organization_id)
    waits = []
    for _ in range(3):
        await deliver(deliverer)
        (row,) = await rows(database, select(webhook_deliveries))
        waits.append((row.due_at - datetime.now(UTC)).total_seconds())
        await make_due(database)
    assert (row.state, row.attempts, row.status) == ("pending", 3, 500)
    assert row.error == "The server answered 500."
    assert len(row.answer) == 1_024
    assert row.answer.startswith("��x")
    assert all(
        base - 2 < wait < 1.2 * base for wait, base in zip(waits, module.WAITS, strict=False)
    )
    assert all(later > sooner for sooner, later in pairwise(waits))
    receiver.answer = lambda _message: Reply(204, b"")
    await deliver(deliverer)
    (row,) = await rows(database, select(webhook_deliveries))
    assert (row.state, row.attempts, row.error) == ("sent", 4, "")
    assert len({message.headers["webhook-id"] for message in receiver.messages}) == 1
    assert receiver.messages[-1].verified(secret)
    async with database.read() as connection:
        found = await some_endpoints().find(connection, owner.organization_id, endpoint.id)
    assert found.failing_since is None


def test_the_retries_end_after_three_days_and_before_the_delivery_is_given_up():
    assert sum(module.WAITS) >= 3 * 86_400
    assert sum(module.WAITS) * 1.2 < 4 * 86_400


@pytest.mark.postgresql
async def test_days_of_failures_disable_it(
    database: Database, owner: User, receiver: Receiver, deliverer: Deliverer
):
    endpoint, _ = await add_endpoint(database, owner, receiver.url)
    receiver.answer = lambda _message: Reply(503)
    await happen(database, owner.organization_id)
    await happen(database, owner.organization_id)
    await deliver(deliverer)
    async with database.write() as connection:
        long_ago = datetime.now(UTC) - timedelta(days=3)
        await connection.execute(update(webhook_endpoints).values(failing_since=long_ago))
    await make_due(database)
    await deliver(deliverer)
    async with database.read() as connection:
        found = await some_endpoints().find(connection, owner.organization_id, endpoint.id)
    assert found.disabled_reason == "failing"
    mailed = select(notices).where(notices.c.type == "endpoint.disabled")
    assert len(await rows(database, mailed)) == 1
    states = {row.state for row in await rows(database, select(webhook_deliveries))}
    assert states == {"failed"}
    await happen(database, owner.organization_id)  # nothing is queued for it
    assert len(await rows(database, select(webhook_deliveries))) == 2
    async with database.write() as connection:
        await some_endpoints().enable(connection, owner.organization_id, endpoint.id)
    receiver.answer = lambda _message: Reply()
    await happen(database, owner.organization_id)
    await deliver(deliverer)
    (_, _, last) = await rows(
        database, select(webhook_deliveries).order_by(webhook_deliveries.c.id)
    )
    assert last.state == "sent"


async def test_an_endpoint_that_is_gone_is_disabled_at_once(
    database: Database, owner: User, receiver: Receiver, deliverer: Deliverer
):
    endpoint, _ = await add_endpoint(database, owner, receiver.url)
    receiver.answer = lambda _message: Reply(410)
    await happen(database, owner.organization_id)
    await deliver(deliverer)
    async with database.read() as connection:
        found = await some_endpoints().find(connection, owner.organization_id, endpoint.id)
    assert (found.disabled_reason, len(receiver.messages)) == ("gone", 1)


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [("7", 6, 8), ("3600", 3_595, 3_605), ("999999", 43_195, 43_205), ("soon", 4, 8), ("-5", 4, 8)],
)
async def test_an_endpoint_may_ask_for_time_within_bounds(
    database: Database, owner: User, receiver: Receiver, deliverer: Deliverer,
    asked: str, least: int, most: int,
):  # fmt: skip
    await add_endpoint(database, owner, receiver.url)
    receiver.answer = lambda _message: Reply(429, b"", {"retry-after": asked})
    await happen(database, owner.organization_id)
    await deliver(deliverer)
    (row,) = await rows(database, select(webhook_deliveries))
    assert least < (row.due_at - datetime.now(UTC)).total_seconds() < most


async def test_an_attempt_counts_whatever_ends_it(
    database: Database, owner: User, receiver: Receiver, deliverer: Deliverer,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    await add_endpoint(database, owner, receiver.url)
    await happen(database, owner.organization_id)

    async def fail(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(Transport, "post", fail)
        await deliver(deliverer)
    (row,) = await rows(database, select(webhook_deliveries))
    assert (row.attempts, row.state, row.error) == (1, "pending", "The message could not be sent.")
    assert row.due_at > datetime.now(UTC)


async def test_redirects_are_not_followed(
    database: Database, owner: User, receiver: Receiver, deliverer: Deliverer
):
    await add_endpoint(database, owner, receiver.url)
    receiver.answer = lambda _message: Reply(307, b"", {"location": receiver.url + "/other"})
    await happen(database, owner.organization_id)
    await deliver(deliverer)
    (message,) = receiver.messages
    assert message.path == "/hooks"
    (row,) = await rows(database, select(webhook_deliveries))
    assert (row.state, row.status) == ("pending", 307)
    assert "Redirects" in row.error


async def test_a_slow_endpoint_delays_no_other_and_gets_few_at_once(
    database: Database, owner: User, receiver: Receiver, deliverer: Deliverer
):
    await add_endpoint(database, owner, receiver.url)
    for _ in range(3 * module.AT_ONCE):
        await happen(database, owner.organization_id)
    receiver.hold.clear()
    await deliverer.run()
    await asyncio.to_thread(receiver.wait, module.AT_ONCE)
    with Receiver() as quick:
        await add_endpoint(database, owner, quick.url)
        await happen(database, owner.organization_id)
        await deliverer.run()
        await asyncio.to_thread(quick.wait)
    assert receiver.busy_most == module.AT_ONCE
    receiver.hold.set()
    await deliverer.idle()
    await deliver(deliverer)
    assert receiver.busy_most == module.AT_ONCE
    assert len(receiver.messages) == 3 * module.AT_ONCE + 1


async def test_an_organization_has_few_places_at_once(
    database: Database, owner: User, receiver: Receiver, deliverer: Deliverer
):
    for _ in range(module.EACH_MAX + 2):
        await add_endpoint(database, owner, receiver.url)
    await happen(database, owner.organization_id)
    receiver.hold.clear()
    await deliverer.run()
    await asyncio.to_thread(receiver.wait, module.EACH_MAX)
    await deliverer.run()
    assert len(deliverer._turns) == module.EACH_MAX
    with Receiver() as quick:
        other = await member(database, "bob@example.org")
        await add_endpoint(database, other, quick.url)
        await happen(database, other.organization_id)
        await deliverer.run()
        await asyncio.to_thread(quick.wait)
    receiver.hold.set()
    await deliverer.idle()
    await deliver(deliverer)
    assert len(receiver.messages) == module.EACH_MAX + 2
    assert receiver.busy_most == module.EACH_MAX


@pytest.mark.postgresql
async def test_a_secret_that_can_not_be_read_is_not_the_endpoints_fault(
    database: Database, owner: User, receiver: Receiver
):
    endpoint, _ = await add_endpoint(database, owner, receiver.url)
    await happen(database, owner.organization_id)
    other = Deliverer(database, SigningSecrets(Keyring("0" * 64)), Transport(Addresses(LOCAL)))
    await deliver(other)
    (row,) = await rows(database, select(webhook_deliveries))
    assert (row.state, row.error) == ("pending", module.UNREADABLE)
    async with database.write() as connection:
        long_ago = datetime.now(UTC) - timedelta(days=3)
        await connection.execute(update(webhook_endpoints).values(failing_since=long_ago))
    await make_due(database)
    await deliver(other)
    async with database.read() as connection:
        found = await some_endpoints().find(connection, owner.organization_id, endpoint.id)
    assert found.disabled_reason == "unreadable"
    (notice,) = await rows(
        database,
        select(notices).where(
            notices.c.mail_due_at.is_not(None) & (notices.c.type == "endpoint.disabled")
        ),
    )
    assert "signing secret" in wording.of(notice.type, json.loads(notice.data)).happened
    assert receiver.messages == []
    await other.stop()


@pytest.mark.postgresql
async def test_two_processes_send_a_message_once(
    database: Database, owner: User, receiver: Receiver
):
    processes = [a_deliverer(database) for _ in range(3)]
    for _ in range(module.EACH_MAX):
        await add_endpoint(database, owner, receiver.url)
    for _ in range(4):
        await happen(database, owner.organization_id)
    await asyncio.gather(*(deliver(one) for one in processes))
    assert len(receiver.messages) == 4 * module.EACH_MAX
    for one in processes:
        await one.stop()


@pytest.mark.postgresql
async def test_a_process_that_stops_gives_its_endpoints_back(
    database: Database, owner: User, receiver: Receiver, deliverer: Deliverer
):
    await add_endpoint(database, owner, receiver.url)
    await happen(database, owner.organization_id)
    receiver.hold.clear()
    stopping = a_deliverer(database)
    await stopping.run()
    await asyncio.to_thread(receiver.wait)
    await stopping.stop()
    receiver.hold.set()
    await deliver(deliverer)
    first, second = receiver.wait(2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


@pytest.mark.postgresql
async def test_an_attempt_that_was_overtaken_counts_nothing(
    database: Database, owner: User, receiver: Receiver, deliverer: Deliverer
):
    """A process that was paused for longer than its claim: another one has sent it meanwhile."""
    await add_endpoint(database, owner, receiver.url)
    await happen(database, owner.organization_id)
    resumed = threading.Event()

    def answer(message: Message) -> Reply:
        if message is not receiver.messages[0]:
            return Reply(500)
        resumed.wait()
        return Reply(503)

    receiver.answer = answer
    paused = a_deliverer(database)
    await paused.run()
    await asyncio.to_thread(receiver.wait)
    async with database.write() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await connection.execute(update(webhook_endpoints).values(claimed_until=past))
    await deliver(deliverer)
    resumed.set()
    await paused.idle()
    (row,) = await rows(database, select(webhook_deliveries))
    assert (row.attempts, row.state, row.status) == (1, "pending", 500)
    await paused.stop()
    async with database.write() as connection:
        await connection.execute(update(webhook_deliveries).values(state="failed"))
        await Deliveries().replay(connection, owner.organization_id, row.endpoint_id, row.id)
    receiver.answer = lambda _message: Reply()
    await deliver(deliverer)
    (row,) = await rows(database, select(webhook_deliveries))
    assert row.state == "sent"
