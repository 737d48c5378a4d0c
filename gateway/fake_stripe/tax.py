"""Tax: one rate a country, none for companies of the EU outside the seller's country."""

from gateway.fake_stripe.balance import DAY_SECONDS
from gateway.fake_stripe.customers import living
from gateway.fake_stripe.refusals import invalid
from gateway.fake_stripe.store import FakeStore, Item

RATES_PERCENT = {
    "AT": 20, "BE": 21, "CH": 8, "CZ": 21, "DE": 19, "DK": 25, "ES": 21, "FI": 25, "FR": 20,
    "GB": 20, "IE": 23, "IT": 22, "JP": 10, "LU": 17, "NL": 21, "NO": 25, "PL": 23, "PT": 23,
    "SE": 25, "US": 0,
}  # fmt: skip
"""Where a country is missing, nothing is collected."""

EU = {"AT", "BE", "CZ", "DE", "DK", "ES", "FI", "FR", "IE", "IT", "LU", "NL", "PL", "PT", "SE"}


def cents(store: FakeStore, amount_cents: int, country: str | None, *, has_id: bool) -> int:
    """Compute the tax on an amount without tax."""
    is_reversed = has_id and country in EU and country != store.country
    percent = 0 if is_reversed else RATES_PERCENT.get(country or "", 0)
    return (amount_cents * percent + 50) // 100


def calculate(store: FakeStore, given: Item) -> Item:
    """Make a tax calculation, which a payment intent may name for 90 days."""
    details = given.get("customer_details", {})
    address, ids = details.get("address"), details.get("tax_ids", [])
    if "customer" in given:
        customer = living(store, given["customer"], "customer")
        address = address or customer["address"]
        ids = ids or customer.get("_tax_ids", [])
    if not address or not address.get("country"):
        raise invalid(
            "We could not determine the customer's tax location based on the address.",
            "customer_details[address]",
            "customer_tax_location_invalid",
        )
    amount_cents = sum(line["amount"] for line in given["line_items"])
    tax_cents = cents(store, amount_cents, address["country"], has_id=bool(ids))
    return store.add(
        "tax.calculation",
        "taxcalc",
        amount_total=amount_cents + tax_cents,
        currency=given["currency"],
        customer=given.get("customer"),
        customer_details={
            "address": address,
            "address_source": details.get("address_source", "billing"),
            "ip_address": None,
            "tax_ids": ids,
            "taxability_override": "none",
        },
        expires_at=store.now() + 90 * DAY_SECONDS,
        ship_from_details=None,
        shipping_cost=None,
        tax_amount_exclusive=tax_cents,
        tax_amount_inclusive=0,
        tax_breakdown=[],
        tax_date=store.now(),
    )
