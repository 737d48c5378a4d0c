"""Usage by day, key and model: a chart, tables, and the same as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from gateway import wall
from gateway.control_plane.accounts import key_listing
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.billing import usage
from gateway.control_plane.billing.usage import By, Filter, Sum
from gateway.control_plane.billing.usage_series import Split
from gateway.control_plane.pages.console import latency_chart
from gateway.control_plane.pages.console.usage_chart import Metric, Picked, charted
from gateway.control_plane.web.rendering import Render, is_fragment
from gateway.storage.database import Database

PATH = "/console/usage"
_SPANS = {1: "Today", 2: "2 days", 7: "7 days", 30: "30 days", 90: "90 days"}
_DAYS_MAX = max(_SPANS)
_METRICS = {
    "cost": "Cost",
    "tokens": "Tokens",
    "requests": "Requests",
    "errors": "Errors",
    "latency": "Latency",
}
_SPLITS = {"none": "Nothing", "model": "Model", "key": "Key"}
_KEYS_MAX = 1_000
"""Most keys to choose from: the newest of those in use now or in the time shown."""


@get(PATH)
async def show_usage(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    visitor: NamedDependency[Visitor],
    days: FromQuery[int] = 30,
    metric: FromQuery[Metric] = "cost",
    split: FromQuery[Split] = "none",
    key: FromQuery[str] = "",
    model: FromQuery[str] = "",
) -> Response[str]:
    """Show the usage of some days, of all keys and models or of one."""
    picked = Picked(
        now=wall.now(),
        days=min(max(days, 1), _DAYS_MAX),
        metric=metric,
        split=split,
        key_id=key,
        model_id=model,
    )
    async with database.read() as connection:
        sums = await usage.every_sum(connection, visitor.organization_id, picked.filter)
        used = sorted(one.group for one in sums["model"])
        if key or model:  # which may leave some out
            used = await usage.models_of(connection, visitor.organization_id, picked.since)
        keys = await key_listing.named(connection, visitor.organization_id, picked.since)
        names = {item.id: item.name for item in keys}
        if metric == "latency":
            drawn = await latency_chart.charted(connection, visitor.organization_id, picked, names)
        else:
            drawn = await charted(connection, visitor.organization_id, picked, sums, names)
    answer = render(
        "console/usage.html",
        section="usage",
        spans=_SPANS,
        metrics=_METRICS,
        splits=_SPLITS,
        picked=picked,
        key=key,
        model=model,
        keys=keys[-_KEYS_MAX:],
        models=used,
        names=names,
        sums=sums,
        drawn=drawn,
        date=date.fromisoformat,
    )
    if is_fragment(request):
        answer.headers["hx-replace-url"] = address(picked)
    return answer


def address(picked: Picked) -> str:
    """Return the address that shows it, which says only what is not as usual."""
    usual = Picked(now=picked.now)
    said = {"days": "days", "metric": "metric", "split": "split", "key_id": "key",
            "model_id": "model"}  # fmt: skip
    chosen = {
        name: getattr(picked, field)
        for field, name in said.items()
        if getattr(picked, field) != getattr(usual, field)
    }
    return f"{PATH}?{urlencode(chosen)}" if chosen else PATH


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
    since = wall.now().date() - timedelta(days=min(max(days, 1), _DAYS_MAX) - 1)
    return Filter(since=since, key_id=key or None, model_id=model or None)
