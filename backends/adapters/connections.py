"""Kept connections to one worker of ours: lean HTTP/1.1, without a task for a call.

A call is a future. Canceling it closes its connection, so that the worker skips the work. No more
of an answer is read than a correct one can have, redirects are followed nowhere, and a connection
is kept only if its answer ended where it said.

One rule of retry: a kept connection that turns out to be closed before a byte of an answer came is
no fault. The call is repeated once, on a fresh connection, because whatever closed one may have
closed them all. On a fresh connection the same is a fault, and the work may have been done.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar, cast

from yarl import URL

from backends.adapters.answer_reader import AnswerReader
from backends.adapters.statuses import OUR_ERRNOS, REFUSAL_BYTES_MAX, Refuse, reason_of
from backends.protocol import (
    InvalidAnswer,
    OutOfResources,
    WorkerTimeout,
    WorkerUnreachable,
)

_CONNECTIONS_MAX = 16  # to one worker: one that hangs can't take the connections of another
_KEEPALIVE_SECONDS = 3.0  # under the 5 s at which most servers close an idle connection
_OK = 200

T = TypeVar("T")


class HopAddress(NamedTuple):
    """Where a worker listens."""

    host: str
    """As the Host header names it."""
    path: str
    """Prefix of every path there."""
    unix: str | None
    name: str
    port: int
    tls: ssl.SSLContext | None


def address_of(url: str) -> HopAddress:
    """Parse `http://host:port/prefix`, `https://...` or `unix:/path`."""
    if url.startswith("unix:"):
        return HopAddress("worker", "", url.removeprefix("unix:"), "", 0, None)
    parts = URL(url)
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    assert parts.host and parts.port, f"{url} names no host"  # noqa: PT018 - one mistake
    host = parts.host_port_subcomponent or ""
    return HopAddress(host, parts.raw_path.rstrip("/"), None, parts.host, parts.port, tls)


class Connections:
    """The connections to one worker. What is asked while all are taken waits for one."""

    def __init__(self, url: str, refuse: Refuse) -> None:
        """`url` names the worker in errors; `refuse` explains an answer that is not 200."""
        self.url = url
        self.refuse = refuse
        self.address = address_of(url)
        self._idle: list[_Connection] = []
        """The one used last is at the end: it is taken first, so that the others may expire."""
        self._open: set[_Connection] = set()
        self._dialing: set[asyncio.Task[None]] = set()
        self._waiting: deque[WorkerCall[Any]] = deque()

    def call(
        self,
        head: bytes,
        body: bytes,
        *,
        bytes_max: int,
        timeout_seconds: float,
        read: Callable[[bytes | bytearray], T],
    ) -> WorkerCall[T]:
        """Send a request; its result is what `read` makes of a 200 of at most `bytes_max` bytes.

        `head` is the request line and the headers, each with its line end; `read` raises ValueError
        for an answer that can't be right. Fails with BackendError.
        """
        call = WorkerCall(self, _message(head, body), bytes_max, timeout_seconds, read)
        self._begin(call)
        return call

    async def close(self) -> None:
        """Close the connections; calls that are under way fail. Safe to call twice."""
        flying = [connection.call for connection in self._open if connection.call]
        for call in (*flying, *self._waiting):
            call.fail(WorkerUnreachable(self.url, "the client is closed"))
        self._waiting.clear()
        for task in tuple(self._dialing):
            task.cancel()
        for connection in tuple(self._open):
            connection.close()
        await asyncio.sleep(0)  # the turn in which the transports let go of their sockets

    def dial(self, call: WorkerCall[Any]) -> None:
        """Open a fresh connection for a call."""
        task = call.dialing = asyncio.get_running_loop().create_task(self._dial(call))
        self._dialing.add(task)
        task.add_done_callback(self._dialed)

    def release(self, connection: _Connection) -> None:
        """Take a connection back, for the next call."""
        while self._waiting:
            call = self._waiting.popleft()
            if not call.done():
                connection.send(call)
                return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)

    def lost(self, connection: _Connection) -> None:
        """Forget a connection that is closed."""
        self._open.discard(connection)
        with suppress(ValueError):
            self._idle.remove(connection)
        self._next()

    def _begin(self, call: WorkerCall[Any]) -> None:
        while self._idle:
            connection = self._idle.pop()
            if time.monotonic() - connection.idle_since < _KEEPALIVE_SECONDS:
                connection.send(call)
                return
            connection.close()  # and so are all below it, when their turn comes
        if len(self._open) + len(self._dialing) < _CONNECTIONS_MAX:
            self.dial(call)
        else:
            self._waiting.append(call)

    def _next(self) -> None:
        """Begin a call that waits, now that there is a place for another connection."""
        while self._waiting and len(self._open) + len(self._dialing) < _CONNECTIONS_MAX:
            call = self._waiting.popleft()
            if not call.done():
                self._begin(call)

    async def _dial(self, call: WorkerCall[Any]) -> None:
        loop, address = asyncio.get_running_loop(), self.address
        connection = _Connection(self)
        try:
            if address.unix is not None:
                await loop.create_unix_connection(lambda: connection, address.unix)
            else:
                await loop.create_connection(
                    lambda: connection, address.name, address.port, ssl=address.tls
                )
        except (OSError, UnicodeError) as error:
            ours = isinstance(error, OSError) and error.errno in OUR_ERRNOS
            kind = OutOfResources if ours else WorkerUnreachable
            call.dialing = None
            call.fail(kind(self.url, reason_of(error)))
            return
        self._open.add(connection)
        call.dialing = None
        if call.done():
            self.release(connection)
        else:
            connection.send(call)

    def _dialed(self, task: asyncio.Task[None]) -> None:
        self._dialing.discard(task)
        self._next()


class WorkerCall(asyncio.Future[T], Generic[T]):
    """One request and its answer to come. Canceled, it closes its connection."""

    def __init__(
        self,
        connections: Connections,
        message: bytes,
        bytes_max: int,
        timeout_seconds: float,
        read: Callable[[bytes | bytearray], T],
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(loop=loop)
        self.message = message
        self.bytes_max = bytes_max
        self.connection: _Connection | None = None
        self.dialing: asyncio.Task[None] | None = None
        self._connections = connections
        self._timeout_seconds = timeout_seconds
        self._read = read
        self._timer = loop.call_later(timeout_seconds, self._late)

    def cancel(self, msg: object = None) -> bool:
        """Stop waiting for the answer, and tell the worker so."""
        canceled = super().cancel(msg)
        if canceled:
            self._let_go()
        return canceled

    def fail(self, error: Exception) -> None:
        """End it with an error, unless it ended before."""
        if not self.done():
            self.set_exception(error)
            self._let_go()

    def answered(self, status: int, content: bytes | bytearray, retry_after: str | None) -> None:
        """End it with an answer; its connection is the caller's to keep or to close."""
        self.connection = None
        url = self._connections.url
        if status != _OK:
            shown = bytes(content[:REFUSAL_BYTES_MAX])
            self.fail(self._connections.refuse(url, status, shown, retry_after))
            return
        try:
            result = self._read(content)
        except ValueError as error:
            self.fail(InvalidAnswer(url, str(error)))
        else:
            self.set_result(result)
            self._let_go()

    def stale(self) -> None:
        """Try again, once: the server had closed the kept connection it was sent on."""
        self.connection = None
        self._connections.dial(self)

    def _late(self) -> None:
        reason = f"no answer in {self._timeout_seconds:.3f} s"
        self.fail(WorkerTimeout(self._connections.url, reason))

    def _let_go(self) -> None:
        """Leave no reference that leads back here, and no work for an answer nobody awaits."""
        self._timer.cancel()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.call = None
            connection.close()
        dialing, self.dialing = self.dialing, None
        if dialing is not None:
            dialing.cancel()


