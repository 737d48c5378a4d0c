"""502: the workers answered, but with nothing that may be delivered."""

import httpx

from testing.gateways import Api
from tests.data_plane.api.embeddings.conftest import BODY, code


async def test_502_when_each_try_fails(api: Api, fault: httpx.AsyncClient):
    await api.ready()
    await fault.put("/fault", json={"kind": "error", "times": -1})
    answer = await api.embed(BODY)
    assert (answer.status_code, code(answer)) == (502, "upstream_error")
    assert "127.0.0.1" not in answer.text  # where the workers are is nobody's business
    await api.assert_untouched()
