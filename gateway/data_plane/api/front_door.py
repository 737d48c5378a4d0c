"""The server's protocol: it answers the hot paths itself and hands the rest to the application.

A class on uvicorn's seam (`uvicorn.run(http=FrontDoor)`). Requests of a hot path become exchanges:
no ASGI, no framework, and no task. Everything else takes uvicorn's own way. What clients may hold,
and for how long, is bounded here for all paths; see `Bounds`.

A `HotCall` stands in the place of uvicorn's request cycle and has the attributes that its protocol
uses, so requests of both kinds can follow one another on a connection, pipelined too.
"""

from __future__ import annotations

import asyncio
import math
import select
from collections import deque
from typing import Any, cast

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.data_plane.api.call import HotCall
from gateway.data_plane.api.door import GRACE_SECONDS, PIECE_BYTES, Door, by_name, refusal
from gateway.data_plane.api.exchange import RawAnswer
from gateway.errors import GatewayError, RequestTimeout, Unavailable

_JOINED_BYTES_MAX = 65_536
"""A longer body is not copied to be sent with its head."""
_ENDED = getattr(select, "POLLRDHUP", select.POLLHUP)
"""The event of a peer that closed: only Linux tells it from the end of both directions."""
_REST, _HEAD, _BODY = range(3)
"""Where the reading is: between requests, or in one."""


