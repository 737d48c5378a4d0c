"""What mails say of each type of notice: what happened, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from gateway.control_plane.mail.messages import plain
from gateway.money import money

_BILLING = "/console/billing"
_CENT_NANOS = 10_000_000
_ALL_PERCENT = 100


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
        advice="When it is used up, requests are refused with status 402. Add credit, or turn on "
        "auto top-up, so that they go on.",
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
            "Raise its budget to go on."
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


def _payment_credited(data: Mapping[str, Any]) -> Wording:
    credit = _rounded(data["credit_nanos"])
    return Wording(
        subject=f"{credit} of credit added",
        happened=f"Your payment arrived, and {credit} of credit can be used now.",
        advice="There is nothing to do. The payment's page has its invoice.",
        label="See the payment",
        path=f"{_BILLING}/payments/{data['payment_id']}",
    )


def _key_expiring(data: Mapping[str, Any]) -> Wording:
    name, days = _name(data["key_name"]), _days(data["days"])
    ends = datetime.fromisoformat(data["expires_at"])
    return Wording(
        subject=f"The key {name} expires in {days}",
        happened=f"The key {name} (ending in {data['last_four']}) expires on "
        f"{ends:%Y-%m-%d at %H:%M} UTC. After that, requests with it are refused with status 401.",
        advice="Create a new key and put it in place before then. If the key is no longer used, "
        "there is nothing to do.",
        label="Create a key",
        path="/console/keys",
    )


def _endpoint_disabled(data: Mapping[str, Any]) -> Wording:
    why = (
        "It answered 410, which means that it is gone."
        if data["reason"] == "gone"
        else "It accepted no message for 3 days."
    )
    return Wording(
        subject="A webhook was switched off",
        happened=f"We no longer send webhooks to {data['url']}. {why}",
        advice="The log shows what it answered. Once it is repaired, switch it on again and replay "
        "what it missed.",
        label="See the webhook",
        path=f"/console/webhooks/{data['endpoint_id']}",
    )


_WORDS: dict[str, Callable[[Mapping[str, Any]], Wording]] = {
    "balance.low": _balance_low,
    "balance.empty": _balance_empty,
    "budget.reached": _budget_reached,
    "payment.credited": _payment_credited,
    "key.expiring": _key_expiring,
    "endpoint.disabled": _endpoint_disabled,
}


def _rounded(nanos: Any) -> str:
    """Write an amount down to the cent, or exactly if it is less than one."""
    amount = int(nanos)
    return money(amount - amount % _CENT_NANOS if amount >= _CENT_NANOS else amount)


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count:,} days"


def _name(name: str) -> str:
    return f'"{plain(name)}"'
