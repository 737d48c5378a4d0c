"""402: not enough credit, to the nano-dollar, and clients are told not to retry."""

import asyncio

from testing.gateways import MODEL, open_api
from testing.processes import Process
from tests.data_plane.api.embeddings.conftest import BODY, code


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
