"""Answers: lists by pages, and the objects that `expand` puts in the place of their ids."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from gateway.fake_stripe.refusals import ApiRefusal, missing
from gateway.fake_stripe.store import FakeStore, Item, public

LIMIT = 10
EXPAND_DEPTH_MAX = 4

EXPANDABLE = {
    "balance_transaction": {"source"},
    "charge": {
        "balance_transaction", "customer", "failure_balance_transaction", "payment_intent",
        "refunds",
    },
    "checkout.session": {"customer", "invoice", "line_items", "payment_intent"},
    "dispute": {"charge", "payment_intent"},
    "invoice": {"customer", "payments"},
    "payment_intent": {"customer", "latest_charge", "payment_method"},
    "payment_method": {"customer"},
    "radar.early_fraud_warning": {"charge", "payment_intent"},
    "refund": {
        "balance_transaction", "charge", "failure_balance_transaction", "payment_intent",
    },
    "tax.calculation": {"line_items"},
}  # fmt: skip
"""Fields that are an id, or missing, until a request asks for the object."""


def page(store: FakeStore, kind: str, url: str, given: Item, **hidden: Any) -> Item:
    """List objects, the newest first: those that the filters name, `limit` after a cursor."""
    given = dict(given)
    limit, created = given.pop("limit", LIMIT), given.pop("created", {})
    after, before = given.pop("starting_after", None), given.pop("ending_before", None)
    types = given.pop("types", None)
    found = [
        item
        for item in store.all(kind, **given, **hidden)
        if not item.get("deleted")
        and _is_within(item["created"], created)
        and (types is None or item["type"] in types)
    ]
    places = {item["id"]: at for at, item in enumerate(found)}
    for name, cursor in (("starting_after", after), ("ending_before", before)):
        if cursor and cursor not in store.objects:
            raise missing(kind, cursor, name)
    rest: Iterable[Item] = found
    if after:
        rest = found[places.get(after, len(found)) + 1 :]
    elif before:
        rest = found[max(0, places.get(before, 0) - limit) : places.get(before, 0)]
    shown = list(islice(rest, limit + 1))
    return {
        "object": "list",
        "data": [public(item) for item in shown[:limit]],
        "has_more": len(shown) > limit,
        "url": url,
    }


def expand(store: FakeStore, answer: Item, paths: list[str]) -> Item:
    """Put objects in the place of their ids: `latest_charge.balance_transaction`."""
    for path in paths:
        names = path.split(".")
        if len(names) - (names[0] == "data") > EXPAND_DEPTH_MAX:
            raise _refused(path)
        _expand(store, answer, names, path)
    return answer


def _expand(store: FakeStore, item: Item, names: list[str], path: str) -> None:
    name, *rest = names
    if item["object"] == "list" and name == "data":
        inner = item["data"]
    elif name in EXPANDABLE.get(item["object"], ()):
        _put(store, item, name)
        inner = [item[name]] if item.get(name) else []
    else:
        raise _refused(path)
    for each in inner if rest else ():
        _expand(store, each, rest, path)


def _put(store: FakeStore, item: Item, name: str) -> None:
    """Put the object in place of its id; lists are only there when asked for."""
    match item["object"], name:
        case "charge", "refunds":
            item[name] = _listed(store.all("refund", charge=item["id"]))
        case "checkout.session", "line_items":
            item[name] = _listed(_lines(store.objects[item["id"]]))
        case "tax.calculation", "line_items":
            item[name] = _listed([])
        case "invoice", "payments":
            item[name] = _listed([_payment(store.objects[item["id"]])])
        case _ if isinstance(item.get(name), str):
            item[name] = public(store.objects[item[name]])


def _listed(items: Iterable[Item]) -> Item:
    return {
        "object": "list",
        "data": [public(item) for item in items],
        "has_more": False,
        "url": "",
    }


def _lines(session: Item) -> Iterator[Item]:
    for at, line in enumerate(session["_lines"]):
        price, quantity = line["price_data"], line.get("quantity", 1)
        amount = price["unit_amount"] * quantity
        tax = session["total_details"]["amount_tax"] * amount // session["amount_subtotal"]
        yield {
            "id": f"li_{session['id']}_{at}",
            "object": "item",
            "amount_discount": 0,
            "amount_subtotal": amount,
            "amount_tax": tax,
            "amount_total": amount + tax,
            "currency": "usd",
            "description": price["product_data"]["name"],
            "quantity": quantity,
        }


def _payment(invoice: Item) -> Item:
    return {
        "id": f"inpay_{invoice['id']}",
        "object": "invoice_payment",
        "amount_paid": invoice["amount_paid"],
        "currency": "usd",
        "invoice": invoice["id"],
        "is_default": True,
        "payment": {"type": "payment_intent", "payment_intent": invoice["_intent"]},
        "status": "paid",
    }


def _is_within(created: int, bounds: int | dict[str, int]) -> bool:
    if isinstance(bounds, int):
        return created == bounds
    return (
        created > bounds.get("gt", -1)
        and created >= bounds.get("gte", created)
        and created < bounds.get("lt", created + 1)
        and created <= bounds.get("lte", created)
    )


def _refused(path: str) -> ApiRefusal:
    return ApiRefusal(400, f"This property cannot be expanded ({path}).", param="expand")
