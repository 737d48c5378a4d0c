"""A world of payments that is driven step by step: Stripe, gateways that die, and their ledger.

Everything runs on one loop and only while a step does. Time passes when a step says so, for Stripe
and for the payments' clock alike; calls to Stripe go through no socket. So the same steps give the
same history, and a failure can be had again.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import uvloop
from sqlalchemy import event, select

from gateway.app.payments import make_payments
from gateway.control_plane.payments import events, stored_events
from gateway.control_plane.payments.stripe_api import API_VERSION
from gateway.data_plane.metering.port import Charge
from gateway.fake_stripe.app import FakeStripeApp
from gateway.fake_stripe.events import signature, thin
from gateway.fake_stripe.fake import FakeStripe
from gateway.fake_stripe.store import SECRET_KEY, Item
from gateway.storage.database import Database
from gateway.storage.tables import stripe_cursors
from testing.gateways import Ledger, settings
from testing.ledger import ledger_of
from tests.control_plane.payments import faults
from tests.control_plane.payments.faults import Fault, Faults
from tests.data_plane.metering import machine
from tests.data_plane.metering.machine import Replica

SECRETS = ("whsec_present", "whsec_next")
_WALKS_MAX = 100
_PACKAGE = "gateway.control_plane.payments"
_URL = "http://gateway"


class World:
    """Stripe, the database, the clock, and an organization that buys and spends."""

    def __init__(self, url: str, clocks: pytest.MonkeyPatch) -> None:
        self.url = url
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._stuck: set[asyncio.Task[Any]] = set()
        """SQLAlchemy's closing of a SQLite connection never ends if it is canceled twice."""
        self.stripe = FakeStripe("http://stripe")
        self.app = FakeStripeApp(self.stripe)
        self.database = _opened(url)
        self.writes = 0
        """How often something may have been written: what only changed at Stripe is not audited."""
        self.money = self.runner.run(Ledger.create(self.database))
        self.spender = Spender(self)
        _set_clocks(clocks, self)

    @property
    def now(self) -> datetime:
        """The time for payments, which passes at Stripe too."""
        return datetime.now(UTC) + timedelta(seconds=self.stripe.offset_seconds)

    def run(self, work: Awaitable[Any]) -> Any:
        """Run a part of a step that may write."""
        self.writes += 1
        return self.runner.run(self._awaited(work))

    async def _awaited(self, work: Awaitable[Any]) -> Any:
        """Await something and whatever it leaves behind, such as the return of a connection."""
        try:
            return await work
        finally:
            if others := asyncio.all_tasks() - {asyncio.current_task()} - self._stuck:
                _, pending = await asyncio.wait(others, timeout=1)
                self._stuck |= pending

    def close(self) -> None:
        self.run(self.spender.close())
        self.run(self.database.close())
        self.runner.close()


class Gateway:
    """What one gateway process does about payments, until it crashes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.faults = Faults(world.app)
        database = self.database = _opened(world.url)
        self.faults.watch(database)
        made = make_payments(
            settings(world.url, stripe_secret_key=SECRET_KEY, stripe_api_url=world.stripe.url),
            database,
        )
        assert made
        self.payments = made
        for part in (made.checkout, made.auto_top_ups, made.refunds):
            part._clock = lambda: world.now
        assert made.stripe._v1  # which makes the client
        self._http = httpx.AsyncClient(transport=self.faults)
        self._unused, made.stripe._http._client_async = (
            made.stripe._http._client_async,
            self._http,
        )

    async def take(self, told: Item, *, is_thin: bool = False) -> None:
        """Answer a call of Stripe's to the webhook."""
        body = events_body(thin(told) if is_thin else told)
        known = events.parse(
            body,
            signature(body.decode(), SECRETS[1]),
            SECRETS,
            live=False,
            version=API_VERSION,
            now=datetime.now(UTC).timestamp(),
        )
        if known.type in events.TYPES:
            await stored_events.put(self.database, known)

    async def returned(self, payment_id: str) -> None:
        """Show a buyer who returns from Stripe what became of the payment."""
        await self.payments.reconciler.reconcile(payment_id)

    async def turn(self) -> None:
        """Do what the jobs of a process do at their next turn."""
        await self.payments.reconciler.run()
        await self.payments.auto_top_ups.run()
        await self.payments.refunds.run()
        await self.payments.reconciler.run()

    async def sweep(self) -> None:
        """Walk Stripe's lists as far as they are behind, and do what follows."""
        for _ in range(_WALKS_MAX):
            await self.payments.sweep.run()
            due = select(stripe_cursors.c.name).where(stripe_cursors.c.due_at <= self.world.now)
            async with self.database.read() as connection:
                if await connection.scalar(due) is None:
                    break
        await self.turn()

    async def close(self) -> None:
        """Let go of what the operating system takes from a dead process."""
        await self._http.aclose()
        await self._unused.aclose()
        await self.database.close()


