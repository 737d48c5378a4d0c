"""HTTP to one stock engine: bounded, and retried once when a connection is stale.

Redirects are not followed, and no more of an answer is read than a correct one can have. A
kept connection that turns out to be closed before a byte of an answer came is no fault: the call is
repeated once, on a fresh connection, because whatever closed one may have closed them all. On a
fresh connection the same is a fault, and the work may have been done.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import NamedTuple

import aiohttp

from backends.adapters.statuses import OUR_ERRNOS, REFUSAL_BYTES_MAX, Refuse, reason_of
from backends.adapters.trust import Trust, tls_reason
from backends.protocol import (
    InvalidAnswer,
    OutOfResources,
    WorkerLost,
    WorkerTimeout,
    WorkerUnreachable,
)

_CONNECTIONS_MAX = 16  # to one worker: one that hangs can't take the connections of another
_KEEPALIVE_SECONDS = 3.0  # under the 5 s at which vLLM and most others close an idle connection
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)  # see `deadline`
_IDENTITY = {"accept-encoding": "identity"}  # no time to inflate, no bomb to defuse
_OK = 200


class Answer(NamedTuple):
    """A 200."""

    headers: Mapping[str, str]
    content: bytes


class WorkerClient:
    """The connections to one worker. Its calls never time out: put them under a `deadline`."""

    def __init__(
        self,
        url: str,
        base: str,
        refuse: Refuse,
        headers: Mapping[str, str] | None = None,
        *,
        trust: Trust | None = None,
        host: str = "",
    ) -> None:
        """`url` names the worker in errors; paths are appended to `base`.

        `host` must be in the worker's certificate; by default the one in `base`.
        """
        self._trust = trust if trust and base.startswith("https:") else None
        self._host = host or None
        self._url = url
        self._base = base
        self._refuse = refuse
        self._headers = _IDENTITY | dict(headers or {})
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def get(self, path: str, *, bytes_max: int) -> Answer:
        """Ask for `path`. Raises BackendError."""
        return await self._call("GET", path, None, {}, bytes_max)

    async def post(
        self, path: str, body: bytes, *, headers: Mapping[str, str], bytes_max: int
    ) -> Answer:
        """Send `body` and take an answer of at most `bytes_max` bytes. Raises BackendError."""
        return await self._call("POST", path, body, headers, bytes_max)

    async def close(self) -> None:
        """Close the connections. Safe to call twice."""
        while self._sessions:
            await self._sessions.popitem()[1].close()

    async def _call(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], bytes_max: int
    ) -> Answer:
        call = (method, self._base + path, body, headers, bytes_max)
        sent = False
        try:
            try:
                return await self._try(self._session(kept=True), *call)
            except _Stale:
                sent = True
                return await self._try(self._session(kept=False), *call)
        except aiohttp.ClientConnectorCertificateError as error:
            raise WorkerUnreachable(self._url, _untrusted(error)) from None
        except aiohttp.ClientConnectionError as error:
            if isinstance(error, OSError) and error.errno in OUR_ERRNOS:
                raise OutOfResources(self._url, reason_of(error)) from None
            sent = sent or not isinstance(error, aiohttp.ClientConnectorError)
            kind = WorkerLost if sent else WorkerUnreachable
            raise kind(self._url, reason_of(error)) from None
        except aiohttp.ClientPayloadError as error:
            raise InvalidAnswer(self._url, f"incomplete answer: {reason_of(error)}") from None
        except aiohttp.ClientError as error:
            raise InvalidAnswer(self._url, f"not an HTTP answer: {reason_of(error)}") from None

    async def _try(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        bytes_max: int,
    ) -> Answer:
        connection = _Connection()
        try:
            answer = await session.request(
                method,
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                ssl=self._trust.tls() if self._trust else True,
                server_hostname=self._host if self._trust else None,
                trace_request_ctx=connection,
            )
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            # if part of an answer came, the error's message is that part and not a text
            if connection.reused and isinstance(getattr(error, "message", ""), str):
                raise _Stale from None
            raise
        async with answer:
            if answer.status == _OK:
                return Answer(answer.headers, await self._read(answer, bytes_max))
            content = await _read_start(answer, REFUSAL_BYTES_MAX)
            retry_after = answer.headers.get("retry-after")
            raise self._refuse(self._url, answer.status, content, retry_after)

    async def _read(self, answer: aiohttp.ClientResponse, bytes_max: int) -> bytes:
        length = answer.content_length
        if length is not None and length <= bytes_max:
            return await answer.read()
        chunks, size = [], length or 0
        while size <= bytes_max and (chunk := await answer.content.readany()):
            size += len(chunk)
            chunks.append(chunk)
        if size > bytes_max:
            raise InvalidAnswer(self._url, f"answers with more than {bytes_max} bytes")
        return b"".join(chunks)

    def _session(self, *, kept: bool) -> aiohttp.ClientSession:
        """Return the session that keeps its connections, or the one that uses each only once."""
        if kept not in self._sessions:
            self._sessions[kept] = aiohttp.ClientSession(
                connector=_connector(kept=kept),
                headers=self._headers,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=_NO_TIMEOUT,
                trace_configs=[_tracing()],
            )
        return self._sessions[kept]


@contextlib.asynccontextmanager
async def deadline(url: str, seconds: float) -> AsyncIterator[None]:
    """Bound all calls made within. Raises WorkerTimeout."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise WorkerTimeout(url, f"no answer in {seconds:.3f} s") from None


class _Stale(Exception):
    """The server had closed the kept-alive connection that the call was sent on."""


class _Connection:
    """What a try learns about its connection."""

    reused = False


def _connector(*, kept: bool) -> aiohttp.BaseConnector:
    keepalive = _KEEPALIVE_SECONDS if kept else None
    return aiohttp.TCPConnector(
        limit=_CONNECTIONS_MAX, force_close=not kept, keepalive_timeout=keepalive
    )


def _tracing() -> aiohttp.TraceConfig:
    async def reused(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.reused = True

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_reuseconn.append(reused)
    return tracing


def _untrusted(error: aiohttp.ClientConnectorCertificateError) -> str:
    cause = error.certificate_error
    return tls_reason(cause) if isinstance(cause, ssl.SSLError) else reason_of(error)


async def _read_start(answer: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    """Read at most `bytes_max` bytes, in however many pieces they arrive."""
    content = bytearray()
    while len(content) < bytes_max and (piece := await answer.content.readany()):
        content += piece
    return bytes(content[:bytes_max])
