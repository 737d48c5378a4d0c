"""A worker's client during one examination: it notes which processes answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from backends.protocol import NO_HEADERS, Backend, TokenRow, WorkerInfo
from gateway.data_plane.routing.answerers import UNTOLD


class Interview:
    """Forwards calls to its backend."""

    def __init__(self, backend: Backend) -> None:
        self.url = backend.url
        self.on_lost = backend.on_lost
        self.processes: set[bytes] = set()
        """Those that computed something."""
        self._backend = backend

    async def info(self, *, timeout_seconds: float) -> WorkerInfo:
        """See `Backend.info`."""
        return await self._backend.info(timeout_seconds=timeout_seconds)

    async def embed(
        self,
        rows: Sequence[TokenRow],
        *,
        timeout_seconds: float,
        request_id: str = "",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> list[memoryview]:
        """See `Backend.embed`."""
        call = asyncio.ensure_future(
            self._backend.embed(
                rows, timeout_seconds=timeout_seconds, request_id=request_id, headers=headers
            )
        )
        try:
            vectors = await call
            self.processes.add(getattr(call, "process", UNTOLD))  # see `Pool`
        finally:
            del call  # its error would hold this frame, and the frame it
        return vectors

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._backend.close()
