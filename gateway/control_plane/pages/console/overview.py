"""The console's first page: what is left, what was spent, and the first steps of a new account."""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple

from litestar import Response, get
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.accounts import key_listing, users
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.billing import credit, usage, usage_series
from gateway.control_plane.billing.usage import Filter, Sum
from gateway.control_plane.pages.console.balance_words import pace, stops_of
from gateway.control_plane.pages.console.usage_chart import Picked, UsageChart, spending
from gateway.control_plane.status import answers, errors
from gateway.control_plane.web.rendering import Render
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.ledger import runway

_DAYS = 30
_NO_CREDIT = {
    "granted_before": "This mailbox or GitHub account has already received its free credit.",
    "disposable": "There is no free credit for disposable mailboxes.",
    "budget": "That day's free credit was used up when you signed up.",
}


class UsedUp(NamedTuple):
    """A key whose used-up budget refused requests today."""

    key_id: str
    name: str
    refused: int


@get("/console")
async def show_overview(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    visitor: NamedDependency[Visitor],
) -> Response[str]:
    """Show the account at a glance."""
    picked = Picked(now=wall.now(), days=_DAYS)
    today = picked.now.date()
    month = today.replace(day=1)
    chosen = Filter(since=min(month, picked.since))
    async with database.read() as connection:
        balance = await credit.balance(connection, visitor.organization_id)
        days = await usage.sums(connection, visitor.organization_id, chosen, by="day")
        prior = await usage_series.before(
            connection, visitor.organization_id, picked.filter, picked.now
        )
        answered = await answers.summary(connection, visitor.organization_id, today)
        welcome = "" if balance.lots else await users.welcome_of(connection, visitor.user_id)
        keys_active = await key_listing.count_active(connection, visitor.organization_id)
        used_up = await _used_up(connection, visitor.organization_id, today)
    this_month = [one for one in days if one.group >= month.isoformat()]
    week = (today - timedelta(days=runway.RATE_DAYS - 1)).isoformat()
    lasts = runway.of(
        balance.available_nanos, sum(one.cost_nanos for one in days if one.group >= week)
    )
    return render(
        "console/overview.html",
        section="overview",
        balance=balance,
        pace=pace(lasts),
        stops=stops_of(balance),
        used_up=used_up,
        spent_today=sum(one.cost_nanos for one in days if one.group == today.isoformat()),
        spent_month=sum(one.cost_nanos for one in this_month),
        requests_month=sum(one.requests for one in this_month),
        tokens_month=sum(one.tokens for one in this_month),
        drawn=_drawn(picked, days, prior.cost_nanos),
        answered=answered,
        form_id=new_id(),
        no_credit=_NO_CREDIT.get(welcome, ""),
        keys_active=keys_active,
    )


def _drawn(picked: Picked, days: list[Sum], before_nanos: int) -> UsageChart:
    span = usage.every_day(days, picked.since, picked.now.date())
    return spending(picked, [one.cost_nanos for one in span], before_nanos)


async def _used_up(connection: AsyncConnection, organization_id: str, today: date) -> list[UsedUp]:
    """Return the keys in use whose budgets refused requests today, the most refused first."""
    refused = await errors.refused_by_budget(connection, organization_id, today)
    if not refused:
        return []
    named = await key_listing.named(connection, organization_id, today)
    found = [UsedUp(key.id, key.name, refused[key.id]) for key in named if key.id in refused]
    return sorted(found, key=lambda one: one.refused, reverse=True)
