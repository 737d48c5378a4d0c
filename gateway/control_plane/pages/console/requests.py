"""Requests: the latest of an organization, one of them with all that is known, and as CSV."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import UTC, date, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from gateway import wall
from gateway.control_plane.accounts import key_listing
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.status import logged_requests
from gateway.control_plane.status.logged_requests import LoggedRequest, Outcome, RequestFilter
from gateway.control_plane.web.csv_files import export
from gateway.control_plane.web.formats import places
from gateway.control_plane.web.forms import see_other
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.visitors import PageNotFound
from gateway.errors import GatewayError, documented
from gateway.settings import Settings
from gateway.storage.database import Database

PATH = "/console/requests"
_PAGE = 50
_OUTCOMES: Mapping[Outcome, str] = {"": "All", "success": "Successful", "errors": "Errors"}
_YEARS = range(2000, 3000)
"""Of days that may be asked for: others have no id."""
_COLUMNS = (
    "time", "request_id", "status", "code", "key_id", "key_ends_with", "model", "latency_ms",
    "tokens", "charged_nanos", "original_request_id", "not_recorded_before",
)  # fmt: skip


@get(PATH)
async def list_requests(
    request: Request[Any, Any, Any],
    settings: NamedDependency[Settings],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    visitor: NamedDependency[Visitor],
    outcome: FromQuery[str] = "",
    code: FromQuery[str] = "",
    key: FromQuery[str] = "",
    model: FromQuery[str] = "",
    day: FromQuery[str] = "",
    before: FromQuery[str] = "",
    wanted: Annotated[str, QueryParameter(name="format")] = "",
    sought: Annotated[str, QueryParameter(name="id")] = "",
) -> Response[Any]:
    """Show one page of requests, or the newest as CSV; with an id, lead to its request."""
    if not all(request.query_params.values()):  # the address says only what was asked
        asked = [(name, value) for name, value in request.query_params.multi_items() if value]
        return see_other(f"{PATH}?{urlencode(asked)}" if asked else PATH)
    own, sought = visitor.organization_id, sought.strip().lower()
    chosen = _filter(outcome, code, key, model, day)
    if wanted == "csv":
        return await export(
            database,
            "requests",
            _COLUMNS,
            lambda connection, last, limit: logged_requests.page(
                connection, own, chosen, before=last.request_id if last else before, limit=limit
            ),
            _row,
        )
    async with database.read() as connection:
        if sought and await logged_requests.find(connection, own, sought):
            return see_other(f"{PATH}/{sought}")
        found = await logged_requests.page(connection, own, chosen, before=before, limit=_PAGE + 1)
        since = wall.now().date() - timedelta(days=settings.request_log_days)
        keys = await key_listing.named(connection, own, since)
        choices = await logged_requests.choices(connection, own)
    shown = found[:_PAGE]
    return render(
        "console/requests.html",
        section="requests",
        requests=shown,
        places=places(one.charge.charged_nanos for one in shown if one.charge),
        next_before=shown[-1].request_id if len(found) > _PAGE else "",
        before=before,
        sought=sought,
        filters=asked_for(chosen),
        chosen=chosen,
        outcomes=_OUTCOMES,
        keys=keys,
        choices=choices,
        days_kept=settings.request_log_days,
        rows_kept=settings.request_log_rows_max,
    )


@get(PATH + "/{request_id:str}")
async def show_request(
    settings: NamedDependency[Settings],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    visitor: NamedDependency[Visitor],
    request_id: FromPath[str],
) -> Response[str]:
    """Show what is known of a request, and what to do about its error."""
    async with database.read() as connection:
        found = await logged_requests.find(connection, visitor.organization_id, request_id)
    if found is None:
        raise PageNotFound("There is no such request, or it is no longer kept.")
    return render(
        "console/request.html",
        section="requests",
        one=found,
        error=error_of(found),
        days_kept=settings.request_log_days,
        has_receipts=settings.receipts,
    )


def asked_for(chosen: RequestFilter) -> dict[str, str]:
    """Return a filter as the parameters of an address."""
    named = {
        "outcome": chosen.outcome,
        "code": chosen.code,
        "key": chosen.key_id,
        "model": chosen.model_id,
        "day": chosen.day.isoformat() if chosen.day else "",
    }
    return {name: value for name, value in named.items() if value}


def _filter(outcome: str, code: str, key: str, model: str, day: str) -> RequestFilter:
    """Read a filter; what is no day says nothing."""
    chosen: date | None = None
    with contextlib.suppress(ValueError):
        chosen = date.fromisoformat(day) if day else None
    if chosen is not None and chosen.year not in _YEARS:
        chosen = None
    return RequestFilter(
        outcome=next((known for known in _OUTCOMES if known == outcome), ""),
        code=code,
        key_id=key,
        model_id=model,
        day=chosen,
    )


def error_of(one: LoggedRequest) -> type[GatewayError] | None:
    """Return the documented error of a request; those without a code have their type."""
    for kind in documented():
        if (kind.status, kind.code or kind.type) == (one.status, one.code):
            return kind
    return None


def _row(one: LoggedRequest) -> tuple[Any, ...]:
    return (
        one.created_at.astimezone(UTC).isoformat(timespec="milliseconds"),
        one.request_id,
        one.status,
        one.code,
        one.key_id,
        one.key_last_four,
        one.model_id,
        one.latency_ms,
        one.charge.tokens if one.charge else one.tokens,
        one.charge.charged_nanos if one.charge else None,
        one.original_id,
        one.missed,
    )
