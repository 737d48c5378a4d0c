"""Votes: one per mailbox and model, with what it is needed for; they can be withdrawn.

Spellings of one mailbox may be different people's: a vote is read, changed and withdrawn by the
account that cast it alone.

Only models that are coming soon can be voted for or waited for. Pages show a catalog that may be
seconds old, so voting and joining read the state in their own transaction and lock it (`hold`). A
launch waits for that transaction and mails the new entry too; or the transaction waits for the
launch, and is told that the model is live.

A vote that an operator set aside does not count: not in public, not in the score, and a launch
neither emails nor credits its voter for it. It stays aside when it is withdrawn and cast again.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.demand.events import Event, record
from gateway.errors import BadRequest
from gateway.identifiers import new_id
from gateway.storage.database import insert_into
from gateway.storage.tables import demand_votes, models

USE_CASE_CHARACTERS_MAX = 500
VOLUME_MAX = 10**9
PRICE_MAX_NANOS = 10**6 * 10**9


class BadVote(BadRequest):
    """A number or text that a vote cannot have."""

    code = "bad_vote"


class VotedElsewhere(BadRequest):
    """Another account has voted with a different spelling of the same mailbox."""

    status = 409
    code = "voted_elsewhere"


class NotComing(BadRequest):
    """The model is live already, or retired."""

    status = 409
    code = "not_coming"


class Vote(msgspec.Struct, frozen=True, kw_only=True):
    """A vote for a model, with what the voter needs."""

    model_id: str
    volume_million_tokens: int | None = None
    """Expected tokens per month, in millions."""
    price_max_nanos: int | None = None
    """The highest acceptable price per million tokens."""
    use_case: str = ""
    created_at: datetime | None = None


async def cast(connection: AsyncConnection, visitor: Visitor, vote: Vote) -> None:
    """Add a vote, or change its details. Raises BadVote, NotComing or VotedElsewhere."""
    if vote.volume_million_tokens is not None and not 1 <= vote.volume_million_tokens <= VOLUME_MAX:
        raise bad_volume()
    if vote.price_max_nanos is not None and vote.price_max_nanos > PRICE_MAX_NANOS:
        raise BadVote("Highest price: up to $1,000,000 per million tokens.", param="price")
    if len(vote.use_case) > USE_CASE_CHARACTERS_MAX:
        raise BadVote(f"Use case: at most {USE_CASE_CHARACTERS_MAX} characters.", param="use_case")
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
            created_at=wall.now(),
            **said,
        )
        .on_conflict_do_update(
            index_elements=["model_id", "voter_key"],
            set_=said,
            where=demand_votes.c.user_id == visitor.user_id,
        )
        .returning(demand_votes.c.id)
    )
    if kept is None:
        raise VotedElsewhere(
            "This mailbox has voted already, by another spelling of its address. Sign in with that "
            "one to change the vote."
        )
    if kept == vote_id:
        await record(connection, Event("vote", vote.model_id, visitor.organization_id))


async def withdraw(connection: AsyncConnection, visitor: Visitor, model_id: str) -> None:
    """Withdraw a vote, if there is one."""
    gone = await connection.execute(
        delete(demand_votes).where(
            demand_votes.c.model_id == model_id, demand_votes.c.user_id == visitor.user_id
        )
    )
    if gone.rowcount:
        await record(connection, Event("withdraw", model_id, visitor.organization_id))


async def of_model(connection: AsyncConnection, visitor: Visitor, model_id: str) -> Vote | None:
    """Return a visitor's vote for a model, if there is one."""
    own = demand_votes.c.user_id == visitor.user_id
    query = select(*(demand_votes.c[name] for name in Vote.__struct_fields__))
    found = await connection.execute(query.where(demand_votes.c.model_id == model_id, own))
    row = found.mappings().one_or_none()
    return None if row is None else Vote(**row)


async def of_visitor(connection: AsyncConnection, visitor: Visitor) -> list[Vote]:
    """Return a visitor's votes, newest first."""
    found = await connection.execute(
        select(*(demand_votes.c[name] for name in Vote.__struct_fields__))
        .where(demand_votes.c.user_id == visitor.user_id)
        .order_by(demand_votes.c.id.desc())
    )
    return [Vote(**row) for row in found.mappings()]


def bad_volume() -> BadVote:
    """Return the error for a volume, whether parsed or as typed."""
    return BadVote("Volume: a whole number of million tokens, up to a billion.", param="volume")


async def hold(connection: AsyncConnection, model_id: str) -> None:
    """Keep a model coming soon until the transaction ends. Raises NotComing."""
    state = await connection.scalar(
        select(models.c.state).where(models.c.id == model_id).with_for_update(read=True)
    )
    if state == "live":
        raise NotComing(f"{model_id} is live: you can call it now.")
    if state != "coming_soon":
        raise NotComing(f"{model_id} is not coming soon.")
