"""Rows that the stories of the back office begin with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import insert, update

from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.billing import credit
from gateway.control_plane.catalog import golden
from gateway.control_plane.demand import waitlist
from gateway.identifiers import made_at_ms, new_id
from gateway.keyring import Keyring
from gateway.storage.database import Database
from gateway.storage.tables import (
    auto_top_ups,
    demand_votes,
    incidents,
    payments,
    request_log,
    stripe_events,
    usage_hours,
)
from testing.admin_stories import Customer
from testing.gateways import SECRET
from testing.marketplace import vote
from testing.payments import Payment
from testing.workers import a_view, report

NOW = datetime.now(UTC)


async def add_credit(database: Database, customer: Customer, dollars: int) -> None:
    """Grant free credit."""
    async with database.write() as connection:
        await credit.grant(connection, customer.id, dollars * 10**9)


async def make_key(database: Database, customer: Customer, name: str) -> str:
    """Make a key; return its id."""
    return (await ApiKeys(database, secret=Keyring(SECRET)).create(customer.id, name)).key.id


async def put_event(database: Database, name: str) -> None:
    """Store an event of Stripe's that was routed."""
    values = {"type": "charge.updated", "object_id": f"ch_{name}", "due_at": None, "attempts": 1}
    async with database.write() as connection:
        await connection.execute(
            insert(stripe_events).values(id=name, created_at=NOW, received_at=NOW, **values)
        )


async def put_incident(database: Database, model: str) -> str:
    """Store an incident that has ended; return its id."""
    incident_id = new_id()
    values = {"started_at": NOW - timedelta(minutes=9), "ended_at": NOW}
    async with database.write() as connection:
        await connection.execute(insert(incidents).values(id=incident_id, model_id=model, **values))
    return incident_id


async def put_request(database: Database, customer: Customer, key_id: str) -> str:
    """Log a request that was refused; return its id."""
    request_id = new_id()
    began = datetime.fromtimestamp(made_at_ms(request_id) / 1000, UTC)
    async with database.write() as connection:
        await connection.execute(
            insert(request_log).values(
                organization_id=customer.id, request_id=request_id, key_id=key_id, model_id="",
                created_at=began, status=404, code="model_not_found", latency_ms=2, tokens=None,
                original_id=None, missed=0,
            )
        )  # fmt: skip
    return request_id


async def put_odd_payment(database: Database, buyer: Customer) -> str:
    """Store a payment that was begun, and that asks for an operator."""
    payment = await Payment.create(database, buyer.id, cents=2_500)
    async with database.write() as connection:
        await connection.execute(
            update(payments)
            .where(payments.c.id == payment.id)
            .values(attention="paid at Stripe in another currency")
        )
    return payment.id


async def switch_top_up_on(database: Database, customer: Customer) -> None:
    """Let auto top-up be on, and stand still, so that it buys nothing."""
    async with database.write() as connection:
        await connection.execute(
            insert(auto_top_ups).values(
                organization_id=customer.id, enabled=True, threshold_nanos=10**9,
                amount_cents=2_500, month_cents_max=10_000, paused="declined", declines=0,
                declined_card="", changed_at=NOW,
            )
        )  # fmt: skip


async def put_vote(database: Database, voter: Customer, model: str) -> str:
    """Let someone vote; return the vote's id."""
    row = vote(voter.user_id, model, NOW)
    async with database.write() as connection:
        await connection.execute(insert(demand_votes).values(row))
    return str(row["id"])


async def use(database: Database, customer: Customer, model: str) -> None:
    """Let a customer have used a model, so that its price matters to them."""
    async with database.write() as connection:
        await connection.execute(
            insert(usage_hours).values(
                organization_id=customer.id, hour=NOW, key_id=new_id(), model_id=model, shard=0,
                requests=1, inputs=1, tokens=10**9, charged_nanos=8 * 10**9,
            )
        )  # fmt: skip


async def await_launch(database: Database, model: str, people: list[str]) -> None:
    """Let people wait for a model that has a ready worker, whose revision is vouched for."""
    async with database.write() as connection:
        await golden.pin(connection, model, "r1", [])
        for address in people:
            await waitlist.join(connection, model, Address(address), None)
    await report(database, model, a_view("http://10.0.0.9:8080"))
