"""One POST under /v1 and its answer, free of any server's types: bytes in, bytes out.

An exchange gives the request its id, reads the body within its bound, and makes whatever came of
it, vectors or an error, into an answer with the headers that every answer under /v1 carries.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol, TypeVar

import structlog

from gateway.data_plane.tallies import AnswerTally
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
_TURNS_MAX = 100
"""Turns of the loop that the end of a connection has to cancel its work: it takes about six."""


class Exchange:
    """A POST in progress."""

    def __init__(
        self, method: str, path: str, headers: Mapping[bytes, bytes], connection: Connection
    ) -> None:
        self.request_id = new_id()
        self.started = time.monotonic()
        self.waited_seconds = 0.0
        """Time spent waiting for a worker; the rest is the gateway's own."""
        self.organization_id: str | None = None
        """Whose answers this one is counted with, if anyone's."""
        self.answer_headers: list[tuple[str, str]] = []
        self._method = method
        self._path = path
        self._headers = headers
        self._connection = connection

    def header(self, name: str) -> str | None:
        """Return a header of the request by its lower-case name."""
        value = self._headers.get(name.encode())
        return value.decode("latin-1") if value is not None else None

    async def body(self, bytes_max: int) -> bytes:
        """Read the whole body. Raises TooLarge (413), UnsupportedMedia (415) or Disconnected."""
        self._check_media()
        length = self.header("content-length")
        if length is not None and length.isdigit() and int(length) > bytes_max:
            raise _too_large(bytes_max)
        chunks, size = [], 0
        async for chunk in self._connection.chunks():
            size += len(chunk)
            if size > bytes_max:
                raise _too_large(bytes_max)
            chunks.append(chunk)
        return b"".join(chunks)

    async def while_connected(self, task: asyncio.Task[T]) -> T:
        """Wait for a task, which goes on if the client leaves. Raises Disconnected then.

        The body must have been read.
        """
        closed = asyncio.create_task(self._connection.closed())
        try:
            await asyncio.wait((task, closed), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Disconnected
            return task.result()
        finally:
            closed.cancel()

    async def read_end(self) -> None:
        """Give the end of the connection, if the client closed it, time to cancel the work.

        After the process was paused (a container, a migrated machine, swapping), the end lies in
        the socket behind the request, unread: that client has long retried elsewhere.
        """
        for _ in range(_TURNS_MAX):
            if not self._connection.is_ending():
                return
            await asyncio.sleep(0)

    async def answer(
        self, handle: Callable[[Exchange], Awaitable[bytes]], tally: AnswerTally
    ) -> RawAnswer:
        """Answer with what the handler returns, the body of a 200, or with the error it raises."""
        status, extra = 200, self.answer_headers
        try:
            self._check_method()
            body = await handle(self)
        except GatewayError as error:
            status, body = error.status, error.envelope()
            extra = [*extra, *error.headers.items()]
        except Disconnected:
            closed = BadRequest("The client closed the connection.")
            status, body = _STATUS_CLIENT_CLOSED, closed.envelope()
        except Exception:
            log.exception("request failed", request=self.request_id)
            status, body = 500, ServerError("Our mistake; nothing was charged.").envelope()
        elapsed = time.monotonic() - self.started
        own = elapsed - self.waited_seconds
        metrics.observe(self._path, status, elapsed, own)
        if self.organization_id is not None:
            tally.answered(self.organization_id, status, elapsed)
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("x-request-id", self.request_id),
            ("openai-processing-ms", str(round(elapsed * 1000))),
            ("x-gateway-overhead-ms", f"{own * 1000:.3f}"),
            *extra,
        ]
        return RawAnswer(
            status, [(n.encode("latin-1"), v.encode("latin-1")) for n, v in headers], body
        )

    def _check_method(self) -> None:
        if self._method != "POST":
            raise MethodNotAllowed("Use POST here.", headers={"allow": "POST"})

    def _check_media(self) -> None:
        media = (self.header("content-type") or "").partition(";")[0].strip().lower()
        if media != "application/json":
            raise UnsupportedMedia("Send the body as JSON, with Content-Type: application/json.")
        if (self.header("content-encoding") or "identity").lower() != "identity":
            raise UnsupportedMedia("Send the body without Content-Encoding.")


class Disconnected(Exception):
    """The client closed the connection before it had its answer."""


class Connection(Protocol):
    """The server's side of a request."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Give the body in parts. Raises Disconnected."""
        ...

    def is_ending(self) -> bool:
        """Tell whether the client has closed the connection, even if that is not read yet."""
        ...

    async def closed(self) -> None:
        """Return when the client has closed the connection. The body must have been read."""
        ...


class RawAnswer(NamedTuple):
    """What goes back to the client."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(f"The body is over {bytes_max} bytes. Send fewer or shorter inputs at once.")