class Door:
    """The gateway that serves now: one that crashed is replaced by another one."""

    def __init__(self, world: World, make: Callable[[World], Gateway]) -> None:
        self._world = world
        self._make = make
        self.gateway = make(world)
        self.crashes = self.faults = 0

    def run(
        self,
        work: Callable[[Gateway], Awaitable[Any]],
        fault: Fault | None = None,
        meanwhile: faults.Meanwhile | None = None,
    ) -> Any:
        """Let it do something, while a fault strikes; return what it returned, or raised."""
        gateway = self.gateway
        gateway.faults.expect(fault, meanwhile)
        try:
            return self._world.run(work(gateway))
        except asyncio.CancelledError as error:
            return error
        except Exception as error:
            if not faults.crashed(error):
                if isinstance(error, AssertionError):
                    raise
                return error
        except BaseException as error:
            if not faults.crashed(error):
                raise
        finally:
            self.faults += gateway.faults.expect(None)
        self.crash()
        return None

    def crash(self) -> None:
        """Let the process end, and another one begin."""
        self._world.run(self.gateway.close())
        self.gateway = self._make(self._world)
        self.crashes += 1

    def close(self) -> None:
        self._world.run(self.gateway.close())


class Spender:
    """A gateway's credit: the real book of leases and its protocol, over the real ledger."""

    def __init__(self, world: World) -> None:
        self.money = world.money
        self._world = _LedgerWorld(world)
        self._ledger = self._world.ledger
        self.replica = Replica(self._world)  # type: ignore[arg-type]
        self._mine()

    def spend(self, charge: Charge) -> Exception | None:
        """Serve a request; return why not, if it is refused."""
        error = self.replica.reserve(charge)
        if error is None:
            self.replica.settle(charge, journal=False)
            self.beat()
        return error

    def beat(self) -> None:
        """Let a heartbeat pass, and what it makes necessary be done."""
        for _ in range(4):
            self._world.seconds += machine.RULES.heartbeat_seconds
            self.replica.tick()

    def crash(self) -> None:
        """Lose what is in memory; the leases stay open until they are reaped."""
        self.replica = Replica(self._world)  # type: ignore[arg-type]
        self._mine()

    @property
    def free_nanos(self) -> int:
        """What it holds and does not use."""
        purse = self.replica.book.purses.get(self.money.organization_id)
        return purse.lease.free if purse and purse.lease else 0

    async def close(self) -> None:
        machine.peers.pop(self._world, None)  # type: ignore[call-overload]
        await self._ledger.close()

    def _mine(self) -> None:
        machine.peers[self._world] = [self.replica]  # type: ignore[index]


class _LedgerWorld:
    """What a `Replica` needs of its world."""

    def __init__(self, world: World) -> None:
        self.ledger = ledger_of(world.database)
        self.runner = world.runner
        self.seconds = 0.0
        self.fates: list[str] = []
        self.refuses = False

    apply = machine.World.apply

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def clock(self) -> float:
        return self.seconds


def _opened(url: str) -> Database:
    """Open a database that does not wait for its disk: processes crash here, not the machine."""
    database = Database(url)
    if database.is_sqlite:

        def hurry(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA synchronous = OFF")

        event.listen(database.engine.sync_engine, "connect", hurry)
    return database


def events_body(told: Item) -> bytes:
    """Return the body of a call of Stripe's."""
    return httpx.Request("POST", _URL, json=told).content


def _set_clocks(clocks: pytest.MonkeyPatch, world: World) -> None:
    """Let the database's time, where payments ask for it, be the world's."""

    async def now(_connection: Any) -> datetime:
        return world.now

    for name, module in list(sys.modules.items()):
        if name.startswith(_PACKAGE) and hasattr(module, "database_now"):
            clocks.setattr(module, "database_now", now)
