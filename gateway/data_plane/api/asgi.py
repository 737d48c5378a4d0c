"""Exchanges on a bare ASGI route, which costs half of what a typed handler does."""

from __future__ import annotations

import select
from collections.abc import AsyncIterator, Awaitable, Callable

from litestar import asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive, Scope, Send

from gateway.data_plane.api.exchange import Disconnected, Exchange
from gateway.data_plane.tallies import AnswerTally

_ENDED = getattr(select, "POLLRDHUP", select.POLLHUP)
"""The event of a peer that closed: only Linux tells it from the end of both directions."""


def post(
    path: str, handle: Callable[[Exchange], Awaitable[bytes]], tally: AnswerTally
) -> ASGIRouteHandler:
    """Make a route of a handler that returns the body of a 200 or raises GatewayError."""

    @asgi(path, copy_scope=False)
    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        method = str(scope.get("method"))
        exchange = Exchange(method, scope["path"], dict(scope["headers"]), AsgiConnection(receive))
        status, headers, body = await exchange.answer(handle, tally)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return route


class AsgiConnection:
    """A request's connection, as ASGI tells of it."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the body in parts. Raises Disconnected."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            yield message.get("body", b"")  # type: ignore[misc]
            more = bool(message.get("more_body", False))

    def is_ending(self) -> bool:
        """Ask the socket: uvicorn's `receive` belongs to a cycle that knows its transport."""
        transport = getattr(getattr(self._receive, "__self__", None), "transport", None)
        if transport is None:
            return False
        if transport.is_closing():
            return True
        poll = select.poll()
        poll.register(transport.get_extra_info("socket").fileno(), _ENDED)
        return bool(poll.poll(0))

    async def closed(self) -> None:
        """Return when the client has closed the connection."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
