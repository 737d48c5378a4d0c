"""HTTP to a stock embedding server: one bounded client for each worker. Only here is httpx known.

What a status says of whose fault it is, the same for every engine:

    400, 413, 422   what we sent is wrong                            RequestRefused
    429, 503        alive and full, or warming                       WorkerBusy
    424, 5xx        it failed (TEI says 424 when its GPU did)        WorkerFailed
    anything else   it is not what its address says it is: no such   WorkerFailed
                    model, no such path, a key that it won't take

The last line blames the worker and not the request, because another worker can serve the request.
A connection that the server closed while it was idle is not a fault: the call is made once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
from typing import TYPE_CHECKING, NamedTuple

import httpx

from backends.protocol import (
    InvalidAnswer,
    OutOfResources,
    RequestRefused,
    WorkerBusy,
    WorkerFailed,
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

_RETRY_AFTER_SECONDS_MAX = 60.0
_RETRY_AFTER_SECONDS_DEFAULT = 1.0  # no stock engine sends a Retry-After; proxies before them do
_REASON_BYTES_MAX = 200
_OUR_ERRNOS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
_REFUSED = {400, 413, 422}
_BUSY = {429, 503}


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
        self._client: httpx.AsyncClient | None = None

    async def get(self, path: str, *, bytes_max: int) -> Answer:
        """Ask for `path`. Raises BackendError."""
        return await self._call("GET", path, None, "", bytes_max)

    async def post(self, path: str, body: bytes, *, request_id: str, bytes_max: int) -> Answer:
        """Send JSON and take an answer of at most `bytes_max` bytes. Raises BackendError."""
        return await self._call("POST", path, body, request_id, bytes_max)

    async def close(self) -> None:
        """Close the connections. Safe to call twice."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def _call(
        self, method: str, path: str, body: bytes | None, request_id: str, bytes_max: int
    ) -> Answer:
        headers = self._headers | ({"content-type": "application/json"} if body else {})
        if request_id:
            headers["x-request-id"] = request_id
        client = self._open()
        request = client.build_request(method, self._base + path, content=body, headers=headers)
        try:
            try:
                response = await client.send(request, stream=True)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                # A stale kept-alive connection looks just so. Rows are idempotent: once more.
                response = await client.send(request, stream=True)
        except httpx.TransportError as error:
            if _OUR_ERRNOS & set(_errnos(error)):
                raise OutOfResources(self.url, _reason(error)) from None
            raise WorkerUnreachable(self.url, _reason(error)) from None
        try:
            content = await self._read(response, bytes_max)
        except httpx.TransportError as error:
            raise InvalidAnswer(self.url, f"the answer broke off: {_reason(error)}") from None
        finally:
            await response.aclose()
        if response.status_code != 200:
            raise self._refusal(response, content)
        return Answer(response.headers, content)

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            limits = httpx.Limits(
                max_connections=CONNECTIONS_MAX,
                max_keepalive_connections=CONNECTIONS_MAX,
                keepalive_expiry=KEEPALIVE_SECONDS,
            )
            # trust_env: a worker is not behind the proxy that this machine's browser would use
            self._client = httpx.AsyncClient(limits=limits, timeout=None, trust_env=False)  # noqa: S113
        return self._client

    async def _read(self, response: httpx.Response, bytes_max: int) -> bytes:
        chunks, size = [], 0
        async for chunk in response.aiter_raw():
            size += len(chunk)
            if size > bytes_max:
                raise InvalidAnswer(self.url, f"answers with more than {bytes_max} bytes")
            chunks.append(chunk)
        return b"".join(chunks)

    def _refusal(self, response: httpx.Response, content: bytes) -> Exception:
        status = response.status_code
        # The body's shape is the engine's own (flat, nested, a proxy's HTML): for people to read.
        reason = f"{status} {content[:_REASON_BYTES_MAX].decode(errors='replace')}"
        if status in _BUSY:
            return WorkerBusy(self.url, reason, _retry_after(response.headers.get("retry-after")))
        if status in _REFUSED:
            return RequestRefused(self.url, reason)
        return WorkerFailed(self.url, reason)


def _retry_after(value: str | None) -> float:
    try:
        seconds = float(value or _RETRY_AFTER_SECONDS_DEFAULT)
    except ValueError:
        return _RETRY_AFTER_SECONDS_DEFAULT  # an HTTP date: a second is as good as its clock
    if not math.isfinite(seconds):
        return _RETRY_AFTER_SECONDS_DEFAULT
    return min(max(seconds, 0.0), _RETRY_AFTER_SECONDS_MAX)


def _errnos(error: BaseException | None) -> Iterator[int | None]:
    """Walk from httpx's error to the system's: three libraries wrap it on its way up."""
    while error is not None:
        if isinstance(error, OSError):
            yield error.errno
        if isinstance(error, BaseExceptionGroup):
            for part in error.exceptions:
                yield from _errnos(part)
        error = error.__cause__ or error.__context__


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
