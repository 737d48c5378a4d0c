"""Disputes and early fraud warnings, which only banks make.

needs_response -> under_review -> won or lost; an inquiry begins as warning_needs_response, takes
no money, and ends as warning_closed or becomes a dispute. A lost dispute's money is gone since it
began; a won one's comes back, but for the fee.
"""

from gateway.fake_stripe import balance
from gateway.fake_stripe.customers import merged
from gateway.fake_stripe.refusals import invalid
from gateway.fake_stripe.store import FakeStore, Item

RESPONSE_SECONDS = 7 * balance.DAY_SECONDS
NEXT = {
    "warning_needs_response": {"warning_under_review", "warning_closed", "needs_response"},
    "warning_under_review": {"warning_closed", "needs_response"},
    "needs_response": {"under_review", "won", "lost"},
    "under_review": {"won", "lost"},
}
CLOSED = {"won", "lost", "warning_closed", "prevented"}


def create(
    store: FakeStore, intent_id: str, *, status: str, reason: str, amount: int | None
) -> Item:
    """Let the bank dispute a charge, or ask about it."""
    intent = store.get("payment_intent", intent_id)
    charge = store.get("charge", intent["latest_charge"] or "")
    if charge["status"] != "succeeded":
        raise invalid("Only what was paid can be disputed.")
    if status not in {"prevented", *NEXT}:
        raise invalid(f"A dispute can't begin as {status}.")
    takes = not status.startswith("warning") and status != "prevented"
    dispute = store.add(
        "dispute",
        "du",
        amount=charge["amount"] - charge["amount_refunded"] if amount is None else amount,
        balance_transactions=[],
        charge=charge["id"],
        currency="usd",
        enhanced_eligibility_types=[],
        evidence={},
        evidence_details={
            "due_by": store.now() + RESPONSE_SECONDS,
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        is_charge_refundable=not takes,
        metadata={},
        payment_intent=intent_id,
        payment_method_details={
            "type": "card",
            "card": {"brand": "visa", "case_type": "chargeback", "network_reason_code": "10.4"},
        },
        reason=reason,
        status=status,
    )
    charge["disputed"] = True
    store.emit("charge.dispute.created", dispute)
    if takes:
        _withdraw(store, dispute)
    return dispute


def move(store: FakeStore, identifier: str, status: str) -> Item:
    """Let the bank decide, or go on."""
    dispute = store.get("dispute", identifier)
    if status not in NEXT.get(dispute["status"], set()):
        raise invalid(f"A dispute can't go from {dispute['status']} to {status}.")
    dispute["status"] = status
    store.emit("charge.dispute.updated", dispute)
    if status == "needs_response":
        _withdraw(store, dispute)
    if status == "won":
        back = balance.post(
            store, "adjustment", dispute["amount"], dispute, category="dispute_reversal"
        )
        dispute["balance_transactions"].append(back)
        store.emit("charge.dispute.funds_reinstated", dispute)
    if status in CLOSED:
        store.emit("charge.dispute.closed", dispute)
    return dispute


def update(store: FakeStore, identifier: str, given: Item) -> Item:
    """Take evidence; what is submitted goes to the bank."""
    dispute = store.get("dispute", identifier)
    if dispute["status"] in CLOSED:
        raise invalid("This dispute is already closed.")
    if "metadata" in given:
        dispute["metadata"] = merged(dispute["metadata"], given["metadata"])
    dispute["evidence"] |= given.get("evidence", {})
    dispute["evidence_details"]["has_evidence"] = bool(dispute["evidence"])
    if given.get("submit", True) and given.get("evidence"):
        dispute["evidence_details"]["submission_count"] += 1
        warns = dispute["status"].startswith("warning")
        return move(store, identifier, "warning_under_review" if warns else "under_review")
    store.emit("charge.dispute.updated", dispute)
    return dispute


def close(store: FakeStore, identifier: str) -> Item:
    """Accept a dispute: it is lost."""
    return move(store, identifier, "lost")


def warn(store: FakeStore, intent_id: str, fraud_type: str) -> Item:
    """Let the card's network say that a payment looks like fraud; no money moves."""
    intent = store.get("payment_intent", intent_id)
    warning = store.add(
        "radar.early_fraud_warning",
        "issfr",
        actionable=True,
        charge=intent["latest_charge"],
        fraud_type=fraud_type,
        payment_intent=intent_id,
    )
    store.emit("radar.early_fraud_warning.created", warning)
    return warning


def _withdraw(store: FakeStore, dispute: Item) -> None:
    dispute["is_charge_refundable"] = False
    taken = balance.post(
        store,
        "adjustment",
        -dispute["amount"],
        dispute,
        balance.DISPUTE_FEE_CENTS,
        "dispute",
    )
    dispute["balance_transactions"].append(taken)
    store.emit("charge.dispute.funds_withdrawn", dispute)
