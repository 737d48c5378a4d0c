"""Stripe's events: what is taken from a call to our webhook, and what each type is about.

A call is believed if one of our secrets signed it within the last minutes. Only ids are kept of its
content: its object may have changed since, so it is read at Stripe anew. Snapshot events (which
carry the object) and thin ones (which name it) are treated alike.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import msgspec

from gateway.errors import BadRequest
from gateway.identifiers import is_id

TOLERANCE_SECONDS = 300
"""How far the time of a signature may be from ours."""

PAYMENT_EVENTS = frozenset(
    {
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
        "checkout.session.async_payment_failed",
        "checkout.session.expired",
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.processing",
        "payment_intent.canceled",
        "charge.updated",
        "charge.refunded",
        "charge.refund.updated",
        "refund.created",
        "refund.updated",
        "refund.failed",
        "charge.dispute.created",
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.funds_reinstated",
    }
)
"""Types that mean: read the payment again."""
CUSTOMER_EVENTS = frozenset(
    {
        "radar.early_fraud_warning.created",
        "payment_method.attached",
        "payment_method.detached",
        "payment_method.automatically_updated",
        "customer.deleted",
        "setup_intent.succeeded",
    }
)
"""Types about a buyer or a card."""
TYPES = PAYMENT_EVENTS | CUSTOMER_EVENTS
"""All types that we act on; others are answered with 200 and dropped."""

Refusal = Literal[
    "signature", "timestamp", "malformed", "mode", "account", "version", "size", "slow"
]

_MALFORMED = (
    msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError, OverflowError,
    RecursionError,
)  # fmt: skip
_ID = re.compile(r"\w{1,255}")
_SIGNATURES_MAX = 20


class EventRefused(BadRequest):
    """The call is not one of Stripe's, or not meant for this gateway."""

    code = "event_refused"

    def __init__(self, reason: Refusal) -> None:
        super().__init__(f"The event is refused: {reason}.")
        self.reason = reason


class StripeEvent(NamedTuple):
    """What is kept of an event."""

    id: str
    type: str
    object_id: str
    intent_id: str | None
    payment_id: str | None
    customer_id: str | None
    created_at: datetime


def parse(
    body: bytes, signature: str, secrets: Sequence[str], *, live: bool, version: str, now: float
) -> StripeEvent:
    """Verify a call and return what is kept of it. Raises EventRefused."""
    verify(body, signature, secrets, now=now)
    try:
        said = msgspec.json.decode(body)
        event = _thin(said) if said["object"] == "v2.core.event" else _snapshot(said)
    except _MALFORMED:
        raise EventRefused("malformed") from None
    if said.get("livemode") is not live:
        raise EventRefused("mode")
    if said.get("account") or said.get("context"):
        raise EventRefused("account")
    if "api_version" in said and not _same_train(said["api_version"], version):
        raise EventRefused("version")
    return event


def verify(body: bytes, signature: str, secrets: Sequence[str], *, now: float) -> None:
    """Check the header Stripe-Signature over the raw body. Raises EventRefused.

    As the `stripe` package does, without importing it; times too far ahead are refused as well.
    """
    parts = [part.strip().partition("=") for part in signature.split(",")[:_SIGNATURES_MAX]]
    times = [value for name, _, value in parts if name == "t"]
    given = [value for name, _, value in parts if name == "v1"]
    if len(times) != 1 or not times[0].isascii() or not times[0].isdigit():
        raise EventRefused("signature")
    signed = times[0].encode() + b"." + body
    good = [hmac.digest(secret.encode(), signed, "sha256").hex() for secret in secrets]
    # every pair is compared, so that the time taken says nothing
    matches = [hmac.compare_digest(one.encode(), other.encode()) for one in good for other in given]
    if not any(matches):
        raise EventRefused("signature")
    if abs(now - int(times[0])) > TOLERANCE_SECONDS:
        raise EventRefused("timestamp")


def _snapshot(said: dict[str, Any]) -> StripeEvent:
    """Take an event that carries its object."""
    if said["object"] != "event":
        raise ValueError
    about = said["data"]["object"]
    kind, object_id = about["object"], about["id"]
    metadata = about.get("metadata") or {}
    payment_id = metadata.get("payment_id")
    return StripeEvent(
        id=_id(said["id"]),
        type=_type(said["type"]),
        object_id=_id(object_id),
        intent_id=object_id if kind == "payment_intent" else _id_of(about.get("payment_intent")),
        payment_id=payment_id if isinstance(payment_id, str) and is_id(payment_id) else None,
        customer_id=object_id if kind == "customer" else _id_of(about.get("customer")),
        created_at=datetime.fromtimestamp(said["created"], UTC),
    )


def _thin(said: dict[str, Any]) -> StripeEvent:
    """Take an event that names its object."""
    about = said["related_object"]
    object_id = _id(about["id"])
    return StripeEvent(
        id=_id(said["id"]),
        type=_type(said["type"].removeprefix("v1.")),
        object_id=object_id,
        intent_id=object_id if about["type"] == "payment_intent" else None,
        payment_id=None,
        customer_id=object_id if about["type"] == "customer" else None,
        created_at=datetime.fromisoformat(said["created"]).astimezone(UTC),
    )


def _id(value: Any) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError
    return value


def _id_of(value: Any) -> str | None:
    """Return the id of an object that may be expanded, or missing."""
    if isinstance(value, dict):
        value = value.get("id")
    return None if value is None else _id(value)


def _type(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _same_train(said: Any, version: str) -> bool:
    """Tell whether an API version has the name of ours: versions of one name are compatible."""
    return isinstance(said, str) and said.partition(".")[2] == version.partition(".")[2]
