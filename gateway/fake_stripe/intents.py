"""Payment intents and their charges.

requires_payment_method -> requires_action -> processing -> succeeded; a decline goes back to
requires_payment_method, with what went wrong in last_payment_error. An intent has at most one
charge that succeeded.
"""

from gateway.fake_stripe import balance, cards
from gateway.fake_stripe.cards import AUTHENTICATION, BANK_DEBIT, Decline
from gateway.fake_stripe.customers import behavior, find_method, living, merged, save
from gateway.fake_stripe.refusals import ApiRefusal, invalid
from gateway.fake_stripe.store import FakeStore, Item, public


def create(store: FakeStore, given: Item) -> Item:
    """Make an intent, and charge the payment method at once if `confirm` says so."""
    confirms = given.get("confirm", False)
    if given.get("off_session") and not confirms:
        raise invalid("off_session can only be set when confirm is true.", "off_session")
    if "customer" in given:
        living(store, given["customer"], "customer")
    method = _method(store, given)
    if confirms and method is None:
        raise invalid("You must give a payment_method to confirm.", "payment_method")
    _check_tax(store, given)
    intent = new(store, given["amount"], given.get("customer"), given)
    intent["payment_method"] = method["id"] if method else None
    if confirms and method:
        _attempt(store, intent, method, is_present=not given.get("off_session", False))
    return intent


def new(store: FakeStore, amount_cents: int, customer_id: str | None, given: Item) -> Item:
    """Add an intent that nobody has paid."""
    intent = store.add(
        "payment_intent",
        "pi",
        amount=amount_cents,
        amount_capturable=0,
        amount_received=0,
        application=None,
        automatic_payment_methods={"allow_redirects": "always", "enabled": True},
        canceled_at=None,
        cancellation_reason=None,
        capture_method="automatic_async",
        client_secret=f"pi_secret_{store.number()}",
        confirmation_method="automatic",
        currency="usd",
        customer=customer_id,
        description=given.get("description"),
        hooks=given.get("hooks"),
        last_payment_error=None,
        latest_charge=None,
        metadata=given.get("metadata", {}),
        next_action=None,
        payment_method=None,
        payment_method_types=["card", "us_bank_account"],
        processing=None,
        receipt_email=given.get("receipt_email"),
        setup_future_usage=given.get("setup_future_usage"),
        shipping=None,
        statement_descriptor=None,
        statement_descriptor_suffix=given.get("statement_descriptor_suffix"),
        status="requires_payment_method",
    )
    store.emit("payment_intent.created", intent)
    return intent


def update(store: FakeStore, identifier: str, given: Item) -> Item:
    """Change what an intent says of itself."""
    intent = store.get("payment_intent", identifier)
    changed = dict(given)
    if "metadata" in changed:
        intent["metadata"] = merged(intent["metadata"], changed.pop("metadata"))
    intent |= changed
    return intent


def confirm(store: FakeStore, identifier: str, given: Item) -> Item:
    """Charge an intent that waits for it."""
    intent = store.get("payment_intent", identifier)
    _expect(intent, "confirm", "requires_payment_method", "requires_confirmation")
    name = given.get("payment_method") or intent["payment_method"]
    method = _method(store, {"payment_method": name, "customer": intent["customer"]})
    if method is None:
        raise invalid("You must give a payment_method to confirm.", "payment_method")
    _attempt(store, intent, method, is_present=not given.get("off_session", False))
    return intent


def cancel(store: FakeStore, identifier: str, given: Item) -> Item:
    """Cancel an intent that did not succeed; a session's is canceled by expiring the session."""
    intent = store.get("payment_intent", identifier)
    _expect(intent, "cancel", "requires_payment_method", "requires_confirmation", "requires_action")
    if intent.get("_session"):
        raise invalid("You cannot cancel this PaymentIntent: a Checkout Session created it.")
    return void(store, intent, given.get("cancellation_reason"))


def void(store: FakeStore, intent: Item, reason: str | None) -> Item:
    """Cancel without questions."""
    intent |= {
        "status": "canceled",
        "canceled_at": store.now(),
        "cancellation_reason": reason,
        "next_action": None,
    }
    store.emit("payment_intent.canceled", intent)
    return intent


def charge(store: FakeStore, intent: Item, method: Item, *, is_present: bool) -> Decline | None:
    """Charge a payment method, and say why not if it is declined."""
    how = behavior(store, method)
    intent |= {"payment_method": method["id"], "last_payment_error": None, "next_action": None}
    made = _new_charge(store, intent, method)
    if why := cards.decline(how, is_present=is_present):
        fail(store, intent, made, why)
        return why
    if how == BANK_DEBIT:
        intent["status"] = "processing"
        store.emit("charge.pending", made)
        store.emit("payment_intent.processing", intent)
        return None
    succeed(store, intent, made)
    return None


