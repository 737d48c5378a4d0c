"""The Stripe account, and what is done to it from outside the API.

Buyers pay, banks decide, card networks warn, people use Stripe's dashboard, and time passes.
"""

from collections import deque
from typing import Any

from gateway.fake_stripe import balance, checkout, customers, disputes, intents, refunds
from gateway.fake_stripe.cards import BEHAVIORS, GOOD
from gateway.fake_stripe.events import WebhookTarget
from gateway.fake_stripe.faults import StripeFaults
from gateway.fake_stripe.idempotency import IdempotencyKeys
from gateway.fake_stripe.store import FakeStore, Item, public

CALLS_MAX = 10_000


class FakeStripe(FakeStore):
    """All of it. Ids go in, copies of objects come out; call it from the loop that serves it."""

    def __init__(self, url: str = "") -> None:
        super().__init__(url)
        self.faults = StripeFaults()
        self.idempotency = IdempotencyKeys(self.now)
        self.calls: deque[tuple[str, Item]] = deque(maxlen=CALLS_MAX)
        """Operation and parameters of each request that came with a right key."""

    def listen(self, url: str, *secrets: str, **options: Any) -> WebhookTarget:
        """Send events to an address; `types` and `is_thin` as in `FakeEvents.listen`."""
        return self.events.listen(url, *secrets, **options)

    def pay(self, session: str, card: str = GOOD, **buyer: Any) -> Item:
        """Pay as the buyer (country, tax_id, email, name) with a card: number, token or word."""
        return public(checkout.pay(self, session, card, buyer))

    def settle_async(self, intent: str, *, succeeds: bool = True) -> Item:
        """Let a bank debit succeed, or fail."""
        item = intents.settle(self, intent, succeeds=succeeds)
        checkout.settled(self, item)
        return public(item)

    def authenticate(self, intent: str, *, succeeds: bool = True) -> Item:
        """Answer for the holder of a card whose bank asks."""
        return public(intents.authenticate(self, intent, succeeds=succeeds))

    def save_card(self, customer: str, card: str = GOOD) -> Item:
        """Attach a new payment method, whatever its card does later."""
        method = customers.add_method(self, card)
        customers.save(self, method, customer)
        return public(method)

    def set_card(self, method: str, behavior: str) -> Item:
        """Let a saved card behave otherwise from now on, as banks do."""
        assert behavior in BEHAVIORS, behavior
        item = self.get("payment_method", method)
        self.cards[method] = behavior
        return public(item)

    def replace_card(self, method: str) -> Item:
        """Let the card's network say that a saved card has a new number and expiry."""
        item = self.get("payment_method", method)
        item["card"] |= {"exp_year": item["card"]["exp_year"] + 4, "last4": "4444"}
        self.emit("payment_method.automatically_updated", item)
        return public(item)

    def refund(self, intent: str, amount: int | None = None, reason: str | None = None) -> Item:
        """Refund from the dashboard."""
        given = {"payment_intent": intent, "amount": amount, "reason": reason}
        return public(refunds.create(self, {name: value for name, value in given.items() if value}))

    def settle_refund(self, refund: str, status: str = "succeeded") -> Item:
        """Let the bank take a refund, or not: failed, canceled, requires_action."""
        return public(refunds.settle(self, refund, status))

    def dispute(
        self,
        intent: str,
        status: str = "needs_response",
        reason: str = "fraudulent",
        amount: int | None = None,
    ) -> Item:
        """Let the buyer's bank dispute a payment."""
        return public(disputes.create(self, intent, status=status, reason=reason, amount=amount))

    def move_dispute(self, dispute: str, status: str) -> Item:
        """Let a dispute go on: under_review, won, lost, warning_closed, needs_response, ..."""
        return public(disputes.move(self, dispute, status))

    def close_dispute(self, dispute: str, status: str) -> Item:
        """Let the bank decide: won or lost."""
        return self.move_dispute(dispute, status)

    def warn(self, intent: str, fraud_type: str = "unauthorized_use_of_card") -> Item:
        """Send an early fraud warning."""
        return public(disputes.warn(self, intent, fraud_type))

    def post_balances(self) -> int:
        """Book the charges that `books_late` left without a balance transaction."""
        waiting = [
            charge
            for charge in self.all("charge", status="succeeded")
            if charge["balance_transaction"] is None
        ]
        for charge in waiting:
            balance.post_charge(self, charge)
            self.emit("charge.updated", charge, balance_transaction=None)
        return len(waiting)

    def advance(self, seconds: float) -> None:
        """Let time pass: sessions expire, money becomes available, events that waited are sent."""
        self.offset_seconds += seconds
        for session in self.all("checkout.session", status="open"):
            if session["expires_at"] <= self.now():
                checkout.expire(self, session["id"])
        balance.ripen(self)
        self.events.wake()

    def resend(self, event: str, copies: int = 1) -> None:
        """Send an event again, as it was then: older than its object by now."""
        self.events.send(self.get("event", event), copies)

    @property
    def balance_cents(self) -> int:
        """What Stripe holds: the net of all balance transactions."""
        return balance.net_cents(self)
