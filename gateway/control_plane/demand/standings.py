"""Standings: how much each model is wanted, computed by a job and read by the back office.

A model may have a million votes, so pages read the last standing instead of the votes. What a
standing keeps is bounded, however many votes there are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.accounts.addresses import MAILBOX_PROVIDERS
from gateway.control_plane.demand.report import (
    VOLUME_CAP_MILLIONS,
    WEIGHTS,
    ScorePart,
    VoterKind,
    weigh,
    weighed,
)
from gateway.storage.database import Database, count, insert_into
from gateway.storage.tables import demand_standings, models, set_aside_votes, waitlist_entries

EXPECTED_PERCENT: Mapping[VoterKind, int] = {
    "verified": 5,
    "organization_domain": 10,
    "calling": 25,
    "paying": 50,
}
"""How much of the volume that a voter claims is expected to come: claims cost nothing."""
CEILINGS_MAX = 32
"""Most steps of the curve of volume over price."""
DOMAINS_MAX = 8
"""Most domains that a standing names."""
SECONDS = 300.0
"""How old a standing may be."""

_MILLION = 10**6
_MONTH = timedelta(days=30)


class Ceiling(msgspec.Struct, frozen=True, kw_only=True):
    """Voters who pay up to a price, and the tokens a month that they claim and are expected."""

    price_max_nanos: int | None
    """None: they named none."""
    votes: int
    claimed_tokens: int
    expected_tokens: int


class DomainVotes(msgspec.Struct, frozen=True):
    """Votes from one domain that is no mailbox provider's."""

    domain: str
    votes: int


class DemandStanding(msgspec.Struct, frozen=True, kw_only=True):
    """How much a model is wanted."""

    parts: list[ScorePart]
    ceilings: list[Ceiling]
    """By price, the highest last; those without a price come after."""
    domains: list[DomainVotes]
    """The domains with most votes: many from one may be one person."""
    votes_30_days: int
    votes_30_days_before: int
    waiting: int
    set_aside: int

    @property
    def votes(self) -> int:
        """All votes that count."""
        return sum(part.votes for part in self.parts)

    @property
    def score(self) -> float:
        """The sum of the parts."""
        return math.fsum(part.score for part in self.parts)

    def expected_tokens(self, price_nanos: int) -> int:
        """Return the tokens a month that are expected at a price per million tokens."""
        return sum(
            ceiling.expected_tokens
            for ceiling in self.ceilings
            if ceiling.price_max_nanos is None or ceiling.price_max_nanos >= price_nanos
        )


class ModelStanding(msgspec.Struct, frozen=True, kw_only=True):
    """A model's standing, and when it was computed."""

    model_id: str
    standing: DemandStanding
    computed_at: datetime


NOTHING = DemandStanding(
    parts=[ScorePart(kind=kind, votes=0, score=0.0) for kind in WEIGHTS],
    ceilings=[],
    domains=[],
    votes_30_days=0,
    votes_30_days_before=0,
    waiting=0,
    set_aside=0,
)
"""The standing of a model that nobody asked for."""


