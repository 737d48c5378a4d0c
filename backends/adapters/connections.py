"""Kept connections to one worker of ours: lean HTTP/1.1, without a task per call.

A call is a future. Canceling it closes its connection, so that the worker skips the work. No more
of an answer is read than a correct one can have, redirects are not followed, and a connection is
kept only if its answer ended where it said.

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
from typing import Any, TypeVar, cast

from backends.adapters.answer_reader import AnswerReader
from backends.adapters.credentials import WELCOME_BYTES, Credentials
from backends.adapters.dialing import Dialer, unconnected
from backends.adapters.statuses import Refuse, reason_of
from backends.adapters.trust import Trust
from backends.adapters.worker_call import WorkerCall
from backends.authentication import NAMES_HEADER, SESSION_PATH
from backends.protocol import (
    InvalidAnswer,
    WorkerFailed,
    WorkerLost,
    WorkerUnreachable,
)

_CONNECTIONS_MAX = 16  # to one worker: one that hangs can't take the connections of another
_KEEPALIVE_SECONDS = 3.0  # under the 5 s at which most servers close an idle connection
_LOSS_SECONDS = 1.0
"""Connections that a worker ends within this time count as one loss."""
_OPENING_SECONDS = 2.0
"""How long a worker may take to prove who it is."""
_NOT_FOUND = "404"

T = TypeVar("T")


class Connections:
    """The connections to one worker. Calls wait while all are taken."""

    def __init__(
        self, url: str, refuse: Refuse, trust: Trust, *, name: str = "", guest: bool = False
    ) -> None:
        """`url` names the worker in errors; `refuse` makes an error of an answer that is not 200.

        For the other parameters see `Dialer`.
        """
        self.url = url
        self.refuse = refuse
        self._dialer = Dialer(url, trust, name=name, guest=guest)
        self.address, self.credentials = self._dialer.address, self._dialer.credentials
        self.certificate_ends_at: float | None = None
        """When the worker's latest certificate ends, in Unix time."""
        self._unproven: list[WorkerCall[Any]] = []
        """Calls that wait for the worker's proof."""
        self._idle: list[_Connection] = []
        """The one used last is at the end and is taken first, so that the others can expire."""
        self._open: set[_Connection] = set()
        self._dialing: set[asyncio.Task[None]] = set()
        self._waiting: deque[WorkerCall[Any]] = deque()
        self.on_lost: Callable[[], None] = lambda: None
        """Called when the worker ended a connection that it had no reason to end."""
        self._lost_at = float("-inf")

    def call(
        self,
        head: bytes,
        body: bytes,
        *,
        bytes_max: int,
        timeout_seconds: float,
        read: Callable[[bytes | bytearray], T],
        claims: bytes = b"",
    ) -> WorkerCall[T]:
        """Send a request; its result is what `read` makes of a 200 of at most `bytes_max` bytes.

        `head` is the request line and the headers, each with its line end; `claims` is the part of
        them that is signed, where anything is; `read` raises ValueError for an answer that can't be
        right. Fails with BackendError.
        """
        call = WorkerCall(self, head, claims, body, bytes_max, timeout_seconds, read)
        self.start(call)
        return call

    @property
    def signs(self) -> bool:
        """Whether requests are signed."""
        return self.credentials is not None and self.credentials.used

    def start(self, call: WorkerCall[Any]) -> None:
        """Begin a call, once the worker has proven who it is."""
        if self.credentials is None or self.credentials.ready:
            self._begin(call)
            return
        self._unproven.append(call)
        if len(self._unproven) > 1:
            return  # the first one has already asked for the proof
        address = self.address
        opening = WorkerCall(
            self,
            b"POST %b%b HTTP/1.1\r\nhost: %b\r\n%b: %b\r\n"
            % (
                address.path.encode(),
                SESSION_PATH.encode(),
                address.host.encode(),
                NAMES_HEADER,
                self.credentials.names,
            ),
            b"",
            self.credentials.nonce(),
            WELCOME_BYTES,
            _OPENING_SECONDS,
            self.credentials.welcome,
        )
        opening.add_done_callback(self._introduced)
        self._begin(opening)

    async def close(self) -> None:
        """Close the connections; calls that are under way fail. Safe to call twice."""
        flying = [connection.call for connection in self._open if connection.call]
        for call in (*flying, *self._waiting, *self._unproven):
            call.fail(WorkerUnreachable(self.url, "the client is closed"))
        self._waiting.clear()
        for task in tuple(self._dialing):
            task.cancel()
        for connection in tuple(self._open):
            connection.close()
        await asyncio.sleep(0)  # the turn in which the transports release their sockets

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

    def ended(self, connection: _Connection, *, idle: bool) -> None:
        """Note that the worker ended a kept connection, which is usual only if it was long idle."""
        now = time.monotonic()
        is_usual = idle and now - connection.idle_since >= _KEEPALIVE_SECONDS
        if not is_usual and now - self._lost_at >= _LOSS_SECONDS:
            self._lost_at = now
            self.on_lost()

    def _introduced(self, opening: asyncio.Future[None]) -> None:
        calls, self._unproven = self._unproven, []
        error = None if opening.cancelled() else opening.exception()
        for call in calls:
            if call.done():
                continue
            if isinstance(error, WorkerFailed) and error.reason.startswith(_NOT_FOUND):
                call.fail(WorkerFailed(self.url, "it can't prove who it is: no key, or too old"))
            elif isinstance(error, Exception):
                call.fail(error)
            else:
                self._begin(call)

    def _begin(self, call: WorkerCall[Any]) -> None:
        while self._idle:
            connection = self._idle.pop()
            if time.monotonic() - connection.idle_since < _KEEPALIVE_SECONDS:
                connection.send(call)
                return
            connection.close()  # those below it have expired too, and are closed in their turn
        if len(self._open) + len(self._dialing) < _CONNECTIONS_MAX:
            self.dial(call)
        else:
            self._waiting.append(call)

    def _next(self) -> None:
        """Begin a waiting call, now that there is room for another connection."""
        while self._waiting and len(self._open) + len(self._dialing) < _CONNECTIONS_MAX:
            call = self._waiting.popleft()
            if not call.done():
                self._begin(call)

    async def _dial(self, call: WorkerCall[Any]) -> None:
        connection = _Connection(self)
        try:
            await self._dialer.connect(lambda: connection)
        except (OSError, UnicodeError) as error:
            call.dialing = None
            call.fail(unconnected(self.url, error, was_sent=call.was_sent))
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


