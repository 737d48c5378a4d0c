"""What the metrics say of how late reconciliation is."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, text, update

from gateway.control_plane.payments import lateness
from gateway.identifiers import new_id
from gateway.observability import metrics
from gateway.storage import tables
from testing.buying import Shop

pytestmark = pytest.mark.sqlite


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float, int]]:
    """Return what the metrics are set to, at each run."""
    found: list[tuple[float, float, int]] = []
    monkeypatch.setattr(metrics, "set_payments", lambda *values: found.append(values))
    monkeypatch.setattr(lateness, "MEASURED_SECONDS", 0.0)
    return found


async def test_it_grows_while_stripe_is_away_though_claims_move_what_is_due(
    shop: Shop, said: list[tuple[float, float, int]], monkeypatch: pytest.MonkeyPatch
):
    await shop.buy(25)
    shop.fake.faults.add("refused", "*", times=100)
    now = 1000.0
    monkeypatch.setattr(lateness, "monotonic", lambda: now)
    for _ in range(3):
        await shop.make_due()
        await shop.reconciler.run()
        now += 600
        await shop.reconciler.run()  # nothing is due: it was claimed a moment ago
        now += 600
    assert [round(overdue) for overdue, _, _ in said] == [0, 600, 1200, 1800, 2400, 3000]
    now += 1200
    await shop.reconciler.run()  # another process has read it
    assert said[-1][0] == 0
    shop.fake.faults.clear()
    await shop.make_due()
    await shop.reconciler.run()
    assert said[-1][0] == 0


async def test_a_payment_that_nobody_reads_is_late(
    shop: Shop, said: list[tuple[float, float, int]]
):
    await shop.start(25)
    await shop.make_due(hours=5)
    await shop.reconciler._lateness.measure()
    assert said[-1][0] == pytest.approx(5 * 3600, abs=60)


@pytest.mark.postgresql
async def test_what_has_no_outcome_and_what_needs_a_person(
    shop: Shop, said: list[tuple[float, float, int]]
):
    payment = await shop.bought(25)
    now = datetime.now(UTC)
    refund = {
        "id": new_id(), "payment_id": payment.id, "amount_cents": 1, "reason": "",
        "created_at": now - timedelta(hours=2), "changed_at": now,
    }  # fmt: skip
    async with shop.database.write() as connection:
        await connection.execute(insert(tables.payment_refunds).values(**refund, state="started"))
        await connection.execute(update(tables.payments).values(attention="odd"))
    await shop.reconciler.run()
    _, unanswered, attention = said[-1]
    assert (unanswered, attention) == (pytest.approx(2 * 3600, abs=60), 1)
    async with shop.database.write() as connection:
        await connection.execute(update(tables.payment_refunds).values(state="succeeded"))
        await connection.execute(
            update(tables.payments).values(
                origin="auto", state="started", created_at=now - timedelta(hours=3)
            )
        )
    await shop.reconciler.run()
    assert said[-1][1] == pytest.approx(3 * 3600, abs=60)


async def test_it_is_measured_once_a_minute(
    shop: Shop, said: list[tuple[float, float, int]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lateness, "MEASURED_SECONDS", 60.0)
    for _ in range(3):
        await shop.reconciler.run()
    assert len(said) == 1


@pytest.mark.postgresql
@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT count(*) FROM payments WHERE attention <> ''", "ix_payments_attention"),
        (
            (
                "SELECT created_at FROM payments WHERE origin = 'auto' AND state IN "
                "('started', 'open', 'processing') AND state = 'started'"
            ),
            "uq_payments_open_auto",
        ),
        (
            "SELECT min(created_at) FROM payment_refunds WHERE state = 'started'",
            "ix_payment_refunds_state",
        ),
        (
            "SELECT customer_id FROM payment_customers WHERE payment_method_id = 'pm'",
            "ix_payment_customers_payment_method_id",
        ),
    ],
)
async def test_what_is_asked_often_has_an_index(shop: Shop, query: str, index: str):
    is_sqlite = shop.database.is_sqlite
    async with shop.database.read() as connection:
        if not is_sqlite:
            await connection.execute(text("SET enable_seqscan = off"))
        explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
        plan = (await connection.execute(text(f"{explain} {query}"))).all()
        if not is_sqlite:
            await connection.execute(text("RESET enable_seqscan"))
    assert index in str(plan)
