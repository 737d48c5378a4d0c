"""How long POST /webhooks/stripe takes while Stripe can't be reached, or never answers.

    python -m benchmarks.webhook [--seconds 60] [--rate 50] [--databases sqlite postgresql]

One gateway process, all of its jobs running, on a fresh database with payments that every event
makes due, so that it asks Stripe all the time. Events come at a fixed rate over the loopback
interface, whatever the answers do; a time is that from the moment at which a request was due to the
end of its answer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import httpx
import msgspec
import uvloop

from gateway.control_plane.accounts import organizations
from gateway.control_plane.catalog import catalog
from gateway.control_plane.payments import payments
from gateway.fake_stripe import intents
from gateway.fake_stripe.events import signature
from gateway.fake_stripe.store import SECRET_KEY, FakeStore
from gateway.identifiers import new_id
from gateway.storage import migrate
from gateway.storage.database import Database
from testing import servers
from testing.gateways import SECRET
from testing.processes import Process

GOAL_SECONDS = 0.050
STRIPES = ("unreachable", "hanging")
DATABASES = ("sqlite", "postgresql")
_SECRET = "whsec_of_the_benchmark"  # noqa: S105 - it guards nothing
_PAYMENTS = 200
_CREDIT_CENTS = 2_500
_WARMUP_SECONDS = 2.0


class Measured(NamedTuple):
    """The seconds of each answer, sorted, and what was not 200."""

    seconds: list[float]
    refused: int

    def share(self, share: float) -> float:
        """Return the seconds that this share of the answers took at most."""
        return self.seconds[min(len(self.seconds) - 1, int(len(self.seconds) * share))]


async def prepare(url: str, store: FakeStore) -> list[str]:
    """Add payments that Stripe has not answered, and return events about them, as JSON."""
    database = Database(url)
    await migrate.upgrade(database)
    now = datetime.now(UTC)
    async with database.write() as connection:
        await catalog.seed(connection)
        owner = await organizations.create(connection, "acme")
        for _ in range(_PAYMENTS):
            payment_id = new_id()
            named = {
                "payment_id": payment_id,
                "organization_id": owner.id,
                "credit_cents": str(_CREDIT_CENTS),
            }
            intent = intents.new(store, _CREDIT_CENTS, None, {"metadata": named})
            store.emit("payment_intent.succeeded", intent)
            await payments.add(
                connection,
                payments.Payment(
                    id=payment_id, organization_id=owner.id, origin="checkout", state="open",
                    credit_nanos=_CREDIT_CENTS * payments.CENT_NANOS, amount_cents=_CREDIT_CENTS,
                    live=False, intent_id=intent["id"], created_at=now, changed_at=now,
                ),
            )  # fmt: skip
    await database.close()
    succeeded = store.all("event", type="payment_intent.succeeded")
    return [msgspec.json.encode(event).decode() for event in succeeded]


@contextlib.contextmanager
def gateway(database_url: str, stripe_url: str) -> Iterator[str]:
    """Run a gateway process, and give its address."""
    environment = {
        **os.environ,
        "GATEWAY_SECRET": SECRET,
        "DATABASE_URL": database_url,
        "GATEWAY_STRIPE_SECRET_KEY": SECRET_KEY,
        "GATEWAY_STRIPE_WEBHOOK_SECRETS": _SECRET,
        "GATEWAY_STRIPE_API_URL": stripe_url,
    }
    process = Process([sys.executable, "-m", "testing.serve"], environment)
    try:
        yield process.url
    finally:
        process.close()


@contextlib.asynccontextmanager
async def stripe(behavior: str) -> AsyncIterator[str]:
    """Give the address of a Stripe that refuses connections, or accepts them and never answers."""
    if behavior == "unreachable":
        yield f"http://127.0.0.1:{servers.free_port()}"
        return
    held: list[asyncio.StreamWriter] = []

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.close()
        for writer in held:
            writer.transport.abort()


async def measure(url: str, events: list[str], seconds: float, rate: float) -> Measured:
    """Send events at a rate, each with an id of its own."""
    taken: list[float] = []
    refused = 0
    warm = int(_WARMUP_SECONDS * rate)

    async def post(number: int, due_at: float) -> None:
        nonlocal refused
        known = msgspec.json.decode(events[number % len(events)])
        body = msgspec.json.encode({**known, "id": f"evt_{new_id().replace('-', '')}"}).decode()
        headers = {
            "content-type": "application/json",
            "stripe-signature": signature(body, _SECRET),
        }
        answer = await http.post(f"{url}/webhooks/stripe", content=body, headers=headers)
        if number >= warm:
            refused += answer.status_code != 200
            taken.append(time.perf_counter() - due_at)

    async with httpx.AsyncClient(timeout=30, trust_env=False) as http, asyncio.TaskGroup() as group:
        started = time.perf_counter()
        for number in range(warm + int(seconds * rate)):
            due_at = started + number / rate
            await asyncio.sleep(max(0.0, due_at - time.perf_counter()))
            group.create_task(post(number, due_at))
    return Measured(sorted(taken), refused)


async def run(database_url: str, behavior: str, seconds: float, rate: float) -> Measured:
    """Measure one database with one Stripe."""
    events = await prepare(database_url, FakeStore("http://127.0.0.1"))
    async with stripe(behavior) as stripe_url:
        with gateway(database_url, stripe_url) as url:
            return await measure(url, events, seconds, rate)


def main() -> None:
    """Read the command line, and measure each pair."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=DATABASES)
    chosen = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f} before")
    print("| database | Stripe | answers | p50 ms | p99 ms | under 50 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for kind in chosen.databases:
        for behavior in STRIPES:
            with contextlib.ExitStack() as stack:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                url = f"sqlite:///{folder / 'gateway.db'}"
                if kind == "postgresql":
                    url = stack.enter_context(servers.postgresql())
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    got = runner.run(run(url, behavior, chosen.seconds, chosen.rate))
            p50, p99 = (got.share(share) * 1000 for share in (0.5, 0.99))
            verdict = "yes" if p99 < GOAL_SECONDS * 1000 else "**no**"
            count = f"{len(got.seconds):,}" + (f", {got.refused} not 200" if got.refused else "")
            print(f"| {kind} | {behavior} | {count} | {p50:.1f} | {p99:.1f} | {verdict} |")
    print(f"load average {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
