"""One POST under /v1 and its answer, free of any server's types: bytes in, bytes out.

An exchange gives the request its id, reads the body within its bounds, and turns the outcome,
vectors or an error, into a response with the headers that every response under /v1 has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from gateway.data_plane.limits.concurrency import InFlight, RequestPlace
from gateway.data_plane.records import Records
from gateway.errors import (
    BadRequest,
    GatewayError,
    MethodNotAllowed,
    ServerError,
    TooLarge,
    Unavailable,
    UnsupportedMedia,
)
from gateway.identifiers import new_id
from gateway.networks import caller_network, client_address
from gateway.observability import metrics
from gateway.observability.access import LogAnswer
from gateway.observability.methods import known_method

if TYPE_CHECKING:  # where traces are off, nothing of them is imported
    from gateway.observability.tracing import Trace, Tracing

log = structlog.get_logger()

_STATUS_CLIENT_CLOSED = 499
_CLIENT_CLOSED = "client_closed"
_TURNS_MAX = 100
"""Turns of the loop given to the end of a connection to cancel its work; it takes about six."""


class Exchange:
    """A POST in progress."""

    __slots__ = (
        "_connection",
        "_endpoint",
        "_headers",
        "_is_counted",
        "_method",
        "has_left",
        "key_id",
        "model_id",
        "on_leave",
        "on_lost",
        "organization_id",
        "original_id",
        "request_id",
        "started",
        "tokens",
        "trace",
        "waited_seconds",
    )

    def __init__(
        self,
        method: str,
        headers: Mapping[bytes, bytes],
        connection: Connection,
        endpoint: HotEndpoint,
    ) -> None:
        self.request_id = new_id()
        self.started = time.monotonic()
        self.waited_seconds = 0.0
        """Time spent waiting for a worker; the rest is the gateway's own."""
        self.organization_id: str | None = None
        """The caller's, once the key is known."""
        self.key_id: str | None = None
        self.model_id = ""
        """The catalog's name of what was asked for, once it is found."""
        self.tokens: int | None = None
        """Once they are counted."""
        self.original_id: str | None = None
        """The request whose response this one gets again, for free."""
        self.has_left = False
        """The client has closed the connection: nobody receives the response."""
        self.on_leave: Callable[[], None] | None = None
        """Called when that happens; set by whoever waits or works for this exchange."""
        self.on_lost: Callable[[], None] | None = None
        """Called if the response could not be written completely."""
        self._is_counted = False
        self._method = method
        self._headers = headers
        self._connection = connection
        self._endpoint = endpoint
        self.trace: Trace | None = None
        """None unless it is sampled."""
        if endpoint.tracing is not None:
            self.trace = endpoint.tracing.begin(endpoint.path, method, headers, self.request_id)

    def header(self, name: bytes) -> str | None:
        """Return a header of the request by its lower-case name."""
        value = self._headers.get(name)
        return value.decode("latin-1") if value is not None else None

    def network(self, *, proxies: int) -> str:
        """Return the client's network, a /24 or, of IPv6, a /48; see `client_address`."""
        forwarded = self.header(b"x-forwarded-for") or ""
        peer = self._connection.peer()
        return caller_network(client_address(peer, [forwarded], proxies=proxies))

    async def body(self, bytes_max: int, place: RequestPlace) -> bytes | bytearray:
        """Read the whole body, whose bytes are reserved at `place`, in advance if possible.

        Raises TooLarge (413), UnsupportedMedia (415), TooManyBytes (429), RequestTimeout (408) or
        Disconnected.
        """
        self._check_media()
        if self.trace is not None:
            self.trace.step("read")
        length = self._headers.get(b"content-length")
        take: Callable[[int], None] | None = None
        if length is None:
            take = _Room(bytes_max, place).take
        elif int(length) > bytes_max:
            raise _too_large(bytes_max)
        else:
            place.hold(int(length))
        body = await self._connection.body(take)
        if self.trace is not None:
            self.trace.step("count")
        return body

    def leave(self) -> None:
        """Tell the exchange, once, that its client has closed the connection."""
        self.has_left = True
        self._count(_STATUS_CLIENT_CLOSED, _CLIENT_CLOSED, time.monotonic() - self.started)
        if self.on_leave is not None:
            self.on_leave()

    async def read_end(self) -> None:
        """Give the end of the connection, if the client closed it, time to cancel the work.

        After the process was paused (a container, a migrated machine, swapping), the end of the
        connection is still unread in the socket, behind the request: that client retried elsewhere
        long ago.
        """
        for _ in range(_TURNS_MAX):
            if not self._connection.is_ending():
                return
            await asyncio.sleep(0)

    async def answer(self) -> RawAnswer:
        """Respond with what the handler returns, the body of a 200, or with the error it raises."""
        status, code = 200, None
        try:
            self._check_method()
            body, lines = await self._endpoint.handle(self)
        except GatewayError as error:
            status, body, lines = error.status, error.envelope(), head_lines(error.headers.items())
            code = error.code or error.type
        except (Disconnected, asyncio.CancelledError) as ending:
            code = _CLIENT_CLOSED
            if self.has_left or isinstance(ending, Disconnected):
                gone = BadRequest("The client closed the connection.")
                status, body, lines = _STATUS_CLIENT_CLOSED, gone.envelope(), b""
            else:
                ended = Ended("The gateway ended this request. Try again.")
                status, body, lines = 503, ended.envelope(), head_lines(ended.headers.items())
                code = ended.code
        except Exception:
            log.exception("request failed", request=self.request_id)
            status, body, lines = 500, _our_mistake().envelope(), b""
            code = "internal_error"
        elapsed = time.monotonic() - self.started
        self._count(status, code or "", elapsed)
        own = elapsed - self.waited_seconds
        if self._endpoint.log_answer is not None:
            self._log(status, elapsed)
        if self.trace is not None:
            self.trace.end(status, code, self.organization_id)
            self._endpoint.answers.exemplify(self.trace.id, elapsed, own)
        limits = b""
        if self.organization_id is not None:
            limits = self._endpoint.in_flight.lines(self.organization_id)
        head = b"%b%b%b" % (
            (
                "content-type: application/json\r\n"
                f"content-length: {len(body)}\r\n"
                f"x-request-id: {self.request_id}\r\n"
                f"openai-processing-ms: {elapsed * 1000:.0f}\r\n"
                f"x-gateway-overhead-ms: {own * 1000:.3f}\r\n"
            ).encode(),
            limits,
            lines,
        )
        return RawAnswer(status, head, body)

    def _count(self, status: int, code: str, elapsed: float) -> None:
        if self._is_counted:
            return
        self._is_counted = True
        self._endpoint.observe(status, elapsed, elapsed - self.waited_seconds)
        if self._endpoint.records is not None:
            self._endpoint.records.answered(self, status, code, elapsed)

    def _log(self, status: int, elapsed: float) -> None:
        assert self._endpoint.log_answer is not None
        method, path = known_method(self._method), self._endpoint.path
        self._endpoint.log_answer(
            self.request_id, method, path, status, elapsed, self.organization_id
        )

    def _check_method(self) -> None:
        if self._method != "POST":
            raise MethodNotAllowed("Use POST here.", headers={"allow": "POST"})

    def _check_media(self) -> None:
        media = self._headers.get(b"content-type", b"")
        if media != b"application/json":
            media = media.partition(b";")[0].strip().lower()
        if media != b"application/json":
            raise UnsupportedMedia("Send the body as JSON, with Content-Type: application/json.")
        if self._headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedMedia("Send the body without Content-Encoding.")


