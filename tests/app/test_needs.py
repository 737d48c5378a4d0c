"""All sources of "Needs attention", on both databases: each tells its cause, and nothing else."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.app.needs import sources
from gateway.control_plane.attention.lookout import Lookout
from gateway.control_plane.attention.needs import Need
from gateway.control_plane.demand.economics import GpuTerms
from gateway.identifiers import new_id
from gateway.settings import Settings
from gateway.snapshots import WorkerState, WorkerView
from gateway.storage.database import Database
from gateway.storage.ledger import freezes
from gateway.storage.tables import (
    accounts,
    incidents,
    launches,
    model_prices,
    outbox,
    payment_customers,
    payment_disputes,
    payments,
    promotion_days,
    stripe_events,
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
    return {need.key.partition(":")[0]: need for need in (await attention.found()).needs}


@pytest.mark.usefixtures("owner")
async def test_where_nothing_is_wrong_nothing_is_told(database: Database):
    assert await told(database) == {}


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
        "dispute": f"disputes $25.00, product not received; evidence is due {_due():%d %b %H:%M}",
        "payment": f"payment {odd.id}: more came than was asked for",
        "stuck": "auto top-up of $25.00 has no outcome",
        "held": "may not buy: early fraud warning",
        "stripe-events": "1 event is not routed",
        "stripe-given-up": "1 event is given up",
        "mail-failed": "1 mail of the last 3 days failed",
        "mail-late": "1 mail should have left by now",
        "webhooks": "1 webhook takes nothing",
        "domain": "5 new accounts of this domain got free credit in a day",
        "launch": "launch goes on; 7 mails are written",
        "promotion": "$0.80 of today's $1.00 is given away",
    }
    assert needs["dispute"].severity == "critical"
    assert needs["domain"].subject == "burner.example"
    for key in ("down", "stuck", "stripe-events", "mail-failed", "webhooks", "launch"):
        assert needs[key].since == HOURS_AGO


async def _money(connection: AsyncConnection, organization_id: str) -> None:
    await freezes.freeze(connection, organization_id, "books", reason="sums differ")
    await freezes.freeze(connection, organization_id, "dispute", ref="p")  # which tells of itself
    owes = update(accounts).where(accounts.c.id == organization_id)
    await connection.execute(owes.values(owed_nanos=1_500_000_000))
    granted = {"day": f"{NOW:%Y-%m-%d}", "granted_nanos": 800_000_000}
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
