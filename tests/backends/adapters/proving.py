"""A worker with a guard, in the test's own process, and somebody between it and the gateway."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import uvicorn

from backends.adapters.hop import HopBackend
from backends.adapters.trust import Trust
from backends.authentication import derive_key
from backends.fake import FakeEngine, FaultyApp
from backends.guard import Guard
from backends.protocol import WorkerInfo

SECRET = b"of the gateways alone"
NAME = "gpu-7:9000"
"""As gateways know the worker: another machine."""
KEY = derive_key(SECRET, NAME)
INFO = WorkerInfo(
    model="m",
    revision="r",
    dtype="float32",
    dimensions=(2,),
    tokens_max=16,
    rows_max=64,
    batch_tokens_max=64,
    vocabulary_sha256="",
)


class Worker:
    """A worker that demands proof; `app.guard` may be replaced, as by a restart."""

    def __init__(self, key: bytes = KEY, *, demanding: bool = True) -> None:
        self.app = FaultyApp(FakeEngine(INFO), None)
        self.app.guard = Guard(key, demanding=demanding)
        self.port = 0
        self.config: uvicorn.Config

    @contextlib.asynccontextmanager
    async def listening(
        self, cert: Path | None = None, key: Path | None = None
    ) -> AsyncIterator["Worker"]:
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.config = uvicorn.Config(
            self.app,
            log_level="critical",
            lifespan="off",
            ssl_certfile=cert,
            ssl_keyfile=key,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(self.config)
        self.config.load()
        server.lifespan = self.config.lifespan_class(self.config)
        await server.startup(sockets=[listener])
        try:
            yield self
        finally:
            await server.shutdown(sockets=[listener])


@contextlib.asynccontextmanager
async def asking(
    port: int, *, secret: bytes = SECRET, name: str = NAME, scheme: str = "http", **trust: object
) -> AsyncIterator[HopBackend]:
    """Give a client of the worker at this port, known by another name."""
    backend = HopBackend(f"{scheme}://127.0.0.1:{port}", Trust(secret, **trust), name=name)
    try:
        yield backend
    finally:
        await backend.close()


class Between:
    """Passes on what gateway and worker say, changed by `ask` and `answer`, and keeps it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.port = 0
        self.ask: Callable[[bytes], bytes] = lambda data: data
        self.answer: Callable[[bytes], bytes] = lambda data: data
        self.asked: list[bytes] = []

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["Between"]:
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.create_task(self._serve(reader, writer)))

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, back, self._asked))
                group.create_task(self._pass(there, writer, self._answered))
        finally:
            writer.transport.abort()
            back.transport.abort()

    def _asked(self, data: bytes) -> bytes:
        self.asked.append(data)
        return self.ask(data)

    def _answered(self, data: bytes) -> bytes:
        return self.answer(data)

    async def _pass(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        changed: Callable[[bytes], bytes],
    ) -> None:
        while data := await source.read(1 << 20):
            sink.write(changed(data))
        sink.close()


async def raw(port: int, message: bytes) -> bytes:
    """Send bytes to a worker; return what comes back until it has said all."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(message.replace(b" HTTP/1.1\r\n", b" HTTP/1.1\r\nconnection: close\r\n", 1))
    try:
        return await reader.read()
    finally:
        writer.transport.abort()
