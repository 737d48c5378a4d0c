"""Whether a model would pay for its GPU: expected volume and price, against measured capacity.

All figures are of a month of 730 hours. The capacity of a GPU is what a ready worker of the model
measures; while it has none, the median of the other models' workers stands in for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Literal

import msgspec

from gateway.control_plane.demand.standings import DemandStanding
from gateway.control_plane.workers.commands import WorkerReport
from gateway.snapshots import WorkerState

HOURS = 730
BUSY_PERCENT = 50
"""How much of a GPU's measured rate a month's traffic can use: it is not spread evenly."""
DAYS_MAX = 3_650
"""A time beyond this many days counts as never."""

_MONTH_DAYS = 30


class GpuTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a GPU costs, and what a launch gives away to each organization that asked."""

    nanos_per_hour: int
    launch_credit_nanos: int


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens a second that one worker, on one GPU, was measured at."""

    tokens_per_second: int
    measured: Literal["own", "others"]


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a model would pay for its GPUs, and in how long."""

    price_nanos: int
    expected_tokens: int
    revenue_nanos: int
    capacity: Capacity | None
    """None: no worker runs anywhere, so one GPU is assumed to be enough."""
    gpus: int
    cost_nanos: int
    gift_nanos: int
    """At most what the launch would give away in credit."""
    needed_tokens: int | None
    """Tokens a month from which it pays; None where the price is zero."""
    days: int | None
    """Days until what the launch gives away is earned back; None: never, or unknown."""
    trend_days: int | None
    """For one that does not pay: days until it would, if demand grows as in the last 30 days."""

    @property
    def pays(self) -> bool:
        """Whether a month earns what its GPUs cost."""
        return self.revenue_nanos > 0 and self.revenue_nanos >= self.cost_nanos


def outlook(
    standing: DemandStanding, price_nanos: int, capacity: Capacity | None, terms: GpuTerms
) -> Outlook:
    """Return what to expect of a model at a price per million tokens."""
    expected = standing.expected_tokens(price_nanos)
    revenue = expected * price_nanos // 10**6
    gpus = 1
    if capacity is not None:
        room = capacity.tokens_per_second * 3_600 * HOURS * BUSY_PERCENT // 100
        gpus = max(1, -(-expected // room))
    cost = gpus * HOURS * terms.nanos_per_hour
    gift = (standing.votes + standing.waiting) * terms.launch_credit_nanos
    margin = revenue - cost
    needed = -(-cost * 10**6 // price_nanos) if price_nanos else None
    return Outlook(
        price_nanos=price_nanos,
        expected_tokens=expected,
        revenue_nanos=revenue,
        capacity=capacity,
        gpus=gpus,
        cost_nanos=cost,
        gift_nanos=gift,
        needed_tokens=needed,
        days=_days(gift, margin) if revenue and margin >= 0 else None,
        trend_days=_trend_days(standing, expected, needed) if margin < 0 else None,
    )


def capacity_of(model_id: str, reports: Iterable[WorkerReport]) -> Capacity | None:
    """Return the measured capacity of a model's workers; else that of others, None without any."""
    ready = [
        report
        for report in reports
        if report.worker.state is WorkerState.READY and report.worker.tokens_per_second >= 1
    ]
    own = [r.worker.tokens_per_second for r in ready if r.model == model_id]
    rates = own or [report.worker.tokens_per_second for report in ready]
    if not rates:
        return None
    return Capacity(tokens_per_second=int(median(rates)), measured="own" if own else "others")


def _days(gift_nanos: int, margin_nanos: int) -> int | None:
    if not gift_nanos:
        return 0
    if not margin_nanos:
        return None
    days = -(-gift_nanos * _MONTH_DAYS // margin_nanos)
    return days if days <= DAYS_MAX else None


def _trend_days(standing: DemandStanding, expected: int, needed: int | None) -> int | None:
    """Return when volume reaches what is needed, if each month brings as many votes as the last."""
    if needed is None or not standing.votes or not standing.votes_30_days:
        return None
    growth = expected * standing.votes_30_days // standing.votes
    if not growth:
        return None
    days = -(-(needed - expected) * _MONTH_DAYS // growth)
    return days if days <= DAYS_MAX else None
