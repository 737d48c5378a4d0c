"""What is said of a balance: how long it lasts, what stops it, and what to do about that."""

from __future__ import annotations

from typing import NamedTuple

from gateway.control_plane.billing.credit import Balance
from gateway.control_plane.web.formats import DAYS_FORESEEN_MAX, plural
from gateway.data_plane.metering.port import FreezeCause
from gateway.money import money
from gateway.storage.ledger.runway import RATE_DAYS, Runway


class Stop(NamedTuple):
    """Why requests are refused, and the way out."""

    heading: str
    meaning: str
    remedy: str
    asks: bool = True
    """Whether it helps to write to us."""


def days_left(lasts: Runway) -> str:
    """Say how many days of use are left at the present rate."""
    if not lasts.available_nanos:
        return "Nothing is left."
    if lasts.days is None:
        return f"Nothing was used in the last {RATE_DAYS} days."
    if not lasts.days:
        return "Less than a day of use is left at the current rate."
    if lasts.days > DAYS_FORESEEN_MAX:
        return "More than a year of use is left at the current rate."
    return f"About {plural(lasts.days, 'day')} of use left at the current rate."


def pace(lasts: Runway) -> str:
    """Say for how long the balance lasts at the pace of the last days, in a few words."""
    if not lasts.available_nanos:
        return "nothing is left"
    if lasts.days is None:
        return f"no usage in the last {RATE_DAYS} days"
    if not lasts.days:
        return "less than a day at this week's pace"
    if lasts.days > DAYS_FORESEEN_MAX:
        return "more than a year at this week's pace"
    return f"about {plural(lasts.days, 'day')} at this week's pace"


def stops_of(balance: Balance) -> list[Stop]:
    """Return all that stops an account now, in words."""
    return [_stop(cause, balance) for cause in balance.frozen_by]


def _stop(cause: FreezeCause, balance: Balance) -> Stop:
    match cause:
        case "owing":
            return Stop(
                f"You owe {money(balance.owed_nanos)}.",
                "A payment was taken back after its credit had been used. Requests are refused "
                "until the debt is paid.",
                "The next credit that you buy pays it first.",
                asks=False,
            )
        case "dispute":
            return Stop(
                "A payment is disputed.",
                "The cardholder disputed a payment with their bank. Requests are refused until "
                "the bank decides. The credit is withdrawn, and is given back if the bank rejects "
                "the dispute.",
                "If this is a mistake, withdraw the dispute at the bank, and tell us.",
            )
        case "operator":
            return Stop(
                "This account is suspended.",
                "We stopped it, so requests are refused. Your credit is kept.",
                "We can tell you why, and what needs to happen.",
            )
        case "books":
            return Stop(
                "This account is under review.",
                "A check of our books found something that doesn't add up, so requests are "
                "refused until we have looked into it. Your credit is kept.",
                "You don't need to do anything. Requests work again as soon as it is cleared up.",
            )
