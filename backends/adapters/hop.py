"""The client of our own workers: the binary hop over TCP or a unix socket.

Errors are told apart as `backends.protocol` says. A redirect is followed nowhere, and of an answer
no more is read than there can be of it. A kept-alive connection that turns out to be closed, before
a byte of an answer came, is no fault: the call is made once more, within the same time, and on a
fresh connection, since whatever closed one may have closed all that were kept. There it is a fault,
and the work may have been done.
"""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from backends import hop
from backends.adapters.statuses import OUR_ERRNOS, REFUSAL_BYTES_MAX, reason_of, worker_refusal
from backends.protocol import (
    InvalidAnswer,
    OutOfResources,
    TokenRow,
    WorkerInfo,
    WorkerTimeout,
    WorkerUnreachable,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEEPALIVE_SECONDS = 3.0  # under the 5 s at which most servers close an idle connection
_TIMEOUT_MARGIN = 0.9  # the worker gives up before we do, so that its answer can still arrive
_INFO_BYTES_MAX = 65_536
_OK = 200
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)  # `_call` has one deadline for all of it


class _Stale(Exception):
    """The server had closed the kept-alive connection that was taken for the call."""


class HopBackend:
    """A worker that speaks the binary hop. `url` is `http://host:port` or `unix:/path`."""

    def __init__(self, url: str, *, connections_max: int = 16) -> None:
        self.url = url
        self._connections_max = connections_max
        self._kept: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None

    async def info(self, *, timeout_seconds: float) -> WorkerInfo:
        """Ask `/ready`, then `/info`. A worker that warms or drains is busy, not broken."""
        await self._call("GET", "/ready", b"", timeout_seconds, _INFO_BYTES_MAX)
        body = await self._call("GET", "/info", b"", timeout_seconds, _INFO_BYTES_MAX)
        try:
            return msgspec.json.decode(body, type=WorkerInfo)
        except msgspec.MsgspecError as error:
            raise InvalidAnswer(self.url, f"/info: {error}") from None

    async def embed(
        self, rows: Sequence[TokenRow], *, timeout_seconds: float, request_id: str = ""
    ) -> list[memoryview]:
        """Embed the rows in one call; see `Backend.embed`."""
        body = await self._call(
            "POST",
            "/embed",
            hop.encode_request(rows),
            timeout_seconds,
            hop.answer_bytes(rows),
            request_id,
        )
        try:
            return hop.decode_answer(body, rows)
        except hop.MalformedHop as error:
            raise InvalidAnswer(self.url, str(error)) from None

    async def close(self) -> None:
        """Close its connections."""
        sessions = self._kept, self._fresh
        self._kept = self._fresh = None
        for session in sessions:
            if session is not None:
                await session.close()

    async def _call(
        self,
        method: str,
        path: str,
        body: bytes,
        timeout_seconds: float,
        bytes_max: int,
        request_id: str = "",
    ) -> bytes:
        try:
            async with asyncio.timeout(timeout_seconds) as limit:
                call = (method, path, body, bytes_max, request_id, limit)
                try:
                    return await self._try(self._keeping(), *call)
                except _Stale:
                    return await self._try(self._closing(), *call)
        except TimeoutError:
            raise WorkerTimeout(self.url, f"no answer in {timeout_seconds:.3f} s") from None
        except aiohttp.ClientConnectionError as error:
            if isinstance(error, OSError) and error.errno in OUR_ERRNOS:
                raise OutOfResources(self.url, reason_of(error)) from None
            raise WorkerUnreachable(self.url, reason_of(error)) from None
        except aiohttp.ClientPayloadError as error:
            raise InvalidAnswer(self.url, f"the answer broke off: {reason_of(error)}") from None
        except aiohttp.ClientError as error:
            raise InvalidAnswer(self.url, f"no HTTP answer: {reason_of(error)}") from None

    async def _try(
        self,
        session: aiohttp.ClientSession,
        method: str,
        path: str,
        body: bytes,
        bytes_max: int,
        request_id: str,
        limit: asyncio.Timeout,
    ) -> bytes:
        ends_at = limit.when()
        assert ends_at is not None
        left = max(ends_at - asyncio.get_running_loop().time(), 0)
        headers = {
            "content-type": hop.CONTENT_TYPE,
            hop.TIMEOUT_HEADER: str(max(1, math.floor(left * 1000 * _TIMEOUT_MARGIN))),
            "x-request-id": request_id,
        }
        wire = _Wire()
        try:
            answer = await session.request(
                method,
                self._base + path,
                data=body or None,
                headers=headers,
                allow_redirects=False,
                trace_request_ctx=wire,
            )
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            # with part of an answer, the message is that part
            if wire.reused and isinstance(getattr(error, "message", ""), str):
                raise _Stale(reason_of(error)) from None
            raise
        async with answer:
            if answer.status == _OK:
                return await self._read(answer, bytes_max)
            content = await _start(answer, REFUSAL_BYTES_MAX)
            retry_after = answer.headers.get("retry-after")
            raise worker_refusal(self.url, answer.status, content, retry_after)

    async def _read(self, answer: aiohttp.ClientResponse, bytes_max: int) -> bytes:
        length = answer.content_length
        if length is not None and length <= bytes_max:
            return await answer.read()
        chunks, size = [], length or 0
        while size <= bytes_max and (chunk := await answer.content.readany()):
            size += len(chunk)
            chunks.append(chunk)
        if size > bytes_max:
            raise InvalidAnswer(self.url, f"answers with more than {bytes_max} bytes")
        return b"".join(chunks)

    def _keeping(self) -> aiohttp.ClientSession:
        if self._kept is None:
            self._kept = self._session(keepalive_timeout=_KEEPALIVE_SECONDS)
        return self._kept

    def _closing(self) -> aiohttp.ClientSession:
        """The session whose connections serve one call each."""
        if self._fresh is None:
            self._fresh = self._session(force_close=True)
        return self._fresh

    def _session(self, **keeping: Any) -> aiohttp.ClientSession:
        connector: aiohttp.BaseConnector
        if self.url.startswith("unix:"):
            path = self.url.removeprefix("unix:")
            connector = aiohttp.UnixConnector(path, limit=self._connections_max, **keeping)
        else:
            connector = aiohttp.TCPConnector(limit=self._connections_max, **keeping)
        return aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_NO_TIMEOUT,
            trace_configs=[_tracing()],
        )

    @property
    def _base(self) -> str:
        return "http://worker" if self.url.startswith("unix:") else self.url


class _Wire:
    """What is noted of the connection of one try."""

    reused = False


def _tracing() -> aiohttp.TraceConfig:
    async def reused(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.reused = True

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_reuseconn.append(reused)
    return tracing


async def _start(answer: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    """Read as much of an answer as counts, in however many pieces it arrives."""
    content = bytearray()
    while len(content) < bytes_max and (piece := await answer.content.readany()):
        content += piece
    return bytes(content[:bytes_max])
