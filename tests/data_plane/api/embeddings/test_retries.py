"""A retry is not billed again: it joins the request at work, or gets the answer that was lost."""

import asyncio
from typing import Any

import httpx
import openai
import pytest

from testing.gateways import MODEL, PRICE_NANOS, Api, Ledger, open_api
from testing.processes import Process
from tests.data_plane.api.embeddings.conftest import BODY


async def send(api: Api, body: bytes = BODY, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.http.post("/v1/embeddings", content=body, headers=api.headers | named)


async def charges(api: Api) -> int:
    return len(await (await api.settled()).usage())


async def test_a_retry_of_openais_sdk_is_answered_again_free(api: Api):
    first = await send(api)
    again = await send(api, x_stainless_retry_count="1")
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["x-original-request-id"] == first.headers["x-request-id"]
    for name in ("x-receipt", "x-cost-nanos"):  # those of the one charge
        assert again.headers[name] == first.headers[name]
    assert "idempotent-replayed" not in first.headers
    assert await charges(api) == 1


async def test_equal_requests_that_are_no_retries_are_two(api: Api):
    await send(api)
    await send(api, x_stainless_retry_count="0")
    await send(api, x_stainless_retry_count="once")
    assert await charges(api) == 3


async def test_an_idempotency_key_stands_for_one_body(api: Api):
    first = await send(api, idempotency_key="a")
    again = await send(api, idempotency_key="a")
    assert again.json() == first.json()
    other = await send(api, BODY + b" ", idempotency_key="a")
    assert (other.status_code, other.json()["error"]["code"]) == (400, "idempotency_key_reused")
    await send(api, idempotency_key="b")
    assert await charges(api) == 2


async def test_a_long_idempotency_key_is_refused_and_none_is_kept(api: Api):
    refused = await send(api, idempotency_key="k" * 256)
    assert (refused.status_code, refused.json()["error"]["code"]) == (
        400, "idempotency_key_too_long",
    )  # fmt: skip
    assert "at most 255 characters" in refused.json()["error"]["message"]
    assert await charges(api) == 0
    name = "k" * 255
    assert (await send(api, idempotency_key=name)).status_code == 200
    assert (await send(api, idempotency_key=name)).headers["idempotent-replayed"] == "true"
    (kept_as,) = api.gateway.data.hot_path.replays._kept.answers
    assert name not in str(kept_as)
    assert len(str(kept_as)) < 200


@pytest.mark.parametrize("sign", ["idempotency_key", "x_stainless_retry_count"])
async def test_another_customer_gets_nothing_of_it(api: Api, sign: str):
    await send(api, **{sign: "1"})
    other = await Ledger.create(api.ledger.database, 10**9)
    api.headers["authorization"] = f"Bearer {other.secret}"
    assert "idempotent-replayed" not in (await send(api, **{sign: "1"})).headers
    assert await charges(api) == 2


async def test_a_retry_joins_what_is_still_at_work(api: Api, fault: httpx.AsyncClient):
    await api.ready()
    await fault.put("/fault", json={"kind": "slow", "times": 1, "seconds": 0.3})
    first = asyncio.create_task(send(api))
    while not api.gateway.data.hot_path.in_flight:
        await asyncio.sleep(0)
    joined = await send(api, x_stainless_retry_count="1")
    assert joined.headers["x-original-request-id"] == (await first).headers["x-request-id"]
    assert await charges(api) == 1


async def test_a_retry_that_joins_waits_without_its_body_and_only_so_many_do(
    api: Api, fault: httpx.AsyncClient
):
    await api.ready()
    api.gateway.data.hot_path.replays._waiting_max = 8  # fewer than it lets wait, to be quick
    await fault.put("/fault", json={"kind": "slow", "times": 1, "seconds": 1})
    first = asyncio.create_task(send(api))
    while not api.gateway.data.hot_path.in_flight:
        await asyncio.sleep(0)
    (work,) = api.gateway.data.hot_path.replays._running.values()
    joined = []
    for _ in range(7):
        client = api.connect()
        await client.send(api.request(BODY, x_stainless_retry_count="1"))
        joined.append(client)
    assert work.waiting == 8
    assert len(api.gateway.data.hot_path.in_flight) == 1  # nor do they take places
    for client in joined:
        (driver,) = client.state.tasks
        assert BODY not in locals_of(driver._coroutine)
    refused = await send(api, x_stainless_retry_count="2")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_retries")
    assert 1000 <= int(refused.headers["retry-after-ms"]) <= 1500
    assert (await first).status_code == 200
    for client in joined:
        assert await client.status() == 200
    again = await send(api, x_stainless_retry_count="3")  # nobody waits for what is done
    assert again.headers["idempotent-replayed"] == "true"
    assert await charges(api) == 1


def locals_of(coroutine: Any) -> list[object]:
    """What the frames of a coroutine that waits hold."""
    found: list[object] = []
    while hasattr(coroutine, "cr_frame"):
        found += coroutine.cr_frame.f_locals.values()
        coroutine = coroutine.cr_await
    return found


async def test_a_retry_outlives_the_client_that_began(api: Api):
    """Who began leaves before a worker has anything: the work goes on for the one who joined."""
    await api.ready()
    pool = api.gateway.core.router.pools[MODEL]
    (worker,) = pool.workers()
    pool.drain(worker.url)  # so that nothing is begun
    joined: asyncio.Task[httpx.Response] | None = None

    def both_wait() -> bool:
        nonlocal joined
        works = api.gateway.data.hot_path.replays._running
        if joined is None and works:
            joined = asyncio.create_task(send(api, x_stainless_retry_count="1"))
        return any(work.waiting == 2 for work in works.values())

    await leave(api, both_wait)
    pool.undrain(worker.url)
    assert joined
    answer = await joined
    assert (answer.status_code, answer.headers["idempotent-replayed"]) == (200, "true")
    assert await charges(api) == 1


async def test_a_retry_fails_as_the_request_that_it_joined(api: Api, fault: httpx.AsyncClient):
    await api.ready()
    pool = api.gateway.core.router.pools[MODEL]
    await fault.put("/fault", json={"kind": "slow", "times": 1, "seconds": 1})
    first = asyncio.create_task(send(api))
    while not any(worker.tokens_in_flight for worker in pool.workers()):
        await asyncio.sleep(0)
    joined = asyncio.create_task(send(api, x_stainless_retry_count="1"))
    (work,) = api.gateway.data.hot_path.replays._running.values()
    while work.waiting < 2:
        await asyncio.sleep(0)
    pool.core.close()
    for answer in await asyncio.gather(first, joined):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "closing")
        assert "retry-after" in answer.headers
    await api.assert_untouched()


