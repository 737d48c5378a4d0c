"""An organization is closed: its credit leaves this deployment's books, to go on in another's.

That is committed before a file with its credit is written, and the file is made of what was
committed, as often as it is asked for. So no credit is ever in two places, wherever a process ends.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import msgspec
from sqlalchemy import bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.payments import auto_top_up
from gateway.control_plane.trail.entries import record
from gateway.errors import BadRequest
from gateway.identifiers import new_id
from gateway.money import money
from gateway.storage.ledger import freezes, postings
from gateway.storage.tables import (
    accounts,
    credit_lots,
    leases,
    money_orders,
    payment_disputes,
    payment_refunds,
    payments,
    trail_entries,
)

EXPORTED = "organization.exported"
_OPEN_PAYMENTS = ("started", "open", "processing")
_OPEN_REFUNDS = ("started", "pending", "requires_action")
_CLOSED_DISPUTES = ("won", "lost", "warning_closed", "prevented")


class NotClosable(BadRequest):
    """Something of the organization must be settled before it can leave."""

    code = "organization_not_closable"


class ClosedOrganization(NamedTuple):
    """An organization that was closed: the id of its transfer, when, and what it had."""

    transfer: str
    at: datetime
    balance_nanos: int


async def close(
    connection: AsyncConnection, operator: Operator, organization_id: str, *, reason: str
) -> ClosedOrganization:
    """Take all of an organization's credit out of the books, once; return the first closing.

    Raises NotClosable, which says what to settle.
    """
    held = await postings.lock_open_leases(connection, organization_id)
    account = await postings.lock_account(connection, organization_id)
    assert account is not None
    await _must_be_suspended(connection, organization_id, account.owed_nanos)
    if held or await connection.scalar(_LEASED, {"organization": organization_id}):
        raise NotClosable(
            "Processes still hold some of its credit. They return it within seconds of its "
            "suspension; credit held by a process that died comes back after two minutes."
        )
    before = await closed(connection, organization_id)
    if before is not None:
        must_be_empty(account.available_nanos)
        return before
    await _must_be_settled(connection, organization_id)
    return await _close(connection, operator, organization_id, reason)


async def closed(connection: AsyncConnection, organization_id: str) -> ClosedOrganization | None:
    """Return how an organization was closed; None if it was not."""
    entry = trail_entries.c
    found = (
        await connection.execute(
            select(entry.created_at, entry.after).where(
                entry.action == EXPORTED, entry.subject == f"organization:{organization_id}"
            )
        )
    ).one_or_none()
    if found is None:
        return None
    said = msgspec.json.decode(found.after)
    return ClosedOrganization(said["transfer"], found.created_at, int(said["nanos"]))


def must_be_empty(available_nanos: int) -> None:
    """Refuse credit that came since: it would be in two places. Raises NotClosable."""
    if available_nanos:
        raise NotClosable(
            f"It was exported before, and was credited {money(available_nanos)} since then. "
            "Take that back and grant it where the organization is now."
        )


def ref(lot_id: str) -> str:
    """Return the reference of the entry by which the credit of a lot left."""
    return f"{lot_id}:exported"


async def _close(
    connection: AsyncConnection, operator: Operator, organization_id: str, reason: str
) -> ClosedOrganization:
    now = await postings.database_now(connection)
    lot = credit_lots.c
    lots = await connection.execute(
        select(lot.id, lot.remaining_nanos)
        .where(lot.organization_id == organization_id, lot.remaining_nanos > 0)
        .order_by(lot.id)
    )
    balance = 0
    for row in lots.all():
        left = row.remaining_nanos
        balance += left
        await connection.execute(
            update(credit_lots).where(lot.id == row.id).values(postings.burning(left))
        )
        await postings.enter(
            connection,
            organization_id,
            "takeback",
            ref(row.id),
            -left,
            "manual_adjustments",
            now,
            "moved to another deployment",
        )
    if balance:
        await postings.move(connection, organization_id, available=-balance)
    await auto_top_up.switch_off(connection, organization_id, now)
    transfer = new_id()
    await record(
        connection,
        operator.actor,
        EXPORTED,
        f"organization:{organization_id}",
        organization_id=organization_id,
        after={"transfer": transfer, "nanos": str(balance)},
        reason=reason,
    )
    done = await closed(connection, organization_id)
    assert done is not None
    return done


async def _must_be_suspended(
    connection: AsyncConnection, organization_id: str, owed_nanos: int
) -> None:
    causes = set(await freezes.causes(connection, organization_id))
    if owed_nanos:
        raise NotClosable(f"It owes {money(owed_nanos)}. Settle that first.")
    if "operator" not in causes:
        raise NotClosable("Suspend it first: gateway credits freeze ORGANIZATION --reason ...")
    if others := causes - {"operator"}:
        raise NotClosable(f"It is frozen for another reason too: {', '.join(sorted(others))}.")


async def _must_be_settled(connection: AsyncConnection, organization_id: str) -> None:
    own = payments.c.organization_id == organization_id
    of_payments = select(payments.c.id).where(own)
    for what, query in (
        ("payments", select(payments.c.id).where(own, payments.c.state.in_(_OPEN_PAYMENTS))),
        (
            "refunds",
            select(payment_refunds.c.id).where(
                payment_refunds.c.payment_id.in_(of_payments),
                payment_refunds.c.state.in_(_OPEN_REFUNDS),
            ),
        ),
        (
            "disputes",
            select(payment_disputes.c.id).where(
                payment_disputes.c.payment_id.in_(of_payments),
                payment_disputes.c.status.not_in(_CLOSED_DISPUTES),
            ),
        ),
        (
            "orders of operators",
            select(money_orders.c.id).where(
                money_orders.c.organization_id == organization_id, money_orders.c.state == "waiting"
            ),
        ),
    ):
        found = (await connection.scalars(query.limit(1))).first()
        if found is not None:
            raise NotClosable(f"Some of its {what} are open, such as {found}. Settle them first.")


_LEASED = (
    select(func.count())
    .select_from(leases)
    .join(accounts, accounts.c.id == leases.c.account_id)
    .where(leases.c.state == "open", accounts.c.organization_id == bindparam("organization"))
)
