"""A retry is not billed again: it joins the request at work, or gets the answer that was lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import openai
import pytest

from gateway.data_plane.api.exchange import ClientGone
from gateway.data_plane.api.replays import IdempotencyKeyReused, Print, Replays, Reply
from gateway.data_plane.routing.request import Progress
from tests.support.gateways import MODEL, Api, open_api, scope
from tests.support.processes import Process

BODY = b'{"model":"%b","input":"hello world"}' % MODEL.encode()


@pytest.fixture
async def fault(fake_worker: Process) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=fake_worker.url) as control:
        yield control
        await control.delete("/fault")


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
    assert again.headers["x-receipt"] == first.headers["x-receipt"]
    assert "idempotent-replayed" not in first.headers
    assert await charges(api) == 1


async def test_equal_requests_that_are_no_retries_are_two(api: Api):
    await send(api)
    await send(api, x_stainless_retry_count="0")
    assert await charges(api) == 2


async def test_an_idempotency_key_stands_for_one_body(api: Api):
    first = await send(api, idempotency_key="a")
    again = await send(api, idempotency_key="a")
    assert again.json() == first.json()
    other = await send(api, BODY + b" ", idempotency_key="a")
    assert (other.status_code, other.json()["error"]["code"]) == (400, "idempotency_key_reused")
    await send(api, idempotency_key="b")
    assert await charges(api) == 2


async def test_another_api_key_gets_nothing_of_it(api: Api):
    await send(api, idempotency_key="a")
    made = await api.gateway.keys.create(api.ledger.organization_id, "other")
    api.headers["authorization"] = f"Bearer {made.secret}"
    assert "idempotent-replayed" not in (await send(api, idempotency_key="a")).headers
    assert await charges(api) == 2


async def test_a_retry_joins_what_is_still_at_work(api: Api, fault: httpx.AsyncClient):
    await api.ready()
    await fault.put("/fault", json={"kind": "slow", "times": 1, "seconds": 0.3})
    first = asyncio.create_task(send(api))
    while not api.gateway.endpoint.in_flight:
        await asyncio.sleep(0)
    joined = await send(api, x_stainless_retry_count="1")
    assert joined.headers["x-original-request-id"] == (await first).headers["x-request-id"]
    assert await charges(api) == 1


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


async def leave(api: Api, when) -> int:
    """Send the body, close the connection once `when` holds, and return the status."""
    messages: asyncio.Queue[dict] = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": BODY, "more_body": False})
    sent = []

    async def note(message):
        sent.append(message)

    asked = asyncio.create_task(api.app(scope(api.headers), messages.get, note))
    async with asyncio.timeout(10):
        while not when():
            await asyncio.sleep(0)
        messages.put_nowait({"type": "http.disconnect"})
        await asked
    return sent[0]["status"]


async def test_who_leaves_before_a_worker_has_it_pays_nothing(sqlite_database_url: list[str]):
    async with open_api(sqlite_database_url[0]) as api:  # no worker: the request is held
        assert await leave(api, lambda: api.gateway.endpoint.in_flight) == 499
        async with asyncio.timeout(10):
            while api.gateway.endpoint.in_flight:
                await asyncio.sleep(0)
        assert api.gateway.router.pools[MODEL].core.idle
        await api.assert_untouched()


async def test_who_leaves_after_that_pays_once_and_may_fetch_it(api: Api, fault: httpx.AsyncClient):
    await api.ready()
    await fault.put("/fault", json={"kind": "slow", "times": 1, "seconds": 0.3})
    core = api.gateway.router.pools[MODEL].core
    assert await leave(api, lambda: any(w.tokens for w in core.workers.values())) == 499
    fetched = await send(api, x_stainless_retry_count="1")
    assert fetched.status_code == 200
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
        left = int(before.headers["x-balance-nanos"]) - cost
        assert int(raw.headers["x-balance-nanos"]) == left
        after = client.embeddings.with_raw_response.create(**body)
        assert int(after.headers["x-balance-nanos"]) == left - cost


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def of(name: str, body: bytes = b"", *, is_retry: bool = True) -> Print:
    return Print(("key", name), body, is_retry)


async def reply(size: int) -> Reply:
    return Reply(bytes(size), [])


async def test_answers_are_forgotten_in_time():
    clock = Clock()
    replays = Replays(seconds=60, bytes_max=100, clock=clock)
    await replays.begin(of("a"), "1", lambda _progress: reply(10)).task
    clock.now = 59
    assert replays.find(of("a")) is not None
    clock.now = 61
    assert replays.find(of("a")) is None
    assert replays.bytes == 0


async def test_a_kept_answer_keeps_nothing_of_the_work():
    replays = Replays(seconds=60, bytes_max=100, clock=Clock())

    async def run(progress: Progress) -> Reply:
        progress.request = object()  # as the pool does: it holds rows, vectors, and its batch
        return Reply(b"x", [])

    work = replays.begin(Print(("key", "a"), b"a", is_retry=False), "id", run)
    await work.task
    await asyncio.sleep(0)
    assert replays.bytes == 1
    assert work.progress.request is None
    assert not work.progress.begun


async def test_answers_are_bounded_in_bytes():
    replays = Replays(seconds=60, bytes_max=100, clock=Clock())
    for name in "abcde":
        await replays.begin(of(name), name, lambda _progress: reply(30)).task
        await asyncio.sleep(0)
        assert replays.bytes <= 100
    assert [replays.find(of(name)) is not None for name in "abcde"] == [False] * 2 + [True] * 3
    await replays.begin(of("huge"), "huge", lambda _progress: reply(101)).task
    await asyncio.sleep(0)
    assert replays.bytes == 0


async def test_another_body_is_refused():
    replays = Replays(seconds=60, bytes_max=100, clock=Clock())
    await replays.begin(of("a", b"one"), "1", lambda _progress: reply(1)).task
    with pytest.raises(IdempotencyKeyReused):
        replays.find(of("a", b"two"))


class Exchanging:
    """An exchange whose client stays, or leaves at once."""

    def __init__(self, *, leaves: bool) -> None:
        self.request_id = "2"
        self._leaves = leaves

    async def while_connected(self, task):
        await asyncio.sleep(0)
        if self._leaves:
            raise ClientGone
        return await task


async def test_the_last_one_who_leaves_ends_what_was_not_begun_and_no_other():
    replays = Replays(seconds=60, bytes_max=100, clock=Clock())
    hold = asyncio.Event()

    async def run(_progress: Progress) -> Reply:
        await hold.wait()
        return Reply(b"", [])

    work = replays.begin(of("a"), "1", run)
    stays = asyncio.create_task(work.reply_to(Exchanging(leaves=False)))
    await asyncio.sleep(0)
    with pytest.raises(ClientGone):
        await work.reply_to(Exchanging(leaves=True))
    hold.set()
    assert (await stays).body == b""  # the other one gets its answer

    hold.clear()
    work = replays.begin(of("b"), "1", run)
    with pytest.raises(ClientGone):
        await work.reply_to(Exchanging(leaves=True))
    assert replays.find(of("b")) is None
    with contextlib.suppress(asyncio.CancelledError):
        await work.task
    assert work.task.cancelled()