async def test_a_failure_is_not_kept(api: Api, fault: httpx.AsyncClient):
    await api.ready()
    await fault.put("/fault", json={"kind": "nan", "times": -1})
    failed = await send(api, idempotency_key="a", prefer="wait=0")
    assert failed.status_code >= 500
    await fault.delete("/fault")
    await api.ready()
    again = await send(api, idempotency_key="a")
    assert (again.status_code, "idempotent-replayed" in again.headers) == (200, False)
    assert await charges(api) == 1


async def leave(api: Api, when, **headers: str) -> None:
    """Send a request, and close the connection once `when` holds."""
    client = api.connect()
    await client.send(api.request(BODY, **headers))
    async with asyncio.timeout(30):
        while not when():
            await asyncio.sleep(0)
    api.gateway.data.records.answers.drain()
    client.leave()
    await asyncio.sleep(0)  # the server is told in a turn of its own
    (counted,) = api.gateway.data.records.answers.drain().answers
    assert counted.status_class == 4  # 499


async def test_who_leaves_before_a_worker_has_it_pays_nothing(sqlite_database_url: list[str]):
    async with open_api(sqlite_database_url[0]) as api:  # no worker: the request is held
        await leave(api, lambda: api.gateway.data.hot_path.in_flight)
        async with asyncio.timeout(10):
            while api.gateway.data.hot_path.in_flight:
                await asyncio.sleep(0)
        assert not api.gateway.core.router.pools[MODEL].core._active
        await api.assert_untouched()


async def leave_at_work(api: Api, fault: httpx.AsyncClient, **headers: str) -> None:
    """Leave while a worker computes, and wait until that is done."""
    await api.ready()
    await fault.put("/fault", json={"kind": "slow", "times": 1, "seconds": 0.1})
    pool = api.gateway.core.router.pools[MODEL]
    await leave(api, lambda: any(w.tokens_in_flight for w in pool.workers()), **headers)
    async with asyncio.timeout(30):
        while api.gateway.data.hot_path.in_flight:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("sign", ["x_stainless_retry_count", "accept"])
