"""What operators do about the deployment's secret."""

from __future__ import annotations

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.back_office import acting
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.secrets import record
from gateway.control_plane.secrets.dependents import Dependents, dependents
from gateway.control_plane.trail import entries
from gateway.errors import BadRequest
from gateway.keyring import Keyring


class SecretInUse(BadRequest):
    """This secret can't be retired: it is the first one, or none that this database knows."""

    code = "secret_in_use"


async def retire(
    connection: AsyncConnection,
    operator: Operator,
    keyring: Keyring,
    fingerprint: str,
    *,
    reason: str,
) -> Dependents:
    """Let gateways start without a secret; return what hung on it.

    Raises SecretInUse, NotPermitted.
    """
    operator.must("service")
    reason = acting.checked(operator, reason)
    known = {one.fingerprint for one in await record.listed(connection)}
    if fingerprint not in known or fingerprint == keyring.fingerprints[0]:
        raise SecretInUse(f"{fingerprint!r} is the first secret, or unknown to this database.")
    found = await dependents(connection, keyring, fingerprint)
    await record.retire(connection, fingerprint)
    await entries.record(
        connection,
        operator.actor,
        "secret.retired",
        "secrets",
        before={"fingerprint": fingerprint} | msgspec.structs.asdict(found),
        reason=reason,
    )
    return found
