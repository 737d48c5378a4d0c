"""The second listener, for the back office and /metrics, where GATEWAY_ADMIN_PORT names its port.

It serves what operators need and nothing else; the public listener then answers the back office's
addresses like those that do not exist. All processes listen on the same port: the kernel shares it
out.

/metrics, and what /health/ready says besides its status, name workers and models: the public
listener shows them only to those who send GATEWAY_METRICS_TOKEN.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import cast

import uvicorn
from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send
from litestar.utils.path import normalize_path

from gateway.data_plane.api.health import MONITORING
from gateway.settings import Settings, SettingsError

_ADMIN = ("/admin",)
"""Paths that the public listener does not have if there is a second one."""
_METRICS = ("/metrics",)
"""Paths that the public listener has only for monitoring."""
_SERVED = (
    *_ADMIN,
    *_METRICS,
    "/console",
    "/sign-in",
    "/sign-out",
    "/static",
    "/favicon.ico",
    "/health",
)
"""Paths of the second listener; with the console, which operators view as a customer."""
_NOWHERE = "/-"
"""A path without a page."""
_MARK = "gateway.admin_listener"
_BACKLOG = 128
_STOP_SECONDS = 5


def parted(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Answer at each listener only for what it serves; anything else does not exist there."""
    token = settings.metrics_token.encode()

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            # as the router reads it: //metrics is /metrics
            path, is_admin = normalize_path(scope["path"]), _MARK in dict(scope)
            is_monitoring = is_admin or (bool(token) and _has_token(scope, token))
            scope.setdefault("state", {})[MONITORING] = is_monitoring
            if is_admin:
                has_page = _is_under(path, _SERVED)
            elif _is_under(path, _METRICS):
                has_page = is_monitoring
            else:
                has_page = not (settings.admin_port and _is_under(path, _ADMIN))
            if not has_page:
                scope["path"], scope["raw_path"] = _NOWHERE, _NOWHERE.encode()
        await app(scope, receive, send)

    return handle


@asynccontextmanager
async def listening(app: Litestar, settings: Settings) -> AsyncIterator[None]:
    """Serve the second listener. Raises SettingsError if its port is taken."""

    async def marked(scope: Scope, receive: Receive, send: Send) -> None:
        await app(cast("Scope", {**scope, _MARK: True}), receive, send)

    config = uvicorn.Config(
        marked,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    server = _Server(config)
    with _bound(settings) as bound:
        serving = asyncio.create_task(server.serve([bound]))
        try:
            yield
        finally:
            server.should_exit = True
            await serving


class _Server(uvicorn.Server):
    """Uvicorn without signals: the public listener takes them, and stops this one."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def _bound(settings: Settings) -> Iterator[socket.socket]:
    address = (settings.admin_host, settings.admin_port)
    try:
        bound = socket.create_server(address, backlog=_BACKLOG, reuse_port=True)
    except OSError as error:
        raise SettingsError(f"GATEWAY_ADMIN_PORT: can't listen: {error.strerror}") from None
    with bound:
        yield bound


def _has_token(scope: Scope, token: bytes) -> bool:
    sent = dict(scope["headers"]).get(b"authorization", b"")
    return hmac.compare_digest(sent, b"Bearer " + token)


def _is_under(path: str, prefixes: tuple[str, ...]) -> bool:
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in prefixes)
