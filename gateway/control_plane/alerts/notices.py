"""Notices: what happened to an organization, told once by mail and by webhook.

`publish` runs in the transaction of what happened, so a notice exists exactly when its cause does.
It costs two or three short statements there: the mails are written by a job (`notice_mails`), the
webhooks are sent by another (`deliveries`). A second notice with the same `ref` changes nothing.

What `data` holds, by type. Amounts of nano-dollars are integers here and strings in the webhook,
since a float would round them; `ref` must name the crossing, not just the kind.

    balance.low           available_nanos, threshold_nanos, days_left (or None)
    balance.empty         available_nanos
    budget.reached        key_id, key_name, percent, spent_nanos, limit_nanos, period
    auto_top_up.failed    payment_id (or None), amount_cents, message, reason: authentication (the
                          bank wants to ask), declined, stopped (declined too often, or for good),
                          error (Stripe's or ours) or limit (of the month: then month_cents_max and
                          nothing further); cause (expired_card, insufficient_funds, lost_card,
                          stolen_card or empty), card_brand, card_last_four, next_attempt_at (or
                          None)
    payment.credited      payment_id, credit_nanos, amount_cents, tax_cents, origin
    model.launched        model_id, price_nanos (for a million tokens)
    key.expiring          key_id, key_name, last_four, days, expires_at
    endpoint.disabled     endpoint_id, url, reason: failing, gone or unreadable (a mail, no webhook)
    endpoint.ping         endpoint_id (a webhook to that endpoint alone, no mail)
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

import msgspec
from sqlalchemy import delete, exists, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import money
from gateway.identifiers import new_id
from gateway.money import Nanos
from gateway.storage.database import insert_into
from gateway.storage.tables import (
    notices,
    webhook_deliveries,
    webhook_endpoints,
    webhook_subscriptions,
)

Subscribable = Literal[
    "balance.low",
    "balance.empty",
    "budget.reached",
    "auto_top_up.failed",
    "payment.credited",
    "model.launched",
    "key.expiring",
]
NoticeType = Subscribable | Literal["endpoint.disabled", "endpoint.ping"]

SUBSCRIBABLE: tuple[str, ...] = get_args(Subscribable)
"""What an endpoint can be sent."""
MAILED = (*(kind for kind in SUBSCRIBABLE if kind != "model.launched"), "endpoint.disabled")
"""What owners get a mail about. A launch has mails of its own, to those who asked for the model."""
OPTIONAL = tuple(kind for kind in MAILED if kind != "auto_top_up.failed")
"""What owners can switch off. After a failed auto top-up, requests will fail: it is always told."""
GIVE_UP = timedelta(days=4)
"""How long a delivery is retried at most: more than its waits add up to."""

_KEPT = timedelta(days=92)
"""How long a notice's row keeps its ref from being told again."""
_AT_ONCE = 1_000


class Notice(msgspec.Struct, frozen=True):
    """What happened; see the module for what `data` holds."""

    type: NoticeType
    ref: str
    data: Mapping[str, Any]
    created_at: datetime


async def publish(connection: AsyncConnection, organization_id: str, notice: Notice) -> bool:
    """Store a notice with its deliveries, once for each ref; return whether it is new."""
    notice_id = await store(connection, organization_id, notice)
    if notice_id is None:
        return False
    if notice.type in SUBSCRIBABLE:
        subscribed = await connection.scalars(
            select(webhook_endpoints.c.id)
            .join(
                webhook_subscriptions, webhook_subscriptions.c.endpoint_id == webhook_endpoints.c.id
            )
            .where(
                webhook_endpoints.c.organization_id == organization_id,
                webhook_endpoints.c.removed_at.is_(None),
                webhook_endpoints.c.disabled_at.is_(None),
                webhook_subscriptions.c.type == notice.type,
            )
        )
        for endpoint_id in subscribed.all():
            await queue(connection, endpoint_id, notice_id, notice.created_at)
    return True


async def store(connection: AsyncConnection, organization_id: str, notice: Notice) -> str | None:
    """Store a notice without deliveries; return its id, or None if its ref is known."""
    stored: str | None = await connection.scalar(
        insert_into(connection, notices)
        .values(
            id=new_id(),
            organization_id=organization_id,
            type=notice.type,
            ref=notice.ref,
            data=_json(notice.data),
            created_at=notice.created_at,
            mail_due_at=notice.created_at if notice.type in MAILED else None,
        )
        .on_conflict_do_nothing(index_elements=["organization_id", "ref"])
        .returning(notices.c.id)
    )
    return stored


async def queue(
    connection: AsyncConnection, endpoint_id: str, notice_id: str, now: datetime
) -> str:
    """Queue a notice for an endpoint, and return the delivery's id."""
    delivery_id = new_id()
    await connection.execute(
        insert(webhook_deliveries).values(
            id=delivery_id,
            endpoint_id=endpoint_id,
            notice_id=notice_id,
            state="pending",
            created_at=now,
            due_at=now,
            give_up_at=now + GIVE_UP,
            attempts=0,
            answer="",
            error="",
        )
    )
    return delivery_id


async def forget_old(connection: AsyncConnection, now: datetime) -> int:
    """Remove notices past their time whose deliveries are gone; return how many, bounded."""
    delivered = exists().where(webhook_deliveries.c.notice_id == notices.c.id)
    old = select(notices.c.id).where(notices.c.created_at < now - _KEPT, ~delivered).limit(_AT_ONCE)
    return (await connection.execute(delete(notices).where(notices.c.id.in_(old)))).rowcount


def _json(data: Mapping[str, Any]) -> str:
    """Write the data, nano-dollars as strings."""
    marked = {
        name: Nanos(value) if name.endswith("_nanos") and value is not None else value
        for name, value in data.items()
    }
    return money.encode(marked).decode()
