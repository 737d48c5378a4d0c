"""Keys of organizations, as operators make, rotate, limit and revoke them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts import mac_secrets
from gateway.control_plane.accounts.api_key import NewApiKey
from gateway.control_plane.accounts.key_trail import Doer
from gateway.control_plane.accounts.keys import DEFAULT_SCOPES, ApiKeys
from gateway.control_plane.back_office import acting
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.trail.entries import record
from gateway.data_plane.metering.port import Period
from gateway.snapshots import Scope, TokenIdsFrom


async def create(
    keys: ApiKeys,
    operator: Operator,
    organization_id: str,
    name: str,
    *,
    reason: str,
    expires_at: datetime | None = None,
    token_ids_from: TokenIdsFrom | None = None,
    scopes: Sequence[Scope] = DEFAULT_SCOPES,
) -> NewApiKey:
    """Make a key for an organization; it can spend, so that needs the permission for money."""
    operator.must("money")
    return await keys.create(
        organization_id,
        name,
        expires_at=expires_at,
        token_ids_from=token_ids_from,
        scopes=scopes,
        doer=Doer(operator.actor, acting.checked(operator, reason, param="words")),
    )


async def rotate(
    keys: ApiKeys, operator: Operator, key_id: str, *, overlap: timedelta, reason: str
) -> NewApiKey:
    """Give a key a new secret, as `create`. Raises KeyNotFound, NotPermitted."""
    operator.must("money")
    doer = Doer(operator.actor, acting.checked(operator, reason, param="words"))
    return await keys.rotate(key_id, overlap=overlap, doer=doer)


async def revoke(
    keys: ApiKeys,
    operator: Operator,
    key_id: str,
    *,
    reason: str,
    organization_id: str | None = None,
) -> bool:
    """Revoke a key for good; return whether it was in use. Raises KeyNotFound, NotPermitted."""
    operator.must("support")
    return await keys.revoke(
        key_id,
        organization_id=organization_id,
        doer=Doer(operator.actor, acting.checked(operator, reason, param="words")),
    )


async def set_budget(
    keys: ApiKeys,
    operator: Operator,
    key_id: str,
    limit_nanos: int | None,
    period: Period,
    *,
    reason: str,
    organization_id: str | None = None,
) -> None:
    """Set what a key may spend; None removes the limit. Raises KeyNotFound, NotPermitted."""
    operator.must("money")
    doer = Doer(operator.actor, acting.checked(operator, reason, param="words"))
    await keys.set_budget(key_id, limit_nanos, period, organization_id=organization_id, doer=doer)


async def rotate_mac(connection: AsyncConnection, operator: Operator, *, reason: str) -> datetime:
    """Add a secret for the MACs of keys; return from when on it signs. Raises NotPermitted."""
    operator.must("service")
    reason = acting.checked(operator, reason)
    signs_from = await mac_secrets.rotate(connection)
    after = {"signs_from": signs_from.isoformat()}
    await record(
        connection,
        operator.actor,
        "mac_secret.added",
        "keys",
        after=after,
        reason=reason,
    )
    return signs_from


async def drop_mac(
    connection: AsyncConnection, operator: Operator, secret_id: str, *, reason: str
) -> None:
    """Drop such a secret. Raises MacSecretNotFound, NotPermitted."""
    operator.must("service")
    reason = acting.checked(operator, reason)
    await mac_secrets.drop(connection, secret_id)
    await record(
        connection,
        operator.actor,
        "mac_secret.dropped",
        "keys",
        before={"id": secret_id},
        reason=reason,
    )
