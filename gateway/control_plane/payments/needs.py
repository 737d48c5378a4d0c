"""What needs an operator about payments: disputes, odd or stuck ones, held buyers, stuck events."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.attention.needs import NEEDS_MAX, Need, Step, tells
from gateway.control_plane.payments.refunds import OPEN_DISPUTES
from gateway.dates import moment_text
from gateway.money import NANOS_PER_CENT, money
from gateway.storage.tables import (
    organizations,
    payment_customers,
    payment_disputes,
    payments,
    stripe_events,
)

_MINUTE = timedelta(minutes=1)
_SOON = timedelta(days=3)
"""Evidence for a dispute that is due within this time is urgent."""
_STUCK = timedelta(hours=1)
"""An auto top-up that has no outcome for this long is stuck."""
_LATELY = timedelta(days=7)
"""How long an event that was given up is listed."""
_OVERDUE = timedelta(minutes=15)
"""An event that is not routed for this long is listed."""


@tells(f"A dispute is open. It is critical when its evidence is due within {_SOON.days} days.")
async def disputes(connection: AsyncConnection, now: datetime) -> list[Need]:
    """List undecided disputes, the one whose evidence is due first at the top."""
    status, due = payment_disputes.c.status, payment_disputes.c.evidence_due_at
    found = await connection.execute(
        select(payment_disputes, payments.c.organization_id, organizations.c.name)
        .join(payments, payments.c.id == payment_disputes.c.payment_id)
        .join(organizations, organizations.c.id == payments.c.organization_id)
        .where(or_(status.in_(OPEN_DISPUTES), status.startswith("warning_needs")))
        .order_by(due, payment_disputes.c.id)
        .limit(NEEDS_MAX)
    )
    needs = []
    for row in found:
        at, amount = row.evidence_due_at, money(row.amount_cents * NANOS_PER_CENT)
        waits = "review" in row.status
        until = f"; evidence is due {moment_text(at)}" if at and not waits else ""
        needs.append(
            Need(
                key=f"dispute:{row.id}",
                severity="critical" if at and not waits and at - now < _SOON else "warning",
                subject=row.name,
                words=f"disputes {amount}, {row.reason.replace('_', ' ')}"
                f"{', under review' if waits else until}",
                since=row.created_at,
                steps=(_open(row.organization_id),),
            )
        )
    return needs


@tells("A payment doesn't add up. It stays here until someone marks it as seen.")
async def odd(connection: AsyncConnection, _now: datetime) -> list[Need]:
    """List payments that don't add up."""
    found = await connection.execute(
        select(
            payments.c.id,
            payments.c.attention,
            payments.c.changed_at,
            payments.c.organization_id,
            organizations.c.name,
        )
        .join(organizations, organizations.c.id == payments.c.organization_id)
        .where(payments.c.attention != literal_column("''"))  # in the words of its index
        .order_by(payments.c.id)
        .limit(NEEDS_MAX)
    )
    return [
        Need(
            key=f"payment:{row.id}",
            severity="warning",
            subject=row.name,
            words=f"payment {row.id}: {row.attention}",
            since=row.changed_at,
            steps=(_open(row.organization_id),),
        )
        for row in found
    ]


@tells(f"An auto top-up has no outcome after {_STUCK // _MINUTE} minutes.")
async def stuck(connection: AsyncConnection, now: datetime) -> list[Need]:
    """List auto top-ups without an outcome."""
    open_: ColumnElement[bool] = literal_column(
        "origin = 'auto' AND state IN ('started', 'open', 'processing')"
    )
    found = await connection.execute(
        select(
            payments.c.id,
            payments.c.created_at,
            payments.c.amount_cents,
            payments.c.organization_id,
            organizations.c.name,
        )
        .join(organizations, organizations.c.id == payments.c.organization_id)
        .where(open_, payments.c.created_at < now - _STUCK)
        .order_by(payments.c.created_at)
        .limit(NEEDS_MAX)
    )
    return [
        Need(
            key=f"stuck:{row.id}",
            severity="warning",
            subject=row.name,
            words=f"auto top-up of {money(row.amount_cents * NANOS_PER_CENT)} has no outcome",
            since=row.created_at,
            steps=(_open(row.organization_id),),
        )
        for row in found
    ]


@tells("An early fraud warning keeps an organization from buying.")
async def held(connection: AsyncConnection, _now: datetime) -> list[Need]:
    """List organizations that may not buy until an operator releases them."""
    found = await connection.execute(
        select(payment_customers, organizations.c.name)
        .join(organizations, organizations.c.id == payment_customers.c.organization_id)
        .where(payment_customers.c.held_at.is_not(None))
        .order_by(payment_customers.c.held_at)
        .limit(NEEDS_MAX)
    )
    return [
        Need(
            key=f"held:{row.organization_id}",
            severity="warning",
            subject=row.name,
            words=f"may not buy: {row.held_reason}",
            since=row.held_at,
            steps=(_open(row.organization_id),),
        )
        for row in found
    ]


@tells(
    f"An event from Stripe is not routed after {_OVERDUE // _MINUTE} minutes, or was given up in "
    f"the last {_LATELY.days} days."
)
async def events(connection: AsyncConnection, now: datetime) -> list[Need]:
    """Count Stripe's events that are not routed yet, and those that were given up lately."""
    late = (stripe_events.c.due_at.is_not(None), stripe_events.c.received_at < now - _OVERDUE)
    given_up = (
        stripe_events.c.due_at.is_(None),
        stripe_events.c.problem != literal_column("''"),  # in the words of its index
        stripe_events.c.received_at > now - _LATELY,
    )
    needs = []
    for key, words, state, rows in (
        ("stripe-events", "not routed", "waiting", late),
        ("stripe-given-up", "given up", "given_up", given_up),
    ):
        query = select(func.count(), func.min(stripe_events.c.received_at)).where(*rows)
        count, oldest = (await connection.execute(query)).one()
        if count:
            needs.append(
                Need(
                    key=key,
                    severity="warning",
                    subject="Stripe",
                    words=f"{count:,} event{'s are' if count > 1 else ' is'} {words}",
                    since=datetime.fromisoformat(oldest) if isinstance(oldest, str) else oldest,
                    steps=(Step("Open events", f"/admin/events?state={state}"),),
                )
            )
    return needs


def _open(organization_id: str) -> Step:
    return Step("Open organization", f"/admin/organizations/{organization_id}")
