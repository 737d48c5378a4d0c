"""Refunds: pending or requires_action -> succeeded, failed or canceled; a success may still fail.

What is not failed or canceled counts against the charge; a failed refund's money comes back.
"""

from gateway.fake_stripe import balance
from gateway.fake_stripe.customers import merged
from gateway.fake_stripe.refusals import invalid
from gateway.fake_stripe.store import FakeStore, Item

ENDS = ("failed", "canceled")


def create(store: FakeStore, given: Item) -> Item:
    """Give back a charge's money, all that is left of it unless told how much."""
    charge = _charge(store, given)
    left = charge["amount"] - charge["amount_refunded"]
    amount = given.get("amount", left)
    if left == 0:
        raise invalid(
            f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded"
        )
    if charge["disputed"] and any(
        not dispute["is_charge_refundable"] and dispute["status"] != "won"
        for dispute in store.all("dispute", charge=charge["id"])
    ):
        raise invalid(f"Charge {charge['id']} has been charged back.", code="charge_disputed")
    if not 0 < amount <= left:
        raise invalid(
            f"Refund amount (${amount / 100:.2f}) is greater than unrefunded amount on charge "
            f"(${left / 100:.2f})",
            "amount",
        )
    is_card = charge["payment_method_details"]["type"] == "card"
    refund = store.add(
        "refund",
        "re" if is_card else "pyr",
        amount=amount,
        charge=charge["id"],
        currency="usd",
        destination_details={"type": charge["payment_method_details"]["type"]},
        failure_balance_transaction=None,
        failure_reason=None,
        metadata=given.get("metadata", {}),
        payment_intent=charge["payment_intent"],
        reason=given.get("reason"),
        receipt_number=None,
        source_transfer_reversal=None,
        status=store.refunds_begin if is_card else "pending",
        transfer_reversal=None,
    )
    kind = "refund" if is_card else "payment_refund"
    booked = balance.post(store, kind, -amount, refund, category="refund")
    refund["balance_transaction"] = booked["id"]
    _count(charge, amount)
    store.emit("refund.created", refund)
    store.emit("charge.refunded", charge)
    return refund


def update(store: FakeStore, identifier: str, given: Item) -> Item:
    """Change a refund's metadata."""
    refund = store.get("refund", identifier)
    if "metadata" in given:
        refund["metadata"] = merged(refund["metadata"], given["metadata"])
    store.emit("refund.updated", refund)
    return refund


def cancel(store: FakeStore, identifier: str) -> Item:
    """Cancel a refund that waits for its receiver."""
    refund = store.get("refund", identifier)
    if refund["status"] != "requires_action":
        raise invalid(f"A refund with a status of {refund['status']} can't be canceled.")
    return settle(store, identifier, "canceled")


def settle(store: FakeStore, identifier: str, status: str) -> Item:
    """Let the bank answer."""
    refund = store.get("refund", identifier)
    if refund["status"] in ENDS or status not in {"succeeded", "requires_action", *ENDS}:
        raise invalid(f"A refund can't go from {refund['status']} to {status}.")
    refund["status"] = status
    if status in ENDS:
        refund["failure_reason"] = "expired_or_canceled_card" if status == "failed" else None
        booked = balance.post(store, "refund_failure", refund["amount"], refund)
        refund["failure_balance_transaction"] = booked["id"]
        _count(store.get("charge", refund["charge"]), -refund["amount"])
    store.emit("refund.updated", refund)
    if status == "failed":
        store.emit("refund.failed", refund)
    return refund


def _charge(store: FakeStore, given: Item) -> Item:
    if "charge" in given:
        charge = store.get("charge", given["charge"], "charge")
    elif "payment_intent" in given:
        intent = store.get("payment_intent", given["payment_intent"], "payment_intent")
        if intent["latest_charge"] is None:
            raise invalid("This PaymentIntent does not have a successful charge to refund.")
        charge = store.get("charge", intent["latest_charge"])
    else:
        raise invalid(
            "One of the following params should be provided for this request: payment_intent or "
            "charge.",
            code="parameter_missing",
        )
    if charge["status"] != "succeeded":
        raise invalid("This PaymentIntent does not have a successful charge to refund.")
    return charge


def _count(charge: Item, amount: int) -> None:
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
