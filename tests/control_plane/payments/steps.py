"""The steps of the world of payments: what buyers, banks, operators and networks do."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from gateway.fake_stripe import cards, disputes
from gateway.fake_stripe.events import SUBSCRIBED
from gateway.fake_stripe.refusals import ApiRefusal
from gateway.fake_stripe.store import Item
from gateway.identifiers import new_id
from testing.auditing import purchases
from tests.control_plane.payments.auditor import Auditor
from tests.control_plane.payments.faults import ANYWHERE, AT_STRIPE, Fault
from tests.control_plane.payments.machine import Door, Gateway, World

which = st.integers(0, 9)
age = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 5, 8, 13, 21, 34])
trouble = st.none() | st.one_of(
    st.builds(Fault, st.sampled_from(ANYWHERE), st.integers(0, 25)),
    st.builds(Fault, st.sampled_from(AT_STRIPE), st.integers(0, 5)),
)
DOLLARS = (5, 10, 250)
SHARES = (1, 2, 3)


def has(kind: str, **equal: Any) -> Callable[[Any], Any]:
    """Let a step be taken only while Stripe has such an object."""
    return precondition(lambda self: next(self.stripe.all(kind, **equal), None) is not None)


class Payments(RuleBasedStateMachine):
    """The steps of the world."""

    new_world: Callable[[], str]
    gateway_class: type[Gateway] = Gateway
    had: ClassVar[Counter[str]] = Counter()
    """What all histories had of what matters, so that they can be seen not to be empty."""

    def __init__(self) -> None:
        super().__init__()
        self.clocks = pytest.MonkeyPatch()
        self.world = World(type(self).new_world(), self.clocks)
        self.stripe = self.world.stripe
        self.auditor = Auditor(self.world)
        self.door = Door(self.world, self.gateway_class)
        self.other = Door(self.world, self.gateway_class)
        """A second process, which works while a call of the first one to Stripe takes its time."""
        self.forms: list[tuple[str, int, bool]] = []

    def teardown(self) -> None:
        try:
            self.sweep_of_a_day()
            self.had.update(self._had())
        finally:
            self.door.close()
            self.other.close()
            self.world.close()
            self.clocks.undo()

    # --- buying

    @rule(dollars=st.sampled_from(DOLLARS), saves=st.booleans(), fault=trouble)
    def open_a_checkout(self, dollars: int, saves: bool, fault: Fault | None) -> None:
        form = (new_id(), dollars * 100, saves)
        self.forms.append(form)
        self._send(form, fault)

    @rule(
        dollars=st.sampled_from(DOLLARS),
        saves=st.booleans(),
        card=st.sampled_from([cards.GOOD, cards.BANK_DEBIT]),
        returns=st.booleans(),
    )
    def buy(self, dollars: int, saves: bool, card: str, returns: bool) -> None:
        """Open a checkout and pay it, with nothing failing; we know of it if the buyer returns."""
        self.open_a_checkout(dollars, saves, None)
        for session in list(self.stripe.all("checkout.session", status="open"))[:1]:
            self.stripe.pay(session["id"], card)
        if returns:
            self.the_buyer_returns(-1, None)

    @precondition(lambda self: self.forms)
    @rule(number=which, fault=trouble)
    def send_a_form_again(self, number: int, fault: Fault | None) -> None:
        self._send(self.forms[number % len(self.forms)], fault)

    def _send(self, form: tuple[str, int, bool], fault: Fault | None) -> None:
        payment_id, cents, saves = form
        owner = self.world.money.organization_id
        self.door.run(
            lambda gateway: gateway.payments.checkout.start(
                owner, None, cents, save_card=saves, payment_id=payment_id
            ),
            fault,
            self._meanwhile,
        )

    @has("checkout.session", status="open")
    @rule(
        number=which,
        card=st.sampled_from([cards.GOOD, cards.BANK_DEBIT, cards.DECLINED, cards.REFUSED_LATER]),
        country=st.sampled_from(["US", "DE"]),
    )
    def pay(self, number: int, card: str, country: str) -> None:
        self._at_stripe(
            "checkout.session",
            number,
            lambda session: self.stripe.pay(session["id"], card, country=country),
            status="open",
        )

    @has("payment_intent", status="processing")
    @rule(number=which, succeeds=st.booleans())
    def a_bank_debit_ends(self, number: int, succeeds: bool) -> None:
        self._at_stripe(
            "payment_intent",
            number,
            lambda intent: self.stripe.settle_async(intent["id"], succeeds=succeeds),
            status="processing",
        )

    @rule(what=st.sampled_from(["late books", "books", "no row", "no owner"]))
    def something_is_odd(self, what: str) -> None:
        """Let Stripe book late, or have a payment that we lost, as after a restored backup."""
        match what:
            case "late books":
                self.stripe.books_late = True
            case "books":
                self.stripe.books_late = False
                self.stripe.post_balances()
            case _:
                owner = self.world.money.organization_id if what == "no row" else new_id()
                self.auditor.pay_unknown(new_id(), owner, DOLLARS[0] * 100)

    # --- money that goes back

    @has("payment_intent", status="succeeded")
    @rule(
        number=which,
        share=st.sampled_from(SHARES),
        status=st.sampled_from(["succeeded", "pending", "requires_action"]),
    )
    def refund_in_the_dashboard(self, number: int, share: int, status: str) -> None:
        def refund(intent: Item) -> None:
            self.stripe.refunds_begin = status
            self.stripe.refund(intent["id"], intent["amount_received"] // share)

        self._at_stripe("payment_intent", number, refund, status="succeeded")

    @has("refund")
    @rule(
        number=which,
        status=st.sampled_from(["succeeded", "failed", "canceled", "requires_action"]),
    )
    def a_refund_goes_on(self, number: int, status: str) -> None:
        self._at_stripe(
            "refund", number, lambda refund: self.stripe.settle_refund(refund["id"], status)
        )

    @has("payment_intent", status="succeeded")
    @rule(number=which, share=st.sampled_from(SHARES), fault=trouble)
    def refund_by_an_operator(self, number: int, share: int, fault: Fault | None) -> None:
        paid = [row for row in self.auditor.payments() if row.received_cents]
        if paid:
            row = paid[number % len(paid)]
            self.door.run(
                lambda gateway: gateway.payments.refunds.refund(
                    row.id, row.received_cents // share, "a test"
                ),
                fault,
                self._meanwhile,
            )

    @has("payment_intent", status="succeeded")
    @rule(
        number=which,
        status=st.sampled_from(["needs_response", "warning_needs_response", "prevented"]),
        share=st.sampled_from([None, *SHARES]),
    )
    def a_bank_disputes(self, number: int, status: str, share: int | None) -> None:
        def dispute(intent: Item) -> None:
            part = share and intent["amount_received"] // share
            self.stripe.dispute(intent["id"], status, amount=part)

        self._at_stripe("payment_intent", number, dispute, status="succeeded")

    @has("dispute")
    @rule(number=which, turn=which)
    def a_dispute_goes_on(self, number: int, turn: int) -> None:
        def move(dispute: Item) -> None:
            steps = sorted(disputes.NEXT.get(dispute["status"], ()))
            if steps:
                self.stripe.move_dispute(dispute["id"], steps[turn % len(steps)])

        self._at_stripe("dispute", number, move)

    @has("payment_intent", status="succeeded")
    @rule(number=which)
    def a_card_network_warns(self, number: int) -> None:
        self._at_stripe(
            "payment_intent",
            number,
            lambda intent: self.stripe.warn(intent["id"]),
            status="succeeded",
        )

    # --- auto top-up, spending, and what operators do

    @rule(
        dollars=st.sampled_from(DOLLARS[:2]),
        card=st.sampled_from([None, cards.GOOD, *cards.BEHAVIORS]),
        enabled=st.sampled_from([True, True, False]),
        fault=trouble,
    )
    def auto_top_up(
        self, dollars: int, card: str | None, enabled: bool, fault: Fault | None
    ) -> None:
        """Set it, with another card that is saved or with the same, and take a turn."""
        self.auditor.set_auto_top_up(dollars * 100, enabled=enabled)
        owner = self.world.money.organization_id
        if card is not None:
            saved = self.door.run(lambda gateway: gateway.payments.customers.ensure(owner))
            if isinstance(saved, str):
                self.stripe.save_card(saved, card)
                self.door.run(lambda gateway: gateway.payments.customers.refresh(saved))
        self.turn(fault)

    @rule(share=st.sampled_from([1, 2, 1_000_000, 0]))
    def spend(self, share: int) -> None:
        self.auditor.spend(share)

    @has("payment_intent", status="succeeded")
    @rule(number=which, is_disputed=st.booleans(), fault=trouble)
    def spent_money_goes_back(self, number: int, is_disputed: bool, fault: Fault | None) -> None:
        """Spend all there is, then lose a payment and hear of it: the organization owes."""
        self.auditor.spend(1)
        if is_disputed:
            self.a_bank_disputes(number, "needs_response", None)
        else:
            self.refund_in_the_dashboard(number, 1, "succeeded")
        self.deliver(0, 1, False, None)
        self.turn(fault)

    @precondition(lambda self: self.world.spender.free_nanos)
    @rule(crashes=st.booleans())
    def the_spender_goes_on(self, crashes: bool) -> None:
        """Let heartbeats pass, or another process take over from one that was killed."""
        if crashes:
            self.world.spender.crash()
            self.auditor.reap()
        else:
            self.auditor.beat()

    @rule(
        what=st.sampled_from(["grant", "take", "freeze", "lift", "release"]),
        share=st.sampled_from(SHARES),
    )
    def an_operator_acts(self, what: str, share: int) -> None:
        match what:
            case "grant":
                self.auditor.grant(500 // share)
            case "take":
                self.auditor.take(share)
            case "release":
                self.auditor.release()
            case _:
                self.auditor.freeze(on=what == "freeze")

    # --- what we hear, and what we do about it

    @has("event")
    @rule(number=age, times=st.integers(1, 3), is_thin=st.booleans(), fault=trouble)
    def deliver(self, number: int, times: int, is_thin: bool, fault: Fault | None) -> None:
        """Deliver an event of any age; what is never delivered is lost."""
        known = [event for event in self.stripe.all("event") if event["type"] in SUBSCRIBED]
        if known:
            event = known[number % len(known)]
            for _ in range(times):
                self.door.run(lambda gateway: gateway.take(event, is_thin=is_thin), fault)

    @rule(fault=trouble)
    def turn(self, fault: Fault | None) -> None:
        self.door.run(lambda gateway: gateway.turn(), fault, self._meanwhile)

    @precondition(lambda self: self.forms)
    @rule(number=which, fault=trouble)
    def the_buyer_returns(self, number: int, fault: Fault | None) -> None:
        rows = self.auditor.payments()
        if rows:
            payment_id = rows[number % len(rows)].id
            self.door.run(
                lambda gateway: gateway.returned(payment_id),
                fault,
                self._meanwhile,
            )

    @rule(seconds=st.sampled_from([1, 61, 660, 4_000, 80_000]))
    def wait(self, seconds: int) -> None:
        self.stripe.advance(seconds)

    @rule(fault=trouble)
    def sweep(self, fault: Fault | None) -> None:
        self.door.run(lambda gateway: gateway.sweep(), fault, self._meanwhile)

    @initialize()
    def begin(self) -> None:
        """Begin with a payment that came in, so that there is something to lose."""
        self.buy(DOLLARS[0], saves=True, card=cards.GOOD, returns=True)

    @rule()
    def sweep_of_minutes(self) -> None:
        """Let the sweep find, with nothing failing, all that was paid and not heard of."""
        self.stripe.advance(660)
        self.door.run(lambda gateway: gateway.sweep())
        self.auditor.check_heard()

    def sweep_of_a_day(self) -> None:
        """Let a day pass with nothing failing: then every book must be exact."""
        self.stripe.post_balances()
        for seconds in (660, 86_400, 660):
            self.stripe.advance(seconds)
            self.door.run(lambda gateway: gateway.sweep())
        self.auditor.check_exact()

    @invariant()
    def nothing_is_wrong(self) -> None:
        self.auditor.check()

    # --- helpers

    def _had(self) -> dict[str, int]:
        bought = list(purchases(self.stripe))
        rows = self.auditor.payments()
        return {
            "payments": len(bought),
            "received": sum(purchase.received_cents > 0 for purchase in bought),
            "gone": sum(purchase.gone_cents > 0 for purchase in bought),
            "auto top-ups paid": sum(row.origin == "auto" and row.state == "paid" for row in rows),
            "auto top-ups": sum(row.origin == "auto" for row in rows),
            "found": sum(row.origin == "found" for row in rows),
            "postings": sum(row.postings for row in rows),
            "crashes": self.door.crashes,
            "faults": self.door.faults,
            "owing at times": self.auditor.owing,
            "disputes": len(list(self.stripe.all("dispute"))),
            "refunds": len(list(self.stripe.all("refund"))),
        }

    def _at_stripe(self, kind: str, number: int, act: Callable[[Item], Any], **equal: Any) -> None:
        """Do something to an object at Stripe, unless Stripe does not allow it."""
        found = list(self.stripe.all(kind, **equal))
        if found:
            with contextlib.suppress(ApiRefusal):
                act(found[number % len(found)])

    async def _meanwhile(self) -> None:
        """Let another process do its turn, while a call of this one to Stripe takes its time."""
        await self.other.gateway.turn()
