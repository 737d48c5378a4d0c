"""Deliveries for pages: the log of an endpoint, replays, and a test message.

The log shows the last attempt of each delivery; the page says so. A replay sends the same message
with the same webhook-id, so that a receiver can tell that it has it already.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from sqlalchemy import Row, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.alerts.notices import GIVE_UP, Notice, queue, store
from gateway.errors import BadRequest, NotFound
from gateway.identifiers import is_id, new_id
from gateway.storage.tables import notices, webhook_deliveries, webhook_endpoints

KEPT_DAYS = 30
"""How long the log goes back."""

_AT_ONCE = 1_000
_PAGE_MAX = 200


class DeliveryNotFound(NotFound):
    """No such delivery in this organization."""

    code = "delivery_not_found"


class EndpointDisabled(BadRequest):
    """Nothing is sent to the endpoint while it is disabled."""

    code = "endpoint_disabled"


class LoggedDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """A message to an endpoint, and its last attempt."""

    id: str
    message_id: str
    """The webhook-id."""
    type: str
    data: str
    """As JSON."""
    state: Literal["pending", "sent", "failed"]
    created_at: datetime
    attempts: int
    """Since it was queued, or queued again by a replay."""
    due_at: datetime | None
    """When it is tried next."""
    attempted_at: datetime | None
    status: int | None
    """None if there was no answer."""
    milliseconds: int | None
    answer: str
    """The first KiB of the answer."""
    error: str
    """What went wrong, in words."""


class Deliveries:
    """What pages do with deliveries, in the caller's transaction."""

    async def log(
        self,
        connection: AsyncConnection,
        organization_id: str,
        endpoint_id: str,
        before: str | None = None,
        limit: int = 50,
    ) -> list[LoggedDelivery]:
        """Return a page, newest first; the next page is `before` this one's last id."""
        if not is_id(endpoint_id) or (before is not None and not is_id(before)):
            raise DeliveryNotFound("There is no such webhook or page.")
        query = (
            select(webhook_deliveries, notices.c.type, notices.c.data)
            .join(notices, notices.c.id == webhook_deliveries.c.notice_id)
            .where(
                webhook_deliveries.c.endpoint_id == endpoint_id,
                notices.c.organization_id == organization_id,
            )
        )
        if before is not None:
            query = query.where(webhook_deliveries.c.id < before)
        query = query.order_by(webhook_deliveries.c.id.desc()).limit(min(limit, _PAGE_MAX))
        return [_delivery(row) for row in await connection.execute(query)]

    async def replay(
        self,
        connection: AsyncConnection,
        organization_id: str,
        endpoint_id: str,
        delivery_id: str,
    ) -> None:
        """Send a message again, at once and with all retries, unless it still has some.

        Raises DeliveryNotFound or EndpointDisabled.
        """
        if not is_id(endpoint_id) or not is_id(delivery_id):
            raise _unknown()
        query = (
            select(webhook_endpoints.c.disabled_at)
            .join(webhook_deliveries, webhook_deliveries.c.endpoint_id == webhook_endpoints.c.id)
            .where(
                webhook_deliveries.c.id == delivery_id,
                webhook_endpoints.c.id == endpoint_id,
                webhook_endpoints.c.organization_id == organization_id,
                webhook_endpoints.c.removed_at.is_(None),
            )
        )
        endpoint = (await connection.execute(query)).one_or_none()
        if endpoint is None:
            raise _unknown()
        _check_enabled(endpoint.disabled_at)
        now = wall.now()
        await connection.execute(
            update(webhook_deliveries)
            .where(webhook_deliveries.c.id == delivery_id, webhook_deliveries.c.state != "pending")
            .values(state="pending", attempts=0, due_at=now, give_up_at=now + GIVE_UP)
        )

    async def ping(
        self, connection: AsyncConnection, organization_id: str, endpoint_id: str
    ) -> str:
        """Queue a test message, and return its delivery's id.

        Raises DeliveryNotFound or EndpointDisabled.
        """
        if not is_id(endpoint_id):
            raise _unknown()
        query = select(webhook_endpoints.c.disabled_at).where(
            webhook_endpoints.c.id == endpoint_id,
            webhook_endpoints.c.organization_id == organization_id,
            webhook_endpoints.c.removed_at.is_(None),
        )
        endpoint = (await connection.execute(query)).one_or_none()
        if endpoint is None:
            raise _unknown()
        _check_enabled(endpoint.disabled_at)
        now = wall.now()
        ping = Notice("endpoint.ping", f"ping:{new_id()}", {"endpoint_id": endpoint_id}, now)
        notice_id = await store(connection, organization_id, ping)
        assert notice_id is not None
        return await queue(connection, endpoint_id, notice_id, now)


async def forget_old(connection: AsyncConnection, now: datetime) -> int:
    """Delete deliveries that the log no longer shows; return how many, bounded."""
    old = (
        select(webhook_deliveries.c.id)
        .where(webhook_deliveries.c.created_at < now - timedelta(days=KEPT_DAYS))
        .limit(_AT_ONCE)
    )
    gone = delete(webhook_deliveries).where(webhook_deliveries.c.id.in_(old))
    return (await connection.execute(gone)).rowcount


def _check_enabled(disabled_at: datetime | None) -> None:
    if disabled_at is not None:
        raise EndpointDisabled("This webhook is off. Switch it on first.")


def _delivery(row: Row[Any]) -> LoggedDelivery:
    return LoggedDelivery(
        id=row.id,
        message_id=row.notice_id,
        type=row.type,
        data=row.data,
        state=row.state,
        created_at=row.created_at,
        attempts=row.attempts,
        due_at=row.due_at if row.state == "pending" else None,
        attempted_at=row.attempted_at,
        status=row.status,
        milliseconds=row.milliseconds,
        answer=row.answer,
        error=row.error,
    )


def _unknown() -> DeliveryNotFound:
    return DeliveryNotFound("There is no such event or webhook.")
