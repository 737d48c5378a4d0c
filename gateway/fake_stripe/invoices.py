"""Invoices of sessions that asked for one: finalized and paid when the money is there."""

from gateway.fake_stripe.store import FakeStore, Item


def create(store: FakeStore, session: Item) -> Item:
    """Add the invoice of a session that was paid."""
    customer = store.get("customer", session["customer"])
    data = session["_invoice_data"]
    total, subtotal = session["amount_total"], session["amount_subtotal"]
    details = session["customer_details"]
    invoice = store.add(
        "invoice",
        "in",
        amount_due=total,
        amount_overpaid=0,
        amount_paid=total,
        amount_remaining=0,
        amount_shipping=0,
        attempt_count=1,
        attempted=True,
        auto_advance=False,
        automatic_tax=session["automatic_tax"],
        billing_reason="manual",
        collection_method="charge_automatically",
        currency="usd",
        customer=customer["id"],
        customer_address=details["address"],
        customer_email=details["email"],
        customer_name=details["name"],
        customer_tax_exempt=details["tax_exempt"],
        customer_tax_ids=details["tax_ids"],
        description=data.get("description"),
        footer=data.get("footer"),
        metadata=data.get("metadata", {}),
        number=f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}",
        period_end=store.now(),
        period_start=store.now(),
        status="paid",
        status_transitions={
            "finalized_at": store.now(),
            "marked_uncollectible_at": None,
            "paid_at": store.now(),
            "voided_at": None,
        },
        subtotal=subtotal,
        subtotal_excluding_tax=subtotal,
        total=total,
        total_excluding_tax=subtotal,
    )
    customer["next_invoice_sequence"] += 1
    address = f"{store.url}/invoices/{invoice['id']}"
    invoice |= {"hosted_invoice_url": address, "invoice_pdf": f"{address}/pdf"}
    invoice["_intent"] = session["payment_intent"]
    session["invoice"] = invoice["id"]
    for kind in ("invoice.created", "invoice.finalized", "invoice.paid"):
        store.emit(kind, invoice)
    return invoice
