"""Checkout sessions, and what a buyer does on their page.

open -> complete or expired. The payment intent is made when the buyer confirms, not before. A bank
debit completes a session that is still unpaid; it succeeds or fails days later.
"""

from typing import Any

from gateway.fake_stripe import intents, invoices, tax
from gateway.fake_stripe.customers import add_method, living
from gateway.fake_stripe.parameters import CENTS
from gateway.fake_stripe.refusals import invalid
from gateway.fake_stripe.store import FakeStore, Item

EXPIRES_SECONDS_MIN = 30 * 60
EXPIRES_SECONDS_MAX = 24 * 3600


def create(store: FakeStore, given: Item) -> Item:
    """Open a session."""
    _check(store, given)
    expires_at = given.get("expires_at", store.now() + EXPIRES_SECONDS_MAX)
    subtotal = sum(
        line["price_data"]["unit_amount"] * line.get("quantity", 1) for line in given["line_items"]
    )
    CENTS(str(subtotal), "line_items")
    session = store.add(
        "checkout.session",
        "cs_test",
        **_as_given(given),
        amount_subtotal=subtotal,
        amount_total=subtotal,
        currency="usd",
        custom_fields=[],
        customer_details=None,
        expires_at=expires_at,
        invoice=None,
        payment_intent=None,
        payment_method_types=["card", "us_bank_account"],
        payment_status="unpaid",
        setup_intent=None,
        shipping_options=[],
        status="open",
        subscription=None,
        total_details={"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        ui_mode="hosted_page",
        _lines=given["line_items"],
        _intent_data=given.get("payment_intent_data", {}),
        _invoice_data=given.get("invoice_creation", {}).get("invoice_data", {}),
        _customer_update=given.get("customer_update", {}),
    )
    session["url"] = f"{store.url}/checkout/{session['id']}"
    return session


def _as_given(given: Item) -> Item:
    """Take what a session repeats of its parameters."""
    has_tax = given.get("automatic_tax", {}).get("enabled", False)
    return {
        "allow_promotion_codes": None,
        "automatic_tax": {
            "enabled": has_tax,
            "liability": {"type": "self"} if has_tax else None,
            "provider": "stripe" if has_tax else None,
            "status": "requires_location_inputs" if has_tax else None,
        },
        "billing_address_collection": given.get("billing_address_collection"),
        "cancel_url": given.get("cancel_url"),
        "client_reference_id": given.get("client_reference_id"),
        "consent": None,
        "consent_collection": given.get("consent_collection"),
        "custom_text": {
            "after_submit": None,
            "shipping_address": None,
            "submit": None,
            "terms_of_service_acceptance": None,
        }
        | given.get("custom_text", {}),
        "customer": given.get("customer"),
        "customer_creation": None if "customer" in given else "if_required",
        "customer_email": given.get("customer_email"),
        "invoice_creation": {
            "enabled": given.get("invoice_creation", {}).get("enabled", False),
            "invoice_data": given.get("invoice_creation", {}).get("invoice_data", {}),
        },
        "locale": given.get("locale"),
        "metadata": given.get("metadata", {}),
        "mode": given["mode"],
        "saved_payment_method_options": given.get("saved_payment_method_options"),
        "submit_type": given.get("submit_type"),
        "success_url": given["success_url"],
        "tax_id_collection": {"required": "never", "enabled": False}
        | given.get("tax_id_collection", {}),
    }


def _check(store: FakeStore, given: Item) -> None:
    age = given.get("expires_at", store.now() + EXPIRES_SECONDS_MAX) - store.now()
    if not EXPIRES_SECONDS_MIN - 5 <= age <= EXPIRES_SECONDS_MAX + 5:
        raise invalid(
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from creation.",
            "expires_at",
        )
    if "customer" not in given:
        if "customer_update" in given:
            raise invalid("`customer_update` needs a `customer`.", "customer_update")
        return
    customer = living(store, given["customer"], "customer")
    if "customer_email" in given:
        raise invalid("`customer` excludes `customer_email`.", "customer")
    updates = given.get("customer_update", {})
    has_address = customer["address"] or updates.get("address") == "auto"
    if given.get("automatic_tax", {}).get("enabled") and not has_address:
        raise invalid(
            "Automatic tax calculation in Checkout requires a valid address on the Customer, or "
            "`customer_update[address]` set to 'auto'.",
            "automatic_tax",
            "customer_tax_location_invalid",
        )
    if given.get("tax_id_collection", {}).get("enabled") and updates.get("name") != "auto":
        raise invalid(
            "Tax ID collection requires `customer_update[name]` set to 'auto'.",
            "tax_id_collection",
        )


def pay(store: FakeStore, identifier: str, card: str, buyer: dict[str, Any]) -> Item:
    """Confirm as the buyer: the session completes unless the card is declined."""
    session = store.get("checkout.session", identifier)
    expect_open(session)
    _enter(store, session, buyer)
    details = session["customer_details"]
    billing = {name: details[name] for name in ("address", "email", "name", "phone")}
    method = add_method(store, card, billing)
    intent = _intent(store, session)
    if intents.charge(store, intent, method, is_present=True):
        return session
    session |= {"status": "complete", "url": None}
    if intent["status"] == "succeeded":
        _paid(store, session)
    store.emit("checkout.session.completed", session)
    return session


def settled(store: FakeStore, intent: Item) -> None:
    """Follow an intent whose bank debit succeeded or failed after the session's end."""
    if "_session" not in intent:
        return
    session = store.get("checkout.session", intent["_session"])
    if intent["status"] == "succeeded":
        _paid(store, session)
        store.emit("checkout.session.async_payment_succeeded", session)
    else:
        store.emit("checkout.session.async_payment_failed", session)


def expire(store: FakeStore, identifier: str) -> Item:
    """End a session that nobody paid."""
    session = store.get("checkout.session", identifier)
    expect_open(session)
    session |= {"status": "expired", "url": None}
    store.emit("checkout.session.expired", session)
    if session["payment_intent"]:
        intent = store.get("payment_intent", session["payment_intent"])
        intents.void(store, intent, "expired")
    return session


def expect_open(session: Item) -> None:
    """Refuse what only an open session can do."""
    if session["status"] != "open":
        raise invalid(
            "Only Checkout Sessions with a status in ['open'] can be used. This Checkout Session "
            f"has a status of `{session['status']}`."
        )


def _paid(store: FakeStore, session: Item) -> None:
    session["payment_status"] = "paid"
    if session["invoice_creation"]["enabled"] and session["customer"]:
        invoices.create(store, session)


def _enter(store: FakeStore, session: Item, buyer: dict[str, Any]) -> None:
    """Take what the buyer wrote: address and tax id decide the tax."""
    country, tax_id = buyer.get("country") or "US", buyer.get("tax_id")
    collects_ids = session["tax_id_collection"]["enabled"]
    ids = [{"type": "eu_vat", "value": tax_id}] if tax_id and collects_ids else []
    tax_cents = 0
    if session["automatic_tax"]["enabled"]:
        tax_cents = tax.cents(store, session["amount_subtotal"], country, has_id=bool(ids))
        session["automatic_tax"]["status"] = "complete"
    session["total_details"]["amount_tax"] = tax_cents
    session["amount_total"] = session["amount_subtotal"] + tax_cents
    address = dict.fromkeys(("city", "line1", "line2", "postal_code", "state")) | {
        "country": country
    }
    session["customer_details"] = {
        "address": address,
        "business_name": None,
        "email": buyer.get("email") or "buyer@example.org",
        "individual_name": None,
        "name": buyer.get("name") or "A buyer",
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": ids,
    }
    if session["customer"]:
        customer = living(store, session["customer"])
        updates = session["_customer_update"]
        if updates.get("address") == "auto":
            customer["address"] = address
        if updates.get("name") == "auto":
            customer["name"] = session["customer_details"]["name"]
        if ids:
            customer["_tax_ids"] = ids
        store.emit("customer.updated", customer)


def _intent(store: FakeStore, session: Item) -> Item:
    if session["payment_intent"]:
        intent = store.get("payment_intent", session["payment_intent"])
        intent["amount"] = session["amount_total"]
        return intent
    intent = intents.new(
        store, session["amount_total"], session["customer"], session["_intent_data"]
    )
    intent["_session"] = session["id"]
    session["payment_intent"] = intent["id"]
    return intent
