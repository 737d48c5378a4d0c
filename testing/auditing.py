"""An auditor of payments: what Stripe truly received, in plain Python, held against our books.

It reads the objects of the fake Stripe and knows nothing of events, versions or reconciliation, so
that it can't share a mistake with them. Two things must be true of a payment: at any moment no
more credit is posted than was received for it; once Stripe has been read, exactly what is left.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.fake_stripe.store import FakeStore, Item
from gateway.storage.ledger import books, invariants
from gateway.storage.tables import payments, stripe_transactions

CENT_NANOS = 10_000_000
GOING_BACK = {"pending", "requires_action", "succeeded"}
"""Refunds that take credit away; those that failed or were canceled give it back."""
HELD_BACK = {"needs_response", "under_review", "lost"}
"""Disputes that take credit away; a warning moves nothing, and one that was won gives it back."""


class Purchase(NamedTuple):
    """What Stripe knows of one payment, in cents with tax unless it says otherwise."""

    payment_id: str
    organization_id: str
    intent_id: str
    credit_cents: int
    """Without tax: what the buyer was promised."""
    asked_cents: int
    received_cents: int
    gone_cents: int
    """What refunds and disputes took of it."""

    @property
    def received_nanos(self) -> int:
        return self.received_cents * CENT_NANOS

    @property
    def desired_nanos(self) -> int:
        """The credit that it must be worth, rounded down."""
        if not self.received_cents:
            return 0
        tax_cents = self.asked_cents - self.credit_cents
        credit_cents = min(self.credit_cents, max(0, self.received_cents - tax_cents))
        left_cents = max(0, self.received_cents - self.gone_cents)
        return credit_cents * CENT_NANOS * left_cents // self.received_cents


def purchases(store: FakeStore) -> Iterator[Purchase]:
    """Yield what was bought from us, by what Stripe's payment intents say."""
    for intent in store.all("payment_intent"):
        named = intent["metadata"]
        if "payment_id" in named:
            yield Purchase(
                payment_id=named["payment_id"],
                organization_id=named["organization_id"],
                intent_id=intent["id"],
                credit_cents=int(named["credit_cents"]),
                asked_cents=intent["amount"],
                received_cents=intent["amount_received"],
                gone_cents=_gone(store, "refund", intent["id"], GOING_BACK)
                + _gone(store, "dispute", intent["id"], HELD_BACK),
            )


async def what_is_wrong(connection: AsyncConnection, store: FakeStore) -> list[str]:
    """Return what may never be, however little we have heard of Stripe so far."""
    found = [f"{breach.invariant.name}: {breach.culprits}" for breach in
             await invariants.audit(connection)]  # fmt: skip
    known = {purchase.payment_id: purchase for purchase in purchases(store)}
    for row in await _rows(connection):
        purchase = known.get(row.id)
        received = purchase.received_nanos if purchase else 0
        if row.posted_nanos + row.tax_posted_nanos > received:
            found.append(f"{row.id}: {row.posted_nanos} posted of {received} received")
    entered = set((await connection.scalars(select(stripe_transactions.c.id))).all())
    clearing = -(await books.balances(connection)).get("stripe_clearing", 0)
    at_stripe = sum(store.objects[name]["net"] for name in entered) * CENT_NANOS
    if clearing != at_stripe:
        found.append(f"stripe_clearing is {clearing}, and these transactions are {at_stripe}")
    return found


async def what_is_missing(
    connection: AsyncConnection, store: FakeStore, owner: str | None = None
) -> list[str]:
    """Return where our books are not yet what Stripe's objects say, of one organization or all."""
    rows = {row.id: row for row in await _rows(connection)}
    found = []
    ours = {
        purchase.intent_id: purchase
        for purchase in purchases(store)
        if owner in (None, purchase.organization_id)
    }
    for purchase in ours.values():
        row = rows.get(purchase.payment_id)
        if row is None:
            if purchase.received_cents:
                found.append(f"{purchase.payment_id}: {purchase.received_cents} never heard of")
        elif row.posted_nanos != purchase.desired_nanos:
            found.append(f"{row.id}: {row.posted_nanos} posted, not {purchase.desired_nanos}")
    entered = set((await connection.scalars(select(stripe_transactions.c.id))).all())
    found += [
        f"{moved['id']}: {moved['net']} cents at Stripe, and not in the books"
        for moved in store.all("balance_transaction")
        if moved["id"] not in entered and _owner(store, moved) in ours
    ]
    return found


async def _rows(connection: AsyncConnection) -> Sequence[Row[Any]]:
    columns = [payments.c[name] for name in ("id", "posted_nanos", "tax_posted_nanos")]
    return (await connection.execute(select(*columns))).all()


def _owner(store: FakeStore, moved: Item) -> str:
    """Return the payment intent that a balance transaction came from."""
    return str(store.objects[moved["source"]]["payment_intent"])


def _gone(store: FakeStore, kind: str, intent_id: str, statuses: set[str]) -> int:
    of_intent = store.all(kind, payment_intent=intent_id)
    return sum(one["amount"] for one in of_intent if one["status"] in statuses)
