"""Auto top-up on the billing page: its form, and its state in words."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from gateway import wall
from gateway.control_plane.billing.credit import nanos_of_dollars
from gateway.control_plane.pages.console.payment_words import Mark
from gateway.control_plane.payments.auto_top_up import AutoTopUp, TopUpRules
from gateway.control_plane.payments.customers import Customer
from gateway.control_plane.payments.payments import Payment
from gateway.control_plane.payments.top_up_starts import next_month
from gateway.control_plane.web.formats import cents
from gateway.control_plane.web.forms import RefusedForm, whole
from gateway.dates import moment_text
from gateway.errors import BadRequest
from gateway.money import money

_DOLLARS_MAX = 10**6
"""Reads no larger numbers; the domain has the bounds of each field."""


class AutoForm(msgspec.Struct, frozen=True):
    """When the saved card is charged. Amounts are in dollars."""

    threshold: str = "5"
    amount: str = "25"
    month: str = "100"
    enabled: str = ""

    @classmethod
    def shown(cls, current: AutoTopUp | None, refused: RefusedForm | None) -> AutoForm:
        """Return what stands in the form: what was typed, else what is set."""
        if refused and refused.form == "auto":
            typed: AutoForm = refused.typed
            return typed
        return cls.of(current) if current else cls()

    @classmethod
    def of(cls, current: AutoTopUp) -> AutoForm:
        """Return the form that changes nothing."""
        return cls(
            threshold=money(current.threshold_nanos).removeprefix("$").replace(",", ""),
            amount=str(current.amount_cents // 100),
            month=str(current.month_cents_max // 100),
            enabled="yes" if current.enabled else "",
        )

    def rules(self) -> TopUpRules:
        """Return what was chosen. Raises BadRequest."""
        return TopUpRules(
            enabled=bool(self.enabled),
            threshold_nanos=nanos_of_dollars(self.threshold, param="threshold"),
            amount_cents=_cents(self.amount, "amount"),
            month_cents_max=_cents(self.month, "month"),
        )


class AutoWords(NamedTuple):
    """The state in words."""

    mark: Mark
    name: str
    sentence: str
    again: AutoForm | None = None
    """What resumes it when it is saved again."""


def auto_words(
    current: AutoTopUp | None, customer: Customer | None, last: Payment | None
) -> AutoWords:
    """Describe what auto top-up does now; `last` is its newest attempt."""
    if current is None or not current.enabled:
        return AutoWords("", "Off", "When the balance runs out, requests are refused.")
    if customer is None or not customer.payment_method_id:
        return AutoWords(
            "warn",
            "Waits for a card",
            "It starts once you buy credit with “Save this card” checked.",
        )
    if customer.held_at:
        return AutoWords("warn", "On hold", "It is paused while buying is on hold.")
    return _paused(current) if current.paused else _running(current, last)


def _paused(current: AutoTopUp) -> AutoWords:
    if current.paused == "authentication":
        return AutoWords(
            "bad",
            "Paused",
            "Your bank needs your confirmation before it charges the saved card. Buy credit "
            "yourself with that card or save another one; or resume, and the card is tried "
            "again.",
            again=AutoForm.of(current),
        )
    if current.paused == "refunded":
        return AutoWords(
            "warn",
            "Paused",
            "A payment was refunded. Resume, and the saved card is charged again.",
            again=AutoForm.of(current),
        )
    if current.paused == "disputed":
        return AutoWords(
            "bad",
            "Paused",
            "A payment was disputed with the bank. Save another card and resume; the disputed card "
            "is not charged again unless the bank rejects the dispute.",
            again=AutoForm.of(current),
        )
    return AutoWords(
        "bad",
        "Stopped",
        "The saved card was declined three times in a row, or can't be used again. It starts again "
        "when you pay with that card yourself, or save another one.",
    )


def _running(current: AutoTopUp, last: Payment | None) -> AutoWords:
    rule = (
        f"When the balance falls below {money(current.threshold_nanos)}, "
        f"{cents(current.amount_cents)} of credit is bought, at most "
        f"{cents(current.month_cents_max)} a month."
    )
    if current.not_before is None or current.not_before <= wall.now():
        return AutoWords("good", "On", rule)
    later = f"{_why(current, last)} The next try is after {moment_text(current.not_before)}."
    return AutoWords("warn", "Waits", f"{later} {rule}")


def _why(current: AutoTopUp, last: Payment | None) -> str:
    """Say why the next attempt waits."""
    if current.not_before == next_month(wall.now()):
        return "The monthly limit is reached."
    if current.declines:
        return "The last charge was declined."
    if last is not None and last.state == "failed":
        return "The last attempt failed."
    return "The daily number of attempts is reached, or the last attempt was moments ago."


def _cents(text: str, param: str) -> int:
    dollars = whole(text.strip().removeprefix("$"), _DOLLARS_MAX)
    if dollars is None:
        raise BadRequest("Enter whole dollars, like 25.", param=param)
    return dollars * 100
