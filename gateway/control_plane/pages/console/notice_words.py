"""The types of notices in words, for the pages that choose among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.control_plane.alerts.notices import OPTIONAL, SUBSCRIBABLE


class Kind(NamedTuple):
    """A type of notice: what a mail about it is called, and when it is sent."""

    type: str
    name: str
    meaning: str


_WORDS = {
    "balance.low": ("Balance is low", "The balance falls below the limit that is set for alerts."),
    "balance.empty": ("Balance is used up", "Nothing is left, and requests are refused."),
    "budget.reached": ("A key's budget", "A key has spent 50, 80, 95 or 100 % of its budget."),
    "auto_top_up.failed": ("Auto top-up failed", "The saved card could not be charged."),
    "payment.credited": ("Payment credited", "A payment arrived, and its credit can be used."),
    "model.launched": ("Model launched", "A model is live, and can be called."),
    "key.expiring": ("A key expires", "A key expires in 30, 10 or 1 days."),
    "endpoint.disabled": (
        "Webhook switched off",
        "A webhook failed for days, and we stopped sending to it.",
    ),
}


def mailed() -> list[Kind]:
    """Return what owners can choose to get mail about."""
    return _kinds(OPTIONAL)


def subscribable() -> list[Kind]:
    """Return what webhooks can be sent."""
    return _kinds(SUBSCRIBABLE)


def chosen_of(sent: str | Sequence[str]) -> list[str]:
    """Return what a form's boxes said: one ticked box alone comes as a text, not as a list."""
    return [sent] if isinstance(sent, str) else list(sent)


def _kinds(types: Sequence[str]) -> list[Kind]:
    return [Kind(kind, *_WORDS[kind]) for kind in types]
