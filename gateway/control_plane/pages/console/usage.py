"""Usage by day, key and model: a chart, a table, and the same as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import timedelta

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from gateway import wall
from gateway.control_plane.accounts import key_listing
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.billing import usage
from gateway.control_plane.billing.usage import By, Filter, Sum
from gateway.control_plane.pages.console.overview import spending
from gateway.control_plane.web.rendering import Render
from gateway.storage.database import Database

_SPANS = (7, 30, 90)
_KEYS_MAX = 1_000
"""Most keys to choose from: the newest of those in use now or in the time shown."""


@get("/console/usage")
async def show_usage(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    visitor: NamedDependency[Visitor],
    days: FromQuery[int] = 30,
    key: FromQuery[str] = "",
    model: FromQuery[str] = "",
) -> Response[str]:
    """Show the usage of some days, of all keys and models or of one."""
    chosen = _filter(days, key, model)
    today = wall.now().date()
    async with database.read() as connection:
        sums = await usage.every_sum(connection, visitor.organization_id, chosen)
        used = await usage.models_of(connection, visitor.organization_id, chosen.since)
        keys = await key_listing.named(connection, visitor.organization_id, chosen.since)
    return render(
        "console/usage.html",
        section="usage",
        spans=_SPANS,
        days=days,
        key=key,
        model=model,
        keys=keys[-_KEYS_MAX:],
        models=used,
        names={item.id: item.name for item in keys},
        sums=sums,
        chart=spending(usage.every_day(sums["day"], chosen.since, today)),
    )


@get("/console/usage.csv")
async def export_usage(
    database: NamedDependency[Database],
    visitor: NamedDependency[Visitor],
    by: FromQuery[By] = "day",
    days: FromQuery[int] = 30,
    key: FromQuery[str] = "",
    model: FromQuery[str] = "",
) -> Response[str]:
    """Download the same sums as CSV."""
    chosen = _filter(days, key, model)
    ends = {}
    async with database.read() as connection:
        sums = await usage.sums(connection, visitor.organization_id, chosen, by=by)
        if by == "key":
            keys = await key_listing.named(connection, visitor.organization_id, chosen.since)
            ends = {item.id: item.last_four for item in keys}
    return Response(
        written(by, sums, ends),
        media_type="text/csv",  # Litestar adds the charset
        headers={"content-disposition": f'attachment; filename="usage-by-{by}.csv"'},
    )


def written(by: By, sums: list[Sum], last_four: Mapping[str, str]) -> str:
    """Write sums as CSV; those by key have its last characters, as the list of keys does.

    It holds no names: a spreadsheet would run a name that is a formula.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    ends = ["ends_with"] if by == "key" else []
    writer.writerow([by, *ends, "requests", "inputs", "tokens", "cost_nanos"])
    for row in sums:
        end = [last_four.get(row.group, "")] if by == "key" else []
        writer.writerow([row.group, *end, row.requests, row.inputs, row.tokens, row.cost_nanos])
    return text.getvalue()


def _filter(days: int, key: str, model: str) -> Filter:
    span = min(max(days, 1), _SPANS[-1])
    since = wall.now().date() - timedelta(days=span - 1)
    return Filter(since=since, key_id=key or None, model_id=model or None)
