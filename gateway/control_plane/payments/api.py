"""POST /webhooks/stripe: verifies and stores an event of Stripe's, and does nothing else.

The answer does not wait for Stripe or for a payment: one row is inserted, at most once for each
event, and the reconciler is woken. A refused event leaves nothing but a count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from litestar import Request, post
from litestar.exceptions import ClientException
from litestar.handlers import HTTPRouteHandler

from gateway import wall
from gateway.control_plane.payments import stored_events
from gateway.control_plane.payments.events import TYPES, EventRefused, parse
from gateway.control_plane.payments.stripe_api import API_VERSION
from gateway.observability import metrics
from gateway.storage.database import Database

BODY_BYTES_MAX = 262_144
"""Largest event that is read; Stripe's are a few thousand bytes."""

BODY_SECONDS = 10.0
"""How long a body may take to arrive."""

_TOO_LARGE = 413


def webhook(
    database: Database, secrets: Sequence[str], *, live: bool, wake: Callable[[], None]
) -> HTTPRouteHandler:
    """Make the route; `wake` is called for each event that was stored."""
    assert secrets, "without a secret there is no route"

    @post("/webhooks/stripe", status_code=200, request_max_body_size=BODY_BYTES_MAX)
    async def take(request: Request[Any, Any, Any]) -> None:
        """Store one event, or raise EventRefused (400)."""
        try:
            body = await _body(request)
            signature = request.headers.get("stripe-signature", "")
            event = parse(
                body, signature, secrets, live=live, version=API_VERSION, now=wall.unix_time()
            )
        except EventRefused as error:
            metrics.count_refused_event(error.reason)
            raise
        known = event.type in TYPES
        metrics.count_event(event.type if known else "other")
        if known and await stored_events.put(database, event):
            wake()

    return take


async def _body(request: Request[Any, Any, Any]) -> bytes:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.body()
    except TimeoutError:
        raise EventRefused("slow") from None
    except ClientException as error:
        if error.status_code != _TOO_LARGE:
            raise
        metrics.count_refused_event("size")
        raise
