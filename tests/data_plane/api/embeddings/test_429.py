"""429: over a limit, or too late for the deadline; nothing is charged."""

import asyncio

import openai

from testing.gateways import MODEL, Api, open_api
from tests.data_plane.api.embeddings.conftest import BODY, code


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


async def test_a_burst_over_the_limit_is_served_within_the_sdks_own_retries(
    sqlite_database_url, fake_worker, fault
):
    workers = f"{MODEL}={fake_worker.url}"
    async with open_api(sqlite_database_url[0], workers, organization_in_flight_max=2) as api:
        await api.ready()
        await fault.put("/fault", json={"kind": "slow", "times": -1, "seconds": 0.03})
        await api.embed()  # tells how long a place is held
        client = openai.AsyncOpenAI(
            base_url="http://gateway/v1", api_key=api.ledger.secret, http_client=api.http
        )
        asks = [client.embeddings.create(model=MODEL, input=f"text {n}") for n in range(16)]
        assert len(await asyncio.gather(*asks)) == 16
        assert len(await (await api.settled()).usage()) == 17


async def test_429_for_what_cannot_be_done_in_time(api: Api):
    await api.ready()
    api.headers["x-stainless-read-timeout"] = "0.001"
    answer = await api.embed(input=["many words " * 100] * 200, truncate="end")
    assert (answer.status_code, code(answer)) == (429, "would_miss_deadline")
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    await api.assert_untouched()
