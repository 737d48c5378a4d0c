"""Two gateways on one database: who pays once at one has paid at both."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest

from testing.gateways import MODEL, PRICE_NANOS, Api, open_api
from testing.processes import Process
from tests.data_plane.api.embeddings.conftest import BODY

COST = 4 * PRICE_NANOS
"""What a request with BODY costs."""


@contextlib.asynccontextmanager
async def two(url: str, worker: Process, credit_nanos: int) -> AsyncIterator[tuple[Api, Api]]:
    """Open two gateways that serve the same customer."""
    workers = f"{MODEL}={worker.url}"
    async with (
        open_api(url, workers, credit_nanos=credit_nanos) as one,
        open_api(url, workers, credit_nanos=0) as other,
    ):
        other.headers, other.ledger = one.headers, one.ledger
        await one.ready()
        await other.ready()
        yield one, other
        for api in (one, other):
            await api.settled()
        assert await one.ledger.breaches() == []


async def send(api: Api, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.http.post("/v1/embeddings", content=BODY, headers=api.headers | named)


async def leave_at_work(api: Api, fault: httpx.AsyncClient) -> None:
    """Time out at a gateway whose worker is at work."""
    await fault.put("/fault", json={"kind": "slow", "times": -1, "seconds": 0.1})
    client = api.connect()
    await client.send(api.request(BODY))
    pool = api.gateway.core.router.pools[MODEL]
    async with asyncio.timeout(30):
        while not any(worker.tokens_in_flight for worker in pool.workers()):
            await asyncio.sleep(0)
        client.leave()
        await fault.delete("/fault")
        while api.gateway.data.hot_path.in_flight:
            await asyncio.sleep(0.005)


async def leave_at_commit(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave while the answer is charged."""
    client = api.connect()
    tick = api.gateway.data.ledger.tick

    async def tick_without_him(sent):
        if sent.usage:
            client.leave()
            await client.closed.wait()
            await asyncio.sleep(0)
        return await tick(sent)

    with monkeypatch.context() as patch:
        patch.setattr(api.gateway.data.ledger, "tick", tick_without_him)
        await client.send(api.request(BODY))
        async with asyncio.timeout(30):
            while not await api.ledger.usage():
                await asyncio.sleep(0.005)
    async with asyncio.timeout(30):
        while api.gateway.data.credit.book.undelivered or api.gateway.data.hot_path.in_flight:
            await asyncio.sleep(0.005)


async def test_credit_for_one_request_serves_the_retry_at_the_other(
    postgresql_database_url: list[str], fake_worker: Process, fault: httpx.AsyncClient
):
    async with two(postgresql_database_url[0], fake_worker, COST) as (one, other):
        await leave_at_work(one, fault)
        assert one.gateway.data.credit.book.kept
        answer = await send(other)
        assert answer.status_code == 200, answer.text
        assert not one.gateway.data.credit.book.held
        assert (await send(one)).status_code == 402  # what waited there can't be paid any more
        await other.settled()
        (charged,) = await one.ledger.usage()
        assert charged.request_id == answer.headers["x-request-id"]
        assert charged.charged_nanos == COST


async def test_what_was_charged_and_not_delivered_is_free_at_the_other(
    postgresql_database_url: list[str], fake_worker: Process, monkeypatch: pytest.MonkeyPatch
):
    async with two(postgresql_database_url[0], fake_worker, 3 * COST) as (one, other):
        await leave_at_commit(one, monkeypatch)
        (charged,) = await one.ledger.usage()
        answer = await send(other)
        assert answer.headers["x-original-request-id"] == charged.request_id
        assert answer.headers["idempotent-replayed"] == "true"
        assert answer.headers["x-cost-nanos"] == "0"
        assert answer.headers["x-balance-nanos"] == str(2 * COST)
        again = await send(other)  # the other has delivered it
        assert (again.headers["x-cost-nanos"], again.headers["x-balance-nanos"]) == (
            str(COST),
            str(COST),
        )
        await other.settled()
        costs = {row.request_id: row.charged_nanos for row in await one.ledger.usage()}
        assert sorted(costs.values()) == [0, COST, COST]
        assert costs[answer.headers["x-request-id"]] == 0


async def test_an_idempotency_key_is_charged_once(
    postgresql_database_url: list[str], fake_worker: Process
):
    """At two gateways, and after a restart: the vectors are computed again, the charge is not."""
    url, workers = postgresql_database_url[0], f"{MODEL}={fake_worker.url}"
    async with two(url, fake_worker, 3 * COST) as (one, other):
        first = await send(one, idempotency_key="a")
        answers = [await send(api, idempotency_key="a") for api in (one, other, other)]
    async with open_api(url, workers, credit_nanos=0) as restarted:
        restarted.headers = one.headers
        await restarted.ready()
        answers.append(await send(restarted, idempotency_key="a"))
        await restarted.settled()
        costs = [row.charged_nanos for row in await restarted.ledger.usage()]
    assert sum(costs) == COST
    for answer in answers:
        assert answer.json()["data"] == first.json()["data"]
        assert answer.headers["x-original-request-id"] == first.headers["x-request-id"]
    # of its own process a retry gets the answer again, with its charge
    assert [answer.headers["x-cost-nanos"] for answer in answers] == [str(COST), "0", "0", "0"]
