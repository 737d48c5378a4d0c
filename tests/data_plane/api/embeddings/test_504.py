"""504: not done in time; nothing is charged."""

import httpx

from testing.gateways import MODEL, open_api
from testing.processes import Process
from tests.data_plane.api.embeddings.conftest import BODY, code


async def test_504(sqlite_database_url, fake_worker: Process, fault: httpx.AsyncClient):
    workers = f"{MODEL}={fake_worker.url}"
    async with open_api(sqlite_database_url[0], workers, request_timeout_seconds=0.3) as api:
        await api.ready()
        await fault.put("/fault", json={"kind": "hang", "times": -1, "seconds": 3})
        answer = await api.embed(BODY)
        assert (answer.status_code, code(answer)) == (504, "timeout")
        await api.assert_untouched()
