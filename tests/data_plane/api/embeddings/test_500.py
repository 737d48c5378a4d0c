"""500: our mistake; nothing is charged."""

import httpx

from testing.gateways import Api
from tests.data_plane.api.embeddings.conftest import BODY


async def test_500_when_a_worker_refuses_what_we_sent(api: Api, fault: httpx.AsyncClient):
    await api.ready()  # or the fault strikes its examination
    # twice: the first call carries a row that the worker may have meant, and is repeated without
    await fault.put("/fault", json={"kind": "refuse", "times": 2})
    assert (await api.embed(BODY)).status_code == 500
    await api.assert_untouched()
    assert (await api.embed(BODY)).status_code == 200  # it was no fault of the worker
