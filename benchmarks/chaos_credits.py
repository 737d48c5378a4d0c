"""The kill loop: kills and pauses processes, crashes PostgreSQL, and checks the ledger afterwards.

    python -m benchmarks.chaos_credits [--seconds 300] [--replicas 4] [--seed N]

Afterwards every 200 that a client saw must have exactly one usage row with its cost, no request
that was refused or failed may have one, and every invariant must hold. Otherwise it exits with 1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from benchmarks.chaos_replica import ADOPT_SECONDS, GRACE_SECONDS, LEASE_SECONDS, Customer
from gateway.control_plane.billing import credit
from gateway.control_plane.receipts import published
from gateway.data_plane.metering import proofs
from gateway.data_plane.metering.receipts import FIRST
from gateway.identifiers import new_id
from gateway.storage import migrate
from gateway.storage.database import Database
from gateway.storage.ledger import budgets, freezes, grants, invariants
from gateway.storage.ledger.books import NANOS_PER_CENT
from gateway.storage.ledger.upkeep import reap
from gateway.storage.tables import usage_events
from testing import servers
from testing.ledger import add_customer
from testing.payments import Payment

_CUSTOMERS = 5
_BUDGETED = 2
_START_NANOS = 2_000_000
_TOP_UP_NANOS = 500_000
_STOP_SECONDS = 60


class Replicas:
    """The gateway processes, which are killed and paused."""

    def __init__(self, folder: Path, url: str, count: int, choose: random.Random) -> None:
        self._folder = folder
        self._url = url
        self._choose = choose
        self.done: Counter[str] = Counter()
        self._told = 0
        self._running = [self._start() for _ in range(count)]
        self._paused: list[tuple[float, subprocess.Popen[bytes]]] = []

    def kill(self) -> None:
        """Kill one with SIGKILL and start another."""
        victim = self._choose.choice(self._running)
        victim.kill()
        victim.wait()
        self._running.remove(victim)
        self._paused = [item for item in self._paused if item[1] is not victim]
        self._running.append(self._start())
        self.done["kill -9"] += 1

    def pause(self) -> None:
        """Pause one for longer than its leases live."""
        victim = self._choose.choice(self._running)
        victim.send_signal(signal.SIGSTOP)
        until = time.monotonic() + LEASE_SECONDS + GRACE_SECONDS + self._choose.uniform(0.5, 2)
        self._paused.append((until, victim))
        self.done["paused"] += 1

    def wake(self, *, everyone: bool = False) -> None:
        """Resume those whose pause is over."""
        for until, victim in list(self._paused):
            if everyone or time.monotonic() >= until:
                victim.send_signal(signal.SIGCONT)
                self._paused.remove((until, victim))

    def stop(self) -> None:
        """Let them replay the journals of the killed ones, then stop them gracefully."""
        self.wake(everyone=True)
        time.sleep(2 * ADOPT_SECONDS)
        for replica in self._running:
            replica.terminate()
        for replica in self._running:
            status = replica.wait(timeout=_STOP_SECONDS)
            if status not in (0, -signal.SIGTERM):  # the latter had not started yet
                print((self._folder / "log").read_text()[-4000:])
                raise AssertionError(f"a replica ended with {status}")

    def end(self) -> None:
        """Kill all that still run."""
        for replica in self._running:
            replica.kill()
            replica.wait()

    def told(self) -> tuple[dict[str, int], set[str], set[str]]:
        """Return what clients saw: the cost of each 200, the other requests, receipts' roots."""
        good: dict[str, int] = {}
        bad: set[str] = set()
        roots: set[str] = set()
        for file in self._folder.glob("*.told"):
            for line in file.read_text().splitlines():
                verdict, request_id, cost, root = line.split()
                if verdict == "ok":
                    good[request_id] = int(cost)
                    roots |= {root} - {"-"}
                else:
                    bad.add(request_id)
        return good, bad, roots

    def _start(self) -> subprocess.Popen[bytes]:
        self._told += 1
        command = [
            *(sys.executable, "-m", "benchmarks.chaos_replica", self._url),
            *(str(self._folder / name) for name in ("journals", "customers.json")),
            str(self._folder / f"{self._told}.told"),
            str(self._choose.randrange(2**32)),
        ]
        with (self._folder / "log").open("ab") as out:
            return subprocess.Popen(command, stdout=out, stderr=out)


