"""401, 402, 404, 405, 413, 415, 429, 502, 503, 504: each refusal, and that it costs nothing."""

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import update

from backends.fake import vector
from gateway.data_plane.auth import keys
from gateway.storage.tables import api_keys, models
from testing.gateways import MODEL, STELLA, Api, open_api, scope
from testing.processes import Process

BODY = b'{"model":"%b","input":"hello world"}' % MODEL.encode()


def code(answer: httpx.Response) -> str:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    return error["code"]


@pytest.fixture
async def fault(fake_worker: Process) -> AsyncIterator[httpx.AsyncClient]:
    """Controls the fake worker's faults, and ends them with the test."""
    async with httpx.AsyncClient(base_url=fake_worker.url) as control:
        yield control
        await control.delete("/fault")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, "missing_api_key"),
        ("", "missing_api_key"),
        ("Basic dXNlcjpwYXNz", "invalid_api_key"),
        ("Bearer", "invalid_api_key"),
        ("Bearer sk-short", "invalid_api_key"),
        ("Bearer sk-\xe9" + "a" * 45, "invalid_api_key"),
        pytest.param(f"Bearer {keys.mint()}", "invalid_api_key", id="unknown"),
    ],
)
async def test_401(api: Api, header: str | None, expected: str):
    api.headers.pop("authorization")
    if header is not None:
        api.headers["authorization"] = header.encode("latin-1")  # type: ignore[assignment]
    answer = await api.embed(BODY)
    assert (answer.status_code, code(answer)) == (401, expected)


async def test_401_for_a_mistyped_key_says_so(api: Api):
    typo = api.ledger.secret[:-10] + ("a" if api.ledger.secret[-10] != "a" else "b")
    api.headers["authorization"] = f"Bearer {typo}{api.ledger.secret[-9:]}"
    answer = await api.embed(BODY)
    assert "a character is missing or wrong" in answer.json()["error"]["message"]


async def test_401_once_a_key_is_revoked(api: Api):
    assert (await api.embed(BODY)).status_code == 200
    await api.gateway.services.keys.revoke(api.ledger.key_id)
    assert (await api.embed(BODY)).status_code == 401


async def test_401_once_a_key_has_expired(api: Api):
    async with api.ledger.database.write() as connection:
        await connection.execute(
            update(api_keys).values(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        )
    answer = await api.embed(BODY)
    assert (answer.status_code, code(answer)) == (401, "expired_api_key")


async def test_402_and_no_retry(sqlite_database_url, fake_worker: Process):
    workers = f"{MODEL}={fake_worker.url}"
    async with open_api(sqlite_database_url[0], workers, credit_nanos=31) as api:
        answer = await api.embed(BODY)
        assert (answer.status_code, code(answer)) == (402, "insufficient_quota")
        assert answer.json()["error"]["type"] == "insufficient_quota"
        assert answer.headers["x-should-retry"] == "false"
        assert "costs 32 nano-dollars and the organization has 31" in answer.text
        await api.assert_untouched()


async def test_64_clients_on_credit_for_a_third_of_them(sqlite_database_url, fake_worker):
    workers = f"{MODEL}={fake_worker.url}"
    async with open_api(sqlite_database_url[0], workers, credit_nanos=32 * 21 + 31) as api:
        answers = await asyncio.gather(*(api.embed(BODY) for _ in range(64)))
        statuses = [answer.status_code for answer in answers]
        assert (statuses.count(200), statuses.count(402)) == (21, 43)
        assert await (await api.settled()).available() == 31
        served = {answer.headers["x-request-id"] for answer in answers if answer.is_success}
        assert served == {row.request_id for row in await (await api.settled()).usage()}
        assert await (await api.settled()).breaches() == []


async def test_404_for_an_unknown_model(api: Api):
    answer = await api.embed(model="gpt-5")
    assert (answer.status_code, code(answer)) == (404, "model_not_found")
    assert answer.json()["error"]["param"] == "model"


async def test_404_for_a_model_that_is_coming_soon(api: Api):
    answer = await api.embed(model=STELLA)
    assert (answer.status_code, code(answer)) == (404, "model_coming_soon")
    answer = await api.embed(model=f"{STELLA}:s2p_query")
    assert (answer.status_code, code(answer)) == (404, "model_coming_soon")
    await api.assert_untouched()


async def test_404_for_a_model_that_is_retired(api: Api):
    async with api.ledger.database.write() as connection:
        await connection.execute(update(models).where(models.c.id == MODEL).values(state="retired"))
    await api.gateway.core.catalog.refresh()
    answer = await api.embed(BODY)
    assert (answer.status_code, code(answer)) == (404, "model_not_found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/embeddings/estimate"])
