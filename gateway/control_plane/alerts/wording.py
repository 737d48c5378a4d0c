"""What mails say of each type of notice: what happened, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from gateway.control_plane.mail.messages import plain
from gateway.dates import moment_text
from gateway.money import money

_BILLING = "/console/billing"
_CENT_NANOS = 10_000_000
_ALL_PERCENT = 100
_UNTIL_THEN = "Until then, your credit is not topped up, and requests fail once it runs out."
_CAUSES = {
    "expired_card": "it has expired",
    "insufficient_funds": "there is not enough money",
    "lost_card": "it was reported lost",
    "stolen_card": "it was reported stolen",
}
_BRANDS = {
    "amex": "American Express",
    "diners": "Diners Club",
    "eftpos_au": "eftpos",
    "jcb": "JCB",
    "unionpay": "UnionPay",
}
"""Names of cards that are not their codes with a capital letter."""


class Wording(NamedTuple):
    """A mail's words."""

    subject: str
    happened: str
    advice: str
    """What to do about it."""
    label: str
    """On the link to the page where something can be done."""
    path: str
    """Of that page."""


def of(kind: str, data: Mapping[str, Any]) -> Wording:
    """Return the words for a notice's type and data. Raises KeyError for data that is missing."""
    return _WORDS[kind](data)


def _balance_low(data: Mapping[str, Any]) -> Wording:
    left = _rounded(data["available_nanos"])
    days = data.get("days_left")
    lasts = f" At the rate of the last 7 days it lasts for {_days(days)}." if days else ""
    return Wording(
        subject=f"Your credit is running low: {left} left",
        happened=f"Your organization has {left} of credit left.{lasts}",
        advice="When it is used up, requests are refused with status 402. Add credit or turn on "
        "auto top-up to keep requests running.",
        label="Add credit",
        path=_BILLING,
    )


def _balance_empty(_data: Mapping[str, Any]) -> Wording:
    return Wording(
        subject="Your credit is used up",
        happened="Your organization's credit is used up. Requests are refused with status 402, and "
        "nothing is charged for them.",
        advice="Add credit, and requests work again within seconds.",
        label="Add credit",
        path=_BILLING,
    )


def _budget_reached(data: Mapping[str, Any]) -> Wording:
    name, percent = _name(data["key_name"]), int(data["percent"])
    limit, spent = _rounded(data["limit_nanos"]), _rounded(data["spent_nanos"])
    period = "" if data["period"] == "total" else " for this month"
    if percent >= _ALL_PERCENT:
        subject = f"The budget of the key {name} is used up"
        advice = (
            "Requests with this key are refused with status 402; other keys are not affected. "
            "Raise its budget to keep using it."
        )
    else:
        subject = f"The key {name} has spent {percent} % of its budget"
        advice = "When all of it is spent, requests with this key are refused with status 402."
    return Wording(
        subject=subject,
        happened=f"The key {name} has spent {spent} of its budget of {limit}{period}.",
        advice=advice,
        label="See the key",
        path=f"/console/keys/{data['key_id']}",
    )


def _auto_top_up_failed(data: Mapping[str, Any]) -> Wording:
    return _TOP_UP_WORDS[data["reason"]](data)


def _limit_reached(data: Mapping[str, Any]) -> Wording:
    amount, month = _dollars(data["amount_cents"]), _dollars(data["month_cents_max"])
    return Wording(
        subject="Auto top-up has reached its limit for this month",
        happened=f"Buying {amount} more would pass the limit of {month} that your organization set "
        "for this month, so nothing was bought.",
        advice="Auto top-up continues next month. To continue now, raise the limit or buy credit. "
        f"{_UNTIL_THEN}",
        label="Raise the limit, or buy credit",
        path=_BILLING,
    )


def _bank_asks(data: Mapping[str, Any]) -> Wording:
    return Wording(
        subject="Your bank asks you to confirm a payment",
        happened=f"{_tried(data)} with {_card(data)}. The bank wants you to confirm this payment "
        "yourself, so nothing was charged, and auto top-up is paused.",
        advice=f"Pay on the billing page, where your bank can ask you. {_UNTIL_THEN}",
        label="Go to billing",
        path=_BILLING,
    )


def _declined(data: Mapping[str, Any]) -> Wording:
    return Wording(
        subject="Auto top-up failed: your card was declined",
        happened=_was_declined(data),
        # the number is payments.auto_top_up.DECLINES_MAX
        advice=f"{_again(data)} Auto top-up stops after three declines in a row, or at once if the "
        "card can't be used again. You can save another card, or buy credit yourself.",
        label="Go to billing",
        path=_BILLING,
    )