class Standings:
    """Computes the standings of models that are not live; `compute` is a job."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def compute(self) -> None:
        """Compute those that are missing or older than SECONDS."""
        old = wall.now() - timedelta(seconds=SECONDS)
        fresh = select(demand_standings.c.model_id).where(demand_standings.c.computed_at > old)
        query = select(models.c.id).where(
            models.c.state == "coming_soon", models.c.id.not_in(fresh)
        )
        async with self._database.read() as connection:
            due = (await connection.scalars(query.order_by(models.c.id))).all()
        for model_id in due:
            async with self._database.read() as connection:
                standing = await computed(connection, model_id)
            async with self._database.write() as connection:
                await store(connection, model_id, standing)


async def computed(connection: AsyncConnection, model_id: str) -> DemandStanding:
    """Compute a model's standing from its votes."""
    now = wall.now()
    sums: dict[VoterKind, list[float]] = {kind: [] for kind in WEIGHTS}
    steps: dict[int | None, list[int]] = {}
    domains: Counter[str] = Counter()
    recent = before = 0
    async for vote in weighed(connection, model_id):
        sums[vote.kind].append(weigh(vote.kind, vote.volume_million_tokens))
        claimed = min(vote.volume_million_tokens or 1, VOLUME_CAP_MILLIONS) * _MILLION
        step = steps.setdefault(vote.price_max_nanos, [0, 0, 0])
        expected = claimed * EXPECTED_PERCENT[vote.kind] // 100
        for place, added in enumerate((1, claimed, expected)):
            step[place] += added
        if vote.domain not in MAILBOX_PROVIDERS:
            domains[vote.domain] += 1
        recent += vote.created_at > now - _MONTH
        before += now - 2 * _MONTH < vote.created_at <= now - _MONTH
    return DemandStanding(
        parts=[ScorePart(kind=kind, votes=len(s), score=math.fsum(s)) for kind, s in sums.items()],
        ceilings=_ceilings(steps),
        domains=[DomainVotes(*found) for found in domains.most_common(DOMAINS_MAX)],
        votes_30_days=recent,
        votes_30_days_before=before,
        waiting=await count(connection, waitlist_entries, waitlist_entries.c.model_id == model_id),
        set_aside=await count(connection, set_aside_votes, set_aside_votes.c.model_id == model_id),
    )


async def store(connection: AsyncConnection, model_id: str, standing: DemandStanding) -> None:
    """Store a model's standing."""
    values = {
        "standing": msgspec.json.encode(standing).decode(),
        "computed_at": wall.now(),
    }
    await connection.execute(
        insert_into(connection, demand_standings)
        .values(model_id=model_id, **values)
        .on_conflict_do_update(index_elements=["model_id"], set_=values)
    )


async def outdate(connection: AsyncConnection, model_id: str) -> None:
    """Have the next run compute a model's standing anew."""
    await connection.execute(
        delete(demand_standings).where(demand_standings.c.model_id == model_id)
    )


async def listed(connection: AsyncConnection) -> list[ModelStanding]:
    """Return the standings of all models that are coming soon; the most wanted first."""
    found = await connection.execute(
        select(demand_standings)
        .join(models, models.c.id == demand_standings.c.model_id)
        .where(models.c.state == "coming_soon")
    )
    rows = [_standing(row.model_id, row.standing, row.computed_at) for row in found]
    return sorted(rows, key=lambda row: (-row.standing.score, row.model_id))


async def of_model(connection: AsyncConnection, model_id: str) -> ModelStanding | None:
    """Return a model's standing; None until it is computed."""
    query = select(demand_standings).where(demand_standings.c.model_id == model_id)
    row = (await connection.execute(query)).one_or_none()
    return _standing(row.model_id, row.standing, row.computed_at) if row else None


async def of_models(connection: AsyncConnection, model_ids: Sequence[str]) -> list[ModelStanding]:
    """Return the standings of some models, those that are computed."""
    query = select(demand_standings).where(demand_standings.c.model_id.in_(model_ids))
    found = await connection.execute(query)
    return [_standing(row.model_id, row.standing, row.computed_at) for row in found]


def _standing(model_id: str, encoded: str, computed_at: datetime) -> ModelStanding:
    standing = msgspec.json.decode(encoded, type=DemandStanding)
    return ModelStanding(model_id=model_id, standing=standing, computed_at=computed_at)


def _ceilings(steps: Mapping[int | None, Sequence[int]]) -> list[Ceiling]:
    """Return the steps by price; of too many, neighbors share the lower price."""
    named = sorted((price, sums) for price, sums in steps.items() if price is not None)
    size = -(-len(named) // CEILINGS_MAX) or 1
    groups: list[tuple[int | None, list[Sequence[int]]]] = [
        (named[first][0], [sums for _, sums in named[first : first + size]])
        for first in range(0, len(named), size)
    ]
    if None in steps:
        groups.append((None, [steps[None]]))
    return [
        Ceiling(
            price_max_nanos=price,
            votes=sum(s[0] for s in sums),
            claimed_tokens=sum(s[1] for s in sums),
            expected_tokens=sum(s[2] for s in sums),
        )
        for price, sums in groups
    ]
