"""503: no worker, key or credit can be had at the moment; nothing is charged."""

import httpx
import pytest

from testing.gateways import MODEL, Api, open_api
from tests.data_plane.api.embeddings.conftest import BODY, INVALID, code


@pytest.mark.parametrize("kind", INVALID)
async def test_503_rather_than_anything_wrong(api: Api, fault: httpx.AsyncClient, kind: str):
    await api.ready()
    await fault.put("/fault", json={"kind": kind, "times": -1})
    api.headers["prefer"] = "wait=0"
    answer = await api.embed(input=["hello", "world"])
    assert (answer.status_code, code(answer)) == (503, "model_warming")
    await api.assert_untouched()


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
        assert 10 <= int(answer.headers["retry-after"]) <= 15
        await api.assert_untouched()


async def test_503_when_a_worker_was_awaited_until_the_deadline(sqlite_database_url):
    async with open_api(sqlite_database_url[0], request_timeout_seconds=0.3) as api:
        api.headers["prefer"] = "wait=30"
        answer = await api.embed(BODY)
        assert (answer.status_code, code(answer)) == (503, "model_warming")
        assert 10 <= int(answer.headers["retry-after"]) <= 15
        await api.assert_untouched()


async def test_503_not_401_while_the_database_is_away(api: Api):
    assert (await api.embed(BODY)).status_code == 200
    async with api.ledger.database.write() as connection:
        await connection.exec_driver_sql("ALTER TABLE api_keys RENAME TO away")
    api.gateway.data.authenticator.forget(
        api.gateway.core.settings.keyring.digest(api.ledger.secret)
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
