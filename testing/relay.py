"""A TCP relay in front of a worker, like a load balancer: its connections outlive the worker's."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

from sqlalchemy import make_url


class Relay:
    """Passes bytes on to `target`, until its connections are forgotten."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.url = ""
        self.stale = 0
        """Connections that ended under a call, because they had been forgotten."""
        self._generation = 0
        self._end = ""
        self.open = 0

    def forget(self, end: str, target: str | None = None) -> None:
        """Make every open connection `close` or `reset` when it is used again."""
        self._generation += 1
        self._end = end
        self.target = target or self.target

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        born = self._generation
        at = make_url(self.target)
        answers, calls = await asyncio.open_connection(at.host, at.port)
        back = asyncio.create_task(_pass_on(answers, writer))
        self.open += 1
        try:
            while (data := await reader.read(65_536)) and born == self._generation:
                calls.write(data)
            if data:
                self.stale += 1
                if self._end == "reset":
                    wire = writer.get_extra_info("socket")
                    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finally:
            self.open -= 1
            back.cancel()
            calls.transport.abort()
            writer.transport.abort()


async def _pass_on(answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):  # the worker exited: its clients learn of it later
        while data := await answers.read(65_536):
            writer.write(data)


@contextlib.asynccontextmanager
async def relaying(target: str) -> AsyncIterator[Relay]:
    """Run a relay until the block ends."""
    relay = Relay(target)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(relay.serve(reader, writer)))

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    relay.url = "http://{}:{}".format(*listening.sockets[0].getsockname())
    try:
        yield relay
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
