"""Preferences of an organization: when its balance is low, and what its owners get mails about."""

from __future__ import annotations

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.alerts.notices import OPTIONAL
from gateway.errors import BadRequest
from gateway.storage.database import insert_into
from gateway.storage.tables import NANOS_MAX, alert_preferences


class AlertPreferences(msgspec.Struct, frozen=True, kw_only=True):
    """What an organization is told. The default is what it is told without choosing."""

    low_nanos: int | None = None
    """Below this balance it is low; None: below a week of use at the present rate."""
    mails: tuple[str, ...] = OPTIONAL
    """The types of which owners get a mail. A type that comes with a new version is one of them."""


class Preferences:
    """Reads and saves preferences, in the caller's transaction."""

    async def read(self, connection: AsyncConnection, organization_id: str) -> AlertPreferences:
        """Return an organization's preferences."""
        query = select(alert_preferences.c.low_nanos, alert_preferences.c.mails_off).where(
            alert_preferences.c.organization_id == organization_id
        )
        row = (await connection.execute(query)).one_or_none()
        if row is None:
            return AlertPreferences()
        off = row.mails_off.split()
        return AlertPreferences(
            low_nanos=row.low_nanos, mails=tuple(kind for kind in OPTIONAL if kind not in off)
        )

    async def save(
        self, connection: AsyncConnection, organization_id: str, wanted: AlertPreferences
    ) -> None:
        """Replace them; a balance that is low by the new rule is told soon. Raises BadRequest."""
        if set(wanted.mails) - set(OPTIONAL):
            raise BadRequest(f"The types of emails are: {', '.join(OPTIONAL)}.", param="mails")
        if wanted.low_nanos is not None and not 1 <= wanted.low_nanos <= NANOS_MAX:
            raise BadRequest(
                f"A limit must be above zero and at most ${NANOS_MAX // 10**9:,}.",
                param="low_nanos",
            )
        values = {
            "low_nanos": wanted.low_nanos,
            "mails_off": " ".join(kind for kind in OPTIONAL if kind not in wanted.mails),
            "changed_at": wall.now(),
        }
        await connection.execute(
            insert_into(connection, alert_preferences)
            .values(organization_id=organization_id, **values)
            .on_conflict_do_update(index_elements=["organization_id"], set_=values)
        )
