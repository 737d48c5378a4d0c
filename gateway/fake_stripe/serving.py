"""The fake Stripe over HTTP, on the loop of whoever needs one: `gateway dev` and the tests."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn

from gateway.fake_stripe.app import FakeStripeApp
from gateway.fake_stripe.fake import FakeStripe


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[FakeStripe]:
    """Serve an account on a free port of this machine; its `url` says where."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fake = FakeStripe(f"http://127.0.0.1:{listener.getsockname()[1]}")
        server = _Server(uvicorn.Config(FakeStripeApp(fake), log_config=None, access_log=False))
        task = asyncio.create_task(server.serve([listener]))
        await server.listens.wait()
        try:
            yield fake
        finally:
            fake.faults.release()
            server.ends.set()
            await task


class _Server(uvicorn.Server):
    """A server that leaves signals to its host, and waits for events instead of ticking."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()
        self.ends = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        self.listens.set()
        await self.ends.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close all connections, whoever is not done: nobody asks it any more."""
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for server in self.servers:
            await server.wait_closed()
        await asyncio.gather(*self.server_state.tasks, return_exceptions=True)
        await self.lifespan.shutdown()
