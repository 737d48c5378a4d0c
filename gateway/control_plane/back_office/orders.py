"""Operators' orders to move money, as stored until a second operator approves."""

from __future__ import annotations

from uuid import NAMESPACE_URL, uuid5

import msgspec

from gateway.storage.ledger.grants import Kind

REASON_CHARACTERS_MAX = 500
"""Longest reason for what an operator does."""


class GrantOrder(msgspec.Struct, frozen=True, kw_only=True, tag="grant"):
    """Give credit. The same `source_ref` is granted once."""

    organization_id: str
    amount_nanos: int
    source_ref: str
    kind: Kind = "promo"
    expires_days: int | None = None
    """Days from when it is granted until it expires; None: never."""


class TakeOrder(msgspec.Struct, frozen=True, kw_only=True, tag="take"):
    """Take granted credit back from its lot. The same `ref` takes from a lot once."""

    organization_id: str
    lot_id: str
    amount_nanos: int
    ref: str


class RefundOrder(msgspec.Struct, frozen=True, kw_only=True, tag="refund"):
    """Give a payment's money back, tax included; without an amount, all that is left of it."""

    organization_id: str
    payment_id: str
    amount_cents: int | None = None


class UndoOrder(msgspec.Struct, frozen=True, kw_only=True, tag="undo"):
    """Reverse a grant or a deduction with another entry, once."""

    organization_id: str
    entry_id: int


PlainOrder = GrantOrder | TakeOrder | RefundOrder
"""An order that says itself what moves."""
Order = PlainOrder | UndoOrder


def encode(order: Order) -> str:
    """Write an order as JSON, the same for the same order."""
    return msgspec.json.encode(order, order="deterministic").decode()


def decode(details: str) -> Order:
    """Read an order."""
    order: Order = msgspec.json.decode(details, type=Order)
    return order


def named(*words: str) -> str:
    """Return the id of the order that some words stand for, such as a reference of a command."""
    return str(uuid5(NAMESPACE_URL, "|".join(("money-order", *words))))
