"""499: the client left before its body was whole."""

import pytest

from testing.gateways import Api, scope
from tests.data_plane.api.embeddings.conftest import BODY


async def test_a_client_that_leaves_before_its_body_is_whole_costs_nothing(
    api: Api, capfd: pytest.CaptureFixture[str]
):
    messages = [
        {"type": "http.request", "body": BODY[:9], "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    await api.app(scope(api.headers), receive, send)
    assert sent[0]["status"] == 499
    assert "request failed" not in capfd.readouterr().err
    await api.assert_untouched()
