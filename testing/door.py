"""A gateway of this process behind its real door: a socket, and clients that are threads.

What counts calls or pauses of the event loop's thread sees the server alone then, not its clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

import msgspec
import uvicorn

from gateway.app.process import Process
from gateway.data_plane.api.front_door import FrontDoor

_TIMEOUT_SECONDS = 60.0
_ROOM = 1 << 18
_T = TypeVar("_T")


class _Server(uvicorn.Server):
    """A server that leaves signals alone, and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def listening(gateway: Process) -> AsyncIterator[int]:
    """Serve a gateway that is running already, as `gateway run` does; gives the port."""
    config = uvicorn.Config(
        gateway,
        http=FrontDoor,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
    )
    server = _Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        await server.listens.wait()
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = True
            await serving


class Client:
    """A connection that is kept; for threads."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), _TIMEOUT_SECONDS)
        self._file = self._socket.makefile("rb")
        self._room = memoryview(bytearray(_ROOM))

    def ask(self, request: bytes) -> int:
        """Send a request, and return the status of its answer."""
        self.send(request)
        return self.receive()

    def send(self, data: bytes) -> None:
        """Send bytes, and wait for nothing."""
        self._socket.sendall(data)

    def receive(self) -> int:
        """Read the next answer, and return its status. Raises ConnectionError if none comes."""
        line = self._file.readline()
        if not line:
            raise ConnectionError("the server closed the connection")
        status, left = int(line[9:12]), 0
        while (line := self._file.readline()).strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                left = int(value)
        while left:
            n = self._file.readinto1(self._room[:left])
            assert n, f"the answer ends {left} bytes early"
            left -= n
        return status

    def close(self) -> None:
        """Leave."""
        self._file.close()
        self._socket.close()


class Turns:
    """Lets a thread wait until the event loop has done what it was given."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._done = threading.Lock()
        self._done.acquire()

    def wait(self, turns: int = 10) -> None:
        """Wait for so many turns of the loop; none of them calls a function in Python."""
        for _ in range(turns):
            self._loop.call_soon_threadsafe(self._done.release)
            assert self._done.acquire(timeout=_TIMEOUT_SECONDS)


def request(
    key: str, body: Any, path: str = "/v1/embeddings", method: str = "POST", **headers: str
) -> bytes:
    """Return a request as it goes over the wire; `body` is JSON already, or is made JSON."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    named = {
        "host": "gateway",
        "authorization": f"Bearer {key}",
        "content-type": "application/json",
        "content-length": str(len(content)),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content


async def in_thread(call: Callable[..., _T], *given: Any) -> _T:
    """Run a client in a thread of its own."""
    return await asyncio.to_thread(call, *given)
