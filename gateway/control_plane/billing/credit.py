"""Credit: grants, the balance with its lots, and the ledger's entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from operator import sub
from typing import Any, Literal, NamedTuple, get_args
from uuid import UUID

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.data_plane.metering.port import FreezeCause
from gateway.errors import BadRequest
from gateway.identifiers import new_id
from gateway.storage.ledger import freezes, grants, postings
from gateway.storage.ledger.reading import leased_unspent
from gateway.storage.tables import NANOS_MAX, accounts, credit_lots, ledger_entries, total

_STORED_CAUSES: tuple[freezes.StoredCause, ...] = get_args(freezes.StoredCause)
_WHOLE_DIGITS_MAX = 12
_DECIMALS_MAX = 9
_REF_CHARACTERS_MAX = 200
NEWER_MAX = 5_000
"""Entries that are added up at most, to know the balance after an older one."""
AMOUNT_CHARACTERS_MAX = len("$.") + _WHOLE_DIGITS_MAX + _DECIMALS_MAX


class GrantedOtherwise(BadRequest):
    """The reference was used for a different grant."""

    status = 409
    code = "granted_otherwise"


class Granted(NamedTuple):
    """What was granted under a reference, and to which organization."""

    organization_id: str
    amount_nanos: int
    kind: grants.Kind


class Lot(msgspec.Struct, frozen=True, kw_only=True):
    """Credit from one grant or payment that is not used up."""

    id: str
    kind: Literal["promo", "paid"]
    amount_nanos: int
    remaining_nanos: int
    source_ref: str
    created_at: datetime
    expires_at: datetime | None


class Balance(msgspec.Struct, frozen=True):
    """An organization's credit, and where it came from.

    `available_nanos` is the sum of what the lots have left; the lots are in the order in which they
    are spent. Running gateways hold `reserved_nanos` of it. `owed_nanos` is the part of a reversed
    payment that was already spent, and nothing is available beside it: what gateways hold pays it
    first, as it will when they return it. `frozen_by` is why none of it can be used, the cause to
    tell first; empty as a rule.
    """

    available_nanos: int
    reserved_nanos: int
    owed_nanos: int
    frozen: bool
    frozen_by: list[FreezeCause]
    lots: list[Lot] = msgspec.field(name="grants")


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the ledger.

    `ref` names the lot, the request, or the lease, payment or lot and the number of its posting.
    `reason` is an operator's.
    """

    id: int
    kind: Literal["grant", "usage", "expiry", "reversal", "topup", "takeback"]
    ref: str
    amount_nanos: int
    created_at: datetime
    reason: str | None


async def grant(
    connection: AsyncConnection,
    organization_id: str,
    amount_nanos: int,
    *,
    kind: grants.Kind = "promo",
    source_ref: str | None = None,
    expires_at: datetime | None = None,
) -> bool:
    """Grant credit, once per `source_ref`; return whether it was granted. Raises BadRequest."""
    if not 1 <= amount_nanos <= NANOS_MAX:
        raise BadRequest(f"An amount must be 1 to {NANOS_MAX} nano-dollars.", param="amount")
    return await grants.grant(
        connection,
        organization_id,
        amount_nanos,
        kind=kind,
        source_ref=source_ref or f"operator:{new_id()}",
        expires_at=expires_at,
    )


async def take(
    connection: AsyncConnection,
    organization_id: str,
    lot_id: str,
    amount_nanos: int,
    *,
    reason: str,
    ref: str | None = None,
) -> bool:
    """Take granted credit back from a lot, once per `ref`; return whether it was taken.

    Raises BadRequest, which says what is left of the lot.
    """
    if not 1 <= amount_nanos <= NANOS_MAX:
        raise BadRequest(f"An amount must be 1 to {NANOS_MAX} nano-dollars.", param="amount")
    try:
        lot_id = str(UUID(lot_id))
    except ValueError:
        raise grants.NoSuchLot from None
    if ref is not None and not 0 < len(ref) <= _REF_CHARACTERS_MAX:
        raise BadRequest(f"A reference has 1 to {_REF_CHARACTERS_MAX} characters.", param="ref")
    return await grants.take(
        connection, organization_id, lot_id, amount_nanos, reason=reason, ref=ref
    )


async def granted(connection: AsyncConnection, source_ref: str) -> Granted | None:
    """Return what was granted under a reference, or None."""
    query = select(*(credit_lots.c[name] for name in Granted._fields))
    found = (await connection.execute(query.where(credit_lots.c.source_ref == source_ref))).first()
    return Granted(*found) if found else None


