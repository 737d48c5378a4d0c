"""Mails that are sent again."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.back_office import acting
from gateway.control_plane.mail import upkeep
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.trail import entries

_RESENT = "mail.resent"


async def resend(
    connection: AsyncConnection,
    operator: Operator,
    mail_id: str,
    *,
    lifetime: timedelta,
    reason: str,
    even_unknown: bool = False,
) -> None:
    """Send a mail again that failed, or that waits for its next try.

    Raises NotPermitted, NoReasonGiven, NothingToRetry or CannotRetry.
    """
    operator.must("support")
    said = acting.checked(operator, reason)
    before = await upkeep.retry(connection, mail_id, lifetime=lifetime, even_unknown=even_unknown)
    await entries.record(
        connection,
        operator.actor,
        _RESENT,
        f"mail:{mail_id}",
        before={"state": before.state, "attempts": before.attempts},
        after={"state": "pending"},
        reason=said,
    )


async def resend_failed(
    connection: AsyncConnection, operator: Operator, *, lifetime: timedelta, reason: str
) -> int:
    """Send all launch mails that failed again; return how many. Raises as `resend`."""
    operator.must("support")
    said = acting.checked(operator, reason)
    count = await upkeep.retry_failed(connection, lifetime=lifetime)
    if count:
        await entries.record(
            connection,
            operator.actor,
            _RESENT,
            "mail:failed",
            after={"state": "pending", "mails": count},
            reason=said,
        )
    return count
