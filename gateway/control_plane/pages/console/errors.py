"""Errors by code, key and day, each number with the requests behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from gateway.control_plane.accounts import key_listing
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.status import errors
from gateway.control_plane.web import request_list
from gateway.control_plane.web.formats import number
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.stacked_chart import BarTime, Series, StackedChart, stacked
from gateway.dates import day_text
from gateway.storage.database import Database

_SPANS = (1, 7, 30)
_PAIRS_MAX = 200
"""Most pairs of a code and a key that are shown: those with the most errors."""


@get("/console/errors")
async def show_errors(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    visitor: NamedDependency[Visitor],
    days: FromQuery[int] = _SPANS[-1],
) -> Response[str]:
    """Show the errors of some days."""
    span = days if days in _SPANS else _SPANS[-1]
    first = errors.first_day(span)
    async with database.read() as connection:
        found = await errors.every_sum(connection, visitor.organization_id, first)
        keys = await key_listing.named(connection, visitor.organization_id, first)
    by_day, by_pair = Counter[date](), Counter[tuple[int, str, str]]()
    for one in found:
        by_day[one.day] += one.errors
        by_pair[one.status, one.code, one.key_id] += one.errors
    return render(
        "console/errors.html",
        section="requests",
        spans=_SPANS,
        days=span,
        total=by_day.total(),
        is_cut=len(found) == errors.SUMS_MAX,
        by_pair=by_pair.most_common(_PAIRS_MAX),
        most=_PAIRS_MAX,
        documentation=request_list.documentation,
        by_day=sorted(by_day.items(), reverse=True),
        names={key.id: key for key in keys},
        chart=_drawn(by_day, [first + timedelta(days=number) for number in range(span)]),
    )


def _drawn(errors_of: Mapping[date, int], days: list[date]) -> StackedChart:
    slots = [
        BarTime(label=day_text(day)[:-5], title=day_text(day), goes_on=day == days[-1])
        for day in days
    ]
    values = [errors_of.get(day, 0) for day in days]
    return stacked(slots, [Series(name="Errors", values=values)], number)
