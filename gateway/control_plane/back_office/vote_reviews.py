"""Votes set aside: suspicious ones count for nothing until an operator puts them back."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.back_office import acting
from gateway.control_plane.demand import standings
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.trail import entries
from gateway.errors import NotFound
from gateway.identifiers import is_id
from gateway.storage.database import insert_into
from gateway.storage.tables import demand_votes, set_aside_votes


class VoteUnknown(NotFound):
    """There is no such vote, or it was withdrawn."""

    code = "vote_not_found"


class _Cast(NamedTuple):
    model_id: str
    voter_key: str
    user_id: str


async def set_aside(
    connection: AsyncConnection, operator: Operator, vote_id: str, *, reason: str
) -> bool:
    """Have a vote count for nothing; return whether it did before.

    Raises NotPermitted, VoteUnknown, NoReasonGiven.
    """
    operator.must("support")
    said = acting.checked(operator, reason)
    vote = await _vote(connection, vote_id)
    new = await connection.scalar(
        insert_into(connection, set_aside_votes)
        .values(
            model_id=vote.model_id,
            voter_key=vote.voter_key,
            reason=said,
            created_at=wall.now(),
        )
        .on_conflict_do_nothing()
        .returning(set_aside_votes.c.model_id)
    )
    if new is None:
        return False
    await _changed(connection, operator, "vote.set_aside", vote_id, vote, said)
    return True


async def restore(
    connection: AsyncConnection, operator: Operator, vote_id: str, *, reason: str
) -> bool:
    """Have a vote count again; return whether it was set aside.

    Raises NotPermitted, VoteUnknown, NoReasonGiven.
    """
    operator.must("support")
    said = acting.checked(operator, reason)
    vote = await _vote(connection, vote_id)
    gone = await connection.execute(
        delete(set_aside_votes).where(
            set_aside_votes.c.model_id == vote.model_id,
            set_aside_votes.c.voter_key == vote.voter_key,
        )
    )
    if not gone.rowcount:
        return False
    await _changed(connection, operator, "vote.restored", vote_id, vote, said)
    return True


async def _vote(connection: AsyncConnection, vote_id: str) -> _Cast:
    query = select(*(demand_votes.c[name] for name in _Cast._fields))
    found = None
    if is_id(vote_id):
        found = (await connection.execute(query.where(demand_votes.c.id == vote_id))).first()
    if found is None:
        raise VoteUnknown(f"There is no vote {vote_id[:40]!r}.")
    return _Cast(*found)


async def _changed(
    connection: AsyncConnection,
    operator: Operator,
    action: str,
    vote_id: str,
    vote: _Cast,
    reason: str,
) -> None:
    await standings.outdate(connection, vote.model_id)
    aside = action == "vote.set_aside"
    await entries.record(
        connection,
        operator.actor,
        action,
        f"vote:{vote_id}",
        before={"model_id": vote.model_id, "counted": aside},
        after={"model_id": vote.model_id, "user_id": vote.user_id, "counted": not aside},
        reason=reason,
    )
