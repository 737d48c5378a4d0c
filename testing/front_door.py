"""The front door in this process, without sockets: a client's connection, and httpx over it.

It is the server's own protocol that reads and answers, so tests meet what clients meet.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import httptools
import httpx
import uvicorn
from uvicorn.server import ServerState

from gateway.app.process import Process
from gateway.data_plane.api.front_door import FrontDoor


def post(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return the bytes of a POST."""
    lines = {"host": "gateway", "content-length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


class Client(asyncio.Transport):
    """A client's connection, which is the transport of the server's protocol too."""

    def __init__(
        self,
        served: Any,
        *,
        protocol: Any = FrontDoor,
        state: ServerState | None = None,
        address: tuple[str, int] = ("127.0.0.1", 4242),
    ) -> None:
        super().__init__({"peername": address, "sockname": ("127.0.0.1", 80)})
        self.state = state or ServerState()
        self.received = bytearray()
        self.reading = True
        """Whether the server reads."""
        self.unread = 0
        """What `get_write_buffer_size` tells: bytes that the client has not read."""
        self.closed = asyncio.Event()
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        config = uvicorn.Config(
            served, log_config=None, access_log=False, proxy_headers=False, lifespan="off"
        )
        self.protocol = protocol(config, self.state, {}, self._loop)
        self.protocol.connection_made(self)

    # -- what the client does -------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        """Let the server read bytes, in a turn of its own, as a loop does."""
        done = asyncio.Event()

        def receive() -> None:
            if not self.closed.is_set():
                self.protocol.data_received(data)
            done.set()

        self._loop.call_soon(receive)
        await done.wait()

    def leave(self) -> None:
        """Close the connection."""
        self.close()

    async def answered(self, size: int = 1) -> bytes:
        """Wait until so many bytes came or the server closed; returns all that came."""
        async with asyncio.timeout(60):
            while len(self.received) < size and not self.closed.is_set():
                self._changed.clear()
                await self._changed.wait()
        return bytes(self.received)

    async def status(self) -> int:
        """Wait for an answer and return its status."""
        return int((await self.answered(12))[9:12])

    async def answer(self, method: str = "POST") -> httpx.Response:
        """Wait for one whole answer."""
        read = _Answer()
        parser = httptools.HttpResponseParser(read)
        while not read.is_whole:
            await self.answered()
            data = bytes(self.received)
            self.received.clear()
            if data:
                parser.feed_data(data)
            is_head = method == "HEAD" and parser.get_status_code() and read.has_head
            if is_head or (self.closed.is_set() and not data):
                break
        if not read.has_head:
            raise httpx.RemoteProtocolError("the server closed without an answer")
        return httpx.Response(parser.get_status_code(), headers=read.headers, content=read.body)

    # -- the server's transport -----------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.closed.is_set():
            return
        self.received += data
        self._changed.set()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return self.closed.is_set()

    def close(self) -> None:
        if not self.closed.is_set():
            self.closed.set()
            self._changed.set()
            self._loop.call_soon(self.protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class DoorTransport(httpx.AsyncBaseTransport):
    """Sends each request of an httpx client over a connection of its own."""

    def __init__(self, process: Process, address: tuple[str, int] = ("127.0.0.1", 4242)) -> None:
        self._process = process
        self._address = address

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        client = Client(self._process, address=self._address)
        try:
            target = request.url.raw_path
            head = [b"%b %b HTTP/1.1" % (request.method.encode(), target)]
            head += [b"%b: %b" % header for header in request.headers.raw]
            await client.send(b"\r\n".join([*head, b"", b""]))
            is_chunked = request.headers.get("transfer-encoding") == "chunked"
            async for part in request.stream:  # type: ignore[union-attr]
                if part:
                    await client.send(b"%x\r\n%b\r\n" % (len(part), part) if is_chunked else part)
            if is_chunked:
                await client.send(b"0\r\n\r\n")
            return await client.answer(request.method)
        finally:
            client.leave()


async def posted(process: Process, path: str, **options: Any) -> httpx.Response:
    """POST to a process that serves no socket."""
    transport = DoorTransport(process)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        return await http.post(path, **options)


class _Answer:
    """What httptools has read of an answer."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.has_head = False
        self.is_whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.has_head = True

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_whole = True
