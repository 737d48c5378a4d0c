"""Sends deliveries: any process, each endpoint by one process at a time.

- A process claims an endpoint, not a message: it sends a few of its messages at once, for a few
  seconds, and gives it back. So a slow endpoint takes one of many places for a while and delays no
  other, those that waited longest have the next turn, and an organization has few places at once.
- A claim ends by itself, later than a turn can take. What a dead process was sending is then sent
  again by another, with the same webhook-id: at least once.
- An attempt counts only if the delivery is as it was when it was read.
- Retries wait longer each time, three days in all, with jitter, and at least as long as the
  endpoint asks for, within bounds. An endpoint that took nothing for three days, or that answers
  410, is disabled.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, NamedTuple

import msgspec
import structlog
from sqlalchemy import Row, Select, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.alerts import signatures
from gateway.control_plane.alerts.endpoints import DisabledByUs, disable_failing
from gateway.control_plane.alerts.lookups import LookupsBusy
from gateway.control_plane.alerts.signatures import SecretUnreadable, SigningSecrets
from gateway.control_plane.alerts.transport import DeliveryAttempt, Transport
from gateway.storage.database import Database
from gateway.storage.tables import notices, webhook_deliveries, webhook_endpoints

log = structlog.get_logger()

PLACES = 32
"""Most endpoints that one process sends to at once."""
EACH_MAX = 4
"""Most endpoints of one organization that all processes send to at once, or about so."""
AT_ONCE = 4
"""Most messages on their way to one endpoint."""
TURN_SECONDS = 10.0
"""How long a turn starts new messages; with an attempt's time it must be less than the claim."""
CLAIM = timedelta(seconds=60)
FAILING = timedelta(days=3)
"""How long an endpoint may take nothing before it is disabled."""
POSTPONED = timedelta(seconds=30)
"""How long a message waits that we had no place for."""
UNREADABLE = "Its signing secret can no longer be read. Create a new one."
"""The error of a message that can't be signed: GATEWAY_SECRET is another than it was."""
RETRY_AFTER_SECONDS_MAX = 43_200.0
"""The longest wait that an endpoint can ask for."""

_MINUTE, _HOUR = 60.0, 3_600.0
WAITS = (
    5.0, _MINUTE, 5 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR, 4 * _HOUR, 8 * _HOUR,
    12 * _HOUR, 12 * _HOUR, 12 * _HOUR, 12 * _HOUR, 12 * _HOUR,
)  # fmt: skip
"""Seconds before each retry, without jitter: together a little over three days."""
_JITTER = 0.2
_GONE = 410


class _Claim(NamedTuple):
    """An endpoint that this process sends to until its claim ends."""

    id: str
    organization_id: str
    url: str
    secrets: list[str]
    until: datetime


class _Body(msgspec.Struct):
    """What is sent."""

    type: str
    timestamp: datetime
    data: msgspec.Raw


