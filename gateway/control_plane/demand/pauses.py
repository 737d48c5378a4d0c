"""Pausing a launch: unsent emails are taken out of the outbox until it resumes.

The outbox determines who has no email yet, so an email that is taken out will be written again.
Waves count from when the first emails were written; that moment is shifted by the length of the
pause, so that the waves keep their pace.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Row, delete, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.demand.launch_mails import mail_ref, people_of
from gateway.errors import BadRequest, NotFound
from gateway.storage.tables import launch_organizations, launches, outbox

PAUSE_DAYS_MAX = 60
"""How long a launch may be paused: after that, the outbox no longer knows who was emailed."""


class LaunchUnknown(NotFound):
    """The model was not launched."""

    code = "launch_not_found"


class CannotResume(BadRequest):
    """The launch was paused for too long."""

    status = 409
    code = "cannot_resume"


async def pause(connection: AsyncConnection, model_id: str) -> int | None:
    """Hold back a launch's emails; return how many were unsent, None if it was already paused.

    Raises LaunchUnknown.
    """
    now = wall.now()
    launch = await _locked(connection, model_id)
    if launch.paused_at is not None:
        return None
    gone = await connection.execute(
        delete(outbox).where(
            outbox.c.kind == "launch",
            outbox.c.state == "pending",
            outbox.c.ref.startswith(mail_ref(model_id, ""), autoescape=True),
        )
    )
    held: int = gone.rowcount
    changed = {"paused_at": now, "recipients": (launch.recipients or 0) - held}
    if held:
        changed["announced_at"] = None
        await _untell(connection, model_id)
    await connection.execute(
        update(launches).where(launches.c.model_id == model_id).values(**changed)
    )
    return held


async def resume(connection: AsyncConnection, model_id: str) -> bool:
    """Let a launch go on; return whether it was paused. Raises LaunchUnknown, CannotResume."""
    now = wall.now()
    launch = await _locked(connection, model_id)
    if launch.paused_at is None:
        return False
    stood = now - launch.paused_at
    if stood > timedelta(days=PAUSE_DAYS_MAX) and launch.announced_at is None:
        raise CannotResume(
            f"The launch of {model_id} was paused for more than {PAUSE_DAYS_MAX} days. We no "
            "longer know who was emailed, so no more emails are sent."
        )
    began_at = launch.began_at and launch.began_at + stood
    await connection.execute(
        update(launches)
        .where(launches.c.model_id == model_id)
        .values(paused_at=None, began_at=began_at)
    )
    return True


async def _locked(connection: AsyncConnection, model_id: str) -> Row[Any]:
    query = select(launches).where(launches.c.model_id == model_id).with_for_update()
    launch = (await connection.execute(query)).one_or_none()
    if launch is None:
        raise LaunchUnknown(f"{model_id} was not launched.")
    return launch


async def _untell(connection: AsyncConnection, model_id: str) -> None:
    """Count organizations where nobody has an email anymore as not notified."""
    people = people_of(model_id, reachable=False)
    ref = literal(mail_ref(model_id, "")).concat(people.c.key)
    told = select(people.c.organization_id).where(
        people.c.organization_id.is_not(None),
        select(outbox.c.id).where(outbox.c.ref == ref).exists(),
    )
    await connection.execute(
        update(launch_organizations)
        .where(
            launch_organizations.c.model_id == model_id,
            launch_organizations.c.organization_id.not_in(told),
        )
        .values(told_at=None)
    )
