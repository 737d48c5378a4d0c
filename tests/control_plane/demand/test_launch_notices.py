"""Launches for webhooks: to each organization with a subscribed endpoint, once."""

import msgspec
import pytest
from sqlalchemy import select, update

from gateway.control_plane.alerts import walks
from gateway.control_plane.alerts.addresses import Addresses
from gateway.control_plane.alerts.endpoints import Endpoints
from gateway.control_plane.alerts.signatures import SigningSecrets
from gateway.control_plane.demand import launch_notices
from gateway.control_plane.demand.launch_notices import LaunchNotices
from gateway.keyring import Keyring
from gateway.storage.database import Database
from gateway.storage.ledger.postings import database_now
from gateway.storage.tables import alert_walks, notices, webhook_deliveries, webhook_endpoints
from tests.control_plane.conftest import STELLA
from tests.control_plane.demand.conftest import account, launch, rows


async def subscribe(database: Database, email: str, types: list[str]) -> str:
    visitor = await account(database, email)
    endpoints = Endpoints(SigningSecrets(Keyring("s" * 32).derive("webhooks")), Addresses())
    async with database.write() as connection:
        await endpoints.add(
            connection, visitor.organization_id, "https://hooks.example.com/", types, None
        )
    return visitor.organization_id


def telling(database: Database, *, live: bool = True) -> LaunchNotices:
    return LaunchNotices(database, is_live=lambda _model: live)


async def test_those_who_were_subscribed_are_told_once(seeded: Database):
    ours = await subscribe(seeded, "ada@example.org", ["model.launched"])
    await subscribe(seeded, "bob@example.org", ["balance.low"])
    await launch(seeded)
    await subscribe(seeded, "late@example.org", ["model.launched"])
    assert await telling(seeded, live=False).tell() == 0
    assert await telling(seeded).tell() == 1
    assert await telling(seeded).tell() == 0
    (notice,) = await rows(seeded, select(notices))
    assert notice.organization_id == ours
    assert msgspec.json.decode(notice.data) == {"model_id": STELLA, "price_nanos": "9000000"}
    assert notice.mail_due_at is None  # mails go to those who asked for the model
    assert len(await rows(seeded, select(webhook_deliveries))) == 1
    async with seeded.read() as connection:
        assert await walks.is_over(connection, f"launch:{STELLA}")


async def test_an_endpoint_that_is_off_or_gone_is_not_told(seeded: Database):
    for name, state in (("off", "disabled_at"), ("gone", "removed_at"), ("on", None)):
        organization_id = await subscribe(seeded, f"{name}@example.org", ["model.launched"])
        if state is not None:
            async with seeded.write() as connection:
                await connection.execute(
                    update(webhook_endpoints)
                    .where(webhook_endpoints.c.organization_id == organization_id)
                    .values({state: await database_now(connection)})
                )
    await launch(seeded)
    assert await telling(seeded).tell() == 1
    assert [one.organization_id for one in await rows(seeded, select(notices))] == [organization_id]


async def test_it_goes_on_after_a_crash(seeded: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launch_notices, "BATCH", 2)
    everyone = {await subscribe(seeded, f"p{n}@example.org", ["model.launched"]) for n in range(5)}
    await launch(seeded)
    real, calls = launch_notices.publish, []

    async def dying(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise RuntimeError
        return await real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(launch_notices, "publish", dying)
        with pytest.raises(RuntimeError):
            await telling(seeded).tell()
    assert len(await rows(seeded, select(notices))) == 3
    assert await telling(seeded).tell() == 0  # claimed for some minutes
    async with seeded.write() as connection:
        now = await database_now(connection)
        await connection.execute(update(alert_walks).values(due_at=now))
    assert await telling(seeded).tell() == 2
    told = await rows(seeded, select(notices.c.organization_id))
    assert sorted(row.organization_id for row in told) == sorted(everyone)