def succeed(store: FakeStore, intent: Item, made: Item) -> None:
    """Receive a charge's money."""
    made |= {"status": "succeeded", "paid": True, "captured": True}
    made |= {"amount_captured": made["amount"], "receipt_url": f"{store.url}/receipts/{made['id']}"}
    intent |= {"status": "succeeded", "amount_received": intent["amount"], "processing": None}
    if not store.books_late:
        balance.post_charge(store, made)
    store.emit("charge.succeeded", made)
    if intent["setup_future_usage"] and intent["customer"]:
        save(store, store.get("payment_method", intent["payment_method"]), intent["customer"])
    store.emit("payment_intent.succeeded", intent)


def fail(store: FakeStore, intent: Item, made: Item, why: Decline) -> None:
    """Record that a charge was declined; the intent may be tried again."""
    made |= {"status": "failed", "failure_code": why.code, "failure_message": why.message}
    intent |= {
        "status": "requires_payment_method",
        "payment_method": None,
        "last_payment_error": {
            "charge": made["id"],
            "code": why.code,
            "decline_code": why.decline_code,
            "message": why.message,
            "payment_method": public(store.get("payment_method", made["payment_method"])),
            "type": "card_error",
        },
    }
    store.emit("charge.failed", made)
    store.emit("payment_intent.payment_failed", intent)


def authenticate(store: FakeStore, identifier: str, *, succeeds: bool) -> Item:
    """Answer the bank's question, as the holder of a card that waits for it."""
    intent = store.get("payment_intent", identifier)
    _expect(intent, "authenticate", "requires_action")
    method = store.get("payment_method", intent["payment_method"])
    if succeeds:
        charge(store, intent, method, is_present=True)
    else:
        why = Decline(
            "payment_intent_authentication_failure", "authentication_required", "Not confirmed."
        )
        intent["next_action"] = None
        fail(store, intent, _new_charge(store, intent, method), why)
    return intent


def settle(store: FakeStore, identifier: str, *, succeeds: bool) -> Item:
    """Let a bank debit that is processing succeed, or fail."""
    intent = store.get("payment_intent", identifier)
    _expect(intent, "settle", "processing")
    made = store.get("charge", intent["latest_charge"])
    if succeeds:
        succeed(store, intent, made)
    else:
        fail(store, intent, made, cards.DECLINES[BANK_DEBIT])
    return intent


def _attempt(store: FakeStore, intent: Item, method: Item, *, is_present: bool) -> None:
    if is_present and behavior(store, method) == AUTHENTICATION:
        intent |= {
            "payment_method": method["id"],
            "status": "requires_action",
            "next_action": {"type": "use_stripe_sdk", "use_stripe_sdk": {}},
        }
        store.emit("payment_intent.requires_action", intent)
    elif why := charge(store, intent, method, is_present=is_present):
        raise ApiRefusal(
            402,
            why.message,
            type="card_error",
            code=why.code,
            executed=True,
            decline_code=why.decline_code,
            charge=intent["latest_charge"],
            payment_intent=public(intent),
            payment_method=public(method),
        )


def _new_charge(store: FakeStore, intent: Item, method: Item) -> Item:
    made = store.add(
        "charge",
        "ch" if method["type"] == "card" else "py",
        amount=intent["amount"],
        amount_captured=0,
        amount_refunded=0,
        balance_transaction=None,
        billing_details=method["billing_details"],
        captured=False,
        currency="usd",
        customer=intent["customer"],
        description=intent["description"],
        disputed=False,
        failure_balance_transaction=None,
        failure_code=None,
        failure_message=None,
        fraud_details={},
        metadata=dict(intent["metadata"]),
        paid=False,
        payment_intent=intent["id"],
        payment_method=method["id"],
        payment_method_details={"type": method["type"], method["type"]: method[method["type"]]},
        receipt_email=intent["receipt_email"],
        receipt_number=None,
        receipt_url=None,
        refunded=False,
        status="pending",
    )
    intent["latest_charge"] = made["id"]
    return made


def _method(store: FakeStore, given: Item) -> Item | None:
    if not given.get("payment_method"):
        return None
    method = find_method(store, given["payment_method"])
    behavior(store, method)
    owner = method["customer"]
    if owner and owner != given.get("customer"):
        raise invalid(
            f"The provided PaymentMethod ({method['id']}) does not belong to the Customer.",
            "payment_method",
            "payment_method_customer_decline" if given.get("customer") else None,
        )
    return method


def _check_tax(store: FakeStore, given: Item) -> None:
    name = given.get("hooks", {}).get("inputs", {}).get("tax", {}).get("calculation")
    if not name:
        return
    calculation = store.get("tax.calculation", name, "hooks[inputs][tax][calculation]")
    if calculation["expires_at"] < store.now():
        raise invalid("The tax calculation has expired.", "hooks[inputs][tax][calculation]")
    if calculation["amount_total"] != given["amount"]:
        raise invalid("The amount does not match the tax calculation's amount_total.", "amount")


def _expect(intent: Item, what: str, *states: str) -> None:
    if intent["status"] not in states:
        raise invalid(
            f"You cannot {what} this PaymentIntent because it has a status of {intent['status']}.",
            code="payment_intent_unexpected_state",
        )
