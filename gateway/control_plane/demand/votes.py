"""Votes: one for a person and model, with what they would need it for, and taken back at will.

Which models can be voted and waited for: those that are coming, by the database's own word.

The catalogue that pages show is up to seconds old. Who joins reads the state in the same
transaction and holds it: a launch waits for them, and then they are among those who are told; or
they wait for the launch, and are told at once that there is nothing to wait for.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.demand import events
from gateway.errors import BadRequest
from gateway.identifiers import new_id
from gateway.storage.database import insert_into
from gateway.storage.tables import demand_votes, models

USE_CASE_CHARACTERS_MAX = 500
VOLUME_MAX = 10**9
PRICE_MAX_NANOS = 10**6 * 10**9


class BadVote(BadRequest):
    """Numbers or words that a vote can't have."""

    code = "bad_vote"


class Vote(msgspec.Struct, frozen=True, kw_only=True):
    """A vote; everything but the model is optional."""

    model_id: str
    volume_million_tokens: int | None = None
    """Expected a month."""
    price_max_nanos: int | None = None
    """The most that one would pay for a million tokens."""
    use_case: str = ""
    created_at: datetime | None = None


async def cast(connection: AsyncConnection, visitor: Visitor, vote: Vote) -> None:
    """Count a vote, or change what was said with it. Raises BadVote or NotComing."""
    if vote.volume_million_tokens is not None and not 1 <= vote.volume_million_tokens <= VOLUME_MAX:
        raise bad_volume()
    if vote.price_max_nanos is not None and vote.price_max_nanos > PRICE_MAX_NANOS:
        raise BadVote("Highest price: up to a million dollars for a million tokens.", param="price")
    if len(vote.use_case) > USE_CASE_CHARACTERS_MAX:
        raise BadVote(
            f"The use case: at most {USE_CASE_CHARACTERS_MAX} characters.", param="use_case"
        )
    await hold(connection, vote.model_id)
    said = {
        "volume_million_tokens": vote.volume_million_tokens,
        "price_max_nanos": vote.price_max_nanos,
        "use_case": vote.use_case,
    }
    vote_id = new_id()
    kept = await connection.scalar(
        insert_into(connection, demand_votes)
        .values(
            id=vote_id,
            model_id=vote.model_id,
            user_id=visitor.user_id,
            voter_key=visitor.address_key,
            created_at=datetime.now(UTC),
            **said,
        )
        .on_conflict_do_update(index_elements=["model_id", "voter_key"], set_=said)
        .returning(demand_votes.c.id)
    )
    if kept == vote_id:
        await events.record(connection, "vote", vote.model_id, visitor.organization_id)


async def withdraw(connection: AsyncConnection, visitor: Visitor, model_id: str) -> None:
    """Take a vote back; without one this changes nothing."""
    gone = await connection.execute(
        delete(demand_votes).where(
            demand_votes.c.model_id == model_id, demand_votes.c.voter_key == visitor.address_key
        )
    )
    if gone.rowcount:
        await events.record(connection, "withdraw", model_id, visitor.organization_id)


async def has_voted(connection: AsyncConnection, visitor: Visitor, model_id: str) -> bool:
    """Tell whether somebody voted for a model."""
    own = demand_votes.c.voter_key == visitor.address_key
    query = select(demand_votes.c.id).where(demand_votes.c.model_id == model_id, own)
    return await connection.scalar(query) is not None


async def of_visitor(connection: AsyncConnection, visitor: Visitor) -> list[Vote]:
    """Return somebody's votes, newest first."""
    found = await connection.execute(
        select(*(demand_votes.c[name] for name in Vote.__struct_fields__))
        .where(demand_votes.c.voter_key == visitor.address_key)
        .order_by(demand_votes.c.id.desc())
    )
    return [Vote(**row) for row in found.mappings()]


def bad_volume() -> BadVote:
    """Return the refusal of a volume, as a number or as it was typed."""
    return BadVote("Volume: a whole number of million tokens, up to a billion.", param="volume")


class NotComing(BadRequest):
    """A model that is live by now, or gone."""

    status = 409
    code = "not_coming"


async def hold(connection: AsyncConnection, model_id: str) -> None:
    """Keep a model from going live until the transaction ends. Raises NotComing."""
    state = await connection.scalar(
        select(models.c.state).where(models.c.id == model_id).with_for_update(read=True)
    )
    if state == "live":
        raise NotComing(
            f"{model_id} is live by now: you can call it, there is nothing to wait for."
        )
    if state != "coming_soon":
        raise NotComing(f"{model_id} is not coming.")
