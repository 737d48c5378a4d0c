"""One request and its answer on a bare ASGI route: half the cost of a typed handler.

The exchange gives the request its id, reads the body within its bound, and writes whatever came of
it, vectors or an error, with the headers that every answer under /v1 carries.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from litestar.types import Receive, Scope, Send

from gateway.data_plane.tallies import Answers
from gateway.errors import (
    BadRequest,
    GatewayError,
    MethodNotAllowed,
    ServerError,
    TooLarge,
    UnsupportedMedia,
)
from gateway.identifiers import new_id
from gateway.observability import metrics

log = structlog.get_logger()

T = TypeVar("T")

_STATUS_CLIENT_CLOSED = 499
_TURNS = 6
"""Turns of the loop from the end of a connection to the cancellation of its work: the socket is
read, `connection_lost` runs, the message wakes a task, and that one the next; one turn is spare."""


class ClientGone(Exception):
    """The client closed the connection before it had its answer."""


class Exchange:
    """A POST under way."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.request_id = new_id()
        self.started = time.monotonic()
        self.waited_seconds = 0.0
        """Time spent waiting for a worker: the rest is the gateway's own."""
        self.organization_id: str | None = None
        """Whose answers this one is counted with; nobody's until a key was recognised."""
        self.answer_headers: list[tuple[str, str]] = []
        self._method = scope.get("method")
        self._receive = receive
        self._headers = dict(scope["headers"])

    def check_method(self) -> None:
        """Raise MethodNotAllowed (405) for anything but POST."""
        if self._method != "POST":
            raise MethodNotAllowed("Use POST here.", headers={"allow": "POST"})

    def header(self, name: str) -> str | None:
        """Return a header of the request by its lower-case name."""
        value = self._headers.get(name.encode())
        return value.decode("latin-1") if value is not None else None

    async def body(self, bytes_max: int) -> bytes:
        """Read the whole body. Raises TooLarge (413), UnsupportedMedia (415) or ClientGone."""
        self._check_media()
        length = self.header("content-length")
        if length is not None and length.isdigit() and int(length) > bytes_max:
            raise _too_large(bytes_max)
        chunks, size = [], 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk: bytes = message.get("body", b"")  # type: ignore[assignment]
            size += len(chunk)
            if size > bytes_max:
                raise _too_large(bytes_max)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)

    async def while_connected(self, task: asyncio.Task[T]) -> T:
        """Wait for the task, which goes on when the client goes away. Raises ClientGone then.

        The body must have been read.
        """
        gone = asyncio.create_task(self._gone())
        try:
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientGone
            return task.result()
        finally:
            gone.cancel()

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _check_media(self) -> None:
        media = (self.header("content-type") or "").partition(";")[0].strip().lower()
        if media != "application/json":
            raise UnsupportedMedia("Send the body as JSON, with Content-Type: application/json.")
        if (self.header("content-encoding") or "identity").lower() != "identity":
            raise UnsupportedMedia("Send the body without Content-Encoding.")


def post(
    handle: Callable[[Exchange], Awaitable[bytes]], answers: Answers
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Make an ASGI route of a handler that returns the body of a 200 or raises GatewayError."""

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive)
        status, extra = 200, exchange.answer_headers
        try:
            exchange.check_method()
            body = await handle(exchange)
        except GatewayError as error:
            status, body = error.status, error.envelope()
            extra = [*extra, *error.headers.items()]
        except ClientGone:
            status, body = _STATUS_CLIENT_CLOSED, BadRequest("The request broke off.").envelope()
        except Exception:
            log.exception("request failed", request=exchange.request_id)
            status, body = 500, ServerError("Our mistake; nothing was charged.").envelope()
        elapsed = time.monotonic() - exchange.started
        metrics.observe(scope["path"], status, elapsed, elapsed - exchange.waited_seconds)
        if exchange.organization_id is not None:
            answers.answered(exchange.organization_id, status, elapsed)
        head = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("x-request-id", exchange.request_id),
            ("openai-processing-ms", str(round(elapsed * 1000))),
            ("x-gateway-overhead-ms", f"{(elapsed - exchange.waited_seconds) * 1000:.3f}"),
            *extra,
        ]
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return route


async def connections_read() -> None:
    """Let the loop read its sockets, so that connections that ended cancel their work.

    After the process was paused (a container, a migrated machine, swapping), the end of a
    connection lies in its socket behind the request: that client has long retried elsewhere.
    """
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(f"The body is over {bytes_max} bytes. Send fewer or shorter inputs at once.")
