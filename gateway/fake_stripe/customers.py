"""Customers, and the payment methods that are saved with them."""

from gateway.fake_stripe import cards
from gateway.fake_stripe.refusals import ApiRefusal, invalid
from gateway.fake_stripe.store import FakeStore, Item


def create(store: FakeStore, given: Item) -> Item:
    """Add a customer."""
    customer = store.add(
        "customer",
        "cus",
        address=None,
        balance=0,
        currency=None,
        delinquent=False,
        description=None,
        email=None,
        invoice_prefix=f"FAKE{store.number()}",
        invoice_settings={"default_payment_method": None},
        metadata={},
        name=None,
        next_invoice_sequence=1,
        phone=None,
        preferred_locales=[],
        shipping=None,
        tax_exempt="none",
    )
    _change(customer, given)
    store.emit("customer.created", customer)
    return customer


def update(store: FakeStore, identifier: str, given: Item) -> Item:
    """Change a customer who is not deleted."""
    customer = living(store, identifier)
    default = given.get("invoice_settings", {}).get("default_payment_method")
    if default and store.get("payment_method", default)["customer"] != identifier:
        raise invalid("The customer does not have this payment method.", "invoice_settings")
    _change(customer, given)
    store.emit("customer.updated", customer)
    return customer


def delete(store: FakeStore, identifier: str) -> Item:
    """Delete a customer, and detach what was saved; only the id is known afterwards."""
    customer = living(store, identifier)
    store.emit("customer.deleted", customer)
    for method in store.all("payment_method", customer=identifier):
        method["customer"] = None
    for name in set(customer) - {"id", "object"}:
        del customer[name]
    customer["deleted"] = True
    return customer


def living(store: FakeStore, identifier: str, param: str | None = None) -> Item:
    """Give a customer who was not deleted."""
    customer = store.get("customer", identifier, param)
    if customer.get("deleted"):
        raise ApiRefusal(
            400 if param else 404,
            f"No such customer: '{identifier}'",
            code="resource_missing",
            param=param or "id",
            executed=True,
        )
    return customer


def add_method(store: FakeStore, name: str, billing: Item | None = None) -> Item:
    """Make a payment method of a test card (number, token or behavior)."""
    card = cards.find(name)
    if card is None:
        raise ApiRefusal(
            400, f"No such PaymentMethod: '{name}'", code="resource_missing", param="payment_method"
        )
    details: Item = {"address": {}, "email": None, "name": None, "phone": None} | (billing or {})
    method = store.add(
        "payment_method",
        "pm",
        allow_redisplay="unspecified",
        billing_details=details,
        customer=None,
        metadata={},
        type="us_bank_account" if card.behavior == cards.BANK_DEBIT else "card",
    )
    method |= {method["type"]: means(card)}
    store.cards[method["id"]] = card.behavior
    return method


def means(card: cards.TestCard) -> Item:
    """Describe a card, or a bank account, as Stripe does."""
    described: Item = {"fingerprint": card.fingerprint, "last4": card.number[-4:]}
    if card.behavior == cards.BANK_DEBIT:
        return described | {"account_type": "checking", "bank_name": "FAKE BANK"}
    return described | {
        "brand": card.brand,
        "country": "US",
        "exp_month": 12,
        "exp_year": 2034,
        "funding": "credit",
    }


def find_method(store: FakeStore, name: str, param: str = "payment_method") -> Item:
    """Give a payment method by id; Stripe's test tokens make a new one each time."""
    card = cards.find(name) if name.startswith("pm_") else None
    return add_method(store, name) if card else store.get("payment_method", name, param)


def attach(store: FakeStore, name: str, given: Item) -> Item:
    """Save a payment method with a customer; a card that is always declined can't be."""
    customer = living(store, given["customer"], "customer")
    method = find_method(store, name)
    if method["customer"] not in {None, customer["id"]}:
        raise invalid("The payment method you provided has already been attached to a customer.")
    if why := cards.decline(behavior(store, method), is_present=True):
        raise ApiRefusal(
            402,
            why.message,
            type="card_error",
            code=why.code,
            decline_code=why.decline_code,
            executed=True,
        )
    save(store, method, customer["id"])
    return method


def behavior(store: FakeStore, method: Item) -> str:
    """Say how a payment method behaves, if it was not detached."""
    if method["id"] not in store.cards:
        raise invalid("The payment method was detached and can't be used again.", "payment_method")
    return store.cards[method["id"]]


def save(store: FakeStore, method: Item, customer_id: str) -> None:
    """Attach without questions."""
    if method["customer"] != customer_id:
        method["customer"] = customer_id
        store.emit("payment_method.attached", method)


def detach(store: FakeStore, identifier: str) -> Item:
    """Take a payment method from its customer, for good."""
    method = store.get("payment_method", identifier)
    if method["customer"] is None:
        raise invalid("The payment method you provided is not attached to a customer.")
    customer = store.get("customer", method["customer"])
    method["customer"] = None
    if customer["invoice_settings"]["default_payment_method"] == identifier:
        customer["invoice_settings"]["default_payment_method"] = None
    del store.cards[identifier]
    store.emit("payment_method.detached", method, customer=customer["id"])
    return method


def _change(customer: Item, given: Item) -> None:
    changed = dict(given)
    if "metadata" in changed:
        customer["metadata"] = merged(customer["metadata"], changed.pop("metadata"))
    customer["invoice_settings"] |= changed.pop("invoice_settings", {})
    customer |= changed


def merged(old: dict[str, str], new: dict[str, str]) -> dict[str, str]:
    """Add metadata to what is there: an empty value unsets its key, no keys at all unset all."""
    return {name: text for name, text in (old | new).items() if text} if new else {}