async def test_who_leaves_after_that_pays_when_a_retry_fetches_it(
    api: Api, fault: httpx.AsyncClient, sign: str
):
    """Whatever its headers say: LangChain.js says that it is no retry."""
    await leave_at_work(api, fault)
    assert await charges(api) == 0
    fetched = await send(api, **{sign: "1"})
    assert fetched.status_code == 200
    assert fetched.headers["idempotent-replayed"] == "true"
    (charged,) = await (await api.settled()).usage()
    assert fetched.headers["x-original-request-id"] == charged.request_id
    assert int(fetched.headers["x-cost-nanos"]) == charged.charged_nanos
    await send(api, accept="1")  # it has reached its client, so this is a new request
    assert await charges(api) == 2


async def test_what_nobody_fetches_costs_nothing(
    sqlite_database_url: list[str], fault: httpx.AsyncClient, fake_worker: Process
):
    workers = f"{MODEL}={fake_worker.url}"
    async with open_api(sqlite_database_url[0], workers, replay_seconds=0.05) as api:
        await leave_at_work(api, fault)
        async with asyncio.timeout(30):
            while api.gateway.data.credit.book.held:
                await asyncio.sleep(0.01)
        await api.assert_untouched()


async def test_credit_that_only_waits_for_a_retry_is_used_for_what_does_not_wait(
    sqlite_database_url: list[str], fault: httpx.AsyncClient, fake_worker: Process
):
    workers = f"{MODEL}={fake_worker.url}"
    cost = 4 * PRICE_NANOS
    async with open_api(sqlite_database_url[0], workers, credit_nanos=cost) as api:
        await leave_at_work(api, fault)
        assert api.gateway.data.credit.book.held
        assert (await api.embed(input="hello there")).status_code == 200
        assert (await send(api)).status_code == 402  # the answer is there, but not paid
        await api.ledger.grant(cost)
        assert (await send(api)).headers["idempotent-replayed"] == "true"
        assert await charges(api) == 2
        assert await api.ledger.breaches() == []


async def test_an_answer_is_charged_once_whatever_the_client_says(
    sqlite_database_url: list[str], fault: httpx.AsyncClient, fake_worker: Process
):
    """The case of LangChain.js: it gives up early, and sends the same as a new request."""
    workers = f"{MODEL}={fake_worker.url}"
    async with open_api(sqlite_database_url[0], workers) as api:
        await api.ready()
        pool = api.gateway.core.router.pools[MODEL]
        await fault.put("/fault", json={"kind": "slow", "times": 1, "seconds": 0.3})
        for _ in range(4):
            await leave(
                api,
                lambda: any(w.tokens_in_flight for w in pool.workers()),
                x_stainless_retry_count="0",
            )
        fetched = await send(api, x_stainless_retry_count="0")
        assert fetched.headers["idempotent-replayed"] == "true"
        assert await charges(api) == 1


def test_openais_impatient_client_is_billed_once(served: tuple[str, str], fake_worker: Process):
    """A timeout of 0.2 s in front of a worker that takes 0.4: several requests, one bill."""
    url, secret = served
    body = {"model": MODEL, "input": "an impatient client"}
    with openai.OpenAI(base_url=f"{url}/v1", api_key=secret, timeout=20) as client:
        before = client.embeddings.with_raw_response.create(**body)  # and the worker is ready
        httpx.put(f"{fake_worker.url}/fault", json={"kind": "slow", "times": -1, "seconds": 0.4})
        try:
            impatient = client.with_options(timeout=0.2, max_retries=9)
            raw = impatient.embeddings.with_raw_response.create(**body)
        finally:
            httpx.delete(f"{fake_worker.url}/fault")
        assert raw.headers["idempotent-replayed"] == "true"
        cost = int(before.headers["x-cost-nanos"])
        assert int(raw.headers["x-cost-nanos"]) == cost  # who sums it up has what was charged
        left = int(before.headers["x-balance-nanos"]) - cost
        assert int(raw.headers["x-balance-nanos"]) == left
        after = client.embeddings.with_raw_response.create(**body)
        assert int(after.headers["x-balance-nanos"]) == left - cost
