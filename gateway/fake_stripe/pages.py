"""The pages for people: a session's checkout, the customer portal, invoices and receipts.

They work without JavaScript, and each says that no money moves.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gateway.fake_stripe import customers, tax
from gateway.fake_stripe.fake import FakeStripe
from gateway.fake_stripe.refusals import ApiRefusal
from gateway.fake_stripe.store import Item

COUNTRIES = {
    "US": "United States", "AT": "Austria", "DE": "Germany", "ES": "Spain", "FR": "France",
    "GB": "United Kingdom", "IT": "Italy", "JP": "Japan", "NL": "Netherlands", "SE": "Sweden",
}  # fmt: skip

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
)
_templates.filters["dollars"] = lambda cents: f"${cents / 100:,.2f}"


@dataclass(frozen=True)
class FakePage:
    """An answer for a browser."""

    status: int
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def answer(fake: FakeStripe, method: str, path: str, body: str) -> FakePage:
    """Answer a browser."""
    wing, _, identifier = path.strip("/").partition("/")
    shows = _SHOWN.get((method, wing))
    if shows is None:
        return _page("message.html", 404, title="Not found", message="There is no such page.")
    try:
        return shows(fake, identifier, dict(parse_qsl(body)))
    except ApiRefusal as refusal:
        return _page("message.html", refusal.status, title="Not possible", message=str(refusal))


def _checkout(fake: FakeStripe, identifier: str, _: dict[str, str]) -> FakePage:
    session = fake.get("checkout.session", identifier)
    if session["status"] != "open":
        return _page(
            "message.html",
            title="Checkout",
            message=f"This checkout is {session['status']}.",
            link=_success(session) if session["status"] == "complete" else session["cancel_url"],
        )
    intent = fake.objects.get(session["payment_intent"] or "", {})
    net_cents, has_tax = session["amount_subtotal"], session["automatic_tax"]["enabled"]
    taxes = {
        country: tax.cents(fake, net_cents, country, has_id=False) if has_tax else 0
        for country in COUNTRIES
    }
    email = session["customer_email"]
    if session["customer"]:
        email = fake.get("customer", session["customer"]).get("email")
    return _page(
        "checkout.html",
        session=session,
        lines=session["_lines"],
        error=(intent.get("last_payment_error") or {}).get("message"),
        countries=[(code, name, taxes[code]) for code, name in COUNTRIES.items()],
        email=email or "",
    )


def _pay(fake: FakeStripe, identifier: str, form: dict[str, str]) -> FakePage:
    session = fake.get("checkout.session", identifier)
    card = form.pop("card", "")
    if card == "cancel":
        return _redirect(session["cancel_url"] or f"/checkout/{identifier}")
    fake.pay(identifier, card, **form)
    return _redirect(
        _success(session) if session["status"] == "complete" else f"/checkout/{identifier}"
    )


def _portal(fake: FakeStripe, identifier: str, _: dict[str, str]) -> FakePage:
    session = fake.get("billing_portal.session", identifier)
    owner = session["customer"]
    return _page(
        "portal.html",
        session=session,
        invoices=list(fake.all("invoice", customer=owner)),
        methods=list(fake.all("payment_method", customer=owner)),
    )


def _remove(fake: FakeStripe, identifier: str, form: dict[str, str]) -> FakePage:
    session = fake.get("billing_portal.session", identifier)
    method = fake.get("payment_method", form.get("remove", ""))
    if method["customer"] == session["customer"]:
        customers.detach(fake, method["id"])
    return _redirect(f"/portal/{identifier}")


def _invoice(fake: FakeStripe, identifier: str, _: dict[str, str]) -> FakePage:
    invoice = fake.get("invoice", identifier.removesuffix("/pdf"))
    rows = {
        "Number": invoice["number"],
        "Billed to": invoice["customer_name"],
        "Country": invoice["customer_address"]["country"],
        "Tax id": ", ".join(each["value"] for each in invoice["customer_tax_ids"]) or "none",
    }
    return _page(
        "receipt.html",
        title=f"Invoice {invoice['number']}",
        rows=rows,
        net_cents=invoice["subtotal"],
        total_cents=invoice["total"],
    )


def _receipt(fake: FakeStripe, identifier: str, _: dict[str, str]) -> FakePage:
    charge = fake.get("charge", identifier)
    return _page(
        "receipt.html",
        title="Receipt",
        rows={"Payment": charge["payment_intent"], "Status": charge["status"]},
        net_cents=None,
        total_cents=charge["amount"],
    )


def _success(session: Item) -> str:
    address: str = session["success_url"]
    return address.replace("{CHECKOUT_SESSION_ID}", session["id"])


def _page(template: str, status: int = 200, **values: Any) -> FakePage:
    body = _templates.get_template(template).render({"link": None, **values})
    headers = {
        "content-type": "text/html; charset=utf-8",
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    }
    return FakePage(status, body, headers)


def _redirect(address: str) -> FakePage:
    return FakePage(303, headers={"location": address})


_SHOWN = {
    ("GET", "checkout"): _checkout,
    ("POST", "checkout"): _pay,
    ("GET", "portal"): _portal,
    ("POST", "portal"): _remove,
    ("GET", "invoices"): _invoice,
    ("GET", "receipts"): _receipt,
}
