"""The client of our own workers: the binary hop over TCP or a unix socket.

Errors are told apart as `backends.protocol` says. A connection that the worker closed while it was
idle is not a fault: the call is made once more on a fresh one.
"""

from __future__ import annotations

import errno
import math
from typing import TYPE_CHECKING

import aiohttp
import msgspec

from backends import hop
from backends.protocol import (
    InvalidAnswer,
    OutOfResources,
    RequestRefused,
    TokenRow,
    WorkerBusy,
    WorkerFailed,
    WorkerInfo,
    WorkerTimeout,
    WorkerUnreachable,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEEPALIVE_SECONDS = 3.0  # under the 5 s at which most servers close an idle connection
_RETRY_AFTER_SECONDS_MAX = 60.0
_TIMEOUT_MARGIN = 0.9  # the worker gives up before we do, so that its answer can still arrive
_INFO_BYTES_MAX = 65_536
_OUR_ERRNOS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}


class HopBackend:
    """A worker that speaks the binary hop. `url` is `http://host:port` or `unix:/path`."""

    def __init__(self, url: str, *, connections_max: int = 16) -> None:
        self.url = url
        self._connections_max = connections_max
        self._session: aiohttp.ClientSession | None = None

    async def info(self, *, timeout_seconds: float) -> WorkerInfo:
        """Ask `/ready`, then `/info`. A worker that warms or drains is busy, not broken."""
        await self._call("GET", "/ready", b"", timeout_seconds)
        body = await self._call("GET", "/info", b"", timeout_seconds)
        try:
            return msgspec.json.decode(body[:_INFO_BYTES_MAX], type=WorkerInfo)
        except msgspec.MsgspecError as error:
            raise InvalidAnswer(self.url, f"/info: {error}") from None

    async def embed(
        self, rows: Sequence[TokenRow], *, timeout_seconds: float, request_id: str = ""
    ) -> list[memoryview]:
        """Embed the rows in one call; see `Backend.embed`."""
        body = await self._call(
            "POST", "/embed", hop.encode_request(rows), timeout_seconds, request_id
        )
        try:
            return hop.decode_answer(body, rows)
        except hop.MalformedHop as error:
            raise InvalidAnswer(self.url, str(error)) from None

    async def close(self) -> None:
        """Close its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _call(
        self, method: str, path: str, body: bytes, timeout_seconds: float, request_id: str = ""
    ) -> bytes:
        try:
            try:
                return await self._call_once(method, path, body, timeout_seconds, request_id)
            except aiohttp.ServerDisconnectedError:
                # A stale kept-alive connection looks just so. Rows are idempotent: once more.
                return await self._call_once(method, path, body, timeout_seconds, request_id)
        except TimeoutError:
            raise WorkerTimeout(self.url, f"no answer in {timeout_seconds:.3f} s") from None
        except aiohttp.ClientConnectionError as error:
            if isinstance(error, OSError) and error.errno in _OUR_ERRNOS:
                raise OutOfResources(self.url, _reason(error)) from None
            raise WorkerUnreachable(self.url, _reason(error)) from None
        except aiohttp.ClientPayloadError as error:
            raise InvalidAnswer(self.url, f"the answer broke off: {_reason(error)}") from None
        except aiohttp.ClientError as error:
            raise InvalidAnswer(self.url, f"no HTTP answer: {_reason(error)}") from None

    async def _call_once(
        self, method: str, path: str, body: bytes, timeout_seconds: float, request_id: str
    ) -> bytes:
        headers = {
            "content-type": hop.CONTENT_TYPE,
            hop.TIMEOUT_HEADER: str(math.floor(timeout_seconds * 1000 * _TIMEOUT_MARGIN)),
            "x-request-id": request_id,
        }
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        async with self._open().request(
            method, self._base + path, data=body or None, headers=headers, timeout=timeout
        ) as answer:
            content = await answer.read()
            if answer.status != 200:
                raise self._refusal(answer, content)
            return content

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector: aiohttp.BaseConnector
            limits = {"limit": self._connections_max, "keepalive_timeout": _KEEPALIVE_SECONDS}
            if self.url.startswith("unix:"):
                path = self.url.removeprefix("unix:")
                connector = aiohttp.UnixConnector(path, **limits)  # type: ignore[arg-type]
            else:
                connector = aiohttp.TCPConnector(**limits)  # type: ignore[arg-type]
            self._session = aiohttp.ClientSession(
                connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    @property
    def _base(self) -> str:
        return "http://worker" if self.url.startswith("unix:") else self.url

    def _refusal(self, answer: aiohttp.ClientResponse, content: bytes) -> Exception:
        reason = f"{answer.status} {content[:200].decode(errors='replace')}"
        if answer.status in (429, 503):
            return WorkerBusy(self.url, reason, _retry_after(answer.headers.get("retry-after")))
        if answer.status >= 500:
            return WorkerFailed(self.url, reason)
        return RequestRefused(self.url, reason)


def _retry_after(value: str | None) -> float:
    try:
        seconds = float(value or 1)
    except ValueError:
        return 1.0  # an HTTP date: a second is as good a guess as its clock
    return min(max(seconds, 0.0), _RETRY_AFTER_SECONDS_MAX) if math.isfinite(seconds) else 1.0


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
