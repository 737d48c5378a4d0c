"""Credit: accounts opened, lots granted and taken back, lots expired."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.data_plane.metering.messages import UsageLine
from gateway.errors import BadRequest
from gateway.identifiers import new_id
from gateway.money import money
from gateway.storage.database import Database, insert_into, refuses
from gateway.storage.ledger import freezes, postings, prints, sums
from gateway.storage.tables import accounts, credit_lots, ledger_entries, usage_events

Kind = Literal["promo", "paid"]

_COUNTERPARTS = {"promo": "promo_expense", "paid": "manual_adjustments"}
_NOTHING_USED = {"leased_nanos": 0, "owed_nanos": 0, "spent_nanos": 0}
_EXPIRE_AT_ONCE = 500
_EXPIRY_GRACE = timedelta(seconds=10)
"""How late usage of a lot's last moments may reach the ledger and still burn that lot."""


class NoSuchLot(BadRequest):
    """The organization has no such lot of credit."""

    def __init__(self) -> None:
        super().__init__("The organization has no grant with this id.", param="lot")


class LotWasBought(BadRequest):
    """The credit was bought, so it goes back together with its money."""

    def __init__(self) -> None:
        super().__init__(
            "This credit was bought, so it goes back with its money: use `gateway billing refund`.",
            param="lot",
        )


class LotHasLess(BadRequest):
    """Less is left of the lot than is to be taken."""

    def __init__(self, left_nanos: int) -> None:
        super().__init__(
            f"{money(left_nanos)} is left of this grant; nothing was taken.", param="amount"
        )


class TakenOtherwise(BadRequest):
    """The reference was already used to take a different amount from this lot."""

    status = 409
    code = "taken_otherwise"

    def __init__(self, taken_nanos: int) -> None:
        super().__init__(
            f"This reference took {money(taken_nanos)} of the grant before; nothing was taken now.",
            param="ref",
        )


async def open_account(connection: AsyncConnection, organization_id: str) -> None:
    """Open the account of a new organization, empty."""
    await connection.execute(
        insert(accounts).values(
            id=organization_id, organization_id=organization_id, available_nanos=0, **_NOTHING_USED
        )
    )


async def open_budget(
    connection: AsyncConnection,
    account_id: str,
    organization_id: str,
    key_id: str,
    period: str,
    limit_nanos: int,
) -> None:
    """Open the account of a key's budget for a period, with all of its limit, unless it is open."""
    await connection.execute(
        insert_into(connection, accounts)
        .values(
            id=account_id,
            organization_id=organization_id,
            key_id=key_id,
            period=period,
            limit_nanos=limit_nanos,
            available_nanos=limit_nanos,
            **_NOTHING_USED,
        )
        .on_conflict_do_nothing()
    )


async def grant(
    connection: AsyncConnection,
    organization_id: str,
    amount_nanos: int,
    *,
    kind: Kind,
    source_ref: str,
    expires_at: datetime | None = None,
) -> bool:
    """Add a lot of credit, once for each `source_ref`; return whether it was added now.

    It pays what the organization owes first. What is paid through Stripe is posted by payments.py.
    """
    now = wall.now()
    lot_id = new_id()
    account = await postings.lock_account(connection, organization_id)
    assert account is not None, "an organization is created with its account"
    owed = min(account.owed_nanos, amount_nanos)
    added = await connection.scalar(
        insert_into(connection, credit_lots)
        .values(
            id=lot_id,
            organization_id=organization_id,
            kind=kind,
            amount_nanos=amount_nanos,
            remaining_nanos=amount_nanos - owed,
            burned_nanos=owed,
            source_ref=source_ref,
            created_at=now,
            expires_at=expires_at,
        )
        .on_conflict_do_nothing(index_elements=["source_ref"])
        .returning(credit_lots.c.id)
    )
    if added is None:
        return False
    await postings.pay_in(connection, organization_id, amount_nanos)
    counterpart = _COUNTERPARTS[kind]
    await postings.enter(
        connection, organization_id, "grant", lot_id, amount_nanos, counterpart, now
    )
    return True


async def credit_back(database: Database, line: UsageLine) -> int:
    """Grant what a request was charged, once; see `Ledger.credit_back`.

    The usage row stays, as does what a budget of its key counts: this is new credit. Nothing is
    granted if an identical request was free because this one was charged: its client got a
    response.
    """
    query = select(usage_events.c.charged_nanos).where(
        usage_events.c.request_id == line.request_id,
        usage_events.c.organization_id == line.organization_id,
    )
    try:
        async with database.write() as connection:
            charged: int = await connection.scalar(query) or 0
            if not charged or not await prints.take_back(connection, line):
                return 0
            await grant(
                connection,
                line.organization_id,
                charged,
                kind="promo",
                source_ref=f"request:{line.request_id}",
            )
    except (AssertionError, SQLAlchemyError, OSError) as error:
        raise freezes.ledger_error(error) from error
    return charged