class Deliverer:
    """Sends what is due; `run` is a job that returns at once, `stop` ends what it began."""

    def __init__(self, database: Database, secrets: SigningSecrets, transport: Transport) -> None:
        self._database = database
        self._secrets = secrets
        self._transport = transport
        self._turns: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Begin a turn for each endpoint with something due, as far as there are places."""
        while len(self._turns) < PLACES:
            claim = await self._claim()
            if claim is None:
                return
            turn = asyncio.create_task(self._turn(claim))
            self._turns.add(turn)
            turn.add_done_callback(self._turns.discard)

    async def idle(self) -> None:
        """Wait until every turn that has begun is over."""
        while self._turns:
            await asyncio.wait(self._turns)

    async def stop(self) -> None:
        """End all turns; what was on its way is sent again by another process."""
        turns = list(self._turns)
        for turn in turns:
            turn.cancel()
        await asyncio.gather(*turns, return_exceptions=True)
        await self._transport.close()

    async def _turn(self, claim: _Claim) -> None:
        try:
            ends = monotonic() + TURN_SECONDS
            while monotonic() < ends:
                some = await self._due(claim.id)
                if not some:
                    break
                await asyncio.gather(*(self._send(claim, delivery) for delivery in some))
        except Exception as error:  # noqa: BLE001 - the claim ends, and another turn comes
            log.error("webhooks stopped", endpoint=claim.id, reason=f"{type(error).__name__}")
        finally:
            with contextlib.suppress(Exception):
                await asyncio.shield(self._release(claim))

    async def _claim(self) -> _Claim | None:
        now = wall.now()
        waiting = _waiting(now)
        async with self._database.read() as connection:  # no write lock if nothing is due
            if await connection.scalar(waiting) is None:
                return None
        until = now + CLAIM
        async with self._database.write() as connection:
            row = (
                await connection.execute(
                    update(webhook_endpoints)
                    .where(
                        webhook_endpoints.c.id
                        == waiting.with_for_update(skip_locked=True).scalar_subquery()
                    )
                    .values(claimed_until=until, served_at=now)
                    .returning(webhook_endpoints)
                )
            ).one_or_none()
        if row is None:
            return None
        return _Claim(row.id, row.organization_id, row.url, self._signing(row, now), until)

    def _signing(self, row: Row[Any], now: datetime) -> list[str]:
        """Return the secrets that sign now: the newest first. None if none can be read."""
        sealed = [row.secret]
        if row.secret_before is not None and row.secret_before_until > now:
            sealed.append(row.secret_before)
        found = []
        for one in sealed:
            with contextlib.suppress(SecretUnreadable):
                found.append(self._secrets.unseal(row.id, one))
        return found

    async def _release(self, claim: _Claim) -> None:
        ours = (webhook_endpoints.c.id == claim.id) & (
            webhook_endpoints.c.claimed_until == claim.until
        )
        async with self._database.write() as connection:
            await connection.execute(
                update(webhook_endpoints).where(ours).values(claimed_until=None)
            )

    async def _due(self, endpoint_id: str) -> list[Row[Any]]:
        query = (
            select(
                webhook_deliveries,
                notices.c.type,
                notices.c.data,
                notices.c.created_at.label("happened_at"),
            )
            .join(notices, notices.c.id == webhook_deliveries.c.notice_id)
            .where(
                webhook_deliveries.c.endpoint_id == endpoint_id,
                webhook_deliveries.c.state == "pending",
                webhook_deliveries.c.due_at <= wall.now(),
            )
            .order_by(webhook_deliveries.c.due_at, webhook_deliveries.c.id)
            .limit(AT_ONCE)
        )
        async with self._database.read() as connection:
            return list(await connection.execute(query))

    async def _send(self, claim: _Claim, delivery: Row[Any]) -> None:
        began = wall.now()
        try:
            answered = await self._attempt(claim, delivery, began)
        except LookupsBusy:
            await self._postpone(delivery, began)
            return
        except Exception as error:  # noqa: BLE001 - an attempt counts, whatever ends it
            log.error("a webhook failed", delivery=delivery.id, reason=type(error).__name__)
            answered = DeliveryAttempt(milliseconds=0, error="The message could not be sent.")
        async with self._database.write() as connection:
            await _record(connection, claim, delivery, answered, began)

    async def _attempt(self, claim: _Claim, delivery: Row[Any], began: datetime) -> DeliveryAttempt:
        if not claim.secrets:
            return DeliveryAttempt(milliseconds=0, error=UNREADABLE)
        body = msgspec.json.encode(
            _Body(delivery.type, delivery.happened_at, msgspec.Raw(delivery.data.encode()))
        )
        headers = signatures.headers(
            claim.secrets, delivery.notice_id, int(began.timestamp()), body
        )
        return await self._transport.post(claim.organization_id, claim.url, headers, body)

    async def _postpone(self, delivery: Row[Any], now: datetime) -> None:
        """Try again soon what was not sent for want of a place here: no attempt, and no failure."""
        async with self._database.write() as connection:
            await connection.execute(
                update(webhook_deliveries)
                .where(
                    webhook_deliveries.c.id == delivery.id,
                    webhook_deliveries.c.state == "pending",
                    webhook_deliveries.c.attempts == delivery.attempts,
                )
                .values(due_at=now + POSTPONED)
            )


async def _record(
    connection: AsyncConnection,
    claim: _Claim,
    delivery: Row[Any],
    answered: DeliveryAttempt,
    began: datetime,
) -> None:
    """Store how an attempt ended, unless the delivery is another's or over by now."""
    now = wall.now()
    wait = _wait(delivery.attempts, answered)
    is_last = wait is None or now + wait > delivery.give_up_at
    retried = {"state": "failed"} if wait is None or is_last else {"due_at": now + wait}
    recorded = await connection.execute(
        update(webhook_deliveries)
        .where(
            webhook_deliveries.c.id == delivery.id,
            webhook_deliveries.c.state == "pending",
            webhook_deliveries.c.attempts == delivery.attempts,
        )
        .values(
            attempts=delivery.attempts + 1,
            attempted_at=began,
            status=answered.status,
            milliseconds=answered.milliseconds,
            answer=answered.answer,
            error=answered.error,
            **(retried if answered.error else {"state": "sent"}),
        )
    )
    if not recorded.rowcount:
        return
    endpoint = webhook_endpoints.c.id == delivery.endpoint_id
    if not answered.error:
        await connection.execute(
            update(webhook_endpoints)
            .where(endpoint, webhook_endpoints.c.failing_since.is_not(None))
            .values(failing_since=None)
        )
        return
    await connection.execute(
        update(webhook_endpoints)
        .where(endpoint, webhook_endpoints.c.failing_since.is_(None))
        .values(failing_since=began)
    )
    since = await connection.scalar(select(webhook_endpoints.c.failing_since).where(endpoint))
    if answered.status == _GONE:
        await disable_failing(connection, delivery.endpoint_id, "gone", now)
    elif since is not None and now - since >= FAILING:
        reason: DisabledByUs = "failing" if claim.secrets else "unreadable"
        await disable_failing(connection, delivery.endpoint_id, reason, now)


def _wait(attempts: int, answered: DeliveryAttempt) -> timedelta | None:
    """Return the time until the next attempt after so many before this one; None: no more."""
    if attempts >= len(WAITS) or answered.status == _GONE:
        return None
    jitter = 1 + _JITTER * random.random()  # noqa: S311
    asked = min(answered.retry_after_seconds, RETRY_AFTER_SECONDS_MAX)
    return timedelta(seconds=max(WAITS[attempts] * jitter, asked))


def _waiting(now: datetime) -> Select[tuple[str]]:
    """Select the endpoint to serve next."""
    due = exists().where(
        webhook_deliveries.c.endpoint_id == webhook_endpoints.c.id,
        webhook_deliveries.c.state == "pending",
        webhook_deliveries.c.due_at <= now,
    )
    free = webhook_endpoints.c.claimed_until
    others = webhook_endpoints.alias("others")
    served = (
        select(func.count())
        .select_from(others)
        .where(
            others.c.organization_id == webhook_endpoints.c.organization_id,
            others.c.claimed_until >= now,
        )
        .scalar_subquery()
    )
    return (
        select(webhook_endpoints.c.id)
        .where(
            webhook_endpoints.c.disabled_at.is_(None),
            webhook_endpoints.c.removed_at.is_(None),
            free.is_(None) | (free < now),
            due,
            served < EACH_MAX,
        )
        .order_by(webhook_endpoints.c.served_at, webhook_endpoints.c.id)
        .limit(1)
    )
