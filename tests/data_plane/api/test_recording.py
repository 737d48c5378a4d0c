"""What is recorded of requests: who asked for what, how it ended, and never what was in it."""

import asyncio

import httpx
from sqlalchemy import select

from gateway.control_plane.status import logged_requests
from gateway.control_plane.status.logged_requests import LoggedRequest, RequestFilter
from gateway.identifiers import new_id
from gateway.storage.tables import error_hours, model_answers, request_log
from testing.gateways import MODEL, STELLA, Api

SECRET_TEXT = "a text that nobody may find again"


async def logged(api: Api) -> dict[str, LoggedRequest]:
    """Write down what was recorded, and return what the console shows."""
    await api.settled()
    await api.gateway.data.answered.flush()
    await api.gateway.data.request_log.flush()
    async with api.gateway.core.database.read() as connection:
        found = await logged_requests.page(
            connection, api.ledger.organization_id, RequestFilter(), limit=100
        )
    return {one.request_id: one for one in found}


def id_of(answer: httpx.Response) -> str:
    return answer.headers["x-request-id"]


async def everything(api: Api) -> str:
    async with api.gateway.core.database.read() as connection:
        tables = (request_log, error_hours, model_answers)
        rows = [(await connection.execute(select(table))).all() for table in tables]
    return repr(rows)


async def test_a_charge_is_the_ledger_s_and_an_error_has_its_code(api: Api):
    good = await api.embed(input=[SECRET_TEXT, "another"])
    unknown = await api.embed(model=SECRET_TEXT)
    soon = await api.embed(model=STELLA)
    wrong = await api.embed(encoding_format=SECRET_TEXT)
    found = await logged(api)
    assert set(found) == {id_of(one) for one in (good, unknown, soon, wrong)}
    one = found[id_of(good)]
    assert (one.status, one.code, one.model_id, one.key_id) == (200, "", MODEL, api.ledger.key_id)
    assert one.charge is not None
    assert one.charge.charged_nanos == int(good.headers["x-cost-nanos"])
    assert one.tokens == one.charge.tokens == good.json()["usage"]["total_tokens"]
    assert one.charge.inputs == 2
    endings = [
        (found[id_of(answer)].status, found[id_of(answer)].code, found[id_of(answer)].model_id)
        for answer in (unknown, soon, wrong)
    ]
    assert endings == [
        (404, "model_not_found", ""),
        (404, "model_coming_soon", STELLA),
        (400, "invalid_request_error", ""),
    ]
    assert all(found[id_of(answer)].charge is None for answer in (unknown, soon, wrong))
    assert SECRET_TEXT not in await everything(api)


async def test_a_request_that_nobody_s_key_sent_is_nobody_s(api: Api):
    api.headers["authorization"] = "Bearer sk-nobody"
    assert (await api.embed()).status_code == 401
    assert await logged(api) == {}
    assert await everything(api) == "[[], [], []]"


async def test_a_replay_names_the_request_that_paid_and_costs_nothing(api: Api):
    api.headers["idempotency-key"] = "the same"
    first, again = await api.embed(), await api.embed()
    assert again.headers["idempotent-replayed"] == "true"
    found = await logged(api)
    original, replay = found[id_of(first)], found[id_of(again)]
    assert original.original_id is None
    assert original.charge is not None
    assert original.charge.charged_nanos > 0
    assert replay.status == 200
    assert replay.original_id == id_of(first)
    assert replay.charge is None
    assert [row.charged_nanos for row in await api.ledger.usage()] == [
        original.charge.charged_nanos
    ]


async def test_a_client_that_left_is_recorded_as_such(api: Api):
    client = api.connect()
    await client.send(api.request(b"{}")[:-1])
    while not api.gateway.data.hot_path.in_flight:  # its place is taken before its body is whole
        await asyncio.sleep(0)
    client.leave()
    while api.gateway.data.hot_path.in_flight:
        await asyncio.sleep(0)
    found = await logged(api)
    assert [(one.status, one.code) for one in found.values()] == [(499, "client_closed")]


async def test_nobody_reads_another_organization_s_request(api: Api):
    good = await api.embed()
    await logged(api)
    async with api.gateway.core.database.read() as connection:
        assert await logged_requests.find(connection, api.ledger.organization_id, id_of(good))
        assert await logged_requests.find(connection, new_id(), id_of(good)) is None
        page = await logged_requests.page(connection, new_id(), RequestFilter(), limit=9)
    assert page == []