class Reply(NamedTuple):
    """The body of a 200, and the lines of its head that are its own: its cost, say."""

    body: bytes
    lines: bytes = b""


class RawAnswer(NamedTuple):
    """What goes back to the client."""

    status: int
    head: bytes
    """Its headers, each as a line with its end."""
    body: bytes


class HotEndpoint:
    """A path, what handles its requests, and where its responses are recorded."""

    def __init__(
        self,
        path: str,
        handle: Callable[[Exchange], Awaitable[Reply]],
        *,
        in_flight: InFlight,
        records: Records | None = None,
        tracing: Tracing | None = None,
        log_answer: LogAnswer | None = None,
    ) -> None:
        """`handle` raises GatewayError; without records organizations don't see the answers."""
        self.path = path
        self.handle = handle
        self.in_flight = in_flight
        self.records = records
        self.tracing = tracing
        self.log_answer = log_answer
        self.answers = metrics.answers_of(path)
        self.observe = self.answers.observe


class Disconnected(Exception):
    """The client closed the connection before it had its answer."""


class Ended(Unavailable):
    """The gateway is closing, and ended the request before it had an answer."""

    code = "closing"


class Connection(Protocol):
    """The server's side of a request."""

    def peer(self) -> str:
        """Return the address of the other end; empty if it has none."""
        ...

    async def body(self, take: Callable[[int], None] | None) -> bytes | bytearray:
        """Return the body once it is whole.

        If the body's length is unknown, `take` is called with the size of each part as it arrives,
        and may raise. Raises Disconnected or RequestTimeout.
        """
        ...

    def is_ending(self) -> bool:
        """Tell whether the client has closed the connection, even if that is not read yet."""
        ...


def head_lines(headers: Iterable[tuple[str, str]]) -> bytes:
    """Write headers as the lines of a head."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")


class _Room:
    """Reserves room for a body of unknown length."""

    def __init__(self, bytes_max: int, place: RequestPlace) -> None:
        self._bytes_max = bytes_max
        self._left = bytes_max
        self._place = place

    def take(self, size: int) -> None:
        """Raise TooLarge or TooManyBytes if there is no room for the next part."""
        self._left -= size
        if self._left < 0:
            raise _too_large(self._bytes_max)
        self._place.hold(size)


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(f"The body is over {bytes_max} bytes. Send fewer or shorter inputs at once.")


def _our_mistake() -> ServerError:
    return ServerError("This is our mistake; nothing was charged.")
