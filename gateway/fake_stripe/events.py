"""Events: to each target that subscribed, signed, over real HTTP, and what may go wrong on the way.

A target's deliveries go one after another, in order, unless told otherwise. One that is not
answered with 2xx is repeated after 1, 2, 4, ... seconds of the account's clock.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from typing import Any

import httpx

SUBSCRIBED = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.canceled",
    "charge.refunded",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "radar.early_fraud_warning.created",
    "payment_method.attached",
    "payment_method.detached",
    "payment_method.automatically_updated",
    "customer.deleted",
    "setup_intent.succeeded",
)
"""What a target gets that names no types of its own."""

ATTEMPTS_MAX = 12
TIMEOUT_SECONDS = 10.0
PATHS = {
    "billing_portal.session": "billing_portal/sessions",
    "checkout.session": "checkout/sessions",
    "radar.early_fraud_warning": "radar/early_fraud_warnings",
}
"""Where an object is, for kinds whose path is not just the plural."""


@dataclass
class EventDelivery:
    """One event on its way to one target."""

    event: dict[str, Any]
    due_at: float
    attempts: int = 0


@dataclass
class EventRule:
    """What happens to the next events of a type (a pattern: `charge.*`)."""

    action: str
    types: str = "*"
    times: int = 1
    seconds: float = 0


@dataclass
class WebhookTarget:
    """An address that gets events; several secrets sign while one is being replaced."""

    url: str
    secrets: tuple[str, ...]
    types: tuple[str, ...] = SUBSCRIBED
    is_thin: bool = False
    pending: list[EventDelivery] = field(default_factory=list)
    answers: list[tuple[str, int]] = field(default_factory=list)
    """Type and status of each attempt; status 0 where nobody answered."""
    task: asyncio.Task[None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class FakeEvents:
    """Who listens, what is on its way, and the rules for what comes next."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.targets: list[WebhookTarget] = []
        self.rules: list[EventRule] = []
        self.is_held = False
        self._held: list[tuple[WebhookTarget, EventDelivery]] = []
        self._answered = asyncio.Event()
        self._http: httpx.AsyncClient | None = None

    def listen(
        self,
        url: str,
        *secrets: str,
        types: Iterable[str] = SUBSCRIBED,
        is_thin: bool = False,
    ) -> WebhookTarget:
        """Send events to this address from now on."""
        target = WebhookTarget(url, secrets, tuple(types), is_thin)
        self.targets.append(target)
        return target

    def rule(self, action: str, types: str = "*", *, times: int = 1, seconds: float = 0) -> None:
        """Drop, duplicate or delay (by `seconds` of the clock) the next events of these types."""
        assert action in {"drop", "duplicate", "delay"}, action
        self.rules.append(EventRule(action, types, times, seconds))

    def publish(self, event: dict[str, Any]) -> None:
        """Send an event to every target that subscribed, as the rules have it."""
        copies, due_at = 1, float(self._now())
        for rule in [rule for rule in self.rules if fnmatch(event["type"], rule.types)][:1]:
            rule.times -= 1
            if rule.times == 0:
                self.rules.remove(rule)
            copies = {"drop": 0, "duplicate": 2, "delay": 1}[rule.action]
            due_at += rule.seconds
        self.send(event, copies, due_at)

    def send(self, event: dict[str, Any], copies: int = 1, due_at: float | None = None) -> None:
        """Send an event as it was made: again, or older than its object by now."""
        for target in self.targets:
            for _ in range(copies if event["type"] in target.types else 0):
                delivery = EventDelivery(event, self._now() if due_at is None else due_at)
                if self.is_held:
                    self._held.append((target, delivery))
                else:
                    self._push(target, delivery)

    def hold(self) -> None:
        """Keep events back until `release`."""
        self.is_held = True

    def release(self, order: str = "made", *, seed: int = 0, copies: int = 1) -> int:
        """Send what was held: as made, reversed or shuffled, each so many times."""
        self.is_held = False
        held, self._held = self._held * copies, []
        if order == "reversed":
            held.reverse()
        elif order == "shuffled":
            random.Random(seed).shuffle(held)  # noqa: S311 - to be had again
        for target, delivery in held:
            self._push(target, EventDelivery(delivery.event, delivery.due_at))
        return len(held)

    def wake(self) -> None:
        """Look at the clock again."""
        for target in self.targets:
            target.changed.set()

    async def idle(self) -> None:
        """Wait until nothing is due: all was answered, dropped, or waits for a later time."""
        while any(
            delivery.due_at <= self._now() for target in self.targets for delivery in target.pending
        ):
            self._answered.clear()
            await self._answered.wait()

    async def close(self) -> None:
        """Stop sending."""
        tasks = [target.task for target in self.targets if target.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._http:
            await self._http.aclose()

    def _push(self, target: WebhookTarget, delivery: EventDelivery) -> None:
        target.pending.append(delivery)
        target.changed.set()
        if target.task is None or target.task.done():
            target.task = asyncio.get_running_loop().create_task(self._drain(target))

    async def _drain(self, target: WebhookTarget) -> None:
        self._http = self._http or httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False)
        while target.pending:
            delivery = min(
                target.pending, key=lambda waiting: waiting.due_at
            )  # the first of equals
            if (wait := delivery.due_at - self._now()) > 0:
                target.changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(target.changed.wait(), wait)
                continue
            status = await self._attempt(self._http, target, delivery.event)
            target.answers.append((delivery.event["type"], status))
            delivery.attempts += 1
            delivery.due_at = self._now() + 2 ** (delivery.attempts - 1)
            if 200 <= status < 300 or delivery.attempts == ATTEMPTS_MAX:
                target.pending.remove(delivery)
            self._answered.set()

    async def _attempt(
        self, http: httpx.AsyncClient, target: WebhookTarget, event: dict[str, Any]
    ) -> int:
        body = json.dumps(thin(event) if target.is_thin else event)
        headers = {
            "content-type": "application/json; charset=utf-8",
            "stripe-signature": signature(body, *target.secrets),
            "user-agent": "Stripe/1.0 (fake; moves no money)",
        }
        try:
            return (await http.post(target.url, content=body, headers=headers)).status_code
        except httpx.HTTPError:
            return 0


def signature(body: str, *secrets: str, timestamp: int | None = None) -> str:
    """Sign a body: the header `stripe-signature`, with the time of the real world."""
    timestamp = int(time.time()) if timestamp is None else timestamp
    signed = f"{timestamp}.{body}".encode()
    macs = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={timestamp}", *(f"v1={mac}" for mac in macs)])


def thin(event: dict[str, Any]) -> dict[str, Any]:
    """Give the thin form of an event: what it is about, and nothing of how it was."""
    about = event["data"]["object"]
    path = PATHS.get(about["object"], f"{about['object']}s")
    return {
        "id": f"{event['id']}_thin",
        "object": "v2.core.event",
        "type": f"v1.{event['type']}",
        "created": datetime.fromtimestamp(event["created"], UTC).isoformat(),
        "livemode": event["livemode"],
        "context": None,
        "reason": None,
        "related_object": {
            "id": about["id"],
            "type": about["object"],
            "url": f"/v1/{path}/{about['id']}",
        },
        "snapshot_event": event["id"],
    }