class _Connection(asyncio.Protocol):
    """A connection, and the call that is on it."""

    def __init__(self, connections: Connections) -> None:
        self.call: WorkerCall[Any] | None = None
        self.idle_since = 0.0
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._answer = AnswerReader()
        self._fresh = True
        """Whether it has not finished its first call yet."""
        self._closed = False
        """Whether we closed it."""

    def send(self, call: WorkerCall[Any]) -> None:
        """Send a call's request."""
        assert self._transport is not None, "a connection is used before it is made"
        self.call, call.connection = call, self
        self._answer.begin(call.bytes_max)
        self._transport.write(_message(call, self._connections.credentials))

    def close(self) -> None:
        """Close it at once."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        if certificate := transport.get_extra_info("peercert"):
            ends_at = ssl.cert_time_to_seconds(certificate["notAfter"])
            self._connections.certificate_ends_at = ends_at

    def data_received(self, data: bytes) -> None:
        """Read on in the answer."""
        call = self.call
        if call is None:
            self.close()  # an answer to nothing
            return
        flaw = self._answer.feed(data)
        if self._answer.complete:
            self._give(call)
        elif flaw:
            call.fail(InvalidAnswer(self._connections.url, flaw))

    def connection_lost(self, exc: Exception | None) -> None:
        """End the call that is on it, or begin it anew."""
        call, self.call = self.call, None
        if not self._closed and (call is None or not (self._fresh or self._answer.begun)):
            self._connections.ended(self, idle=call is None)
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
            call.fail(WorkerLost(url, reason))
        elif answer.ends or exc is not None:
            call.fail(InvalidAnswer(url, f"incomplete answer: {reason}"))
        else:
            call.answered(answer.status, answer.take(), answer)

    def _give(self, call: WorkerCall[Any]) -> None:
        """Give the answer to its call."""
        answer, self.call = self._answer, None
        call.answered(answer.status, answer.take(), answer)
        self._fresh = False
        if answer.kept:
            self._connections.release(self)
        else:
            self.close()


def _message(call: WorkerCall[Any], credentials: Credentials | None) -> bytes:
    """Put a request together and sign it, anew each time it is sent."""
    head, body = call.head, call.body
    if credentials is not None and call.claims:
        call.signature = credentials.sign(call.claims, body)
        call.is_open = not credentials.used  # the session may have ended since it was begun
        head += call.signature.header if call.signature else b""
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
