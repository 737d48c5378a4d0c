"""The storm: thousands of shuffled, repeated events at two gateways that are killed all the while.

    python -m benchmarks.payments [--payments 500] [--events 10000] [--kills 20] [--seed N]

A fake Stripe runs in this process, two gateways on one PostgreSQL in processes of their own. The
payments are bought, paid, refunded and disputed while their events come in any order, each several
times; an event that is not answered with 200 is sent again, as Stripe does. Meanwhile both gateways
are killed with SIGKILL again and again. Afterwards every balance must be exactly what is left of
what Stripe received, and every invariant must hold. Otherwise it exits with 1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import httpx
import msgspec
from sqlalchemy import select

from gateway.app import build
from gateway.control_plane.accounts import organizations
from gateway.control_plane.catalog import catalog
from gateway.fake_stripe import disputes
from gateway.fake_stripe.cards import BANK_DEBIT, DECLINED, GOOD
from gateway.fake_stripe.events import SUBSCRIBED, signature
from gateway.fake_stripe.fake import FakeStripe
from gateway.fake_stripe.refusals import ApiRefusal
from gateway.fake_stripe.store import SECRET_KEY
from gateway.settings import Settings
from gateway.storage import migrate
from gateway.storage.database import Database
from gateway.storage.tables import accounts
from testing import servers
from testing.auditing import purchases, what_is_missing, what_is_wrong
from testing.gateways import SECRET
from testing.processes import Process
from testing.stripe import fake_stripe

_SECRETS = ("whsec_of_the_storm", "whsec_that_comes_next")
_EACH_BUYS = 5
"""Payments an organization, so that they meet in one account."""
_CLIENTS = 24
_KILL_SECONDS = (1.0, 4.0)
_SETTLED_SECONDS_MAX = 180.0
"""A claim of a killed gateway is taken over after a minute."""
_AMOUNTS_CENTS = (1_000, 2_500, 5_000, 10_000, 25_000)


class Options(NamedTuple):
    """How large a storm is; `choose` makes all its chances."""

    payments: int
    events: int
    kills: int
    choose: random.Random


class Gateways:
    """Two processes on one database, killed and started anew."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = os.environ | environment
        self._running: list[Process] = []
        self.kills = 0

    @property
    def urls(self) -> list[str]:
        """Return where they listen at the moment, or did."""
        return [process.url for process in self._running]

    async def start(self) -> None:
        """Start both."""
        self._running = [*await asyncio.gather(self._one(), self._one())]

    async def kill(self, numbers: list[int]) -> None:
        """Kill some with SIGKILL at once, and start others in their place."""
        for number in numbers:
            self._running[number].kill()
            self._running[number].close()
        self.kills += len(numbers)
        fresh = await asyncio.gather(*(self._one() for _ in numbers))
        for number, process in zip(numbers, fresh, strict=True):
            self._running[number] = process

    def close(self) -> None:
        """Kill both."""
        for process in self._running:
            process.close()

    async def _one(self) -> Process:
        command = [sys.executable, "-m", "testing.serve"]
        return await asyncio.to_thread(Process, command, self._environment)


