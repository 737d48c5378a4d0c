"""A running process: Stripe's call comes in by HTTP, and the credit is there at once."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
import uvicorn

from gateway.app import build
from gateway.app.process import Process
from gateway.control_plane.accounts import organizations
from gateway.control_plane.payments import payments
from gateway.control_plane.payments.payments import Payment
from gateway.fake_stripe.fake import FakeStripe
from testing.buying import WEBHOOK_SECRET, selling

pytestmark = pytest.mark.sqlite

LIMIT_SECONDS = 30


class Server(uvicorn.Server):
    """A server that leaves signals to the test, and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()


@pytest.fixture
async def process(database_url: str, fake: FakeStripe) -> AsyncIterator[Process]:
    """A process that serves, and that Stripe calls; lists and payments are not due for an hour."""
    made = build(selling(database_url, fake, stripe_sweep_seconds=3600))
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        config = uvicorn.Config(made.app, log_level="critical", access_log=False, lifespan="off")
        server = Server(config)
        async with made.running():
            serving = asyncio.create_task(server.serve([listener]))
            await server.listens.wait()
            fake.listen(
                f"http://127.0.0.1:{listener.getsockname()[1]}/webhooks/stripe", WEBHOOK_SECRET
            )
            yield made
            server.should_exit = True
            await serving


async def bought(process: Process, dollars: int) -> Payment:
    checkout = process.services.payments.checkout
    assert checkout
    async with process.core.database.write() as connection:
        owner = await organizations.create(connection, "acme")
    return await checkout.start(owner.id, None, dollars * 100, save_card=False)


async def became(process: Process, payment: Payment, state: str) -> Payment:
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            async with process.core.database.read() as connection:
                found = await payments.find(connection, payment.id)
            if found.state == state and found.postings:
                return found
            await asyncio.sleep(0.01)


@pytest.mark.postgresql
async def test_the_call_credits_without_a_sweep(process: Process, fake: FakeStripe):
    payment = await bought(process, 25)
    assert payment.session_id
    fake.pay(payment.session_id)
    found = await became(process, payment, "paid")
    assert found.posted_nanos == payment.credit_nanos
    await fake.events.idle()
    assert {status for _, status in fake.events.targets[0].answers} == {200}


@pytest.mark.postgresql
async def test_a_process_without_a_key_sells_nothing(database_url: str):
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sys.modules, "stripe", None)  # importing it would fail
        off = {"stripe_secret_key": "", "stripe_webhook_secrets": ""}
        made = build(selling(database_url, FakeStripe(), **off))
        services = made.services
        assert services.payments is None
        async with made.running():
            pass


async def test_events_do_not_drive_it_against_a_stripe_that_is_away(
    process: Process, fake: FakeStripe
):
    payment = await bought(process, 25)
    fake.pay(payment.session_id)
    await became(process, payment, "paid")
    intent_id = next(fake.all("payment_intent"))["id"]
    fake.calls.clear()
    fake.faults.add("error_before", "*", times=1_000)
    for _ in range(10):
        fake.refund(intent_id, 100)
        await fake.events.idle()
        await asyncio.sleep(0.05)  # a turn of the reconciler that is not held up takes less
    assert len(fake.calls) < 5
    fake.faults.clear()
