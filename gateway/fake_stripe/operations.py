"""The operations of the API: method, path, the parameters that each accepts, and what it does.

A test holds names and parameters against the SDK's own.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.fake_stripe import (
    answers,
    balance,
    checkout,
    customers,
    disputes,
    events,
    intents,
    portal,
    refunds,
    tax,
)
from gateway.fake_stripe.parameters import (
    BLANK,
    CREATED,
    FLAG,
    METADATA,
    TEXT,
    Schema,
    choice,
    needed,
)
from gateway.fake_stripe.schemas import (
    CALCULATION,
    CUSTOMER,
    DISPUTE,
    INTENT,
    PAGE,
    PORTAL,
    REFUND,
    SESSION,
)
from gateway.fake_stripe.store import FakeStore, Item

Run = Callable[[FakeStore, str, Item], Item]


@dataclass(frozen=True)
class StripeOperation:
    """One operation; `{id}` in its path is an object's."""

    name: str
    method: str
    path: str
    schema: Schema
    run: Run

    def match(self, method: str, path: str) -> str | None:
        """Give the id in a path that is this operation's ("" if it has none)."""
        pattern = re.escape(self.path).replace(r"\{id\}", "([A-Za-z0-9_]+)")
        found = re.fullmatch(pattern, path) if method == self.method else None
        return (found.groups() or ("",))[0] if found else None


def _create(
    name: str, path: str, schema: Schema, create: Callable[[FakeStore, Item], Item]
) -> StripeOperation:
    return StripeOperation(
        f"{name}.create",
        "POST",
        f"/v1/{path}",
        schema,
        lambda store, _, given: create(store, given),
    )


def _change(name: str, path: str, schema: Schema, change: Run) -> StripeOperation:
    return StripeOperation(name, "POST", f"/v1/{path}", schema, change)


def _act(
    name: str, path: str, act: Callable[[FakeStore, str], Item], method: str = "POST"
) -> StripeOperation:
    return StripeOperation(
        name, method, f"/v1/{path}", {}, lambda store, identifier, _: act(store, identifier)
    )


def _retrieve(kind: str, path: str) -> StripeOperation:
    def retrieve(store: FakeStore, identifier: str) -> Item:
        return store.get(kind, identifier)

    return _act(f"{path.replace('/', '.')}.retrieve", f"{path}/{{id}}", retrieve, "GET")


def _list(kind: str, path: str, **filters: Any) -> StripeOperation:
    name, url, schema = (
        path.replace("/", "."),
        f"/v1/{path}",
        {**PAGE, "created": CREATED, **filters},
    )
    return StripeOperation(
        f"{name}.list", "GET", url, schema, lambda s, _, given: answers.page(s, kind, url, given)
    )


def _methods_of(store: FakeStore, identifier: str, given: Item) -> Item:
    customers.living(store, identifier)
    path = f"/v1/customers/{identifier}/payment_methods"
    return answers.page(store, "payment_method", path, given, customer=identifier)


def _methods(store: FakeStore, _: str, given: Item) -> Item:
    customers.living(store, given["customer"], "customer")
    return answers.page(store, "payment_method", "/v1/payment_methods", given)


def _thin_event(store: FakeStore, identifier: str, _: Item) -> Item:
    return events.thin(store.get("event", identifier.removesuffix("_thin")))


# fmt: off
OPERATIONS = (
    _create("customers", "customers", CUSTOMER, customers.create),
    _retrieve("customer", "customers"),
    _change("customers.update", "customers/{id}",
            {**CUSTOMER, "invoice_settings": {"default_payment_method": BLANK}}, customers.update),
    _act("customers.delete", "customers/{id}", customers.delete, "DELETE"),
    _list("customer", "customers", email=TEXT),
    StripeOperation("customers.payment_methods.list", "GET", "/v1/customers/{id}/payment_methods",
                    {**PAGE, "type": TEXT}, _methods_of),
    StripeOperation("payment_methods.list", "GET", "/v1/payment_methods",
                    {**PAGE, "customer": needed(TEXT), "type": TEXT}, _methods),
    _retrieve("payment_method", "payment_methods"),
    _change("payment_methods.attach", "payment_methods/{id}/attach",
            {"customer": needed(TEXT)}, customers.attach),
    _act("payment_methods.detach", "payment_methods/{id}/detach", customers.detach),
    _create("checkout.sessions", "checkout/sessions", SESSION, checkout.create),
    _retrieve("checkout.session", "checkout/sessions"),
    _list("checkout.session", "checkout/sessions", customer=TEXT, payment_intent=TEXT,
          status=choice("complete", "expired", "open")),
    _act("checkout.sessions.expire", "checkout/sessions/{id}/expire", checkout.expire),
    _create("payment_intents", "payment_intents", INTENT, intents.create),
    _retrieve("payment_intent", "payment_intents"),
    _list("payment_intent", "payment_intents", customer=TEXT),
    _change("payment_intents.update", "payment_intents/{id}",
            {"description": TEXT, "metadata": METADATA}, intents.update),
    _change("payment_intents.confirm", "payment_intents/{id}/confirm",
            {"off_session": FLAG, "payment_method": TEXT}, intents.confirm),
    _change("payment_intents.cancel", "payment_intents/{id}/cancel",
            {"cancellation_reason": choice("abandoned", "duplicate", "fraudulent",
                                           "requested_by_customer")}, intents.cancel),
    _retrieve("charge", "charges"),
    _list("charge", "charges", customer=TEXT, payment_intent=TEXT),
    _create("refunds", "refunds", REFUND, refunds.create),
    _retrieve("refund", "refunds"),
    _list("refund", "refunds", charge=TEXT, payment_intent=TEXT),
    _change("refunds.update", "refunds/{id}", {"metadata": METADATA}, refunds.update),
    _act("refunds.cancel", "refunds/{id}/cancel", refunds.cancel),
    _retrieve("dispute", "disputes"),
    _list("dispute", "disputes", charge=TEXT, payment_intent=TEXT),
    _change("disputes.update", "disputes/{id}", DISPUTE, disputes.update),
    _act("disputes.close", "disputes/{id}/close", disputes.close),
    _retrieve("radar.early_fraud_warning", "radar/early_fraud_warnings"),
    _list("radar.early_fraud_warning", "radar/early_fraud_warnings", charge=TEXT,
          payment_intent=TEXT),
    _retrieve("balance_transaction", "balance_transactions"),
    _list("balance_transaction", "balance_transactions", source=TEXT, type=TEXT),
    StripeOperation("balance.retrieve", "GET", "/v1/balance", {},
                    lambda store, _, __: balance.retrieve(store)),
    _create("tax.calculations", "tax/calculations", CALCULATION, tax.calculate),
    _retrieve("tax.calculation", "tax/calculations"),
    _create("billing_portal.sessions", "billing_portal/sessions", PORTAL, portal.create),
    _retrieve("invoice", "invoices"),
    _list("invoice", "invoices", customer=TEXT, status=TEXT),
    _retrieve("event", "events"),
    _list("event", "events", type=TEXT, types=[TEXT]),
    StripeOperation("v2.core.events.retrieve", "GET", "/v2/core/events/{id}", {}, _thin_event),
)
# fmt: on


def find(method: str, path: str) -> tuple[StripeOperation, str] | None:
    """Find the operation of a request, and the id in its path."""
    for operation in OPERATIONS:
        identifier = operation.match(method, path)
        if identifier is not None:
            return operation, identifier
    return None