class World:
    """Buyers and banks: what they do to payments at Stripe, at random."""

    def __init__(self, stripe: FakeStripe, choose: random.Random) -> None:
        self._stripe = stripe
        self._choose = choose

    def pay(self, session_id: str) -> None:
        """Pay a checkout with a card or by bank debit; some cards are declined first."""
        country = self._choose.choice(["US", "DE"])
        if self._choose.random() < 0.1:
            self._stripe.pay(session_id, DECLINED, country=country)
        means = self._choose.choices([GOOD, BANK_DEBIT], [3, 1])[0]
        self._stripe.pay(session_id, means, country=country)

    def live(self, intent_id: str) -> None:
        """Let one thing happen to a payment, if it can."""
        intent = self._stripe.get("payment_intent", intent_id)
        with contextlib.suppress(ApiRefusal):
            if intent["status"] == "processing":
                self._stripe.settle_async(intent_id, succeeds=self._choose.random() < 0.8)
            elif intent["status"] == "succeeded":
                self._return_money(intent_id, intent["amount_received"])

    def _return_money(self, intent_id: str, received_cents: int) -> None:
        stripe, choose = self._stripe, self._choose
        begun = next(stripe.all("refund", payment_intent=intent_id), None)
        disputed = next(stripe.all("dispute", payment_intent=intent_id), None)
        if disputed:
            if steps := sorted(disputes.NEXT.get(disputed["status"], ())):
                stripe.move_dispute(disputed["id"], choose.choice(steps))
        elif begun and choose.random() < 0.5:
            stripe.settle_refund(begun["id"], choose.choice(["succeeded", "failed"]))
        elif choose.random() < 0.6:
            stripe.refunds_begin = choose.choice(["succeeded", "pending"])
            stripe.refund(intent_id, choose.choice([received_cents, received_cents // 3, 100]))
        else:
            stripe.dispute(intent_id, choose.choice(["needs_response", "warning_needs_response"]))


class Deliveries:
    """Sends events, again and again in any order, until each copy was answered with 200."""

    def __init__(self, urls: Callable[[], Sequence[str]], choose: random.Random) -> None:
        self._urls = urls
        self._choose = choose
        self._waiting: list[bytes] = []
        self.queued = 0
        self.answers: Counter[int] = Counter()
        self.seconds: list[float] = []

    def add(self, event: dict[str, object]) -> None:
        """Queue one more delivery of an event."""
        self.queued += 1
        self._waiting.append(msgspec.json.encode(event))

    async def client(self, http: httpx.AsyncClient, ended: asyncio.Event) -> None:
        """Deliver at random what is queued, until nothing is and no more comes."""
        while self._waiting or not ended.is_set():
            if not self._waiting:
                await asyncio.sleep(0.01)
                continue
            at = self._choose.randrange(len(self._waiting))
            self._waiting[at], self._waiting[-1] = self._waiting[-1], self._waiting[at]
            body = self._waiting.pop()
            if await self._post(http, body) != 200:
                self._waiting.append(body)
                await asyncio.sleep(0.05)

    async def _post(self, http: httpx.AsyncClient, body: bytes) -> int:
        url = self._choose.choice(self._urls())
        secret = self._choose.choice(_SECRETS)
        headers = {"stripe-signature": signature(body.decode(), secret)}
        started = time.perf_counter()
        try:
            answer = await http.post(f"{url}/webhooks/stripe", content=body, headers=headers)
        except httpx.HTTPError:
            status = 0
        else:
            status = answer.status_code
            self.seconds.append(time.perf_counter() - started)
        self.answers[status] += 1
        return status


def environment(stripe_url: str) -> dict[str, str]:
    """Return the settings with which gateways sell."""
    return {
        "GATEWAY_STRIPE_SECRET_KEY": SECRET_KEY,
        "GATEWAY_STRIPE_WEBHOOK_SECRETS": " ".join(_SECRETS),
        "GATEWAY_STRIPE_API_URL": stripe_url,
    }


async def buy(url: str, stripe_url: str, count: int) -> list[str]:
    """Start checkouts as the console does; return the ids of their sessions."""
    settings = Settings(
        secret=SECRET,
        database_url=url,
        stripe_secret_key=SECRET_KEY,
        stripe_api_url=stripe_url,
    )
    gateway = build(settings)
    database = gateway.core.database
    assert gateway.services.payments
    starting = gateway.services.payments.checkout
    await migrate.upgrade(database)
    sessions = []
    try:
        async with database.write() as connection:
            await catalog.seed(connection)
            owners = [
                (await organizations.create(connection, f"org {number}")).id
                for number in range(-(-count // _EACH_BUYS))
            ]
        for number in range(count):
            payment = await starting.start(
                owners[number % len(owners)],
                None,
                _AMOUNTS_CENTS[number % len(_AMOUNTS_CENTS)],
                save_card=number % 3 == 0,
            )
            assert payment.session_id
            sessions.append(payment.session_id)
    finally:
        await database.close()
    return sessions


async def happen(
    world: World, stripe: FakeStripe, sessions: list[str], deliveries: Deliveries, options: Options
) -> None:
    """Pay everything, and let things happen to the payments while their events are delivered."""
    choose, known = options.choose, 0
    for session_id in choose.sample(sessions, len(sessions)):
        world.pay(session_id)
        known = deliver(deliveries, stripe, known, options.events, choose)
        await asyncio.sleep(0)
    paid = [purchase.intent_id for purchase in purchases(stripe)]
    for _ in range(options.payments * 2):
        world.live(choose.choice(paid))
        known = deliver(deliveries, stripe, known, options.events, choose)
        await asyncio.sleep(0.002)
    told = [event for event in stripe.all("event") if event["type"] in SUBSCRIBED]
    while deliveries.queued < options.events:
        deliveries.add(choose.choice(told))


def deliver(
    deliveries: Deliveries, stripe: FakeStripe, known: int, total: int, choose: random.Random
) -> int:
    """Queue events that are new since, most of them more than once; return how many there are."""
    made = list(stripe.by_kind.get("event", {}).values())
    for event in made[known:]:
        if event["type"] in SUBSCRIBED:
            for _ in range(min(choose.choice([1, 1, 2, 3]), total - deliveries.queued)):
                deliveries.add(event)
    return len(made)


async def trouble(
    gateways: Gateways, choose: random.Random, kills: int, ended: asyncio.Event
) -> None:
    """Kill one gateway or both, at random times, until both were killed often enough."""
    while gateways.kills < kills or not ended.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), choose.uniform(*_KILL_SECONDS))
        if gateways.kills < kills:
            await gateways.kill(choose.choice([[0], [1], [0, 1]]))


async def settled(database: Database, stripe: FakeStripe) -> list[str]:
    """Wait until the gateways have done all there is, and return what is still missing."""
    deadline = time.monotonic() + _SETTLED_SECONDS_MAX
    while True:
        async with database.read() as connection:
            missing = await what_is_missing(connection, stripe)
        if not missing or time.monotonic() > deadline:
            return missing
        await asyncio.sleep(0.25)  # the gateways are other processes: there is no event


async def verdict(database: Database, stripe: FakeStripe) -> list[str]:
    """Return what is wrong with the books, and which balance isn't what Stripe's objects say."""
    missing = await settled(database, stripe)
    expected: Counter[str] = Counter()
    for purchase in purchases(stripe):
        expected[purchase.organization_id] += purchase.desired_nanos
    async with database.read() as connection:
        wrong = await what_is_wrong(connection, stripe)
        rows = await connection.execute(
            select(accounts.c.id, accounts.c.available_nanos, accounts.c.owed_nanos)
        )
        balances = {row.id: row.available_nanos - row.owed_nanos for row in rows}
    return [
        *missing,
        *wrong,
        *(
            f"balance of {owner}: {balances.get(owner)}, not {nanos}"
            for owner, nanos in expected.items()
            if balances.get(owner) != nanos
        ),
    ]


async def run(options: Options, url: str) -> list[str]:
    """Run a storm on a fresh database; return what is wrong afterwards."""
    async with fake_stripe() as stripe, httpx.AsyncClient(timeout=30, trust_env=False) as http:
        sessions = await buy(url, stripe.url, options.payments)
        gateways = Gateways(
            {"GATEWAY_SECRET": SECRET, "DATABASE_URL": url, **environment(stripe.url)}
        )
        database = Database(url)
        deliveries = Deliveries(lambda: gateways.urls, options.choose)
        ended = asyncio.Event()
        await gateways.start()
        started = time.monotonic()
        killing = asyncio.create_task(trouble(gateways, options.choose, options.kills, ended))
        try:
            clients = [asyncio.create_task(deliveries.client(http, ended)) for _ in range(_CLIENTS)]
            await happen(World(stripe, options.choose), stripe, sessions, deliveries, options)
            ended.set()
            await asyncio.gather(*clients, killing)
            wrong = await verdict(database, stripe)
            tell(deliveries, stripe, gateways, time.monotonic() - started)
        finally:
            ended.set()
            await asyncio.gather(killing, return_exceptions=True)  # it may be starting a process
            gateways.close()
            await database.close()
    return wrong


def tell(deliveries: Deliveries, stripe: FakeStripe, gateways: Gateways, seconds: float) -> None:
    """Print what happened."""
    bought = list(purchases(stripe))
    taken = sorted(deliveries.seconds)
    p50, p99 = (taken[int(len(taken) * share)] * 1000 for share in (0.5, 0.99))
    print(
        f"{len(bought)} payments, {sum(1 for one in bought if one.received_cents)} received, "
        f"{sum(1 for one in bought if one.gone_cents)} with money that went back"
    )
    print(
        f"{deliveries.queued} deliveries of {len(list(stripe.all('event')))} events; answers "
        + ", ".join(f"{status}: {count}" for status, count in sorted(deliveries.answers.items()))
        + f"; p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    )
    print(f"{gateways.kills} kill -9; {seconds:.0f} seconds until every balance was exact")


def main() -> None:
    """Run the storm as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--payments", type=int, default=500)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    options = Options(chosen.payments, chosen.events, chosen.kills, random.Random(chosen.seed))
    with servers.postgresql() as url:
        wrong = asyncio.run(run(options, url))
    for line in wrong[:50]:
        print(f"WRONG: {line}")
    print("every balance is exact" if not wrong else f"{len(wrong)} wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
