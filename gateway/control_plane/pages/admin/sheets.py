"""The lists of an organization's page: what each of its tabs shows, as a page and as CSV."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts import memberships
from gateway.control_plane.back_office import undoing
from gateway.control_plane.billing import credit
from gateway.control_plane.payments import payments
from gateway.control_plane.payments.payments import Payment
from gateway.identifiers import is_id
from gateway.storage.tables import (
    api_keys,
    credit_lots,
    leases,
    outbox,
    trail_entries,
    users,
    webhook_endpoints,
)
from gateway.storage.tables import memberships as members

_NUMBER_MAX = 2**63 - 1


class SheetColumn(NamedTuple):
    """A column: its name, and how its values are written: money, cents, moment, code or text."""

    name: str
    kind: str = "text"


class SheetRow(msgspec.Struct, frozen=True):
    """A line: its values, the key that the next page continues after, and what to do about it."""

    key: str
    values: list[Any]
    steps: list[tuple[str, str]] = []
    """Words and, after the organization's address, the path of an action."""


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of a tab, the newest first."""

    columns: list[SheetColumn]
    rows: list[SheetRow]


Reader = Callable[[AsyncConnection, str, str, int], Awaitable[Sheet]]
"""Reads the lines of an organization that come after a key; empty: from the newest."""


async def _ledger(connection: AsyncConnection, owner: str, before: str, limit: int) -> Sheet:
    last = int(before) if before.isascii() and before.isdecimal() else None
    last = min(last, _NUMBER_MAX) if last else None
    found = await credit.ledger(connection, owner, before=last, limit=limit)
    return Sheet(
        columns=[
            SheetColumn("When", "moment"),
            SheetColumn("What"),
            SheetColumn("Reference", "code"),
            SheetColumn("Why"),
            SheetColumn("Amount", "money"),
        ],
        rows=[
            SheetRow(
                str(e.id),
                [e.created_at, e.kind, e.ref, e.reason or "", e.amount_nanos],
                [("Undo", f"undo?entry={e.id}")] if e.kind in undoing.UNDONE else [],
            )
            for e in found
        ],
    )


async def _lots(connection: AsyncConnection, owner: str, before: str, limit: int) -> Sheet:
    lot = credit_lots.c
    query = select(credit_lots).where(lot.organization_id == owner)
    rows = await connection.execute(_page(query, lot.id, before, limit))
    return Sheet(
        columns=[
            SheetColumn("Grant", "code"),
            SheetColumn("Kind"),
            SheetColumn("From", "code"),
            SheetColumn("Since", "moment"),
            SheetColumn("Expires", "moment"),
            SheetColumn("Amount", "money"),
            SheetColumn("Left", "money"),
        ],
        rows=[
            SheetRow(
                row.id,
                [row.id, row.kind, row.source_ref, row.created_at, row.expires_at,
                 row.amount_nanos, row.remaining_nanos],
                [("Take back", f"take?lot={row.id}")] if _is_granted(row) else [],
            )
            for row in rows
        ],
    )  # fmt: skip


async def _holds(connection: AsyncConnection, owner: str, before: str, limit: int) -> Sheet:
    lease = leases.c
    query = select(leases).where(lease.account_id == owner, lease.state == "open")
    rows = await connection.execute(_page(query, lease.id, before, limit))
    return Sheet(
        columns=[
            SheetColumn("Lease", "code"),
            SheetColumn("Process", "code"),
            SheetColumn("Since", "moment"),
            SheetColumn("Expires", "moment"),
            SheetColumn("Held", "money"),
            SheetColumn("Spent of it", "money"),
        ],
        rows=[
            SheetRow(
                row.id,
                [row.id, row.replica_id, row.opened_at, row.expires_at,
                 row.granted_nanos - row.posted_nanos, row.spent_nanos - row.posted_nanos],
            )
            for row in rows
        ],
    )  # fmt: skip


async def _keys(connection: AsyncConnection, owner: str, before: str, limit: int) -> Sheet:
    key = api_keys.c
    query = (
        select(api_keys, users.c.email)
        .join(users, users.c.id == key.created_by, isouter=True)
        .where(key.organization_id == owner)
    )
    rows = await connection.execute(_page(query, key.id, before, limit))
    return Sheet(
        columns=[
            SheetColumn("Name"),
            SheetColumn("Key", "code"),
            SheetColumn("Made", "moment"),
            SheetColumn("By"),
            SheetColumn("Expires", "moment"),
            SheetColumn("Revoked", "moment"),
        ],
        rows=[
            SheetRow(
                row.id,
                [row.name, f"…{row.last_four}", row.created_at, row.email or "",
                 row.expires_at, row.revoked_at],
                [("Limit", f"budget?target={row.id}"), ("Revoke", f"revoke?target={row.id}")]
                if row.revoked_at is None
                else [],
            )
            for row in rows
        ],
    )  # fmt: skip


async def _members(connection: AsyncConnection, owner: str, before: str, _limit: int) -> Sheet:
    # an organization has few: one page
    found = [] if before else await memberships.listed(connection, owner)
    return Sheet(
        columns=[SheetColumn("Mail"), SheetColumn("Role"), SheetColumn("Since", "moment")],
        rows=[SheetRow(one.user_id, [one.email, one.role, one.created_at]) for one in found],
    )


async def _payments(connection: AsyncConnection, owner: str, before: str, limit: int) -> Sheet:
    found = await payments.history(connection, owner, before or None, limit)
    return Sheet(
        columns=[
            SheetColumn("Payment", "code"),
            SheetColumn("When", "moment"),
            SheetColumn("By"),
            SheetColumn("State"),
            SheetColumn("Received", "cents"),
            SheetColumn("Back", "cents"),
            SheetColumn("Credit", "money"),
            SheetColumn("Look"),
        ],
        rows=[
            SheetRow(
                one.id,
                [one.id, one.created_at, one.origin, one.state, one.received_cents,
                 one.refunded_cents + one.disputed_cents, one.posted_nanos, one.attention],
                _payment_steps(one),
            )
            for one in found
        ],
    )  # fmt: skip


async def _mails(connection: AsyncConnection, owner: str, before: str, limit: int) -> Sheet:
    mail = outbox.c
    people = (
        select(users.c.email)
        .join(members, members.c.user_id == users.c.id)
        .where(members.c.organization_id == owner)
    )
    query = select(mail.id, mail.kind, mail.recipient, mail.subject, mail.state, mail.reason,
                   mail.created_at).where(mail.recipient.in_(people))  # fmt: skip
    rows = await connection.execute(_page(query, mail.id, before, limit))
    return Sheet(
        columns=[
            SheetColumn("When", "moment"),
            SheetColumn("Kind"),
            SheetColumn("To"),
            SheetColumn("Subject"),
            SheetColumn("State"),
            SheetColumn("Why"),
        ],
        rows=[
            SheetRow(
                row.id,
                [row.created_at, row.kind, row.recipient, row.subject, row.state, row.reason],
                [("Send again", f"resend?target={row.id}")] if row.state == "failed" else [],
            )
            for row in rows
        ],
    )


async def _webhooks(connection: AsyncConnection, owner: str, before: str, limit: int) -> Sheet:
    hook = webhook_endpoints.c
    query = select(hook.id, hook.url, hook.created_at, hook.disabled_at, hook.disabled_reason,
                   hook.failing_since).where(hook.organization_id == owner)  # fmt: skip
    rows = await connection.execute(_page(query, hook.id, before, limit))
    return Sheet(
        columns=[
            SheetColumn("Address", "code"),
            SheetColumn("Since", "moment"),
            SheetColumn("Failing since", "moment"),
            SheetColumn("Disabled", "moment"),
            SheetColumn("Why"),
        ],
        rows=[
            SheetRow(
                row.id,
                [row.url, row.created_at, row.failing_since, row.disabled_at, row.disabled_reason],
            )
            for row in rows
        ],
    )


async def _trail(connection: AsyncConnection, owner: str, before: str, limit: int) -> Sheet:
    entry = trail_entries.c
    query = (
        select(trail_entries, users.c.email)
        .join(users, users.c.id == entry.actor_id, isouter=True)
        .where(entry.organization_id == owner)
    )
    if before.isascii() and before.isdecimal():
        query = query.where(entry.number < min(int(before), _NUMBER_MAX))
    rows = await connection.execute(query.order_by(entry.number.desc()).limit(limit))
    return Sheet(
        columns=[
            SheetColumn("When", "moment"),
            SheetColumn("Who"),
            SheetColumn("What"),
            SheetColumn("On", "code"),
            SheetColumn("Before", "code"),
            SheetColumn("After", "code"),
        ],
        rows=[
            SheetRow(
                str(row.number),
                [row.created_at, row.email or row.actor_kind, row.action, row.subject,
                 row.before, row.after],
            )
            for row in rows
        ],
    )  # fmt: skip


def _page(query: Select[Any], key: ColumnElement[str], before: str, limit: int) -> Select[Any]:
    if is_id(before):
        query = query.where(key < before)
    return query.order_by(key.desc()).limit(limit)


def _payment_steps(payment: Payment) -> list[tuple[str, str]]:
    steps = [("Refund", f"refund?payment={payment.id}")] if payment.state == "paid" else []
    if payment.attention:
        steps.append(("Seen", f"seen?target={payment.id}"))
    steps.append(("Read from Stripe", f"reconcile?target={payment.id}"))
    if payment.is_unfinished or payment.disputed_cents or payment.attention:
        steps.append(("Give up", f"abandon?target={payment.id}"))
    return steps


def _is_granted(lot: Any) -> bool:
    return bool(lot.remaining_nanos) and not lot.source_ref.startswith("payment:")


SHEETS: Mapping[str, tuple[str, Reader]] = {
    "lots": ("Grants", _lots),
    "ledger": ("Ledger", _ledger),
    "holds": ("Holds", _holds),
    "keys": ("Keys", _keys),
    "members": ("Members", _members),
    "payments": ("Payments", _payments),
    "mails": ("Mails", _mails),
    "webhooks": ("Webhooks", _webhooks),
    "trail": ("Trail", _trail),
}
"""The tabs that are lists, by the end of their address."""
