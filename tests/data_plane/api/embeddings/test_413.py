"""413: a body over the limit, whether or not it says so."""

from collections.abc import AsyncIterator

from testing.gateways import Api
from tests.data_plane.api.embeddings.conftest import BODY, code


async def test_413(api: Api):
    answer = await api.embed(BODY + b" " * 8_388_608)
    assert (answer.status_code, code(answer)) == (413, "request_too_large")


async def test_413_when_no_length_was_announced(api: Api):
    async def drip() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b" " * 1_000_000

    answer = await api.http.post("/v1/embeddings", content=drip(), headers=api.headers)
    assert (answer.status_code, code(answer)) == (413, "request_too_large")
