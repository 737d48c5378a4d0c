"""415: a body that is not JSON by its own declaration."""

import pytest

from testing.gateways import Api
from tests.data_plane.api.embeddings.conftest import BODY, code


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "text/plain"},
        {"content-encoding": "gzip"},
    ],
)
async def test_415(api: Api, headers: dict[str, str]):
    api.headers.update(headers)
    answer = await api.embed(BODY)
    assert (answer.status_code, code(answer)) == (415, "unsupported_media_type")


async def test_415_without_a_content_type(api: Api):
    api.headers.pop("content-type")
    assert (await api.embed(BODY)).status_code == 415


async def test_a_charset_is_no_other_media(api: Api):
    api.headers["content-type"] = "Application/JSON; charset=utf-8"
    assert (await api.embed(BODY)).status_code == 200
