"""HTTP to a stock embedding server: one bounded client for each worker. Only here is httpx known.

Whose fault a status is, `refusals` says; a redirect is one, and is followed nowhere. A kept-alive
connection that turns out to be closed, before a byte of an answer came, is no fault: the call is
made once more, on a fresh connection, since whatever closed one may have closed all that were kept.
There it is a fault, and the work may have been done.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import httpx

from backends.adapters.statuses import OUR_ERRNOS, REFUSAL_BYTES_MAX, engine_refusal, reason_of
from backends.protocol import (
    InvalidAnswer,
    OutOfResources,
    WorkerTimeout,
    WorkerUnreachable,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from backends.adapters.address import Address

CONNECTIONS_MAX = 16
"""Connections to one worker: a hung one can't take those of another."""
KEEPALIVE_SECONDS = 3.0
"""Under the 5 s at which vLLM and most others close an idle connection."""

_OK = 200


class Answer(NamedTuple):
    """A 200."""

    headers: Mapping[str, str]
    content: bytes


@contextlib.asynccontextmanager
async def deadline(url: str, seconds: float) -> AsyncIterator[None]:
    """Bound all calls made within. Raises WorkerTimeout."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise WorkerTimeout(url, f"no answer in {seconds:.3f} s") from None


class EngineClient:
    """The connections to one worker. Its calls wait without end: put them under a `deadline`."""

    def __init__(self, address: Address) -> None:
        self.url = address.url
        self._base = address.base
        self._headers = {"accept-encoding": "identity"}  # no time to inflate, no bomb to defuse
        if address.key:
            self._headers["authorization"] = f"Bearer {address.key}"
        self._kept: httpx.AsyncClient | None = None
        self._fresh: httpx.AsyncClient | None = None

    async def get(self, path: str, *, bytes_max: int) -> Answer:
        """Ask for `path`. Raises BackendError."""
        return await self._call("GET", path, None, "", bytes_max)

    async def post(self, path: str, body: bytes, *, request_id: str, bytes_max: int) -> Answer:
        """Send JSON and take an answer of at most `bytes_max` bytes. Raises BackendError."""
        return await self._call("POST", path, body, request_id, bytes_max)

    async def close(self) -> None:
        """Close the connections. Safe to call twice."""
        clients = self._kept, self._fresh
        self._kept = self._fresh = None
        for client in clients:
            if client is not None:
                await client.aclose()

    async def _call(
        self, method: str, path: str, body: bytes | None, request_id: str, bytes_max: int
    ) -> Answer:
        headers = self._headers | ({"content-type": "application/json"} if body else {})
        if request_id:
            headers["x-request-id"] = request_id
        try:
            response = await self._send(method, path, body, headers)
        except httpx.TransportError as error:
            if OUR_ERRNOS & set(_errnos(error)):
                raise OutOfResources(self.url, reason_of(error)) from None
            raise WorkerUnreachable(self.url, reason_of(error)) from None
        try:
            good = response.status_code == _OK
            content = await self._read(response, bytes_max if good else REFUSAL_BYTES_MAX, good)
        except httpx.TransportError as error:
            raise InvalidAnswer(self.url, f"the answer broke off: {reason_of(error)}") from None
        finally:
            await response.aclose()
        if not good:
            retry_after = response.headers.get("retry-after")
            raise engine_refusal(self.url, response.status_code, content, retry_after)
        return Answer(response.headers, content)

    async def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        """Ask on a kept-alive connection, and once more on a fresh one if that was stale."""
        if self._kept is None:
            self._kept = _client(kept=CONNECTIONS_MAX)
        fresh = False

        async def trace(event: str, _: object) -> None:
            nonlocal fresh
            fresh = fresh or event == "connection.connect_tcp.started"

        request = self._kept.build_request(
            method, self._base + path, content=body, headers=headers, extensions={"trace": trace}
        )
        try:
            return await self._kept.send(request, stream=True)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            if fresh:
                raise
        if self._fresh is None:
            self._fresh = _client(kept=0)
        return await self._fresh.send(request, stream=True)

    async def _read(self, response: httpx.Response, bytes_max: int, whole: bool) -> bytes:
        chunks, size = [], 0
        async for chunk in response.aiter_raw():
            size += len(chunk)
            if size > bytes_max and not whole:
                break  # enough for people to read
            if size > bytes_max:
                raise InvalidAnswer(self.url, f"answers with more than {bytes_max} bytes")
            chunks.append(chunk)
        return b"".join(chunks)


def _client(*, kept: int) -> httpx.AsyncClient:
    limits = httpx.Limits(
        max_connections=CONNECTIONS_MAX,
        max_keepalive_connections=kept,
        keepalive_expiry=KEEPALIVE_SECONDS,
    )
    # trust_env: a worker is not behind the proxy that this machine's browser would use
    return httpx.AsyncClient(limits=limits, timeout=None, trust_env=False, verify=_trusted())  # noqa: S113


@cache
def _trusted() -> ssl.SSLContext:
    """Whom to trust; made once: it takes the event loop tens of milliseconds."""
    return httpx.create_ssl_context(trust_env=False)


def _errnos(error: BaseException | None) -> Iterator[int | None]:
    """Walk from httpx's error to the system's: three libraries wrap it on its way up."""
    while error is not None:
        if isinstance(error, OSError):
            yield error.errno
        if isinstance(error, BaseExceptionGroup):
            for part in error.exceptions:
                yield from _errnos(part)
        error = error.__cause__ or error.__context__
