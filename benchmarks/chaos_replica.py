"""A gateway process without HTTP, for the kill loop: reserves, works briefly, settles, reports.

    python -m benchmarks.chaos_replica URL JOURNALS CUSTOMERS.json TOLD SEED

Every answer that a client would have seen is a line in TOLD, written before anything else happens:
`ok` for a 200, with the root of its receipt (`-` for one that is signed by itself), `no` for a
request that was refused or failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from pathlib import Path

import msgspec

from gateway.data_plane.metering.engine_rules import EngineRules
from gateway.data_plane.metering.journal import Journal
from gateway.data_plane.metering.leased_credits import LeasedCredits
from gateway.data_plane.metering.leases import LeaseRules
from gateway.data_plane.metering.port import Charge
from gateway.data_plane.metering.proofs import verify
from gateway.data_plane.metering.receipts import ReceiptSigner
from gateway.errors import GatewayError
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.ledger.postgres import PostgresLedger
from gateway.storage.ledger.upkeep import reap

LEASE_SECONDS = 3.0
GRACE_SECONDS = 0.5
ADOPT_SECONDS = 0.5
_CLIENTS = 16
_SIGNER = ReceiptSigner("a secret for trouble, long enough to pass")
_RULES = LeaseRules(
    lease_seconds=LEASE_SECONDS, margin_seconds=0.5, renew_seconds=1.5, idle_seconds=0.5,
    slice_nanos=20_000, slice_nanos_max=200_000,
)  # fmt: skip


class Customer(msgspec.Struct):
    """Who is charged."""

    organization_id: str
    key_id: str
    model_id: str
    price_id: str
    budget: bool
    payment_id: str


async def serve(url: str, journals: Path, customers: list[Customer], told: int, seed: int) -> None:
    """Serve simulated clients until SIGTERM, then close the engine."""
    choose = random.Random(seed)
    database = Database(url, connections_max=2)
    ledger = PostgresLedger(database)
    journal = Journal(journals, new_id(), bytes_max=10**8, segment_bytes=65_536)
    engine = LeasedCredits(
        ledger,
        journal,
        leases=_RULES,
        rules=EngineRules(adopt_seconds=ADOPT_SECONDS, close_seconds=20.0),
        receipts=_SIGNER,
    )
    await engine.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def client() -> None:
        while not stop.is_set():
            charge = _charge(choose.choice(customers), choose.randrange(1, 400))
            verdict, root = await _request(engine, charge, choose)
            os.write(told, f"{verdict} {charge.request_id} {charge.cost_nanos} {root}\n".encode())
            if verdict == "no":
                await asyncio.sleep(choose.uniform(0, 0.05))

    async def reaper() -> None:
        while not stop.is_set():
            with contextlib.suppress(Exception):
                await reap(database, grace_seconds=GRACE_SECONDS)
            await asyncio.sleep(0.3)

    await asyncio.gather(*(client() for _ in range(_CLIENTS)), reaper())
    await engine.close()
    await ledger.close()
    await database.close()


async def _request(engine: LeasedCredits, charge: Charge, choose: random.Random) -> tuple[str, str]:
    try:
        await engine.reserve(charge)
        await asyncio.sleep(choose.expovariate(200))
        if choose.random() < 0.1:  # the worker failed
            await engine.release(charge)
            return "no", "-"
        receipt = await engine.settle(charge)
    except GatewayError:
        return "no", "-"
    tree = verify(receipt or "", [_SIGNER.public]).tree
    return "ok", tree.root_id if tree else "-"


def _charge(customer: Customer, tokens: int) -> Charge:
    return Charge(
        request_id=new_id(), organization_id=customer.organization_id, key_id=customer.key_id,
        model_id=customer.model_id, price_id=customer.price_id, inputs=1, tokens=tokens,
        cost_nanos=tokens * 8, budget="total" if customer.budget else None,
    )  # fmt: skip


def main() -> None:
    """Run as the command line says."""
    url, journals, customers, told, seed = sys.argv[1:]
    known = msgspec.json.decode(Path(customers).read_bytes(), type=list[Customer])
    out = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    asyncio.run(serve(url, Path(journals), known, out, int(seed)))


if __name__ == "__main__":
    main()
