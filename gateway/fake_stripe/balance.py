"""Balance transactions: what each movement of money did to the account's balance.

They are never changed, and their net amounts add up to the balance.
"""

from gateway.fake_stripe.store import FakeStore, Item

DISPUTE_FEE_CENTS = 1500
DAY_SECONDS = 86_400


def charge_fee_cents(amount_cents: int) -> int:
    """Compute Stripe's part of a charge: 2.9 % and 30 cents."""
    return (amount_cents * 29 + 500) // 1000 + 30


def post(
    store: FakeStore,
    kind: str,
    amount_cents: int,
    source: Item,
    fee_cents: int = 0,
    category: str = "",
) -> Item:
    """Add a balance transaction: `amount` came in, or went out, and a fee was taken."""
    return store.add(
        "balance_transaction",
        "txn",
        amount=amount_cents,
        available_on=store.now() + 2 * DAY_SECONDS,
        balance_type="payments",
        currency="usd",
        description=None,
        exchange_rate=None,
        fee=fee_cents,
        fee_details=[
            {
                "amount": fee_cents,
                "application": None,
                "currency": "usd",
                "description": "Stripe processing fees",
                "type": "stripe_fee",
            }
        ]
        if fee_cents
        else [],
        net=amount_cents - fee_cents,
        reporting_category=category or kind,
        source=source["id"],
        status="pending",
        type=kind,
    )


def post_charge(store: FakeStore, charge: Item) -> None:
    """Book a charge that succeeded."""
    kind = "charge" if charge["payment_method_details"]["type"] == "card" else "payment"
    fee_cents = charge_fee_cents(charge["amount"])
    booked = post(store, kind, charge["amount"], charge, fee_cents, "charge")
    charge["balance_transaction"] = booked["id"]


def net_cents(store: FakeStore) -> int:
    """Add up what the account has at Stripe."""
    return sum(booked["net"] for booked in store.all("balance_transaction"))


def ripen(store: FakeStore) -> None:
    """Make available what was received long enough ago."""
    for booked in store.all("balance_transaction", status="pending"):
        if booked["available_on"] <= store.now():
            booked["status"] = "available"


def retrieve(store: FakeStore) -> Item:
    """Give the account's balance."""
    ripen(store)

    def amounts(status: str) -> list[Item]:
        found = store.all("balance_transaction", status=status)
        cents = sum(booked["net"] for booked in found)
        return [{"amount": cents, "currency": "usd", "source_types": {"card": cents}}]

    return {
        "object": "balance",
        "available": amounts("available"),
        "livemode": store.livemode,
        "pending": amounts("pending"),
    }
