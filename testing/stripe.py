"""Stripe for tests: the fake one, served by real HTTP on the test's own loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import stripe
import uvicorn

from gateway.fake_stripe.app import FakeStripeApp
from gateway.fake_stripe.fake import FakeStripe
from gateway.fake_stripe.store import SECRET_KEY


@contextlib.asynccontextmanager
async def fake_stripe() -> AsyncIterator[FakeStripe]:
    """Serve an account; its `url` is where."""
    listener = socket.create_server(("127.0.0.1", 0))
    fake = FakeStripe(f"http://127.0.0.1:{listener.getsockname()[1]}")
    server = Server(uvicorn.Config(FakeStripeApp(fake), log_level="critical", access_log=False))
    serving = asyncio.create_task(server.serve([listener]))
    await server.listens.wait()
    try:
        yield fake
    finally:
        fake.faults.release()
        server.should_exit = True
        await serving
        listener.close()


class Server(uvicorn.Server):
    """A server that leaves signals to the test, and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()


@contextlib.asynccontextmanager
async def stripe_client(
    url: str, key: str = SECRET_KEY, timeout_seconds: float = 10
) -> AsyncIterator[stripe.StripeClient]:
    """Give the SDK's client, with no retries of its own."""
    http = stripe.HTTPXClient(timeout=timeout_seconds)
    try:
        yield stripe.StripeClient(
            key, base_addresses={"api": url}, http_client=http, max_network_retries=0
        )
    finally:
        await http.close_async()  # type: ignore[no-untyped-call]
