"""The processes of one `gateway run --processes N`: each listens on a unix socket in their folder.

Whichever of them is asked answers for the service: they pass a worker's announcement on to one
another, and add up their metrics. Their parent takes no part: it only starts them, so that it
outlives whatever happens in one. Across machines, Redis passes announcements on; see `peers`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import structlog

from gateway.app.last_seen import LastSeen
from gateway.observability.exposition import lasting

log = structlog.get_logger()

_ANSWER_SECONDS = 1.0
_MESSAGE_BYTES_MAX = 32 << 20
_LENGTH_BYTES = 4
_METRICS = b"M"
_ANNOUNCEMENT = b"A"
_numbers = itertools.count()


class Siblings:
    """This process among its siblings. `start` and `stop` it with the application."""

    def __init__(self, folder: Path, hear: Callable[[bytes, str], None] | None = None) -> None:
        self._folder = folder
        self._hear = hear
        """Takes an announcement and its signature."""
        self.own_metrics: Callable[[], bytes] = bytes
        self.last_seen = LastSeen(folder, lasting)
        self._server: asyncio.Server | None = None
        self._socket = folder / f"{os.getpid()}-{next(_numbers)}.sock"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._serve, self._socket)

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            await asyncio.to_thread(self.last_seen.write, {self._socket.stem: self.own_metrics()})
        self._socket.unlink(missing_ok=True)

    async def pass_on(self, body: bytes, signature: str) -> None:
        """Pass a worker's announcement on to the others."""
        await self._ask_all(_ANNOUNCEMENT + signature.encode() + b" " + body)

    async def metrics(self, own: bytes) -> list[bytes]:
        """Return the metrics of the others, given this process's own.

        For those that do not answer within a second, or have ended, only their last counts.
        """
        name = self._socket.stem
        answers = (await self._ask_all(_METRICS)).items()
        told = {name: own} | {other: answer for other, answer in answers if answer is not None}
        living = {name, *(path.stem for path in self._others())}
        return await asyncio.to_thread(self.last_seen.exchange, told, name, living)

    async def _ask_all(self, message: bytes) -> dict[str, bytes | None]:
        others = self._others()
        answers = await asyncio.gather(*(self._ask(path, message) for path in others))
        return {path.stem: answer for path, answer in zip(others, answers, strict=True)}

    def _others(self) -> list[Path]:
        return [path for path in self._folder.glob("*.sock") if path != self._socket]

    async def _ask(self, path: Path, message: bytes) -> bytes | None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(path)
                try:
                    _send(writer, message)
                    return await _receive(reader)
                finally:
                    writer.close()
        except ConnectionRefusedError:  # left by a process that died
            path.unlink(missing_ok=True)  # noqa: ASYNC240 - in memory, as a rule
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            log.warning("a sibling does not answer", socket=path.name, reason=repr(error))
        return None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            message = await _receive(reader)
            kind, rest = message[:1], message[1:]
            if kind == _METRICS:
                _send(writer, self.own_metrics())
            elif kind == _ANNOUNCEMENT and self._hear is not None:
                signature, _, body = rest.partition(b" ")
                self._hear(body, signature.decode("latin-1"))
                _send(writer, b"")
            await writer.drain()


def _send(writer: asyncio.StreamWriter, message: bytes) -> None:
    writer.write(len(message).to_bytes(_LENGTH_BYTES, "big") + message)


async def _receive(reader: asyncio.StreamReader) -> bytes:
    length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
    if length > _MESSAGE_BYTES_MAX:
        raise OSError(f"a message of {length} bytes")
    return await reader.readexactly(length)
