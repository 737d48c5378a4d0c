"""One request of a hot path on its connection: its body as it arrives, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gateway.data_plane.api.driver import Driver
from gateway.data_plane.api.exchange import Disconnected, Exchange, HotEndpoint, RawAnswer
from gateway.errors import GatewayError

_AHEAD_BYTES_MAX = 65_536
"""Most bytes of a body that nobody has asked for yet."""


class HotCall:
    """Stands where uvicorn's protocol expects a request cycle, and is an exchange's connection."""

    __slots__ = (
        "_body",
        "_driver",
        "_error",
        "_exchange",
        "_expects_continue",
        "_on_lost",
        "_take",
        "_wanted",
        "disconnected",
        "endpoint",
        "headers",
        "keep_alive",
        "message_event",
        "method",
        "more_body",
        "response_complete",
        "wire",
    )

    def __init__(
        self,
        wire: Wire,
        endpoint: HotEndpoint,
        *,
        method: str,
        headers: Mapping[bytes, bytes],
        expects_continue: bool,
        keep_alive: bool,
    ) -> None:
        self.wire = wire
        self.endpoint = endpoint
        self.method = method
        self.headers = headers
        self.keep_alive = keep_alive
        # what uvicorn's protocol asks of a cycle, besides `keep_alive`
        self.message_event = _NOBODY_WAITS
        self.more_body = True
        self.response_complete = False
        self.disconnected = False
        self._expects_continue = expects_continue
        self._on_lost: Callable[[], None] | None = None
        self._body: bytes | bytearray = b""
        self._take: Callable[[int], None] | None = None
        self._wanted: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._exchange: Exchange | None = None
        self._driver: Driver[RawAnswer] | None = None

    def begin(self) -> None:
        """Answer the request, at once if there is nothing to wait for."""
        wire = self.wire
        self._exchange = Exchange(self.method, self.headers, self, self.endpoint)
        driver = Driver(self._exchange.answer(), self._finish, wire.loop)
        driver.start()
        if not driver.done():
            self._driver = driver
            wire.tasks.add(driver)

    async def body(self, take: Callable[[int], None] | None) -> bytes | bytearray:
        """See `Connection.body`."""
        if self._expects_continue:
            self._expects_continue = False
            self.wire.send_continue()
        if take is not None:
            self._take = take
            take(len(self._body))
        if self.more_body and self._error is None:
            self._wanted = self.wire.loop.create_future()
            self.wire.read_on()
            try:
                await self._wanted
            finally:
                self._wanted = None
        if self._error is not None:
            raise self._error
        body, self._body = self._body, b""
        return body

    def feed(self, part: bytes) -> None:
        """Keep a part of the body, unless it is over a bound or no longer needed."""
        if self.response_complete or self._error is not None:
            return
        if self._take is not None:
            try:
                self._take(len(part))
            except GatewayError as error:
                self.fail(error)
                return
        if not self._body:
            self._body = part
        elif isinstance(self._body, bytearray):
            self._body += part
        else:
            self._body = bytearray(self._body)
            self._body += part
        if self._wanted is None and len(self._body) > _AHEAD_BYTES_MAX:
            self.wire.read_no_further()

    def complete(self) -> None:
        """End the body."""
        self.more_body = False
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    def fail(self, error: Exception) -> None:
        """End the reading of the body with an error."""
        self._error, self._body = error, b""
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    def lose(self) -> None:
        """Tell the exchange that the client has closed the connection."""
        self.disconnected = True
        self.fail(Disconnected())
        if self._exchange is not None:
            self._exchange.leave()

    def lose_answer(self) -> None:
        """Report that the client did not receive the whole response."""
        if self._on_lost is not None:
            self._on_lost()

    def peer(self) -> str:
        """See `Connection.peer`."""
        return self.wire.client[0] if self.wire.client else ""

    def is_ending(self) -> bool:
        """See `Connection.is_ending`."""
        return self.wire.is_ending()

    def _finish(self, answer: RawAnswer | None) -> None:
        wire = self.wire
        if self._driver is not None:
            wire.tasks.discard(self._driver)
        if self._exchange is not None:
            self._on_lost = self._exchange.on_lost
        self._driver = self._exchange = self._take = self._error = None
        self.response_complete = True
        wire.answer(self, answer)


class Wire(Protocol):
    """The protocol of a connection, as its calls see it."""

    client: tuple[str, int] | None
    loop: asyncio.AbstractEventLoop
    tasks: set[Any]

    def answer(self, call: HotCall, answer: RawAnswer | None) -> None:
        """Send a response (None: there is none), and continue with the next request."""
        ...

    def is_ending(self) -> bool:
        """Tell whether the client has closed the connection, even if that is not read yet."""
        ...

    def send_continue(self) -> None:
        """Tell the client to send its body."""
        ...

    def read_on(self) -> None:
        """Read from the connection."""
        ...

    def read_no_further(self) -> None:
        """Read no more from the connection until `read_on`."""
        ...


_NOBODY_WAITS = asyncio.Event()
