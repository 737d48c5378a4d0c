"""Endpoints: where an organization wants its webhooks, of which types, signed with which secret.

An endpoint that fails for days, or answers 410, is disabled and its owners get a mail. All that a
page does names its organization, and other organizations' endpoints are not found.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Row, and_, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.alerts import signatures
from gateway.control_plane.alerts.addresses import Addresses
from gateway.control_plane.alerts.notices import SUBSCRIBABLE, Notice, publish
from gateway.control_plane.alerts.signatures import SigningSecrets
from gateway.dates import moment_text
from gateway.errors import BadRequest, NotFound
from gateway.identifiers import is_id, new_id
from gateway.storage.database import alone, count
from gateway.storage.tables import webhook_deliveries, webhook_endpoints, webhook_subscriptions

ENDPOINTS_MAX = 10
"""Most endpoints of one organization."""
ADDED_A_DAY = 50
"""Most endpoints that an organization adds in 24 hours, those that it removed again included."""
ROTATION = timedelta(days=1)
"""How long an old secret signs beside the new one."""

DisabledByUs = Literal["failing", "gone", "unreadable"]
"""After days of failures, because it answered 410, or because its secret can't be read any more."""


class EndpointNotFound(NotFound):
    """No such endpoint in this organization."""

    code = "endpoint_not_found"


class RotationRuns(BadRequest):
    """The secret before the last rotation still signs."""

    code = "rotation_runs"


