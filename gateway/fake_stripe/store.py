"""The objects of one Stripe account, in memory: plain dicts in the shapes of Stripe's API.

An object names others by id; `expansion` puts them in place for an answer. Every change goes
through one thread and is done in one step, so that no request sees half of one.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

from gateway.fake_stripe.events import FakeEvents
from gateway.fake_stripe.refusals import missing

Item = dict[str, Any]

API_VERSION = "2026-10-28.endive"
SECRET_KEY = "sk_test_fake"  # noqa: S105 - it opens nothing


class FakeStore:
    """What the account holds, its clock, and its options."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.keys = {SECRET_KEY}
        self.livemode = False
        self.country = "DE"
        """Where the seller is: buyers elsewhere in the EU with a tax id pay no tax."""
        self.refunds_begin = "succeeded"
        """The status of a card's new refund; those of bank debits are pending."""
        self.books_late = False
        """Charges get their balance transaction from `post_balances`, later than their success."""
        self.clock: Callable[[], float] = time.time
        self.offset_seconds = 0.0
        self.objects: dict[str, Item] = {}
        self.by_kind: dict[str, dict[str, Item]] = {}
        self.cards: dict[str, str] = {}
        """How a payment method behaves when it is charged, by its id."""
        self.request: Item = {"id": None, "idempotency_key": None}
        """What an event says of the request that caused it."""
        self.events = FakeEvents(self.now)
        # from the time, so that a fake that starts anew gives no id that an older one gave
        self._numbers = itertools.count(time.time_ns() // 1_000_000)

    def now(self) -> int:
        """Read the account's clock, in seconds since 1970."""
        return int(self.clock() + self.offset_seconds)

    def number(self) -> int:
        """Count on: no two calls give the same."""
        return next(self._numbers)

    def new_id(self, prefix: str) -> str:
        """Make an id that looks like Stripe's, and sorts by age."""
        return f"{prefix}_{self.number():014d}FAKE"

    def add(self, kind: str, prefix: str, **fields: Any) -> Item:
        """Add an object."""
        identifier = self.new_id(prefix)
        item = {"id": identifier, "object": kind, **fields}
        if kind != "tax.calculation":
            item["created"] = self.now()
        if kind not in {"balance_transaction", "refund"}:
            item["livemode"] = self.livemode
        self.objects[identifier] = self.by_kind.setdefault(kind, {})[identifier] = item
        return item

    def get(self, kind: str, identifier: str, param: str | None = None) -> Item:
        """Give an object; `param` is the parameter that named it, if the path did not."""
        item = self.by_kind.get(kind, {}).get(identifier)
        if item is None:
            raise missing(kind.replace(".", " "), identifier, param)
        return item

    def all(self, kind: str, **equal: Any) -> Iterator[Item]:
        """Yield the objects of a kind whose fields are as given, the newest first."""
        for item in reversed(list(self.by_kind.get(kind, {}).values())):
            if all(item.get(name) == value for name, value in equal.items()):
                yield item

    def emit(self, kind: str, item: Item, **previous: Any) -> None:
        """Record an event with the object as it is now, and send it to whoever listens."""
        data: Item = {"object": public(item)}
        if previous:
            data["previous_attributes"] = previous
        event = self.add(
            "event",
            "evt",
            api_version=API_VERSION,
            data=data,
            pending_webhooks=len(self.events.targets),
            request=dict(self.request),
            type=kind,
        )
        self.events.publish(event)


def public(item: Item) -> Item:
    """Copy an object without what only the fake knows of it: names that begin with `_`."""
    return {name: _copied(value) for name, value in item.items() if not name.startswith("_")}


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return public(value)
    return [_copied(each) for each in value] if isinstance(value, list) else value
