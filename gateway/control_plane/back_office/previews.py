"""What an order of money would do, found by doing it in a transaction that is rolled back.

So a preview can't differ from the deed, and tells what can't be done in the same words.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.back_office import account_mails, approvals
from gateway.control_plane.back_office.moves import Moved, Moves
from gateway.control_plane.back_office.orders import Order, RefundOrder
from gateway.control_plane.mail.messages import Mail
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.payments import payments
from gateway.control_plane.payments.payments import CENT_NANOS
from gateway.storage.database import Database
from gateway.storage.ledger import runway
from gateway.storage.ledger.payments import post
from gateway.storage.ledger.runway import Runway
from gateway.storage.tables import accounts, credit_lots, ledger_entries, total, trail_entries

ENTRIES_SHOWN_MAX = 20
"""Most entries of the ledger that a preview names."""


class EntryLine(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that the ledger will have: added to the organization, taken from an account."""

    kind: str
    amount_nanos: int
    counterpart: str


class MovePreview(msgspec.Struct, frozen=True, kw_only=True):
    """What an order would change."""

    amount_nanos: int
    lines: list[tuple[str, int, int, int]]
    """Accounts of the organization: name, before, change, after."""
    balance: tuple[str, int, int, int]
    entries: list[EntryLine]
    before: Runway
    after: Runway
    moved_today_nanos: int
    waits: bool
    """Whether it needs a second operator."""
    due_at: datetime | None
    """When it is done without one, if nobody else may approve."""
    recipients: list[str]
    mail: Mail | None
    """The mail that the first recipient gets; None if there are no recipients."""
    seen: str
    """Names the state of the account; see `stamp`."""


class _State(NamedTuple):
    promo: int
    paid: int
    owed: int

    @property
    def balance(self) -> int:
        return self.promo + self.paid - self.owed


async def preview(
    database: Database, moves: Moves, operator: Operator, order: Order, reason: str
) -> MovePreview:
    """Tell what an order would do. Raises what the order would raise."""
    operator.must("money")
    organization_id = order.organization_id
    async with database.write() as connection:
        seen = await stamp(connection, organization_id)
        before = await _state(connection, organization_id)
        lasted = await runway.runway(connection, organization_id)
        last = await _last_entry(connection, organization_id)
        async with connection.begin_nested() as attempt:
            moved = await moves.moved(connection, order, reason)
            if isinstance(order, RefundOrder):
                await _take_credit(connection, order, moved)
            after = await _state(connection, organization_id)
            lasts = await runway.runway(connection, organization_id)
            entries = await _entries(connection, organization_id, last)
            await attempt.rollback()
        nanos = moved.amount_nanos
        waits = await approvals.must_wait(connection, operator, nanos, moves.rules)
        return MovePreview(
            amount_nanos=nanos,
            lines=[
                (name, was, now - was, now)
                for name, was, now in (
                    ("Free credit", before.promo, after.promo),
                    ("Paid credit", before.paid, after.paid),
                    ("Owed", before.owed, after.owed),
                )
                if name != "Owed" or was or now
            ],
            balance=(
                "Balance",
                before.balance,
                after.balance - before.balance,
                after.balance,
            ),
            entries=entries,
            before=lasted,
            after=lasts,
            moved_today_nanos=await approvals.moved_today(connection, operator),
            waits=waits,
            due_at=await approvals.due_at(connection, operator) if waits else None,
            recipients=await account_mails.owners(connection, organization_id),
            mail=await moves.mails.example(
                connection, organization_id, account_mails.subject_of(moved.order, nanos)
            ),
            seen=seen,
        )


async def stamp(connection: AsyncConnection, organization_id: str) -> str:
    """Name the state of an account as an operator sees it: all but what usage changes.

    Another stamp means that someone acted on the account, bought, or owes another amount.
    """
    entry, lot = trail_entries.c, credit_lots.c
    number = (
        select(entry.number)
        .where(entry.organization_id == organization_id)
        .order_by(entry.number.desc())
        .limit(1)
    )
    newest = (
        select(lot.id).where(lot.organization_id == organization_id).order_by(lot.id.desc())
    ).limit(1)
    owed = select(accounts.c.owed_nanos).where(accounts.c.id == organization_id)
    found = [await connection.scalar(query) for query in (number, newest, owed)]
    return ".".join(str(one or 0) for one in found)


async def _state(connection: AsyncConnection, organization_id: str) -> _State:
    lot = credit_lots.c
    sums = await connection.execute(
        select(lot.kind, total(lot.remaining_nanos))
        .where(lot.organization_id == organization_id, lot.remaining_nanos > 0)
        .group_by(lot.kind)
    )
    found = {row[0]: int(row[1]) for row in sums}
    owed = await connection.scalar(
        select(accounts.c.owed_nanos).where(accounts.c.id == organization_id)
    )
    return _State(found.get("promo", 0), found.get("paid", 0), int(owed or 0))


async def _take_credit(connection: AsyncConnection, order: RefundOrder, moved: Moved) -> None:
    """Post what the reconciler will once Stripe has paid back: the credit in proportion."""
    payment = await payments.find(connection, order.payment_id)
    back = payment.refunded_cents + payment.disputed_cents + moved.amount_nanos // CENT_NANOS
    kept = max(payment.received_cents - back, 0)
    desired = min(payment.posted_nanos, payment.credit_nanos * kept // payment.received_cents)
    await post(
        connection,
        order.organization_id,
        payment.id,
        credit_nanos=payment.credit_nanos,
        posted_nanos=payment.posted_nanos,
        desired_nanos=desired,
        number=payment.postings + 1,
    )


async def _last_entry(connection: AsyncConnection, organization_id: str) -> int:
    last = select(func.max(ledger_entries.c.id)).where(
        ledger_entries.c.organization_id == organization_id
    )
    return int(await connection.scalar(last) or 0)


async def _entries(
    connection: AsyncConnection, organization_id: str, after: int
) -> list[EntryLine]:
    """Return the entries of the move; usage that it posted on its way is none of it."""
    entry = ledger_entries.c
    found = await connection.execute(
        select(entry.kind, entry.amount_nanos, entry.counterpart)
        .where(entry.organization_id == organization_id, entry.id > after, entry.kind != "usage")
        .order_by(entry.id)
        .limit(ENTRIES_SHOWN_MAX)
    )
    return [EntryLine(**row) for row in found.mappings()]
