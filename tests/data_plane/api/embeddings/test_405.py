"""405: anything but POST."""

import pytest

from testing.gateways import Api
from tests.data_plane.api.embeddings.conftest import code


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/embeddings/estimate"])
async def test_405(api: Api, method: str, path: str):
    answer = await api.http.request(method, path, headers=api.headers)
    assert (answer.status_code, code(answer)) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