async def balance(connection: AsyncConnection, organization_id: str) -> Balance:
    """Read an existing account, in one statement for a consistent view.

    Usage that is not posted yet is subtracted from the lots, as its posting will, and so is what is
    owed, as the return of what gateways hold will.
    """
    lots = (credit_lots.c.organization_id == accounts.c.id) & (credit_lots.c.remaining_nanos > 0)
    query = (
        select(
            accounts.c.available_nanos,
            accounts.c.leased_nanos,
            accounts.c.owed_nanos,
            leased_unspent().label("reserved"),
            *(freezes.named(cause).label(cause) for cause in _STORED_CAUSES),
            *(credit_lots.c[name].label(f"lot_{name}") for name in Lot.__struct_fields__),
        )
        .join(credit_lots, lots, isouter=True)
        .where(accounts.c.id == organization_id)
        .order_by(*postings.BURNING)
    )
    rows = (await connection.execute(query)).mappings().all()
    account = rows[0]
    reserved: int = account["reserved"]
    held: int = account["available_nanos"] + reserved
    paid = min(account["owed_nanos"], held)
    owed = account["owed_nanos"] - paid
    remaining = [
        Lot(**{name: row[f"lot_{name}"] for name in Lot.__struct_fields__})
        for row in rows
        if row["lot_id"] is not None
    ]
    remaining = _less(remaining, account["leased_nanos"] - reserved, remaining)
    causes = _causes(account, owed)
    return Balance(
        available_nanos=held - paid,
        reserved_nanos=min(reserved, held - paid),
        owed_nanos=owed,
        frozen=bool(causes),
        frozen_by=causes,
        lots=_less(remaining, paid, sorted(remaining, key=_returning)),
    )


def _causes(account: Mapping[Any, Any], owed_nanos: int) -> list[FreezeCause]:
    stored: list[FreezeCause] = [cause for cause in _STORED_CAUSES if account[cause]]
    return [*stored, "owing"] if owed_nanos else stored


def _less(lots: Sequence[Lot], nanos: int, order: Sequence[Lot]) -> list[Lot]:
    """Return what is left of lots when an amount is subtracted in an order."""
    left = {}
    for lot in order:
        part = min(lot.remaining_nanos, nanos)
        nanos -= part
        left[lot.id] = lot.remaining_nanos - part
    return [
        msgspec.structs.replace(lot, remaining_nanos=left[lot.id]) for lot in lots if left[lot.id]
    ]


def _returning(lot: Lot) -> tuple[bool, int]:
    """Order lots as debts are paid from them, like postings.RETURNING."""
    return lot.kind == "promo", -UUID(lot.id).int


async def ledger(
    connection: AsyncConnection, organization_id: str, *, before: int | None = None, limit: int = 50
) -> list[LedgerEntry]:
    """Return a page of entries, newest first; the next page is `before` this one's last id."""
    query = select(*(ledger_entries.c[name] for name in LedgerEntry.__struct_fields__)).where(
        ledger_entries.c.organization_id == organization_id
    )
    if before is not None:
        query = query.where(ledger_entries.c.id < before)
    found = await connection.execute(query.order_by(ledger_entries.c.id.desc()).limit(limit))
    return [LedgerEntry(**row) for row in found.mappings()]


async def balances_after(
    connection: AsyncConnection, organization_id: str, entries: Sequence[LedgerEntry]
) -> list[int] | None:
    """Return the balance after each entry of a page; None too far back to be added up.

    All entries of an account sum to what it has and leases, less what it owes: so the balance after
    an entry is that, less all that is newer.
    """
    if not entries:
        return []
    newer = (
        select(ledger_entries.c.amount_nanos)
        .where(
            ledger_entries.c.organization_id == organization_id,
            ledger_entries.c.id > entries[0].id,
        )
        .order_by(ledger_entries.c.id.desc())
        .limit(NEWER_MAX + 1)
        .cte("newer")
    )
    total_now = accounts.c.available_nanos + accounts.c.leased_nanos - accounts.c.owed_nanos
    after, count = (
        await connection.execute(
            select(
                total_now - select(total(newer.c.amount_nanos)).scalar_subquery(),
                select(func.count()).select_from(newer).scalar_subquery(),
            ).where(accounts.c.id == organization_id)
        )
    ).one()
    if count > NEWER_MAX:
        return None
    before = accumulate((entry.amount_nanos for entry in entries[:-1]), sub, initial=after)
    return list(before)


async def sources(connection: AsyncConnection, lots: Sequence[str]) -> Mapping[str, str]:
    """Return the `source_ref` of lots, by lot id."""
    query = select(credit_lots.c.id, credit_lots.c.source_ref).where(credit_lots.c.id.in_(lots))
    return {row.id: row.source_ref for row in await connection.execute(query)}


def nanos_of_dollars(text: str, *, param: str = "amount") -> int:
    """Parse dollars with up to nine decimals, exactly. Raises BadRequest for `param`."""
    whole, _, fraction = text.strip().removeprefix("$").partition(".")
    digits = whole + fraction
    # Python refuses to parse thousands of digits
    possible = digits.isdecimal() and digits.isascii() and len(whole) <= _WHOLE_DIGITS_MAX
    if not possible or len(fraction) > _DECIMALS_MAX:
        raise BadRequest(
            f"{text[:40]!r} is not an amount: enter dollars with up to nine decimals, like 0.25.",
            param=param,
        )
    nanos = int(whole or "0") * 10**9 + int(fraction.ljust(_DECIMALS_MAX, "0"))
    if nanos > NANOS_MAX:
        raise BadRequest(
            f"{text[:40]!r} is too much: the maximum is ${NANOS_MAX // 10**9:,}.", param=param
        )
    return nanos
