"""Crossings: each told once, however often a balance swings, and whoever looks at it."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select, text, update

from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.alerts import crossings
from gateway.control_plane.alerts.crossings import Crossings
from gateway.control_plane.alerts.preferences import AlertPreferences, Preferences
from gateway.data_plane.metering.leases import budget_id
from gateway.identifiers import new_id
from gateway.keyring import Keyring
from gateway.storage.database import Database
from gateway.storage.ledger.runway import runway
from gateway.storage.tables import (
    accounts,
    alert_levels,
    alert_preferences,
    alert_walks,
    leases,
    notices,
    usage_days,
)
from testing.gateways import MODEL, SECRET, Ledger
from tests.control_plane.alerts.conftest import rows

pytestmark = pytest.mark.sqlite

DOLLAR = 10**9


async def look(database: Database) -> list[tuple[str, dict[str, Any]]]:
    """Walk once more, and return what is told so far, oldest first."""
    async with database.write() as connection:
        await connection.execute(update(alert_walks).values(due_at=datetime.now(UTC)))
    await Crossings(database).find()
    found = await rows(database, select(notices).order_by(notices.c.id))
    return [(row.type, msgspec.json.decode(row.data)) for row in found]


async def use(ledger: Ledger, available_nanos: int, *, account_id: str = "") -> None:
    """Leave this much in an account that a process has a lease of."""
    account_id = account_id or ledger.organization_id
    now = datetime.now(UTC)
    async with ledger.database.write() as connection:
        await connection.execute(
            update(accounts)
            .where(accounts.c.id == account_id)
            .values(available_nanos=available_nanos)
        )
        await connection.execute(
            insert(leases).values(
                id=new_id(), account_id=account_id, replica_id=new_id(), granted_nanos=0,
                spent_nanos=0, posted_nanos=0, postings=0, state="open", tick=1, opened_at=now,
                returned_at=now, expires_at=now + timedelta(days=1),
            )
        )  # fmt: skip


async def spent(ledger: Ledger, nanos: int, *, days_ago: int = 0) -> None:
    async with ledger.database.write() as connection:
        await connection.execute(
            insert(usage_days).values(
                organization_id=ledger.organization_id, key_id=ledger.key_id, model_id=MODEL,
                day=(datetime.now(UTC) - timedelta(days=days_ago)).date(), shard=0, requests=1,
                inputs=1, tokens=1, charged_nanos=nanos,
            )
        )  # fmt: skip


async def prefer(ledger: Ledger, low_nanos: int | None) -> None:
    async with ledger.database.write() as connection:
        await Preferences().save(
            connection, ledger.organization_id, AlertPreferences(low_nanos=low_nanos)
        )


async def test_a_crossing_that_can_t_be_stored_holds_up_no_other(ledger: Ledger):
    other = await Ledger.create(ledger.database, 100 * DOLLAR)
    await ledger.grant(100 * DOLLAR)
    bad, good = sorted((ledger, other), key=lambda one: one.organization_id)
    async with ledger.database.write() as connection:
        await connection.execute(
            text(
                "CREATE TRIGGER refuse BEFORE INSERT ON notices "
                f"WHEN NEW.organization_id = '{bad.organization_id}' "
                "BEGIN SELECT RAISE(ABORT, 'a rule'); END"
            )
        )
    for one in (bad, good):
        await prefer(one, 5 * DOLLAR)
        await use(one, 4 * DOLLAR)
    assert [kind for kind, _ in await look(ledger.database)] == ["balance.low"]
    assert [kind for kind, _ in await look(ledger.database)] == ["balance.low"]


async def test_a_balance_that_swings_is_told_once(ledger: Ledger):
    await ledger.grant(100 * DOLLAR)
    await prefer(ledger, 5 * DOLLAR)
    assert await look(ledger.database) == []
    for available in (6 * DOLLAR, 4 * DOLLAR, 5 * DOLLAR + 1, 4 * DOLLAR, 5 * DOLLAR, 3 * DOLLAR):
        await use(ledger, available)
        told = await look(ledger.database)
    assert told == [
        ("balance.low", {
            "available_nanos": str(4 * DOLLAR), "threshold_nanos": str(5 * DOLLAR),
            "days_left": None,
        }),
    ]  # fmt: skip
    await use(ledger, 6 * DOLLAR)  # a payment: armed again
    assert len(await look(ledger.database)) == 1
    await use(ledger, 4 * DOLLAR)
    assert [kind for kind, _ in await look(ledger.database)] == ["balance.low"] * 2


async def test_empty_is_told_alone_and_again_after_a_payment(ledger: Ledger):
    await ledger.grant(100 * DOLLAR)
    await prefer(ledger, 50 * DOLLAR)
    await use(ledger, 0)
    assert [kind for kind, _ in await look(ledger.database)] == ["balance.empty"]
    await use(ledger, DOLLAR)  # still low, which is no news
    assert len(await look(ledger.database)) == 1
    await use(ledger, 0)
    assert [kind for kind, _ in await look(ledger.database)] == ["balance.empty"] * 2


@pytest.mark.postgresql
@pytest.mark.usefixtures("now")
async def test_a_week_of_use_is_the_rule_without_a_limit(ledger: Ledger):
    await ledger.grant(100 * DOLLAR)
    await spent(ledger, 4 * DOLLAR, days_ago=0)
    await spent(ledger, 3 * DOLLAR, days_ago=6)
    await spent(ledger, 99 * DOLLAR, days_ago=7)  # too long ago
    await use(ledger, 7 * DOLLAR)
    assert await look(ledger.database) == []
    await use(ledger, 7 * DOLLAR - 1)
    ((kind, data),) = await look(ledger.database)
    assert (kind, data["days_left"]) == ("balance.low", 6)
    assert data["threshold_nanos"] == str(7 * DOLLAR)
    async with ledger.database.read() as connection:
        lasts = await runway(connection, ledger.organization_id)
    assert (lasts.available_nanos, lasts.nanos_a_day, lasts.days) == (7 * DOLLAR - 1, DOLLAR, 6)


@pytest.mark.postgresql
async def test_what_leases_hold_unspent_counts(ledger: Ledger):
    await ledger.grant(100 * DOLLAR)
    await prefer(ledger, 5 * DOLLAR)
    await use(ledger, 0)
    async with ledger.database.write() as connection:
        await connection.execute(update(leases).values(granted_nanos=10 * DOLLAR))
        await connection.execute(update(accounts).values(leased_nanos=10 * DOLLAR))
    assert await look(ledger.database) == []
    async with ledger.database.write() as connection:
        await connection.execute(update(leases).values(spent_nanos=8 * DOLLAR))
    ((kind, data),) = await look(ledger.database)
    assert (kind, data["available_nanos"]) == ("balance.low", str(2 * DOLLAR))


async def test_who_never_had_credit_is_not_told(ledger: Ledger):
    await prefer(ledger, 5 * DOLLAR)
    await use(ledger, 0)
    assert await look(ledger.database) == []


async def test_a_limit_that_is_raised_above_the_balance_is_crossed_without_use(ledger: Ledger):
    await ledger.grant(10 * DOLLAR)
    assert await look(ledger.database) == []
    await prefer(ledger, 20 * DOLLAR)
    assert [kind for kind, _ in await look(ledger.database)] == ["balance.low"]


@pytest.mark.postgresql
async def test_a_lease_that_closed_between_two_looks_is_looked_at_once_more(ledger: Ledger):
    await ledger.grant(100 * DOLLAR)
    await prefer(ledger, 5 * DOLLAR)
    await use(ledger, 6 * DOLLAR)
    await look(ledger.database)
    long_ago = datetime.now(UTC) - timedelta(days=1)
    async with ledger.database.write() as connection:
        await connection.execute(update(leases).values(state="closed", opened_at=long_ago))
        await connection.execute(update(alert_preferences).values(changed_at=long_ago))
        await connection.execute(update(accounts).values(available_nanos=DOLLAR))
    assert [kind for kind, _ in await look(ledger.database)] == ["balance.low"]
    await look(ledger.database)
    watched = select(alert_levels.c.watched)
    assert not any((await rows(ledger.database, watched))[0])


async def test_credit_that_expires_is_noticed(ledger: Ledger):
    soon = datetime.now(UTC) + timedelta(seconds=0.05)
    await ledger.grant(10 * DOLLAR, expires_at=soon)
    await asyncio.sleep(0.06)  # the lot's end is a matter of time
    async with ledger.database.write() as connection:
        await connection.execute(update(accounts).values(available_nanos=0))
    assert [kind for kind, _ in await look(ledger.database)] == ["balance.empty"]


@pytest.mark.postgresql
async def test_two_processes_tell_a_crossing_once(ledger: Ledger):
    await ledger.grant(100 * DOLLAR)
    await prefer(ledger, 5 * DOLLAR)
    await use(ledger, DOLLAR)
    await look(ledger.database)
    found = [Crossings(ledger.database)._look_at([ledger.organization_id]) for _ in range(4)]
    async with ledger.database.write() as connection:
        await connection.execute(update(alert_levels).values(level=0))
    assert sum(await asyncio.gather(*found)) == 1
    assert len(await rows(ledger.database, select(notices))) == 2


@pytest.mark.postgresql
async def test_a_walk_goes_on_where_it_stood(ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    """Killed after its first batch, with the claim over: the next process looks at the rest."""
    monkeypatch.setattr(crossings, "BATCH", 2)
    everyone = [await Ledger.create(ledger.database, 100 * DOLLAR) for _ in range(5)]
    for one in everyone:
        await prefer(one, 5 * DOLLAR)
        await use(one, DOLLAR)
    looked: list[str] = []
    real = Crossings._look_at

    async def dying(self: Crossings, some: list[str]) -> int:
        if looked:
            raise RuntimeError
        looked.extend(some)
        return await real(self, some)

    with monkeypatch.context() as patch:
        patch.setattr(Crossings, "_look_at", dying)
        with pytest.raises(RuntimeError):
            await Crossings(ledger.database).find()
    assert len(await rows(ledger.database, select(notices))) == 2
    assert await Crossings(ledger.database).find() == 0  # claimed for some minutes
    assert len(await look(ledger.database)) == 5


async def test_steps_of_a_budget(ledger: Ledger):
    keys = ApiKeys(ledger.database, secret=Keyring(SECRET))
    await keys.set_budget(ledger.key_id, 10 * DOLLAR, "total")
    budget = budget_id(ledger.key_id, "total")
    for available in (6, 5, 4):
        await use(ledger, available * DOLLAR, account_id=budget)
        told = await look(ledger.database)
    assert [(kind, data["percent"]) for kind, data in told] == [("budget.reached", 50)]
    assert told[0][1] == {
        "key_id": ledger.key_id, "key_name": "tests", "percent": 50, "period": "total",
        "spent_nanos": str(5 * DOLLAR), "limit_nanos": str(10 * DOLLAR),
    }  # fmt: skip
    await use(ledger, 4 * DOLLAR // 10, account_id=budget)  # 80 and 95 at once
    assert [data["percent"] for _, data in await look(ledger.database)] == [50, 95]
    await keys.set_budget(ledger.key_id, 20 * DOLLAR, "total")  # 48 %: all are armed again
    assert len(await look(ledger.database)) == 2
    await use(ledger, 0, account_id=budget)
    assert [data["percent"] for _, data in await look(ledger.database)] == [50, 95, 100]
    await keys.set_budget(ledger.key_id, 40 * DOLLAR, "total")
    assert len(await look(ledger.database)) == 3  # exactly 50 %, which was told before
    await use(ledger, 1, account_id=budget)
    assert [data["percent"] for _, data in await look(ledger.database)] == [50, 95, 100, 100]


@pytest.mark.postgresql
async def test_a_revoked_key_and_a_month_that_is_over_are_silent(ledger: Ledger):
    keys = ApiKeys(ledger.database, secret=Keyring(SECRET))
    await keys.set_budget(ledger.key_id, 10 * DOLLAR, "total")
    budget = budget_id(ledger.key_id, "total")
    await use(ledger, 0, account_id=budget)
    async with ledger.database.write() as connection:
        period = update(accounts).where(accounts.c.id == budget)
        await connection.execute(period.values(period="2025-01"))
    assert await look(ledger.database) == []
    async with ledger.database.write() as connection:
        await connection.execute(period.values(period="total"))
    await keys.revoke(ledger.key_id)
    assert await look(ledger.database) == []
