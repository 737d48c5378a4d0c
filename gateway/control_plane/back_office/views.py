"""Views: an operator sees the console as an organization does, for a while, and changes nothing.

A view is of one session. While it lasts, the pages refuse whatever would change something: see
`not_while_viewing` in web/visitors.py.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.trail.entries import Actor, record
from gateway.storage.database import insert_into
from gateway.storage.ledger.postings import database_now
from gateway.storage.tables import operator_views

VIEW = timedelta(minutes=30)
"""How long a view lasts at most."""


async def begin(
    connection: AsyncConnection, operator: Operator, session_id: str, organization_id: str
) -> None:
    """Let a session see the console as an organization does. Raises NotPermitted."""
    operator.must("support")
    ends_at = await database_now(connection) + VIEW
    await connection.execute(
        insert_into(connection, operator_views)
        .values(session_id=session_id, organization_id=organization_id, ends_at=ends_at)
        .on_conflict_do_update(
            index_elements=["session_id"],
            set_={"organization_id": organization_id, "ends_at": ends_at},
        )
    )
    await record(
        connection,
        operator.actor,
        "organization.viewed",
        f"organization:{organization_id}",
        organization_id=organization_id,
        after={"minutes": VIEW // timedelta(minutes=1)},
    )


async def end(connection: AsyncConnection, actor: Actor, session_id: str) -> str | None:
    """End a session's view; return whom it showed, None if there was none."""
    viewed: str | None = await connection.scalar(
        delete(operator_views)
        .where(operator_views.c.session_id == session_id)
        .returning(operator_views.c.organization_id)
    )
    if viewed is not None:
        subject = f"organization:{viewed}"
        await record(connection, actor, "view.ended", subject, organization_id=viewed)
    return viewed