async def test_405(api: Api, method: str, path: str):
    answer = await api.http.request(method, path, headers=api.headers)
    assert (answer.status_code, code(answer)) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


async def test_413(api: Api):
    answer = await api.embed(BODY + b" " * 8_388_608)
    assert (answer.status_code, code(answer)) == (413, "request_too_large")


async def test_413_when_no_length_was_announced(api: Api):
    async def drip() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b" " * 1_000_000

    answer = await api.http.post("/v1/embeddings", content=drip(), headers=api.headers)
    assert (answer.status_code, code(answer)) == (413, "request_too_large")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "text/plain"},
        {"content-encoding": "gzip"},
    ],
)
async def test_415(api: Api, headers: dict[str, str]):
    api.headers.update(headers)
    answer = await api.embed(BODY)
    assert (answer.status_code, code(answer)) == (415, "unsupported_media_type")


async def test_415_without_a_content_type(api: Api):
    api.headers.pop("content-type")
    assert (await api.embed(BODY)).status_code == 415


async def test_a_charset_is_no_other_media(api: Api):
    api.headers["content-type"] = "Application/JSON; charset=utf-8"
    assert (await api.embed(BODY)).status_code == 200


async def test_429_over_the_organizations_share(sqlite_database_url, fake_worker, fault):
    workers = f"{MODEL}={fake_worker.url}"
    changes = {"organization_in_flight_max": 2, "request_timeout_seconds": 5.0}
    async with open_api(sqlite_database_url[0], workers, **changes) as api:
        await api.ready()
        await fault.put("/fault", json={"kind": "slow", "times": 2, "seconds": 1.0})
        answers = await asyncio.gather(*(api.embed(BODY) for _ in range(6)))
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200, 200, 429, 429, 429, 429]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert code(refused) == "too_many_in_flight"
        assert int(refused.headers["retry-after"]) <= 60
        assert int(refused.headers["retry-after-ms"]) <= 60_000
        assert (await api.embed(BODY)).status_code == 200
        assert len(await (await api.settled()).usage()) == 3


INVALID = ["nan", "zero", "foreign", "permuted", "missing", "truncated", "html"]


@pytest.mark.parametrize("kind", [*INVALID, "error", "busy", "reset"])
async def test_what_goes_wrong_once_is_tried_again_and_billed_once(
    api: Api, fault: httpx.AsyncClient, kind: str
):
    await fault.put("/fault", json={"kind": kind, "times": 1})
    answer = await api.embed(input=["hello", "world"], encoding_format="base64")
    assert answer.status_code == 200
    assert [base64.b64decode(item["embedding"]) for item in answer.json()["data"]] == [
        vector(struct.pack("<3I", 101, word, 102), 384) for word in (7592, 2088)
    ]
    assert len(await (await api.settled()).usage()) == 1
    assert await (await api.settled()).available() == 10**9 - 8 * 6


@pytest.mark.parametrize("kind", INVALID)
async def test_503_rather_than_anything_wrong(api: Api, fault: httpx.AsyncClient, kind: str):
    await api.ready()
    await fault.put("/fault", json={"kind": kind, "times": -1})
    api.headers["prefer"] = "wait=0"
    answer = await api.embed(input=["hello", "world"])
    assert (answer.status_code, code(answer)) == (503, "model_warming")
    await api.assert_untouched()


async def test_502_when_each_try_fails(api: Api, fault: httpx.AsyncClient):
    await api.ready()
    await fault.put("/fault", json={"kind": "error", "times": -1})
    answer = await api.embed(BODY)
    assert (answer.status_code, code(answer)) == (502, "upstream_error")
    assert "127.0.0.1" not in answer.text  # where the workers are is nobody's business
    await api.assert_untouched()


