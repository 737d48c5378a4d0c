"""Gives each request of the application an id, which its log lines and its errors carry."""

from __future__ import annotations

import time

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars, get_contextvars

from gateway.identifiers import new_id
from gateway.observability.access import LogAnswer
from gateway.observability.methods import known_method

_NO_ROUTE = "-"


def logged(app: ASGIApp, log_answer: LogAnswer | None) -> ASGIApp:
    """Answer with an id for each request, and log the answer if that is asked for."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        request_id, started, status = new_id(), time.monotonic(), 500

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with bound_contextvars(request=request_id):
            try:
                await app(scope, receive, send if log_answer is None else send_noting)
            finally:
                if log_answer is not None:
                    route = scope.get("path_template") or _NO_ROUTE
                    method, seconds = known_method(scope["method"]), time.monotonic() - started
                    log_answer(request_id, method, route, status, seconds, None)

    return handle


def request_id() -> str:
    """Return the id of the request in progress; a new one if there is none."""
    return str(get_contextvars().get("request") or new_id())