async def take(
    connection: AsyncConnection,
    organization_id: str,
    lot_id: str,
    amount_nanos: int,
    *,
    reason: str,
    ref: str | None = None,
) -> bool:
    """Take credit back from a granted lot, against the account that the grant was booked to.

    What processes hold of it is owed until they return it. Returns False if the same `ref` already
    took the same amount from this lot. Raises LotHasLess, NoSuchLot, LotWasBought or
    TakenOtherwise; then nothing is taken.
    """
    assert amount_nanos > 0
    now = await postings.database_now(connection)
    leases_held = await postings.lock_open_leases(connection, organization_id)
    await postings.lock_account(connection, organization_id)
    for lease_id in leases_held:  # what they have spent burns lots first
        await postings.post(connection, lease_id, now)
    lot = credit_lots.c
    left = await connection.scalar(
        select(lot.remaining_nanos).where(lot.id == lot_id, lot.organization_id == organization_id)
    )
    if left is None:
        raise NoSuchLot
    entry = ledger_entries.c
    counterpart = await connection.scalar(
        select(entry.counterpart).where(entry.kind == "grant", entry.ref == lot_id)
    )
    if counterpart is None:
        if not await sums.is_opened(connection, "lot", lot_id):
            raise LotWasBought
        counterpart = "manual_adjustments"  # bought in the deployment that it came from
    if ref is not None and await _is_taken(connection, f"{lot_id}:ref:{ref}", amount_nanos):
        return False
    if left < amount_nanos:
        raise LotHasLess(left)
    before = await connection.scalar(
        select(func.count()).where(
            entry.organization_id == organization_id,
            entry.kind == "takeback",
            entry.ref.startswith(f"{lot_id}:"),
        )
    )
    taken = await postings.take_out(connection, organization_id, amount_nanos, now)
    if taken:
        order = (lot.id != lot_id, *postings.RETURNING)
        await postings.burn(connection, organization_id, taken, order=order)
    await postings.enter(
        connection,
        organization_id,
        "takeback",
        f"{lot_id}:ref:{ref}" if ref is not None else f"{lot_id}:{(before or 0) + 1}",
        -amount_nanos,
        counterpart,
        now,
        reason,
    )
    return True


async def _is_taken(connection: AsyncConnection, ref: str, amount_nanos: int) -> bool:
    """Tell whether an entry took this amount before. Raises TakenOtherwise for another amount."""
    entry = ledger_entries.c
    before = await connection.scalar(
        select(entry.amount_nanos).where(entry.kind == "takeback", entry.ref == ref)
    )
    if before is not None and before != -amount_nanos:
        raise TakenOtherwise(-before)
    return before is not None


async def expire(database: Database, at: datetime | None = None) -> int:
    """Take back what is left of the lots that have expired; return how many.

    What leases have spent is posted first, so that it burns the lot. Where leases hold some of the
    rest, it is recalled and the lot waits for the next run. Each organization is its own
    transaction, to lock in the ledger's order; one whose books don't agree is frozen, and doesn't
    hold up the others.
    """
    async with database.read() as connection:
        now = at or await postings.database_now(connection)
        overdue = await connection.execute(
            select(credit_lots.c.organization_id, credit_lots.c.id)
            .where(
                credit_lots.c.expires_at < now - _EXPIRY_GRACE, credit_lots.c.remaining_nanos > 0
            )
            .order_by(credit_lots.c.organization_id, credit_lots.c.id)
            .limit(_EXPIRE_AT_ONCE)
        )
        lots: dict[str, list[str]] = {}
        for organization_id, lot_id in overdue.all():
            lots.setdefault(organization_id, []).append(lot_id)
    expired = 0
    for organization_id, lot_ids in lots.items():
        try:
            async with database.write() as connection:
                expired += await _expire_all(connection, organization_id, lot_ids, now)
        except (SQLAlchemyError, AssertionError) as error:
            if not refuses(error):
                raise
            reason = f"its lots can't be expired: {error}"
            await freezes.freeze_refused(database, organization_id, reason)
    return expired


async def _expire_all(
    connection: AsyncConnection, organization_id: str, lot_ids: Sequence[str], now: datetime
) -> int:
    for lease_id in await postings.lock_open_leases(connection, organization_id):
        await postings.lock_account(connection, organization_id)
        await postings.post(connection, lease_id, now)
    expired = 0
    for lot_id in lot_ids:
        expired += await _expire(connection, lot_id, organization_id, now)
    return expired


async def _expire(
    connection: AsyncConnection, lot_id: str, organization_id: str, now: datetime
) -> bool:
    account = await postings.lock_account(connection, organization_id)
    assert account is not None
    left = await connection.scalar(
        select(credit_lots.c.remaining_nanos).where(credit_lots.c.id == lot_id)
    )
    if not left:
        return False
    if account.available_nanos < left:
        await postings.recall(connection, organization_id, now)
        return False
    await postings.move(connection, organization_id, available=-left)
    await connection.execute(
        update(credit_lots).where(credit_lots.c.id == lot_id).values(postings.burning(left))
    )
    await postings.enter(connection, organization_id, "expiry", lot_id, -left, "breakage", now)
    return True
