"""A frozen account: every gateway that holds its credit stops at once, with the cause's code."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing
from typing import NamedTuple

import httpx

from gateway.storage.database import Database
from gateway.storage.ledger import freezes
from testing.gateways import MODEL, SECRET, Ledger
from testing.payments import Payment
from testing.processes import Process
from tests.data_plane.api.embeddings.conftest import BODY

STOPS_SECONDS = 5
"""A heartbeat of 100 ms on a calm machine. Without a recall, a lease was spent for 19 seconds."""
CODES = {
    "dispute": (402, "account_disputed"),
    "operator": (403, "account_suspended"),
    "books": (503, "account_under_review"),
}


class Gateways(NamedTuple):
    """Two processes on one database, each of which holds credit of the same organization."""

    clients: list[httpx.AsyncClient]
    ledger: Ledger
    payment: Payment

    async def embed(self) -> list[tuple[int, str | None]]:
        answers = await asyncio.gather(
            *(client.post("/v1/embeddings", content=BODY) for client in self.clients)
        )
        return [
            (one.status_code, None if one.is_success else one.json()["error"]["code"])
            for one in answers
        ]

    async def until(self, status: int, code: str | None) -> None:
        """Send requests to both until both answer so, for seconds at most."""
        end = time.monotonic() + STOPS_SECONDS
        while (answers := await self.embed()) != [(status, code)] * 2:
            assert time.monotonic() < end, answers
            # none was refused for another reason
            assert set(answers) <= {(200, None), (status, code)} or status == 200, answers

    async def until_nothing_is_held(self) -> None:
        async with asyncio.timeout(STOPS_SECONDS):
            while (await self.ledger.balance()).reserved_nanos:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def two(url: str, worker: Process) -> AsyncIterator[Gateways]:
    database = Database(url)
    ledger = await Ledger.create(database)
    payment = await Payment.create(database, ledger.organization_id, cents=1)
    await payment.receive()
    environment = {
        **os.environ,
        "GATEWAY_SECRET": SECRET,
        "GATEWAY_ROLE": "data",
        "DATABASE_URL": url,
        "GATEWAY_WORKERS": f"{MODEL}={worker.url}",
        "REDIS_URL": "",
    }
    headers = {"authorization": f"Bearer {ledger.secret}", "content-type": "application/json"}
    with ExitStack() as stack:
        clients = []
        for _ in range(2):
            gateway = Process([sys.executable, "-m", "testing.serve"], environment)
            stack.enter_context(closing(gateway))
            clients.append(httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=30))
        gateways = Gateways(clients, ledger, payment)
        async with asyncio.timeout(30):  # until the worker has proven itself to both
            while set(await gateways.embed()) != {(200, None)}:
                await asyncio.sleep(0.05)
        assert (await ledger.balance()).reserved_nanos
        yield gateways
        for client in clients:
            await client.aclose()
    await database.close()


async def test_every_gateway_stops_for_each_cause_with_its_code(
    database_url: str, fake_worker: Process
):
    async with two(database_url, fake_worker) as gateways:
        ledger = gateways.ledger
        for cause, answer in CODES.items():
            async with ledger.database.write() as connection:
                await freezes.freeze(connection, ledger.organization_id, cause)
            await gateways.until(*answer)
            await gateways.until_nothing_is_held()
            async with ledger.database.write() as connection:
                await freezes.lift(connection, ledger.organization_id, cause)
            await gateways.until(200, None)
        await gateways.payment.refund(1)
        assert (await ledger.balance()).available_nanos == (await ledger.balance()).reserved_nanos
        await gateways.until(402, "account_owing")
        await gateways.until_nothing_is_held()
        used = sum(row.charged_nanos for row in await ledger.usage())
        assert used > 0
        balance = await ledger.balance()
        assert (balance.available_nanos, balance.owed_nanos) == (0, used)
        assert await ledger.breaches() == []
        await ledger.grant(10**7)
        await gateways.until(200, None)
        assert await ledger.breaches() == []