def _stopped(data: Mapping[str, Any]) -> Wording:
    return Wording(
        subject="Auto top-up has stopped: your card was declined",
        happened=_was_declined(data),
        advice="We won't charge this card again. Auto top-up continues once you save another card, "
        f"or buy credit with this one. {_UNTIL_THEN}",
        label="Go to billing",
        path=_BILLING,
    )


def _not_made(data: Mapping[str, Any]) -> Wording:
    return Wording(
        subject="Auto top-up failed",
        happened=f"{_tried(data)}, and the payment could not be made. Nothing was charged.",
        advice=f"{_again(data)} {_UNTIL_THEN}",
        label="Go to billing",
        path=_BILLING,
    )


def _payment_credited(data: Mapping[str, Any]) -> Wording:
    credit = _rounded(data["credit_nanos"])
    return Wording(
        subject=f"{credit} of credit added",
        happened=f"Your payment arrived, and {credit} of credit can be used now.",
        advice="There's nothing for you to do. The payment's page has its invoice.",
        label="See the payment",
        path=f"{_BILLING}/payments/{data['payment_id']}",
    )


def _key_expiring(data: Mapping[str, Any]) -> Wording:
    name, days = _name(data["key_name"]), _days(data["days"])
    ends = datetime.fromisoformat(data["expires_at"])
    return Wording(
        subject=f"The key {name} expires in {days}",
        happened=f"The key {name} (ending in {data['last_four']}) expires on "
        f"{moment_text(ends)}. After that, requests with it are refused with status 401.",
        advice="Create a new key and put it in place before then. If the key is no longer used, "
        "you can ignore this.",
        label="Create a key",
        path="/console/keys",
    )


def _endpoint_disabled(data: Mapping[str, Any]) -> Wording:
    whys = {
        "gone": "It answered 410, which means that it is gone.",
        "unreadable": "We can no longer read its signing secret, so nothing could be sent for 3 "
        "days. Create a new secret on its page before you switch it on again.",
    }
    why = whys.get(data["reason"], "It accepted no message for 3 days.")
    return Wording(
        subject="A webhook was switched off",
        happened=f"We no longer send webhooks to {data['url']}. {why}",
        advice="The log shows its responses. Once it works again, switch it on and replay the "
        "deliveries that failed.",
        label="See the webhook",
        path=f"/console/webhooks/{data['endpoint_id']}",
    )


_TOP_UP_WORDS: dict[str, Callable[[Mapping[str, Any]], Wording]] = {
    "authentication": _bank_asks,
    "declined": _declined,
    "stopped": _stopped,
    "error": _not_made,
    "limit": _limit_reached,
}
"""Of a failed auto top-up, by its reason."""

_WORDS: dict[str, Callable[[Mapping[str, Any]], Wording]] = {
    "balance.low": _balance_low,
    "balance.empty": _balance_empty,
    "budget.reached": _budget_reached,
    "auto_top_up.failed": _auto_top_up_failed,
    "payment.credited": _payment_credited,
    "key.expiring": _key_expiring,
    "endpoint.disabled": _endpoint_disabled,
}


def _tried(data: Mapping[str, Any]) -> str:
    return f"Auto top-up tried to buy {_dollars(data['amount_cents'])} of credit"


def _was_declined(data: Mapping[str, Any]) -> str:
    cause = _CAUSES.get(data["cause"])
    because = f", because {cause}" if cause else ""
    return f"{_tried(data)}, and {_card(data)} was declined{because}. Nothing was charged."


def _card(data: Mapping[str, Any]) -> str:
    brand, last_four = data["card_brand"], data["card_last_four"]
    if not last_four:
        return "the saved card"
    return f"the {_BRANDS.get(brand, brand.capitalize())} card ending in {last_four}"


def _again(data: Mapping[str, Any]) -> str:
    if not data["next_attempt_at"]:
        return "We'll try again later."
    at = datetime.fromisoformat(data["next_attempt_at"])
    return f"We'll try again on {moment_text(at)}."


def _dollars(cents: Any) -> str:
    return money(int(cents) * _CENT_NANOS)


def _rounded(nanos: Any) -> str:
    """Write an amount down to the cent, or exactly if it is less than one."""
    amount = int(nanos)
    return money(amount - amount % _CENT_NANOS if amount >= _CENT_NANOS else amount)


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count:,} days"


def _name(name: str) -> str:
    return f'"{plain(name)}"'
