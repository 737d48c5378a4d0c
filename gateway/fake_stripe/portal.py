"""Sessions of the customer portal: invoices, and the saved card."""

from gateway.fake_stripe.customers import living
from gateway.fake_stripe.store import FakeStore, Item


def create(store: FakeStore, given: Item) -> Item:
    """Open the portal for a customer."""
    living(store, given["customer"], "customer")
    session = store.add(
        "billing_portal.session",
        "bps",
        configuration=given.get("configuration", "bpc_fake"),
        customer=given["customer"],
        flow=None,
        locale=given.get("locale"),
        on_behalf_of=None,
        return_url=given.get("return_url"),
    )
    session["url"] = f"{store.url}/portal/{session['id']}"
    return session
