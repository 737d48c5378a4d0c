"""The operations of the API: method, path, the parameters that each accepts, and what it does.

The parameters are those that a payment needs; a test holds them against the SDK's own types.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

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
    ADDRESS,
    BLANK,
    CENTS,
    CREATED,
    FLAG,
    INTEGER,
    LIMIT,
    METADATA,
    TEXT,
    USD,
    Schema,
    choice,
    needed,
)
from gateway.fake_stripe.store import FakeStore, Item

Run = Callable[[FakeStore, str, Item], Item]

OFF_SESSION = choice("off_session", "on_session")
HOOKS: Schema = {"inputs": {"tax": {"calculation": needed(BLANK)}}}
CUSTOMER: Schema = {
    "address": ADDRESS,
    "business_name": BLANK,
    "description": BLANK,
    "email": BLANK,
    "individual_name": BLANK,
    "metadata": METADATA,
    "name": BLANK,
    "phone": BLANK,
    "preferred_locales": [TEXT],
    "tax_exempt": choice("exempt", "none", "reverse"),
}
SESSION: Schema = {
    "adaptive_pricing": {"enabled": FLAG},
    "automatic_tax": {"enabled": needed(FLAG)},
    "billing_address_collection": choice("auto", "required"),
    "cancel_url": TEXT,
    "client_reference_id": TEXT,
    "consent_collection": {
        "payment_method_reuse_agreement": {"position": needed(choice("auto", "hidden"))},
        "terms_of_service": choice("none", "required"),
    },
    "currency": USD,
    "custom_text": {
        "after_submit": {"message": needed(TEXT)},
        "submit": {"message": needed(TEXT)},
        "terms_of_service_acceptance": {"message": needed(TEXT)},
    },
    "customer": TEXT,
    "customer_email": TEXT,
    "customer_update": {
        "address": choice("auto", "never"),
        "name": choice("auto", "never"),
    },
    "expires_at": INTEGER,
    "invoice_creation": {
        "enabled": needed(FLAG),
        "invoice_data": {"description": TEXT, "footer": TEXT, "metadata": METADATA},
    },
    "line_items": needed(
        [
            {
                "price_data": needed(
                    {
                        "currency": needed(USD),
                        "product_data": needed(
                            {
                                "description": TEXT,
                                "metadata": METADATA,
                                "name": needed(TEXT),
                                "tax_code": TEXT,
                            }
                        ),
                        "tax_behavior": choice("exclusive"),
                        "unit_amount": needed(INTEGER),
                    }
                ),
                "quantity": INTEGER,
            }
        ]
    ),
    "locale": choice("auto", "en"),
    "metadata": METADATA,
    "mode": needed(choice("payment")),
    "payment_intent_data": {
        "description": TEXT,
        "metadata": METADATA,
        "receipt_email": TEXT,
        "setup_future_usage": OFF_SESSION,
        "statement_descriptor_suffix": TEXT,
    },
    "saved_payment_method_options": {
        "payment_method_remove": choice("disabled", "enabled"),
        "payment_method_save": choice("disabled", "enabled"),
    },
    "submit_type": choice("auto", "pay"),
    "success_url": needed(TEXT),
    "tax_id_collection": {
        "enabled": needed(FLAG),
        "required": choice("if_supported", "never"),
    },
}
INTENT: Schema = {
    "amount": needed(CENTS),
    "automatic_payment_methods": {
        "allow_redirects": choice("always", "never"),
        "enabled": needed(FLAG),
    },
    "confirm": FLAG,
    "currency": needed(USD),
    "customer": TEXT,
    "description": TEXT,
    "hooks": HOOKS,
    "metadata": METADATA,
    "off_session": FLAG,
    "payment_method": TEXT,
    "receipt_email": TEXT,
    "setup_future_usage": OFF_SESSION,
    "statement_descriptor_suffix": TEXT,
}
CALCULATION: Schema = {
    "currency": needed(USD),
    "customer": TEXT,
    "customer_details": {
        "address": ADDRESS,
        "address_source": choice("billing", "shipping"),
        "tax_ids": [{"type": needed(TEXT), "value": needed(TEXT)}],
    },
    "line_items": needed(
        [
            {
                "amount": needed(INTEGER),
                "quantity": INTEGER,
                "reference": TEXT,
                "tax_behavior": choice("exclusive"),
                "tax_code": TEXT,
            }
        ]
    ),
}
PAGE: Schema = {"limit": LIMIT, "starting_after": TEXT, "ending_before": TEXT}


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


def _post(name: str, path: str, schema: Schema, run: Run) -> StripeOperation:
    return StripeOperation(name, "POST", f"/v1/{path}", schema, run)


def _retrieve(kind: str, path: str) -> StripeOperation:
    return StripeOperation(
        f"{path.replace('/', '.')}.retrieve",
        "GET",
        f"/v1/{path}/{{id}}",
        {},
        lambda store, identifier, _: store.get(kind, identifier),
    )


def _list(kind: str, path: str, **filters: object) -> StripeOperation:
    return StripeOperation(
        f"{path.replace('/', '.')}.list",
        "GET",
        f"/v1/{path}",
        PAGE | {"created": CREATED} | filters,
        lambda store, _, given: answers.page(store, kind, f"/v1/{path}", given),
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


OPERATIONS = (
    _post("customers.create", "customers", CUSTOMER, lambda s, _, g: customers.create(s, g)),
    _retrieve("customer", "customers"),
    _post(
        "customers.update",
        "customers/{id}",
        CUSTOMER | {"invoice_settings": {"default_payment_method": BLANK}},
        customers.update,
    ),
    StripeOperation(
        "customers.delete",
        "DELETE",
        "/v1/customers/{id}",
        {},
        lambda s, i, _: customers.delete(s, i),
    ),
    _list("customer", "customers", email=TEXT),
    StripeOperation(
        "customers.payment_methods.list",
        "GET",
        "/v1/customers/{id}/payment_methods",
        PAGE | {"type": TEXT},
        _methods_of,
    ),
    StripeOperation(
        "payment_methods.list",
        "GET",
        "/v1/payment_methods",
        PAGE | {"customer": needed(TEXT), "type": TEXT},
        _methods,
    ),
    _retrieve("payment_method", "payment_methods"),
    _post(
        "payment_methods.attach",
        "payment_methods/{id}/attach",
        {"customer": needed(TEXT)},
        customers.attach,
    ),
    _post(
        "payment_methods.detach",
        "payment_methods/{id}/detach",
        {},
        lambda s, i, _: customers.detach(s, i),
    ),
    _post(
        "checkout.sessions.create",
        "checkout/sessions",
        SESSION,
        lambda s, _, g: checkout.create(s, g),
    ),
    _retrieve("checkout.session", "checkout/sessions"),
    _list(
        "checkout.session",
        "checkout/sessions",
        customer=TEXT,
        payment_intent=TEXT,
        status=choice("complete", "expired", "open"),
    ),
    _post(
        "checkout.sessions.expire",
        "checkout/sessions/{id}/expire",
        {},
        lambda s, i, _: checkout.expire(s, i),
    ),
    _post(
        "payment_intents.create", "payment_intents", INTENT, lambda s, _, g: intents.create(s, g)
    ),
    _retrieve("payment_intent", "payment_intents"),
    _list("payment_intent", "payment_intents", customer=TEXT),
    _post(
        "payment_intents.update",
        "payment_intents/{id}",
        {"description": TEXT, "metadata": METADATA},
        intents.update,
    ),
    _post(
        "payment_intents.confirm",
        "payment_intents/{id}/confirm",
        {"off_session": FLAG, "payment_method": TEXT},
        intents.confirm,
    ),
    _post(
        "payment_intents.cancel",
        "payment_intents/{id}/cancel",
        {
            "cancellation_reason": choice(
                "abandoned", "duplicate", "fraudulent", "requested_by_customer"
            )
        },
        intents.cancel,
    ),
    _retrieve("charge", "charges"),
    _list("charge", "charges", customer=TEXT, payment_intent=TEXT),
    _post(
        "refunds.create",
        "refunds",
        {
            "amount": INTEGER,
            "charge": TEXT,
            "metadata": METADATA,
            "payment_intent": TEXT,
            "reason": choice("duplicate", "fraudulent", "requested_by_customer"),
        },
        lambda s, _, g: refunds.create(s, g),
    ),
    _retrieve("refund", "refunds"),
    _list("refund", "refunds", charge=TEXT, payment_intent=TEXT),
    _post("refunds.update", "refunds/{id}", {"metadata": METADATA}, refunds.update),
    _post("refunds.cancel", "refunds/{id}/cancel", {}, lambda s, i, _: refunds.cancel(s, i)),
    _retrieve("dispute", "disputes"),
    _list("dispute", "disputes", charge=TEXT, payment_intent=TEXT),
    _post(
        "disputes.update",
        "disputes/{id}",
        {
            "evidence": {"access_activity_log": TEXT, "uncategorized_text": TEXT},
            "metadata": METADATA,
            "submit": FLAG,
        },
        disputes.update,
    ),
    _post("disputes.close", "disputes/{id}/close", {}, lambda s, i, _: disputes.close(s, i)),
    _retrieve("radar.early_fraud_warning", "radar/early_fraud_warnings"),
    _list(
        "radar.early_fraud_warning",
        "radar/early_fraud_warnings",
        charge=TEXT,
        payment_intent=TEXT,
    ),
    _retrieve("balance_transaction", "balance_transactions"),
    _list("balance_transaction", "balance_transactions", source=TEXT, type=TEXT),
    StripeOperation(
        "balance.retrieve", "GET", "/v1/balance", {}, lambda s, _, __: balance.retrieve(s)
    ),
    _post(
        "tax.calculations.create",
        "tax/calculations",
        CALCULATION,
        lambda s, _, g: tax.calculate(s, g),
    ),
    _retrieve("tax.calculation", "tax/calculations"),
    _post(
        "billing_portal.sessions.create",
        "billing_portal/sessions",
        {"configuration": TEXT, "customer": needed(TEXT), "locale": TEXT, "return_url": TEXT},
        lambda s, _, g: portal.create(s, g),
    ),
    _retrieve("invoice", "invoices"),
    _list("invoice", "invoices", customer=TEXT, status=TEXT),
    _retrieve("event", "events"),
    _list("event", "events", type=TEXT, types=[TEXT]),
    StripeOperation("v2.core.events.retrieve", "GET", "/v2/core/events/{id}", {}, _thin_event),
)


def find(method: str, path: str) -> tuple[StripeOperation, str] | None:
    """Find the operation of a request, and the id in its path."""
    for operation in OPERATIONS:
        identifier = operation.match(method, path)
        if identifier is not None:
            return operation, identifier
    return None
