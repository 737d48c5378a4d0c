"""The console's first page: what is left, what was spent, and the first steps of a new account."""

from __future__ import annotations

from datetime import timedelta

from litestar import Response, get
from litestar.di import NamedDependency

from gateway import wall
from gateway.control_plane.accounts import key_listing, users
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.billing import credit, usage
from gateway.control_plane.billing.usage import Filter, Sum
from gateway.control_plane.pages.console.balance_words import stops_of
from gateway.control_plane.status import answers
from gateway.control_plane.web import charts
from gateway.control_plane.web.formats import number
from gateway.control_plane.web.rendering import Render
from gateway.identifiers import new_id
from gateway.money import money
from gateway.storage.database import Database

_DAYS = 30
_NO_CREDIT = {
    "granted_before": "This mailbox or GitHub account received its free credit before.",
    "disposable": "There is no free credit for disposable mailboxes.",
    "budget": "The day's free credit was used up when you signed up.",
}


@get("/console")
async def show_overview(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    visitor: NamedDependency[Visitor],
) -> Response[str]:
    """Show the account at a glance."""
    today = wall.now().date()
    month = today.replace(day=1)
    since = min(month, today - timedelta(days=_DAYS - 1))
    async with database.read() as connection:
        balance = await credit.balance(connection, visitor.organization_id)
        days = await usage.sums(connection, visitor.organization_id, Filter(since=since), by="day")
        answered = await answers.summary(connection, visitor.organization_id, today)
        welcome = await users.welcome_of(connection, visitor.user_id)
        keys_active = await key_listing.count_active(connection, visitor.organization_id)
    spent_today = sum(day.cost_nanos for day in days if day.group == today.isoformat())
    this_month = [day for day in days if day.group >= month.isoformat()]
    span = usage.every_day(days, today - timedelta(days=_DAYS - 1), today)
    return render(
        "console/overview.html",
        section="overview",
        balance=balance,
        stops=stops_of(balance),
        spent_today=spent_today,
        spent_month=sum(day.cost_nanos for day in this_month),
        requests_month=sum(day.requests for day in this_month),
        tokens_month=sum(day.tokens for day in this_month),
        chart=spending(span),
        answered=answered,
        form_id=new_id(),
        no_credit=_NO_CREDIT.get(welcome, ""),
        keys_active=keys_active,
    )


def spending(days: list[Sum]) -> charts.Chart:
    """Draw what each day cost."""
    return charts.bars([(day.group[5:], day.cost_nanos, _title(day)) for day in days])


def _title(day: Sum) -> str:
    requests, tokens = number(day.requests), number(day.tokens)
    return f"{day.group}: {money(day.cost_nanos)}, {requests} requests, {tokens} tokens"
