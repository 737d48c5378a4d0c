"""How much a model is wanted, for us: votes weighed by who stands behind them, part by part.

The public number stays the plain count of verified votes; this one decides nothing by itself.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec
from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.tables import credit_lots, demand_votes, memberships, usage_hours

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