class _Connection(asyncio.Protocol):
    """A connection, and the call that is on it."""

    def __init__(self, connections: Connections) -> None:
        self.call: WorkerCall[Any] | None = None
        self.idle_since = 0.0
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._answer = AnswerReader()
        self._fresh = True
        """Whether its first call is on it."""

    def send(self, call: WorkerCall[Any]) -> None:
        """Send a call's request."""
        assert self._transport is not None, "a connection is used before it is made"
        self.call, call.connection = call, self
        self._answer.begin(call.bytes_max)
        self._transport.write(call.message)

    def close(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Read on in the answer."""
        call = self.call
        if call is None:
            self.close()  # nobody asked
            return
        flaw = self._answer.feed(data)
        if self._answer.complete:
            self._give(call)
        elif flaw:
            call.fail(InvalidAnswer(self._connections.url, flaw))

    def connection_lost(self, exc: Exception | None) -> None:
        """End the call that is on it, or begin it anew."""
        call, self.call = self.call, None
        if call is not None:
            call.connection = None
            self._cut_off(call, exc)
        self._answer.close()
        self._connections.lost(self)

    def _cut_off(self, call: WorkerCall[Any], exc: Exception | None) -> None:
        answer, url = self._answer, self._connections.url
        reason = reason_of(exc) if exc else "the worker hung up"
        if not answer.begun and not self._fresh:
            call.stale()
        elif not answer.headed:
            call.fail(WorkerUnreachable(url, reason))
        elif answer.ends or exc is not None:
            call.fail(InvalidAnswer(url, f"incomplete answer: {reason}"))
        else:
            call.answered(answer.status, answer.take(), answer.retry_after)

    def _give(self, call: WorkerCall[Any]) -> None:
        """Give the answer to its call: the one place that sees all of it, and could verify it."""
        answer, self.call = self._answer, None
        call.answered(answer.status, answer.take(), answer.retry_after)
        self._fresh = False
        if answer.kept:
            self._connections.release(self)
        else:
            self.close()


def _message(head: bytes, body: bytes) -> bytes:
    """Put a request together: the one place that sees all that is sent, and could sign it."""
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