class FrontDoor(HttpToolsProtocol):
    """One connection."""

    cycle: Any
    pipeline: deque[Any]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._door: Door = cast("Any", config.loaded_app).door
        self._bounds = self._door.bounds
        self._next: HotCall | None = None
        """Begins once the data at hand is read, which usually includes its whole body."""
        self._serving: HotCall | None = None
        self._refused: GatewayError | None = None
        """Why the connection ends; nothing more is read."""
        self._part, self._piece = _REST, 0
        self._overhead, self._got = 0, 0
        """Bytes of the request outside its body, and bytes of its body."""
        self._since, self._due = 0.0, math.inf
        """When the client is late, on the loop's clock; see `check`."""
        self._ends: select.poll | None = None
        self._unread, self._unread_since = 0, 0.0
        self._is_last, self._old_at = self._door.retiring, math.inf
        """Whether the next response is the last one, and when it becomes so."""
        self._unread_call: HotCall | None = None
        """The last one whose response was not written at once."""

    # -- the connection -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, if there is room for one more."""
        super().connection_made(transport)
        self._rest()
        self._old_at = self.loop.time() + self._bounds.age()
        if not self._door.open(self):
            self._refuse(Unavailable("The gateway has too many connections. Try again shortly."))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the exchange that its client has left."""
        if self._unread_call is not None and self.flow.write_paused:
            self._unread_call.lose_answer()
        super().connection_lost(exc)
        self._door.close(self)
        self._next = None
        self.pipeline.clear()
        if self._serving is not None:
            self._serving.lose()
        else:
            self.cycle = None

    def data_received(self, data: bytes) -> None:
        """Parse the data, piece by piece, and begin the request that it completes."""
        for start in range(0, len(data), PIECE_BYTES):
            self._read(data[start : start + PIECE_BYTES])
            if self.transport.is_closing():
                return
        if self._part != _REST and self._due == math.inf:
            self._since = self.loop.time()
            seconds = self._bounds.head_seconds if self._part == _HEAD else GRACE_SECONDS
            self._due = self._since + min(seconds, self._bounds.body_seconds)
        if self._next is not None:
            call, self._next = self._next, None
            self._begin(call)

    def shutdown(self) -> None:
        """Close once the request in progress is answered; what still arrives has little time."""
        self.retire()
        if self._part == _REST and not self._door.has_unread(self.transport):
            super().shutdown()
        self._bounds = msgspec.structs.replace(self._bounds, body_seconds=GRACE_SECONDS)
        self._due = min(self._due, self.loop.time() + GRACE_SECONDS)

    def retire(self) -> None:
        """See `Checked.retire`."""
        self._is_last = True
        if self.cycle is not None and not isinstance(self.cycle, HotCall) and not self.pipeline:
            self.cycle.keep_alive = False

    # -- what the parser finds ------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request; only one that is handed on gets an ASGI scope."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._part, self._overhead, self._got, self._due = _HEAD, 0, 0, math.inf

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers of a chunked body are dropped."""
        if self._part == _HEAD:
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Make a call of a request to a hot path, and hand on any other."""
        self._part, self._due = _BODY, math.inf
        if self._refused is not None:
            return
        bounds, bytes_most = self._bounds, self._overhead + self._piece
        self._refused = bounds.flaw_of_head(
            self.url, self.headers, bytes_most
        ) or bounds.excess_of_requests(len(self.pipeline))
        if self._refused is not None:
            return
        endpoint = self._door.find(self.url)
        if endpoint is None:
            self._hand_on()
            return
        before = self.cycle
        call = HotCall(
            self,
            endpoint,
            method=self.parser.get_method().decode("ascii"),
            headers=by_name(self.headers),
            expects_continue=self.expect_100_continue,
            keep_alive=self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive(),
        )
        self.cycle = call
        if before is None or before.response_complete:
            self._next = call
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((call, self.app))

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on."""
        self._overhead -= len(body)
        self._got += len(body)
        if self._refused is not None:
            return
        if isinstance(self.cycle, HotCall):
            self.cycle.feed(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request; if it already has its response, the connection is idle now."""
        self._part, self._due = _REST, math.inf
        if self._refused is not None:
            return
        if isinstance(self.cycle, HotCall):
            self.cycle.complete()
        else:
            super().on_message_complete()
        if self.cycle.response_complete:
            self._rest()

    # -- answers --------------------------------------------------------------------------------

    def answer(self, call: HotCall, answer: RawAnswer | None) -> None:
        """See `Wire.answer`."""
        self._serving = None
        if self._is_last and self._part == _REST and not self.pipeline:
            call.keep_alive = False
        if answer is not None and not self.transport.is_closing():
            self._send(
                answer.status,
                answer.head if call.keep_alive else answer.head + b"connection: close\r\n",
                b"" if call.method == "HEAD" else answer.body,
            )
            self._unread_call = call if self.flow.write_paused else None
            if not call.keep_alive:
                self.transport.close()
        else:
            call.lose_answer()
        if self.transport.is_closing():
            self.cycle = None  # a call and its connection must not hold each other
        self.on_response_complete()

    def is_ending(self) -> bool:
        """See `Wire.is_ending`."""
        if self.transport.is_closing():
            return True
        if self._ends is None:
            socket = self.transport.get_extra_info("socket")
            if socket is None:  # a test's
                return False
            self._ends = select.poll()
            self._ends.register(socket.fileno(), _ENDED)
        return bool(self._ends.poll(0))

    def send_continue(self) -> None:
        """See `Wire.send_continue`."""
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def read_on(self) -> None:
        """See `Wire.read_on`."""
        self.flow.resume_reading()

    def read_no_further(self) -> None:
        """See `Wire.read_no_further`."""
        self.flow.pause_reading()

    def on_response_complete(self) -> None:
        """Continue with pipelined data in its own turn, or become idle."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self.loop.call_soon(self._begin_pipelined)
            return
        self.flow.resume_reading()
        if self._part == _REST:
            self._rest()

    def pause_writing(self) -> None:
        """Begin to watch how fast the client reads."""
        super().pause_writing()
        self._unread = self.transport.get_write_buffer_size()
        self._unread_since = self.loop.time()

    # -- bounds ---------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """End what takes too long: idling, a head, a body, or the reading of a response."""
        if self.flow.write_paused:
            self._check_unread(now)
        if now >= self._old_at:
            self._is_last = True
        if now < self._due:
            return
        if self._part != _REST and self.flow.read_paused:  # it is we who do not read
            self._since, self._due = now, now + GRACE_SECONDS
        elif self._part == _REST:
            self.transport.close()
        elif self._part == _HEAD:
            self._refuse(RequestTimeout("The request's line and headers took too long to arrive."))
        elif now < (allowed := self._since + self._bounds.body_allowed(self._got)):
            self._due = allowed
        else:
            self._give_up_body()

    def _give_up_body(self) -> None:
        error = RequestTimeout("The request body arrived too slowly. Send it without pauses.")
        self._due = math.inf
        if not isinstance(self.cycle, HotCall):
            self._refuse(None if self.cycle.response_started else error)
        elif self.cycle.response_complete:
            self._refuse(None)
        else:
            self.cycle.keep_alive = False
            self.cycle.fail(error)

    def _check_unread(self, now: float) -> None:
        """Cut off a client that leaves its response unread: it would hold it forever."""
        left = self.transport.get_write_buffer_size()
        allowed = self._bounds.unread_seconds + (
            (self._unread - left) / self._bounds.bytes_per_second_min
        )
        if now - self._unread_since > allowed:
            self.transport.abort()

    def _refuse(self, error: GatewayError | None) -> None:
        """End the connection, with a response if there is an error to report."""
        if self.transport.is_closing():
            return
        if error is not None:
            head, body = refusal(error)
            self._send(error.status, head, body)
        self.transport.close()

    # -- inside ---------------------------------------------------------------------------------

    def _read(self, piece: bytes) -> None:
        self._piece = len(piece)
        super().data_received(piece)
        if self._part != _REST and self._refused is None:
            self._overhead += len(piece)
            body = self._got if self._part == _BODY else None
            self._refused = self._bounds.excess_of_bytes(self._overhead, body)
        if self._refused is not None:
            self._refuse(self._refused)

    def _begin(self, call: HotCall) -> None:
        self._serving = call
        call.begin()

    def _begin_pipelined(self) -> None:
        if self.pipeline and not self.transport.is_closing():
            cycle, app = self.pipeline.pop()
            if isinstance(cycle, HotCall):
                self._begin(cycle)
            else:
                self._start_asgi_task(cycle, app)

    def _hand_on(self) -> None:
        """Let uvicorn build an ASGI request from what was read."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers  # the list that is in the scope
        super().on_headers_complete()
        if self._is_last:
            self.cycle.keep_alive = False

    def _rest(self) -> None:
        self._due = self.loop.time() + self._bounds.keep_alive_seconds

    def _send(self, status: int, head: bytes, body: bytes) -> None:
        common = self._door.common_lines(self.server_state.default_headers)
        whole_head = b"%b%b%b\r\n" % (STATUS_LINE[status], common, head)
        if len(body) <= _JOINED_BYTES_MAX:
            self.transport.write(whole_head + body)
        else:
            self.transport.writelines((whole_head, body))
