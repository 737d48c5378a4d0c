"""GET /v1/credits, GET /v1/usage, POST /v1/credits/verify."""

import pytest
from sqlalchemy import text

from gateway.control_plane.accounts.keys import ApiKeys
from gateway.keyring import Keyring
from testing.gateways import MODEL, SECRET, Api, Ledger, open_api
from testing.processes import Process


async def get(api: Api, path: str, **params: object):
    return await api.http.get(path, headers=api.headers, params=params)


async def test_credits_show_what_is_left_and_where_it_came_from(api: Api):
    answer = await api.embed()
    cost = int(answer.headers["x-cost-nanos"])
    body = (await get(api, "/v1/credits")).json()
    assert body["balance_nanos"] == answer.headers["x-balance-nanos"] == str(10**9 - cost)
    assert [grant["amount_nanos"] for grant in body["grants"]] == [str(10**9)]
    assert (body["owed_nanos"], body["frozen"], body["frozen_by"]) == ("0", False, [])


async def test_usage_pages_by_day_key_and_model(api: Api):
    for _ in range(3):
        assert (await api.embed()).status_code == 200
    page = (await get(api, "/v1/usage", limit=1)).json()
    (entry,) = page["data"]
    assert (entry["requests"], entry["inputs"], entry["model"]) == (3, 3, MODEL)
    assert entry["key_id"] == api.ledger.key_id
    following = (await get(api, "/v1/usage", limit=1, after=page["next"])).json()
    assert following == {"object": "list", "data": [], "next": None}
    assert (await get(api, "/v1/usage", model="another")).json()["data"] == []


@pytest.mark.parametrize(
    "params",
    [
        {"after": "nonsense"}, {"after": f"2026-01-01~{'0' * 8}-0000-0000-0000-{'0' * 12}~\0"},
        {"limit": 0}, {"key_id": "me"}, {"model": "\0"},
    ],
)  # fmt: skip
async def test_usage_refuses_what_it_cannot_read(api: Api, params: dict[str, object]):
    assert (await get(api, "/v1/usage", **params)).status_code == 400


@pytest.mark.parametrize("path", ["/v1/credits", "/v1/usage"])
async def test_only_with_a_key(api: Api, path: str):
    assert (await api.http.get(path)).status_code == 401
    assert (await api.http.post("/v1/credits/verify")).status_code == 401


async def test_another_organization_sees_nothing_of_it(api: Api):
    await api.embed()
    other = await Ledger.create(api.ledger.database)
    headers = {"authorization": f"Bearer {other.secret}"}
    assert (await api.http.get("/v1/usage", headers=headers)).json()["data"] == []
    assert (await api.http.get("/v1/credits", headers=headers)).json()["grants"] == []


async def test_verify_recomputes_the_balance_and_tells_when_it_differs(api: Api):
    await api.embed()
    answer = await api.http.post("/v1/credits/verify", headers=api.headers)
    body = answer.json()
    assert body["agrees"]
    assert body["balance_nanos"] == body["recomputed_nanos"]
    async with api.ledger.database.write() as connection:
        await connection.execute(text("UPDATE accounts SET available_nanos = available_nanos - 1"))
    answer = await api.http.post("/v1/credits/verify", headers=api.headers)
    assert not answer.json()["agrees"]


async def test_a_key_reads_so_often_and_verifies_less(
    sqlite_database_url: list[str], fake_worker: Process
):
    worker = f"{MODEL}={fake_worker.url}"
    async with open_api(sqlite_database_url[0], worker, reads_per_minute=21) as api:
        answers = [await api.http.post("/v1/credits/verify", headers=api.headers) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        refused = answers[-1]
        assert refused.json()["error"]["code"] == "too_many_reads"
        assert 20 < int(refused.headers["retry-after-ms"]) / 1000 <= 60
        statuses = [(await get(api, "/v1/usage")).status_code for _ in range(2)]
        assert statuses == [200, 429]
        assert (await get(api, "/v1/models")).status_code == 429
        assert (await api.embed()).status_code == 200  # what is paid for is not counted
        keys = ApiKeys(api.ledger.database, secret=Keyring(SECRET))
        made = await keys.create(api.ledger.organization_id, "another", scopes=["read"])
        other = {"authorization": f"Bearer {made.secret}"}
        assert (await api.http.get("/v1/credits", headers=other)).status_code == 200
