"""Organizations that operators suspend and reinstate."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.back_office import acting
from gateway.control_plane.back_office.account_mails import AccountMails
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.trail.entries import record
from gateway.identifiers import new_id
from gateway.storage.ledger import freezes


async def suspend(
    connection: AsyncConnection,
    operator: Operator,
    organization_id: str,
    *,
    reason: str,
    mails: AccountMails,
) -> bool:
    """Suspend an organization: its requests are answered 403 within a second.

    Returns False if it was suspended before. Raises NotPermitted or NoReasonGiven.
    """
    operator.must("money")
    reason = acting.checked(operator, reason, param="words")
    if not await freezes.freeze(connection, organization_id, "operator", reason=reason):
        return False
    await mails.suspended(connection, organization_id, new_id())
    await _record(connection, operator, organization_id, "account.suspended", "active", reason)
    return True


async def unsuspend(
    connection: AsyncConnection,
    operator: Operator,
    organization_id: str,
    *,
    reason: str,
    mails: AccountMails,
) -> bool:
    """Lift a suspension, and a freeze because the ledger refused the organization's usage.

    Returns False if there was neither. Other causes of a freeze stay. If the ledger still refuses,
    it is frozen again with its next request. Raises NotPermitted or NoReasonGiven.
    """
    operator.must("money")
    reason = acting.checked(operator, reason, param="words")
    suspended = await freezes.lift(connection, organization_id, "operator")
    refused = await freezes.lift(connection, organization_id, "books", ref=freezes.REFUSED)
    if not suspended and not refused:
        return False
    await mails.unsuspended(connection, organization_id, new_id())
    before = "suspended" if suspended else "under review"
    await _record(connection, operator, organization_id, "account.unsuspended", before, reason)
    return True


async def _record(
    connection: AsyncConnection,
    operator: Operator,
    organization_id: str,
    action: str,
    before: str,
    reason: str,
) -> None:
    causes = await freezes.causes(connection, organization_id)
    await record(
        connection,
        operator.actor,
        action,
        f"organization:{organization_id}",
        organization_id=organization_id,
        before={"state": before},
        after={"state": "suspended" if before == "active" else "active", "frozen_by": causes},
        reason=reason,
    )
