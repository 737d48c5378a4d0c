"""Mails about prices that will rise: to the owners of each organization that uses the model.

They are written as soon as the change is set, which is no later than its notice before it applies.
The walk over organizations goes on after a crash where it stood, and a mail is written once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from time import monotonic

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.alerts import walks
from gateway.control_plane.back_office.account_mails import AccountMails, MailedLink
from gateway.control_plane.back_office.price_control import DAYS
from gateway.control_plane.catalog import price_changes
from gateway.control_plane.catalog.price_changes import PriceChange
from gateway.control_plane.mail.messages import Mail
from gateway.dates import moment_text
from gateway.money import money
from gateway.storage.database import Database
from gateway.storage.tables import usage_days

BATCH = 200
TURN_SECONDS = 30.0
"""How long one run goes on; the next continues."""


class PriceMails:
    """Writes them; `tell` is a job."""

    def __init__(self, database: Database, mails: AccountMails) -> None:
        self._database = database
        self._mails = mails

    async def tell(self) -> int:
        """Go on with every rise that not everyone was told; return how many were told now."""
        async with self._database.read() as connection:
            rises = await price_changes.unannounced(connection)
        ends, told = monotonic() + TURN_SECONDS, 0
        for rise in rises:
            told += await self._tell(rise, ends)
        return told

    def example(self, rise: PriceChange, before_nanos: int) -> Mail:
        """Return the mail as an owner gets it."""
        return self._mails.example_of(_subject(rise, before_nanos), _link(rise))

    async def _tell(self, rise: PriceChange, ends: float) -> int:
        name = f"price:{rise.id}"
        walk = await walks.claim(self._database, name)
        if walk is None:
            return 0
        told, after = 0, walk.after
        while monotonic() < ends:
            async with self._database.write() as connection:
                some = await _users(connection, rise, after)
                before = await price_changes.in_force(
                    connection, rise.model_id, rise.tier, rise.effective_at
                )
                subject = _subject(rise, before or 0)
                for organization_id in some:
                    await self._mails.tell(connection, organization_id, subject, name, _link(rise))
                if len(some) < BATCH:
                    await price_changes.announced(connection, rise.id)
            told += len(some)
            if len(some) < BATCH:
                await walks.finish(self._database, walk, again_seconds=None)
                return told
            after = some[-1]
            await walks.advance(self._database, name, after)
        await walks.pause(self._database, name)
        return told


async def _users(connection: AsyncConnection, rise: PriceChange, after: str) -> Sequence[str]:
    """Return the next organizations that used the model lately."""
    used = usage_days.c
    since = rise.created_at.date() - timedelta(days=DAYS)
    query = select(used.organization_id).where(used.model_id == rise.model_id, used.day > since)
    if after:
        query = query.where(used.organization_id > after)
    query = query.distinct().order_by(used.organization_id).limit(BATCH)
    return (await connection.scalars(query)).all()


def _subject(rise: PriceChange, before_nanos: int) -> str:
    tier = " in the flex tier" if rise.tier == "flex" else ""
    return (
        f"The price of {rise.model_id}{tier} rises from {money(before_nanos)} to "
        f"{money(rise.nanos_per_million_tokens)} per million tokens on "
        f"{moment_text(rise.effective_at)}"
    )


def _link(rise: PriceChange) -> MailedLink:
    return MailedLink(f"/models/{rise.model_id}", "See the price")
