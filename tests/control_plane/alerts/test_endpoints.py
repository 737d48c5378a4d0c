"""Endpoints: of one organization, with secrets that nobody reads from the database."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from gateway.control_plane.accounts.users import User
from gateway.control_plane.alerts import endpoints as module
from gateway.control_plane.alerts.addresses import AddressRefused
from gateway.control_plane.alerts.deliverer import UNREADABLE, Deliverer
from gateway.control_plane.alerts.deliveries import Deliveries, DeliveryNotFound, EndpointDisabled
from gateway.control_plane.alerts.endpoints import EndpointNotFound, RotationRuns, TooManyEndpoints
from gateway.control_plane.alerts.signatures import SecretUnreadable, SigningSecrets
from gateway.errors import BadRequest, NotFound
from gateway.keyring import Keyring
from gateway.storage.database import Database
from gateway.storage.tables import webhook_deliveries, webhook_endpoints
from testing.webhooks import Receiver
from tests.control_plane.alerts.conftest import (
    add_endpoint,
    deliver,
    happen,
    member,
    rows,
    some_endpoints,
)

pytestmark = pytest.mark.sqlite

URL = "https://hooks.example.com/a"


@pytest.mark.postgresql
async def test_added_listed_changed_and_removed(database: Database, owner: User):
    endpoint, secret = await add_endpoint(database, owner, URL, ["key.expiring", "balance.low"])
    assert secret.startswith("whsec_")
    assert endpoint.types == ("balance.low", "key.expiring")
    ours, made = owner.organization_id, some_endpoints()
    async with database.write() as connection:
        assert await made.listed(connection, ours) == [endpoint]
        await made.change(connection, ours, endpoint.id, URL + "b", ["balance.empty"])
        (changed,) = await made.listed(connection, ours)
        assert (changed.url, changed.types) == (URL + "b", ("balance.empty",))
        assert await made.reveal(connection, ours, endpoint.id) == secret
        assert changed.rotating_until is None
        new = await made.rotate(connection, ours, endpoint.id)
        assert new != secret
        assert await made.reveal(connection, ours, endpoint.id) == new
        assert (await made.find(connection, ours, endpoint.id)).rotating_until is not None
        await made.disable(connection, ours, endpoint.id)
        assert (await made.find(connection, ours, endpoint.id)).disabled_reason == "person"
        await made.enable(connection, ours, endpoint.id)
        assert (await made.find(connection, ours, endpoint.id)).disabled_at is None
        await made.remove(connection, ours, endpoint.id)
        assert await made.listed(connection, ours) == []
    await happen(database, ours, "balance.empty")
    assert await rows(database, select(webhook_deliveries)) == []


@pytest.mark.postgresql
async def test_secrets_are_encrypted_and_bound_to_their_endpoint(database: Database, owner: User):
    first, secret = await add_endpoint(database, owner, URL)
    second, _ = await add_endpoint(database, owner, URL)
    stored = await rows(database, select(webhook_endpoints.c.id, webhook_endpoints.c.secret))
    assert not any(secret.encode() in row.secret for row in stored)
    sealed = {row.id: row.secret for row in stored}
    async with database.write() as connection:
        await connection.execute(
            update(webhook_endpoints)
            .where(webhook_endpoints.c.id == second.id)
            .values(secret=sealed[first.id])
        )
    async with database.read() as connection:
        with pytest.raises(SecretUnreadable):
            await some_endpoints().reveal(connection, owner.organization_id, second.id)
    other = SigningSecrets(Keyring("another secret of thirty-two char").derive("webhooks"))
    with pytest.raises(SecretUnreadable):
        other.unseal(first.id, sealed[first.id])


@pytest.mark.postgresql
async def test_a_secret_that_cannot_be_read_sends_nothing_until_it_is_rotated(
    database: Database, owner: User, receiver: Receiver, deliverer: Deliverer
):
    endpoint, _ = await add_endpoint(database, owner, receiver.url)
    async with database.write() as connection:
        await connection.execute(update(webhook_endpoints).values(secret=b"x" * 64))
    await happen(database, owner.organization_id)
    await deliver(deliverer)
    (row,) = await rows(database, select(webhook_deliveries))
    assert (row.state, row.error) == ("pending", UNREADABLE)
    async with database.write() as connection:
        new = await some_endpoints().rotate(connection, owner.organization_id, endpoint.id)
        await connection.execute(update(webhook_deliveries).values(due_at=row.created_at))
    await deliver(deliverer)
    (message,) = receiver.messages
    assert message.verified(new)


async def test_other_organizations_find_nothing(
    database: Database, owner: User, receiver: Receiver, deliverer: Deliverer
):
    endpoint, _ = await add_endpoint(database, owner, receiver.url)
    await happen(database, owner.organization_id)
    await deliver(deliverer)
    (delivery,) = await rows(database, select(webhook_deliveries))
    eve = (await member(database, "eve@example.org")).organization_id
    made, log = some_endpoints(), Deliveries()
    before = await rows(database, select(webhook_endpoints))
    for endpoint_id in (endpoint.id, "nonsense"):
        async with database.write() as connection:
            for call in (
                made.find(connection, eve, endpoint_id),
                made.change(connection, eve, endpoint_id, URL, ["balance.low"]),
                made.rotate(connection, eve, endpoint_id),
                made.reveal(connection, eve, endpoint_id),
                made.enable(connection, eve, endpoint_id),
                made.disable(connection, eve, endpoint_id),
                made.remove(connection, eve, endpoint_id),
                log.ping(connection, eve, endpoint_id),
            ):
                with pytest.raises(NotFound):
                    await call
    async with database.write() as connection:
        assert await log.log(connection, eve, endpoint.id) == []
        for delivery_id in (delivery.id, "nonsense"):
            with pytest.raises(DeliveryNotFound):
                await log.replay(connection, eve, endpoint.id, delivery_id)
    assert await rows(database, select(webhook_endpoints)) == before
    assert await rows(database, select(webhook_deliveries)) == [delivery]


async def test_what_is_refused(database: Database, owner: User):
    for url, types, error in (
        ("http://hooks.example.com/", ["balance.low"], AddressRefused),
        ("https://10.0.0.1/", ["balance.low"], AddressRefused),
        (URL, [], BadRequest),
        (URL, ["balance.low", "endpoint.ping"], BadRequest),
    ):
        with pytest.raises(error):
            await add_endpoint(database, owner, url, types)
    for _ in range(module.ENDPOINTS_MAX):
        await add_endpoint(database, owner, URL)
    with pytest.raises(TooManyEndpoints):
        await add_endpoint(database, owner, URL)


@pytest.mark.postgresql
async def test_a_test_message_and_the_log(
    database: Database, owner: User, receiver: Receiver, deliverer: Deliverer
):
    endpoint, secret = await add_endpoint(database, owner, receiver.url, ["balance.low"])
    await add_endpoint(database, owner, receiver.url + "/other")
    made, ours = Deliveries(), owner.organization_id
    async with database.write() as connection:
        pinged = await made.ping(connection, ours, endpoint.id)
    await deliver(deliverer)
    (message,) = receiver.messages
    assert message.verified(secret)["type"] == "endpoint.ping"
    await happen(database, ours, "balance.low")
    async with database.read() as connection:
        newest, oldest = await made.log(connection, ours, endpoint.id)
        assert (oldest.id, oldest.type, oldest.status, oldest.answer) == (
            pinged, "endpoint.ping", 200, "ok",
        )  # fmt: skip
        assert oldest.message_id == message.headers["webhook-id"]
        assert oldest.due_at is None
        assert (newest.type, newest.state, newest.status) == ("balance.low", "pending", None)
        assert await made.log(connection, ours, endpoint.id, limit=1) == [newest]
        assert await made.log(connection, ours, endpoint.id, newest.id) == [oldest]
    async with database.write() as connection:
        await made.replay(connection, ours, endpoint.id, oldest.id)
    await deliver(deliverer)
    ids = [one.headers["webhook-id"] for one in receiver.messages if one.path == "/hooks"]
    assert ids.count(oldest.message_id) == 2


async def test_nothing_is_sent_to_a_disabled_endpoint(database: Database, owner: User):
    endpoint, _ = await add_endpoint(database, owner, URL)
    await happen(database, owner.organization_id)
    (delivery,) = await rows(database, select(webhook_deliveries))
    async with database.write() as connection:
        await some_endpoints().disable(connection, owner.organization_id, endpoint.id)
        for call in (
            Deliveries().ping(connection, owner.organization_id, endpoint.id),
            Deliveries().replay(connection, owner.organization_id, endpoint.id, delivery.id),
        ):
            with pytest.raises(EndpointDisabled):
                await call
    (delivery,) = await rows(database, select(webhook_deliveries))
    assert (delivery.state, delivery.error) == ("failed", "The webhook was switched off.")


@pytest.mark.postgresql
async def test_what_still_has_retries_is_not_replayed(database: Database, owner: User):
    endpoint, _ = await add_endpoint(database, owner, URL)
    await happen(database, owner.organization_id)
    later = datetime.now(UTC) + timedelta(hours=1)
    async with database.write() as connection:
        await connection.execute(update(webhook_deliveries).values(attempts=5, due_at=later))
    (before,) = await rows(database, select(webhook_deliveries))
    async with database.write() as connection:
        await Deliveries().replay(connection, owner.organization_id, endpoint.id, before.id)
    assert await rows(database, select(webhook_deliveries)) == [before]


async def test_a_replay_names_its_own_endpoint(database: Database, owner: User):
    await add_endpoint(database, owner, URL)
    await happen(database, owner.organization_id)
    other, _ = await add_endpoint(database, owner, URL)
    (delivery,) = await rows(database, select(webhook_deliveries))
    async with database.write() as connection:
        for endpoint_id in (other.id, "..%2f..%2f", "nonsense"):
            with pytest.raises(DeliveryNotFound):
                await Deliveries().replay(
                    connection, owner.organization_id, endpoint_id, delivery.id
                )


@pytest.mark.postgresql
async def test_a_second_rotation_waits_until_the_first_secret_ended(
    database: Database, owner: User
):
    endpoint, old = await add_endpoint(database, owner, URL)
    made, ours = some_endpoints(), owner.organization_id
    async with database.write() as connection:
        new = await made.rotate(connection, ours, endpoint.id)
        with pytest.raises(RotationRuns, match="Rotate again after"):
            await made.rotate(connection, ours, endpoint.id)
        assert await made.reveal(connection, ours, endpoint.id) == new
        over = datetime.now(UTC) - timedelta(seconds=1)
        await connection.execute(update(webhook_endpoints).values(secret_before_until=over))
        assert await made.rotate(connection, ours, endpoint.id) not in (old, new)


@pytest.mark.postgresql
async def test_adding_and_removing_ends(
    database: Database, owner: User, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "ADDED_A_DAY", 3)
    for _ in range(3):
        endpoint, _ = await add_endpoint(database, owner, URL)
        async with database.write() as connection:
            await some_endpoints().remove(connection, owner.organization_id, endpoint.id)
    with pytest.raises(TooManyEndpoints, match="3 webhooks a day"):
        await add_endpoint(database, owner, URL)
    async with database.write() as connection:
        yesterday = datetime.now(UTC) - timedelta(days=1)
        await connection.execute(update(webhook_endpoints).values(created_at=yesterday))
    await add_endpoint(database, owner, URL)


async def test_a_removed_endpoint_cannot_be_revealed(database: Database, owner: User):
    endpoint, _ = await add_endpoint(database, owner, URL)
    async with database.write() as connection:
        await some_endpoints().remove(connection, owner.organization_id, endpoint.id)
        with pytest.raises(EndpointNotFound):
            await some_endpoints().reveal(connection, owner.organization_id, endpoint.id)
    (row,) = await rows(database, select(webhook_endpoints))
    assert row.secret == b""
