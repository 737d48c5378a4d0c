"""The access log: a line for each request that is answered, if GATEWAY_ACCESS_LOG asks for it.

A path is logged as its route is written, never as it was sent: the rest may be a secret or a text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import structlog

log = structlog.get_logger()

Access = Literal["off", "errors", "all"]
LogAnswer = Callable[..., None]


def access_log(access: Access) -> LogAnswer | None:
    """Return what logs an answer; None if none is to be logged."""
    return {"off": None, "errors": _log_failure, "all": _log_answer}[access]


def _log_answer(
    request: str, method: str, route: str, status: int, seconds: float, organization: str | None
) -> None:
    say = log.warning if status >= 500 else log.info
    named = {} if organization is None else {"organization": organization}
    say(
        "answered",
        request=request,
        method=method,
        route=route,
        status=status,
        seconds=round(seconds, 6),
        **named,
    )


def _log_failure(
    request: str, method: str, route: str, status: int, seconds: float, organization: str | None
) -> None:
    if status >= 500:
        _log_answer(request, method, route, status, seconds, organization)
