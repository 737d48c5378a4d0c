"""How much a model is wanted, for us: votes weighed by who stands behind them, part by part.

The public number stays the plain count of verified votes; this one decides nothing by itself.

What became of a launch: of those who were told, who came, and who paid.

Who was told is written down with the mails, and what came of it is read from sums and a ledger
that are never rewritten; so a vote that is withdrawn afterwards changes nothing here.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Literal

import msgspec
from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.ledger import reading
from gateway.storage.tables import (
    credit_lots,
    demand_votes,
    launch_organizations,
    launches,
    memberships,
    total,
    usage_hours,
)

Kind = Literal["verified", "organization_domain", "calling", "paying"]

WEIGHTS: dict[Kind, float] = {
    "verified": 1.0,
    "organization_domain": 1.5,
    "calling": 2.0,
    "paying": 4.0,
}
VOLUME_CAP_MILLIONS = 100_000
"""A vote that claims more counts as this much: a claim costs nothing."""

_MAILBOX_PROVIDERS = frozenset(
    [
        "gmail.com",
        "outlook.com",
        "hotmail.com",
        "live.com",
        "yahoo.com",
        "icloud.com",
        "me.com",
        "proton.me",
        "protonmail.com",
        "gmx.de",
        "gmx.net",
        "web.de",
        "aol.com",
        "mail.com",
        "yandex.ru",
        "qq.com",
        "163.com",
    ]
)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """The votes of one kind of voter, and what they add."""

    kind: Kind
    votes: int
    score: float


async def parts(connection: AsyncConnection, model_id: str) -> list[Part]:
    """Return the score of a model in its parts; their sum is the score."""
    mine = memberships.c.user_id == demand_votes.c.user_id
    calling = exists().where(mine, usage_hours.c.organization_id == memberships.c.organization_id)
    paying = exists().where(
        mine,
        credit_lots.c.organization_id == memberships.c.organization_id,
        credit_lots.c.kind == "paid",
    )
    found = await connection.execute(
        select(
            demand_votes.c.voter_key,
            demand_votes.c.volume_million_tokens,
            calling.label("calling"),
            paying.label("paying"),
        ).where(demand_votes.c.model_id == model_id)
    )
    sums: dict[Kind, list[float]] = {kind: [] for kind in WEIGHTS}
    for row in found:
        kind = _kind(row.voter_key, calling=row.calling, paying=row.paying)
        sums[kind].append(weigh(kind, row.volume_million_tokens))
    return [Part(kind=kind, votes=len(s), score=math.fsum(s)) for kind, s in sums.items()]


def weigh(kind: Kind, volume_million_tokens: int | None) -> float:
    """Return what one vote adds; one without a volume counts as a million tokens."""
    volume = min(volume_million_tokens or 1, VOLUME_CAP_MILLIONS)
    return WEIGHTS[kind] * math.log10(1 + volume)


def _kind(voter_key: str, *, calling: bool, paying: bool) -> Kind:
    if paying:
        return "paying"
    if calling:
        return "calling"
    domain = voter_key.rpartition("@")[2]
    return "verified" if domain in _MAILBOX_PROVIDERS else "organization_domain"


_DAYS = 30


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """The funnel from the launch on, over its first 30 days."""

    recipients: int
    organizations_told: int
    organizations_calling: int
    organizations_paying: int
    """Those who called the model and burnt credit that they had bought."""
    tokens_30_days: int
    credit: dict[str, int]
    """How many organizations got the launch credit, and why others did not."""


async def of_launch(connection: AsyncConnection, model_id: str) -> Conversion | None:
    """Return what became of a launch; None before there was one."""
    launch = (
        await connection.execute(select(launches).where(launches.c.model_id == model_id))
    ).one_or_none()
    if launch is None:
        return None
    told = select(launch_organizations.c.organization_id).where(
        launch_organizations.c.model_id == model_id, launch_organizations.c.told_at.is_not(None)
    )
    until = launch.launched_at + timedelta(days=_DAYS)
    used = await connection.execute(
        select(usage_hours.c.organization_id, total(usage_hours.c.tokens))
        .where(
            usage_hours.c.model_id == model_id,
            usage_hours.c.organization_id.in_(told),
            usage_hours.c.hour > launch.launched_at - timedelta(hours=1),
            usage_hours.c.hour < until,
        )
        .group_by(usage_hours.c.organization_id)
    )
    tokens = {row[0]: row[1] for row in used}
    paying = await reading.spenders(connection, told, since=launch.launched_at, until=until)
    reasons = await connection.execute(
        select(launch_organizations.c.credit, func.count())
        .where(launch_organizations.c.model_id == model_id)
        .group_by(launch_organizations.c.credit)
    )
    return Conversion(
        recipients=launch.recipients or 0,
        organizations_told=len((await connection.scalars(told)).all()),
        organizations_calling=len(tokens),
        organizations_paying=len(paying & tokens.keys()),
        tokens_30_days=sum(tokens.values()),
        credit={row[0]: row[1] for row in reasons},
    )