class TooManyEndpoints(BadRequest):
    """The organization has as many endpoints as it may."""

    code = "too_many_endpoints"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint without its secret."""

    id: str
    url: str
    types: tuple[str, ...]
    """What it is sent, in the order of SUBSCRIBABLE."""
    created_at: datetime
    disabled_at: datetime | None
    disabled_reason: DisabledByUs | Literal["", "person"]
    failing_since: datetime | None
    """The first failure since it last took a message."""
    rotating_until: datetime | None
    """How long the secret before the last rotation signs too."""


class Endpoints:
    """Manages endpoints, in the caller's transaction."""

    def __init__(self, secrets: SigningSecrets, addresses: Addresses) -> None:
        self._secrets = secrets
        self._addresses = addresses

    async def check(self, organization_id: str, url: str) -> None:
        """Resolve an address before it is added, outside of a transaction.

        Raises AddressRefused or LookupsBusy.

        Optional: it tells a mistake at once, and is checked again each time something is sent.
        """
        await self._addresses.resolve(organization_id, self._addresses.parse(url))

    async def add(
        self,
        connection: AsyncConnection,
        organization_id: str,
        url: str,
        types: Collection[str],
        user_id: str | None,
    ) -> tuple[Endpoint, str]:
        """Add an endpoint; return it with its secret. Raises BadRequest."""
        parsed, chosen = str(self._addresses.parse(url)), _checked(types)
        await alone(connection, f"endpoints of {organization_id}")
        if await count(connection, webhook_endpoints, *_of(organization_id)) >= ENDPOINTS_MAX:
            raise TooManyEndpoints(
                f"An organization can have at most {ENDPOINTS_MAX} webhooks: remove one first."
            )
        now, endpoint_id, secret = wall.now(), new_id(), signatures.mint()
        lately = (
            webhook_endpoints.c.organization_id == organization_id,
            webhook_endpoints.c.created_at > now - timedelta(days=1),
        )
        if await count(connection, webhook_endpoints, *lately) >= ADDED_A_DAY:
            raise TooManyEndpoints(
                f"An organization can add {ADDED_A_DAY} webhooks a day. Try again tomorrow."
            )
        await connection.execute(
            insert(webhook_endpoints).values(
                id=endpoint_id,
                organization_id=organization_id,
                url=parsed,
                secret=self._secrets.seal(endpoint_id, secret),
                created_by=user_id,
                created_at=now,
                disabled_reason="",
                served_at=now,
            )
        )
        await _subscribe(connection, endpoint_id, chosen)
        return await self.find(connection, organization_id, endpoint_id), secret

    async def listed(self, connection: AsyncConnection, organization_id: str) -> list[Endpoint]:
        """Return the endpoints, oldest first."""
        return await _found(connection, *_of(organization_id))

    async def find(
        self, connection: AsyncConnection, organization_id: str, endpoint_id: str
    ) -> Endpoint:
        """Return one. Raises EndpointNotFound."""
        found = await _found(connection, _own(organization_id, endpoint_id))
        if not found:
            raise _unknown()
        return found[0]

    async def change(
        self,
        connection: AsyncConnection,
        organization_id: str,
        endpoint_id: str,
        url: str,
        types: Collection[str],
    ) -> None:
        """Replace the address and the types; another secret needs `rotate`. Raises BadRequest."""
        parsed, chosen = str(self._addresses.parse(url)), _checked(types)
        await _update(connection, organization_id, endpoint_id, url=parsed)
        await connection.execute(
            delete(webhook_subscriptions).where(webhook_subscriptions.c.endpoint_id == endpoint_id)
        )
        await _subscribe(connection, endpoint_id, chosen)

    async def rotate(
        self, connection: AsyncConnection, organization_id: str, endpoint_id: str
    ) -> str:
        """Return a new secret; the one before signs too for a day.

        Raises EndpointNotFound, or RotationRuns: a second rotation would end that day at once.
        """
        endpoint = await self.find(connection, organization_id, endpoint_id)
        if endpoint.rotating_until is not None:
            raise RotationRuns(
                "The secret was rotated less than a day ago, and the old one still signs. Rotate "
                f"again after {moment_text(endpoint.rotating_until)}."
            )
        secret = signatures.mint()
        await _update(
            connection,
            organization_id,
            endpoint_id,
            secret=self._secrets.seal(endpoint_id, secret),
            secret_before=webhook_endpoints.c.secret,
            secret_before_until=wall.now() + ROTATION,
        )
        return secret

    async def reveal(
        self, connection: AsyncConnection, organization_id: str, endpoint_id: str
    ) -> str:
        """Return the secret. Raises EndpointNotFound or SecretUnreadable."""
        query = select(webhook_endpoints.c.secret).where(_own(organization_id, endpoint_id))
        sealed = await connection.scalar(query)
        if sealed is None:
            raise _unknown()
        return self._secrets.unseal(endpoint_id, sealed)

    async def remove(
        self, connection: AsyncConnection, organization_id: str, endpoint_id: str
    ) -> None:
        """Remove an endpoint, its secret and what waits for it. Raises EndpointNotFound."""
        await _update(
            connection,
            organization_id,
            endpoint_id,
            removed_at=wall.now(),
            secret=b"",
            secret_before=None,
        )
        await _end_pending(connection, endpoint_id, "The webhook was removed.")

    async def enable(
        self, connection: AsyncConnection, organization_id: str, endpoint_id: str
    ) -> None:
        """Send again what happens from now on; failures count anew. Raises EndpointNotFound."""
        await _update(
            connection,
            organization_id,
            endpoint_id,
            disabled_at=None,
            disabled_reason="",
            failing_since=None,
        )

    async def disable(
        self, connection: AsyncConnection, organization_id: str, endpoint_id: str
    ) -> None:
        """Send nothing until it is enabled. Raises EndpointNotFound."""
        await _update(
            connection,
            organization_id,
            endpoint_id,
            disabled_at=wall.now(),
            disabled_reason="person",
        )
        await _end_pending(connection, endpoint_id, "The webhook was switched off.")


