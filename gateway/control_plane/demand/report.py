"""What operators see of a model's demand: its score, and the results of its launch.

The score weighs votes by who cast them. The public number stays the plain count of verified votes,
and the score decides nothing by itself.

The conversion says which of the organizations that were notified of a launch used the model, and
which paid. Who was notified is stored with the emails, and the rest is read from usage sums and the
ledger, which are never rewritten; a vote withdrawn later changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import msgspec
from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.addresses import MAILBOX_PROVIDERS
from gateway.control_plane.demand.counts import is_counted
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

VoterKind = Literal["verified", "organization_domain", "calling", "paying"]

WEIGHTS: dict[VoterKind, float] = {
    "verified": 1.0,
    "organization_domain": 1.5,
    "calling": 2.0,
    "paying": 4.0,
}
VOLUME_CAP_MILLIONS = 100_000
"""Votes that claim a higher volume count as this much: claims cost nothing."""

_CONVERSION_DAYS = 30


class ScorePart(msgspec.Struct, frozen=True, kw_only=True):
    """The votes of one kind of voter, and what they add to the score."""

    kind: VoterKind
    votes: int
    score: float


class WeighedVote(NamedTuple):
    """A vote, as the score sees it."""

    kind: VoterKind
    domain: str
    volume_million_tokens: int | None
    price_max_nanos: int | None
    created_at: datetime


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """The results of a launch in its first 30 days."""

    recipients: int
    organizations_told: int
    organizations_calling: int
    organizations_paying: int
    """Those that called the model and spent credit that they had bought."""
    tokens_30_days: int
    credit: dict[str, int]
    """Organizations by how the launch credit was decided for them."""


async def score(connection: AsyncConnection, model_id: str) -> list[ScorePart]:
    """Return the parts of a model's score; the score is their sum."""
    sums: dict[VoterKind, list[float]] = {kind: [] for kind in WEIGHTS}
    async for vote in weighed(connection, model_id):
        sums[vote.kind].append(weigh(vote.kind, vote.volume_million_tokens))
    return [ScorePart(kind=kind, votes=len(s), score=math.fsum(s)) for kind, s in sums.items()]


async def weighed(connection: AsyncConnection, model_id: str) -> AsyncIterator[WeighedVote]:
    """Yield the votes for a model that count, with who cast them."""
    mine = memberships.c.user_id == demand_votes.c.user_id
    calling = exists().where(mine, usage_hours.c.organization_id == memberships.c.organization_id)
    paying = exists().where(
        mine,
        credit_lots.c.organization_id == memberships.c.organization_id,
        credit_lots.c.kind == "paid",
    )
    found = await connection.stream(
        select(
            demand_votes.c.voter_key,
            demand_votes.c.volume_million_tokens,
            demand_votes.c.price_max_nanos,
            demand_votes.c.created_at,
            calling.label("calling"),
            paying.label("paying"),
        ).where(demand_votes.c.model_id == model_id, is_counted())
    )
    async for row in found:
        yield WeighedVote(
            kind=_kind(row.voter_key, calling=row.calling, paying=row.paying),
            domain=row.voter_key.rpartition("@")[2],
            volume_million_tokens=row.volume_million_tokens,
            price_max_nanos=row.price_max_nanos,
            created_at=row.created_at,
        )


async def conversion(connection: AsyncConnection, model_id: str) -> Conversion | None:
    """Return the results of a model's launch; None if it was not launched."""
    launch = (
        await connection.execute(select(launches).where(launches.c.model_id == model_id))
    ).one_or_none()
    if launch is None:
        return None
    told = select(launch_organizations.c.organization_id).where(
        launch_organizations.c.model_id == model_id, launch_organizations.c.told_at.is_not(None)
    )
    until = launch.launched_at + timedelta(days=_CONVERSION_DAYS)
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


def weigh(kind: VoterKind, volume_million_tokens: int | None) -> float:
    """Return what one vote adds; without a volume it counts as a million tokens."""
    volume = min(volume_million_tokens or 1, VOLUME_CAP_MILLIONS)
    return WEIGHTS[kind] * math.log10(1 + volume)


def _kind(voter_key: str, *, calling: bool, paying: bool) -> VoterKind:
    if paying:
        return "paying"
    if calling:
        return "calling"
    domain = voter_key.rpartition("@")[2]
    return "verified" if domain in MAILBOX_PROVIDERS else "organization_domain"
