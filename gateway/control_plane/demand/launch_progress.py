"""What a launch would do, and a launch's progress: for the operator who decides about it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.catalog import golden
from gateway.control_plane.demand.launch_mails import LaunchTerms, Recipient, mail_ref, people_of
from gateway.control_plane.workers import commands
from gateway.snapshots import WorkerState
from gateway.storage.tables import launches, models, outbox, promotion_days, set_aside_votes

SHOWN_MAX = 20
"""Most recipients that a preview names."""


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """What a launch needs, and what is in place."""

    state: str | None
    """Of the model; None: the catalog does not have it."""
    ready: list[str]
    """Revisions that ready workers serve."""
    pinned: list[str]
    """Revisions that have golden vectors."""

    @property
    def vouched(self) -> bool:
        """Whether a ready worker's revision has golden vectors."""
        return not set(self.ready).isdisjoint(self.pinned)

    @property
    def is_met(self) -> bool:
        """Whether the model can go live."""
        return self.state == "coming_soon" and self.vouched


class Audience(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a launch would email, and what it would give away."""

    recipients: int
    unsubscribed: int
    """People who asked, and want no mail."""
    set_aside: int
    organizations: int
    credit_nanos: int
    """Most that it would give away."""
    budget_left_nanos: int
    """What is left of today's budget of promotions."""
    waves: int
    seconds: float
    """From the first wave to the last."""
    some: list[Recipient]


class LaunchRow(msgspec.Struct, frozen=True, kw_only=True):
    """A launch."""

    model_id: str
    launched_at: datetime
    began_at: datetime | None
    announced_at: datetime | None
    paused_at: datetime | None
    recipients: int | None

    @property
    def state(self) -> str:
        """Where it is: paused, mailing or done."""
        if self.paused_at is not None:
            return "paused"
        return "done" if self.announced_at is not None else "mailing"


class MailCounts(msgspec.Struct, frozen=True, kw_only=True):
    """A launch's mails by what became of them."""

    sent: int = 0
    waiting: int = 0
    failed: int = 0
    unknown: int = 0
    """Handed over when the process ended: it may have arrived."""
    next_at: datetime | None = None
    last_at: datetime | None = None
    """When the waiting ones are due."""


async def readiness(connection: AsyncConnection, model_id: str) -> Readiness:
    """Return which of a launch's requirements are met."""
    state = await connection.scalar(select(models.c.state).where(models.c.id == model_id))
    return Readiness(
        state=state,
        ready=sorted(await ready_revisions(connection, model_id)),
        pinned=sorted(await golden.revisions(connection, model_id)),
    )


async def ready_revisions(connection: AsyncConnection, model_id: str) -> Collection[str]:
    """Return the revisions that ready workers of a model serve."""
    return {
        report.worker.revision
        for report in await commands.reports(connection)
        if report.model == model_id and report.worker.state is WorkerState.READY
    }


async def ready_models(connection: AsyncConnection) -> set[str]:
    """Return the models that have a ready worker."""
    return {
        report.model
        for report in await commands.reports(connection)
        if report.worker.state is WorkerState.READY
    }


async def audience(
    connection: AsyncConnection, model_id: str, terms: LaunchTerms, today: str
) -> Audience:
    """Return whom a launch would mail. `today` names the day of the budget, as 2026-11-29."""
    reachable = people_of(model_id, reachable=True)
    everyone = people_of(model_id, reachable=False)
    granted = select(promotion_days.c.granted_nanos).where(promotion_days.c.day == today)
    aside = select(func.count()).where(set_aside_votes.c.model_id == model_id)
    found = await connection.execute(
        select(
            func.count().label("asked"),
            func.count(everyone.c.organization_id.distinct()).label("organizations"),
            select(func.count()).select_from(reachable).scalar_subquery().label("recipients"),
            aside.scalar_subquery().label("set_aside"),
            granted.scalar_subquery().label("granted_nanos"),
        ).select_from(everyone)
    )
    sums = found.one()
    recipients = sums.recipients
    some = await connection.execute(select(reachable).order_by(reachable.c.key).limit(SHOWN_MAX))
    waves = -(-recipients // terms.wave_mails)
    return Audience(
        recipients=recipients,
        unsubscribed=sums.asked - recipients,
        set_aside=sums.set_aside,
        organizations=sums.organizations,
        credit_nanos=sums.organizations * terms.gift.nanos,
        budget_left_nanos=max(0, terms.gift.day_nanos - (sums.granted_nanos or 0)),
        waves=waves,
        seconds=max(0, waves - 1) * terms.wave_seconds,
        some=[
            Recipient(address_key=row.key, email=row.email, organization_id=row.organization_id)
            for row in some
        ],
    )


async def listed(connection: AsyncConnection, limit: int) -> list[LaunchRow]:
    """Return the newest launches."""
    query = _launch().order_by(launches.c.launched_at.desc()).limit(limit)
    return [LaunchRow(**row) for row in (await connection.execute(query)).mappings()]


async def of_model(connection: AsyncConnection, model_id: str) -> LaunchRow | None:
    """Return a model's launch, or None."""
    found = await connection.execute(_launch().where(launches.c.model_id == model_id))
    row = found.mappings().one_or_none()
    return LaunchRow(**row) if row else None


async def mail_counts(connection: AsyncConnection, model_id: str) -> MailCounts:
    """Count a launch's mails."""
    found = await connection.execute(
        select(
            outbox.c.state,
            func.count().label("mails"),
            func.min(outbox.c.due_at, type_=outbox.c.due_at.type).label("first"),
            func.max(outbox.c.due_at, type_=outbox.c.due_at.type).label("last"),
        )
        .where(
            outbox.c.kind == "launch",
            outbox.c.ref.startswith(mail_ref(model_id, ""), autoescape=True),
        )
        .group_by(outbox.c.state)
    )
    rows = {row.state: row for row in found}
    counts = {state: row.mails for state, row in rows.items()}
    waiting = rows.get("pending")
    return MailCounts(
        sent=counts.get("sent", 0),
        waiting=counts.get("pending", 0) + counts.get("sending", 0),
        failed=counts.get("failed", 0),
        unknown=counts.get("unknown", 0),
        next_at=waiting.first if waiting else None,
        last_at=waiting.last if waiting else None,
    )


def _launch() -> Select[Any]:
    return select(*(launches.c[name] for name in LaunchRow.__struct_fields__))
