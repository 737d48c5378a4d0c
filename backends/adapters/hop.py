"""The client of our own workers: the binary hop over TCP or a unix socket."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from backends import hop
from backends.adapters.connections import Connections
from backends.adapters.statuses import worker_refusal
from backends.adapters.trust import Trust
from backends.authentication import request_claims
from backends.protocol import AS_ADDRESSED, NO_HEADERS, TokenRow, WorkerInfo

_TIMEOUT_MARGIN = 0.9  # the worker gives up before we do, so that its answer can still arrive
_INFO_BYTES_MAX = 65_536


class HopBackend:
    """A worker that speaks the binary hop. `url` is `http://host:port` or `unix:/path`."""

    def __init__(
        self, url: str, trust: Trust | None = None, *, name: str = "", guest: bool = False
    ) -> None:
        """See `Connections`."""
        self.url = url
        self.on_lost: Callable[[], None] = lambda: None
        self._connections = Connections(
            url, worker_refusal, trust or Trust(), name=name, guest=guest
        )
        self._connections.on_lost = self._lost
        address = self._connections.address
        rest = f" HTTP/1.1\r\nhost: {address.host}\r\naccept-encoding: identity\r\n"
        self._ready = f"GET {address.path}/ready{rest}".encode()
        self._info = f"GET {address.path}/info{rest}".encode()
        self._embed = (
            f"POST {address.path}/embed{rest}content-type: {hop.CONTENT_TYPE}\r\n"
            f"{hop.TIMEOUT_HEADER}: "
        ).encode()

    @property
    def certificate_ends_at(self) -> float | None:
        """When the worker's certificate ends, in Unix time; None if it has shown none."""
        return self._connections.certificate_ends_at

    async def info(self, *, timeout_seconds: float) -> WorkerInfo:
        """Ask `/ready`, then `/info`. A worker that is warming or draining is busy, not broken."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_seconds
        await self._connections.call(
            self._ready,
            b"",
            bytes_max=_INFO_BYTES_MAX,
            timeout_seconds=timeout_seconds,
            read=bytes,
            claims=request_claims("GET", "/ready", b"", b""),
        )
        return await self._connections.call(
            self._info,
            b"",
            bytes_max=_INFO_BYTES_MAX,
            timeout_seconds=until - loop.time(),
            read=_read_info,
            claims=request_claims("GET", "/info", b"", b""),
        )

    def embed(
        self,
        rows: Sequence[TokenRow],
        *,
        timeout_seconds: float,
        request_id: str = "",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> asyncio.Future[list[memoryview]]:
        """Embed the rows in one call; see `Backend.embed`."""
        assert request_id.isprintable(), "a request's id would break out of its header"
        # 0 would mean that we did not say
        milliseconds = b"%d" % max(1, math.floor(timeout_seconds * 1000 * _TIMEOUT_MARGIN))
        asked = request_id.encode()
        head = b"%b%b\r\nx-request-id: %b\r\n" % (self._embed, milliseconds, asked)
        for name, value in headers.items():
            head += f"{name}: {value}\r\n".encode("latin-1")
        signs = self._connections.signs
        return self._connections.call(
            head,
            hop.encode_request(rows),
            bytes_max=hop.answer_bytes(rows),
            timeout_seconds=timeout_seconds,
            read=partial(hop.decode_answer, rows=rows),
            claims=request_claims("POST", "/embed", milliseconds, asked) if signs else b"",
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._connections.close()

    def _lost(self) -> None:
        self.on_lost()


def _read_info(content: bytes | bytearray) -> WorkerInfo:
    try:
        info = msgspec.json.decode(content, type=WorkerInfo)
    except msgspec.MsgspecError as error:
        raise ValueError(f"/info: {error}") from None
    if info.model == AS_ADDRESSED:
        raise ValueError("/info: names no model")
    return info
