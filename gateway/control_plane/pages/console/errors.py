"""Errors by code, key and day, each number with the requests behind it."""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from gateway.control_plane.accounts import key_listing
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.status import errors
from gateway.control_plane.status.errors import ErrorSum, first_moment
from gateway.control_plane.web import charts
from gateway.control_plane.web.charts import Chart
from gateway.control_plane.web.formats import number, plural
from gateway.control_plane.web.rendering import Render
from gateway.dates import day_text
from gateway.storage.database import Database

_SPANS = (7, 30, 90)


@get("/console/errors")
async def show_errors(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    visitor: NamedDependency[Visitor],
    days: FromQuery[int] = 30,
) -> Response[str]:
    """Show the errors of some days."""
    span = days if days in _SPANS else _SPANS[1]
    async with database.read() as connection:
        by_code = await errors.errors_by_code_and_key(connection, visitor.organization_id, span)
        by_day = await errors.errors_by(connection, visitor.organization_id, span, by="day")
        keys = await key_listing.named(
            connection, visitor.organization_id, first_moment(span).date()
        )
    return render(
        "console/errors.html",
        section="requests",
        spans=_SPANS,
        days=span,
        total=sum(day.errors for day in by_day),
        by_code=by_code,
        most=errors.GROUPS_MAX,
        by_day=by_day,
        names={key.id: key for key in keys},
        chart=_drawn(by_day),
    )


def _drawn(days: list[ErrorSum]) -> Chart:
    values = []
    for one in reversed(days):
        assert one.day is not None, "sums by day have their day"
        day = day_text(one.day)
        values.append((day[:-5], one.errors, f"{day}: {plural(one.errors, 'error')}"))
    return charts.bars(values, number)