async def test_500_when_a_worker_refuses_what_we_sent(api: Api, fault: httpx.AsyncClient):
    await api.ready()  # or the fault strikes its examination
    await fault.put("/fault", json={"kind": "refuse"})
    assert (await api.embed(BODY)).status_code == 500
    await api.assert_untouched()
    assert (await api.embed(BODY)).status_code == 200  # it was no fault of the worker


async def test_503_while_every_worker_is_full(
    sqlite_database_url, fake_worker, fault: httpx.AsyncClient
):
    workers = f"{MODEL}={fake_worker.url}"
    async with open_api(sqlite_database_url[0], workers, request_timeout_seconds=1.0) as api:
        await api.ready()
        await fault.put("/fault", json={"kind": "busy", "times": -1})
        answer = await api.embed(BODY)
        assert (answer.status_code, code(answer)) == (503, "overloaded")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        await api.assert_untouched()


async def test_503_without_a_worker(sqlite_database_url):
    async with open_api(sqlite_database_url[0]) as api:
        api.headers["prefer"] = "respond-async, wait=0"
        answer = await api.embed(BODY)
        assert (answer.status_code, code(answer)) == (503, "model_warming")
        assert answer.headers["retry-after"] == "10"
        await api.assert_untouched()


async def test_503_when_a_worker_was_awaited_until_the_deadline(sqlite_database_url):
    async with open_api(sqlite_database_url[0], request_timeout_seconds=0.3) as api:
        api.headers["prefer"] = "wait=30"
        answer = await api.embed(BODY)
        assert (answer.status_code, code(answer)) == (503, "model_warming")
        assert answer.headers["retry-after"] == "10"
        await api.assert_untouched()


async def test_a_request_is_held_until_a_worker_is_ready(sqlite_database_url, fake_worker):
    async with open_api(sqlite_database_url[0], hold_seconds=0.0) as api:
        api.headers["prefer"] = "wait=20"
        held = asyncio.create_task(api.embed(BODY))
        async with asyncio.timeout(10):
            while not api.gateway.data.endpoint.in_flight:
                await asyncio.sleep(0)
        api.gateway.core.router.pools[MODEL].add(fake_worker.url)
        assert (await held).status_code == 200


async def test_429_for_what_cannot_be_done_in_time(api: Api):
    await api.ready()
    api.headers["x-stainless-read-timeout"] = "0.001"
    answer = await api.embed(input=["many words " * 100] * 200, truncate="end")
    assert (answer.status_code, code(answer)) == (429, "would_miss_deadline")
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    await api.assert_untouched()


async def test_504(sqlite_database_url, fake_worker: Process, fault: httpx.AsyncClient):
    workers = f"{MODEL}={fake_worker.url}"
    async with open_api(sqlite_database_url[0], workers, request_timeout_seconds=0.3) as api:
        await api.ready()
        await fault.put("/fault", json={"kind": "hang", "times": -1, "seconds": 3})
        answer = await api.embed(BODY)
        assert (answer.status_code, code(answer)) == (504, "timeout")
        await api.assert_untouched()


async def test_503_not_401_while_the_database_is_away(api: Api):
    assert (await api.embed(BODY)).status_code == 200
    async with api.ledger.database.write() as connection:
        await connection.exec_driver_sql("ALTER TABLE api_keys RENAME TO away")
    api.gateway.data.authenticator.forget(
        keys.digest(api.gateway.core.settings.secret, api.ledger.secret)
    )
    answer = await api.embed(BODY)
    assert (answer.status_code, code(answer)) == (503, "authentication_unavailable")


async def test_503_when_credit_cannot_be_checked(api: Api):
    async with api.ledger.database.write() as connection:
        await connection.exec_driver_sql("ALTER TABLE leases RENAME TO away")
    answer = await api.embed(BODY)
    assert (answer.status_code, code(answer)) == (503, "credit_unavailable")
    async with api.ledger.database.write() as connection:
        await connection.exec_driver_sql("ALTER TABLE away RENAME TO leases")
    await api.assert_untouched()


async def test_a_client_that_leaves_before_its_body_is_whole_costs_nothing(
    api: Api, capfd: pytest.CaptureFixture[str]
):
    messages = [
        {"type": "http.request", "body": BODY[:9], "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    await api.app(scope(api.headers), receive, send)
    assert sent[0]["status"] == 499
    assert "request failed" not in capfd.readouterr().err
    await api.assert_untouched()
