"""What a request says of its own urgency, and what becomes of what can't be read."""

import math
import time
from types import SimpleNamespace

import pytest

from gateway.data_plane.api.exchange import Exchange
from gateway.data_plane.api.preferences import Patience, Urgency, tier_of, urgency_of
from testing.gateways import MODEL, Api

PATIENCE = Patience(timeout_seconds=30, hold_seconds=15, hold_seconds_max=20)


def read(**headers: str) -> Urgency:
    return urgency_of(exchange(**headers), PATIENCE)


def exchange(**headers: str) -> Exchange:
    raw = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    endpoint = SimpleNamespace(tracing=None)
    return Exchange("POST", raw, None, endpoint)  # type: ignore[arg-type] - no body is read


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=5", 5),
        ("respond-async, Wait=7", 7),
        ('respond-async; x=1, wait = "3"; y', 3),
        ("wait=0", 0),
        ("wait=600", 20),
        ("wait=-1", 15),
        ("wait=5s", 15),
        ("await=5", 15),
        ("wait", 15),
        ("", 15),
    ],
)
def test_prefer_wait(prefer: str, seconds: float):
    assert read(prefer=prefer).hold_seconds == seconds


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("5", 5),
        ("2.5", 2.5),
        ("600", 30),
        ("0", 30),
        ("-1", 30),
        ("nan", 30),
        ("inf", 30),
        ("x", 30),
    ],
)
def test_the_clients_own_timeout_is_the_deadline(header: str, seconds: float):
    before = time.monotonic()
    deadline = read(x_stainless_read_timeout=header).deadline
    assert before + seconds <= deadline <= time.monotonic() + seconds
    assert math.isfinite(deadline)


def test_tiers():
    for asked in (None, "default", "auto"):
        assert tier_of(exchange(), asked) == "default"
    assert tier_of(exchange(), "flex") == "flex"
    assert tier_of(exchange(x_tier=" Batch "), None) == "flex"
    assert tier_of(exchange(x_tier="gold"), None) == "default"


async def test_the_tier_reaches_the_queue(api: Api, monkeypatch: pytest.MonkeyPatch):
    seen = []
    dispatch = api.gateway.core.router.dispatch

    async def watch(model, rows, offer, **options):
        seen.append(offer.tier)
        return await dispatch(model, rows, offer, **options)

    monkeypatch.setattr(api.gateway.core.router, "dispatch", watch)
    assert (await api.embed(service_tier="flex")).status_code == 200
    assert (await api.embed()).status_code == 200
    api.headers["x-tier"] = "batch"
    assert (await api.embed()).status_code == 200
    assert seen == ["flex", "default", "flex"]
    answer = await api.embed({"model": MODEL, "input": "hi", "service_tier": "gold"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "service_tier")
