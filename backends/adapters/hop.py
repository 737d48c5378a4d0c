"""The client of our own workers: the binary hop over TCP or a unix socket."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from backends import hop
from backends.adapters.client import WorkerClient, deadline
from backends.adapters.statuses import worker_refusal
from backends.protocol import InvalidAnswer, TokenRow, WorkerInfo

_TIMEOUT_MARGIN = 0.9  # the worker gives up before we do, so that its answer can still arrive
_INFO_BYTES_MAX = 65_536


class HopBackend:
    """A worker that speaks the binary hop. `url` is `http://host:port` or `unix:/path`."""

    def __init__(self, url: str) -> None:
        self.url = url
        base = "http://worker" if url.startswith("unix:") else url
        self._client = WorkerClient(url, base, worker_refusal)

    async def info(self, *, timeout_seconds: float) -> WorkerInfo:
        """Ask `/ready`, then `/info`. A worker that warms or drains is busy, not broken."""
        async with deadline(self.url, timeout_seconds):
            await self._client.get("/ready", bytes_max=_INFO_BYTES_MAX)
            answer = await self._client.get("/info", bytes_max=_INFO_BYTES_MAX)
        try:
            return msgspec.json.decode(answer.content, type=WorkerInfo)
        except msgspec.MsgspecError as error:
            raise InvalidAnswer(self.url, f"/info: {error}") from None

    async def embed(
        self, rows: Sequence[TokenRow], *, timeout_seconds: float, request_id: str = ""
    ) -> list[memoryview]:
        """Embed the rows in one call; see `Backend.embed`."""
        milliseconds = math.floor(timeout_seconds * 1000 * _TIMEOUT_MARGIN)
        headers = {
            "content-type": hop.CONTENT_TYPE,
            hop.TIMEOUT_HEADER: str(max(1, milliseconds)),  # 0 would mean that we did not say
            "x-request-id": request_id,
        }
        async with deadline(self.url, timeout_seconds):
            answer = await self._client.post(
                "/embed",
                hop.encode_request(rows),
                headers=headers,
                bytes_max=hop.answer_bytes(rows),
            )
        try:
            return hop.decode_answer(answer.content, rows)
        except hop.MalformedHop as error:
            raise InvalidAnswer(self.url, str(error)) from None

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()
