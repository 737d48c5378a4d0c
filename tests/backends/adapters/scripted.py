"""A server that answers each request as a test has written down."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

PAUSE = b"<pause>"
Step = str | bytes
"""What a server does after a request: send these bytes, or end in this way."""


def http(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class Server:
    """Takes one step for each request, on any connection."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.next_piece = asyncio.Semaphore(0)
        """Released once for each further piece of an answer."""
        self.requests = 0
        self.connections = 0
        self.sent = 0
        self.heads: list[bytes] = []
        self.next_request = asyncio.Event()
        self.left = asyncio.Event()
        """A client closed its connection, or the server did."""
        self._writer: asyncio.StreamWriter | None = None
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writer = writer
        try:
            await self._answer(reader, writer)
        finally:
            writer.transport.abort()
            self.left.set()

    def say(self, data: bytes) -> None:
        """Send bytes on the latest connection that nobody asked for."""
        assert self._writer is not None
        self._writer.write(data)

    def hang_up(self) -> None:
        """End the latest connection once all is sent."""
        assert self._writer is not None
        self._writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        step: Step = ""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        await reader.readexactly(int(line.partition(b":")[2]))
                self.requests += 1
                self.next_request.set()
                self.heads.append(head.lower())
                step = self.steps.pop(0)
                if isinstance(step, bytes):
                    await self._write(writer, step)
                elif step == "hang":
                    await reader.read()
                    break
                elif step == "endless":
                    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                    while True:
                        writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
                        await writer.drain()
                        self.sent += 65_536
                else:
                    break
        if step == "reset":
            linger = struct.pack("ii", 1, 0)
            wire = writer.get_extra_info("socket")
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async def _write(self, writer: asyncio.StreamWriter, step: bytes) -> None:
        first, *others = step.split(PAUSE)
        writer.write(first)
        await writer.drain()
        for piece in others:
            await self.next_piece.acquire()
            writer.write(piece)


@contextlib.asynccontextmanager
async def serving(*steps: Step) -> AsyncIterator[Server]:
    server = Server(*steps)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(server.serve(reader, writer)))

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    server.url = "http://{}:{}".format(*listening.sockets[0].getsockname())
    try:
        yield server
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
