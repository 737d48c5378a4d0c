"""What all connections of a process share: the hot paths, and bounds on what clients may hold.

Once a second each connection is asked whether it is late, so that a request costs no timer.
"""

from __future__ import annotations

import asyncio
import random
import select
from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import unquote

import httptools
import msgspec

from gateway.data_plane.api.exchange import HotEndpoint, head_lines
from gateway.errors import BadRequest, GatewayError, HeadTooLarge
from gateway.identifiers import new_id

_CHECK_SECONDS = 1.0
PIECE_BYTES = 16_384
"""Most bytes that are parsed before the bounds are asked: a millisecond of the worst."""
GRACE_SECONDS = 5.0
"""How long a body may arrive at any rate."""
_AGE_SPREAD = 0.1
"""By how much the age limit of a connection varies, so that those opened together don't all end
together."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection may hold, and for how long; see `gateway.settings`."""

    connections_max: int
    pipelined_max: int
    head_bytes_max: int
    headers_max: int
    head_seconds: float
    body_seconds: float
    bytes_per_second_min: int
    keep_alive_seconds: float
    connection_seconds: float
    unread_seconds: float

    def body_allowed(self, got: int) -> float:
        """Return the seconds that a body may take when `got` bytes have arrived."""
        return min(self.body_seconds, GRACE_SECONDS + got / self.bytes_per_second_min)

    def age(self) -> float:
        """Return the seconds that a new connection is kept."""
        spread = random.uniform(1 - _AGE_SPREAD, 1 + _AGE_SPREAD)  # noqa: S311 - no secret
        return spread * self.connection_seconds

    def flaw_of_head(
        self, url: bytes, headers: Sequence[tuple[bytes, bytes]], bytes_most: int
    ) -> GatewayError | None:
        """Return why a head is refused, if it is; it has at most `bytes_most` bytes."""
        if len(headers) > self.headers_max:
            return HeadTooLarge(f"The request has more than {self.headers_max} headers.")
        if bytes_most > self.head_bytes_max:
            size = len(url) + sum(len(name) + len(value) + 4 for name, value in headers)
            if size > self.head_bytes_max:
                return self.head_too_large()
        return None

    def excess_of_bytes(self, overhead: int, body: int | None) -> GatewayError | None:
        """Return why what has arrived of a request so far is refused, if it is.

        `overhead` are the bytes that are not of its body; `body` is None before its head is whole.
        """
        room = self.head_bytes_max + PIECE_BYTES
        if body is None:
            return self.head_too_large() if overhead > room else None
        if overhead > room + body // 8:
            return BadRequest("The body comes in too many small chunks. Send larger ones.")
        return None

    def excess_of_requests(self, waiting: int) -> GatewayError | None:
        """Return why one more request is refused, if it is, when so many are already waiting."""
        if waiting < self.pipelined_max:
            return None
        message = f"More than {self.pipelined_max} requests are waiting on this connection."
        return BadRequest(message)

    def head_too_large(self) -> GatewayError:
        """Return the refusal of a head with too many bytes."""
        return HeadTooLarge(f"The request's line and headers are over {self.head_bytes_max} bytes.")


class Door:
    """Hot paths and bounds, shared by the connections of one process."""

    def __init__(self, endpoints: Sequence[HotEndpoint], bounds: Bounds) -> None:
        self._endpoints: Mapping[bytes, HotEndpoint] = {
            endpoint.path.encode(): endpoint for endpoint in endpoints
        }
        self.bounds = bounds
        self._connections: set[Checked] = set()
        self.refused = 0
        """Connections refused because there were too many."""
        self.retiring = False
        """Whether every response is the last one on its connection."""
        self._checking: asyncio.TimerHandle | None = None
        self._lines_of: Sequence[tuple[bytes, bytes]] | None = None
        self._lines = b""

    def open(self, connection: Checked) -> bool:
        """Count a connection in; false if it is one too many."""
        if len(self._connections) >= self.bounds.connections_max:
            self.refused += 1
            return False
        self._connections.add(connection)
        if self._checking is None:
            loop = asyncio.get_running_loop()
            self._checking = loop.call_later(_CHECK_SECONDS, self._check)
        return True

    def retire(self) -> None:
        """Close each connection, present or future, after its next response."""
        self.retiring = True
        for connection in tuple(self._connections):
            connection.retire()

    def __len__(self) -> int:
        return len(self._connections)

    def close(self, connection: Checked) -> None:
        """Count a connection out."""
        self._connections.discard(connection)

    def find(self, url: bytes) -> HotEndpoint | None:
        """Return the hot path of an address, with a query, escapes, or slashes too many."""
        if found := self._endpoints.get(url):
            return found
        try:
            path = unquote(httptools.parse_url(url).path.decode("ascii"))
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError, AttributeError):
            return None  # uvicorn's own way refuses it
        normal = "/" + "/".join(part for part in path.split("/") if part)
        return self._endpoints.get(normal.encode())

    def common_lines(self, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Return the server's own headers as lines; they are rebuilt once a second."""
        if headers is not self._lines_of:
            self._lines_of = headers
            self._lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        return self._lines

    @staticmethod
    def has_unread(transport: asyncio.Transport) -> bool:
        """Tell whether bytes have come that the loop has not read yet."""
        socket = transport.get_extra_info("socket")
        if socket is None:  # a test's
            return False
        poll = select.poll()
        poll.register(socket.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def _check(self) -> None:
        self._checking = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in tuple(self._connections):
            connection.check(now)
        if self._connections:
            self._checking = loop.call_later(_CHECK_SECONDS, self._check)


class Checked(Protocol):
    """A connection, as the door sees it."""

    def check(self, now: float) -> None:
        """Close or refuse what takes too long; `now` is the loop's time."""
        ...

    def retire(self) -> None:
        """Close at the next answer."""
        ...


def by_name(headers: Sequence[tuple[bytes, bytes]]) -> Mapping[bytes, bytes]:
    """Return headers by name.

    If a header appears twice, the first counts, as it does for the application; but the lines of
    X-Forwarded-For form one list, since each proxy may add its own.
    """
    named = dict(headers)
    if len(named) < len(headers):
        named = dict(reversed(headers))
        if b"x-forwarded-for" in named:
            forwarded = [value for name, value in headers if name == b"x-forwarded-for"]
            named[b"x-forwarded-for"] = b",".join(forwarded)
    return named


def refusal(error: GatewayError) -> tuple[bytes, bytes]:
    """Return the header lines and the body of a response to what never became a request."""
    body = error.envelope()
    lines = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-request-id": new_id(),
        "connection": "close",
        **error.headers,
    }
    return head_lines(lines.items()), body
