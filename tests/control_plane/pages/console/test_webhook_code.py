"""The code that pages show to verify webhooks, run against what we sign."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from gateway.control_plane.alerts import signatures
from gateway.control_plane.pages.console.webhook_code import VERIFYING


@pytest.fixture
def secret() -> str:
    return signatures.mint()


@pytest.fixture
def receive(secret: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    code = next(snippet.code for snippet in VERIFYING if snippet.slug == "python")
    names: dict[str, Any] = {}
    exec(code, names)
    shown: Callable[..., dict[str, Any]] = names["receive"]
    return shown


def test_it_accepts_what_we_sign(secret: str, receive: Callable[..., dict[str, Any]]):
    body = json.dumps({"type": "balance.low", "data": {"available_nanos": "1"}}).encode()
    headers = signatures.headers([secret], "msg", int(time.time()), body)
    assert receive(body, headers)["type"] == "balance.low"


def test_it_refuses_what_others_sign(receive: Callable[..., dict[str, Any]]):
    body = b'{"type": "balance.low", "data": {}}'
    headers = signatures.headers([signatures.mint()], "msg", int(time.time()), body)
    with pytest.raises(WebhookVerificationError):
        receive(body, headers)