async def disable_failing(
    connection: AsyncConnection, endpoint_id: str, reason: DisabledByUs, now: datetime
) -> None:
    """Disable an endpoint that doesn't take its messages, and tell the owners; once."""
    row = (
        await connection.execute(
            update(webhook_endpoints)
            .where(webhook_endpoints.c.id == endpoint_id, webhook_endpoints.c.disabled_at.is_(None))
            .values(disabled_at=now, disabled_reason=reason)
            .returning(webhook_endpoints.c.organization_id, webhook_endpoints.c.url)
        )
    ).one_or_none()
    if row is None:
        return
    await _end_pending(connection, endpoint_id, "The webhook was switched off.")
    data = {"endpoint_id": endpoint_id, "url": row.url, "reason": reason}
    ref = f"endpoint.disabled:{endpoint_id}:{now.isoformat()}"
    await publish(connection, row.organization_id, Notice("endpoint.disabled", ref, data, now))


async def forget_removed(connection: AsyncConnection) -> None:
    """Delete the rows of removed endpoints that no delivery names any more."""
    named = select(webhook_deliveries.c.id).where(
        webhook_deliveries.c.endpoint_id == webhook_endpoints.c.id
    )
    gone = select(webhook_endpoints.c.id).where(
        webhook_endpoints.c.removed_at < wall.now() - ROTATION, ~named.exists()
    )
    await connection.execute(
        delete(webhook_subscriptions).where(webhook_subscriptions.c.endpoint_id.in_(gone))
    )
    await connection.execute(delete(webhook_endpoints).where(webhook_endpoints.c.id.in_(gone)))


async def _end_pending(connection: AsyncConnection, endpoint_id: str, reason: str) -> None:
    await connection.execute(
        update(webhook_deliveries)
        .where(
            webhook_deliveries.c.endpoint_id == endpoint_id, webhook_deliveries.c.state == "pending"
        )
        .values(state="failed", error=reason)
    )


async def _found(connection: AsyncConnection, *conditions: ColumnElement[bool]) -> list[Endpoint]:
    query = select(webhook_endpoints).where(*conditions).order_by(webhook_endpoints.c.id)
    rows = (await connection.execute(query)).all()
    subscribed = await connection.execute(
        select(webhook_subscriptions).where(
            webhook_subscriptions.c.endpoint_id.in_([row.id for row in rows])
        )
    )
    types: dict[str, set[str]] = {}
    for endpoint_id, kind in subscribed:
        types.setdefault(endpoint_id, set()).add(kind)
    return [_endpoint(row, types.get(row.id, set())) for row in rows]


def _endpoint(row: Row[Any], types: Collection[str]) -> Endpoint:
    until = row.secret_before_until
    return Endpoint(
        id=row.id,
        url=row.url,
        types=tuple(kind for kind in SUBSCRIBABLE if kind in types),
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        disabled_reason=row.disabled_reason,
        failing_since=row.failing_since,
        rotating_until=until if until and until > wall.now() else None,
    )


def _checked(types: Collection[str]) -> set[str]:
    unknown = set(types) - set(SUBSCRIBABLE)
    if unknown or not types:
        raise BadRequest(f"Choose at least one of: {', '.join(SUBSCRIBABLE)}.", param="types")
    return set(types)


async def _subscribe(connection: AsyncConnection, endpoint_id: str, types: set[str]) -> None:
    rows = [{"endpoint_id": endpoint_id, "type": kind} for kind in sorted(types)]
    await connection.execute(insert(webhook_subscriptions), rows)


async def _update(
    connection: AsyncConnection, organization_id: str, endpoint_id: str, **values: Any
) -> None:
    own = _own(organization_id, endpoint_id)
    changed = await connection.execute(update(webhook_endpoints).where(own).values(**values))
    if not changed.rowcount:
        raise _unknown()


def _of(organization_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    table = webhook_endpoints.c
    return table.organization_id == organization_id, table.removed_at.is_(None)


def _own(organization_id: str, endpoint_id: str) -> ColumnElement[bool]:
    if not is_id(endpoint_id):
        raise _unknown()
    return and_(*_of(organization_id), webhook_endpoints.c.id == endpoint_id)


def _unknown() -> EndpointNotFound:
    return EndpointNotFound("There is no such webhook.")