async def prepare(url: str, folder: Path) -> list[Customer]:
    """Migrate the database and add customers, some of whose keys have a budget."""
    database = Database(url)
    await migrate.upgrade(database)
    customers = []
    for number in range(_CUSTOMERS):
        added = await add_customer(database)
        payment = await Payment.create(database, added.organization_id, cents=1, is_received=True)
        customers.append(Customer(*added, budget=number < _BUDGETED, payment_id=payment.id))
        async with database.write() as connection:
            await _top_up(connection, customers[-1], _START_NANOS)
            if number < _BUDGETED:
                await budgets.set_budget(connection, added.key_id, _START_NANOS // 2, "total")
    await database.close()
    (folder / "customers.json").write_bytes(msgspec.json.encode(customers))
    return customers


async def verdict(url: str, replicas: Replicas) -> list[str]:
    """Compare the ledger with what clients saw; return what is wrong."""
    database = Database(url)
    later = datetime.now(UTC) + timedelta(minutes=5)
    while await reap(database, at=later):
        pass
    async with database.read() as connection:
        rows = await connection.execute(
            select(
                usage_events.c.request_id, usage_events.c.cost_nanos, usage_events.c.charged_nanos
            )
        )
        costs = {row.request_id: row for row in rows.all()}
    async with database.read() as connection:
        breaches = await invariants.audit(connection)
        log = await published.roots(connection, limit=10**7)
    await database.close()
    good, bad, roots = replicas.told()
    free = sum(row.charged_nanos == 0 for row in costs.values())
    wrong = [f"{breach.invariant.name}: {breach.culprits}" for breach in breaches]
    wrong += [f"200 without usage: {one}" for one in good if one not in costs]
    wrong += [
        f"200 at another cost: {one}"
        for one, cost in good.items()
        if one in costs and costs[one].cost_nanos != cost
    ]
    wrong += [f"usage of a failed request: {one}" for one in bad if one in costs]
    wrong += [f"a receipt's root is not in the log: {one}" for one in roots - {r.id for r in log}]
    wrong += _broken_chains(log)
    done = ", ".join(f"{count} {name}" for name, count in sorted(replicas.done.items()))
    print(f"{len(good)} answers, {len(bad)} refused or failed, {free} written off; {done}")
    print(f"{len(log)} roots, named by receipts: {len(roots)}")
    return wrong


def _broken_chains(log: list[published.PublishedRoot]) -> list[str]:
    """Return where the chains of the processes fork or have a gap."""
    ends = {proofs.digest(root.id, root.size, root.previous, root.root) for root in log} | {FIRST}
    followed = Counter(root.previous for root in log if root.previous != FIRST)
    return [
        f"the root {root.id} follows none, or one that another follows"
        for root in log
        if root.previous not in ends or followed[root.previous] > 1
    ]


def run(seconds: float, count: int, seed: int) -> list[str]:
    """Run the loop; return what is wrong with the ledger."""
    print(f"seed {seed}", flush=True)
    choose = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="stella-chaos-", dir="/tmp") as name:
        folder = Path(name)
        (folder / "journals").mkdir()
        data, port = servers.initialise_postgres(folder), servers.free_port()
        postgres = servers.start_postgres(data, port)
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        customers = asyncio.run(prepare(url, folder))
        replicas = Replicas(folder, url, count, choose)
        try:
            postgres = _trouble(seconds, replicas, postgres, (data, port), url, customers, choose)
            replicas.stop()
            wrong = asyncio.run(verdict(url, replicas))
        finally:
            replicas.end()
            postgres.send_signal(signal.SIGINT)
            postgres.wait()
    return wrong


def _trouble(
    seconds: float,
    replicas: Replicas,
    postgres: subprocess.Popen[bytes],
    place: tuple[Path, int],
    url: str,
    customers: list[Customer],
    choose: random.Random,
) -> subprocess.Popen[bytes]:
    """Make trouble for some seconds; return the PostgreSQL that runs at the end."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(choose.uniform(0.2, 1.0))
        replicas.wake()
        what = ["kill", "pause", "crash", "top up", "post", "freeze", "take"]
        match choose.choices(what, [4, 2, 1, 6, 4, 2, 2])[0]:
            case "kill":
                replicas.kill()
            case "pause":
                replicas.pause()
            case "crash":
                postgres.send_signal(signal.SIGQUIT)  # an immediate shutdown, as in a power failure
                postgres.wait()
                time.sleep(choose.uniform(0, 2 * LEASE_SECONDS))
                postgres = servers.start_postgres(*place)
                replicas.done["PostgreSQL crashes"] += 1
            case "top up":
                with contextlib.suppress(Exception):
                    asyncio.run(top_up(url, choose.choice(customers)))
            case other:
                change = {"post": _post, "freeze": _freeze_or_lift, "take": _take}[other]
                with contextlib.suppress(Exception):
                    asyncio.run(change(url, choose.choice(customers), choose))
                    replicas.done[other] += 1
    return postgres


async def _post(url: str, customer: Customer, choose: random.Random) -> None:
    """Let the customer's payment have posted any part of it: bought, refunded or disputed."""
    async with _opened(url) as database, database.write() as connection:
        payment = Payment(database, customer.payment_id, customer.organization_id, cents=1)
        await payment.post_nanos(connection, choose.randrange(NANOS_PER_CENT))


async def _freeze_or_lift(url: str, customer: Customer, choose: random.Random) -> None:
    cause = choose.choice(get_args(freezes.StoredCause))
    change = choose.choice((freezes.freeze, freezes.lift, freezes.lift))
    async with _opened(url) as database, database.write() as connection:
        await change(connection, customer.organization_id, cause)


async def _take(url: str, customer: Customer, choose: random.Random) -> None:
    async with _opened(url) as database, database.write() as connection:
        lots = (await credit.balance(connection, customer.organization_id)).lots
        granted = [lot for lot in lots if not lot.source_ref.startswith("payment:")]
        if not granted:
            return
        lot = choose.choice(granted)
        amount = choose.randrange(1, lot.remaining_nanos + 1)
        await grants.take(connection, customer.organization_id, lot.id, amount, reason="chaos")


@contextlib.asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        await database.close()


async def top_up(url: str, customer: Customer) -> None:
    """Grant paid credit."""
    database = Database(url)
    async with database.write() as connection:
        await _top_up(connection, customer, _TOP_UP_NANOS)
    await database.close()


async def _top_up(connection: AsyncConnection, customer: Customer, nanos: int) -> None:
    await grants.grant(
        connection, customer.organization_id, nanos, kind="paid", source_ref=new_id()
    )


def main() -> None:
    """Run the loop as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    chosen = parser.parse_args()
    wrong = run(chosen.seconds, chosen.replicas, chosen.seed)
    for line in wrong[:50]:
        print(f"WRONG: {line}")
    print("the ledger is correct" if not wrong else f"{len(wrong)} wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
