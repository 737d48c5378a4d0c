"""All sources of "Needs attention", on both databases: each tells its cause, and nothing else."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.app.needs import sources
from gateway.control_plane.accounts import users as user_accounts
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.needs import one_network
from gateway.control_plane.attention.lookout import Lookout
from gateway.control_plane.attention.needs import Need
from gateway.control_plane.back_office import directory
from gateway.control_plane.back_office.directory import OrganizationFilter
from gateway.control_plane.billing import credit
from gateway.control_plane.billing.needs import expiring
from gateway.control_plane.demand.economics import GpuTerms
from gateway.control_plane.payments import auto_top_up
from gateway.control_plane.payments.auto_top_up import TopUpRules
from gateway.control_plane.status.needs import running_dry
from gateway.dates import day_text, moment_text
from gateway.identifiers import new_id
from gateway.settings import Settings
from gateway.snapshots import WorkerState, WorkerView
from gateway.storage.database import Database
from gateway.storage.ledger import freezes
from gateway.storage.tables import (
    accounts,
    incidents,
    launches,
    memberships,
    model_prices,
    outbox,
    payment_customers,
    payment_disputes,
    payments,
    promotion_days,
    sessions,
    stripe_events,
    traffic_leaders,
    usage_hours,
    users,
    webhook_endpoints,
    worker_reports,
)
from testing.gateways import MODEL, SECRET, Ledger
from testing.payments import Payment

NOW = datetime.now(UTC)
HOURS_AGO = NOW - timedelta(hours=8)


@pytest.fixture
async def owner(database: Database) -> Ledger:
    return await Ledger.create(database, 10**9)


async def told(database: Database) -> dict[str, Need]:
    settings = Settings(secret=SECRET, database_url="sqlite:///", promotion_nanos_per_day=10**9)
    gpu = GpuTerms(nanos_per_hour=10**9, launch_credit_nanos=0)
    attention = Lookout(database, sources(settings, gpu))
    needs = (await attention.found()).needs
    by_kind = {need.key.partition(":")[0]: need for need in needs}
    assert len(by_kind) == len(needs), "a cause is told twice, or what is no cause"
    return by_kind


@pytest.mark.usefixtures("owner")
async def test_where_nothing_is_wrong_nothing_is_told(database: Database):
    assert await told(database) == {}


@pytest.mark.usefixtures("now")
async def test_each_source_tells_its_cause(database: Database, owner: Ledger):
    payment = await Payment.create(database, owner.organization_id, cents=2_500)
    odd = await Payment.create(database, owner.organization_id, cents=500)
    async with database.write() as connection:
        await _money(connection, owner.organization_id)
        await _payments(connection, owner.organization_id, payment.id, odd.id)
        await _service(connection, owner.organization_id)
    needs = await told(database)
    assert {key: need.words for key, need in needs.items()} == {
        "down": "has no ready worker: its requests are refused",
        "worker": "http://one is in quarantine at 1 of 1 gateways: wrong vectors",
        "frozen": "is frozen because its balance does not add up: sums differ",
        "owing": "owes $1.50 and is frozen until that is paid",
        "dispute": f"disputes $25.00, product not received; evidence is due {moment_text(_due())}",
        "payment": f"payment {odd.id}: more came than was asked for",
        "stuck": "auto top-up of $25.00 has no outcome",
        "held": "may not buy: early fraud warning",
        "stripe-events": "1 event is not routed",
        "stripe-given-up": "1 event is given up",
        "mail-failed": "1 mail of the last 3 days failed",
        "mail-late": "1 mail should have left by now",
        "webhooks": "1 webhook accepting nothing",
        "domain": "5 new accounts of this domain got free credit in a day",
        "launch": "launch in progress; 7 emails are written",
        "promotion": "$0.80 of today's $1.00 is given away",
    }
    assert needs["dispute"].severity == "critical"
    assert needs["domain"].subject == "burner.example"
    down = needs["down"]
    assert down.steps[-1].href == f"/admin/incidents/{down.key.partition(':')[2]}"
    for key in ("down", "stuck", "stripe-events", "mail-failed", "webhooks", "launch"):
        assert needs[key].since == HOURS_AGO


async def test_many_new_accounts_of_one_network_are_told(database: Database):
    async with database.write() as connection:
        for number in range(8):
            await _signed_up(connection, f"203.0.113.{number}", "granted" if number < 5 else "off")
            await _signed_up(connection, f"2001:db8:7:{number}::/64" if number < 4 else "unknown")
        twice = select(users.c.id).where(users.c.email == "203.0.113.0@a.example")
        await _session(connection, await connection.scalar(twice), "198.51.100.1")
    async with database.read() as connection:
        (need,) = await one_network(connection, NOW)
        chosen = OrganizationFilter(network="2001:db8:7::/48")
        found = await directory.listed(connection, chosen, limit=10, now=NOW)
    assert (need.key, need.subject) == ("network:203.0.113.0/24", "203.0.113.0/24")
    assert need.words == "5 new accounts from this network got free credit in a day"
    assert need.steps[0].href == "/admin/organizations?network=203.0.113.0/24"
    assert {one.owner.partition(":7:")[0] for one in found} == {"2001:db8"}
    assert len(found) == 4


async def _signed_up(connection: AsyncConnection, network: str, welcome: str = "granted") -> None:
    email = f"{network.removesuffix('::/64')}@a.example"
    user = await user_accounts.find_or_create(connection, Address(email))
    await connection.execute(update(users).where(users.c.id == user.id).values(welcome=welcome))
    await _session(connection, user.id, network)


async def _session(connection: AsyncConnection, user_id: str | None, network: str) -> None:
    home = select(memberships.c.organization_id).where(memberships.c.user_id == user_id)
    await connection.execute(
        insert(sessions).values(
            id=new_id(), user_id=user_id, organization_id=await connection.scalar(home),
            generation=1, seen=1, created_at=NOW, rotated_at=NOW, expires_at=NOW, network=network,
        )
    )  # fmt: skip


async def test_credit_that_runs_dry_is_told_of_who_spends_much(database: Database):
    busy, slow, unknown, buys = [await Ledger.create(database, 10**9) for _ in range(4)]
    hour = NOW.replace(minute=0, second=0, microsecond=0)
    async with database.write() as connection:
        for place, owner in enumerate((busy, slow, buys)):
            await connection.execute(
                insert(traffic_leaders).values(
                    day=hour.date(), place=place, organization_id=owner.organization_id,
                    requests=1, tokens=1, charged_nanos=1,
                )
            )  # fmt: skip
        for owner, nanos in ((busy, 18), (slow, 4), (unknown, 18), (buys, 18)):
            for ago in (1, 9):  # the older hour is no part of the rate
                await connection.execute(
                    insert(usage_hours).values(
                        organization_id=owner.organization_id, hour=hour - timedelta(hours=ago),
                        key_id=new_id(), model_id=MODEL, shard=0, requests=1, inputs=1, tokens=1,
                        charged_nanos=nanos * 10**8,
                    )
                )  # fmt: skip
        rules = TopUpRules(enabled=True, threshold_nanos=1, amount_cents=1000, month_cents_max=1000)
        await auto_top_up.save(connection, buys.organization_id, rules, user_id=None, now=NOW)
    async with database.read() as connection:
        (need,) = await running_dry(connection, hour)
    assert need.key == f"dry:{busy.organization_id}"
    assert need.words == "runs dry in about 2 h: $1.00 at $0.36 an hour"


async def test_credit_that_expires_is_told_if_it_is_much(database: Database):
    owner = await Ledger.create(database)
    async with database.write() as connection:
        for dollars, days in ((20, 8), (12, 5), (9, 3), (15, 2)):
            expires = NOW + timedelta(days=days)
            await credit.grant(connection, owner.organization_id, dollars * 10**9,
                               expires_at=expires)  # fmt: skip
    async with database.read() as connection:
        found = await expiring(connection, NOW)
    assert [need.words for need in found] == [
        f"${dollars}.00 of its credit expires on {day_text(NOW + timedelta(days=days))}"
        for dollars, days in ((15, 2), (12, 5))
    ]
    assert found[0].steps[0].href == f"/admin/organizations/{owner.organization_id}/lots"


async def _money(connection: AsyncConnection, organization_id: str) -> None:
    await freezes.freeze(connection, organization_id, "books", reason="sums differ")
    await freezes.freeze(connection, organization_id, "dispute", ref="p")  # which tells of itself
    owes = update(accounts).where(accounts.c.id == organization_id)
    await connection.execute(owes.values(owed_nanos=1_500_000_000))
    granted = {"day": f"{datetime.now(UTC):%Y-%m-%d}", "granted_nanos": 800_000_000}
    await connection.execute(insert(promotion_days).values(granted))
    for number in range(5):
        for domain, welcome in (("burner", "granted"), ("refused", "budget")):
            email = f"{number}@{domain}.example"
            await connection.execute(
                insert(users).values(
                    id=new_id(), email=email, address_key=email, created_at=NOW, welcome=welcome
                )
            )


async def _payments(
    connection: AsyncConnection, organization_id: str, payment_id: str, odd_id: str
) -> None:
    stuck = update(payments).where(payments.c.id == payment_id)
    await connection.execute(stuck.values(origin="auto", created_at=HOURS_AGO))
    odd = update(payments).where(payments.c.id == odd_id)
    await connection.execute(odd.values(attention="more came than was asked for"))
    for status, name in (("needs_response", "open"), ("won", "over")):
        await connection.execute(
            insert(payment_disputes).values(
                id=name, payment_id=payment_id, status=status, reason="product_not_received",
                amount_cents=2_500, evidence_due_at=_due(), created_at=NOW, changed_at=NOW,
            )
        )  # fmt: skip
    blank = dict.fromkeys(("card_brand", "card_last_four", "card_expires", "card_fingerprint"), "")
    await connection.execute(
        insert(payment_customers).values(
            organization_id=organization_id, generation=1, held_at=NOW, changed_at=NOW,
            held_reason="early fraud warning", **blank,
        )
    )  # fmt: skip
    for name, due_at, problem in (
        ("evt_late", NOW, "away"), ("evt_done", None, ""), ("evt_lost", None, "no such charge"),
    ):  # fmt: skip
        await connection.execute(
            insert(stripe_events).values(
                id=name, type="charge.updated", object_id="ch", created_at=HOURS_AGO,
                received_at=HOURS_AGO, due_at=due_at, attempts=2, problem=problem,
            )
        )  # fmt: skip


async def _service(connection: AsyncConnection, organization_id: str) -> None:
    price_id = await connection.scalar(
        select(model_prices.c.id).where(model_prices.c.model_id == MODEL).limit(1)
    )
    down = insert(incidents)
    await connection.execute(down.values(id=new_id(), model_id=MODEL, started_at=HOURS_AGO))
    await connection.execute(
        insert(launches).values(
            model_id=MODEL, price_id=price_id, launched_at=HOURS_AGO, recipients=7
        )
    )
    for state, reason in (("failed", "refused"), ("failed", "unsubscribed before it left"),
                          ("pending", ""), ("sent", "")):  # fmt: skip
        await connection.execute(
            insert(outbox).values(
                id=new_id(), ref=new_id(), kind="launch", recipient="a@example.com", subject="s",
                text="t", html="", unsubscribe_url="", state=state, attempts=1, created_at=NOW,
                due_at=HOURS_AGO, give_up_at=NOW, reason=reason,
            )
        )  # fmt: skip
    await connection.execute(
        insert(webhook_endpoints).values(
            id=new_id(), organization_id=organization_id, url="https://x.example", secret=b"s",
            created_at=NOW, disabled_reason="", failing_since=HOURS_AGO, served_at=NOW,
        )
    )  # fmt: skip
    view = WorkerView(
        url="http://one", state=WorkerState.QUARANTINED, reason="wrong vectors", revision="r",
        tokens_in_flight=0, calls_in_flight=0, slowdown=1.0, window_share=1.0, limping=False,
        tokens_per_second=0.0, ejections=1, examinations=1, history=(),
    )  # fmt: skip
    await connection.execute(
        insert(worker_reports).values(
            gateway_id=new_id(), model_id=MODEL, url=view.url, seen_at=datetime.now(UTC),
            view=msgspec.json.encode(view).decode(),
        )
    )  # fmt: skip


def _due() -> datetime:
    return NOW + timedelta(days=2)
