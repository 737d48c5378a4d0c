"""Litestar's exception handler: answers our own errors, the framework's and the database's.

Ours have a status and a message (see `gateway.errors`); all others are translated into ours here.
The hot paths answer errors themselves; see `data_plane.api.exchange`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.routes import HTTPRoute

from gateway.app.request_log import request_id as current_request
from gateway.errors import (
    BadRequest,
    GatewayError,
    MethodNotAllowed,
    NotFound,
    ServerError,
    TooLarge,
    Unavailable,
)
from gateway.storage.database import DatabaseAway

Answer = Callable[[Request[Any, Any, Any], Exception], Response[Any]]
Page = Callable[[Request[Any, Any, Any], GatewayError, str], Response[Any] | None]
"""Makes the page for an error, given the request's id; None for a path that is for programs."""

log = structlog.get_logger()

_AWAY = "The database is temporarily unavailable."
_AGAIN = "Try again in a moment."
_AGAIN_IF_NOT_DONE = "Check in a moment whether it was done; if not, try again."
_AWAY_SECONDS = 5.0


def answering(page: Page | None) -> Answer:
    """Make the handler of all errors: browsers get a page, where the process has pages.

    Programs get OpenAI's envelope, even for errors of the framework.
    """

    def answer(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        request_id = current_request()
        known = error if isinstance(error, GatewayError) else _translate(error, request, request_id)
        if page and (shown := page(request, known, request_id)):
            return shown
        return Response(
            known.envelope(),
            status_code=known.status,
            media_type="application/json",
            headers={"x-request-id": request_id, **known.headers},
        )

    return answer


def _translate(error: Exception, request: Request[Any, Any, Any], request_id: str) -> GatewayError:
    if isinstance(error, DatabaseAway):
        log.warning("database away", request=request_id, reason=str(error))
        is_safe = request.method in ("GET", "HEAD")
        message = f"{_AWAY} {_AGAIN if is_safe else _AGAIN_IF_NOT_DONE}"
        return Unavailable(message, retry_after_seconds=_AWAY_SECONDS)
    status = error.status_code if isinstance(error, HTTPException) else 500
    match status:
        case 404:
            return NotFound("There is nothing at this path; see /openapi.json.")
        case 405:
            methods = ", ".join(_methods(request))
            return MethodNotAllowed(f"Use {methods} here.", headers={"allow": methods})
        case 413:
            return TooLarge("The body is too large. Send less at once.")
        case _ if 400 <= status < 500:
            return BadRequest("The request is malformed.")
    log.error("request failed", request=request_id, exc_info=error)
    return ServerError("Something went wrong on our side; nothing was charged.")


def _methods(request: Request[Any, Any, Any]) -> list[str]:
    """Return the methods of a path, for the header `Allow`, which Litestar does not send."""
    found: set[str] = set()
    for route in request.app.routes:
        pattern = re.sub(r"\\\{[^}]*:path\\\}", ".+", re.escape(route.path))
        pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", pattern)
        if isinstance(route, HTTPRoute) and re.fullmatch(pattern, request.url.path):
            found.update(route.methods)
    return sorted(found - {"OPTIONS"})
