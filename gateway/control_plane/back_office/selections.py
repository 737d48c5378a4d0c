"""What lines are that were selected for a bulk action, in words, and which can't be acted on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.demand import vote_lists
from gateway.control_plane.mail import upkeep
from gateway.dates import day_text
from gateway.identifiers import is_id
from gateway.money import money
from gateway.storage import tables
from gateway.storage.tables import api_keys, organizations, stripe_events


class SelectedLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line: what it is, whose, and why nothing will be done to it, if so."""

    id: str
    words: str
    of: str
    problem: str = ""


Describe = Callable[[AsyncConnection, Sequence[str]], Awaitable[list[SelectedLine]]]
"""Describes the lines of some ids; those that are not there are left out."""


async def keys(connection: AsyncConnection, ids: Sequence[str]) -> list[SelectedLine]:
    """Describe keys that are to be revoked."""
    found = await connection.execute(
        select(api_keys, organizations.c.name.label("owner"))
        .join(organizations, organizations.c.id == api_keys.c.organization_id)
        .where(api_keys.c.id.in_(_ids(ids)))
        .order_by(api_keys.c.id)
    )
    return [
        SelectedLine(
            id=row.id,
            words=f"{row.name}, sk-…{row.last_four}",
            of=row.owner,
            problem="It is already revoked." if row.revoked_at else "",
        )
        for row in found
    ]


async def payments(connection: AsyncConnection, ids: Sequence[str]) -> list[SelectedLine]:
    """Describe payments that are read again, seen, or given up."""
    found = await connection.execute(
        select(tables.payments, organizations.c.name.label("owner"))
        .join(organizations, organizations.c.id == tables.payments.c.organization_id)
        .where(tables.payments.c.id.in_(_ids(ids)))
        .order_by(tables.payments.c.id)
    )
    return [
        SelectedLine(
            id=row.id,
            words=f"{money(row.credit_nanos)} of {day_text(row.created_at)}, {row.state}",
            of=row.owner,
        )
        for row in found
    ]


async def mails(connection: AsyncConnection, ids: Sequence[str]) -> list[SelectedLine]:
    """Describe mails that are to be sent again."""
    lines = []
    for mail in await upkeep.named(connection, _ids(ids)):
        why = mail.why_not or ("it may have arrived" if mail.state == "unknown" else "")
        lines.append(
            SelectedLine(
                id=mail.id,
                words=mail.subject,
                of=mail.recipient,
                problem=f"{why[:1].upper()}{why[1:]}." if why else "",
            )
        )
    return lines


async def votes(
    connection: AsyncConnection, ids: Sequence[str], *, aside: bool
) -> list[SelectedLine]:
    """Describe votes that are to be set aside, or to count again."""
    wrong = "It is already set aside." if aside else "It already counts."
    return [
        SelectedLine(
            id=vote.id,
            words=vote.model_id,
            of=vote.email or "a deleted account",
            problem=wrong if (vote.set_aside_at is not None) == aside else "",
        )
        for vote in await vote_lists.named(connection, _ids(ids))
    ]


async def events(connection: AsyncConnection, ids: Sequence[str]) -> list[SelectedLine]:
    """Describe Stripe's events that are to be replayed."""
    found = await connection.execute(
        select(stripe_events).where(stripe_events.c.id.in_(ids)).order_by(stripe_events.c.id)
    )
    return [SelectedLine(id=row.id, words=row.type, of=row.object_id) for row in found]


def _ids(ids: Sequence[str]) -> list[str]:
    return [one for one in ids if is_id(one)]
