"""An organization's requests as pages list them, for its console and for operators.

The filter is in the address; a page and its CSV file have the same lines. Templates:
request_list.html and request_facts.html.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import UTC, date, timedelta
from functools import cache
from typing import Any
from urllib.parse import urlencode

from litestar import Request, Response
from litestar.params import FromQuery
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.accounts import key_listing
from gateway.control_plane.status import logged_requests
from gateway.control_plane.status.logged_requests import LoggedRequest, Outcome, RequestFilter
from gateway.control_plane.web.csv_files import export
from gateway.control_plane.web.formats import places
from gateway.control_plane.web.forms import see_other
from gateway.errors import GatewayError, documented
from gateway.storage.database import Database

CLIENT_CLOSED = "client_closed"
"""The code of a request whose client left, which is not an error of the API."""

_DOCUMENTATION = "/docs/errors"
_PAGE = 50
_OUTCOMES: Mapping[Outcome, str] = {
    "": "All",
    "success": "Successful",
    "errors": "Errors",
    "4xx": "Errors 4xx",
    "5xx": "Errors 5xx",
}
_YEARS = range(2000, 3000)
"""Years of days that may be asked for: ids can't express others."""
_COLUMNS = (
    "time", "request_id", "status", "code", "key_id", "key_ends_with", "model", "latency_ms",
    "tokens", "charged_nanos", "original_request_id", "not_recorded_before",
)  # fmt: skip


def provide_request_filter(
    outcome: FromQuery[str] = "",
    code: FromQuery[str] = "",
    key: FromQuery[str] = "",
    model: FromQuery[str] = "",
    day: FromQuery[str] = "",
) -> RequestFilter:
    """Provide the filter in the address; an unknown outcome or an invalid day is ignored."""
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


def shorter(request: Request[Any, Any, Any]) -> Response[Any] | None:
    """Redirect a form's address to one without empty fields; None if it has none."""
    if all(request.query_params.values()):
        return None
    asked = [(name, value) for name, value in request.query_params.multi_items() if value]
    path = request.url.path
    return see_other(f"{path}?{urlencode(asked)}" if asked else path)


async def read(
    connection: AsyncConnection,
    organization_id: str,
    chosen: RequestFilter,
    *,
    before: str,
    days_kept: int,
) -> dict[str, Any]:
    """Return what request_list.html shows: the newest requests, or those that came before one."""
    found = await logged_requests.page(
        connection, organization_id, chosen, before=before, limit=_PAGE + 1
    )
    since = wall.now().date() - timedelta(days=days_kept)
    shown = found[:_PAGE]
    return {
        "requests": shown,
        "places": places(one.charge.charged_nanos for one in shown if one.charge),
        "next_before": shown[-1].request_id if len(found) > _PAGE else "",
        "before": before,
        "filters": _asked_for(chosen),
        "chosen": chosen,
        "outcomes": _OUTCOMES,
        "keys": await key_listing.named(connection, organization_id, since),
        "choices": await logged_requests.choices(connection, organization_id),
        "days_kept": days_kept,
    }


async def as_file(
    database: Database, organization_id: str, chosen: RequestFilter, before: str
) -> Response[Any]:
    """Answer with the newest requests as CSV."""
    return await export(
        database,
        "requests",
        _COLUMNS,
        lambda connection, last, limit: logged_requests.page(
            connection,
            organization_id,
            chosen,
            before=last.request_id if last else before,
            limit=limit,
        ),
        _row,
    )


def error_of(one: LoggedRequest) -> type[GatewayError] | None:
    """Return the documented error of a request."""
    return _error_of(one.status, one.code)


def documentation(status: int, code: str) -> str:
    """Return the address of the documentation of a request's error."""
    error = _error_of(status, code)
    if error is None and code != CLIENT_CLOSED:
        return _DOCUMENTATION  # an error that no longer exists
    return f"{_DOCUMENTATION}#{error.anchor() if error else code}"


def _error_of(status: int, code: str) -> type[GatewayError] | None:
    return _known_errors().get((status, code))


@cache
def _known_errors() -> Mapping[tuple[int, str], type[GatewayError]]:
    """Return the documented errors by status and code, as the log has them, or type for code."""
    return {(kind.status, kind.code or kind.type): kind for kind in documented()}


def _asked_for(chosen: RequestFilter) -> dict[str, str]:
    """Return a filter as the parameters of an address."""
    named = {
        "outcome": chosen.outcome,
        "code": chosen.code,
        "key": chosen.key_id,
        "model": chosen.model_id,
        "day": chosen.day.isoformat() if chosen.day else "",
    }
    return {name: value for name, value in named.items() if value}


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
