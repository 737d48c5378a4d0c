"""docs/metrics.md names each metric that there is, and no client can make a series."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.data_plane.metering.messages import LedgerUnavailable
from testing import door
from testing.gateways import MODEL, Api, open_api
from testing.processes import Process

DOCUMENTED = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(gateway_\w+)` \| (\w+) \| ([\w, ]*?) ?\| (.*) \|$", re.MULTILINE)
HELP = re.compile(r"^# HELP (gateway_\w+) (.*)\n# TYPE \S+ (\w+)$", re.MULTILINE)
METHODS = [
    "ACL",
    "LINK",
    "MKCOL",
    "NOTIFY",
    "PATCH",
    "PROPFIND",
    "PURGE",
    "REPORT",
    "SEARCH",
    "TRACE",
]
LABELS = {name: labels for name, _, labels, _ in ROW.findall(DOCUMENTED.read_text())}


class Series(NamedTuple):
    name: str
    labels: frozenset[tuple[str, str]]


@pytest.fixture
async def api(
    sqlite_database_url: list[str], fake_worker: Process, redis_url: str
) -> AsyncIterator[Api]:
    workers = f"{MODEL}={fake_worker.url}"
    async with open_api(sqlite_database_url[0], workers, redis_url=redis_url) as opened:
        await opened.ready()
        yield opened


async def scraped(api: Api) -> str:
    return (await api.monitored("/metrics")).text


def series(text: str) -> set[Series]:
    return {
        Series(sample.name, frozenset(sample.labels.items()))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.name.startswith("gateway_") and not sample.name.endswith("_created")
    }


async def test_each_metric_is_documented_as_it_says_of_itself(
    sqlite_database_url: list[str], redis_url: str
):
    async with open_api(sqlite_database_url[0], redis_url=redis_url, role="all") as api:
        text = await scraped(api)
    documented = {
        name: (kind, meaning) for name, kind, _, meaning in ROW.findall(DOCUMENTED.read_text())
    }
    exposed = {
        name: (kind, meaning)
        for name, meaning, kind in HELP.findall(text)
        if not name.endswith("_created")
    }
    assert documented == exposed


async def test_no_client_can_make_a_series(api: Api):
    async def noise(round_: int) -> None:
        for number in range(3):
            name = f"{round_}-{number}"
            await api.http.get(f"/{name}")
            await api.http.request(f"M{round_}{number}", "/v1/embeddings")
            await api.embed(model=name, input="x")
            await api.embed(input=name, user=name, dimensions=384 + number)
            await api.http.post(f"/v1/{name}", headers={"authorization": f"Bearer sk-{name}"})
            await api.http.post("/v1/embeddings", headers={"authorization": f"Bearer sk-{name}"})

    await noise(1)
    before = series(await scraped(api))
    await noise(2)
    after = series(await scraped(api))
    own = {found for found in after - before if "gateway_job" not in found.name}
    assert own == set(), "jobs run meanwhile; all else would be of the noise"
    for name, labels in after:
        documented = LABELS.get(name) or LABELS[re.sub(r"_(bucket|count|sum)$", "", name)]
        assert {label for label, _ in labels} - {"le"} == set(documented.split(", ")) - {""}, name
        assert all(len(value) < 100 for _, value in labels)


async def test_ten_thousand_odd_requests_make_no_series(api: Api):
    """Paths, methods, models and headers that are all different."""
    gateway = door.listening(api.gateway)

    def odd(port: int, start: int, stop: int) -> None:
        client = door.Client(port)
        key = api.ledger.secret
        for number in range(start, stop):
            word, body = f"odd{number}", {"model": MODEL, "input": "x"}
            for request in (
                door.request(key, {}, path=f"/{word}/{word}?{word}={word}"),
                door.request(key, {}, method=METHODS[number % len(METHODS)], path=f"/v1/{word}"),
                door.request(key, {}, path=f"/models/{word}", method="DELETE"),
                door.request(key, body | {"model": word}),
                door.request(f"sk-{word}", body),
                door.request(key, body | {"dimensions": 1_000 + number}, user_agent=word),
                door.request(key, b"{}", content_type=word, traceparent=word),
                door.request(key, body | {"service_tier": word}, idempotency_key=word),
                door.request(key, {}, path="/v1/embeddings", method="DELETE", origin=word),
                door.request(key, {}, path=f"/webhooks/{word}", stripe_signature=word),
            ):
                client.send(request)
                assert client.receive() >= 400
        client.close()
        for word in ("ODD", "GET/", "\x00"):  # what is no method at all ends the connection
            broken = door.Client(port)
            broken.send(f"{word} / HTTP/1.1\r\n\r\n".encode())
            assert broken.receive() == 400
            broken.close()

    async with gateway as port:
        await door.in_thread(odd, port, 0, 3)
        before = series(await scraped(api))
        await door.in_thread(odd, port, 3, 1_003)
        text = await scraped(api)
        after = series(text)
    answered = re.findall(r'gateway_requests_total{path="/v1/embeddings",.*} (.*)', text)
    assert sum(map(float, answered)) >= 6_000, "the others met the application"
    assert {found for found in after - before if "name" not in dict(found.labels)} == set()


async def value(api: Api, name: str) -> float:
    (found,) = re.findall(rf"^{re.escape(name)} (\S+)$", await scraped(api), re.MULTILINE)
    return float(found)


async def grows(api: Api, name: str, above: float = 0.0) -> None:
    async with asyncio.timeout(10):
        while await value(api, name) <= above:
            await asyncio.sleep(0.01)


async def test_an_operator_sees_an_outage_while_it_lasts(api: Api, monkeypatch: pytest.MonkeyPatch):
    async def away(_tick: object) -> None:
        raise LedgerUnavailable("away")

    def full(_file: int) -> None:
        raise OSError("no space left on device")

    await api.embed()
    await api.settled()
    assert await value(api, "gateway_leases") == 1
    assert await value(api, "gateway_lease_free_nanos") > 0
    assert await value(api, 'gateway_redis_subscribed{about="keys"}') == 1
    assert await value(api, 'gateway_redis_silent_seconds{about="workers"}') < 10
    assert await value(api, "gateway_gateways") == 1
    client = api.connect()
    assert await value(api, "gateway_connections") >= 2, "this one's too"
    client.leave()

    with monkeypatch.context() as outage:
        outage.setattr(api.gateway.data.ledger, "tick", away)
        assert (await api.embed()).status_code == 200
        await grows(api, "gateway_ledger_away_seconds")
        assert await value(api, "gateway_journal_requests_total") == 1
        assert await value(api, "gateway_journal_bytes") > 0
        assert await value(api, "gateway_ledger_unconfirmed_requests") == 1
        outage.setattr(os, "fdatasync", full)
        unlucky = asyncio.create_task(api.embed(input="another text"))
        await grows(api, "gateway_journal_failures_total")
        assert await value(api, "gateway_requests_in_flight") == 1
    assert (await unlucky).status_code == 200, "the ledger is back in time"
    await api.settled()
    assert await value(api, "gateway_ledger_unconfirmed_requests") == 0
    assert await value(api, "gateway_ledger_away_seconds") == 0
